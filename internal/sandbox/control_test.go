package sandbox_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

func TestControlPay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var e errorJSON
	require.Equal(t, http.StatusNotFound, w.control(http.MethodPost, "/control/trades/T1/pay", "", &e))
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", e.Code)
	require.NotEmpty(t, e.ErrMessage)

	w.open(w.order("T1"))
	var trade tradeJSON
	require.Equal(t, http.StatusOK, w.control(http.MethodGet, "/control/trades/T1", "", &trade))
	require.Equal(t, tradeJSON{OutTradeNo: "T1", TotalAmount: "88.80", Payable: true}, trade)

	paid := w.pay("T1")
	require.Equal(t, "TRADE_SUCCESS", paid.TradeStatus)
	require.Equal(t, http.StatusConflict, w.control(http.MethodPost, "/control/trades/T1/pay", "", &e))
	require.Equal(t, "ACQ.TRADE_HAS_SUCCESS", e.Code)
	require.Equal(t, http.StatusConflict, w.control(http.MethodPost, "/control/trades/T1/close", "", &e))
	require.Equal(t, "ACQ.TRADE_STATUS_ERROR", e.Code)
	w.merchant.wait(t, 1)
	require.Len(t, w.notifies(), 1)
}

func TestControlClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(w.order("T1"))
	w.open(w.order("T2"))
	var trade tradeJSON
	require.Equal(t, http.StatusOK, w.control(http.MethodPost, "/control/trades/T1/login", "", &trade))
	require.Equal(t, "WAIT_BUYER_PAY", trade.TradeStatus)
	var e errorJSON
	for _, number := range []string{"T1", "T2"} {
		require.Equal(t, http.StatusOK, w.control(http.MethodPost, "/control/trades/"+number+"/close", "", &trade))
		require.Equal(t, "TRADE_CLOSED", trade.TradeStatus)
		require.EqualValues(t, "TRADE_CLOSED", w.query(number).TradeStatus)
		for _, deed := range []string{"pay", "close"} {
			require.Equal(t, http.StatusConflict, w.control(http.MethodPost, "/control/trades/"+number+"/"+deed, "", &e))
			require.Equal(t, "ACQ.TRADE_HAS_CLOSE", e.Code)
		}
	}
}

func TestListsAreNewestFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, number := range []string{"T1", "T2", "T3"} {
		w.paid(number)
	}
	var trades []tradeJSON
	w.control(http.MethodGet, "/control/trades?limit=2", "", &trades)
	require.Equal(t, []string{"T3", "T2"}, []string{trades[0].OutTradeNo, trades[1].OutTradeNo})
	require.Len(t, trades, 2)
	var notifies []notifyJSON
	w.control(http.MethodGet, "/control/notifies?out_trade_no=T2", "", &notifies)
	require.Len(t, notifies, 1)
	require.Equal(t, "T2", notifies[0].OutTradeNo)
	require.Equal(t, http.StatusBadRequest, w.control(http.MethodGet, "/control/trades?limit=x", "", nil))
}

const allFaults = `{"seed":7,"notify":{"drop":0.1,"delay":"2s","duplicate":0.1,"reorder":0.1,"amount":0.1,"app":0.1,"seller":0.1,` +
	`"signature":0.1,"charset":0.1,"header":0.1},"gateway":{"slow":"1.5s","hang":0.1,"http5xx":0.1,"systemError":0.1,` +
	`"executedThenTimeout":0.1,"unsigned":0.1,"tampered":0.1},"refund":{"sellerBalance":0.1},"race":{"payBeforeClose":0.1}}`

func TestFaultsReadBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	read := func() string {
		var raw map[string]any
		w.control(http.MethodGet, "/control/faults", "", &raw)
		return fmt.Sprint(raw)
	}
	require.Equal(t, "map[]", read())
	w.faults(allFaults)
	require.Equal(t, "map[gateway:map[executedThenTimeout:0.1 hang:0.1 http5xx:0.1 slow:1.5s systemError:0.1 tampered:0.1 "+
		"unsigned:0.1] notify:map[amount:0.1 app:0.1 charset:0.1 delay:2s drop:0.1 duplicate:0.1 header:0.1 reorder:0.1 "+
		"seller:0.1 signature:0.1] race:map[payBeforeClose:0.1] refund:map[sellerBalance:0.1] seed:7]", read())
	w.faults(`{}`)
	require.Equal(t, "map[]", read())
}

func TestFaultsAreStrict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"seed":3}`)
	for text, hint := range map[string]string{
		`{"notify":{"dropp":1}}`:         "dropp",
		`{"notify":{"drop":1.1}}`:        "notify.drop",
		`{"race":{"payBeforeClose":-1}}`: "race.payBeforeClose",
		`{"notify":{"delay":"soon"}}`:    "soon",
		`{"gateway":{"slow":"-1s"}}`:     "negative",
		`{"gateway":{"slow":1}}`:         "slow",
		`{} {}`:                          "follows",
		`null`:                           "object",
		`[]`:                             "object",
		``:                               "object",
		`{`:                              "EOF",
	} {
		var e errorJSON
		require.Equal(t, http.StatusBadRequest, w.control(http.MethodPut, "/control/faults", text, &e), text)
		require.Contains(t, e.ErrMessage, hint)
	}
	var f sandbox.Faults
	w.control(http.MethodGet, "/control/faults", "", &f)
	require.EqualValues(t, 3, f.Seed, "a refused set changes nothing")
}

func TestReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.open(w.order("T1"))
	w.pay("T1")
	w.merchant.wait(t, 1)
	w.faults(`{"notify":{"drop":1}}`)
	require.Equal(t, http.StatusNoContent, w.control(http.MethodPost, "/control/reset", "", nil))
	require.Empty(t, w.notifies())
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.query("T1").SubCode)
	b.get(b.at.String())
	require.Equal(t, http.StatusNotFound, b.status)
	w.paid("T1")
	w.merchant.wait(t, 2)
}

func TestTamperedAndUnsignedAnswersAreRefusedByClients(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"tampered", "unsigned"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.open(w.order("T1")).submit("login")
			w.faults(fmt.Sprintf(`{"gateway":{%q:1}}`, fault))
			answer, err := w.gopay.TradeQuery(t.Context(), bodyMap("out_trade_no", "T1"))
			require.Error(t, err)
			if fault == "tampered" {
				require.Equal(t, "TRADE_SUCCESS", answer.Response.TradeStatus, "the lie is worth telling")
			}
			_, err = w.strict.TradeQuery(t.Context(), smartwalle.TradeQuery{OutTradeNo: "T1"})
			require.Error(t, err)
			_, err = w.gopay.TradeClose(t.Context(), bodyMap("out_trade_no", "nobody's"))
			require.Error(t, err)
		})
	}
}

func TestGatewayOutages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status := map[int]bool{}
	w.faults(`{"gateway":{"http5xx":1}}`)
	for range 20 {
		status[w.control(http.MethodPost, "/gateway.do?method=alipay.trade.query", "", nil)] = true
	}
	require.Equal(t, map[int]bool{502: true, 503: true}, status)

	w.faults(`{"gateway":{"systemError":1}}`)
	codes, executed := map[string]bool{}, map[bool]bool{}
	for i := range 20 {
		number := fmt.Sprintf("T%d", i)
		w.open(w.order(number)).submit("login")
		codes[w.close(number).SubCode] = true
		var trade tradeJSON
		w.control(http.MethodGet, "/control/trades/"+number, "", &trade)
		executed[trade.TradeStatus == "TRADE_CLOSED"] = true
	}
	require.Equal(t, map[string]bool{"isp.unknow-error": true, "ACQ.SYSTEM_ERROR": true}, codes)
	require.Equal(t, map[bool]bool{true: true, false: true}, executed, "nobody knows")
}

func TestExecutedThenTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(w.order("T1")).submit("login")
	w.faults(`{"gateway":{"executedThenTimeout":1}}`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := w.strict.TradeClose(ctx, smartwalle.TradeClose{OutTradeNo: "T1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	w.faults(`{}`)
	require.EqualValues(t, "TRADE_CLOSED", w.query("T1").TradeStatus)
}

func TestSlowGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"gateway":{"slow":"1h"}}`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.strict.TradeQuery(ctx, smartwalle.TradeQuery{OutTradeNo: "T1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	w.faults(`{"gateway":{"slow":"1ms"}}`)
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.query("T1").SubCode)
}

func TestBuyerPaysJustBeforeTheClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"race":{"payBeforeClose":1}}`)
	w.open(w.order("T1")).submit("login")
	w.open(w.order("T2"))
	for i, number := range []string{"T1", "T2"} {
		require.Equal(t, "ACQ.TRADE_STATUS_ERROR", w.close(number).SubCode)
		require.EqualValues(t, "TRADE_SUCCESS", w.query(number).TradeStatus)
		require.Equal(t, number, w.merchant.wait(t, i+1)[i].form.Get("out_trade_no"))
	}
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.close("never_opened").SubCode)
}

func TestParallelPaymentsAndClosesHaveOneWinner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *sandbox.Config) { c.StateFile = filepath.Join(t.TempDir(), "state") })
	for i := range 20 {
		number := fmt.Sprintf("T%d", i)
		w.open(w.order(number)).submit("login")
		var paid, closed atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if w.control(http.MethodPost, "/control/trades/"+number+"/pay", "", nil) == http.StatusOK {
					paid.Add(1)
				}
			})
			all.Go(func() {
				if w.close(number).SubCode == "" {
					closed.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, paid.Load()+closed.Load())
		want := map[int32]string{1: "TRADE_SUCCESS", 0: "TRADE_CLOSED"}[paid.Load()]
		require.EqualValues(t, want, w.query(number).TradeStatus)
		var notifies []notifyJSON
		w.control(http.MethodGet, "/control/notifies?out_trade_no="+number, "", &notifies)
		require.Len(t, notifies, int(paid.Load()))
	}
}

func TestStateSurvivesARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new folder", "state.json")
	withState := func(c *sandbox.Config) {
		c.StateFile = path
		c.NotifySchedule = []time.Duration{time.Hour}
	}
	before := newWorld(t, withState)
	before.merchant.answers(func(r http.ResponseWriter, _ int) { http.Error(r, "down", http.StatusBadGateway) })
	waiting := before.open(before.order("waiting"))
	waiting.submit("login")
	seen := before.open(before.order("seen"))
	before.paid("paid")
	require.Eventually(t, func() bool { return len(before.notifies()[0].Attempts) == 1 }, 5*time.Second, time.Millisecond)
	before.faults(allFaults)
	before.faults(`{"seed":5}`)
	path = leftBehind(t, path)
	torn, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = torn.WriteString(`{"trades":[{"pa`) // the process died while writing
	require.NoError(t, err)
	require.NoError(t, torn.Close())

	after := newWorld(t, withState)
	require.EqualValues(t, "TRADE_SUCCESS", after.query("paid").TradeStatus)
	require.EqualValues(t, "WAIT_BUYER_PAY", after.query("waiting").TradeStatus)
	require.Equal(t, before.query("paid").TradeNo, after.query("paid").TradeNo)
	n := after.notifies()
	require.Len(t, n, 1)
	require.Len(t, n[0].Attempts, 1)
	require.NotNil(t, n[0].NextAt)
	var f sandbox.Faults
	after.control(http.MethodGet, "/control/faults", "", &f)
	require.Equal(t, sandbox.Faults{Seed: 5}, f)

	page := newBrowser(t) // the phone still has the page open
	page.get(after.url + seen.at.RequestURI())
	page.submit("pay")
	require.EqualValues(t, "TRADE_SUCCESS", after.query("seen").TradeStatus)
	require.Len(t, after.notifies(), 2)
	require.Equal(t, "2", after.notifies()[0].ID, "numbers go on")
}

// leftBehind is what a process leaves behind that is killed right now.
func leftBehind(t *testing.T, path string) string {
	t.Helper()
	state, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".copy", state, 0o600))
	return path + ".copy"
}

