package bench

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"coursepay/internal/devstack/devtest"
)

func TestPercentilesOfAHistogram(t *testing.T) {
	t.Parallel()
	metrics, err := parseMetrics(strings.NewReader(`
h_bucket{verdict="accepted",le="0.1"} 40
h_bucket{verdict="accepted",le="0.2"} 90
h_bucket{verdict="accepted",le="+Inf"} 90
h_bucket{verdict="duplicate",le="0.1"} 10
h_bucket{verdict="duplicate",le="0.2"} 10
h_bucket{verdict="duplicate",le="+Inf"} 10
other_bucket{le="0.1"} 7
`))
	require.NoError(t, err)
	found := latencyOfBuckets(bucketsOf(metrics, "h_bucket"))
	require.Equal(t, 100, found.Count)
	require.InDelta(t, 100, found.P50, 0.01)
	require.InDelta(t, 198, found.P99, 0.01)
	require.Zero(t, latencyOfBuckets(nil))
	slow := []bucket{{0.1, 1}, {0.2, 1}, {inf(t), 2}}
	require.InDelta(t, 0.2, quantile(slow, 0.99), 0, "slower than the last bound is told as the last bound")
}

func inf(t *testing.T) float64 {
	t.Helper()
	all := bucketsOf([]metric{{"h", `le="+Inf"}`, 1}}, "h")
	require.Len(t, all, 1)
	return all[0].seconds
}

// crowdAt is a crowd that asks somebody who answers with the status, and says how often he was asked.
func crowdAt(t *testing.T, status int, after string) (*crowd, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return &crowd{
		shop: &shop{stack: Stack{APIURL: server.URL, JWTSecret: "s"}, http: server.Client(), courses: []course{{ID: "2"}}},
		gone: make(chan struct{}),
	}, &asked
}

func TestALearnerWhoIsRefusedComesBackSomeTimesOnly(t *testing.T) {
	t.Parallel()
	c, asked := crowdAt(t, http.StatusServiceUnavailable, "")
	c.buy(t.Context(), "x", 1)
	require.EqualValues(t, mostTries, asked.Load())
	require.Equal(t, 1, c.report.GaveUp)
	require.Equal(t, mostTries, c.report.WithoutAdvice)
	require.ErrorContains(t, c.report.Verdict(), "did not say")
	require.Equal(t, mostTries, c.sum().Refusals.Count)
	require.Zero(t, c.report.Failed)
}

func TestALearnerWaitsAsLongAsHeIsTold(t *testing.T) {
	t.Parallel()
	c, asked := crowdAt(t, http.StatusTooManyRequests, "3600")
	close(c.gone) // the time is over: nobody comes back
	c.buy(t.Context(), "x", 1)
	require.EqualValues(t, 1, asked.Load())
	require.Equal(t, 1, c.report.GaveUp)
	require.Zero(t, c.report.WithoutAdvice)
}

func TestOtherAnswersAreFailures(t *testing.T) {
	t.Parallel()
	c, asked := crowdAt(t, http.StatusInternalServerError, "")
	c.buy(t.Context(), "x", 1)
	c.buy(t.Context(), "y", 1)
	require.EqualValues(t, 2, asked.Load())
	require.Equal(t, 2, c.report.Failed)
	require.ErrorContains(t, c.report.Verdict(), "HTTP 500")
	require.Contains(t, c.report.Failure, "HTTP 500")
	require.Zero(t, c.report.GaveUp)
}

func TestTheCrowdHasABound(t *testing.T) {
	t.Parallel()
	c := &crowd{about: mostLearners - 1}
	require.True(t, c.enter())
	require.False(t, c.enter())
	c.leave()
	require.True(t, c.enter())
	require.Equal(t, 3, c.report.Arrived)
	require.Equal(t, 1, c.report.Crowded)
	require.Equal(t, mostLearners, c.report.MostAtOne)
}

func TestWholeOverloadOnAStack(t *testing.T) {
	t.Parallel()
	stack := devtest.Stack(t, nil)
	env, err := stack.Env()
	require.NoError(t, err)
	at, err := StackFromEnv(env, nothing)
	require.NoError(t, err)
	report, err := Run(t.Context(), Config{
		Stack: at,
		DialTemporal: func(ctx context.Context) (client.Client, error) {
			return stack.Temporal.Dial(ctx, at.TemporalNamespace)
		},
		Orders: 1, Rounds: 1, Concurrency: 4, OverloadFor: 10 * time.Second, Overload: 2, For: time.Minute, Progress: t.Output(),
	})
	require.NoError(t, err)
	o := report.Overload
	require.NotNil(t, o)
	require.Positive(t, o.Peak)
	require.InDelta(t, 2*o.Peak, o.Offered, 0.01)
	require.InDelta(t, 10*o.Offered, o.Arrived, 2)
	require.NoError(t, o.Verdict())
	require.Positive(t, o.Before.Callback.Count)
	require.Positive(t, o.While.Callback.P50)
	require.Positive(t, o.While.Settling.Count)
}

func TestAnOverloadHasBounds(t *testing.T) {
	t.Parallel()
	for _, bad := range []Config{
		{OverloadFor: -time.Second, Overload: 5}, {OverloadFor: 2 * time.Hour, Overload: 5},
		{OverloadFor: time.Second, Overload: 0.5}, {OverloadFor: time.Second, Overload: 21},
	} {
		require.ErrorContains(t, bad.checkOverload(), "--overload")
	}
	require.NoError(t, Config{OverloadFor: time.Minute, Overload: 5}.checkOverload())
	require.NoError(t, Config{}.checkOverload(), "none")
}

func TestEnrolmentsCountWithinTheTimeOnly(t *testing.T) {
	t.Parallel()
	from := time.Now()
	at := func(d time.Duration) passed { return passed{heard: from.Add(d)} }
	require.Equal(t, 2, heardBetween([]passed{at(0), at(1), at(2), at(3)}, from, from.Add(2)))
}

func TestTheOverloadsTable(t *testing.T) {
	t.Parallel()
	r := &Report{Overload: &Overload{Peak: 10, Offered: 50, Seconds: 60, Goodput: 9, Share: 0.9, Recovered: 1.5, Normal: 80}}
	require.Contains(t, r.String(), "overload: 60 s of 50.0 learners a second, 5.0 × the peak")
	require.Contains(t, r.String(), "9.00 (0.90 of the peak)")
	require.Contains(t, r.String(), "after 1.5 s")
	r.Overload.Never = true
	require.Contains(t, r.String(), "not within a minute")
}
