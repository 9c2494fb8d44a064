package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/buyer"
)

func TestBuyACourse(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	heard := s.listen()
	before, err := s.learner("52").LearnStatus(t.Context(), course)
	require.NoError(t, err)
	require.Equal(t, buyer.Enrolment{LearnStatus: "702002"}, before)

	choice, record := s.codeFor("52")
	require.Equal(t, "701002", choice.Status)
	require.Equal(t, "601001", record.Status)
	address, err := buyer.Scan(record.QRCode)
	require.NoError(t, err)
	require.Equal(t, s.api+"/orders/requestpay?payNo="+record.PayNo, address)
	s.pay(record)
	s.enrolled("52")

	after, err := s.learner("52").LearnStatus(t.Context(), course)
	require.NoError(t, err)
	require.Equal(t, "702001", after.LearnStatus)
	require.Equal(t, choice.ID, after.ChooseCourseID)
	result, err := s.learner("52").PayResult(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.Equal(t, "601002", result.Status)
	require.NotEmpty(t, result.OutPayNo)
	require.NotEmpty(t, result.PaySuccessTime)
	require.Len(t, heard(), 1)
	require.LessOrEqual(t, s.events(choice), 24, "history events of a promptly paid order")
}

func TestSameNotifyFiftyTimesAtOnce(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	heard := s.listen()
	_, record := s.codeFor("52")
	form := s.genuine(paidNotify(record.PayNo))
	answers := make([]string, 50)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() { answers[i] = s.knock(form) })
	}
	group.Wait()
	for _, answer := range answers {
		require.Equal(t, "success", answer)
	}
	s.enrolled("52")
	before := s.count(`select count(*) from pay_notify where verdict = 'duplicate'`)
	require.Equal(t, "success", s.knock(form), "and long after")
	require.Equal(t, before+1, s.count(`select count(*) from pay_notify where verdict = 'duplicate'`), "the engine is not bothered")
	require.Len(t, heard(), 1)
	require.Equal(t, 1, s.count(`select count(*) from order_audit where event = 'paid'`))
	require.Equal(t, 1, s.count(`select count(*) from mq_message_history`))
	require.Equal(t, 1, s.count(`select count(*) from xc_course_tables`))
	require.Equal(t, 51, s.count(`select count(*) from pay_notify where verdict in ('accepted', 'duplicate')`))
}

// Each notify here was answered "success", or moved the order, with its check taken out.
func TestNotifiesThatMustNotBeBelieved(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	with := func(key, value string) map[string]string {
		fields := paidNotify(record.PayNo)
		fields[key] = value
		return fields
	}
	good := s.genuine(paidNotify(record.PayNo))
	rsa1 := with("sign_type", "RSA")
	for name, form := range map[string]string{
		"altered amount":          strings.Replace(good, "total_amount=129.00", "total_amount=0.01", 1),
		"altered order":           strings.Replace(good, "out_trade_no="+record.PayNo, "out_trade_no=1", 1),
		"signed by the app's key": s.signed(paidNotify(record.PayNo), "app-private", crypto.SHA256),
		"RSA-1":                   s.signed(rsa1, "alipay-private", crypto.SHA1),
		"RSA-1 called RSA2":       s.signed(paidNotify(record.PayNo), "alipay-private", crypto.SHA1),
		"lower-case sign_type":    s.genuine(with("sign_type", "rsa2")),
		"no sign":                 strings.Replace(good, "sign=", "xign=", 1),
		"bad base64":              strings.Replace(good, "sign=", "sign=%21", 1),
		"wrong amount":            s.genuine(with("total_amount", "128.99")),
		"amount as exponent":      s.genuine(with("total_amount", "1.29e2")),
		"wrong app":               s.genuine(with("app_id", "9021000100000002")),
		"wrong seller":            s.genuine(with("seller_id", "2088721000000002")),
		"unknown order":           s.genuine(with("out_trade_no", "4711")),
		"order in letters":        s.genuine(with("out_trade_no", "abc")),
		"repeated key":            good + "&total_amount=129.00",
		"empty":                   "",
		"no form":                 "%%%",
		"10 MB":                   "a=" + strings.Repeat("x", 10<<20),
		"10 MB before a good one": "a=" + strings.Repeat("x", 10<<20) + "&" + good,
	} {
		before := s.count(`select count(*) from pay_notify where verdict = 'refused'`)
		require.Equal(t, "fail", s.knock(form), name)
		require.Equal(t, before+1, s.count(`select count(*) from pay_notify where verdict = 'refused'`), "evidence of: %s", name)
	}
	require.Zero(t, s.count(`select count(*) from pay_notify where length(raw) > 16384`), "evidence is bounded")
	require.NotZero(t, s.count(`select count(*) from pay_notify where raw_size > 10000000`), "and says how much came")
	require.Zero(t, s.count(`select count(*) from xc_orders where status <> '600001'`))
	require.Zero(t, s.count(`select count(*) from xc_pay_record where status <> '601001'`))
	require.Equal(t, "success", s.knock(good), "the genuine one still is")
	s.enrolled("52")
}

