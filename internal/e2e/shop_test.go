// Package e2e tests the whole flow through HTTP on real parts: Postgres, RabbitMQ, Temporal, the sandbox.
package e2e

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // what RSA (not RSA2) signs with: it is to be refused
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	temporallog "go.temporal.io/sdk/log"

	"coursepay/activities"
	"coursepay/api"
	apiclient "coursepay/client"
	"coursepay/internal/alipay"
	"coursepay/internal/auth"
	"coursepay/internal/buyer"
	"coursepay/internal/devstack/devtest"
	"coursepay/internal/mq"
	"coursepay/internal/nodeid"
	"coursepay/internal/sandbox"
	"coursepay/models"
	"coursepay/worker"
	"coursepay/workflows"
)

const (
	appID     = "9021000100000001"
	sellerID  = "2088721000000001"
	jwtSecret = "a secret for tests that is long enough"
	course    = "2"
	price     = "129.00"
)

// shop is the whole program in this process, on services shared with other tests and with data of its own.
type shop struct {
	t       *testing.T
	api     string
	sandbox string
	amqp    string
	dbURL   string
	db      *sql.DB
	store   *models.Store
	door    *models.Store        // for callbacks
	metrics *prometheus.Registry // the API's
	engine  client.Client
	keys    string
	work    func() (stop func())
	quit    func() // stops the worker

	namespace string

	honest *honest      // judges the answers
	web    *http.Client // whose requests are judged
}

// options of a shop; the zero value is the usual one.
type options struct {
	expiry time.Duration
	poll   []time.Duration
	idle   bool // no worker runs

	codesAtOnce int // purchases that the API begins at once

	alipayWithin time.Duration // how long Alipay may take to answer

	alipayTime func() time.Time                // the sandbox's clock
	front      func(http.Handler) http.Handler // stands before the sandbox
}

func openShop(t *testing.T, o options) *shop {
	t.Helper()
	if o.expiry == 0 {
		o.expiry = 15 * time.Minute
	}
	if o.poll == nil {
		o.poll = []time.Duration{time.Hour} // callbacks alone, unless the test is about polling
	}
	s := &shop{t: t, keys: t.TempDir(), amqp: devtest.AMQP(t)}
	s.honest = newHonest(s)
	s.web = &http.Client{Transport: s.honest}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s.openBooks(log)
	s.dialEngine(log)
	s.openSandbox(o)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.api = "http://" + listener.Addr().String()
	gateway, err := alipay.New(alipay.Config{
		AppID: appID, SellerID: sellerID, PrivateKey: s.key("app-private"), AlipayPublicKey: s.key("alipay-public"),
		Gateway: s.sandbox + "/gateway.do", NotifyURL: s.api + "/orders/receivenotify", Logger: log,
		Timeout: o.alipayWithin,
	})
	require.NoError(t, err)
	s.serveAPI(listener, gateway, o, log)
	s.work = func() func() { return s.startWorker(o, gateway, log) }
	if !o.idle {
		s.quit = s.work()
		t.Cleanup(func() { s.quit() })
	}
	return s
}

func (s *shop) openBooks(log *slog.Logger) {
	s.dbURL = devtest.Database(s.t, models.Migrate)
	pool, doors := s.pool(20), s.pool(2)
	node, err := nodeid.Acquire(s.t.Context(), pool, s.t.Name(), nodeid.WithLogger(log))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = node.Close(context.Background()) })
	s.db = pool
	s.store, err = models.NewStore(pool, node.Next, time.Now)
	require.NoError(s.t, err)
	s.door, err = models.NewStore(doors, node.Next, time.Now)
	require.NoError(s.t, err)
	require.NoError(s.t, s.store.SeedDemo(s.t.Context()))
}

