package e2e

import (
	"crypto"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Strangers knock as fast as they can, from the address that Alipay's notifies come from too, as behind a proxy. Seen
// red without the limits: each of the 3,000 had a row.
func TestFloodOfForgedNotifies(t *testing.T) { // alone: it looks at the heap of the whole process
	s := openShop(t, options{})
	door, closeDoor := s.openDoor(s.engine, slog.New(slog.DiscardHandler))
	const orders, forged, callers = 20, 3000, 6
	genuine := make([]string, orders)
	for i := range genuine {
		_, record := s.codeFor(fmt.Sprint("flood-", i))
		genuine[i] = s.genuine(paidNotify(record.PayNo))
	}
	lies := s.lies(genuine[0])
	before := heapInUse()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers + orders}}
	t.Cleanup(client.CloseIdleConnections)
	var flood, told sync.WaitGroup
	begun := make(chan struct{}, forged)
	for i := range callers {
		flood.Go(func() {
			for n := i; n < forged; n += callers {
				answer, err := post(t.Context(), client, door, lies[n%len(lies)])
				if err != nil || answer != "fail" {
					t.Errorf("forged notify %d: %q, %v", n, answer, err)
				}
				begun <- struct{}{}
			}
		})
	}
	for range callers * 20 {
		<-begun
	}
	for _, form := range genuine {
		told.Go(func() {
			if answer, err := post(t.Context(), client, door, form); err != nil || answer != "success" {
				t.Errorf("genuine notify: %q, %v", answer, err)
			}
		})
	}
	told.Wait()
	s.eventually(orders, `select count(*) from xc_orders where status = '600002'`)
	flood.Wait()
	require.Less(t, heapInUse()-before, int64(32<<20), "bytes of memory that the flood left behind")
	require.Equal(t, orders, s.count(`select count(*) from pay_notify where verdict = 'accepted'`), "what is genuine has its row")
	kept := s.count(`select count(*) from pay_notify where verdict = 'refused'`)
	require.Less(t, kept, forged/4, "rows that strangers wrote")
	client.CloseIdleConnections() // the server would wait for them
	closeDoor()
	counted := s.count(`select sum(substring(reason from '^flood: (\d+) more')::int) from pay_notify where reason like 'flood:%'`)
	sums := s.count(`select count(*) from pay_notify where reason like 'flood:%'`)
	rows := s.count(`select count(*) from pay_notify where verdict = 'refused' and reason not like 'flood:%'`)
	require.Equal(t, forged, rows+counted, "none is forgotten")
	require.Less(t, sums, 10)
}

// lies are forgeries of many kinds, cheap ones and such as cost work.
func (s *shop) lies(good string) []string {
	return []string{
		strings.Replace(good, "total_amount=129.00", "total_amount=0.01", 1),
		s.signed(paidNotify("1"), "app-private", crypto.SHA256),
		strings.Replace(good, "sign=", "xign=", 1),
		"a=" + strings.Repeat("x", 60<<10) + "&" + strings.Replace(good, "sign=", "sign=A", 1),
		strings.Repeat("&", 60<<10),
		strings.Repeat("a&", 30<<10),
		"%%%",
		"",
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // pools let go at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far below the limit
}
