package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/models"
)

// shelf keeps rows in memory.
type shelf struct {
	mu      sync.Mutex
	rows    []models.PayNotify
	failing bool
	gate    chan struct{} // when set, a row waits for it
	waiting int
	most    int // that waited at one time
}

func (f *shelf) keep(_ context.Context, n models.PayNotify) error {
	f.mu.Lock()
	f.waiting++
	f.most = max(f.most, f.waiting)
	f.mu.Unlock()
	if f.gate != nil {
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
	if f.failing {
		return errors.New("the books are down")
	}
	f.rows = append(f.rows, n)
	return nil
}

func (f *shelf) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.rows)
}

// sums are the rows that stand for many.
func (f *shelf) sums() (sums []models.PayNotify) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.rows {
		if strings.HasPrefix(n.Reason, "flood") {
			sums = append(sums, n)
		}
	}
	return sums
}

func refusedFrom(address string) models.PayNotify {
	return models.PayNotify{RemoteAddr: address, Verdict: models.VerdictRefused, Reason: "bad signature", Raw: []byte("a=b"), RawSize: 3}
}

func TestFloodLeavesABoundedNumberOfRowsAndNothingUncounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f shelf
		r := newRefusals(f.keep, slog.New(slog.DiscardHandler))
		for range 10_000 {
			r.file(t.Context(), refusedFrom("192.0.2.1"))
		}
		require.Equal(t, callerRows, f.len())
		r.file(t.Context(), refusedFrom("192.0.2.2"))
		require.Equal(t, callerRows+1, f.len(), "another address has rows of its own")
		<-time.After(summaryEvery + time.Second) // by the bubble's clock
		synctest.Wait()
		sums := f.sums()
		require.Len(t, sums, 1)
		require.Equal(t, "192.0.2.1", sums[0].RemoteAddr)
		require.Equal(t, fmt.Sprintf("flood: %d more, without a row of their own", 10_000-callerRows), sums[0].Reason)
		require.EqualValues(t, 3*(10_000-callerRows), sums[0].RawSize)

		r.file(t.Context(), refusedFrom("192.0.2.1"))
		require.Equal(t, callerRows+3, f.len(), "and when it is quiet again, it has rows again")
		<-time.After(10 * summaryEvery)
		synctest.Wait()
		r.mu.Lock()
		require.Empty(t, r.callers, "who is quiet is forgotten")
		require.Nil(t, r.timer, "and nothing runs for nobody")
		r.mu.Unlock()
		r.close()
		require.Len(t, f.sums(), 1)
	})
}

func TestFloodFromManyAddresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f shelf
		r := newRefusals(f.keep, slog.New(slog.DiscardHandler))
		const addresses = 5000
		for i := range addresses {
			r.file(t.Context(), refusedFrom(fmt.Sprintf("10.0.%d.%d", i/256, i%256)))
		}
		require.Equal(t, allRows, f.len())
		require.LessOrEqual(t, len(r.callers), callersKnown, "memory is bounded")
		r.close()
		sums := f.sums()
		require.Len(t, sums, summaryRows+1)
		counted := 0
		for _, sum := range sums {
			counted += int(sum.RawSize) / 3
		}
		require.Equal(t, addresses-allRows, counted)
	})
}

func TestAddressesOfOneOwnerAreOne(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::9": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "": manyCallers, "nonsense": manyCallers,
	} {
		require.Equal(t, want, callerOf(address), address)
	}
}

// Books that hang must not get all connections taken away by strangers' rows.
func TestSlowBooksHoldFewRowsAndNoCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := shelf{gate: make(chan struct{})}
		r := newRefusals(f.keep, slog.New(slog.DiscardHandler))
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() { r.file(t.Context(), refusedFrom("192.0.2.1")) })
		}
		synctest.Wait()
		require.Equal(t, rowsAtOnce, f.most)
		close(f.gate)
		group.Wait()
		r.close()
		require.Equal(t, rowsAtOnce+1, f.len())
		require.Contains(t, f.sums()[0].Reason, fmt.Sprint(50-rowsAtOnce))
	})
}

func TestRowsThatCouldNotBeKeptAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := shelf{failing: true}
		r := newRefusals(f.keep, slog.New(slog.DiscardHandler))
		for range 5 {
			r.file(t.Context(), refusedFrom("192.0.2.1"))
		}
		f.failing = false
		r.close()
		require.Len(t, f.sums(), 1)
		require.Contains(t, f.sums()[0].Reason, "5 more")
	})
}
