package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"coursepay/internal/buyer"
	"coursepay/models"
	"coursepay/workflows"
)

// asOps calls as an operator; into may be nil. It returns the status and, of a refusal, the code.
func (s *shop) asOps(method, path, key string, body, into any) (int, string) {
	s.t.Helper()
	return s.ask(s.opsToken(), method, path, key, body, into)
}

// ask sends JSON under an Idempotency-Key and reads the answer.
func (s *shop) ask(token, method, path, key string, body, into any) (int, string) {
	s.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(s.t, err)
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.api+path, bytes.NewReader(text))
	require.NoError(s.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	if body == nil {
		request.Body, request.ContentLength = http.NoBody, 0
	}
	response, err := s.web.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	if response.StatusCode != http.StatusOK {
		code, _ := errorBody(s.t, string(answer))
		return response.StatusCode, code
	}
	if into != nil {
		require.NoError(s.t, json.Unmarshal(answer, into), string(answer))
	}
	return response.StatusCode, ""
}

// refundView is a refund as the API tells it.
type refundView struct {
	OutRequestNo, OrderID, PayNo, Reason, Origin, RequestUser, Status, RefundDate string
	Amount                                                                        json.Number
}

func (s *shop) refund(orderID, key string, body map[string]any) refundView {
	s.t.Helper()
	var refund refundView
	status, code := s.asOps(http.MethodPost, "/orders/"+orderID+"/refunds", key, body, &refund)
	require.Equal(s.t, http.StatusOK, status, code)
	return refund
}

// bought is a learner who has paid for the course.
func (s *shop) bought(user string) (buyer.Choice, buyer.PayRecord) {
	s.t.Helper()
	choice, record := s.codeFor(user)
	s.pay(record)
	s.enrolled(user)
	return choice, record
}

// givenBack is what Alipay says has gone back of an attempt.
func (s *shop) givenBack(payNo string) string {
	s.t.Helper()
	var trade struct {
		RefundFee string `json:"refund_fee"`
	}
	s.control("/control/trades/"+payNo, &trade)
	return trade.RefundFee
}

func (s *shop) control(path string, into any) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.sandbox+path, nil)
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(into))
}

func (s *shop) learns(user, want string) {
	s.t.Helper()
	enrolment, err := s.learner(user).LearnStatus(s.t.Context(), course)
	require.NoError(s.t, err)
	require.Equal(s.t, want, enrolment.LearnStatus)
}

// booksBalance: every payment has bought something or is given back, and nobody has more than one enrolment.
func (s *shop) booksBalance() {
	s.t.Helper()
	require.Zero(s.t, s.count(`
		select count(*) from xc_pay_record r where status = '601002'
		and not exists (select 1 from xc_orders o where o.paid_by = r.pay_no and o.status = '600002')
		and total_price > (select coalesce(sum(amount), 0) from xc_refund_record f where f.pay_no = r.pay_no and f.status = 'refunded')`))
	require.Zero(s.t, s.count(`select count(*) from ops_attention where decide_date is null`))
	s.eventually(0, `select count(*) from mq_message`)
}

func TestFullRefund(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	heard := s.listen()
	_, record := s.bought("52")
	refund := s.refund(record.OrderID, "", map[string]any{"reason": "不想学了"})
	require.Equal(t, json.Number(price), refund.Amount, "left out: all that is left")
	require.Equal(t, "operator-1", refund.RequestUser)
	s.eventually(1, `select count(*) from xc_orders where status = '600004'`)
	s.eventually(0, `select count(*) from mq_message`)
	require.Equal(t, price, s.givenBack(record.PayNo))
	s.learns("52", "702002")
	require.True(t, waitFor(func() bool { return len(heard()) == 2 }), "payresult_notify and refund_notify")
	require.Equal(t, 1, s.count(`select count(*) from mq_message_history where message_type = 'refund_notify'`))
	result, err := s.learner("52").PayResult(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.Equal(t, "601003", result.Status)
	var refunds []refundView
	s.asOps(http.MethodGet, "/orders/"+record.OrderID+"/refunds", "", nil, &refunds)
	require.Len(t, refunds, 1)
	require.Equal(t, "refunded", refunds[0].Status)
	require.NotEmpty(t, refunds[0].RefundDate)
	s.eventually(1, `select count(*) from pay_notify where verdict = 'ignored'`) // Alipay tells of the refund, too

	description, err := s.engine.DescribeWorkflowExecution(t.Context(), workflows.RefundID(orderID(t, record), refund.OutRequestNo), "")
	require.NoError(t, err)
	require.Equal(t, workflows.Refund, description.GetWorkflowExecutionInfo().GetType().GetName())

	status, code := s.asOps(http.MethodPost, "/orders/"+record.OrderID+"/refunds", "", map[string]any{"reason": "again"}, nil)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "ORDER_REFUNDED", code)

	_, again := s.bought("52")
	require.NotEqual(t, record.OrderID, again.OrderID, "the course can be bought again")
	s.learns("52", "702001")
	s.booksBalance()
}