func (s *shop) pool(conns int) *sql.DB {
	pool, err := models.Open(s.t.Context(), s.dbURL, conns)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func (s *shop) dialEngine(log *slog.Logger) {
	var address string
	address, s.namespace = devtest.Temporal(s.t)
	var err error
	s.engine, err = client.Dial(client.Options{HostPort: address, Namespace: s.namespace, Logger: temporallog.NewStructuredLogger(log)})
	require.NoError(s.t, err)
	s.t.Cleanup(s.engine.Close)
}

func (s *shop) openSandbox(o options) {
	err := sandbox.GenerateKeys(s.keys, false)
	require.NoError(s.t, err)
	fake, err := sandbox.New(sandbox.Config{
		Apps:       []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: s.key("app-public")}},
		PrivateKey: s.key("alipay-private"), NotifySchedule: slices.Repeat([]time.Duration{200 * time.Millisecond}, 100),
		Clock: o.alipayTime,
	})
	require.NoError(s.t, err)
	handler := fake.Handler()
	if o.front != nil {
		handler = o.front(handler)
	}
	server := httptest.NewServer(handler)
	s.sandbox = server.URL
	s.background(func(ctx context.Context) error { return fake.Run(ctx) })
	s.t.Cleanup(server.Close)
}

func (s *shop) serveAPI(listener net.Listener, gateway *alipay.Client, o options, log *slog.Logger) {
	tokens, err := auth.NewVerifier(auth.Config{Secret: jwtSecret})
	require.NoError(s.t, err)
	s.metrics = prometheus.NewRegistry()
	server := api.New(api.Config{
		Store: s.store, Door: s.door, CodesAtOnce: o.codesAtOnce, Metrics: s.metrics, Temporal: s.engine, Namespace: s.namespace, TaskQueue: workflows.TaskQueue, Alipay: gateway,
		Tokens: tokens, DemoToken: demoToken, Events: s.changes(log), Now: time.Now, Logger: log,
	})
	s.background(func(ctx context.Context) error { return server.Serve(ctx, listener) })
}

func (s *shop) startWorker(o options, gateway *alipay.Client, log *slog.Logger) (stop func()) {
	publisher, err := mq.NewPublisher(s.amqp, slices.Sorted(maps.Values(models.Queues())), log)
	require.NoError(s.t, err)
	steps := activities.New(s.store, activities.Config{
		Gateway: gateway,
		Publish: func(ctx context.Context, id string, body []byte) error {
			return publisher.Publish(ctx, mq.Message{ID: id, Body: body})
		},
		PublicURL: s.api, OrderExpiry: o.expiry, PollSchedule: o.poll, Now: time.Now, Logger: log,
	})
	end := background(s.t, func(ctx context.Context) error {
		return worker.Run(ctx, worker.Config{
			Temporal: s.engine, Namespace: s.namespace, TaskQueue: workflows.TaskQueue, Activities: steps, Store: s.store,
			Reconciler: s.reconciler(gateway, log), Schedules: worker.Schedules{Off: true}, AMQPURL: s.amqp, Logger: log,
		})
	})
	return func() {
		end()
		_ = publisher.Close()
	}
}

// background runs fn until the test ends.
func (s *shop) background(fn func(context.Context) error) {
	end := background(s.t, fn)
	s.t.Cleanup(end)
}

// background runs fn until stop is called; stop may be called twice.
func background(t *testing.T, fn func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx); close(done) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("background: %v", err)
		}
	}
}

// key reads a key of the sandbox's set.
func (s *shop) key(name string) string {
	text, err := os.ReadFile(filepath.Join(s.keys, name+".pem"))
	require.NoError(s.t, err)
	return string(text)
}

func (s *shop) token(user string) string {
	token, err := auth.Issue([]byte(jwtSecret), auth.User{ID: user}, time.Hour, time.Now())
	require.NoError(s.t, err)
	return token
}

func (s *shop) learner(user string) *buyer.Learner {
	return &buyer.Learner{Client: apiclient.New(apiclient.Config{
		URL: s.api, Token: apiclient.StaticToken(s.token(user)), HTTP: s.web, Tries: 1,
	})}
}

