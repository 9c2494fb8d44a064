package bench

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"coursepay/internal/auth"
)

// Read is how fast an endpoint that only reads answers.
type Read struct {
	Endpoint  string  `json:"endpoint"`
	PerSecond float64 `json:"perSecond"`
	Latency   Latency `json:"latency"`
}

// endpoint is something to read, as somebody who may.
type endpoint struct {
	name, method string
	path, token  func(v visit) string
}

// readers is how many learners read in turns.
const readers = 8

func asLearner(v visit) string { return v.token }

func learnersReads() []endpoint {
	return []endpoint{
		{"payresult", http.MethodGet, func(v visit) string { return "/orders/payresult?payNo=" + v.record.PayNo }, asLearner},
		{"learnstatus", http.MethodPost, func(v visit) string { return "/learning/choosecourse/learnstatus/" + v.course.ID }, asLearner},
		{"mycoursetable", http.MethodGet, func(visit) string { return "/learning/mycoursetable?page=1&size=10" }, asLearner},
	}
}

// paidVisits are learners who have bought a course just now.
func (b *bench) paidVisits(ctx context.Context, name string) ([]visit, error) {
	visits := make([]visit, readers)
	for i := range visits {
		v, _, err := b.shop.purchase(ctx, fmt.Sprint(name, "-", i), i, false)
		if err != nil {
			return nil, err
		}
		visits[i] = v
	}
	return visits, b.checkStatus(ctx, visits[0])
}

// checkStatus makes sure that what is read is the record of a paid order.
func (b *bench) checkStatus(ctx context.Context, v visit) error {
	var now record
	if err := b.shop.call(ctx, http.MethodGet, "/orders/payresult?payNo="+v.record.PayNo, v.token, nil, &now); err != nil {
		return err
	}
	if now.Status != paid {
		return fmt.Errorf("payresult of a paid order says %s", now.Status)
	}
	return nil
}

func (b *bench) reads(ctx context.Context) error {
	visits, err := b.paidVisits(ctx, "reader")
	if err != nil {
		return err
	}
	for _, e := range learnersReads() {
		read, err := b.readFor(ctx, e, visits)
		if err != nil {
			return err
		}
		b.say("%s: %.0f/s", e.name, read.PerSecond)
		b.report.Reads = append(b.report.Reads, read)
	}
	return nil
}

// readFor reads with all connections at once until the time is over.
func (b *bench) readFor(ctx context.Context, e endpoint, visits []visit) (Read, error) {
	var mu sync.Mutex
	var all []time.Duration
	began := time.Now()
	end := began.Add(b.ReadFor)
	err := together(ctx, b.Concurrency, b.Concurrency, func(ctx context.Context, i int) error {
		var mine []time.Duration
		for ; time.Now().Before(end); i++ {
			took, err := b.readOnce(ctx, e, visits[i%len(visits)])
			if err != nil {
				return err
			}
			mine = append(mine, took)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, mine...)
		return nil
	})
	took := time.Since(began)
	return Read{Endpoint: e.name, PerSecond: float64(len(all)) / took.Seconds(), Latency: latencyOf(all)}, err
}

func (b *bench) readOnce(ctx context.Context, e endpoint, v visit) (time.Duration, error) {
	began := time.Now()
	err := b.shop.call(ctx, e.method, e.path(v), e.token(v), nil, nil)
	return time.Since(began), err
}

// operator makes a token of somebody who may use the operators' endpoints.
func (b *bench) operator() (string, error) {
	return auth.Issue([]byte(b.Stack.JWTSecret), auth.User{ID: "bench-operator", Ops: true}, time.Hour, time.Now())
}
