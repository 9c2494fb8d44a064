package e2e

// The holes that were found in real merchants' integrations, and where each is held shut:
//
//	signature only, no business checks   TestNotifiesThatMustNotBeBelieved, TestHoleAmounts
//	another app's key, the app's own     TestHoleAnotherKey, TestNotifiesThatMustNotBeBelieved
//	sign_type downgrade                  TestHoleSignTypeDowngrade, TestNotifiesThatMustNotBeBelieved
//	amounts as floats or strings         TestHoleAmounts
//	trusting return_url                  TestHoleTrustingTheReturn
//	duplicates, concurrency              TestSameNotifyFiftyTimesAtOnce
//	ack before commit                    TestHoleAckBeforeCommit, TestNotifyIsNotTakenUnlessItIsSafe, TestCrashes
//	refund notify taken as payment       TestHoleRefundNotifyOnAPaidOrder; on an unpaid one: TestNotifiesThatAreNoPayment
//	out of order                         TestHoleOutOfOrder, TestHoleOldSuccessAfterOurRefund
//	only TRADE_SUCCESS is "paid"         TestHoleFinishedFirst
//	close races pay                      TestHoleCloseRacesPay
//	NOT_EXIST taken as closed            TestOldPageIsPaidAfterANewCodeWasAskedFor; by the learner's cancel: TestHoleCancelledBeforeTheScanAndPaidAfterIt
//	notify before our commit             TestHoleNotifyBeforeOurAnswer
//	double refund                        TestHoleDoubleRefund
//	10000 taken as refunded              TestHole10000TakenAsRefunded
//	two live pay links                   TestHoleTwoLivePayLinks
//	SYSTEM_ERROR taken as failure        TestHoleSystemErrorTakenAsFailure
//	lost notify                          TestLostNotifyIsFoundByAsking; with polling off: TestLostNotifyIsFoundBySweeping, TestLostNotifyIsFoundInTheBill
//	odd input                            TestHoleOddInput, TestNotifiesThatMustNotBeBelieved, TestPackedNotifyIsNotUnpacked
//	no key or personal data in a log     TestHoleLogs
//	bill URL                             TestHoleBillURL
//	sandbox and production mixed         the tests of internal/alipay and internal/config
//
// "Red" in a test's comment is the change of the code with which it was seen to fail.

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"golang.org/x/text/encoding/simplifiedchinese"

	"coursepay/api"
	"coursepay/internal/alipay"
	"coursepay/internal/auth"
	"coursepay/internal/buyer"
	"coursepay/models"
	"coursepay/workflows"
)

// Red: every signature verified.
func TestHoleAnotherKey(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	s.mintKey("another-alipay")
	require.Equal(t, "fail", s.knock(s.signed(paidNotify(record.PayNo), "another-alipay", crypto.SHA256)))
	require.Equal(t, "fail", s.knock(s.signed(paidNotify(record.PayNo), "app-private", crypto.SHA256)))
	s.untouched()
}

// Red: sign_type not looked at.
func TestHoleSignTypeDowngrade(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	for _, signType := range []string{"", "RSA", "rsa2", "RSA2 ", "NONE"} {
		fields := paidNotify(record.PayNo)
		fields["sign_type"] = signType
		require.Equal(t, "fail", s.knock(s.genuine(fields)), "%q", signType)
	}
	missing := paidNotify(record.PayNo)
	delete(missing, "sign_type")
	require.Equal(t, "fail", s.knock(s.genuine(missing)), "missing")
	s.untouched()
}

// Red: amounts parsed as floats; the amount not held against the order's.
func TestHoleAmounts(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	for _, amount := range []string{
		"1.29e2", "129.000", "129.001", "128.999", "0.999", "-129.00", "+129.00", " 129.00", "129.00 ", "1,29.00", "１２９.00",
		"129.", "0x81", "NaN", "Inf", "", "129.01", "128.99", "0.00", "12900", "99999999999999999999.00",
	} {
		fields := paidNotify(record.PayNo)
		fields["total_amount"] = amount
		require.Equal(t, "fail", s.knock(s.genuine(fields)), "%q", amount)
	}
	s.untouched()
	for i, amount := range []string{"129", "129.0", "129.00"} {
		user := fmt.Sprint("amount-", i)
		_, record := s.codeFor(user)
		fields := paidNotify(record.PayNo)
		fields["total_amount"] = amount
		require.Equal(t, "success", s.knock(s.genuine(fields)), "%q", amount)
		s.enrolled(user)
	}
}

