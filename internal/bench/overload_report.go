package bench

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// callbackMetric is the API's histogram of how long callbacks waited for their answer.
const callbackMetric = "coursepay_api_callback_seconds_bucket"

// bucket is how many took at most so many seconds.
type bucket struct {
	seconds, count float64
}

// callbacks tells how long the callbacks waited that came while do ran, percentiles as Prometheus makes them.
func (b *bench) callbacks(ctx context.Context, do func() error) (Latency, error) {
	before, err := b.callbackBuckets(ctx)
	if err != nil {
		return Latency{}, err
	}
	if err := do(); err != nil {
		return Latency{}, err
	}
	after, err := b.callbackBuckets(ctx)
	if err != nil {
		return Latency{}, err
	}
	for i := range after {
		for _, was := range before {
			if was.seconds == after[i].seconds {
				after[i].count -= was.count
			}
		}
	}
	return latencyOfBuckets(after), nil
}

func (b *bench) callbackBuckets(ctx context.Context) ([]bucket, error) {
	metrics, err := readMetrics(ctx, b.Stack.APIURL+"/metrics")
	return bucketsOf(metrics, callbackMetric), err
}

// bucketsOf adds up a histogram's series, the smallest bound first.
func bucketsOf(metrics []metric, name string) []bucket {
	counts := map[float64]float64{}
	for _, m := range metrics {
		if m.name != name {
			continue
		}
		if bound, err := strconv.ParseFloat(label(m.labels, "le"), 64); err == nil {
			counts[bound] += m.value
		}
	}
	var all []bucket
	for seconds, count := range counts {
		all = append(all, bucket{seconds, count})
	}
	slices.SortFunc(all, func(a, b bucket) int { return cmp.Compare(a.seconds, b.seconds) })
	return all
}

func latencyOfBuckets(all []bucket) Latency {
	if len(all) == 0 {
		return Latency{}
	}
	return Latency{
		P50: 1000 * quantile(all, 0.50), P99: 1000 * quantile(all, 0.99), Count: int(all[len(all)-1].count),
	}
}

// quantile lies within its bucket as if what is in it were spread evenly.
func quantile(all []bucket, q float64) float64 {
	rank := q * all[len(all)-1].count
	var below bucket
	for _, b := range all {
		if b.count >= rank && b.count > below.count {
			if math.IsInf(b.seconds, 1) {
				return below.seconds
			}
			return below.seconds + (b.seconds-below.seconds)*(rank-below.count)/(b.count-below.count)
		}
		below = b
	}
	return below.seconds
}

func (r *Report) overloadTable() (t table) {
	o := r.Overload
	if o == nil {
		return t
	}
	t.title = fmt.Sprintf("overload: %.0f s of %.1f learners a second, %.1f × the peak", o.Seconds, o.Offered, ratio(o.Offered, o.Peak))
	t.add("", "at the peak", "in overload")
	t.add("enrolled a second", number(o.Peak), fmt.Sprintf("%s (%.2f of the peak)", number(o.Goodput), o.Share))
	pair := func(name string, before, while Latency) {
		t.add(name+" p50 / p99, ms", number(before.P50)+" / "+number(before.P99), number(while.P50)+" / "+number(while.P99))
	}
	pair("callback's answer", o.Before.Callback, o.While.Callback)
	pair("notify → enrolled", o.Before.Settling, o.While.Settling)
	one := func(name string, l Latency) {
		t.add(name+" p50 / p99, ms", "", number(l.P50)+" / "+number(l.P99))
	}
	one("code creation", o.Creation)
	one("refusal", o.Refusals)
	one("learner comes → enrolled", o.ToEnrolled)
	t.add("learners who came, were enrolled, gave up", "", fmt.Sprintf("%d, %d, %d", o.Arrived, o.Enrolled, o.GaveUp))
	t.add("refusals, and those without Retry-After", "", fmt.Sprintf("%d, %d", o.Refusals.Count, o.WithoutAdvice))
	t.add("failed", "", fmt.Sprint(o.Failed, " ", o.Failure))
	t.add("left out by the bench, most learners at one time", "", fmt.Sprintf("%d, %d", o.Crowded, o.MostAtOne))
	t.add("the bench's own share of the processor time", "", fmt.Sprintf("%.2f", o.CPU))
	if recovered := fmt.Sprintf("%.1f s", o.Recovered); o.Never {
		t.add("back to normal", "", "not within a minute")
	} else {
		t.add(fmt.Sprintf("a purchase alone takes %s ms again, at most twice", number(o.Normal)), "", "after "+recovered)
	}
	return t
}
