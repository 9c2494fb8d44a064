package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/go-pay/gopay"
	gopayalipay "github.com/go-pay/gopay/alipay"
	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html/charset"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

const (
	appID    = "9021000100000001"
	sellerID = "2088721000000001"
)

// clock is a wall clock that a test may put forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// world is a running sandbox with a merchant that it can notify.
type world struct {
	t        *testing.T
	url      string
	clock    *clock
	merchant *merchant
	gopay    *gopayalipay.Client
	strict   *smartwalle.Client
}

func newWorld(t *testing.T, adapt ...func(*sandbox.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{}, merchant: newMerchant(t)}
	keys := sandboxtest.Keys()
	config := sandbox.Config{
		Apps:           []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: keys[sandbox.AppPublicKeyFile]}},
		PrivateKey:     keys[sandbox.AlipayPrivateKeyFile],
		NotifySchedule: []time.Duration{5 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond},
		Clock:          w.clock.now,
	}
	for _, f := range adapt {
		f(&config)
	}
	server, err := sandbox.New(config)
	require.NoError(t, err)
	w.run(server)
	w.gopay, w.strict = gopayClient(t, w.url), strictClient(t, w.url)
	return w
}

// run serves server until the test ends.
func (w *world) run(server *sandbox.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	web := httptest.NewServer(server.Handler())
	w.url = web.URL
	w.t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		cancel()
		if err := <-done; err != nil {
			w.t.Error("Run:", err)
		}
		_ = server.Close()
	})
}

// redirectTo sends every request to the sandbox, whatever gateway the client has built in.
type redirectTo string

func (base redirectTo) RoundTrip(r *http.Request) (*http.Response, error) {
	u, err := url.Parse(string(base))
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = u.Scheme, u.Host, u.Host
	return http.DefaultTransport.RoundTrip(r)
}

func gopayClient(t *testing.T, base string) *gopayalipay.Client {
	t.Helper()
	client := newGopay(t, base)
	client.AutoVerifySign([]byte(sandboxtest.Keys()[sandbox.AlipayPublicKeyFile]))
	return client
}

// newGopay is a client that has the app's key and nothing of Alipay's.
func newGopay(t *testing.T, base string) *gopayalipay.Client {
	t.Helper()
	client, err := gopayalipay.NewClient(appID, sandboxtest.Bare(sandboxtest.Keys()[sandbox.AppPrivateKeyFile]), false)
	require.NoError(t, err)
	client.SetLocation("Asia/Shanghai")
	client.GetHttpClient().SetTransport(redirectTo(base))
	return client
}

func strictClient(t *testing.T, base string) *smartwalle.Client {
	t.Helper()
	client := newStrict(t, base)
	require.NoError(t, client.LoadAliPayPublicKey(sandboxtest.Keys()[sandbox.AlipayPublicKeyFile]))
	return client
}

// newStrict is a client that has the app's key and nothing of Alipay's.
func newStrict(t *testing.T, base string) *smartwalle.Client {
	t.Helper()
	client, err := smartwalle.New(appID, sandboxtest.Bare(sandboxtest.Keys()[sandbox.AppPrivateKeyFile]), false,
		smartwalle.WithSandboxGateway(base+"/gateway.do"), smartwalle.WithTimeLocation(time.FixedZone("", 8*60*60)))
	require.NoError(t, err)
	return client
}

// order is what a test asks for; change what matters.
func (w *world) order(number string) smartwalle.TradeWapPay {
	return smartwalle.TradeWapPay{Trade: smartwalle.Trade{
		OutTradeNo: number, Subject: "Go 语言 <从入门> 到\"上线\"", TotalAmount: "88.80", ProductCode: "QUICK_WAP_WAY",
		NotifyURL: w.merchant.url + "/notify", ReturnURL: w.merchant.url + "/return?from=pay",
	}, QuitURL: w.merchant.url + "/quit"}
}

// open opens the pay page and gives it as a browser sees it.
func (w *world) open(order smartwalle.TradeWapPay) *browser {
	w.t.Helper()
	address, err := w.strict.TradeWapPay(order)
	require.NoError(w.t, err)
	b := newBrowser(w.t)
	b.get(address.String())
	return b
}

// browser keeps the page it is on.
type browser struct {
	t      *testing.T
	client *http.Client
	status int
	header http.Header
	at     *url.URL
	page   *goquery.Document
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t: t, client: &http.Client{Jar: jar}}
}

func (b *browser) do(r *http.Request) {
	b.t.Helper()
	response, err := b.client.Do(r)
	require.NoError(b.t, err)
	defer response.Body.Close()
	b.status, b.header, b.at = response.StatusCode, response.Header, response.Request.URL
	page, err := charset.NewReader(response.Body, response.Header.Get("Content-Type"))
	require.NoError(b.t, err)
	b.page, err = goquery.NewDocumentFromReader(page)
	require.NoError(b.t, err)
}

