// Package bench measures a running stack as its users load it: real orders over HTTP, from the choice of a course to the
// row in the course table, beside what Temporal alone can do on the same machine (the skeleton). It takes no short cut:
// every signature is made and checked, every commit is synced, every message confirmed.
package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"
)

// Config says what to measure.
type Config struct {
	Stack Stack
	// DialTemporal makes a connection to the stack's Temporal.
	DialTemporal func(context.Context) (client.Client, error)

	Orders       int           // of each kind in all rounds together
	Concurrency  int           // at once
	Rounds       int           // into which the orders are split; the two kinds take turns
	SkeletonOnly bool          // no orders in the rounds: to compare settings of Temporal
	Alone        int           // of each kind, one at a time
	ReadFor      time.Duration // of each endpoint that reads
	Open         int           // orders that nobody scans, for the cost of waiting; 0: not measured
	IdleFor      time.Duration // how long the waiting is measured
	Rows         []int         // sizes of the tables, in paid orders, to measure at; none: as they are
	For          time.Duration // after which no further part is begun

	Soak     time.Duration // instead of all that: hold a steady load and see what grows; 0: not
	SoakRate float64       // visits a second meanwhile

	OverloadFor time.Duration // instead of all that: offer more than the stack can take, for so long; 0: not
	Overload    float64       // so many times of what it can take

	Commit   string // what is measured, for the report; empty: what the program was built from
	AnyHost  bool   // also a stack on another machine
	Progress io.Writer
}

// The most that may be asked for.
const (
	mostOrders      = 100_000
	mostConcurrency = 1000
	mostRows        = 10_000_000
	longest         = 24 * time.Hour
)

func (c Config) check() error {
	var faults []error
	within := func(name string, value, least, most int) {
		if value < least || value > most {
			faults = append(faults, fmt.Errorf("%s is %d: want %d to %d", name, value, least, most))
		}
	}
	within("--orders", c.Orders, 1, mostOrders)
	within("--concurrency", c.Concurrency, 1, mostConcurrency)
	within("--rounds", c.Rounds, 1, c.Orders)
	within("--alone", c.Alone, 0, mostOrders)
	within("--open", c.Open, 0, mostOrders)
	for i, rows := range c.Rows {
		within("--rows", rows, 1, mostRows)
		if i > 0 && rows <= c.Rows[i-1] {
			faults = append(faults, errors.New("--rows: tables only grow here; name the sizes in ascending order"))
		}
	}
	for name, d := range map[string]time.Duration{"--read-for": c.ReadFor, "--idle-for": c.IdleFor, "--for": c.For} {
		if d < 0 || d > longest {
			faults = append(faults, fmt.Errorf("%s is %s: want 0 to %s", name, d, longest))
		}
	}
	faults = append(faults, c.checkSoak(), c.checkOverload())
	if !c.AnyHost {
		faults = append(faults, c.Stack.checkHosts())
	}
	if len(c.Rows) > 0 {
		faults = append(faults, c.Stack.checkRows())
	}
	return errors.Join(faults...)
}

// Run measures. When its time is over it returns what it has.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Stack = cfg.Stack.findMetrics()
	if err := cfg.Stack.checkUp(ctx); err != nil {
		return nil, err
	}
	b := &bench{Config: cfg, run: strings.ToLower(rand.Text()[:8]), until: time.Now().Add(cfg.For)}
	defer b.close(context.WithoutCancel(ctx))
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	err := b.measure(ctx)
	b.report.Refused = b.shop.refused.Load()
	return b.report, err
}

// bench is one run.
type bench struct {
	Config
	run    string // tells this run's learners from those of others
	until  time.Time
	report *Report

	gauges   *gauges
	ear      *ear
	shop     *shop
	engine   client.Client
	skeleton *skeleton
	closers  []func(context.Context) error
}

func (b *bench) open(ctx context.Context) (err error) {
	if b.gauges, err = openGauges(ctx, b.Stack); err != nil {
		return fmt.Errorf("gauges: %w", err)
	}
	b.closers = append(b.closers, b.gauges.close)
	if b.ear, err = listen(ctx, b.Stack.DatabaseURL); err != nil {
		return fmt.Errorf("listen at Postgres: %w", err)
	}
	b.closers = append(b.closers, b.ear.close)
	if b.shop, err = openShop(ctx, b.Stack, b.ear, b.Concurrency, b.run, b.say); err != nil {
		return err
	}
	b.closers = append(b.closers, func(context.Context) error { b.shop.close(); return nil })
	if b.engine, err = b.dial(ctx); err != nil {
		return err
	}
	forWorker, err := b.dial(ctx)
	if err != nil {
		return err
	}
	if b.skeleton, err = newSkeleton(b.engine, forWorker, b.run); err != nil {
		return err
	}
	b.closers = append(b.closers, func(context.Context) error { b.skeleton.close(); return nil })
	b.report = newReport(b.Config, b.gauges.leftOut)
	return nil
}

func (b *bench) dial(ctx context.Context) (client.Client, error) {
	c, err := b.DialTemporal(ctx)
	if err != nil {
		return nil, fmt.Errorf("no answer from Temporal; `make up` starts the stack: %w", err)
	}
	b.closers = append(b.closers, func(context.Context) error { c.Close(); return nil })
	return c, nil
}

func (b *bench) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, closer := range slices.Backward(b.closers) {
		if err := closer(ctx); err != nil {
			b.say("at the end: %v", err)
		}
	}
}

func (b *bench) say(format string, args ...any) {
	if b.Progress != nil {
		fmt.Fprintf(b.Progress, format+"\n", args...)
	}
}

// timeUp says that no further part shall begin.
func (b *bench) timeUp() bool { return time.Now().After(b.until) }

// measure goes through the parts, and keeps in the report what each has found.
func (b *bench) measure(ctx context.Context) error {
	if b.Soak > 0 {
		return b.soak(ctx)
	}
	if b.OverloadFor > 0 {
		return b.overload(ctx)
	}
	for _, part := range []struct {
		name   string
		wanted bool
		do     func(context.Context) error
	}{
		{"warm up", true, b.warmUp},
		{"rounds", true, b.rounds},
		{"one at a time", b.Alone > 0, b.alone},
		{"reads", b.ReadFor > 0, b.reads},
		{"idle cost of open orders", b.Open > 0, b.idle},
		{"growth", len(b.Rows) > 0, b.growth},
	} {
		if !part.wanted {
			continue
		}
		if b.timeUp() {
			b.report.LeftOut = append(b.report.LeftOut, part.name+": no time left (--for)")
			continue
		}
		b.say("%s …", part.name)
		if err := part.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// together does n things, c of them at once, and gives up at the first that fails.
func together(ctx context.Context, n, c int, do func(ctx context.Context, i int) error) error {
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(c)
	for i := range n {
		if each.Err() != nil {
			break
		}
		group.Go(func() error { return do(each, i) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}
