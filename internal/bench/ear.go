package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// channelOfChanges is told each pay record's number when a change of it is committed (models/migrations/00003_events.sql).
const channelOfChanges = "coursepay_pay_record"

// ear hears from Postgres when pay records change. A payment is taken into the books, and the course-table row written,
// in one transaction, so what it hears first after a payment is the enrolment's commit. The rows are checked afterwards.
type ear struct {
	conn *pgx.Conn
	stop context.CancelFunc
	dead chan struct{} // closed when it hears nothing any more
	err  error         // why

	mu      sync.Mutex
	waiting map[string]chan time.Time
}

func listen(ctx context.Context, databaseURL string) (*ear, error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "listen "+channelOfChanges); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	e := &ear{conn: conn, stop: stop, dead: make(chan struct{}), waiting: map[string]chan time.Time{}}
	go e.hear(ctx)
	return e, nil
}

func (e *ear) hear(ctx context.Context) {
	defer close(e.dead)
	for {
		told, err := e.conn.WaitForNotification(ctx)
		if err != nil {
			e.err = fmt.Errorf("listen for enrolments: %w", err)
			return
		}
		e.tell(told.Payload, time.Now())
	}
}

func (e *ear) tell(payNo string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if heard, waiting := e.waiting[payNo]; waiting {
		delete(e.waiting, payNo)
		heard <- at
	}
}

// expect listens for the next change of a pay record.
func (e *ear) expect(payNo string) <-chan time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard := make(chan time.Time, 1)
	e.waiting[payNo] = heard
	return heard
}

// await waits until the change is heard.
func (e *ear) await(ctx context.Context, heard <-chan time.Time) (time.Time, error) {
	select {
	case at := <-heard:
		return at, nil
	case <-e.dead:
		return time.Time{}, e.err
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

func (e *ear) close(ctx context.Context) error {
	e.stop()
	<-e.dead
	return e.conn.Close(ctx)
}
