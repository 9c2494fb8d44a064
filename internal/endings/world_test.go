package endings

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/workflow"

	"coursepay/activities"
	"coursepay/internal/alipay"
	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
	"coursepay/models"
	"coursepay/workflows"
)

const (
	price   = models.Money(129_00)
	days    = 180
	expires = 45 * time.Second // how long a code can be paid
	between = 3 * time.Second  // from one event to the next; what follows from it is done by then
	atOnce  = time.Millisecond // the same, but what follows from it is still being done
	abandon = enums.PARENT_CLOSE_POLICY_ABANDON
)

// town is where sequences happen one after the other: one sandbox, one client, and their clock.
type town struct {
	db      *sql.DB
	store   *models.Store
	alipay  *alipay.Client
	sandbox http.Handler
	now     atomic.Pointer[func() time.Time] // of the sequence that runs
}

var lastID atomic.Int64

func newTown(t *testing.T, db *sql.DB) *town {
	t.Helper()
	const appID, sellerID = "9021000100000001", "2088721000000001"
	keys, w := sandboxtest.Keys(), &town{db: db}
	w.at(time.Now)
	server, err := sandbox.New(sandbox.Config{
		Apps:       []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: keys[sandbox.AppPublicKeyFile]}},
		PrivateKey: keys[sandbox.AlipayPrivateKeyFile], Clock: w.clock, RefundPause: sandbox.DefaultRefundPause,
	})
	require.NoError(t, err)
	w.sandbox = server.Handler()
	web := httptest.NewServer(w.sandbox)
	t.Cleanup(func() { web.Close(); require.NoError(t, server.Close()) })
	w.alipay, err = alipay.New(alipay.Config{
		AppID: appID, SellerID: sellerID, PrivateKey: keys[sandbox.AppPrivateKeyFile],
		AlipayPublicKey: keys[sandbox.AlipayPublicKeyFile], Gateway: web.URL, MaxQPS: 1_000_000,
	})
	require.NoError(t, err)
	w.store, err = models.NewStore(db, func() (int64, error) { return lastID.Add(1), nil }, w.clock)
	require.NoError(t, err)
	return w
}

func (w *town) clock() time.Time { return (*w.now.Load())() }

func (w *town) at(clock func() time.Time) { w.now.Store(&clock) }

// world is what one sequence happens in.
type world struct {
	*town
	*engine
	*mishaps
	t        inStory
	seq      sequence
	in       workflows.PayOrderInput
	how      circumstances
	course   models.ID
	order    models.ID
	d        *diary
	pages    []models.PayRecord // that were opened, the newest last
	told     []models.ID        // whose callback has arrived
	byHand   map[models.ID]bool // what operators gave back at Alipay themselves
	refunds  int                // asked for by operators, and taken
	promised bool               // a payment was made while the order was open: its goods were promised
	perhaps  bool               // one was made while the order was open, or was just ceasing to be
	late     []string           // messages of the bus, to be delivered (again) when all is over
	messages int
	busMu    sync.Mutex
}

// inStory is a test that may fail inside a story: that ends the story, and by that the test, instead of the goroutine.
type inStory struct{ *testing.T }

func (t inStory) FailNow() { panic("the world is broken: see the test's log") }

// diary is what happened, for whoever has to find out why the books are wrong.
type diary struct {
	mu    sync.Mutex
	start time.Time
	clock func() time.Time
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := time.Duration(0)
	if d.clock != nil {
		after = d.clock().Sub(d.start).Round(time.Millisecond)
	}
	d.lines = append(d.lines, fmt.Sprintf("%9s  %s", "+"+after.String(), fmt.Sprintf(format, args...)))
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, "\n")
}

// play lets the sequence happen, waits until nothing more can, and returns the world as it is then.
func (w *town) play(t *testing.T, how circumstances, seq sequence) *world {
	t.Helper()
	start := time.Now().Truncate(time.Second)
	d := &diary{start: start}
	m := &mishaps{d: d}
	p := &world{town: w, t: inStory{t}, seq: seq, how: how, mishaps: m, engine: newEngine(d, start, m), d: d, byHand: map[models.ID]bool{}}
	d.clock = p.Now
	w.at(p.Now)
	p.RegisterActivity(activities.New(w.store, activities.Config{
		Gateway: w.alipay, Publish: p.publish, PublicURL: "http://shop", OrderExpiry: expires,
		PollSchedule: []time.Duration{8 * time.Second, 12 * time.Second, longestUnlooked}, Now: w.clock,
		Logger: slog.New(slog.DiscardHandler),
	}))
	p.open()
	p.ExecuteWorkflow(p.story)
	require.NoError(t, p.GetWorkflowError(), d)
	w.at(func() time.Time { return start.Add(24 * time.Hour) })
	return p
}

