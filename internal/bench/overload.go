package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Overload is what becomes of payments when more learners come than the stack can serve, and afterwards.
type Overload struct {
	// Peak is how many purchases a second get through when no more begin than end: a closed loop.
	Peak float64 `json:"peakPerSecond"`
	// Offered is how many learners a second came, each a new one and at his own time, whatever became of those before.
	Offered float64 `json:"offeredPerSecond"`
	Seconds float64 `json:"seconds"`
	Arrived int     `json:"arrived"`
	Crowded int     `json:"crowded"` // of them, sent away by the bench itself, which had too many about

	Enrolled int     `json:"enrolled"` // within the time
	Goodput  float64 `json:"goodputPerSecond"`
	Share    float64 `json:"goodputShareOfPeak"`
	GaveUp   int     `json:"gaveUp"` // after mostTries, or when the time was over
	Failed   int     `json:"failed"` // neither served nor told to come back later
	Failure  string  `json:"firstFailure,omitempty"`

	Refusals      Latency `json:"refusals"` // how soon a learner was told to come back later (503, 429)
	WithoutAdvice int     `json:"refusalsWithoutRetryAfter"`
	Creation      Latency `json:"creation"`   // of codes that were given, from the request that got it
	ToEnrolled    Latency `json:"toEnrolled"` // from the learner's coming, times away included

	Before During `json:"atPeak"`
	While  During `json:"inOverload"`

	Normal    float64 `json:"normalMillis"`              // a purchase alone, before
	Recovered float64 `json:"recoveredAfter"`            // seconds from the last arrival until a purchase alone took its normal time again
	Never     bool    `json:"notRecoveredYet,omitempty"` // after a minute
	CPU       float64 `json:"benchShareOfCPU"`           // of what bench and stack used in the overload
	MostAtOne int     `json:"mostLearnersAtOneTime"`     // that were about
}

// During is how payments fared in one of the two times.
type During struct {
	Callback Latency `json:"callback"` // from the callback's arrival to its answer, by the API's own histogram
	Settling Latency `json:"settling"` // from the callback's arrival to the enrolment's commit
}

const (
	alonePurchases  = 8                // to learn what is normal
	peakAtMost      = 20 * time.Second // the closed loop, and no longer than the overload; after peakRamp
	peakRamp        = 3 * time.Second
	mostTries       = 4 // of each request, as our client does
	longestRetry    = 10 * time.Second
	mostLearners    = 4000
	mostConnections = 1024 // to each host
	normalAgain     = 2    // times the normal time is normal
	normalInARow    = 3
	mostOverload    = 20
)

// checkOverload says what is wrong with what is asked for.
func (c Config) checkOverload() error {
	if c.OverloadFor < 0 || c.OverloadFor > time.Hour {
		return fmt.Errorf("--overload-for is %s: want 0 to %s", c.OverloadFor, time.Hour)
	}
	if c.OverloadFor > 0 && (c.Overload < 1 || c.Overload > mostOverload) {
		return fmt.Errorf("--overload is %g: want 1 to %d", c.Overload, mostOverload)
	}
	return nil
}

// crowd is the learners of an overload.
type crowd struct {
	shop *shop
	end  time.Time
	gone chan struct{} // closed at the end: nobody comes back after it

	learners sync.WaitGroup

	mu       sync.Mutex
	report   Overload
	about    int
	refusals []time.Duration
	creation []time.Duration
	whole    []time.Duration
	paid     []passed
}

// overload measures the peak, then lets several times as many learners come, and then looks when all is well again.
func (b *bench) overload(ctx context.Context) error {
	b.say("warm up and what is normal …")
	if err := b.warmUp(ctx); err != nil {
		return err
	}
	normal, err := b.normal(ctx)
	if err != nil {
		return err
	}
	b.say("peak …")
	peak, before, err := b.peak(ctx)
	if err != nil {
		return err
	}
	b.say("peak: %.1f/s; %s of %.1f/s …", peak, b.OverloadFor, peak*b.Overload)
	c := b.openCrowd()
	defer c.shop.close()
	c.report.Peak, c.report.Before, c.report.Normal = peak, before, milliseconds(normal)
	c.report.While.Callback, err = b.callbacks(ctx, func() error { return b.storm(ctx, c, peak*b.Overload) })
	b.comeToRest(ctx, c)
	c.learners.Wait()
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return err
	}
	err = b.readBooks(ctx, c.paid)
	b.report.Overload = c.sum()
	return err
}

