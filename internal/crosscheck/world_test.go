// Package crosscheck holds the sandbox against clients that know nothing of it and nothing of each other: gopay,
// smartwalle/alipay and Alipay's own SDK for Node.js. Where all three agree with the sandbox on what is signed and how,
// it is hard to see how Alipay would not. Our own client has to give the same answers to the same questions.
//
// # What is covered
//
// Every combination of the following is a test of its own, named by them, for each client that has the method; a cell
// in which a client is known to be wrong is not left out but says what that client does instead (see kind).
//
//   - methods: all that docs/sandbox.md lists (TestNoMethodIsLeftOut)
//   - outcomes: success; a business error; either of them tampered with or without a signature; a request of which one
//     byte is changed, or the signature taken out
//   - modes: public key, certificate
//   - values: plain, and %, +, emoji, \/, one by one and all in one with & and quotes; a success also with these and with
//     spaces at the ends
//   - charsets: UTF-8; GBK for the two clients that have a setting for it, a refusal then with three of the values
//
// TestQuestions asks the methods that answer, TestPages opens those that are pages, by GET and by POST, where the answer
// is a page and so nothing is signed but the request. TestEveryParameterIsSigned changes each parameter that a client
// sends and has the client read the refusal; TestEveryByteIsSigned changes each byte of a question and of a page's opening
// as the client has sent them.
// TestTellings has every client judge notifies, in UTF-8 and in GBK, and returns: genuine ones, and ones of which any
// field is changed or missing.
package crosscheck

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
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
	handler  http.Handler
	ago      atomic.Int64 // how far the sandbox's clock is behind
	meddler  string
	ours     sync.Map // gateway → *ourClient
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
	w.handler = server.Handler()
	web := httptest.NewServer(w.handler)
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

// changing is the gateway behind somebody who changes one byte of that parameter.
func (w *world) changing(param string) string { return w.meddler + "/change/" + param + "/gateway.do" }

// dropping is the gateway behind somebody who takes that parameter out.
func (w *world) dropping(param string) string { return w.meddler + "/drop/" + param + "/gateway.do" }

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
	w.openBy(t, w.preparer, o)
}

func (w *world) openBy(t *testing.T, merchant client, o order) {
	t.Helper()
	request, err := merchant.page(t.Context(), http.MethodGet, o)
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

// newMeddler stands between clients and gateway. The first part of the path says what it does, change one byte or drop,
// and the second to which parameter, wherever the client put it.
func newMeddler(t *testing.T, gateway string) (address string) {
	t.Helper()
	target, err := url.Parse(gateway)
	require.NoError(t, err)
	deeds := map[string]func(url.Values, string){"change": changeField, "drop": url.Values.Del}
	meddle := func(r *httputil.ProxyRequest) {
		param, deed := r.In.PathValue("param"), deeds[r.In.PathValue("deed")]
		body, _ := io.ReadAll(r.In.Body)
		params, form := mustParse(t, r.In.URL.RawQuery), mustParse(t, string(body))
		if !params.Has(param) && !form.Has(param) {
			t.Errorf("no %s to meddle with in %s and %s", param, r.In.URL.RawQuery, body)
		}
		deed(params, param)
		deed(form, param)
		to := *target
		to.RawQuery = params.Encode()
		r.Out.URL = &to
		r.Out.Body, r.Out.ContentLength = io.NopCloser(strings.NewReader(form.Encode())), int64(len(form.Encode()))
	}
	mux := http.NewServeMux()
	mux.Handle("/{deed}/{param}/gateway.do", &httputil.ReverseProxy{Rewrite: meddle})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return web.URL
}

// sent is a request as it went over the line.
type sent struct{ verb, query, body string }

// overhear gives the one request that is sent to gateway, which passes it on.
func (w *world) overhear(t *testing.T, send func(gateway string)) (heard sent) {
	t.Helper()
	target, err := url.Parse(w.gateway())
	require.NoError(t, err)
	web := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		body, _ := io.ReadAll(r.In.Body)
		heard = sent{r.In.Method, r.In.URL.RawQuery, string(body)}
		to := *target
		to.RawQuery = r.In.URL.RawQuery
		r.Out.URL, r.Out.Body = &to, io.NopCloser(bytes.NewReader(body))
	}})
	defer web.Close() // it waits for the request to be over
	send(web.URL + target.Path)
	return heard
}

// says are the parameters that have a value: one without is none, and is not signed.
func (s sent) says() url.Values {
	all := url.Values{}
	for _, part := range []string{s.query, s.body} {
		values, err := url.ParseQuery(part)
		if err != nil {
			return nil
		}
		for name, value := range values {
			all[name] = append(all[name], value...)
		}
	}
	for name, value := range all {
		slices.Sort(value)
		all[name] = slices.Compact(value)
	}
	maps.DeleteFunc(all, func(_ string, value []string) bool { return slices.Equal(value, []string{""}) })
	return all
}

// params are the names of the parameters, sorted.
func (s sent) params() []string { return slices.Sorted(maps.Keys(s.says())) }

// repeat sends the request to the sandbox, past the network.
func (w *world) repeat(ctx context.Context, s sent) *httptest.ResponseRecorder {
	request := httptest.NewRequestWithContext(ctx, s.verb, "/gateway.do", strings.NewReader(s.body))
	request.URL.RawQuery = s.query
	if s.body != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, request)
	return recorder
}

// variants are the request with one byte changed, for each of its bytes. A neighbour of the byte takes its place, never
// the other case of a letter: %2b is %2B.
func (s sent) variants() (all []sent) {
	for i := range len(s.query) {
		all = append(all, sent{s.verb, replaceByte(s.query, i), s.body})
	}
	for i := range len(s.body) {
		all = append(all, sent{s.verb, s.query, replaceByte(s.body, i)})
	}
	return all
}

func replaceByte(text string, i int) string {
	changed, ok := neighbour(text[i])
	if !ok {
		changed = 'x'
	}
	return text[:i] + string(changed) + text[i+1:]
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
	for i := len(text) / 2; i >= 0 && i < len(text); i-- {
		if changed, ok := neighbour(text[i]); ok {
			return text[:i] + string(changed) + text[i+1:]
		}
	}
	return text + "1"
}

// neighbour is the letter or digit after c, or before it; false: c is neither.
func neighbour(c byte) (byte, bool) {
	switch {
	case c >= '0' && c < '9', c >= 'a' && c < 'z', c >= 'A' && c < 'Z':
		return c + 1, true
	case c == '9', c == 'z', c == 'Z':
		return c - 1, true
	}
	return c, false
}