func TestStateFileHasOneUser(t *testing.T) {
	t.Parallel()
	keys := sandboxtest.Keys()
	config := sandbox.Config{
		Apps:       []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: keys[sandbox.AppPublicKeyFile]}},
		PrivateKey: keys[sandbox.AlipayPrivateKeyFile], StateFile: filepath.Join(t.TempDir(), "state"),
	}
	first, err := sandbox.New(config)
	require.NoError(t, err)
	_, err = sandbox.New(config)
	require.ErrorContains(t, err, "in use")
	require.NoError(t, first.Close())
	second, err := sandbox.New(config)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

func TestDueNotifyIsSentAfterARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.json")
	before := newWorld(t, func(c *sandbox.Config) { c.StateFile = path })
	before.faults(`{"notify":{"delay":"300ms"}}`)
	before.paid("T1")
	copied := leftBehind(t, path)
	before.control(http.MethodPost, "/control/reset", "", nil)
	newWorld(t, func(c *sandbox.Config) { c.StateFile = copied })
	before.merchant.wait(t, 1)
}

func TestDamagedStateIsNotIgnored(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(path, []byte("{}\nrubbish\n{}\n"), 0o600))
	keys := sandboxtest.Keys()
	_, err := sandbox.New(sandbox.Config{
		Apps:       []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: keys[sandbox.AppPublicKeyFile]}},
		PrivateKey: keys[sandbox.AlipayPrivateKeyFile], StateFile: path,
	})
	require.ErrorContains(t, err, "line 2")
}

