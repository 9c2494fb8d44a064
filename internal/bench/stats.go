package bench

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Latency is how long something took, in milliseconds.
type Latency struct {
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Count int     `json:"count"` // how many were measured
}

func latencyOf(times []time.Duration) Latency {
	sorted := slices.Sorted(slices.Values(times))
	return Latency{P50: milliseconds(percentile(sorted, 50)), P99: milliseconds(percentile(sorted, 99)), Count: len(sorted)}
}

// medianLatency is the median of the rounds' percentiles: a round that something else disturbed does not count.
func medianLatency(rounds []Latency) Latency {
	var p50, p99 []float64
	var all Latency
	for _, round := range rounds {
		if round.Count == 0 {
			continue
		}
		p50, p99 = append(p50, round.P50), append(p99, round.P99)
		all.Count += round.Count
	}
	all.P50, all.P99 = median(p50), median(p99)
	return all
}

// percentile is the smallest value that at least percent of all are not above (the nearest rank); the zero value of none.
func percentile[T cmp.Ordered](sorted []T, percent float64) (value T) {
	if len(sorted) == 0 {
		return value
	}
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// median is the middle value, or the mean of the middle two; 0 of none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// ratio is a/b, and 0 where there is no b.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