// Verdict is what is wrong with how the stack took it; nil where there was no overload.
func (o *Overload) Verdict() error {
	if o == nil {
		return nil
	}
	var faults []error
	if o.Failed > 0 {
		faults = append(faults, fmt.Errorf("overload: %d learners were neither served nor told to come back later; the first: %s", o.Failed, o.Failure))
	}
	if o.WithoutAdvice > 0 {
		faults = append(faults, fmt.Errorf("overload: %d refusals did not say when to come back", o.WithoutAdvice))
	}
	return errors.Join(faults...)
}

// normal is how long a purchase takes that has the stack to itself.
func (b *bench) normal(ctx context.Context) (time.Duration, error) {
	var times []time.Duration
	for i := range alonePurchases {
		began := time.Now()
		if _, err := b.shop.buy(ctx, fmt.Sprint("normal-", i), i, false); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began))
	}
	return percentile(slices.Sorted(slices.Values(times)), 50), nil
}

// peak is a closed loop: as many learners as --concurrency says, of whom each makes room for the next one.
func (b *bench) peak(ctx context.Context) (perSecond float64, fared During, err error) {
	var mu sync.Mutex
	var all []passed
	peakFor := min(peakAtMost, b.OverloadFor)
	from := time.Now().Add(min(peakRamp, peakFor))
	end := from.Add(peakFor)
	fared.Callback, err = b.callbacks(ctx, func() error {
		return together(ctx, b.Concurrency, b.Concurrency, func(ctx context.Context, worker int) error {
			for i := 0; time.Now().Before(end); i++ {
				p, err := b.shop.buy(ctx, fmt.Sprint("peak-", worker, "-", i), worker+1, false)
				if err != nil {
					return err
				}
				mu.Lock()
				all = append(all, p)
				mu.Unlock()
			}
			return nil
		})
	})
	if err != nil {
		return 0, fared, err
	}
	if err := errors.Join(b.readBooks(ctx, all), b.drain(ctx, all)); err != nil {
		return 0, fared, err
	}
	fared.Settling = settlingOf(all)
	perSecond = float64(heardBetween(all, from, end)) / peakFor.Seconds()
	if perSecond == 0 {
		return 0, fared, fmt.Errorf("no purchase got through within %s", peakFor)
	}
	return perSecond, fared, nil
}

func heardBetween(all []passed, from, end time.Time) (n int) {
	for _, p := range all {
		if p.heard.After(from) && !p.heard.After(end) {
			n++
		}
	}
	return n
}

func settlingOf(all []passed) Latency {
	var times []time.Duration
	for _, p := range all {
		if p.settling > 0 {
			times = append(times, p.settling)
		}
	}
	return latencyOf(times)
}

// openCrowd makes a shop whose connections are bounded; everything else is the bench's own shop's.
func (b *bench) openCrowd() *crowd {
	client := &http.Client{
		Transport: &http.Transport{
			MaxConnsPerHost: mostConnections, MaxIdleConnsPerHost: mostConnections, IdleConnTimeout: 20 * time.Second,
		},
		CheckRedirect: b.shop.http.CheckRedirect,
	}
	return &crowd{
		shop: &shop{stack: b.shop.stack, ear: b.ear, run: b.run, courses: b.shop.courses, say: b.say, http: client},
		end:  time.Now().Add(b.OverloadFor), gone: make(chan struct{}),
	}
}

// storm lets learners come at their rate until the time is over. Those who were given a code go on: they pay.
func (b *bench) storm(ctx context.Context, c *crowd, rate float64) error {
	before := b.processorTime()
	c.report.Offered, c.report.Seconds = rate, b.OverloadFor.Seconds()
	began := time.Now()
	c.end = began.Add(b.OverloadFor)
	for i := 0; ; i++ {
		comes := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if !comes.Before(c.end) || sleep(ctx, time.Until(comes)) != nil {
			break
		}
		if c.enter() {
			c.learners.Go(func() { defer c.leave(); c.buy(ctx, fmt.Sprint("storm-", i), i+1) })
		}
	}
	c.report.CPU = b.ownShare(before)
	close(c.gone)
	return ctx.Err()
}

