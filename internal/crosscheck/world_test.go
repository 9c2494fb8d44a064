// Package crosscheck holds the sandbox against clients that know nothing of it and nothing of each other: gopay,
// smartwalle/alipay and Alipay's own SDK for Node.js. Where all three agree with the sandbox on what is signed and how,
// it is hard to see how Alipay would not. Our own client has to give the same answers to the same questions.
package crosscheck

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

const (
	appID    = "9021000100000001"
	sellerID = "2088721000000001"
)

// mode is how app and Alipay know each other's keys.
type mode string

const (
	publicKey   mode = "public key"
	certificate mode = "certificate"
)

var modes = []mode{publicKey, certificate}

func (m mode) config() sandbox.Config {
	keys := sandboxtest.Keys()
	app := sandbox.App{ID: appID, SellerID: sellerID}
	config := sandbox.Config{PrivateKey: keys[sandbox.AlipayPrivateKeyFile], NotifySchedule: []time.Duration{}, NotifyClose: true}
	if m == certificate {
		app.AppCert = keys[sandbox.AppCertFile]
		config.AlipayCert, config.AlipayRootCert = keys[sandbox.AlipayCertFile], keys[sandbox.AlipayRootCertFile]
	} else {
		app.PublicKey = keys[sandbox.AppPublicKeyFile]
	}
	config.Apps = []sandbox.App{app}
	return config
}

// world is a sandbox in one mode, the merchant's door for its notifies, and somebody on the line who changes requests.
type world struct {
	mode     mode
	url      string
	ago      atomic.Int64 // how far the sandbox's clock is behind
	meddler  string
	door     *door
	preparer client
	old      string // the number of a trade that was paid long ago
	oldDay   string // and the day of that
}

// newWorld runs a sandbox until the test ends; faults is what PUT /control/faults takes.
func newWorld(t *testing.T, m mode, faults string) *world {
	t.Helper()
	_, err := sharedNode() // without it there is no use in going on
	require.NoError(t, err)
	w := &world{mode: m, door: newDoor(t)}
	config := m.config()
	config.Clock = w.now
	server, err := sandbox.New(config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	web := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		web.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
		_ = server.Close()
	})
	w.url = web.URL
	w.meddler = newMeddler(t, w.gateway())
	w.preparer = newSmartwalle(t, w, w.gateway())
	w.makeOldTrade(t)
	require.Equal(t, http.StatusOK, w.control(t, http.MethodPut, "/control/faults", faults, nil))
	return w
}

// makeOldTrade leaves a trade behind that is too old to cancel, and whose day has a bill.
func (w *world) makeOldTrade(t *testing.T) {
	t.Helper()
	w.old = newNumber()
	w.open(t, w.order(w.old, plain))
	w.ago.Store(int64(40 * time.Hour)) // the day is over and its bill is ready, whatever the time of day
	w.oldDay = beijingTime(w.now())[:len("2006-01-02")]
	w.buyer(t, w.old, "pay")
	w.ago.Store(0)
}

func (w *world) now() time.Time { return time.Now().Add(-time.Duration(w.ago.Load())) }

func (w *world) gateway() string { return w.url + "/gateway.do" }

// through is the gateway behind somebody who changes one byte of that parameter.
func (w *world) through(param string) string { return w.meddler + "/" + param + "/gateway.do" }

var numbers atomic.Int64

// newNumber is an out_trade_no that nobody else uses.
func newNumber() string { return fmt.Sprintf("CROSS_%06d", numbers.Add(1)) }

// tradeState is what the control API shows of a trade; no OutTradeNo: the sandbox knows no such number.
type tradeState struct {
	OutTradeNo  string `json:"out_trade_no"`
	TradeStatus string `json:"trade_status"`
	TotalAmount string `json:"total_amount"`
	Subject     string `json:"subject"`
	NotifyURL   string `json:"notify_url"`
	ReturnURL   string `json:"return_url"`
	QuitURL     string `json:"quit_url"`
	CashierURL  string `json:"cashier_url"`
	RefundFee   string `json:"refund_fee"`
}

func (w *world) trade(t *testing.T, number string) (state tradeState) {
	t.Helper()
	w.control(t, http.MethodGet, "/control/trades/"+number, "", &state)
	return state
}

// buyer does what a buyer would: login or pay.
func (w *world) buyer(t *testing.T, number, deed string) {
	t.Helper()
	require.Equal(t, http.StatusOK, w.control(t, http.MethodPost, "/control/trades/"+number+"/"+deed, "", nil))
}

func (w *world) control(t *testing.T, method, path, body string, into any) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if into != nil && response.StatusCode == http.StatusOK {
		require.NoError(t, json.Unmarshal(text, into), "%s", text)
	}
	return response.StatusCode
}

// prepare has the trade make a step whose answer nobody looks at: the faults may have spoilt it.
func (w *world) prepare(t *testing.T, method string, biz map[string]any) {
	t.Helper()
	_, _ = w.preparer.ask(t.Context(), method, biz)
}

// order is what a merchant asks of a pay page.
type order struct {
	Method, Number, Amount, Subject, Body, Passback string
	NotifyURL, ReturnURL, QuitURL                   string
	Expires                                         time.Time
}

func (w *world) order(number string, v value) order {
	return order{
		Method: wapPay, Number: number, Amount: "88.80", Subject: v.subject(), Body: v.text, Passback: v.text,
		NotifyURL: w.door.url + "/" + number + "?course=C%2B%2B+x&n=1", ReturnURL: w.door.url + "/return?from=pay&x=%41+",
		QuitURL: w.door.url + "/quit", Expires: w.now().Add(time.Hour),
	}
}

