package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soakShortly holds a light load for some seconds, on a stack that others measure too.
func soakShortly(t *testing.T, cfg Config) {
	t.Helper()
	cfg.Soak, cfg.SoakRate = 4*time.Second, 6
	report, err := Run(t.Context(), cfg)
	require.NoError(t, err)
	s := report.Soak
	require.NotNil(t, s)
	require.Zero(t, s.Failed, s.FirstFailure)
	require.InDelta(t, (15 * time.Minute).Seconds(), s.OrderLives, 5)
	require.False(t, s.Judged, "no order of it has run out")
	require.NoError(t, s.Verdict())
	require.Positive(t, s.Visits["buys"])
	require.Positive(t, s.Visits["opens the page and leaves"])
	require.Positive(t, s.Visits["opens Alipay and leaves"])
	require.Positive(t, s.Visits["cancels"])

	found := map[string]Series{}
	for _, one := range s.Series {
		require.Len(t, one.Values, len(s.At), one.Name)
		found[one.Name] = one
	}
	for _, name := range []string{
		"api goroutines", "api heap", "api memory", "api files", "api ← connections", "api → postgres connections", "api → temporal connections",
		"worker goroutines", "worker memory", "worker → rabbitmq connections", "temporal memory", "postgres memory", "rabbitmq files",
		"sandbox memory", "postgres connections", "running stories",
	} {
		require.Contains(t, found, name)
		require.Positive(t, found[name].Values[len(s.At)/2], name)
	}
	require.True(t, found["worker goroutines"].Ours)
	require.False(t, found["temporal memory"].Ours)
	require.Contains(t, report.String(), "worker goroutines")
	require.Contains(t, report.String(), "not judged")
	require.NotContains(t, report.String(), "in 0 rounds")
}

// Red: a verdict that looks at the ends alone, or that calls a cache which fills up a leak.
func TestVerdictsOnSeries(t *testing.T) {
	t.Parallel()
	const samples, warmUp = 180, 30 // as a soak of half an hour has them
	for name, c := range map[string]struct {
		is   quantity
		at   func(i int) float64
		want Verdict
	}{
		"level":                      {goroutines, func(int) float64 { return 200 }, Flat},
		"noise":                      {goroutines, func(i int) float64 { return 200 + float64(i%7)*6 }, Flat},
		"one goroutine in 50 visits": {goroutines, func(i int) float64 { return 100 + float64(i*20)/50 }, Grows},
		"less at first, in the warm-up": {goroutines, func(i int) float64 {
			return 300 * float64(min(i, warmUp)) / warmUp
		}, Flat},
		"a cache that fills up": {memory, func(i int) float64 { return float64(min(i, 100)) * (1 << 20) }, LevelsOff},
		"an hour's peak at the end": {goroutines, func(i int) float64 {
			if i == samples-1 {
				return 5000
			}
			return 100
		}, Flat},
		"a saw that rises":        {heap, func(i int) float64 { return float64(20<<20 + (i%5)<<20 + i*80<<10) }, Grows},
		"a saw that does not":     {heap, func(i int) float64 { return float64(20<<20 + (i%5)<<20) }, Flat},
		"falls":                   {files, func(i int) float64 { return float64(400 - i) }, Flat},
		"one connection a minute": {connections, func(i int) float64 { return 8 + float64(i/6) }, Grows},
		"few connections, one more": {connections, func(i int) float64 {
			if i > 100 {
				return 3
			}
			return 2
		}, Flat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Series{Quantity: c.is}
			var at []float64
			for i := range samples {
				at, s.Values = append(at, float64(10*i)), append(s.Values, c.at(i))
			}
			require.Equal(t, c.want, judgeSeries(s, at, 10*warmUp*time.Second).Verdict)
		})
	}
	rising := Series{Quantity: goroutines}
	var at []float64
	for i := range samples {
		at, rising.Values = append(at, float64(10*i)), append(rising.Values, float64(i))
	}
	require.InDelta(t, 360, judgeSeries(rising, at, 0).PerHour, 1e-6, "one more every 10 s")
	require.Equal(t, TooShort, judgeSeries(rising, at, 1740*time.Second).Verdict)
}

func TestOnlyWhatIsOursFailsASoak(t *testing.T) {
	t.Parallel()
	leak := Series{Name: "worker goroutines", Quantity: goroutines, Ours: true, Verdict: Grows, PerHour: 360}
	theirs := Series{Name: "sandbox memory", Quantity: memory, Verdict: Grows}
	require.NoError(t, (*Soak)(nil).Verdict())
	require.NoError(t, (&Soak{Judged: true, Series: []Series{theirs, {Ours: true, Verdict: LevelsOff}, {Ours: true, Verdict: Flat}}}).Verdict())
	require.ErrorContains(t, (&Soak{Judged: true, Series: []Series{theirs, leak}}).Verdict(), "worker goroutines, 360 an hour")
	require.NoError(t, (&Soak{Series: []Series{leak}}).Verdict(), "it may grow with the open orders")
	require.ErrorContains(t, (&Soak{Failed: 2, FirstFailure: "buys: gone"}).Verdict(), "buys: gone")
}

func TestWarmUpLastsUntilOpenOrdersAreSteady(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		soak, life, want time.Duration
		enough           bool
	}{
		{30 * time.Minute, 2 * time.Minute, 5 * time.Minute, true},
		{30 * time.Minute, 15 * time.Minute, 16 * time.Minute, true},
		{20 * time.Minute, 15 * time.Minute, 20 * time.Minute / 6, false},
		{6 * time.Second, 15 * time.Minute, time.Second, false},
	} {
		warmUp, enough := warmUpOf(c.soak, c.life)
		require.Equal(t, c.want, warmUp)
		require.Equal(t, c.enough, enough)
	}
}

// A connection that comes up late, or goes, is 0 where there is none.
func TestSeriesThatIsNotThereAllTheTime(t *testing.T) {
	t.Parallel()
	w := &watch{values: map[string]*Series{}}
	for i, value := range []float64{-1, 2, -1, 3, -1} {
		w.at = append(w.at, float64(i))
		if value >= 0 {
			w.add("x", connections, true, value)
		}
	}
	require.Equal(t, []float64{0, 2, 0, 3, 0}, w.series(0)[0].Values)
}

func TestWhatAProcessHolds(t *testing.T) {
	t.Parallel()
	line := "  1: 0100007F:C350 0100007F:D431 01 00000000:00000000 00:00000000 00000000  0 0 4711 1"
	s, inode, ok := parseSocket(line)
	require.True(t, ok)
	require.Equal(t, socket{local: 50000, remote: 54321}, s)
	require.Equal(t, "4711", inode)
	_, _, ok = parseSocket("  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1")
	require.False(t, ok, "it listens")

	before := openFiles(os.Getpid())
	for i := range 50 {
		file, err := os.Create(filepath.Join(t.TempDir(), fmt.Sprint(i)))
		require.NoError(t, err)
		t.Cleanup(func() { _ = file.Close() })
	}
	require.GreaterOrEqual(t, openFiles(os.Getpid()), before+25, "others open and close files meanwhile")
	held := bytes.Repeat([]byte{1}, 1<<20)
	require.Greater(t, anonymous(os.Getpid()), float64(len(held)))
}
