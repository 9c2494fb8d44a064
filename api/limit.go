package api

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"coursepay/models"
)

// What refused callbacks may cost (docs/adr/0008-callback-door.md). A row is at most evidenceCap bytes of body.
const (
	callerRows   = 60              // rows that one address may leave at once
	callerPause  = time.Second     // and one more after each pause
	allRows      = 300             // rows that all of them together may leave at once
	allPause     = time.Second / 5 // and one more after each pause
	rowsAtOnce   = 4               // database connections that writing them may hold
	callersKnown = 1024            // addresses that are told apart; further ones share a budget
	summaryEvery = time.Minute     // how often those without a row of their own are summed up
	summaryRows  = 20              // addresses that get a row of their own in a sum
	summaryTime  = 10 * time.Second
)

// manyCallers stands for addresses that are not told apart.
const manyCallers = "many"

// refusals files the evidence of callbacks that Alipay has not signed for us, of which strangers can send any number.
// Up to a rate each has its row; the others are counted, and the counts filed as one row for each address and interval.
// It holds nobody up: what Alipay has signed for us never comes here.
type refusals struct {
	keep func(context.Context, models.PayNotify) error
	log  *slog.Logger

	writing  *semaphore.Weighted
	flushing sync.Mutex // held while a sum is being filed

	mu      sync.Mutex
	all     *rate.Limiter
	callers map[string]*refusedCaller
	others  *refusedCaller
	timer   *time.Timer // runs while there is anything to sum up or forget
	closed  bool
}

// refusedCaller is an address with what it may still leave and what it left without a row.
type refusedCaller struct {
	rows   *rate.Limiter
	unkept int
	bytes  int64
}

func newRefusals(keep func(context.Context, models.PayNotify) error, log *slog.Logger) *refusals {
	return &refusals{
		keep: keep, log: log, writing: semaphore.NewWeighted(rowsAtOnce),
		all: rate.NewLimiter(rate.Every(allPause), allRows), callers: map[string]*refusedCaller{}, others: newRefusedCaller(),
	}
}

func newRefusedCaller() *refusedCaller {
	return &refusedCaller{rows: rate.NewLimiter(rate.Every(callerPause), callerRows)}
}

// file keeps a row for the callback, or only counts it.
func (r *refusals) file(ctx context.Context, n models.PayNotify) {
	if !r.admit(n) {
		return
	}
	defer r.writing.Release(1)
	n.PayNo = claimedPayNo(n.Raw)
	r.log.InfoContext(ctx, "notify", "payNo", n.PayNo, "verdict", n.Verdict, "reason", n.Reason)
	if err := r.keep(ctx, n); err != nil {
		r.log.ErrorContext(ctx, "refused notify's evidence not kept", "error", err)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.count(r.caller(n.RemoteAddr), n)
	}
}

// admit says whether the callback gets a row; the caller then gives its place in writing back. It never waits.
func (r *refusals) admit(n models.PayNotify) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	caller := r.caller(n.RemoteAddr)
	if !r.writing.TryAcquire(1) {
		r.count(caller, n)
		return false
	}
	if !caller.rows.Allow() || !r.all.Allow() {
		r.writing.Release(1)
		r.count(caller, n)
		return false
	}
	return true
}

func (r *refusals) caller(remoteAddr string) *refusedCaller {
	r.sumUpLater()
	address := callerOf(remoteAddr)
	if known, ok := r.callers[address]; ok {
		return known
	}
	if len(r.callers) >= callersKnown {
		return r.others
	}
	fresh := newRefusedCaller()
	r.callers[address] = fresh
	return fresh
}

// callerOf is whom an address belongs to: a single one of IPv4, a network of 64 bits of IPv6, whose owner can use every
// address in it.
func callerOf(remoteAddr string) string {
	address, err := netip.ParseAddr(remoteAddr)
	if err != nil {
		return manyCallers
	}
	address = address.Unmap()
	if address.Is4() {
		return address.String()
	}
	network, err := address.WithZone("").Prefix(64)
	if err != nil {
		return manyCallers
	}
	return network.String()
}

func (r *refusals) count(caller *refusedCaller, n models.PayNotify) {
	caller.unkept++
	caller.bytes += n.RawSize
}

func (r *refusals) sumUpLater() {
	if r.timer == nil && !r.closed {
		r.timer = time.AfterFunc(summaryEvery, func() {
			r.sumUp()
			r.mu.Lock()
			defer r.mu.Unlock()
			r.timer = nil
			if len(r.callers) > 0 {
				r.sumUpLater()
			}
		})
	}
}

// close files what has been counted so far.
func (r *refusals) close() {
	r.mu.Lock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.sumUp()
}

// sumUp files the counts, and forgets who has been quiet.
func (r *refusals) sumUp() {
	r.flushing.Lock()
	defer r.flushing.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), summaryTime)
	defer cancel()
	for _, sum := range r.takeSums() {
		r.log.WarnContext(ctx, "flood of refused notifies", "count", sum.unkept, "bytes", sum.bytes)
		if err := r.keep(ctx, sum.row()); err != nil {
			r.log.ErrorContext(ctx, "refused notifies' sum not kept", "count", sum.unkept, "error", err)
		}
	}
}

// refusedSum is how many callbacks of an address had no row of their own.
type refusedSum struct {
	address string
	unkept  int
	bytes   int64
}

func (f refusedSum) row() models.PayNotify {
	return models.PayNotify{
		ReceiveDate: time.Now(), Verdict: models.VerdictRefused, RemoteAddr: f.address, Raw: []byte{}, RawSize: f.bytes,
		Reason: fmt.Sprintf("flood: %d more, without a row of their own", f.unkept),
	}
}

// takeSums empties the counts: the busiest addresses one by one, the rest as one.
func (r *refusals) takeSums() []refusedSum {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sums []refusedSum
	rest := r.others.take(manyCallers)
	for address, caller := range r.callers {
		if sum := caller.take(address); sum.unkept > 0 {
			sums = append(sums, sum)
		} else if caller.rows.Tokens() >= callerRows {
			delete(r.callers, address)
		}
	}
	slices.SortFunc(sums, func(a, b refusedSum) int { return cmp.Compare(b.unkept, a.unkept) })
	for _, sum := range sums[min(summaryRows, len(sums)):] {
		rest.unkept += sum.unkept
		rest.bytes += sum.bytes
	}
	sums = sums[:min(summaryRows, len(sums))]
	if rest.unkept > 0 {
		sums = append(sums, rest)
	}
	return sums
}

func (c *refusedCaller) take(address string) refusedSum {
	sum := refusedSum{address, c.unkept, c.bytes}
	c.unkept, c.bytes = 0, 0
	return sum
}
