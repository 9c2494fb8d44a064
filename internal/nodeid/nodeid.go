// Package nodeid gives each process a snowflake node id of its own, leased from Postgres, and mints ids with it.
//
// A snowflake is a millisecond, a node and a counter: two processes on one node would sooner or later mint the same id.
// So a node is held by a lease in the table node_lease, renewed three times in its life, and every id's own timestamp
// lies within the lease that its node was held by. That stays true whatever the clocks do:
//
//   - The library stamps ids with a clock that it anchored at its start and that runs on monotonically. The lease is
//     judged by the monotonic clock too, counted from before the last renewal was sent, and judged after an id was
//     stamped: an id stamped too late is thrown away.
//   - A lease ends at the later of Postgres' clock and the holder's clock, plus its length. It is taken over only when it
//     ended, by the earlier of Postgres' clock and the taker's clock, at least a grace period ago. So a holder whose clock
//     runs ahead keeps its node for longer, and a taker whose clock lags behind leaves it alone for longer.
//
// The library's default epoch (4 November 2010) is kept: it is a global variable of the library, good until 2080, and
// changing it once ids exist would break their order. Unique indexes stand underneath all the same.
package nodeid

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bwmarrin/snowflake"
	"github.com/google/uuid"
)

var (
	// ErrNoFreeNode: all 1024 nodes are leased, or were until a moment ago.
	ErrNoFreeNode = errors.New("no snowflake node id is free")
	// ErrLeaseLost: the lease may have run out, or was closed. While the Node is open it is working on a new one.
	ErrLeaseLost = errors.New("the lease of the snowflake node id is lost")
)

const (
	defaultTTL   = 60 * time.Second
	defaultGrace = 10 * time.Second
	// renewals and retries: how many fit into a lease.
	renewalsPerTTL = 3
	retriesPerTTL  = 30
)

type options struct {
	ttl   time.Duration
	grace time.Duration
	log   *slog.Logger
}

// Option changes how a node is leased.
type Option func(*options)

// WithTTL sets the length of a lease (60 s). A process that cannot reach Postgres mints ids for that long.
func WithTTL(ttl time.Duration) Option { return func(o *options) { o.ttl = ttl } }

// WithGrace sets for how long nobody takes a node whose lease has ended (10 s). It has to be the same in all processes.
func WithGrace(grace time.Duration) Option { return func(o *options) { o.grace = grace } }

// WithLogger sets where lost and replaced leases are told (slog.Default()).
func WithLogger(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// Node mints ids on a leased node. It is safe for concurrent use.
type Node struct {
	table table
	opts  options

	stop func()        // ends the renewals
	done chan struct{} // closed when they have ended

	mu    sync.RWMutex
	lease lease
}

// lease is a node id and how long it is surely ours. Its zero value is no lease.
type lease struct {
	id    int64
	mint  *snowflake.Node
	until time.Time // with a monotonic reading; zero when lost or closed
}

// Acquire leases the lowest free node id and keeps it leased until Close. The holder (for example the host's name) is
// for people who read the table; a random part is added, so that two processes of one name stay two holders.
// The context bounds the first lease only. Errors: ErrNoFreeNode, or Postgres'.
func Acquire(ctx context.Context, db *sql.DB, holder string, opts ...Option) (*Node, error) {
	o := options{ttl: defaultTTL, grace: defaultGrace, log: slog.Default()}
	for _, set := range opts {
		set(&o)
	}
	n := &Node{
		table: table{db: db, holder: holder + "/" + uuid.NewString(), ttl: o.ttl, grace: o.grace},
		opts:  o,
		done:  make(chan struct{}),
	}
	if err := n.acquire(ctx); err != nil {
		return nil, err
	}
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	go n.keep(renewing)
	return n, nil
}

// Next mints an id. It waits for nothing but the library's next millisecond, and fails with ErrLeaseLost while no lease
// is surely held.
func (n *Node) Next() (int64, error) {
	held := n.held()
	if held.mint == nil {
		return 0, ErrLeaseLost
	}
	id := held.mint.Generate().Int64()
	// Only now: the process may have been stopped between a look at the clock and the stamping.
	if !time.Now().Before(held.until) {
		return 0, ErrLeaseLost
	}
	return id, nil
}

// ID is the node id that was leased last. It changes when a lost lease is replaced.
func (n *Node) ID() int64 { return n.held().id }

// Close stops renewing and gives the node back; others may take it after the grace period. Next fails from then on.
// Closing again does nothing.
func (n *Node) Close(ctx context.Context) error {
	n.stop()
	select {
	case <-n.done:
	case <-ctx.Done():
		return fmt.Errorf("close node lease: %w", ctx.Err())
	}
	n.mu.Lock()
	held := n.lease
	n.lease = lease{id: held.id}
	n.mu.Unlock()
	if held.mint == nil {
		return nil
	}
	if err := n.table.release(ctx, held.id, held.clock()); err != nil {
		return fmt.Errorf("close node lease: %w", err)
	}
	return nil
}

func (n *Node) held() lease {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.lease
}

func (n *Node) hold(l lease) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lease = l
}

// clock is what the library stamps ids with now. It is read off an id, since nothing else shows it; and without the
// library's ID.Time, which races with its NewNode on a global variable.
func (l lease) clock() time.Time {
	millis := l.mint.Generate().Int64() >> (snowflake.NodeBits + snowflake.StepBits)
	return time.UnixMilli(millis + snowflake.Epoch)
}

// acquire leases a new node. Its clock is the process's: the library is about to anchor its own to it.
func (n *Node) acquire(ctx context.Context) error {
	started := time.Now()
	id, err := n.table.take(ctx, started)
	if err != nil {
		return fmt.Errorf("acquire node lease: %w", err)
	}
	mint, err := snowflake.NewNode(id)
	if err != nil {
		return fmt.Errorf("acquire node lease: %w", err)
	}
	n.hold(lease{id: id, mint: mint, until: started.Add(n.opts.ttl)})
	return nil
}

// keep renews the lease until the context ends.
func (n *Node) keep(ctx context.Context) {
	defer close(n.done)
	wait := n.opts.ttl / renewalsPerTTL
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(n.renew(ctx))
	}
}

// renew lengthens the lease or, where it was taken over, gets another. It returns how long to wait until the next time.
func (n *Node) renew(ctx context.Context) time.Duration {
	attempt, cancel := context.WithTimeout(ctx, n.opts.ttl/renewalsPerTTL)
	defer cancel()
	err := n.renewOrReplace(attempt)
	if err == nil {
		return n.opts.ttl / renewalsPerTTL
	}
	if ctx.Err() == nil {
		n.opts.log.WarnContext(ctx, "snowflake node lease not renewed, trying again",
			"node", n.ID(), "minting", time.Now().Before(n.held().until), "error", err)
	}
	return n.opts.ttl / retriesPerTTL
}

func (n *Node) renewOrReplace(ctx context.Context) error {
	held := n.held()
	if held.mint == nil {
		return n.acquire(ctx)
	}
	started := time.Now()
	err := n.table.renew(ctx, held.id, held.clock())
	if errors.Is(err, ErrLeaseLost) {
		return n.replace(ctx, held.id)
	}
	if err != nil {
		return err
	}
	held.until = started.Add(n.opts.ttl)
	n.hold(held)
	return nil
}

func (n *Node) replace(ctx context.Context, lost int64) error {
	n.hold(lease{id: lost})
	if err := n.acquire(ctx); err != nil {
		return err
	}
	n.opts.log.WarnContext(ctx, "snowflake node lease was lost and replaced", "lost", lost, "node", n.ID())
	return nil
}