// What comes with the browser proves nothing, not even with Alipay's signature. Red: the callback door opened to GET, its
// fields read from the query.
func TestHoleTrustingTheReturn(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	s.open(record)
	back := paidNotify(record.PayNo)
	back["method"], back["timestamp"] = "alipay.trade.wap.pay.return", "2026-03-01 18:30:00"
	for _, query := range []string{s.genuine(back), s.genuine(paidNotify(record.PayNo)), s.signed(back, "app-private", crypto.SHA256)} {
		for _, path := range []string{
			"/", "/orders/return", "/orders/payreturn", "/orders/requestpay", "/orders/payresult", "/orders/receivenotify", "/orders/paynotify",
		} {
			for _, prefix := range []string{"", "/api"} {
				status, text := s.call(http.MethodGet, prefix+path+"?payNo="+record.PayNo+"&"+query, s.token("52"), "", "")
				require.NotEqual(t, "success", text, path)
				require.Less(t, status, 500, path)
				require.NotContains(t, text, "601002", path)
			}
		}
		status, text := s.call(http.MethodPost, "/orders/receivenotify?"+query, "", "application/x-www-form-urlencoded", "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "fail", text, "a notify is its body")
	}
	s.untouched()
	require.Zero(t, s.count(`select count(*) from pay_notify where verdict <> 'refused'`))
}

// Alipay sends a notify again until it is safe with us. Red: a failed notify answered "success".
func TestHoleAckBeforeCommit(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	for i, table := range []string{"xc_pay_record", "xc_orders", "mq_message", "pay_notify"} {
		user := fmt.Sprint("ack-", i)
		_, record := s.codeFor(user)
		good := s.genuine(paidNotify(record.PayNo))
		if table == "mq_message" { // is looked at when the notify comes for the second time
			require.Equal(t, "success", s.knock(good))
			s.enrolled(user)
		}
		s.exec(`alter table ` + table + ` rename to hidden`)
		require.Equal(t, "fail", s.knock(good), "without %s", table)
		s.exec(`alter table hidden rename to ` + table)
		require.Equal(t, "success", s.knock(good), "the resend heals: %s", table)
		s.enrolled(user)
	}
	_, record := s.codeFor("engine")
	good := s.genuine(paidNotify(record.PayNo))
	broken, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1", Namespace: s.namespace})
	require.NoError(t, err)
	t.Cleanup(broken.Close)
	door, _ := s.openDoor(broken, slog.New(slog.DiscardHandler))
	answer, err := post(t.Context(), http.DefaultClient, door, good)
	require.NoError(t, err)
	require.Equal(t, "fail", answer, "the engine does not answer")
	require.Equal(t, 1, s.count(`select count(*) from pay_notify where verdict = 'failed' and pay_no = $1`, record.PayNo))
	require.Equal(t, "success", s.knock(good), "the resend heals")
	s.enrolled("engine")
}

// Red: a notify with refund fields counted as a payment; TRADE_CLOSED counted as one.
func TestHoleRefundNotifyOnAPaidOrder(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	require.Equal(t, "success", s.knock(s.genuine(paidNotify(record.PayNo))))
	s.enrolled("52")
	events := s.events(choice)
	partly := paidNotify(record.PayNo)
	partly["notify_id"], partly["refund_fee"], partly["gmt_refund"], partly["out_biz_no"] = "r1", "10.00", "2026-03-02 10:00:00.123", "r1"
	inFull := paidNotify(record.PayNo)
	inFull["notify_id"], inFull["refund_fee"], inFull["gmt_refund"], inFull["out_biz_no"] = "r2", price, "2026-03-02 10:00:00", "r2"
	inFull["trade_status"], inFull["gmt_close"] = "TRADE_CLOSED", "2026-03-02 10:00:00"
	bare := paidNotify(record.PayNo)
	bare["notify_id"], bare["refund_fee"] = "r3", "0.01"
	for _, refund := range []map[string]string{partly, inFull, bare} {
		require.Equal(t, "success", s.knock(s.genuine(refund)))
		require.Equal(t, 1, s.count(`select count(*) from pay_notify where notify_id = $1 and verdict = 'ignored'`, refund["notify_id"]))
	}
	require.Equal(t, events, s.events(choice), "the order's story was not begun again")
	s.settledOnce(record.PayNo)
}

// Red: TRADE_CLOSED closes the attempt for good; a paid status reached again from refunded.
func TestHoleOutOfOrder(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	tell := func(status string) {
		t.Helper()
		fields := paidNotify(record.PayNo)
		fields["trade_status"], fields["notify_id"] = status, status
		require.Equal(t, "success", s.knock(s.genuine(fields)), status)
	}
	tell("TRADE_CLOSED")
	s.untouched()
	tell("TRADE_SUCCESS")
	s.enrolled("52")
	for _, late := range []string{"WAIT_BUYER_PAY", "TRADE_CLOSED", "TRADE_FINISHED", "TRADE_SUCCESS"} {
		tell(late)
	}
	s.settledOnce(record.PayNo)

	s.exec(`update xc_orders set status = '600004'`) // refunded, by whomever
	s.exec(`update xc_pay_record set status = '601003'`)
	tell("TRADE_SUCCESS")
	tell("TRADE_FINISHED")
	require.Equal(t, 1, s.count(`select count(*) from pay_notify where verdict = 'accepted'`), "the rest was in the books")
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600004'`))
	require.Equal(t, 1, s.count(`select count(*) from xc_pay_record where status = '601003'`))
	require.Equal(t, 1, s.count(`select count(*) from mq_message_history`))
}

// Red: TRADE_SUCCESS alone counted as paid.
func TestHoleFinishedFirst(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	fields := paidNotify(record.PayNo)
	fields["trade_status"] = "TRADE_FINISHED"
	require.Equal(t, "success", s.knock(s.genuine(fields)))
	s.enrolled("52")
	s.settledOnce(record.PayNo)
}

// The buyer pays between the decision to close and the close, and no notify tells. Red: Alipay's refusal to close taken
// as closed.
func TestHoleCloseRacesPay(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	phone, cashier := s.open(record)
	_, err := phone.Submit(t.Context(), cashier, "login")
	require.NoError(t, err)
	s.faults(`{"notify":{"drop":1},"race":{"payBeforeClose":1}}`)
	_, err = s.learner("52").RequestCode(t.Context(), choice)
	var refusal *buyer.Refusal
	require.ErrorAs(t, err, &refusal, "no second code")
	require.Equal(t, "ORDER_PAID", refusal.Code)
	s.enrolled("52")
	s.settledOnce(record.PayNo)
}

// The attempt is in the books before anybody can know its number, so the earliest notify finds it, even when our process
// died before it could answer. Red: a notify taken only by a story that runs.
func TestHoleNotifyBeforeOurAnswer(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	choice, err := s.learner("52").Choose(t.Context(), course)
	require.NoError(t, err)
	attempt, err := s.store.CreateAttempt(t.Context(), models.PayRequest{
		RequestID: "r", UserID: "52", TotalPrice: 129_00, OrderType: models.OrderCourse, OutBusinessID: choice.ID,
	}, time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, "success", s.knock(s.genuine(paidNotify(attempt.Record.PayNo.String()))))
	s.quit = s.work()
	t.Cleanup(func() { s.quit() })
	s.enrolled("52")
	s.settledOnce(attempt.Record.PayNo.String())

	for i := range 5 { // and while the learner still waits for the code
		user := fmt.Sprint("early-", i)
		choice, err := s.learner(user).Choose(t.Context(), course)
		require.NoError(t, err)
		var told sync.WaitGroup
		told.Go(func() {
			answer, err := post(t.Context(), http.DefaultClient, s.api+"/orders/receivenotify", s.genuine(paidNotify(s.firstPayNo(user))))
			if err != nil || answer != "success" {
				t.Errorf("early notify: %q, %v", answer, err)
			}
		})
		_, err = s.learner(user).RequestCode(t.Context(), choice)
		require.NoError(t, err)
		told.Wait()
		s.enrolled(user)
	}
}

// firstPayNo waits for the learner's first attempt.
func (s *shop) firstPayNo(user string) (payNo string) {
	for payNo == "" && s.t.Context().Err() == nil {
		_ = s.db.QueryRowContext(s.t.Context(), `select pay_no::text from xc_pay_record where user_id = $1`, user).Scan(&payNo)
	}
	return payNo
}

// Both pages take money: one pays the order, the other's money goes back by itself. Red: a payment by another attempt
// taken for the same one; a second payment parked.
func TestHoleTwoLivePayLinks(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, old := s.codeFor("52")
	oldPhone, oldCashier := s.open(old)
	fresh, err := s.learner("52").RequestCode(t.Context(), choice)
	require.NoError(t, err)
	freshPhone, freshCashier := s.open(fresh)
	_, err = oldPhone.Pay(t.Context(), oldCashier)
	require.NoError(t, err)
	s.enrolled("52")
	_, err = freshPhone.Pay(t.Context(), freshCashier)
	require.NoError(t, err)
	s.eventually(1, `select count(*) from xc_pay_record where status = '601003' and pay_no = $1`, fresh.PayNo)
	require.Equal(t, price, s.givenBack(fresh.PayNo))
	require.Equal(t, 1, s.count(`select count(*) from order_audit where event = 'paid_twice' and pay_no = $1`, fresh.PayNo))
	s.events(choice)
	s.settledOnce(old.PayNo)
	s.booksBalance()
}

// "System error" says nothing: the trade may be paid, and here it is. Red: it is taken for "no such trade".
func TestHoleSystemErrorTakenAsFailure(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	s.faults(`{"notify":{"drop":1},"gateway":{"systemError":1}}`)
	choice, record := s.codeFor("52")
	s.pay(record)
	_, err := s.learner("52").RequestCode(t.Context(), choice)
	var refusal *buyer.Refusal
	require.ErrorAs(t, err, &refusal, "no second code while nobody knows about the first")
	require.Equal(t, "UNAVAILABLE", refusal.Code)
	result, err := s.learner("52").PayResult(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.Equal(t, "601001", result.Status)
	require.Zero(t, s.count(`select count(*) from xc_pay_record where close_date is not null or supersede_date is not null`))

	s.faults(`{"notify":{"drop":1}}`)
	result, err = s.learner("52").PayResult(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.Equal(t, "601002", result.Status)
	s.enrolled("52")
	s.settledOnce(record.PayNo)
}

// Red: an unknown field not verified, values trimmed, GBK unknown, the form read by its Content-Type, hidden fields let
// through. Repeated keys are refused twice over: by us, and by gopay's reading of the form.
func TestHoleOddInput(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	with := func(key, value string) string {
		fields := paidNotify(record.PayNo)
		fields[key] = value
		return s.genuine(fields)
	}
	gbk, err := simplifiedchinese.GBK.NewEncoder().String("Go 微服务实战")
	require.NoError(t, err)
	inGBK := paidNotify(record.PayNo)
	inGBK["charset"], inGBK["subject"] = "GBK", gbk
	const form = "application/x-www-form-urlencoded"
	for name, tc := range map[string]struct{ query, contentType, body string }{
		"unknown field":          {"", form, with("brand_new_field", "1")},
		"query on notify_url":    {"?a=b&total_amount=0.01&sign=x", form, with("subject", "x")},
		"plain header":           {"", form + "; charset=UTF-8", with("subject", "x")},
		"captured header":        {"", form + "; text/html; charset=UTF-8", with("subject", "x")},
		"no header":              {"", "", with("subject", "x")},
		"another header":         {"", "application/json", with("subject", "x")},
		"GBK":                    {"", form + "; charset=GBK", s.genuine(inGBK)},
		"percent, plus, slashes": {"", form, with("subject", `100% + 50%2B \/ "ü" 😀 a=b`)},
		"trailing space":         {"", form, with("subject", " Go  ")},
		"line breaks":            {"", form, with("body", "a\r\nb\t")},
		"passback_params":        {"", form, with("passback_params", "a%3D1%26b%3D2")},
		"empty value":            {"", form, with("body", "")},
	} {
		status, answer := s.call(http.MethodPost, "/orders/receivenotify"+tc.query, "", tc.contentType, tc.body)
		require.Equal(t, http.StatusOK, status, name)
		require.Equal(t, "success", answer, name)
	}
	s.enrolled("52")
	require.Zero(t, s.count(`select count(*) from pay_notify where verdict not in ('accepted', 'duplicate')`))

	_, second := s.codeFor("53")
	good := s.genuine(paidNotify(second.PayNo))
	signed, rest, _ := strings.Cut(good, "&sign=")
	sign, rest, _ := strings.Cut(rest, "&")
	for name, lie := range map[string]string{
		"sign twice":                    good + "&sign=" + sign,
		"order twice":                   good + "&out_trade_no=" + record.PayNo,
		"semicolons":                    strings.ReplaceAll(good, "&", ";"),
		"broken escape":                 good + "&a=%zz",
		"empty sign":                    signed + "&sign=&" + rest,
		"sign in base64 for URLs":       strings.NewReplacer("%2B", "-", "%2F", "_").Replace(good) + "-_",
		"unknown charset":               strings.Replace(good, "charset=UTF-8", "charset=UTF-7", 1),
		"field hidden in another's":     strings.Replace(good, "&notify_type=", url.QueryEscape("&notify_type="), 1),
		"unsigned field":                good + "&a=b",
		"trailing space in the order's": strings.Replace(good, "out_trade_no="+second.PayNo, "out_trade_no="+second.PayNo+"+", 1),
		"NUL":                           strings.Replace(good, "subject=", "subject=%00", 1),
		"JSON":                          `{"out_trade_no":"` + second.PayNo + `","trade_status":"TRADE_SUCCESS"}`,
		"thousands of fields":           strings.Repeat("a=b&", 10_000) + good,
	} {
		require.Equal(t, "fail", s.knock(lie), name)
	}
	require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600001'`), "the second learner's stands as it did")
	require.Equal(t, "success", s.knock(good))
	s.enrolled("53")
}

// Everything is logged, down to the finest level, while all sorts of things happen. Red: the raw notify, a refused token or
// the tokens' secret in a log line.
func TestHoleLogs(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	var logs lockedBuffer
	log := slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.dialEngine(log)
	gateway := s.openLoggedDoor(log)
	s.quit = s.startWorker(options{expiry: 15 * time.Minute, poll: []time.Duration{50 * time.Millisecond}}, gateway, log)
	t.Cleanup(func() { s.quit() })

	s.faults(`{"notify":{"signature":1}}`)
	choice, record := s.codeFor("52")
	s.pay(record) // the notifies are spoilt, so it is found by asking
	s.enrolled("52")
	s.faults(`{}`)
	_, second := s.codeFor("53")
	s.pay(second)
	s.enrolled("53")
	s.eventually(1, `select least(count(*), 1) from pay_notify where verdict <> 'refused'`)
	s.faults(`{"notify":{"drop":1},"gateway":{"tampered":0.5,"unsigned":0.5,"http5xx":0.2,"systemError":0.2}}`)
	_, third := s.codeFor("54")
	s.pay(third)
	for range 5 {
		_, err := s.learner("54").PayResult(t.Context(), third.PayNo)
		require.NoError(t, err)
	}
	s.call(http.MethodGet, "/orders/payresult?payNo="+record.PayNo, s.token("52")+"x", "", "")
	s.call(http.MethodPost, "/orders/generatepaycode", s.token("52"), "application/json", payCodeBody(129, "60201", choice.ID))
	s.knock(s.signed(paidNotify(record.PayNo), "app-private", crypto.SHA256))
	s.knock("sign_type=RSA2&sign=!&buyer_logon_id=buyer%40example.com&out_trade_no=" + record.PayNo)
	s.faults(`{}`)

	text := logs.String()
	for _, expected := range []string{"payment settled", "verdict=refused", "verdict=accepted", "payNo=" + record.PayNo} {
		require.Contains(t, text, expected)
	}
	secrets := []string{s.token("52")[:20], jwtSecret, "buyer@example.com", "buyer%40example.com"}
	for _, file := range []string{"app-private", "alipay-private"} {
		for line := range strings.Lines(s.key(file)) {
			if !strings.HasPrefix(line, "-----") {
				secrets = append(secrets, strings.TrimSpace(line))
			}
		}
	}
	secrets = append(secrets, s.buyersSecrets()...)
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("in the log: %s", secret)
		}
		require.Zero(t, s.count(`select count(*) from pay_notify where strpos(reason, $1) > 0`, secret))
	}
}

// buyersSecrets are the personal data in all notifies of the sandbox.
func (s *shop) buyersSecrets() []string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.sandbox+"/control/notifies", nil)
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	var notifies []struct{ Fields map[string]string }
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(&notifies))
	require.NotEmpty(s.t, notifies)
	var secrets []string
	for _, n := range notifies {
		require.NotEmpty(s.t, n.Fields["buyer_id"]+n.Fields["buyer_open_id"])
		require.NotEmpty(s.t, n.Fields["buyer_logon_id"])
		for _, field := range []string{"buyer_id", "buyer_open_id", "buyer_logon_id", "seller_email"} {
			if value := n.Fields[field]; value != "" {
				secrets = append(secrets, value)
			}
		}
	}
	return secrets
}