func TestStateFileDoesNotGrowForEver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.json")
	w := newWorld(t, func(c *sandbox.Config) { c.StateFile = path })
	for range 3000 {
		w.faults(`{"seed":1}`)
	}
	state, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Less(t, strings.Count(string(state), "\n"), 1500)
}

func TestHomePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("T1")
	w.open(w.order("T2"))
	w.settled(1)
	b := newBrowser(t)
	b.get(w.url + "/")
	require.Contains(t, b.text(".notice"), "模拟器")
	require.Contains(t, b.text("#trades"), "TRADE_SUCCESS")
	require.Equal(t, 1, b.page.Find("#trades a").Length(), "only what is payable")
	require.Contains(t, b.text("#notifies"), "已确认")
	form := b.page.Find("#notifies form")
	target, err := b.at.Parse(form.AttrOr("action", ""))
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target.String(), nil)
	require.NoError(t, err)
	b.do(r)
	require.Equal(t, w.url+"/", b.at.String())
	require.Len(t, w.merchant.deliveries(), 2)
}

func TestPagesEscapeEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order := w.order("T1")
	order.Subject = `<script>alert(1)<script>"'>`
	b := w.open(order)
	require.Zero(t, b.page.Find("script").Length())
	require.Equal(t, order.Subject, b.text("#subject"))
	require.Contains(t, b.header.Get("Content-Security-Policy"), "default-src 'none'")
	w.merchant.answers(func(r http.ResponseWriter, _ int) { http.Error(r, "<script>alert(2)</script>", http.StatusTeapot) })
	b.submit("pay")
	require.Zero(t, b.page.Find("script").Length())
	w.settled(1)
	b.get(w.url + "/")
	require.Zero(t, b.page.Find("script").Length())
	require.Contains(t, b.text("#notifies"), "<script>alert(2)</script>")
}

func TestHealthz(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, http.StatusOK, w.control(http.MethodGet, "/healthz", "", nil))
}
