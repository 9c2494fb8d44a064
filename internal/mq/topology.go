package mq

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// Exchange is the durable fanout exchange that every paid order is announced on.
	Exchange = "paynotify_exchange_fanout"
	// LearningQueue is the learning service's durable queue on it.
	LearningQueue = "paynotify_queue"
)

func retryQueue(queue string) string { return queue + ".retry" }
func deadQueue(queue string) string  { return queue + ".dlq" }

// DeclareTopology makes the exchange, LearningQueue and its retry and dead letter queues, if they are not there yet.
// Publisher and Consume do so themselves; this is for a start-up that wants to fail early.
func DeclareTopology(ctx context.Context, url string) error {
	conn, err := dial(ctx, url)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	return declareFor(conn, LearningQueue)
}

// declareFor declares everything that publishing to, consuming from and failing over from queue needs.
func declareFor(conn *amqp.Connection, queue string) error {
	channel, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("mq: channel: %w", err)
	}
	defer func() { _ = channel.Close() }()
	if err := channel.ExchangeDeclare(Exchange, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		return fmt.Errorf("mq: declare exchange %s: %w", Exchange, err)
	}
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