// open puts a course on sale and has a learner choose it.
func (w *world) open() {
	w.course = models.ID(lastID.Add(1))
	user := "u" + w.course.String()
	w.exec(`insert into course_publish (id, company_id, name, charge, price, valid_days, status, online_date)
		values ($1, 1, 'Go', '201001', $2::numeric, $3, '203002', $4)`, w.course, price.String(), days, w.clock())
	chosen, _, err := w.store.ChooseCourse(w.t.Context(), user, w.course)
	require.NoError(w.t, err)
	w.in = workflows.PayOrderInput{OrderType: models.OrderCourse, OutBusinessID: chosen.ID.String(), UserID: user}
	w.control("/control/faults", http.MethodPut, `{}`, nil)
}

// story is the world's own: it runs as a workflow, so that it lives in the same time as the stories of the order.
func (w *world) story(ctx workflow.Context) error {
	w.show(ctx)
	w.begin()
	for i, e := range w.seq {
		w.pass(ctx, w.pause())
		w.d.note("%s", strings.ToUpper(string(e)))
		w.happens(ctx, e, i)
	}
	w.letTimePass(ctx)
	return nil
}

// pause is how long it is from one event to the next. In short sequences everything has its time, so that they end in
// the same way each time; in longer ones the next event may come while the steps of the one before are being done.
func (w *world) pause() time.Duration {
	if len(w.seq) > longestInTable && w.seq.dice("pause")%2 == 0 {
		return atOnce
	}
	return between
}

func (w *world) pass(ctx workflow.Context, d time.Duration) {
	if err := workflow.Sleep(ctx, d); err != nil {
		w.d.note("  time does not pass: %v", err)
	}
}

// begin lets the circumstances set in, once the pages are open.
func (w *world) begin() {
	switch w.how {
	case loggedIn:
		w.control("/control/trades/"+w.newest().PayNo.String()+"/login", http.MethodPost, "", nil)
	case offline:
		w.exec(`update course_publish set status = '203003' where id = $1`, w.course)
	case refusing:
		w.exec(`update xc_choose_course set order_type = '700001' where id = $1`, w.in.OutBusinessID)
	case poor:
		w.control("/control/faults", http.MethodPut, `{"refund":{"sellerBalance":1}}`, nil)
	case racing:
		w.control("/control/faults", http.MethodPut, `{"race":{"payBeforeClose":1}}`, nil)
	}
}

// mend is what an operator does about the cause of a trouble.
func (w *world) mend() {
	w.exec(`update xc_choose_course set order_type = '700002' where id = $1`, w.in.OutBusinessID)
	w.control("/control/faults", http.MethodPut, `{}`, nil)
}

func (w *world) happens(ctx workflow.Context, e event, i int) {
	switch e {
	case notify:
		w.buyerPays(ctx)
		w.callback(ctx, w.toTell())
	case poll:
		w.unheardOf(ctx, i)
	case second:
		if page := w.older(ctx); w.paysOn(page) {
			w.callback(ctx, page)
		}
	case expiry:
		w.pass(ctx, w.newest().ExpireDate.Sub(w.Now())+longestUnlooked)
	case cancel:
		w.signalWithStart(ctx, w.in, workflows.SignalCancelOrder, nil)
	case refund:
		w.opsRefunds(ctx, i)
	case operator:
		w.pass(ctx, between) // operators are slower than machines
		w.operatorDecides(i)
	case crash:
		w.arm(mishap((w.seq.dice(string(w.how)) + i) % int(kindsOfMishap)))
	}
}

// unheardOf lets the buyer pay and the callback get lost. Either somebody looks before the next event, or not; or it is
// the last moment in which the page can be paid.
func (w *world) unheardOf(ctx workflow.Context, i int) {
	how, rest := w.seq.dice("poll")%3, w.seq[i+1:]
	if how == 0 && (len(rest) == 0 || rest[0] == expiry) && w.trade(w.newest().PayNo).Payable {
		w.pass(ctx, w.newest().ExpireDate.Sub(w.Now())-time.Second)
	}
	w.buyerPays(ctx)
	if how == 1 {
		w.pass(ctx, longestUnlooked+between)
	}
}

