// Package events tells a process which pay records have changed, as soon as Postgres has committed the change.
//
// Triggers send the pay number of every record that looks different now to a channel (models/migrations/00003_events.sql).
// One connection of each process listens to it, and the Hub wakes those who watch that number. A word carries nothing but
// "look again": many changes in a row are one word, and whoever is slow finds one word waiting. All who watch a number
// share one look at the books.
//
// Words may be lost only while the connection is: so everybody is told to look again once it is back, and every few
// seconds while it is not.
package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/semaphore"

	"coursepay/models"
)

// looksAtOnce is how many connections of the pool all the looks of a process may hold: when everybody is told to look
// again, requests that buy something still get theirs.
const looksAtOnce = 4

// Books is where records and orders are read.
type Books interface {
	PayRecord(ctx context.Context, payNo models.ID) (models.PayRecord, error)
	Order(ctx context.Context, id models.ID) (models.Order, error)
}

// Snapshot is what a viewer of a pay record sees.
type Snapshot struct {
	Record models.PayRecord
	Order  models.OrderStatus // of the record's order
}

// Config is what a Hub works with.
type Config struct {
	// DatabaseURL reaches Postgres itself, or a pooler that keeps sessions: one that shares them between transactions
	// loses what is listened to.
	DatabaseURL string
	Books       Books
	Logger      *slog.Logger
}

// Hub hands changes to those who watch. It is safe for concurrent use.
type Hub struct {
	database *pgx.ConnConfig
	books    Books
	log      *slog.Logger
	pace     pace
	looks    *semaphore.Weighted

	stop      context.CancelFunc
	running   sync.WaitGroup
	listening atomic.Bool

	mu     sync.Mutex
	topics map[models.ID]*topic
}

// topic is a pay number that somebody watches.
type topic struct {
	payNo   models.ID
	version atomic.Uint64       // counts the reasons to look again
	watches map[*Watch]struct{} // guarded by Hub.mu

	looking chan struct{} // holds one element while somebody looks, and guards what follows
	seen    Snapshot
	seenAt  uint64 // the version that seen is at least as new as; 0 before the first look
}

// Open starts to listen, and goes on until Close. Postgres need not be there yet. The only error is a DatabaseURL that
// cannot be read.
func Open(cfg Config) (*Hub, error) { return open(cfg, usualPace) }

func open(cfg Config, p pace) (*Hub, error) {
	database, err := pgx.ParseConfig(cfg.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	database.RuntimeParams["application_name"] = applicationName
	database.ConnectTimeout = p.answerWithin
	h := &Hub{
		database: database, books: cfg.Books, log: cfg.Logger, pace: p, looks: semaphore.NewWeighted(looksAtOnce),
		topics: map[models.ID]*topic{},
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.running.Go(func() { h.keepListening(ctx) })
	h.running.Go(func() { h.lookWhileDeaf(ctx) })
	return h, nil
}

// Close stops listening; nobody is woken any more. Closing again does nothing.
func (h *Hub) Close(ctx context.Context) error {
	h.stop()
	ended := make(chan struct{})
	go func() { h.running.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("events: still listening: %w", ctx.Err())
	}
}

// Watch is somebody's interest in a pay number.
type Watch struct {
	hub     *Hub
	topic   *topic
	changed chan struct{}
}

// Watch begins to watch a pay number, whether there is such a record or not. The first Look after it is a fresh one.
func (h *Hub) Watch(payNo models.ID) *Watch {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.topics[payNo]
	if !ok {
		t = &topic{payNo: payNo, watches: map[*Watch]struct{}{}, looking: make(chan struct{}, 1)}
		h.topics[payNo] = t
	}
	t.version.Add(1) // what others have seen is too old for this one
	w := &Watch{hub: h, topic: t, changed: make(chan struct{}, 1)}
	t.watches[w] = struct{}{}
	return w
}

// Close ends the interest. Closing again does nothing.
func (w *Watch) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	delete(w.topic.watches, w)
	if len(w.topic.watches) == 0 && w.hub.topics[w.topic.payNo] == w.topic {
		delete(w.hub.topics, w.topic.payNo)
	}
}

// Changed has an element when there is a reason to look again; never more than one.
func (w *Watch) Changed() <-chan struct{} { return w.changed }

// Look returns what the record looks like now, or at least after the latest reason to look. Those who watch the same
// number share one look. Errors are those of the Books, and the context's.
func (w *Watch) Look(ctx context.Context) (Snapshot, error) {
	t := w.topic
	wanted := t.version.Load()
	select {
	case t.looking <- struct{}{}:
		defer func() { <-t.looking }()
	case <-ctx.Done():
		return Snapshot{}, ctx.Err()
	}
	if t.seenAt >= wanted {
		return t.seen, nil
	}
	at := t.version.Load() // before the books are opened: what happens from now on may be missed
	seen, err := w.hub.look(ctx, t.payNo)
	if err == nil {
		t.seen, t.seenAt = seen, at
	}
	return seen, err
}

func (h *Hub) look(ctx context.Context, payNo models.ID) (Snapshot, error) {
	if err := h.looks.Acquire(ctx, 1); err != nil {
		return Snapshot{}, err
	}
	defer h.looks.Release(1)
	record, err := h.books.PayRecord(ctx, payNo)
	if err != nil {
		return Snapshot{}, err
	}
	order, err := h.books.Order(ctx, record.OrderID)
	return Snapshot{record, order.Status}, err
}

// wake tells those who watch the number to look again. It never waits for them.
func (h *Hub) wake(payNo models.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, ok := h.topics[payNo]; ok {
		t.wake()
	}
}

func (h *Hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		t.wake()
	}
}

func (t *topic) wake() {
	t.version.Add(1)
	for w := range t.watches {
		select {
		case w.changed <- struct{}{}:
		default: // a word is waiting already
		}
	}
}