func orderID(t *testing.T, r buyer.PayRecord) models.ID {
	parsed, err := models.ParseID(r.OrderID)
	require.NoError(t, err)
	return parsed
}

func TestPartialRefunds(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.bought("52")
	part := s.refund(record.OrderID, "k1", map[string]any{"amount": 29, "reason": "part"})
	s.eventually(1, `select count(*) from xc_refund_record where status = 'refunded'`)
	again := s.refund(record.OrderID, "k1", map[string]any{"amount": 29, "reason": "part"})
	require.Equal(t, part.OutRequestNo, again.OutRequestNo, "the same key is the same refund")
	status, code := s.asOps(http.MethodPost, "/orders/"+record.OrderID+"/refunds", "k1", map[string]any{"amount": 28, "reason": "part"}, nil)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "REFUND_DIFFERS", code)
	status, code = s.asOps(http.MethodPost, "/orders/"+record.OrderID+"/refunds", "k2", map[string]any{"amount": 100.01, "reason": "too much"}, nil)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "REFUND_TOO_MUCH", code)
	s.learns("52", "702001")
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600002'`))
	s.refund(record.OrderID, "k3", map[string]any{"amount": "100.00", "reason": "rest"})
	s.eventually(1, `select count(*) from xc_orders where status = '600004'`)
	s.learns("52", "702002")
	require.Equal(t, price, s.givenBack(record.PayNo))
	s.booksBalance()
}

func TestWhoMayRefund(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.bought("52")
	_, unpaid := s.codeFor("53")
	body := map[string]any{"reason": "mine"}
	for _, path := range []string{"/orders/" + record.OrderID + "/refunds", "/ops/attention", "/ops/orders/" + record.OrderID} {
		method := http.MethodGet
		if path == "/orders/"+record.OrderID+"/refunds" {
			status, code := s.ask(s.token("52"), http.MethodPost, path, "", body, nil)
			require.Equal(t, http.StatusForbidden, status, path)
			require.Equal(t, "FORBIDDEN", code)
		}
		status, _ := s.ask(s.token("52"), method, path, "", nil, nil)
		require.Equal(t, http.StatusForbidden, status, path)
		status, _ = s.ask("", method, path, "", nil, nil)
		require.Equal(t, http.StatusUnauthorized, status, path)
	}
	for path, want := range map[string]string{
		"/orders/" + unpaid.OrderID + "/refunds": "ORDER_NOT_PAID", "/orders/4711/refunds": "NOT_FOUND",
	} {
		_, code := s.asOps(http.MethodPost, path, "", body, nil)
		require.Equal(t, want, code)
	}
	for _, bad := range []map[string]any{{}, {"reason": ""}, {"reason": "x", "amount": -1}, {"reason": "x", "amount": "1e2"}, {"reason": "x\x00"}} {
		status, code := s.asOps(http.MethodPost, "/orders/"+record.OrderID+"/refunds", "", bad, nil)
		require.Equal(t, http.StatusBadRequest, status, "%v", bad)
		require.Equal(t, "INVALID_REQUEST", code)
	}
	status, code := s.asOps(http.MethodPost, "/orders/"+record.OrderID+"/refunds", "", map[string]any{"reason": "x", "amount": 0}, nil)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "REFUND_TOO_MUCH", code)
	require.Zero(t, s.count(`select count(*) from xc_refund_record`))
}

