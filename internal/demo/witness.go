package demo

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the witness asks Postgres itself, past the code that it watches
	amqp "github.com/rabbitmq/amqp091-go"

	"coursepay/internal/mq"
)

// The codes that the demo expects, as the tables and the front end have them.
const (
	orderPaid = "600002"
	paid      = "601002"
	mayStudy  = "702001"
	notBought = "702002"
)

// witness reads what happened from Postgres, and from a queue of its own on RabbitMQ's exchange.
type witness struct {
	db       *sql.DB
	bus      *amqp.Connection
	messages <-chan amqp.Delivery
}

func newWitness(ctx context.Context, env Env) (*witness, error) {
	db, err := sql.Open("pgx", env.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	w := &witness{db: db}
	if err := db.PingContext(ctx); err != nil {
		w.close()
		return nil, fmt.Errorf("witness: Postgres: %w", err)
	}
	if err := w.listen(env.AMQPURL); err != nil {
		w.close()
		return nil, fmt.Errorf("witness: RabbitMQ: %w", err)
	}
	return w, nil
}

// listen binds a queue that lives as long as the witness, so that the message is seen beside its real subscribers.
func (w *witness) listen(url string) error {
	var err error
	if w.bus, err = amqp.Dial(url); err != nil {
		return err
	}
	channel, err := w.bus.Channel()
	if err != nil {
		return err
	}
	if err := channel.ExchangeDeclare(mq.Exchange, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		return err
	}
	queue, err := channel.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	if err := channel.QueueBind(queue.Name, "", mq.Exchange, false, nil); err != nil {
		return err
	}
	w.messages, err = channel.Consume(queue.Name, "", true, true, false, false, nil)
	return err
}

func (w *witness) close() {
	if w.bus != nil {
		_ = w.bus.Close()
	}
	_ = w.db.Close()
}

// errNotYet means: look again.
var errNotYet = errors.New("not there yet")

// until looks again until something is seen, or goes wrong, or the time is over; then it says what was seen last.
func until(ctx context.Context, look func() (string, error)) (string, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		seen, err := look()
		if !errors.Is(err, errNotYet) && !errors.Is(err, sql.ErrNoRows) {
			return seen, err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w (last look: %w)", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func (w *witness) acceptedNotify(ctx context.Context, payNo string) (string, error) {
	return until(ctx, func() (string, error) {
		var verdict, reason string
		var size int
		err := w.db.QueryRowContext(ctx, `select verdict, reason, raw_size from pay_notify where pay_no = $1 order by id limit 1`, payNo).
			Scan(&verdict, &reason, &size)
		if err != nil {
			return "", err
		}
		if verdict != "accepted" {
			return "", fmt.Errorf("the callback was not believed: %s, %s", verdict, reason)
		}
		return fmt.Sprintf("pay_notify: %s, %s, %d bytes", verdict, reason, size), nil
	})
}

func (w *witness) paidOrder(ctx context.Context, orderID, payNo string) (string, error) {
	return until(ctx, func() (string, error) {
		var order, record, price string
		var trade sql.NullString
		err := w.db.QueryRowContext(ctx, `
			select o.status, p.status, p.out_pay_no, p.total_price from xc_orders o join xc_pay_record p on p.order_id = o.id
			where o.id = $1 and p.pay_no = $2`, orderID, payNo).Scan(&order, &record, &trade, &price)
		if err != nil {
			return "", err
		}
		if order != orderPaid || record != paid {
			return "", fmt.Errorf("%w: order %s, pay record %s", errNotYet, order, record)
		}
		return fmt.Sprintf("xc_orders: %s, xc_pay_record: %s, ¥%s, Alipay's trade %s", order, record, price, trade.String), nil
	})
}

func (w *witness) message(ctx context.Context, outBusinessID string) (string, error) {
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case m, open := <-w.messages:
			if !open {
				return "", errors.New("RabbitMQ closed the connection")
			}
			var body struct{ BusinessKey1 string }
			if err := json.Unmarshal(m.Body, &body); err != nil {
				return "", fmt.Errorf("message %s: %w", m.MessageId, err)
			}
			if body.BusinessKey1 == outBusinessID {
				return fmt.Sprintf("%s: %s", mq.Exchange, m.Body), nil
			}
		}
	}
}

func (w *witness) courseTable(ctx context.Context, user, courseID, chooseCourseID string) (string, error) {
	return until(ctx, func() (string, error) {
		var name, choice string
		var start, end time.Time
		err := w.db.QueryRowContext(ctx, `
			select course_name, choose_course_id, validtime_start, validtime_end from xc_course_tables
			where user_id = $1 and course_id = $2`, user, courseID).Scan(&name, &choice, &start, &end)
		if err != nil {
			return "", err
		}
		if choice != chooseCourseID {
			return "", fmt.Errorf("the row belongs to choose-course %s, not %s", choice, chooseCourseID)
		}
		return fmt.Sprintf("xc_course_tables: %s, 《%s》, valid %s – %s", user, name, start.Format(time.DateOnly), end.Format(time.DateOnly)), nil
	})
}
