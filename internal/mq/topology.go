package mq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Exchange is the durable fanout exchange that every paid or refunded order is announced on. Each subscriber has a
// durable queue of its own on it, and gets every message.
const Exchange = "paynotify_exchange_fanout"

var errNoQueues = errors.New("mq: no subscriber's queue is named")

func retryQueue(queue string) string { return queue + ".retry" }
func deadQueue(queue string) string  { return queue + ".dlq" }

// DeclareTopology makes the exchange and, for each of the subscribers' queues, the queue, its retry queue and its dead
// letter queue, if they are not there yet. Publisher and Consume do so themselves; this is for a start-up that wants to
// fail early.
func DeclareTopology(ctx context.Context, url string, queues ...string) error {
	conn, err := dial(ctx, url)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	return declare(conn, queues...)
}

// declare declares everything that publishing to, consuming from and failing over from the queues needs.
func declare(conn *amqp.Connection, queues ...string) error {
	if len(queues) == 0 {
		return errNoQueues
	}
	channel, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("mq: channel: %w", err)
	}
	defer func() { _ = channel.Close() }()
	if err := channel.ExchangeDeclare(Exchange, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		return fmt.Errorf("mq: declare exchange %s: %w", Exchange, err)
	}
	for _, queue := range queues {
		if err := declareQueue(channel, queue); err != nil {
			return err
		}
	}
	return nil
}

func declareQueue(channel *amqp.Channel, queue string) error {
	// The neighbours declare the queue plainly. Any argument of ours would make their declaration fail.
	for name, args := range map[string]amqp.Table{
		queue:             nil,
		deadQueue(queue):  nil,
		retryQueue(queue): {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue},
	} {
		if _, err := channel.QueueDeclare(name, true, false, false, false, args); err != nil {
			return fmt.Errorf("mq: declare queue %s: %w", name, err)
		}
	}
	if err := channel.QueueBind(queue, "", Exchange, false, nil); err != nil {
		return fmt.Errorf("mq: bind queue %s: %w", queue, err)
	}
	return nil
}