// show lets the learner get a code and open its page, twice: the first page stays open on another phone.
func (w *world) show(ctx workflow.Context) bool {
	for range 2 {
		if !w.code(ctx) {
			return false
		}
	}
	return true
}

func (w *world) newest() models.PayRecord { return w.pages[len(w.pages)-1] }

// code lets the learner get one code, and open its page: what the API does for both.
func (w *world) code(ctx workflow.Context) bool {
	r := models.PayRequest{
		RequestID: fmt.Sprint("request-", lastID.Add(1)), UserID: w.in.UserID, OrderType: w.in.OrderType, OutBusinessID: w.in.OutBusinessID, TotalPrice: price,
	}
	for range 6 {
		if err := w.store.CheckPayRequest(w.t.Context(), r); err != nil {
			w.d.note("  no code: %v", err)
			return false
		}
		id := workflows.PayOrderID(w.in.OrderType, w.in.OutBusinessID)
		w.start(ctx, id, workflows.PayOrder, w.in)
		answer, err := w.update(ctx, id, workflows.UpdateRequestPayment, r)
		if code, ok := answer.(models.PayCode); err == nil && ok {
			return w.opens(code.PayNo)
		}
		w.d.note("  no code: %v", err)
		w.pass(ctx, 2*between)
	}
	return false
}

// opens is a phone that scans the code: our page sends it on to Alipay's.
func (w *world) opens(payNo models.ID) bool {
	record, err := w.store.OpenAttempt(w.t.Context(), payNo)
	if err != nil {
		w.d.note("  page %s not opened: %v", payNo, err)
		return false
	}
	page, err := w.alipay.WapPayForm(alipay.WapPay{PayNo: payNo.String(), Subject: record.OrderName, Amount: record.TotalPrice, ExpireAt: record.ExpireDate})
	require.NoError(w.t, err)
	document, err := goquery.NewDocumentFromReader(strings.NewReader(page))
	require.NoError(w.t, err)
	form := url.Values{}
	document.Find("form input").Each(func(_ int, in *goquery.Selection) { form.Set(in.AttrOr("name", ""), in.AttrOr("value", "")) })
	action, err := url.Parse(document.Find("form").AttrOr("action", ""))
	require.NoError(w.t, err)
	status := w.control(action.RequestURI(), http.MethodPost, form.Encode(), nil)
	require.Equal(w.t, http.StatusSeeOther, status)
	w.d.note("  page %s is open until +%s", payNo, record.ExpireDate.Sub(w.d.start))
	w.pages, w.order = append(w.pages, record), record.OrderID
	return true
}

// trade is what Alipay knows of an attempt.
type trade struct {
	TradeNo   string             `json:"trade_no"`
	Standing  models.TradeStatus `json:"trade_status"`
	PaidAt    time.Time          `json:"gmt_payment"`
	Payable   bool               `json:"payable"`
	RefundFee string             `json:"refund_fee"`
}

func (t trade) paid() bool { return !t.PaidAt.IsZero() }

func (w *world) trade(payNo models.ID) (t trade) {
	require.Equal(w.t, http.StatusOK, w.control("/control/trades/"+payNo.String(), http.MethodGet, "", &t))
	return t
}

// buyerPays lets the buyer pay on the newest page. One whose time is over he replaces by a new code, if there is one for
// him.
func (w *world) buyerPays(ctx workflow.Context) {
	t := w.trade(w.newest().PayNo)
	if t.paid() || (!t.Payable && !w.show(ctx)) {
		return
	}
	w.paysOn(w.newest())
}

// older is the older one of the two pages that are open, or of new ones in their place.
func (w *world) older(ctx workflow.Context) models.PayRecord {
	if !w.trade(w.newest().PayNo).Payable && !w.anyPaid() {
		w.show(ctx)
	}
	return w.pages[len(w.pages)-2]
}

func (w *world) anyPaid() bool {
	return slices.ContainsFunc(w.pages, func(p models.PayRecord) bool { return w.trade(p.PayNo).paid() })
}

func (w *world) paysOn(page models.PayRecord) bool {
	w.perhaps = w.unpaid() || w.perhaps
	if w.control("/control/trades/"+page.PayNo.String()+"/pay", http.MethodPost, "", nil) != http.StatusOK {
		w.d.note("  Alipay takes no money on page %s", page.PayNo)
		return false
	}
	w.promised = w.unpaid() || w.promised
	w.d.note("  the buyer has paid on page %s", page.PayNo)
	return true
}

func (w *world) unpaid() bool {
	order, err := w.store.Order(w.t.Context(), w.order)
	require.NoError(w.t, err)
	return order.Status == models.OrderUnpaid
}