// operator calls as an operator.
func (s *shop) operator() *apiclient.Client {
	return apiclient.New(apiclient.Config{URL: s.api, Token: apiclient.StaticToken(s.opsToken()), HTTP: s.web, Tries: 1})
}

func (s *shop) opsToken() string {
	token, err := auth.Issue([]byte(jwtSecret), auth.User{ID: "operator-1", Ops: true}, time.Hour, time.Now())
	require.NoError(s.t, err)
	return token
}

// codeFor chooses the paid course for the user and asks for a code.
func (s *shop) codeFor(user string) (buyer.Choice, buyer.PayRecord) {
	s.t.Helper()
	choice, err := s.learner(user).Choose(s.t.Context(), course)
	require.NoError(s.t, err)
	var record buyer.PayRecord
	waitFor(func() bool { // a machine that is busy may answer "try again"
		record, err = s.learner(user).RequestCode(s.t.Context(), choice)
		refusal, refused := errors.AsType[*buyer.Refusal](err)
		return !refused || refusal.Status != http.StatusServiceUnavailable
	})
	require.NoError(s.t, err)
	return choice, record
}

// open scans a code and opens the cashier.
func (s *shop) open(record buyer.PayRecord) (*buyer.Phone, *buyer.Page) {
	s.t.Helper()
	address, err := buyer.Scan(record.QRCode)
	require.NoError(s.t, err)
	phone, err := buyer.NewPhone()
	require.NoError(s.t, err)
	cashier, err := phone.OpenCashier(s.t.Context(), address)
	require.NoError(s.t, err)
	return phone, cashier
}

// pay scans a code and pays it.
func (s *shop) pay(record buyer.PayRecord) {
	s.t.Helper()
	phone, cashier := s.open(record)
	_, err := phone.Pay(s.t.Context(), cashier)
	require.NoError(s.t, err)
}

// faults tells the sandbox how to misbehave.
func (s *shop) faults(faults string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, s.sandbox+"/control/faults", strings.NewReader(faults))
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Less(s.t, response.StatusCode, 300)
}

// listen counts the messages that reach the exchange, from now on.
func (s *shop) listen() func() []string {
	connection, err := amqp.Dial(s.amqp)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = connection.Close() })
	channel, err := connection.Channel()
	require.NoError(s.t, err)
	require.NoError(s.t, channel.ExchangeDeclare(mq.Exchange, "fanout", true, false, false, false, nil))
	queue, err := channel.QueueDeclare("", false, true, true, false, nil)
	require.NoError(s.t, err)
	require.NoError(s.t, channel.QueueBind(queue.Name, "", mq.Exchange, false, nil))
	deliveries, err := channel.Consume(queue.Name, "", true, true, false, false, nil)
	require.NoError(s.t, err)
	var heard []string
	return func() []string {
		for {
			select {
			case d := <-deliveries:
				heard = append(heard, d.MessageId)
			default:
				return heard
			}
		}
	}
}

// count runs a query that gives one number.
func (s *shop) count(query string, args ...any) int {
	s.t.Helper()
	var n int
	require.NoError(s.t, s.db.QueryRowContext(context.Background(), query, args...).Scan(&n))
	return n
}

// eventually waits until a query gives the number.
func (s *shop) eventually(want int, query string, args ...any) {
	s.t.Helper()
	var got int
	ok := waitFor(func() bool { got = s.count(query, args...); return got == want })
	require.True(s.t, ok, "%s: got %d, want %d", query, got, want)
}

