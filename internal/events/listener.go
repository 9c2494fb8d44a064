package events

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"coursepay/models"
)

const (
	// channel is where the triggers tell pay numbers.
	channel = "coursepay_pay_record"
	// applicationName is what the connection is called in pg_stat_activity.
	applicationName = "coursepay events"

	firstPause   = 50 * time.Millisecond  // before the first attempt to reconnect
	longestPause = 5 * time.Second        // between attempts
	settledAfter = 2 * longestPause       // a connection that lived as long makes the next pause a first one
	goodbye      = 500 * time.Millisecond // to end a connection in good manners
)

// pace is how patient a Hub is.
type pace struct {
	answerWithin time.Duration // for Postgres to connect, and to show that it is still there
	quietFor     time.Duration // without a word, after which Postgres is asked whether it is still there
	deafLook     time.Duration // between looks at the books while nothing is heard
}

var usualPace = pace{answerWithin: 5 * time.Second, quietFor: 10 * time.Second, deafLook: 3 * time.Second}

// keepListening listens until ctx ends, whatever becomes of the connection.
func (h *Hub) keepListening(ctx context.Context) {
	pause := firstPause
	for {
		began := time.Now()
		err := h.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > settledAfter {
			pause = firstPause
		}
		h.log.WarnContext(ctx, "changes of pay records are not heard", "error", err, "retryIn", pause)
		if !sleep(ctx, pause/2+rand.N(pause)) { //nolint:gosec // a pause is no secret
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// listen hands on what one connection hears, until it breaks. Nothing that is committed once it listens is missed, so
// everybody looks again then.
func (h *Hub) listen(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, h.database.Copy())
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	if _, err := conn.Exec(ctx, "listen "+channel); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	h.listening.Store(true)
	defer h.listening.Store(false)
	h.log.InfoContext(ctx, "changes of pay records are heard")
	h.wakeAll()
	for {
		payNo, err := h.hear(ctx, conn)
		if err != nil {
			return err
		}
		if payNo != 0 {
			h.wake(payNo)
		}
	}
}

// hear waits for the next number. It returns 0 when none came for a while and the connection still answers: one that
// died without a word would be listened to for ever.
func (h *Hub) hear(ctx context.Context, conn *pgx.Conn) (models.ID, error) {
	quiet, cancel := context.WithTimeout(ctx, h.pace.quietFor)
	defer cancel()
	word, err := conn.WaitForNotification(quiet)
	switch {
	case err == nil:
		payNo, err := models.ParseID(word.Payload)
		if err != nil {
			return 0, nil // somebody else's word on our channel is no reason to stop listening
		}
		return payNo, nil
	case ctx.Err() == nil && pgconn.Timeout(err) && !conn.IsClosed():
		return 0, h.stillThere(ctx, conn)
	}
	return 0, err
}

func (h *Hub) stillThere(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, h.pace.answerWithin)
	defer cancel()
	return conn.Ping(ctx)
}

func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	_ = conn.Close(ctx) // whatever it says, it is gone
}

// lookWhileDeaf lets everybody look at the books every few seconds while nothing is heard.
func (h *Hub) lookWhileDeaf(ctx context.Context) {
	for sleep(ctx, h.pace.deafLook) {
		if !h.listening.Load() {
			h.wakeAll()
		}
	}
}

// sleep waits, and says whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