// The refund was carried out and the answer lost; parallel refunds ask for more than there is; a repeat asks for another
// amount. Red: each try under a number of its own.
func TestHoleDoubleRefund(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{alipayWithin: 3 * time.Second})
	_, record := s.bought("52")
	s.faults(`{"gateway":{"executedThenTimeout":1}}`)
	s.refund(record.OrderID, "k1", map[string]any{"amount": 29, "reason": "part"})
	require.True(t, waitFor(func() bool { return s.givenBack(record.PayNo) == "29.00" }))
	s.faults(`{}`)
	answers := make([]string, 8)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() {
			_, answers[i] = s.asOps(http.MethodPost, "/orders/"+record.OrderID+"/refunds", fmt.Sprint("p", i), map[string]any{"amount": 60, "reason": "p"}, nil)
		})
	}
	group.Wait()
	taken := 0
	for _, code := range answers {
		if code == "" {
			taken++
		} else {
			require.Equal(t, "REFUND_TOO_MUCH", code)
		}
	}
	require.Equal(t, 1, taken)
	s.eventually(2, `select count(*) from xc_refund_record where status = 'refunded'`)
	require.Equal(t, "89.00", s.givenBack(record.PayNo))
	s.refund(record.OrderID, "k1", map[string]any{"amount": 29, "reason": "part"})
	require.Equal(t, "89.00", s.givenBack(record.PayNo))
	s.booksBalance()
}

// An old TRADE_SUCCESS comes after we have given the money back. Red: Settle moves a refunded record.
func TestHoleOldSuccessAfterOurRefund(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.bought("52")
	s.refund(record.OrderID, "", map[string]any{"reason": "x"})
	s.eventually(1, `select count(*) from xc_orders where status = '600004'`)
	var trade struct {
		TradeNo string `json:"trade_no"`
	}
	s.control("/control/trades/"+record.PayNo, &trade)
	old := paidNotify(record.PayNo)
	old["trade_no"] = trade.TradeNo
	require.Equal(t, "success", s.knock(s.genuine(old)))
	old["trade_status"], old["notify_id"] = "TRADE_FINISHED", "another"
	require.Equal(t, "success", s.knock(s.genuine(old)))
	require.NoError(t, s.engine.SignalWorkflow(t.Context(), s.wake(choice), "", workflows.SignalPaymentNotified, models.Payment{
		PayNo: payNoOf(t, record), TradeNo: trade.TradeNo, Amount: 129_00, PaidAt: time.Now(),
	}), "and even past the door")
	s.events(choice)
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600004'`))
	require.Equal(t, 1, s.count(`select count(*) from xc_pay_record where status = '601003'`))
	require.Equal(t, price, s.givenBack(record.PayNo))
	s.learns("52", "702002")
	s.booksBalance()
}

// wake starts an order's story again, and returns its workflow id.
func (s *shop) wake(choice buyer.Choice) string {
	s.t.Helper()
	id := workflows.PayOrderID(models.OrderCourse, choice.ID)
	_, err := s.engine.SignalWithStartWorkflow(s.t.Context(), id, workflows.SignalLookAgain, nil,
		client.StartWorkflowOptions{ID: id, TaskQueue: workflows.TaskQueue}, workflows.PayOrder,
		workflows.PayOrderInput{OrderType: models.OrderCourse, OutBusinessID: choice.ID})
	require.NoError(s.t, err)
	return id
}

func payNoOf(t *testing.T, r buyer.PayRecord) models.ID {
	parsed, err := models.ParseID(r.PayNo)
	require.NoError(t, err)
	return parsed
}

// Alipay says 10000 and has not given anything back: the refund waits, in sight. Red: an answer of 10000 taken as
// refunded.
func TestHole10000TakenAsRefunded(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.bought("52")
	s.faults(`{"refund":{"pending":1}}`)
	refund := s.refund(record.OrderID, "", map[string]any{"reason": "x"})
	workflow := workflows.RefundID(orderID(t, record), refund.OutRequestNo)
	require.True(t, waitFor(func() bool {
		d, err := s.engine.DescribeWorkflowExecution(t.Context(), workflow, "")
		require.NoError(t, err)
		return len(d.GetPendingActivities()) == 1 && d.GetPendingActivities()[0].GetAttempt() > 1
	}), "it is asked again")
	require.Equal(t, 1, s.count(`select count(*) from xc_refund_record where status = 'pending'`))
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600002'`))
	s.learns("52", "702001")
	s.faults(`{}`)
	s.eventually(1, `select count(*) from xc_orders where status = '600004'`)
	require.Equal(t, price, s.givenBack(record.PayNo))
	s.booksBalance()
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	s.open(record)
	var order struct{ ID, Status string }
	for range 2 {
		status, code := s.ask(s.token("52"), http.MethodPost, "/orders/"+record.OrderID+"/cancel", "", nil, &order)
		require.Equal(t, http.StatusOK, status, code)
		require.Equal(t, "600003", order.Status)
	}
	address, err := buyer.Scan(record.QRCode)
	require.NoError(t, err)
	phone, err := buyer.NewPhone()
	require.NoError(t, err)
	_, err = phone.OpenCashier(t.Context(), address)
	require.Error(t, err, "the old code says what to do")
	status, _ := s.ask(s.token("53"), http.MethodPost, "/orders/"+record.OrderID+"/cancel", "", nil, nil)
	require.Equal(t, http.StatusNotFound, status, "somebody else's order")

	fresh, err := s.learner("52").RequestCode(t.Context(), choice)
	require.NoError(t, err)
	require.Equal(t, record.OrderID, fresh.OrderID)
	s.pay(fresh)
	s.enrolled("52")
	status, code := s.ask(s.token("52"), http.MethodPost, "/orders/"+record.OrderID+"/cancel", "", nil, nil)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "ORDER_PAID", code)
	s.booksBalance()
}