func waitFor(condition func() bool) bool {
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// enrolled waits until the learner has the course and the message has been confirmed.
func (s *shop) enrolled(user string) {
	s.t.Helper()
	s.eventually(1, `select count(*) from xc_course_tables where user_id = $1 and course_id = $2`, user, course)
	s.eventually(0, `select count(*) from mq_message`)
}

// events counts the history events of an order's workflow.
func (s *shop) events(choice buyer.Choice) int {
	s.t.Helper()
	var n int
	require.True(s.t, waitFor(func() bool {
		d, err := s.engine.DescribeWorkflowExecution(context.Background(), workflows.PayOrderID(models.OrderCourse, choice.ID), "")
		require.NoError(s.t, err)
		n = int(d.GetWorkflowExecutionInfo().GetHistoryLength())
		return d.GetWorkflowExecutionInfo().GetCloseTime() != nil
	}), "the workflow is still running")
	return n
}

// call sends any request and returns status and body.
func (s *shop) call(method, path, token, contentType, body string) (int, string) {
	s.t.Helper()
	status, text, _ := s.callFull(method, path, token, contentType, body)
	return status, text
}

func (s *shop) callFull(method, path, token, contentType, body string) (int, string, http.Header) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.api+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := s.web.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, string(text), response.Header
}

// knock posts a callback and returns the answer.
func (s *shop) knock(form string) string {
	s.t.Helper()
	status, text := s.call(http.MethodPost, "/orders/receivenotify", "", "application/x-www-form-urlencoded; text/html; charset=UTF-8", form)
	require.Equal(s.t, http.StatusOK, status)
	return text
}

// paidNotify is what Alipay would say about a paid attempt.
func paidNotify(payNo string) map[string]string {
	return map[string]string{
		"notify_time": "2026-03-01 18:30:00", "notify_type": "trade_status_sync", "notify_id": "n-" + payNo, "app_id": appID,
		"auth_app_id": appID, "charset": "UTF-8", "version": "1.0", "sign_type": "RSA2", "trade_no": "2026030122001" + payNo,
		"out_trade_no": payNo, "seller_id": sellerID, "trade_status": "TRADE_SUCCESS", "total_amount": price,
		"receipt_amount": price, "buyer_pay_amount": price, "subject": "Go 微服务实战", "gmt_create": "2026-03-01 18:29:00",
		"gmt_payment": "2026-03-01 18:29:59",
	}
}

// signed signs a notify with a key of the sandbox's set, as Alipay does, and returns the form.
func (s *shop) signed(fields map[string]string, keyName string, hash crypto.Hash) string {
	block, _ := pem.Decode([]byte(s.key(keyName)))
	require.NotNil(s.t, block)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	require.NoError(s.t, err)
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if k != "sign" && k != "sign_type" {
			pairs = append(pairs, k+"="+fields[k])
		}
	}
	text := []byte(strings.Join(pairs, "&"))
	var digest []byte
	if hash == crypto.SHA1 {
		sum := sha1.Sum(text) //nolint:gosec // as above
		digest = sum[:]
	} else {
		sum := sha256.Sum256(text)
		digest = sum[:]
	}
	sign, err := rsa.SignPKCS1v15(rand.Reader, parsed.(*rsa.PrivateKey), hash, digest)
	require.NoError(s.t, err)
	form := url.Values{"sign": {base64.StdEncoding.EncodeToString(sign)}}
	for k, v := range fields {
		form.Set(k, v)
	}
	return form.Encode()
}

func (s *shop) genuine(fields map[string]string) string {
	return s.signed(fields, "alipay-private", crypto.SHA256)
}

// errorBody reads an error's body.
func errorBody(t *testing.T, text string) (code, message string) {
	t.Helper()
	var body struct{ ErrMessage, Code string }
	require.NoError(t, json.Unmarshal([]byte(text), &body), text)
	return body.Code, body.ErrMessage
}

func payCodeBody(total any, orderType, outBusinessID string) string {
	text, _ := json.Marshal(map[string]any{
		"totalPrice": total, "orderType": orderType, "orderName": "x", "orderDetail": "", "outBusinessId": outBusinessID,
	})
	return string(text)
}