// untouched wants the shop's only order as it was before any callback.
func (s *shop) untouched() {
	s.t.Helper()
	require.Equal(s.t, 1, s.count(`select count(*) from xc_orders where status = '600001' and paid_by is null`))
	require.Equal(s.t, 1, s.count(`select count(*) from xc_pay_record where status = '601001' and close_date is null`))
	require.Zero(s.t, s.count(`select count(*) from xc_course_tables`))
	require.Zero(s.t, s.count(`select count(*) from mq_message`)+s.count(`select count(*) from mq_message_history`))
}

// settledOnce wants the shop's only order paid by this attempt, and everything about that done once.
func (s *shop) settledOnce(payNo string) {
	s.t.Helper()
	require.Equal(s.t, 1, s.count(`select count(*) from xc_orders where status = '600002' and paid_by = $1`, payNo))
	require.Equal(s.t, 1, s.count(`select count(*) from xc_pay_record where status = '601002' and pay_no = $1`, payNo))
	require.Equal(s.t, 1, s.count(`select count(*) from order_audit where event = 'paid'`))
	require.Equal(s.t, 1, s.count(`select count(*) from xc_course_tables`))
	s.eventually(1, `select count(*) from mq_message_history`)
}

func (s *shop) exec(statement string) {
	s.t.Helper()
	_, err := s.db.ExecContext(context.Background(), statement)
	require.NoError(s.t, err)
}

