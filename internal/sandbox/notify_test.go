package sandbox_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"

	"coursepay/internal/sandbox"
)

func (w *world) paid(number string) {
	w.t.Helper()
	w.open(w.order(number))
	w.pay(number)
}

func TestNotifyIsRepeatedUntilSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answers := []func(http.ResponseWriter){
		func(r http.ResponseWriter) { _, _ = io.WriteString(r, "success\n") },
		func(r http.ResponseWriter) { r.WriteHeader(http.StatusAccepted); _, _ = io.WriteString(r, "success") },
		func(r http.ResponseWriter) {
			r.Header().Set("Location", w.merchant.url)
			r.WriteHeader(http.StatusFound)
		},
		func(r http.ResponseWriter) { _, _ = io.WriteString(r, "success") },
	}
	w.merchant.answers(func(r http.ResponseWriter, nth int) { answers[nth-1](r) })
	w.paid("T1")
	got := w.merchant.wait(t, 4)
	n := w.settled(1)[0]
	require.True(t, n.Acknowledged)
	require.Nil(t, n.NextAt)
	require.Len(t, n.Attempts, 4)
	for i, status := range []int{200, 202, 302, 200} {
		require.Equal(t, status, n.Attempts[i].Status)
		require.Equal(t, n.NotifyID, got[i].form.Get("notify_id"))
		requireSignedByAlipay(t, w, got[i])
	}
	require.Equal(t, "success\n", n.Attempts[0].Body)
}

// settled waits until n notifications need no further attempt, and gives all of them, newest first.
func (w *world) settled(n int) []notifyJSON {
	w.t.Helper()
	var all []notifyJSON
	require.Eventually(w.t, func() bool {
		w.control(http.MethodGet, "/control/notifies", "", &all)
		open := 0
		for _, one := range all {
			if one.NextAt != nil {
				open++
			}
		}
		return len(all) >= n && open == 0
	}, 20*time.Second, 2*time.Millisecond)
	return all
}

func TestNotifyScheduleEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.merchant.answers(func(r http.ResponseWriter, _ int) {
		http.Error(r, strings.Repeat("坏", 100), http.StatusInternalServerError)
	})
	w.paid("T1")
	n := w.settled(1)[0]
	require.False(t, n.Acknowledged)
	require.Len(t, n.Attempts, 4, "the first and three by schedule")
	require.LessOrEqual(t, len(n.Attempts[0].Body), 203)
	require.Contains(t, n.Attempts[0].Body, "坏坏")

	w.merchant.answers(func(r http.ResponseWriter, _ int) { _, _ = io.WriteString(r, "success") })
	var again notifyJSON
	require.Equal(t, http.StatusOK, w.control(http.MethodPost, "/control/notifies/"+n.NotifyID+"/resend", "", &again))
	require.True(t, again.Acknowledged)
	require.Len(t, again.Attempts, 5)
	require.Equal(t, http.StatusOK, w.control(http.MethodPost, "/control/notifies/"+n.ID+"/resend", "", &again))
	require.Len(t, again.Attempts, 6, "an acknowledged one can be sent again")
	require.Equal(t, http.StatusNotFound, w.control(http.MethodPost, "/control/notifies/99/resend", "", nil))
}

func TestResendDoesNotUseUpTheSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *sandbox.Config) { c.NotifySchedule = []time.Duration{time.Hour} })
	w.merchant.answers(func(r http.ResponseWriter, _ int) { _, _ = io.WriteString(r, "fail") })
	w.paid("T1")
	w.merchant.wait(t, 1)
	require.Eventually(t, func() bool { return len(w.notifies()[0].Attempts) == 1 }, 5*time.Second, time.Millisecond)
	before := w.notifies()[0].NextAt
	require.WithinDuration(t, time.Now().Add(time.Hour), *before, time.Minute)
	var n notifyJSON
	w.control(http.MethodPost, "/control/notifies/1/resend", "", &n)
	require.Equal(t, before, n.NextAt)
	w.merchant.answers(func(r http.ResponseWriter, _ int) { _, _ = io.WriteString(r, "success") })
	w.control(http.MethodPost, "/control/notifies/1/resend", "", &n)
	require.Nil(t, n.NextAt)
}

func TestUnreachableMerchant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order := w.order("T1")
	order.NotifyURL = "http://127.0.0.1:1/notify"
	w.open(order)
	w.pay("T1")
	n := w.settled(1)[0]
	require.Len(t, n.Attempts, 4)
	require.Zero(t, n.Attempts[0].Status)
	require.NotEmpty(t, n.Attempts[0].Error)
}

func TestBothContentTypesTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.merchant.answers(func(r http.ResponseWriter, _ int) { _, _ = io.WriteString(r, "fail") })
	w.paid("T1")
	seen := map[string]int{}
	for _, d := range w.merchant.wait(t, 4) {
		seen[d.contentType]++
	}
	require.Equal(t, map[string]int{
		"application/x-www-form-urlencoded; charset=UTF-8":            2,
		"application/x-www-form-urlencoded; text/html; charset=UTF-8": 2,
	}, seen)
}