func TestNotifiesThatAreNoPayment(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	refund := paidNotify(record.PayNo)
	refund["refund_fee"], refund["gmt_refund"], refund["out_biz_no"] = "10.00", "2026-03-02 10:00:00", "r1"
	for name, change := range map[string][2]string{
		"waiting": {"trade_status", "WAIT_BUYER_PAY"}, "closed": {"trade_status", "TRADE_CLOSED"},
	} {
		fields := paidNotify(record.PayNo)
		fields[change[0]] = change[1]
		require.Equal(t, "success", s.knock(s.genuine(fields)), name)
	}
	require.Equal(t, "success", s.knock(s.genuine(refund)), "a partial refund says TRADE_SUCCESS too")
	require.Equal(t, 3, s.count(`select count(*) from pay_notify where verdict = 'ignored'`))
	require.Zero(t, s.count(`select count(*) from xc_orders where status <> '600001'`))
	finished := paidNotify(record.PayNo)
	finished["trade_status"] = "TRADE_FINISHED"
	require.Equal(t, "success", s.knock(s.genuine(finished)))
	s.enrolled("52")
}

func TestNotifyIsNotTakenUnlessItIsSafe(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	good := s.genuine(paidNotify(record.PayNo))
	_, err := s.db.ExecContext(t.Context(), `alter table pay_notify rename to hidden`)
	require.NoError(t, err)
	require.Equal(t, "fail", s.knock(strings.Replace(good, "sign=", "xign=", 1)))
	require.Equal(t, "fail", s.knock(good), "its evidence could not be kept")
	_, err = s.db.ExecContext(t.Context(), `alter table hidden rename to pay_notify`)
	require.NoError(t, err)

	_, second := s.codeFor("53")
	s.engine.Close()
	require.Equal(t, "fail", s.knock(s.genuine(paidNotify(second.PayNo))), "the engine did not take it")
	require.Equal(t, 1, s.count(`select count(*) from pay_notify where verdict = 'failed'`))
}

// A few bytes that unpack to gigabytes must not be unpacked for a stranger.
func TestPackedNotifyIsNotUnpacked(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	var packed bytes.Buffer
	outer := gzip.NewWriter(&packed)
	inner := gzip.NewWriter(outer)
	_, err := inner.Write(bytes.Repeat([]byte("a"), 64<<20))
	require.NoError(t, err)
	require.NoError(t, inner.Close())
	require.NoError(t, outer.Close())
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.api+"/orders/receivenotify", bytes.NewReader(packed.Bytes()))
	require.NoError(t, err)
	request.Header.Set("Content-Encoding", "gzip, gzip")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 1, s.count(`select count(*) from pay_notify where verdict = 'refused' and raw_size = $1 and length(raw) = least($1, 16384)`, packed.Len()))
}

func TestTwentyCodesAtOnceMakeOneOrder(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, err := s.learner("52").Choose(t.Context(), course)
	require.NoError(t, err)
	type result struct {
		status int
		body   string
	}
	results := make([]result, 20)
	var group sync.WaitGroup
	for i := range results {
		group.Go(func() {
			results[i].status, results[i].body = s.call(http.MethodPost, "/api/orders/generatepaycode", s.token("52"),
				"application/json", payCodeBody(129, "60201", choice.ID))
		})
	}
	group.Wait()
	for _, r := range results {
		require.Equal(t, http.StatusOK, r.status, r.body)
	}
	require.Equal(t, 1, s.count(`select count(*) from xc_orders`))
	require.Equal(t, 1, s.count(`select count(*) from xc_pay_record where close_date is null`))
}