func (b *browser) get(address string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	require.NoError(b.t, err)
	b.do(r)
}

// submit presses the button of the form with that id.
func (b *browser) submit(id string) {
	b.t.Helper()
	form := b.page.Find("form#" + id)
	require.Equal(b.t, 1, form.Length(), "form %s on %s", id, b.at)
	values := url.Values{}
	form.Find("input").Each(func(_ int, in *goquery.Selection) {
		values.Set(in.AttrOr("name", ""), in.AttrOr("value", ""))
	})
	target, err := b.at.Parse(form.AttrOr("action", ""))
	require.NoError(b.t, err)
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, target.String(), strings.NewReader(values.Encode()))
	require.NoError(b.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.do(r)
}

func (b *browser) text(selector string) string {
	return strings.TrimSpace(b.page.Find(selector).Text())
}

// delivery is a notify as the merchant's door saw it.
type delivery struct {
	contentType string
	body        string
	form        url.Values
}

// merchant receives notifies and answers as it is told.
type merchant struct {
	url string

	mu     sync.Mutex
	got    []delivery
	answer func(w http.ResponseWriter, nth int)
}

func newMerchant(t *testing.T) *merchant {
	t.Helper()
	m := &merchant{answer: func(w http.ResponseWriter, _ int) { _, _ = io.WriteString(w, "success") }}
	web := httptest.NewServer(m)
	t.Cleanup(web.Close)
	m.url = web.URL
	return m
}

func (m *merchant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	m.mu.Lock()
	m.got = append(m.got, delivery{r.Header.Get("Content-Type"), string(body), form})
	nth, answer := len(m.got), m.answer
	m.mu.Unlock()
	answer(w, nth)
}

func (m *merchant) answers(f func(w http.ResponseWriter, nth int)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = f
}

func (m *merchant) deliveries() []delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]delivery{}, m.got...)
}

// wait gives the deliveries once there are n of them.
func (m *merchant) wait(t *testing.T, n int) []delivery {
	t.Helper()
	require.Eventually(t, func() bool { return len(m.deliveries()) >= n }, 10*time.Second, time.Millisecond)
	return m.deliveries()
}

// control calls the control API and reads the answer into v, unless that is nil.
func (w *world) control(method, path, body string, v any) int {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(w.t, err)
	if v != nil {
		require.NoError(w.t, json.NewDecoder(bytes.NewReader(text)).Decode(v), "%s %s: %s", method, path, text)
	}
	return response.StatusCode
}

// faults sets what goes wrong.
func (w *world) faults(text string) {
	w.t.Helper()
	var answer map[string]any
	require.Equal(w.t, http.StatusOK, w.control(http.MethodPut, "/control/faults", text, &answer), "%v", answer)
}

type tradeJSON struct {
	OutTradeNo  string `json:"out_trade_no"`
	TradeNo     string `json:"trade_no"`
	TradeStatus string `json:"trade_status"`
	TotalAmount string `json:"total_amount"`
	Payable     bool   `json:"payable"`
}

type notifyJSON struct {
	ID           string            `json:"id"`
	NotifyID     string            `json:"notify_id"`
	OutTradeNo   string            `json:"out_trade_no"`
	Attempts     []sandbox.Attempt `json:"attempts"`
	NextAt       *time.Time        `json:"next_at"`
	Acknowledged bool              `json:"acknowledged"`
}

type errorJSON struct {
	ErrMessage string `json:"errMessage"`
	Code       string `json:"code"`
}

func (w *world) notifies() (all []notifyJSON) {
	w.t.Helper()
	require.Equal(w.t, http.StatusOK, w.control(http.MethodGet, "/control/notifies", "", &all))
	return all
}

// pay is the buyer's payment through the control API.
func (w *world) pay(number string) tradeJSON {
	w.t.Helper()
	var paid tradeJSON
	require.Equal(w.t, http.StatusOK, w.control(http.MethodPost, "/control/trades/"+number+"/pay", "", &paid))
	return paid
}

// query asks with the strict client, which verifies errors too.
func (w *world) query(number string) *smartwalle.TradeQueryRsp {
	w.t.Helper()
	answer, err := w.strict.TradeQuery(w.t.Context(), smartwalle.TradeQuery{OutTradeNo: number})
	require.NoError(w.t, err)
	return answer
}

func (w *world) close(number string) *smartwalle.TradeCloseRsp {
	w.t.Helper()
	answer, err := w.strict.TradeClose(w.t.Context(), smartwalle.TradeClose{OutTradeNo: number})
	require.NoError(w.t, err)
	return answer
}

func bodyMap(pairs ...string) gopay.BodyMap {
	bm := gopay.BodyMap{}
	for i := 0; i < len(pairs); i += 2 {
		bm.Set(pairs[i], pairs[i+1])
	}
	return bm
}
