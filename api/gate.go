package api

import (
	"context"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/semaphore"
)

const (
	// codesPerCPU is how many purchases a processor begins at once, unless the operator has said otherwise. A code waits
	// for the workflow engine most of its time.
	codesPerCPU = 8
	// linePerPlace is how many may wait for each place inside.
	linePerPlace = 2
	// lineWithin is how long anybody waits in the line.
	lineWithin = 2 * time.Second
)

// gate bounds how many are at work at once, and how many wait for their turn and how long. Whoever does not fit is
// refused at once. It is why the purchases that have begun get through when too many want to begin
// (docs/overload.md).
type gate struct {
	places *semaphore.Weighted // first come, first served
	line   int64               // how many may wait
	within time.Duration

	inside, waiting atomic.Int64
	full, late      func() // told of a refusal: no room in the line, or no place in time
}

// newGate makes a gate that lets atOnce in; 0 takes a number that suits this machine.
func newGate(atOnce int, within time.Duration) *gate {
	if atOnce <= 0 {
		atOnce = codesPerCPU * runtime.GOMAXPROCS(0)
	}
	return &gate{
		places: semaphore.NewWeighted(int64(atOnce)), line: int64(linePerPlace * atOnce), within: within,
		full: func() {}, late: func() {},
	}
}

// enter takes a place, and waits for one unless more than line are waiting already. Without a place it returns nil; with
// one, how to give it back.
func (g *gate) enter(ctx context.Context, line int64) (leave func()) {
	if !g.places.TryAcquire(1) && !g.wait(ctx, line) { // TryAcquire overtakes nobody
		return nil
	}
	g.inside.Add(1)
	return func() {
		g.inside.Add(-1)
		g.places.Release(1)
	}
}

func (g *gate) wait(ctx context.Context, line int64) bool {
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > line {
		g.full()
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, g.within)
	defer cancel()
	if g.places.Acquire(ctx, 1) != nil {
		g.late()
		return false
	}
	return true
}

// step is which step of a purchase wants to pass the gate.
type step int

const (
	begins    step = iota // a course is chosen
	continues             // a code is asked for, by somebody who has chosen
)

// gated lets an operation through the gate of purchases only; behind forUsers, so that strangers take no place. Whoever
// has begun may use all of the line and a beginner half of it, for a choice that gets no code was work for nothing.
func (s *Server) gated(api huma.API, op huma.Operation, which step) huma.Operation {
	line := s.purchases.line
	if which == begins {
		line /= 2
	}
	op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
		leave := s.purchases.enter(ctx.Context(), line)
		if leave == nil {
			ctx.SetHeader("Retry-After", retryAfter())
			_ = huma.WriteErr(api, ctx, http.StatusServiceUnavailable, "")
			return
		}
		defer leave()
		next(ctx)
	})
	return op
}