// mintKey puts a key that nobody knows beside the sandbox's set.
func (s *shop) mintKey(name string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(s.t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(s.t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	require.NoError(s.t, os.WriteFile(filepath.Join(s.keys, name+".pem"), text, 0o600))
}

// openDoor serves a second API on the shop's parts, with an engine of its own, until closeDoor is called or the test ends.
func (s *shop) openDoor(engine client.Client, log *slog.Logger) (notifyURL string, closeDoor func()) {
	s.t.Helper()
	listener, gateway := s.doorParts(log)
	tokens, err := auth.NewVerifier(auth.Config{Secret: jwtSecret})
	require.NoError(s.t, err)
	server := api.New(api.Config{
		Store: s.store, Temporal: engine, TaskQueue: workflows.TaskQueue, Alipay: gateway, Tokens: tokens, Now: time.Now, Logger: log,
	})
	closeDoor = background(s.t, func(ctx context.Context) error { return server.Serve(ctx, listener) })
	s.t.Cleanup(closeDoor)
	return "http://" + listener.Addr().String() + "/orders/receivenotify", closeDoor
}

// openLoggedDoor serves a second API that takes the place of the shop's.
func (s *shop) openLoggedDoor(log *slog.Logger) *alipay.Client {
	s.t.Helper()
	listener, gateway := s.doorParts(log)
	s.api = "http://" + listener.Addr().String()
	s.serveAPI(listener, gateway, options{}, log)
	return gateway
}

func (s *shop) doorParts(log *slog.Logger) (net.Listener, *alipay.Client) {
	s.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	gateway, err := alipay.New(alipay.Config{
		AppID: appID, SellerID: sellerID, PrivateKey: s.key("app-private"), AlipayPublicKey: s.key("alipay-public"),
		Gateway: s.sandbox + "/gateway.do", NotifyURL: "http://" + listener.Addr().String() + "/orders/receivenotify", Logger: log,
	})
	require.NoError(s.t, err)
	return listener, gateway
}

// post posts a form and returns the answer.
func post(ctx context.Context, sender *http.Client, address, form string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := sender.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// lockedBuffer may be written to by many at once.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