func (c *crowd) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Arrived++
	if c.about >= mostLearners {
		c.report.Crowded++
		return false
	}
	c.about++
	c.report.MostAtOne = max(c.report.MostAtOne, c.about)
	return true
}

func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.about--
}

// errGaveUp says that a learner went away without a code.
var errGaveUp = errors.New("gave up")

// buy is one learner's story: he chooses, asks for a code, and pays once he has it.
func (c *crowd) buy(ctx context.Context, name string, number int) {
	came := time.Now()
	v, err := c.shop.enter(name, number)
	if err == nil {
		err = c.persist(ctx, func(ctx context.Context) error { return c.shop.choose(ctx, &v) })
	}
	var asked time.Time
	if err == nil {
		err = c.persist(ctx, func(ctx context.Context) error { asked = time.Now(); return c.shop.requestCode(ctx, &v) })
	}
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lost(err)
		return
	}
	took := time.Since(asked)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	done := passed{payNo: v.record.PayNo, creation: took}
	if err = c.shop.openCashier(ctx, v.record.PayNo); err == nil {
		err = c.shop.pay(ctx, v, false, &done)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil || errors.Is(err, errUnheard) {
		c.paid = append(c.paid, done) // and is looked up, whether we heard of it or not
	}
	if err != nil {
		c.lost(err)
		return
	}
	c.creation = append(c.creation, took)
	if !done.heard.After(c.end) {
		c.report.Enrolled++
		c.whole = append(c.whole, done.heard.Sub(came))
	}
}

// persist asks until the answer is another one than "come back later"; at most mostTries times, and not after the end.
func (c *crowd) persist(ctx context.Context, ask func(context.Context) error) error {
	for try := 1; ; try++ {
		began := time.Now()
		within, cancel := context.WithTimeout(ctx, patience)
		err := ask(within)
		cancel()
		busy, refused := errors.AsType[*busyError](err)
		if !refused {
			return err
		}
		c.refused(time.Since(began), busy.after)
		if try == mostTries || !c.comesBack(ctx, busy.after) {
			return errGaveUp
		}
	}
}

func (c *crowd) refused(took, after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals = append(c.refusals, took)
	if after == 0 {
		c.report.WithoutAdvice++
	}
}

// comesBack waits as long as the answer said; a second where it did not say.
func (c *crowd) comesBack(ctx context.Context, after time.Duration) bool {
	if after == 0 {
		after = tryAgain
	}
	timer := time.NewTimer(min(after, longestRetry))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.gone:
	case <-ctx.Done():
	}
	return false
}

func (c *crowd) lost(err error) {
	if errors.Is(err, errGaveUp) {
		c.report.GaveUp++
		return
	}
	c.report.Failed++
	if c.report.Failure == "" {
		c.report.Failure = err.Error()
	}
}

// comeToRest buys alone until that takes its normal time again, several times in a row.
func (b *bench) comeToRest(ctx context.Context, c *crowd) {
	began, inARow := time.Now(), 0
	for i := 0; time.Since(began) < patience; i++ {
		start := time.Now()
		_, err := b.shop.buy(ctx, fmt.Sprint("after-", i), i+1, false)
		if ctx.Err() != nil {
			return
		}
		if err != nil || milliseconds(time.Since(start)) > normalAgain*c.report.Normal {
			inARow = 0
			continue
		}
		if inARow++; inARow == 1 {
			c.report.Recovered = start.Sub(began).Seconds()
		}
		if inARow == normalInARow {
			return
		}
	}
	c.report.Never = true
}

func (c *crowd) sum() *Overload {
	r := &c.report
	r.Goodput = float64(r.Enrolled) / r.Seconds
	r.Share = ratio(r.Goodput, r.Peak)
	r.Refusals, r.Creation, r.ToEnrolled = latencyOf(c.refusals), latencyOf(c.creation), latencyOf(c.whole)
	r.While.Settling = settlingOf(c.paid)
	return r
}

// processorTime is what bench and stack have used so far, in seconds, by service.
func (b *bench) processorTime() map[string]float64 {
	used := cpuSeconds(b.Stack.PIDs)
	used["bench"] = ownCPU()
	return used
}

func (b *bench) ownShare(before map[string]float64) float64 {
	var all, own float64
	for service, used := range b.processorTime() {
		all += used - before[service]
		if service == "bench" {
			own = used - before[service]
		}
	}
	return ratio(own, all)
}
