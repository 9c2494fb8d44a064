package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Soak is whether the stack stays as it is under a steady load: whether goroutines, memory and connections grow.
type Soak struct {
	Seconds   float64 `json:"seconds"`
	WarmUp    float64 `json:"warmUpSeconds"` // of them, before anything is compared
	PerSecond float64 `json:"visitsPerSecond"`
	// OrderLives is for how many seconds an order may be paid. Orders that nobody pays pile up for so long.
	OrderLives float64 `json:"orderLivesSeconds"`
	// Judged says that the warm-up was long enough for the number of open orders to become steady. Otherwise what grows
	// may grow with them.
	Judged bool           `json:"judged"`
	Visits map[string]int `json:"visits"` // by what the learner did
	// Failed visits should not be: the load is light. Crowded ones were left out because too many others were not over.
	Failed       int       `json:"failed"`
	FirstFailure string    `json:"firstFailure,omitempty"`
	Crowded      int       `json:"crowded"`
	At           []float64 `json:"atSeconds"` // when the samples were taken, since the beginning
	Series       []Series  `json:"series"`
}

const (
	fastestSamples = 100 * time.Millisecond
	slowestSamples = 10 * time.Second
	samplesOfASoak = 100              // or more, once they would be further apart than slowestSamples
	visitsAtOnce   = 200              // far more than a light load has
	lingering      = 20 * time.Second // how long a page stays open that is then left
	endingOrders   = time.Minute      // for orders that have run out to be closed
	mostFailed     = 20               // after which it is no soak any more
)

// checkSoak says what is wrong with what is asked for.
func (c Config) checkSoak() error {
	if c.Soak < 0 || c.Soak > longest {
		return fmt.Errorf("--soak is %s: want 0 to %s", c.Soak, longest)
	}
	if c.Soak > 0 && (c.SoakRate <= 0 || c.SoakRate > mostConcurrency) {
		return fmt.Errorf("--soak-rate is %g: want more than 0, and %d at most", c.SoakRate, mostConcurrency)
	}
	return nil
}

// soaking is a soak under way.
type soaking struct {
	*bench
	watch *watch

	mu     sync.Mutex
	report Soak
	bought []passed
}

// soak lets learners come at a steady rate and samples what the stack's processes hold meanwhile. Nothing else runs before
// it or beside it: what a heavier load has left behind would hide what grows.
func (b *bench) soak(ctx context.Context) error {
	s := &soaking{bench: b, report: Soak{Seconds: b.Soak.Seconds(), PerSecond: b.SoakRate, Visits: map[string]int{}}}
	var err error
	if s.watch, err = newWatch(b); err != nil {
		return err
	}
	b.report.LeftOut = append(b.report.LeftOut, s.watch.leftOut...)
	failed := s.hold(ctx)
	if err := s.judge(context.WithoutCancel(ctx)); err != nil { // what was seen until then, too
		return errors.Join(failed, err)
	}
	b.report.Soak = &s.report
	return errors.Join(failed, b.readBooks(ctx, s.bought))
}

// hold holds the load, and samples, until the time is over.
func (s *soaking) hold(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	over, cancel := context.WithTimeout(ctx, s.Soak)
	defer cancel()
	group.Go(func() error { return s.load(ctx, over) })
	group.Go(func() error { return s.sample(ctx, over) })
	return group.Wait()
}

// load sends a learner at each tick. Those who are there when it is over may finish.
func (s *soaking) load(ctx, over context.Context) error {
	ticks := time.NewTicker(time.Duration(float64(time.Second) / s.SoakRate))
	defer ticks.Stop()
	var group errgroup.Group
	group.SetLimit(visitsAtOnce)
	for number := 0; ; number++ {
		select {
		case <-over.Done():
			return group.Wait()
		case <-ticks.C:
		}
		if !group.TryGo(func() error { return s.visit(ctx, over, number) }) {
			s.mu.Lock()
			s.report.Crowded++
			s.mu.Unlock()
		}
		if err := s.hopeless(); err != nil {
			return errors.Join(err, group.Wait())
		}
	}
}

// deeds are what learners do, in turns.
var deeds = []struct {
	name string
	do   func(s *soaking, ctx, over context.Context, name string, number int) error
}{
	{"buys", (*soaking).buys}, {"buys", (*soaking).buys}, {"buys", (*soaking).buys}, {"never scans", (*soaking).neverScans},
	{"buys", (*soaking).buys}, {"opens the page and leaves", (*soaking).leavesPage}, {"buys", (*soaking).buys},
	{"opens Alipay and leaves", (*soaking).leavesAlipay}, {"buys", (*soaking).buys}, {"cancels", (*soaking).cancels},
}

// visit never fails the soak: what went wrong is counted.
func (s *soaking) visit(ctx, over context.Context, number int) error {
	deed := deeds[number%len(deeds)]
	err := deed.do(s, ctx, over, fmt.Sprint("soak-", number), number)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.report.Visits[deed.name]++
	case ctx.Err() != nil: // interrupted, not failed
	default:
		if s.report.Failed++; s.report.Failed == 1 {
			s.report.FirstFailure = fmt.Sprintf("%s: %v", deed.name, err)
			s.say("a visit has failed: %s", s.report.FirstFailure)
		}
	}
	return nil
}