func TestRequestRepeatedUnderItsKeyFindsTheSameRecord(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, err := s.learner("52").Choose(t.Context(), course)
	require.NoError(t, err)
	ask := func(key string) (payNo string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.api+"/orders/generatepaycode",
			strings.NewReader(payCodeBody(129, "60201", choice.ID)))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+s.token("52"))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", key)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		require.Equal(t, http.StatusOK, response.StatusCode)
		var record buyer.PayRecord
		require.NoError(t, json.NewDecoder(response.Body).Decode(&record))
		require.NotEmpty(t, record.QRCode)
		return record.PayNo
	}
	first := ask("a")
	require.Equal(t, first, ask("a"))
	require.Equal(t, 1, s.count(`select count(*) from xc_pay_record`))
	ask("b")
	require.Equal(t, 2, s.count(`select count(*) from xc_pay_record`))
	require.Equal(t, 1, s.count(`select count(*) from xc_orders`))
}

func TestLostNotifyIsFoundByAsking(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{poll: []time.Duration{200 * time.Millisecond}})
	s.faults(`{"notify":{"drop":1}}`)
	_, record := s.codeFor("52")
	s.pay(record)
	s.enrolled("52")
	require.Zero(t, s.count(`select count(*) from pay_notify`))
}

func TestPayResultAsksAlipay(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	s.faults(`{"notify":{"drop":1}}`)
	_, record := s.codeFor("52")
	result, err := s.learner("52").PayResult(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.Equal(t, "601001", result.Status)
	s.pay(record)
	result, err = s.learner("52").PayResult(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.Equal(t, "601002", result.Status)
	s.enrolled("52")
}

func TestUnpaidOrderIsClosedAndCanBePaidAgain(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{expiry: 2 * time.Second, poll: []time.Duration{100 * time.Millisecond}})
	choice, record := s.codeFor("52")
	s.eventually(1, `select count(*) from xc_orders where status = '600003'`)
	require.LessOrEqual(t, s.events(choice), 20, "history events of an order that nobody scanned")
	status, text := s.call(http.MethodGet, "/orders/requestpay?payNo="+record.PayNo, "", "", "")
	code, message := errorBody(t, text)
	require.Equal(t, http.StatusGone, status)
	require.Equal(t, "PAY_CODE_EXPIRED", code)
	require.Equal(t, "请重新点击获取二维码", message)

	again, err := s.learner("52").RequestCode(t.Context(), choice)
	require.NoError(t, err)
	require.Equal(t, record.OrderID, again.OrderID)
	s.pay(again)
	s.enrolled("52")
}

func TestCallbackForAnOrderWhoseStoryHadEnded(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{expiry: time.Second, poll: []time.Duration{100 * time.Millisecond}})
	choice, record := s.codeFor("52")
	s.eventually(1, `select count(*) from xc_orders where status = '600003'`)
	s.events(choice)
	require.Equal(t, "success", s.knock(s.genuine(paidNotify(record.PayNo))))
	s.enrolled("52")
}

func TestNewCodeClosesTheOldOneAtAlipay(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, old := s.codeFor("52")
	phone, cashier := s.open(old)
	login, err := phone.Submit(t.Context(), cashier, "login")
	require.NoError(t, err)
	fresh, err := s.learner("52").RequestCode(t.Context(), choice)
	require.NoError(t, err)
	require.NotEqual(t, old.PayNo, fresh.PayNo)
	_, err = phone.Pay(t.Context(), login)
	require.Error(t, err, "the old cashier page takes no money any more")
	s.pay(fresh)
	s.enrolled("52")
}

// Alipay does not know a trade before the buyer acts, so the old page could not be closed; and its callback is lost.
func TestOldPageIsPaidAfterANewCodeWasAskedFor(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{poll: []time.Duration{100 * time.Millisecond}})
	s.faults(`{"notify":{"drop":1}}`)
	choice, old := s.codeFor("52")
	phone, cashier := s.open(old)
	_, err := s.learner("52").RequestCode(t.Context(), choice)
	require.NoError(t, err)
	_, err = phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
	s.enrolled("52")
	result, err := s.learner("52").PayResult(t.Context(), old.PayNo)
	require.NoError(t, err)
	require.Equal(t, "601002", result.Status)
	s.events(choice)
}

func TestPaidOnTheOldCodeWhileTheNewOneIsAskedFor(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	s.faults(`{"notify":{"drop":1}}`)
	choice, old := s.codeFor("52")
	s.pay(old)
	_, err := s.learner("52").RequestCode(t.Context(), choice)
	var refusal *buyer.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "ORDER_PAID", refusal.Code)
	require.Equal(t, "订单已支付", refusal.ErrMessage)
	s.enrolled("52")
}
