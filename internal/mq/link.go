// Package mq carries messages over RabbitMQ without losing one: publishes are persistent, mandatory and confirmed, a
// delivery is acknowledged only after its work is done, and what fails again and again waits in a dead letter queue
// for an operator. Delivery is at least once; a message's ID is stable over all its repeats.
//
// The client library's own recovery stays off. It gives up after a number of tries, does not help while the first
// connection has yet to come about, and keeps one channel object over several broker channels, so that a late
// acknowledgement would go to a tag that now means another message. Here a link is never repaired: one that breaks is
// thrown away and a new one is made.
package mq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	dialTimeout  = 10 * time.Second
	closeTimeout = 5 * time.Second
	heartbeat    = 10 * time.Second
	// publishHeader numbers each publish of a link. A message's ID cannot: the same message may be under way twice.
	publishHeader = "x-coursepay-publish"
)

var (
	// ErrUnroutable means that the broker has the exchange, but no queue would have taken the message.
	ErrUnroutable = errors.New("mq: no queue takes the message")
	// ErrUnconfirmed means that the broker has not confirmed the message. It may have it nevertheless: publish again,
	// with the same ID.
	ErrUnconfirmed = errors.New("mq: message not confirmed")
	errLinkLost    = errors.New("link to the broker lost")
)

// checkURL refuses what amqp cannot dial. The cause is kept out of the error: it would contain the password.
func checkURL(url string) error {
	if _, err := amqp.ParseURI(url); err != nil {
		return errors.New("mq: not an amqp:// or amqps:// URL")
	}
	return nil
}

// dial connects within ctx and dialTimeout, whichever ends first, handshake included.
func dial(ctx context.Context, url string) (*amqp.Connection, error) {
	if err := checkURL(url); err != nil {
		return nil, err
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("coursepay")
	conn, err := amqp.DialConfig(url, amqp.Config{
		Heartbeat:  heartbeat,
		Properties: properties,
		Dial:       func(network, addr string) (net.Conn, error) { return dialSocket(ctx, network, addr) },
	})
	if err != nil {
		return nil, fmt.Errorf("mq: connect: %w", err)
	}
	return conn, nil
}

// dialSocket sets the deadline that the library lifts when the handshake is done.
func dialSocket(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(dialTimeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	return conn, conn.SetDeadline(deadline)
}

// link is one connection with one channel in confirm mode, for publishing. It lives until the first trouble.
type link struct {
	conn    *amqp.Connection
	channel *amqp.Channel
	lost    chan struct{} // closed when the channel has gone, for whatever reason
	settled chan struct{} // see sortReturns
	writing chan struct{} // holds one while somebody writes
	number  atomic.Int64
	waiting sync.Map // publish number → *atomic.Bool, set when the broker returns the message
}

func newLink(conn *amqp.Connection) (*link, error) {
	channel, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("mq: channel: %w", err)
	}
	if err := channel.Confirm(false); err != nil {
		return nil, fmt.Errorf("mq: confirm mode: %w", err)
	}
	l := &link{conn: conn, channel: channel, lost: make(chan struct{}), settled: make(chan struct{}), writing: make(chan struct{}, 1)}
	// Unbuffered on purpose: the library's reader hands a return over before it goes on to the acknowledgement.
	go l.sortReturns(channel.NotifyReturn(make(chan amqp.Return)))
	return l, nil
}

// sortReturns marks returned messages. The broker sends a message's return before its acknowledgement; receiving from
// settled means that every return received so far has been marked, so a publisher that has its acknowledgement and then
// a token from settled knows the truth about its own message.
func (l *link) sortReturns(returns <-chan amqp.Return) {
	defer close(l.lost)
	for {
		select {
		case returned, open := <-returns:
			if !open {
				return
			}
			number, _ := returned.Headers[publishHeader].(int64)
			if mark, ok := l.waiting.Load(number); ok {
				mark.(*atomic.Bool).Store(true)
			}
		case l.settled <- struct{}{}:
		}
	}
}

// publish sends one message and waits for its confirm. Many may be under way at once.
func (l *link) publish(ctx context.Context, exchange, key string, p amqp.Publishing) error {
	number := l.number.Add(1)
	returned := new(atomic.Bool)
	l.waiting.Store(number, returned)
	defer l.waiting.Delete(number)

	headers := amqp.Table{publishHeader: number}
	maps.Copy(headers, p.Headers)
	p.Headers, p.DeliveryMode = headers, amqp.Persistent
	confirm, err := l.send(ctx, exchange, key, p)
	if err != nil {
		return err
	}
	acked, err := confirm.WaitContext(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	if !acked {
		return l.refused()
	}
	select {
	case <-l.settled:
	case <-l.lost: // and all returns with it: they are marked before lost is closed
	}
	if returned.Load() {
		return fmt.Errorf("%w: exchange %s key %s", ErrUnroutable, strconv.Quote(exchange), strconv.Quote(key))
	}
	return nil
}

// send writes in a goroutine of its own, since a broker that is short of memory stops reading and so blocks the writer
// for longer than ctx allows. One writes at a time, as the library has it anyway: behind a writer that is blocked, nobody
// else leaves a goroutine behind.
func (l *link) send(ctx context.Context, exchange, key string, p amqp.Publishing) (*amqp.DeferredConfirmation, error) {
	type outcome struct {
		confirm *amqp.DeferredConfirmation
		err     error
	}
	select {
	case l.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnconfirmed, ctx.Err())
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-l.writing }()
		confirm, err := l.channel.PublishWithDeferredConfirm(exchange, key, true, false, p)
		done <- outcome{confirm, err}
	}()
	select {
	case sent := <-done:
		if sent.err != nil {
			return nil, fmt.Errorf("%w: %w: %w", ErrUnconfirmed, errLinkLost, sent.err)
		}
		return sent.confirm, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnconfirmed, ctx.Err())
	}
}

// refused tells a broker's nack from the nacks that the library makes up for everything outstanding on a dead channel.
func (l *link) refused() error {
	if l.channel.IsClosed() {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, errLinkLost)
	}
	return fmt.Errorf("%w: refused by the broker", ErrUnconfirmed)
}

// hangUp closes a connection, without waiting long for a broker that does not answer.
func hangUp(conn *amqp.Connection) {
	_ = conn.CloseDeadline(time.Now().Add(closeTimeout))
}