func (s *soaking) hopeless() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report.Failed >= mostFailed {
		return fmt.Errorf("%d visits have failed; the first: %s", s.report.Failed, s.report.FirstFailure)
	}
	return nil
}

// buys has every other page open.
func (s *soaking) buys(ctx, _ context.Context, name string, number int) error {
	done, err := s.shop.buy(ctx, name, number, number%4 == 0)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bought = append(s.bought, done)
	return nil
}

func (s *soaking) neverScans(ctx, _ context.Context, name string, number int) error {
	_, err := s.order(ctx, name, number)
	return err
}

// order lets a learner get a code.
func (s *soaking) order(ctx context.Context, name string, number int) (v visit, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if v, err = s.shop.enter(name, number); err == nil {
		_, err = s.shop.ask(ctx, &v)
	}
	return v, err
}

// leavesPage looks at the code for a while, and breaks off the page's stream.
func (s *soaking) leavesPage(ctx, over context.Context, name string, number int) error {
	v, err := s.order(ctx, name, number)
	if err != nil {
		return err
	}
	learner, err := s.shop.openPage(ctx, v.token, v.record.PayNo)
	if err != nil {
		return err
	}
	_ = sleep(over, lingering) // or until the soak is over
	learner.leave()
	return nil
}

func (s *soaking) leavesAlipay(ctx, over context.Context, name string, number int) error {
	v, err := s.order(ctx, name, number)
	if err != nil {
		return err
	}
	learner, err := s.shop.openPage(ctx, v.token, v.record.PayNo)
	if err != nil {
		return err
	}
	defer learner.leave()
	if err := s.shop.openCashier(ctx, v.record.PayNo); err != nil {
		return err
	}
	_ = sleep(over, lingering)
	return nil
}

func (s *soaking) cancels(ctx, _ context.Context, name string, number int) error {
	v, err := s.order(ctx, name, number)
	if err != nil {
		return err
	}
	return s.shop.call(ctx, http.MethodPost, "/orders/"+v.record.OrderID+"/cancel", v.token, nil, nil)
}

// sample asks the stack what it holds, again and again.
func (s *soaking) sample(ctx, over context.Context) error {
	every := min(max(s.Soak/samplesOfASoak, fastestSamples), slowestSamples)
	began := time.Now()
	for ticks := time.NewTicker(every); ; {
		if err := s.watch.look(ctx, time.Since(began)); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		select {
		case <-over.Done():
			ticks.Stop()
			return nil
		case <-ticks.C:
		}
		if n := len(s.watch.at); n%60 == 0 {
			s.say("%.0f of %.0f s, %d samples", time.Since(began).Seconds(), s.Soak.Seconds(), n)
		}
	}
}

// judge compares the parts of each series.
func (s *soaking) judge(ctx context.Context) error {
	life, err := s.orderLife(ctx)
	if err != nil {
		return err
	}
	r := &s.report
	warmUp, enough := warmUpOf(s.Soak, life)
	r.OrderLives, r.WarmUp, r.Judged, r.At = life.Seconds(), warmUp.Seconds(), enough, s.watch.at
	r.Series = s.watch.series(warmUp)
	return nil
}

// orderLife is for how long the orders of this run could be paid, 0 if there is none.
func (s *soaking) orderLife(ctx context.Context) (time.Duration, error) {
	var seconds float64
	err := s.gauges.db.QueryRow(ctx, `select coalesce(max(extract(epoch from expire_date - create_date)), 0)::float8
		from xc_pay_record where user_id like $1`, "bench-"+s.run+"-soak-%").Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("read how long orders may be paid: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// warmUpOf is a sixth of the soak, or until the first unpaid orders are closed, since their number is steady from then on.
// A soak that would be warm-up for the most part is not long enough to judge.
func warmUpOf(soak, orderLife time.Duration) (warmUp time.Duration, enough bool) {
	warmUp = max(soak/6, orderLife+endingOrders)
	if warmUp > soak*3/5 {
		return soak / 6, false
	}
	return warmUp, true
}

// Verdict is an error that names what of ours grows, and says if visits failed; nil of a soak that was well, or of none.
func (s *Soak) Verdict() error {
	if s == nil {
		return nil
	}
	var faults []error
	if s.Failed > 0 {
		faults = append(faults, fmt.Errorf("soak: %d visits failed; the first: %s", s.Failed, s.FirstFailure))
	}
	if s.Crowded > 0 {
		faults = append(faults, fmt.Errorf("soak: %d visits were left out, because too many others were not over", s.Crowded))
	}
	for _, one := range s.Series {
		if s.Judged && one.Ours && one.Verdict == Grows {
			faults = append(faults, fmt.Errorf("soak: grows: %s, %s an hour", one.Name, one.show(one.PerHour)))
		}
	}
	return errors.Join(faults...)
}