func TestLyingNotifiesAreWellSigned(t *testing.T) {
	t.Parallel()
	gbk, err := simplifiedchinese.GBK.NewEncoder().String("入门")
	require.NoError(t, err)
	for fault, check := range map[string]func(*testing.T, delivery){
		"amount": func(t *testing.T, d delivery) {
			require.Equal(t, "88.79", d.form.Get("total_amount"))
			require.Equal(t, "88.79", d.form.Get("receipt_amount"))
		},
		"app":     func(t *testing.T, d delivery) { require.Equal(t, "9021000100000009", d.form.Get("app_id")) },
		"seller":  func(t *testing.T, d delivery) { require.Equal(t, "2088721000000009", d.form.Get("seller_id")) },
		"charset": func(t *testing.T, d delivery) { require.Contains(t, d.form.Get("subject"), gbk) },
		"header": func(t *testing.T, d delivery) {
			require.Equal(t, "application/x-www-form-urlencoded; text/html; charset=UTF-8", d.contentType)
		},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.faults(fmt.Sprintf(`{"notify":{%q:1}}`, fault))
			w.paid("T1")
			w.paid("T2")
			for _, d := range w.merchant.wait(t, 2) {
				check(t, d)
				requireSignedByAlipay(t, w, d)
			}
			require.Equal(t, []string{fault}, w.settled(2)[0].Attempts[0].Faults)
			require.EqualValues(t, "TRADE_SUCCESS", w.query("T1").TradeStatus)
			require.Equal(t, "88.80", w.query("T1").TotalAmount, "only the notify lies")
		})
	}
}

func TestBrokenSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"notify":{"signature":1}}`)
	w.paid("T1")
	d := w.merchant.wait(t, 1)[0]
	raw, err := base64.StdEncoding.DecodeString(d.form.Get("sign"))
	require.NoError(t, err)
	require.Len(t, raw, 256)
	_, err = w.strict.DecodeNotification(t.Context(), d.form)
	require.Error(t, err)
}

func TestDroppedNotifyHealsByResend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"notify":{"drop":1}}`)
	w.paid("T1")
	n := w.settled(1)[0]
	require.Len(t, n.Attempts, 4)
	require.Equal(t, "dropped on purpose", n.Attempts[0].Error)
	require.Empty(t, w.merchant.deliveries())
	w.faults(`{}`)
	w.control(http.MethodPost, "/control/notifies/1/resend", "", &n)
	require.True(t, n.Acknowledged)
	require.Len(t, w.merchant.deliveries(), 1)
}

func TestDuplicateNotify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"notify":{"duplicate":1}}`)
	w.paid("T1")
	got := w.merchant.wait(t, 2)
	require.Equal(t, got[0].form.Get("notify_id"), got[1].form.Get("notify_id"))
	require.Len(t, w.settled(1)[0].Attempts, 2)
}

func TestReorderedNotifies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"notify":{"reorder":1}}`)
	w.paid("T1")
	w.paid("T2")
	got := w.merchant.wait(t, 2)
	require.Equal(t, "T2", got[0].form.Get("out_trade_no"))
	require.Equal(t, "T1", got[1].form.Get("out_trade_no"))
	w.paid("T3")
	require.Equal(t, "T3", w.merchant.wait(t, 3)[2].form.Get("out_trade_no"), "nobody overtakes it, and yet it comes")

	w.faults(`{"notify":{"reorder":1,"delay":"1h"}}`)
	w.paid("T4")
	w.faults(`{}`)
	w.paid("T5")
	got = w.merchant.wait(t, 5)
	require.Equal(t, "T5", got[3].form.Get("out_trade_no"))
	require.Equal(t, "T4", got[4].form.Get("out_trade_no"), "overtaken: no reason to wait any longer")
}

func TestDelayedNotify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"notify":{"delay":"1h"}}`)
	w.paid("T1")
	require.WithinDuration(t, time.Now().Add(time.Hour), *w.notifies()[0].NextAt, time.Minute)
	require.Empty(t, w.notifies()[0].Attempts)
	w.faults(`{"notify":{"delay":"50ms"}}`)
	w.paid("T2")
	require.Equal(t, "T2", w.merchant.wait(t, 1)[0].form.Get("out_trade_no"))
}

func TestFaultsAreReproducible(t *testing.T) {
	t.Parallel()
	// run gives the faults of every attempt in order of payment.
	run := func(seed, earlier int) (all [][]string) {
		w := newWorld(t)
		for i := range earlier { // the numbering starts when the faults are set
			w.paid(fmt.Sprintf("earlier%d", i))
		}
		w.merchant.wait(t, earlier)
		w.faults(fmt.Sprintf(`{"seed":%d,"notify":{"drop":0.3,"duplicate":0.3,"amount":0.3,"app":0.3,"header":0.3}}`, seed))
		w.merchant.answers(func(r http.ResponseWriter, _ int) { _, _ = io.WriteString(r, "fail") })
		for i := range 10 {
			w.paid(fmt.Sprintf("T%d_%d", seed, i))
		}
		for _, n := range w.settled(10 + earlier)[:10] {
			for _, a := range n.Attempts {
				all = append(all, a.Faults)
			}
		}
		return all
	}
	first := run(7, 1)
	require.Equal(t, first, run(7, 3))
	require.NotEqual(t, first, run(8, 1))
}