// toTell is a payment whose callback has not arrived, or else the last one.
func (w *world) toTell() models.PayRecord {
	var paid models.PayRecord
	for _, page := range w.pages {
		if w.trade(page.PayNo).paid() {
			paid = page
			if !slices.Contains(w.told, page.PayNo) {
				break
			}
		}
	}
	return paid
}

// callback lets Alipay's callback come through the door: twice at once, as it may. The door would know a payment that is
// settled; here it does not, as it may not when both come at the same moment.
func (w *world) callback(ctx workflow.Context, page models.PayRecord) {
	if page.PayNo == 0 {
		w.d.note("  nothing was paid")
		return
	}
	t := w.trade(page.PayNo)
	w.told = append(w.told, page.PayNo)
	w.d.note("  callback of page %s", page.PayNo)
	for range 2 {
		w.signalWithStart(ctx, w.in, workflows.SignalPaymentNotified, models.Payment{
			PayNo: page.PayNo, TradeNo: t.TradeNo, Amount: page.TotalPrice, PaidAt: t.PaidAt.Truncate(time.Second),
		})
	}
}

// opsRefunds is POST /orders/{id}/refunds: in part if there is another one to come, and asked for
// twice. Who asks for more than there is gets nothing.
func (w *world) opsRefunds(ctx workflow.Context, i int) {
	order, err := w.store.Order(w.t.Context(), w.order)
	require.NoError(w.t, err)
	if order.PaidBy == nil {
		w.d.note("  no refund: the order is not paid")
		return
	}
	r := models.RefundRequest{
		OrderID: w.order, PayNo: *order.PaidBy, RequestNo: fmt.Sprintf("ops-%s-%d", w.order, i), Amount: w.left(*order.PaidBy),
		Reason: "x", Origin: models.RefundByOperator, By: "ops",
	}
	if slices.Contains(w.seq[i+1:], refund) {
		r.Amount = min(r.Amount, 29_00)
	}
	err = w.store.CheckRefund(w.t.Context(), r)
	if err != nil {
		w.d.note("  no refund: %v", err)
		return
	}
	tooMuch := r
	tooMuch.RequestNo, tooMuch.Amount = r.RequestNo+"-too-much", w.left(r.PayNo)+1
	w.ask(ctx, tooMuch) // the API would refuse it, but not where two operators ask at once
	w.ask(ctx, r)
	if w.seq.dice("again")%2 == 0 {
		w.pass(ctx, between)
	}
	w.ask(ctx, r) // a repeat, while it is under way or when it is done
	if _, err := w.store.RefundByNo(w.t.Context(), r.RequestNo); err == nil {
		w.refunds++
	}
}

// ask hands a refund to its story.
func (w *world) ask(ctx workflow.Context, r models.RefundRequest) {
	id := workflows.RefundID(r.OrderID, r.RequestNo)
	w.start(ctx, id, workflows.Refund, r)
	answer, err := w.update(ctx, id, workflows.UpdateRequestRefund)
	w.d.note("  refund of %s: %+v %v", r.Amount, answer, err)
}

// left is what has not been given back of an attempt, and is not on its way.
func (w *world) left(payNo models.ID) models.Money {
	refunds, err := w.store.Refunds(w.t.Context(), w.order)
	require.NoError(w.t, err)
	left := price
	for _, r := range refunds {
		if r.PayNo == payNo && r.Status != models.RefundClosed {
			left -= r.Amount
		}
	}
	return left
}

// waiting is something that is parked.
type waiting struct {
	workflowID string
	payNo      models.ID
	requestNo  *string
}

func (w *world) parked() (open []waiting) {
	rows, err := w.db.QueryContext(w.t.Context(),
		`select workflow_id, pay_no, request_no from ops_attention where order_id = $1 and decide_date is null order by id`, w.order)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, rows.Close()) }()
	for rows.Next() {
		var p waiting
		require.NoError(w.t, rows.Scan(&p.workflowID, &p.payNo, &p.requestNo))
		open = append(open, p)
	}
	require.NoError(w.t, rows.Err())
	return open
}

var actions = []string{workflows.ActionRetry, workflows.ActionRefund, workflows.ActionClose}

