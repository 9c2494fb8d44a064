package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for _, c := range []struct {
		sorted  []int
		percent float64
		want    int
	}{
		{nil, 50, 0},
		{[]int{7}, 0, 7},
		{[]int{7}, 99, 7},
		{[]int{1, 2}, 50, 1},
		{[]int{1, 2, 3}, 50, 2},
		{[]int{1, 2, 3}, 99, 3},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
	} {
		require.Equal(t, c.want, percentile(c.sorted, c.percent), "p%v of %v", c.percent, c.sorted)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		before := slices.Clone(c.values)
		require.InDelta(t, c.want, median(c.values), 1e-9)
		require.Equal(t, before, c.values, "the caller's order is kept")
	}
}

func TestOneDisturbedRoundDoesNotMoveTheMedian(t *testing.T) {
	t.Parallel()
	got := medianLatency([]Latency{{10, 20, 100}, {900, 5000, 100}, {12, 22, 100}, {}})
	require.Equal(t, Latency{P50: 12, P99: 22, Count: 300}, got)
}

func TestLatencyIsInMilliseconds(t *testing.T) {
	t.Parallel()
	got := latencyOf([]time.Duration{3 * time.Millisecond, 1500 * time.Microsecond, 2 * time.Second})
	require.Equal(t, Latency{P50: 3, P99: 2000, Count: 3}, got)
	require.Zero(t, latencyOf(nil))
}

func TestRatioOfNothing(t *testing.T) {
	t.Parallel()
	require.Zero(t, ratio(3, 0))
	require.InDelta(t, 1.5, ratio(3, 2), 1e-9)
}