// Alipay does not know the trade yet when the learner cancels, and the page that is open takes the money: the course is
// bought after all. Red: NOT_EXIST closes the attempt in the books.
func TestHoleCancelledBeforeTheScanAndPaidAfterIt(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{poll: []time.Duration{200 * time.Millisecond}})
	s.faults(`{"notify":{"drop":1}}`)
	_, record := s.codeFor("52")
	phone, cashier := s.open(record)
	status, _ := s.ask(s.token("52"), http.MethodPost, "/orders/"+record.OrderID+"/cancel", "", nil, nil)
	require.Equal(t, http.StatusOK, status)
	_, err := phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
	s.enrolled("52")
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600002'`))
	s.booksBalance()
}

// The same when the course is sold no more: the money goes back by itself. Red: a late payment always buys.
func TestPaidAfterCancellingWhatIsNoLongerSold(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	phone, cashier := s.open(record)
	status, _ := s.ask(s.token("52"), http.MethodPost, "/orders/"+record.OrderID+"/cancel", "", nil, nil)
	require.Equal(t, http.StatusOK, status)
	s.exec(`update course_publish set status = '203003' where id = ` + course)
	_, err := phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
	s.eventually(1, `select count(*) from xc_pay_record where status = '601003'`)
	require.Equal(t, price, s.givenBack(record.PayNo))
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600003'`))
	s.events(choice)
	s.learns("52", "702002")
	s.booksBalance()
}

// Somebody pays while the order is being cancelled: it is paid, and the learner is told so.
func TestCancellingRacesPaying(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	phone, cashier := s.open(record)
	_, err := phone.Submit(t.Context(), cashier, "login")
	require.NoError(t, err)
	s.faults(`{"race":{"payBeforeClose":1},"notify":{"drop":1}}`)
	status, code := s.ask(s.token("52"), http.MethodPost, "/orders/"+record.OrderID+"/cancel", "", nil, nil)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "ORDER_PAID", code)
	s.enrolled("52")
}

// A page that is opened late in an order's life is asked about within seconds, though its callback is lost. Red: the
// watch not reset when the page is opened.
func TestLostNotifyOfALateScan(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{poll: []time.Duration{100 * time.Millisecond}})
	s.faults(`{"notify":{"drop":1}}`)
	choice, record := s.codeFor("52")
	require.True(t, waitFor(func() bool { return s.watchWaits(choice) }), "the watch sleeps until the code is opened")
	s.pay(record)
	s.enrolled("52")
	require.LessOrEqual(t, s.events(choice), 32, "history events of an order whose callback was lost")
}

// watchWaits says whether the watch has gone to sleep for longer than any look at an opened page would take.
func (s *shop) watchWaits(choice buyer.Choice) bool {
	s.t.Helper()
	d, err := s.engine.DescribeWorkflowExecution(s.t.Context(), workflows.PayOrderID(models.OrderCourse, choice.ID), "")
	require.NoError(s.t, err)
	for _, a := range d.GetPendingActivities() {
		if a.GetActivityType().GetName() == workflows.WatchActivity {
			return time.Until(a.GetNextAttemptScheduleTime().AsTime()) > time.Minute
		}
	}
	return false
}

