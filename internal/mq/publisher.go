package mq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/singleflight"
)

// publishTries bounds the attempts within one Publish. The second heals a broken link; more would only hide a broken
// broker from the caller, whose retries are visible.
const publishTries = 3

var errPublisherClosed = errors.New("publisher closed")

// Message is one message of the bus. Body is JSON; ID goes into message_id and is the same on every repeat.
type Message struct {
	ID   string
	Body []byte
}

// Publisher publishes to Exchange. It is safe for concurrent use, and any number of confirms may be outstanding.
type Publisher struct {
	url     string
	queues  []string // every subscriber's
	log     *slog.Logger
	dialing singleflight.Group

	mu      sync.Mutex
	current *link // nil before the first Publish and after trouble
	closed  bool
}

// NewPublisher does not connect: the first Publish does, so that a program starts while the broker is down. queues are
// those of all subscribers: they are declared before anything is published, so that one whose subscriber has never run
// gets the message too. It fails only on a URL that is none, or no queues. log may be nil.
func NewPublisher(url string, queues []string, log *slog.Logger) (*Publisher, error) {
	if err := checkURL(url); err != nil {
		return nil, err
	}
	if len(queues) == 0 || slices.Contains(queues, "") {
		return nil, errNoQueues
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Publisher{url: url, queues: slices.Clone(queues), log: log}, nil
}

// Publish returns nil only when the broker has confirmed the message, on disk, in every queue that is bound to Exchange,
// and in one at least. That somebody has deleted one of several queues is not noticed: it is made anew with the next
// link. ErrUnroutable and ErrUnconfirmed say what went wrong; after either, publish the same message again. A link that
// broke is replaced and the message repeated within the call; a broker that cannot be reached is an error at once. ctx
// bounds it all.
func (p *Publisher) Publish(ctx context.Context, m Message) error {
	var err error
	for range publishTries {
		var l *link
		if l, err = p.link(ctx); err != nil {
			return fmt.Errorf("publish %s: %w: %w", m.ID, ErrUnconfirmed, err)
		}
		err = l.publish(ctx, Exchange, "", publishing(m))
		if err == nil || errors.Is(err, ErrUnroutable) || ctx.Err() != nil {
			break
		}
		p.log.WarnContext(ctx, "publish repeated", "message_id", m.ID, "error", err)
		if errors.Is(err, errLinkLost) {
			p.drop(l)
		}
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", m.ID, err)
	}
	return nil
}

// Close ends the connection. Publishes that are under way fail with ErrUnconfirmed.
func (p *Publisher) Close() error {
	p.mu.Lock()
	l := p.current
	p.current, p.closed = nil, true
	p.mu.Unlock()
	if l != nil {
		hangUp(l.conn)
	}
	return nil
}

func publishing(m Message) amqp.Publishing {
	return amqp.Publishing{MessageId: m.ID, Body: m.Body, ContentType: "application/json", ContentEncoding: "UTF-8"}
}

// link gives the link in use, or makes one. However many callers want it, one dials, for all and bound to none of them.
func (p *Publisher) link(ctx context.Context) (*link, error) {
	if l, err := p.linked(); l != nil || err != nil {
		return l, err
	}
	dialed := p.dialing.DoChan("", func() (any, error) {
		return p.connect(context.WithoutCancel(ctx))
	})
	select {
	case result := <-dialed:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*link), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// linked gives the link in use, nil if there is none. Whether it still works, the next publish will show.
func (p *Publisher) linked() (*link, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errPublisherClosed
	}
	return p.current, nil
}

func (p *Publisher) connect(ctx context.Context) (*link, error) {
	// Another caller may have connected between our look and this one.
	if l, err := p.linked(); l != nil || err != nil {
		return l, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dial(ctx, p.url)
	if err != nil {
		return nil, err
	}
	l, err := p.adopt(conn)
	if err != nil {
		hangUp(conn)
	}
	return l, err
}

// adopt declares the topology, so that a broker that lost its data takes messages again, and puts the link to use.
func (p *Publisher) adopt(conn *amqp.Connection) (*link, error) {
	if err := declare(conn, p.queues...); err != nil {
		return nil, err
	}
	l, err := newLink(conn)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errPublisherClosed
	}
	p.current = l
	return l, nil
}

// drop throws a link away, unless somebody has done so already. Others that wait on it learn by its closing.
func (p *Publisher) drop(l *link) {
	p.mu.Lock()
	mine := p.current == l
	if mine {
		p.current = nil
	}
	p.mu.Unlock()
	if mine {
		go hangUp(l.conn)
	}
}
