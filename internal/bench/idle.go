package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"coursepay/models"
	"coursepay/workflows"
)

// Idle is what orders cost that wait for a buyer who has not even scanned the code.
type Idle struct {
	Orders    int     `json:"orders"`
	PerSecond float64 `json:"createdPerSecond"`
	Creation  Latency `json:"creation"`
	Seconds   float64 `json:"seconds"` // how long each of the two was watched
	// Before is the stack without these orders, With with them.
	Before Quiet `json:"before"`
	With   Quiet `json:"with"`
	// Events is the mean length of a waiting order's history, before and after that time.
	EventsBefore float64 `json:"eventsBefore"`
	EventsAfter  float64 `json:"eventsAfter"`
}

// Quiet is what a stack uses while nobody does anything.
type Quiet struct {
	CPUSeconds     map[string]float64 `json:"cpuSeconds"`
	WALBytes       float64            `json:"walBytes"`
	AlipayRequests *float64           `json:"alipayRequests,omitempty"` // nil: not measured
}

// firstLooks is how long the waiting activity of a new order takes to find that nobody has opened the page.
const firstLooks = 20 * time.Second

func (b *bench) idle(ctx context.Context) error {
	idle := &Idle{Orders: b.Open, Seconds: b.IdleFor.Seconds()}
	b.say("the stack without open orders, for %s …", b.IdleFor)
	var err error
	if idle.Before, err = b.quiet(ctx); err != nil {
		return err
	}
	open, err := b.openOrders(ctx, idle)
	if err != nil {
		return err
	}
	if err := sleep(ctx, min(firstLooks, b.IdleFor)); err != nil {
		return err
	}
	b.say("%d open orders, for %s …", b.Open, b.IdleFor)
	if idle.EventsBefore, err = b.meanEvents(ctx, open); err != nil {
		return err
	}
	if idle.With, err = b.quiet(ctx); err != nil {
		return err
	}
	if idle.EventsAfter, err = b.meanEvents(ctx, open); err != nil {
		return err
	}
	b.report.Idle = idle
	return nil
}

// openOrders makes orders that nobody pays, and returns their workflows. They expire by themselves.
func (b *bench) openOrders(ctx context.Context, idle *Idle) ([]string, error) {
	workflowIDs := make([]string, b.Open)
	times := make([]time.Duration, b.Open)
	began := time.Now()
	err := together(ctx, b.Open, b.Concurrency, func(ctx context.Context, i int) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		v, err := b.shop.enter(fmt.Sprint("open-", i), i)
		if err != nil {
			return err
		}
		if times[i], err = b.shop.ask(ctx, &v); err != nil {
			return err
		}
		workflowIDs[i] = workflows.PayOrderID(models.OrderCourse, v.choice.ID)
		if (i+1)%1000 == 0 {
			b.say("%d of %d orders are open", i+1, b.Open)
		}
		return nil
	})
	idle.PerSecond, idle.Creation = float64(b.Open)/time.Since(began).Seconds(), latencyOf(times)
	return workflowIDs, err
}

// quiet does nothing for a while and sees what the stack does.
func (b *bench) quiet(ctx context.Context) (Quiet, error) {
	before, err := b.gauges.read(ctx)
	if err != nil {
		return Quiet{}, err
	}
	if err := sleep(ctx, b.IdleFor); err != nil {
		return Quiet{}, err
	}
	after, err := b.gauges.read(ctx)
	if err != nil {
		return Quiet{}, err
	}
	var used costs
	used.add(before, after, 1)
	delete(used.cpu, "bench")
	q := Quiet{CPUSeconds: used.cpu, WALBytes: used.wal}
	if b.gauges.metrics["api"] != "" && b.gauges.metrics["worker"] != "" {
		q.AlipayRequests = &used.alipay
	}
	return q, nil
}

func (b *bench) meanEvents(ctx context.Context, workflowIDs []string) (float64, error) {
	var lengths []float64
	for chunk := range slices.Chunk(workflowIDs, max(1, len(workflowIDs)/sampled)) {
		n, err := b.historyLength(ctx, chunk[0])
		if err != nil {
			return 0, err
		}
		lengths = append(lengths, float64(n))
	}
	total := 0.0
	for _, n := range lengths {
		total += n
	}
	return ratio(total, float64(len(lengths))), nil
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return errors.Join(ctx.Err(), context.Cause(ctx))
	case <-timer.C:
		return nil
	}
}