// A payment that the books refuse waits for an operator, who can see why and what to do, and gives the money back.
func TestParkedPaymentIsGivenBack(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	phone, cashier := s.open(record)
	s.exec(`delete from xc_choose_course`)
	_, err := phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
	s.eventually(1, `select count(*) from ops_attention where decide_date is null`)
	var waits []struct {
		WorkflowID, OrderID, PayNo, TradeNo, Reason string
		Amount                                      json.Number
		Actions                                     []string
	}
	status, _ := s.asOps(http.MethodGet, "/ops/attention", "", nil, &waits)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, waits, 1)
	require.Equal(t, record.PayNo, waits[0].PayNo)
	require.Equal(t, "选课记录不存在", waits[0].Reason)
	require.Equal(t, []string{"retry", "refund", "close"}, waits[0].Actions)
	require.NoError(t, s.engine.SignalWorkflow(t.Context(), waits[0].WorkflowID, "", workflows.SignalOperator,
		map[string]string{"action": "refund", "note": "course row is gone"}))
	s.eventually(1, `select count(*) from xc_pay_record where status = '601003'`)
	require.Equal(t, price, s.givenBack(record.PayNo))
	s.events(choice)
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600003'`), "nothing is open for ever")
	var story struct {
		Order     struct{ Status, RefundedTotal json.Number }
		Audit     []struct{ Event, Note string }
		Callbacks []struct{ Verdict string }
		Attention []struct{ Decision, Note string }
	}
	status, _ = s.asOps(http.MethodGet, "/ops/orders/"+record.OrderID, "", nil, &story)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "refund", story.Attention[0].Decision)
	require.NotEmpty(t, story.Callbacks)
	require.NotEmpty(t, story.Audit)
	s.booksBalance()
}

// The workflow of a parked payment was terminated: the decision begins its story again, which finds the payment. Red:
// the decision sent to a running workflow alone; parked payments known to the run that parked them alone.
func TestDecisionAboutAStoryThatWasTerminated(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	phone, cashier := s.open(record)
	s.exec(`delete from xc_choose_course`)
	_, err := phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
	s.eventually(1, `select count(*) from ops_attention where decide_date is null`)
	id := workflows.PayOrderID(models.OrderCourse, choice.ID)
	require.NoError(t, s.engine.TerminateWorkflow(t.Context(), id, "", "by mistake"))
	status, code := s.asOps(http.MethodPost, "/ops/decisions", "", map[string]string{
		"workflowId": id, "payNo": record.PayNo, "action": "refund", "note": "the course is gone",
	}, nil)
	require.Equal(t, http.StatusOK, status, code)
	s.eventually(1, `select count(*) from xc_pay_record where status = '601003'`)
	require.Equal(t, price, s.givenBack(record.PayNo))
	s.events(choice)
	s.booksBalance()
}

// Alipay refuses the refund for good: an operator fills up the account and lets it be tried again.
func TestRefundThatAlipayRefuses(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.bought("52")
	s.faults(`{"refund":{"sellerBalance":1}}`)
	refund := s.refund(record.OrderID, "", map[string]any{"reason": "x"})
	s.eventually(1, `select count(*) from ops_attention where decide_date is null and request_no = $1`, refund.OutRequestNo)
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600002'`))
	s.learns("52", "702001")
	s.faults(`{}`)
	require.NoError(t, s.engine.SignalWorkflow(t.Context(), workflows.RefundID(orderID(t, record), refund.OutRequestNo), "",
		workflows.SignalOperator, workflows.Operator{Action: workflows.ActionRetry, Note: "filled up"}))
	s.eventually(1, `select count(*) from xc_orders where status = '600004'`)
	require.Equal(t, price, s.givenBack(record.PayNo))
	s.eventually(0, `select count(*) from mq_message`)
	s.booksBalance()
}

func TestOwnOrders(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.bought("52")
	_, other := s.codeFor("53")
	var page struct {
		Items  []struct{ ID, Status, OrderName, PayNo string }
		Counts string
	}
	status, _ := s.ask(s.token("52"), http.MethodGet, "/orders/my", "", nil, &page)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "1", page.Counts)
	require.Equal(t, record.OrderID, page.Items[0].ID)
	require.Equal(t, record.PayNo, page.Items[0].PayNo)
	status, _ = s.ask(s.token("52"), http.MethodGet, "/orders/my?status=600003", "", nil, &page)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "0", page.Counts)
	var order struct{ ID, Status, ExpireDate string }
	status, _ = s.ask(s.token("53"), http.MethodGet, "/orders/"+other.OrderID, "", nil, &order)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "600001", order.Status)
	require.NotEmpty(t, order.ExpireDate)
	for _, path := range []string{"/orders/" + other.OrderID, "/orders/4711"} {
		status, code := s.ask(s.token("52"), http.MethodGet, path, "", nil, nil)
		require.Equal(t, http.StatusNotFound, status)
		require.Equal(t, "NOT_FOUND", code)
	}
	status, _ = s.ask(s.token("52"), http.MethodGet, "/orders/x1", "", nil, nil)
	require.Equal(t, http.StatusBadRequest, status)
}