func (o order) biz() map[string]any {
	biz := map[string]any{
		"out_trade_no": o.Number, "total_amount": o.Amount, "subject": o.Subject, "body": o.Body, "passback_params": o.Passback,
		"product_code": productCodes[o.Method], "time_expire": beijingTime(o.Expires),
	}
	if o.QuitURL != "" {
		biz["quit_url"] = o.QuitURL
	}
	return biz
}

var productCodes = map[string]string{
	wapPay: "QUICK_WAP_WAY", pagePay: "FAST_INSTANT_TRADE_PAY", precreate: "QR_CODE_OFFLINE",
}

func beijingTime(at time.Time) string {
	return at.In(time.FixedZone("GMT+8", 8*60*60)).Format("2006-01-02 15:04:05")
}

// open opens a pay page and leaves it at that.
func (w *world) open(t *testing.T, o order) {
	t.Helper()
	request, err := w.preparer.page(t.Context(), http.MethodGet, o)
	require.NoError(t, err)
	require.Equal(t, http.StatusSeeOther, browse(t, request).status)
}

// shown is what a browser got.
type shown struct {
	status int
	header http.Header
	body   string
}

// browse sends a request of a browser that stays where it is.
func browse(t *testing.T, request *http.Request) shown {
	t.Helper()
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := browser.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return shown{response.StatusCode, response.Header, string(body)}
}

// fetch browses an address.
func fetch(t *testing.T, address string) shown {
	t.Helper()
	request, err := browserRequest(t.Context(), http.MethodGet, address, "")
	require.NoError(t, err)
	return browse(t, request)
}

// returned is what the buyer's browser brings along when it comes back from the cashier.
func (w *world) returned(t *testing.T, number string) (form string) {
	t.Helper()
	cashier, err := url.Parse(w.trade(t, number).CashierURL)
	require.NoError(t, err)
	result := fetch(t, w.url+cashier.Path+"/result?"+cashier.RawQuery)
	_, target, found := strings.Cut(result.header.Get("Refresh"), "url=")
	require.True(t, found)
	back, err := url.Parse(target)
	require.NoError(t, err)
	fields := back.Query()
	require.Equal(t, []string{"pay", "A "}, []string{fields.Get("from"), fields.Get("x")}, "return_url's own parameters stay")
	fields.Del("from") // ours, and not signed
	fields.Del("x")
	return fields.Encode()
}

// door is where the merchant takes notifies, by the number that is their path.
type door struct {
	url string
	got sync.Map // number → chan string
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{}
	web := httptest.NewServer(d)
	t.Cleanup(web.Close)
	d.url = web.URL
	return d
}

func (d *door) box(number string) chan string {
	box, _ := d.got.LoadOrStore(number, make(chan string, 8))
	return box.(chan string)
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.box(strings.Trim(r.URL.Path, "/")) <- string(body)
	_, _ = io.WriteString(w, "success")
}

// next waits for the next notify about number.
func (d *door) next(t *testing.T, number string) (form string) {
	t.Helper()
	select {
	case form = <-d.box(number):
		return form
	case <-t.Context().Done():
	case <-time.After(10 * time.Second):
	}
	t.Fatal("no notify for", number)
	return ""
}

// newMeddler stands between clients and gateway and changes one byte of the parameter that is the first part of the
// path, wherever the client put it.
func newMeddler(t *testing.T, gateway string) (address string) {
	t.Helper()
	target, err := url.Parse(gateway)
	require.NoError(t, err)
	meddle := func(r *httputil.ProxyRequest) {
		param := r.In.PathValue("param")
		body, _ := io.ReadAll(r.In.Body)
		params, form := mustParse(t, r.In.URL.RawQuery), mustParse(t, string(body))
		if !params.Has(param) && !form.Has(param) {
			t.Errorf("no %s to change in %s and %s", param, r.In.URL.RawQuery, body)
		}
		changeField(params, param)
		changeField(form, param)
		to := *target
		to.RawQuery = params.Encode()
		r.Out.URL = &to
		r.Out.Body, r.Out.ContentLength = io.NopCloser(strings.NewReader(form.Encode())), int64(len(form.Encode()))
	}
	mux := http.NewServeMux()
	mux.Handle("/{param}/gateway.do", &httputil.ReverseProxy{Rewrite: meddle})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return web.URL
}

// mustParse reads what is known to be a form. It may be called from any goroutine.
func mustParse(t *testing.T, form string) url.Values {
	t.Helper()
	fields, err := url.ParseQuery(form)
	if err != nil {
		t.Error(err)
	}
	return fields
}

func changeField(values url.Values, field string) {
	if values.Has(field) {
		values.Set(field, changeByte(values.Get(field)))
	}
}

// changeByte turns the ASCII letter or digit nearest to the end of the first half into its neighbour.
func changeByte(text string) string {
	changed := []byte(text)
	for i := len(changed) / 2; i >= 0 && i < len(changed); i-- {
		switch c := changed[i]; {
		case c >= '0' && c < '9', c >= 'a' && c < 'z', c >= 'A' && c < 'Z':
			changed[i]++
		case c == '9', c == 'z', c == 'Z':
			changed[i]--
		default:
			continue
		}
		return string(changed)
	}
	return text + "1"
}
