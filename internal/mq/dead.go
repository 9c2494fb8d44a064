package mq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// DeadMessage is a message that has failed for the last time.
type DeadMessage struct {
	ID     string
	Body   []byte
	Tries  int       // how often it was tried
	Reason string    // why the last try failed, at most 200 characters
	DiedAt time.Time // to the second
}

// ListDead shows up to limit messages of <queue>.dlq, the oldest first, and leaves them there in their order. That the
// queue does not exist is an error, since it is more likely a slip of the keyboard.
func ListDead(ctx context.Context, url, queue string, limit int) ([]DeadMessage, error) {
	var dead []DeadMessage
	err := eachDead(ctx, url, queue, limit, func(_ *amqp.Connection, d amqp.Delivery) (bool, error) {
		reason, _ := d.Headers[reasonHeader].(string)
		dead = append(dead, DeadMessage{
			ID: d.MessageId, Body: d.Body, Tries: int(triesOf(d.Headers)), Reason: reason, DiedAt: d.Timestamp,
		})
		return false, nil
	})
	return dead, err
}

// ReplayDead puts messages of <queue>.dlq back into queue itself, past the exchange, since the other subscribers have
// had theirs, with all their tries before them again. Without ids it takes all that are there now. It returns how many
// went back; on an error the rest is still in the dead letter queue.
func ReplayDead(ctx context.Context, url, queue string, ids ...string) (int, error) {
	var out *link
	replayed := 0
	err := eachDead(ctx, url, queue, 0, func(conn *amqp.Connection, d amqp.Delivery) (taken bool, err error) {
		if len(ids) > 0 && !slices.Contains(ids, d.MessageId) {
			return false, nil
		}
		if out == nil {
			if out, err = newLink(conn); err != nil {
				return false, err
			}
		}
		if err := out.publish(ctx, "", queue, publishing(Message{ID: d.MessageId, Body: d.Body})); err != nil {
			return false, err
		}
		replayed++
		return true, nil
	})
	return replayed, err
}

// visitor looks at one dead message and says whether it has taken it over.
type visitor func(*amqp.Connection, amqp.Delivery) (taken bool, err error)

// eachDead calls visit for the messages that are in the dead letter queue at the start, for the first limit of them
// when limit is positive. It declares nothing: a mistyped name must not become a queue that fills up.
func eachDead(ctx context.Context, url, queue string, limit int, visit visitor) error {
	conn, err := dial(ctx, url)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	stop := context.AfterFunc(ctx, func() { hangUp(conn) })
	defer stop()
	channel, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("mq: channel: %w", err)
	}
	name := deadQueue(queue)
	state, err := channel.QueueDeclarePassive(name, true, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("mq: look at %s: %w", name, err)
	}
	count := state.Messages
	if limit > 0 {
		count = min(count, limit)
	}
	left, err := visitDead(ctx, channel, name, count, func(d amqp.Delivery) (bool, error) { return visit(conn, d) })
	return errors.Join(err, putBack(channel, name, left))
}

// visitDead holds every message until all have been seen, or it would get the first one again and again.
func visitDead(
	ctx context.Context, channel *amqp.Channel, name string, count int, visit func(amqp.Delivery) (bool, error),
) (left []amqp.Delivery, err error) {
	for range count {
		d, found, err := channel.Get(name, false)
		if err != nil {
			return left, fmt.Errorf("mq: read %s: %w", name, errors.Join(ctx.Err(), err))
		}
		if !found {
			break
		}
		taken, err := visit(d)
		if taken {
			err = d.Ack(false)
		} else {
			left = append(left, d)
		}
		if err != nil {
			return left, err
		}
	}
	return left, nil
}

// putBack returns messages to their places, and waits until the queue has them, so that whoever looks next sees them.
// Should it fail, the broker does the same when the connection ends.
func putBack(channel *amqp.Channel, name string, left []amqp.Delivery) error {
	for _, d := range left {
		if err := d.Nack(false, true); err != nil {
			return fmt.Errorf("mq: put back into %s: %w", name, err)
		}
	}
	if _, err := channel.QueueDeclarePassive(name, true, false, false, false, nil); err != nil {
		return fmt.Errorf("mq: look at %s: %w", name, err)
	}
	return nil
}