// operatorDecides about the oldest thing that is parked: mends the cause or not, and says one of the three. With nothing
// parked it is a decision about nothing, which must not be kept for later.
func (w *world) operatorDecides(i int) {
	action := actions[(w.seq.dice("operator")+i)%len(actions)]
	open := w.parked()
	if len(open) == 0 {
		err := w.SignalWorkflowByID(workflows.PayOrderID(w.in.OrderType, w.in.OutBusinessID), workflows.SignalOperator, workflows.Operator{Action: action})
		w.d.note("  nothing is parked: %s %v", action, err)
		return
	}
	if w.seq.dice("mend")%2 == 0 {
		w.mend()
	}
	w.decide(open[0], action)
}

func (w *world) decide(p waiting, action string) {
	if p.requestNo != nil && action == workflows.ActionRefund {
		action = workflows.ActionRetry
	}
	if w.byHand[p.payNo] {
		action = workflows.ActionClose // whoever gave it back by hand does not book it when its callback comes again
	}
	if action == workflows.ActionClose {
		w.giveBackByHand(p)
	}
	err := w.SignalWorkflowByID(p.workflowID, workflows.SignalOperator, workflows.Operator{Action: action, PayNo: p.payNo})
	w.d.note("  operator: %s %s %v", p.payNo, action, err)
}

// giveBackByHand is what an operator does before ending something that is parked: money that bought nothing goes back at
// Alipay. A refund of a paid order may just be given up.
func (w *world) giveBackByHand(p waiting) {
	order, err := w.store.Order(w.t.Context(), w.order)
	require.NoError(w.t, err)
	if order.PaidBy != nil && *order.PaidBy == p.payNo {
		return
	}
	w.control("/control/faults", http.MethodPut, `{}`, nil)
	back, err := w.alipay.Refund(w.t.Context(), models.TradeRefundRequest{PayNo: p.payNo.String(), RequestNo: "hand" + p.payNo.String(), Amount: price})
	w.d.note("  given back by hand: %s %v %v", p.payNo, back.Refunded, err)
	w.byHand[p.payNo] = w.byHand[p.payNo] || back.Refunded
}

// letTimePass goes on until nothing runs any more: what is parked by then is decided, one way or the other.
func (w *world) letTimePass(ctx workflow.Context) {
	w.d.note("TIME PASSES")
	for i := range 6 {
		w.pass(ctx, 20*time.Minute)
		open := w.parked()
		for _, p := range open {
			w.mend()
			w.decide(p, actions[(w.seq.dice("end")+i)%len(actions)])
		}
		if len(open) == 0 && len(w.stories()) == 0 {
			break
		}
	}
	for _, id := range w.stories() {
		state, err := w.QueryWorkflowByID(id, workflows.QueryState)
		var text json.RawMessage
		if err == nil {
			err = state.Get(&text)
		}
		w.d.note("  still running: %s %s %v", id, text, err)
	}
	for _, body := range slices.Backward(w.late) {
		w.deliver(w.t.Context(), body)
	}
}

// publish is the bus: a message arrives at once, or when all is over, or both.
func (w *world) publish(ctx context.Context, _ string, body []byte) error {
	w.busMu.Lock()
	w.messages++
	now := (w.seq.dice("bus")+w.messages)%3 > 0
	w.late = append(w.late, string(body))
	w.busMu.Unlock()
	if now {
		w.deliver(ctx, string(body))
	}
	return atPublish(ctx)
}

// deliver hands a message to the learning service's subscriber.
func (w *world) deliver(ctx context.Context, text string) {
	var body struct{ MessageType, BusinessKey1, BusinessKey2 string }
	err := json.Unmarshal([]byte(text), &body)
	var done bool
	if err == nil && body.MessageType == models.MessagePayResult {
		done, err = w.store.Fulfil(ctx, models.OrderType(body.BusinessKey2), body.BusinessKey1)
	} else if err == nil {
		done, err = w.store.Revoke(ctx, models.OrderType(body.BusinessKey2), body.BusinessKey1)
	}
	w.d.note("  message %s: %v %v", body.MessageType, done, err)
}

func (w *world) exec(statement string, args ...any) {
	_, err := w.db.ExecContext(w.t.Context(), statement, args...)
	require.NoError(w.t, err)
}

// control asks the sandbox, without a network between.
func (w *world) control(path, method, body string, into any) int {
	request := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(body))
	if strings.HasPrefix(path, "/gateway.do") {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer := httptest.NewRecorder()
	w.sandbox.ServeHTTP(answer, request)
	if into != nil && answer.Code == http.StatusOK {
		if err := json.NewDecoder(answer.Body).Decode(into); err != nil && !errors.Is(err, io.EOF) {
			require.NoError(w.t, err)
		}
	}
	return answer.Code
}
