package mq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	triesHeader  = "x-coursepay-tries"  // how often a message has failed
	reasonHeader = "x-coursepay-reason" // why it failed last
	maxReason    = 200                  // characters

	firstPause   = 200 * time.Millisecond
	longestPause = 15 * time.Second
)

// Handler does a message's work and commits it before it returns nil. It may see a message twice, also twice at once.
// Its error ends up in a header and in logs, so it carries no personal data.
type Handler func(ctx context.Context, m Message) error

// ConsumerConfig says what Consume consumes. Zero fields take their defaults.
type ConsumerConfig struct {
	URL   string
	Queue string
	// Prefetch is how many messages are worked on at once (16).
	Prefetch int
	// Tries is how often a message may fail before it goes to <queue>.dlq (3).
	Tries int
	// RetryDelay is the wait between two tries (5 s).
	RetryDelay time.Duration
	// Timeout ends the context of one run of the handler (1 min), and with that also bounds the shutdown.
	Timeout time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

func (c ConsumerConfig) withDefaults() ConsumerConfig {
	c.Prefetch = cmp.Or(max(c.Prefetch, 0), 16)
	c.Tries = cmp.Or(max(c.Tries, 0), 3)
	c.RetryDelay = cmp.Or(max(c.RetryDelay, 0), 5*time.Second)
	c.Timeout = cmp.Or(max(c.Timeout, 0), time.Minute)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// Consume runs h on every message of a queue until ctx ends, reconnecting for as long as it takes, and then returns nil
// once the messages in hand are finished. Other errors are faults of the configuration only.
//
// A message is acknowledged after h has returned nil. One that fails waits RetryDelay in <queue>.retry and comes again;
// after the last try it goes to <queue>.dlq with the reason. It leaves the queue only when its next place is confirmed.
func Consume(ctx context.Context, cfg ConsumerConfig, h Handler) error {
	if err := checkURL(cfg.URL); err != nil {
		return err
	}
	if cfg.Queue == "" || h == nil {
		return errors.New("mq: consumer without queue or handler")
	}
	cfg = cfg.withDefaults()
	pause := firstPause
	for ctx.Err() == nil {
		c := &consumer{cfg: cfg, handle: h}
		if err := c.run(ctx); ctx.Err() == nil {
			cfg.Logger.WarnContext(ctx, "consumer disconnected", "queue", cfg.Queue, "error", err)
		}
		if c.worked {
			pause = firstPause
		}
		wait(ctx, jitter(pause))
		pause = min(pause*2, longestPause)
	}
	return nil
}

// jitter keeps replicas from coming back in step.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2) //nolint:gosec // nobody gains by guessing it
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// consumer is one connection's worth of consuming.
type consumer struct {
	cfg    ConsumerConfig
	handle Handler
	out    *link // for failed messages
	worked bool  // got as far as receiving
	broken chan error
}

// run consumes until ctx ends or the connection is of no more use. It returns when no handler is running any more.
func (c *consumer) run(ctx context.Context) error {
	conn, err := dial(ctx, c.cfg.URL)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	if err := declare(conn, c.cfg.Queue); err != nil {
		return err
	}
	if c.out, err = newLink(conn); err != nil {
		return err
	}
	channel, deliveries, err := c.subscribe(conn)
	if err != nil {
		return err
	}
	c.worked = true
	c.broken = make(chan error, 1)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case d, open := <-deliveries:
			if !open {
				return errLinkLost
			}
			running.Go(func() { c.take(ctx, d) })
		case err := <-c.broken:
			return err
		case <-ctx.Done():
			// What has been delivered and not begun goes back to the queue when the connection closes.
			return channel.Cancel(c.cfg.Queue, true)
		}
	}
}

func (c *consumer) subscribe(conn *amqp.Connection) (*amqp.Channel, <-chan amqp.Delivery, error) {
	channel, err := conn.Channel()
	if err != nil {
		return nil, nil, fmt.Errorf("mq: channel: %w", err)
	}
	if err := channel.Qos(c.cfg.Prefetch, 0, false); err != nil {
		return nil, nil, fmt.Errorf("mq: prefetch: %w", err)
	}
	deliveries, err := channel.Consume(c.cfg.Queue, c.cfg.Queue, false, false, false, false, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("mq: consume %s: %w", c.cfg.Queue, err)
	}
	return channel, deliveries, nil
}

// take works on one delivery. A shutdown does not interrupt it.
func (c *consumer) take(ctx context.Context, d amqp.Delivery) {
	ctx = context.WithoutCancel(ctx)
	if err := c.safely(ctx, d); err != nil {
		if err := c.moveOn(ctx, d, err); err != nil {
			// Unacknowledged it stays the broker's. A new connection declares what may be missing.
			c.giveUp(fmt.Errorf("mq: move failed message: %w", err))
			return
		}
	}
	if err := d.Ack(false); err != nil {
		c.cfg.Logger.WarnContext(ctx, "message done but not acknowledged, it will come again",
			"queue", c.cfg.Queue, "message_id", d.MessageId, "error", err)
	}
}

// safely runs the handler and makes a panic an error. The panic's text may be anything, so only its type goes on.
func (c *consumer) safely(ctx context.Context, d amqp.Delivery) (err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	defer func() {
		if cause := recover(); cause != nil {
			c.cfg.Logger.ErrorContext(ctx, "message handler panicked", "queue", c.cfg.Queue, "message_id", d.MessageId,
				"type", fmt.Sprintf("%T", cause), "stack", string(debug.Stack()))
			err = fmt.Errorf("handler panicked with %T", cause)
		}
	}()
	return c.handle(ctx, Message{ID: d.MessageId, Body: d.Body})
}

// moveOn gives a failed message its next place: the retry queue, or after the last try the dead letter queue.
func (c *consumer) moveOn(ctx context.Context, d amqp.Delivery, reason error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	failures := triesOf(d.Headers) + 1
	p := publishing(Message{ID: d.MessageId, Body: d.Body})
	p.Timestamp = time.Now()
	p.Headers = amqp.Table{triesHeader: failures, reasonHeader: bounded(reason.Error())}
	queue := deadQueue(c.cfg.Queue)
	if failures < int64(c.cfg.Tries) {
		queue = retryQueue(c.cfg.Queue)
		// On the message and not on the queue: the delay may be changed without deleting a queue.
		p.Expiration = strconv.FormatInt(c.cfg.RetryDelay.Milliseconds(), 10)
	}
	c.cfg.Logger.WarnContext(ctx, "message failed", "queue", c.cfg.Queue, "message_id", d.MessageId,
		"failures", failures, "moved_to", queue, "error", reason)
	return c.out.publish(ctx, "", queue, p)
}

func (c *consumer) giveUp(err error) {
	select {
	case c.broken <- err:
	default:
	}
}

// triesOf reads the header as any client might have written it; what is no number counts as none.
func triesOf(headers amqp.Table) int64 {
	switch tries := headers[triesHeader].(type) {
	case int64:
		return tries
	case int32:
		return int64(tries)
	default:
		return 0
	}
}

func bounded(text string) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), maxReason)])
}
