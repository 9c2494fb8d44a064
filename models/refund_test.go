package models_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/models"
)

// paid is an order that the learner has paid.
func (b *books) paid(user string) models.PayRecord {
	b.t.Helper()
	record := b.attempt(b.choose(user), "paid by "+user)
	_, err := b.Settle(b.t.Context(), b.payment(record, "T-"+user))
	require.NoError(b.t, err)
	return record
}

func byOperator(r models.PayRecord, no string, amount models.Money) models.RefundRequest {
	return models.RefundRequest{
		OrderID: r.OrderID, PayNo: r.PayNo, RequestNo: no, Amount: amount, Reason: "不想学了", Origin: models.RefundByOperator, By: "ops",
	}
}

func (b *books) refund(r models.RefundRequest) models.Refund {
	b.t.Helper()
	_, err := b.OpenRefund(b.t.Context(), r)
	require.NoError(b.t, err)
	refund, err := b.BookRefund(b.t.Context(), r.RequestNo, models.TradeRefund{TradeNo: "T", Refunded: true, Amount: r.Amount, At: b.now})
	require.NoError(b.t, err)
	return refund
}

func TestFullRefundTakesTheCourseBack(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.paid("u")
	refund, err := b.OpenRefund(t.Context(), byOperator(record, "n1", 1_00))
	require.NoError(t, err)
	require.Equal(t, models.RefundPending, refund.Status)
	require.Equal(t, 1, b.count(`select count(*) from xc_orders where status = '600002'`), "nothing has gone back yet")
	back := models.TradeRefund{TradeNo: "T-u", Refunded: true, Amount: 1_00, At: b.now}
	for range 3 { // and again, as after a crash
		refund, err = b.BookRefund(t.Context(), "n1", back)
		require.NoError(t, err)
		require.Equal(t, models.RefundDone, refund.Status)
	}
	require.Equal(t, 1, b.count(`select count(*) from xc_orders where status = '600004'`))
	require.Equal(t, 1, b.count(`select count(*) from xc_pay_record where status = '601003'`))
	require.Equal(t, 1, b.count(`select count(*) from mq_message where message_type = 'refund_notify'`))
	require.Equal(t, 1, b.count(`select count(*) from order_audit where event = 'order_refunded'`))
	_, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNone, status)

	fulfilled, err := b.Fulfil(t.Context(), models.OrderCourse, b.order(record).OutBusinessID)
	require.NoError(t, err)
	require.False(t, fulfilled, "a late message about the payment gives nothing back to the learner")
	_, status, err = b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNone, status)

	repeated, err := b.Settle(t.Context(), b.payment(record, "T-u"))
	require.NoError(t, err)
	require.Equal(t, models.OrderRefunded, repeated.Status)
	require.Empty(t, repeated.GiveBack)

	again := b.attempt(b.choose("u"), "again")
	require.NotEqual(t, record.OrderID, again.OrderID)
	_, err = b.Settle(t.Context(), b.payment(again, "T-again"))
	require.NoError(t, err)
	_, status, err = b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status, "the course can be bought again")
	revoked, err := b.Revoke(t.Context(), models.OrderCourse, b.order(record).OutBusinessID)
	require.NoError(t, err)
	require.True(t, revoked)
	_, status, err = b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status, "a late message about the old refund does not end the new enrolment")
}

func (b *books) order(r models.PayRecord) models.Order {
	b.t.Helper()
	order, err := b.Order(b.t.Context(), r.OrderID)
	require.NoError(b.t, err)
	return order
}

func TestPartialRefundsUpToWhatWasPaid(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.paid("u")
	b.refund(byOperator(record, "n1", 30))
	require.Equal(t, models.OrderPaid, b.order(record).Status)
	_, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status)
	_, err = b.OpenRefund(t.Context(), byOperator(record, "n2", 71))
	requireRefused(t, err, models.CodeRefundTooMuch)
	requireRefused(t, b.CheckRefund(t.Context(), byOperator(record, "n2", 71)), models.CodeRefundTooMuch)
	left, err := b.Refundable(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.Equal(t, models.Money(70), left)
	b.refund(byOperator(record, "n2", 70))
	require.Equal(t, models.OrderRefunded, b.order(record).Status)
	_, err = b.OpenRefund(t.Context(), byOperator(record, "n3", 1))
	requireRefused(t, err, models.CodeOrderRefunded)
	require.Zero(t, b.count(`select count(*) from mq_message where message_type = 'refund_notify' and id not in
		(select max(id) from mq_message where message_type = 'refund_notify')`))
}

func TestParallelRefundsNeverAddUpToMoreThanWasPaid(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.paid("u")
	taken := 0
	for _, err := range atOnce(10, func(i int) error {
		_, err := b.OpenRefund(t.Context(), byOperator(record, fmt.Sprint("n", i), 40))
		return err
	}) {
		if err == nil {
			taken++
			continue
		}
		requireRefused(t, err, models.CodeRefundTooMuch)
	}
	require.Equal(t, 2, taken)
}

func TestSameRefundAgain(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.paid("u")
	first, err := b.OpenRefund(t.Context(), byOperator(record, "n1", 1_00))
	require.NoError(t, err)
	again, err := b.OpenRefund(t.Context(), byOperator(record, "n1", 1_00))
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	_, err = b.OpenRefund(t.Context(), byOperator(record, "n1", 99))
	requireRefused(t, err, models.CodeRefundDiffers)
	other := b.paid("v")
	_, err = b.OpenRefund(t.Context(), byOperator(other, "n1", 1_00))
	requireRefused(t, err, models.CodeRefundDiffers)
}

func TestWhatCannotBeRefunded(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	unpaid := b.attempt(b.choose("u"), "r1")
	_, err := b.OpenRefund(t.Context(), byOperator(unpaid, "n1", 1))
	requireRefused(t, err, models.CodeOrderNotPaid)
	paid := b.paid("v")
	for _, amount := range []models.Money{0, -1, 1_01} {
		_, err = b.OpenRefund(t.Context(), byOperator(paid, "n2", amount))
		requireRefused(t, err, models.CodeRefundTooMuch)
	}
	strange := byOperator(paid, "n3", 1)
	strange.PayNo = unpaid.PayNo
	_, err = b.OpenRefund(t.Context(), strange)
	requireRefused(t, err, models.CodePayRecordNotFound)
	strange.OrderID = 4711
	_, err = b.OpenRefund(t.Context(), strange)
	requireRefused(t, err, models.CodeNotFound)
	require.Zero(t, b.count(`select count(*) from xc_refund_record`))
}

func TestRefundThatAnOperatorGaveUpFreesItsAmount(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.paid("u")
	_, err := b.OpenRefund(t.Context(), byOperator(record, "n1", 1_00))
	require.NoError(t, err)
	for range 2 {
		closed, err := b.CloseRefund(t.Context(), "n1", "paid back in cash")
		require.NoError(t, err)
		require.Equal(t, models.RefundClosed, closed.Status)
		require.Equal(t, "paid back in cash", closed.Note)
	}
	require.Equal(t, 1, b.count(`select count(*) from order_audit where event = 'refund_closed'`))
	b.refund(byOperator(record, "n2", 1_00))
	done, err := b.CloseRefund(t.Context(), "n2", "too late")
	require.NoError(t, err)
	require.Equal(t, models.RefundDone, done.Status)
}

func TestRefundOfASecondPaymentLeavesTheOrderAlone(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	first, second := b.attempt(chosen, "r1"), b.attempt(chosen, "r2")
	for i, record := range []models.PayRecord{second, first} {
		_, err := b.Settle(t.Context(), b.payment(record, fmt.Sprint("T", i)))
		require.NoError(t, err)
	}
	giveBack := byOperator(first, models.StoryRefundNo(first.PayNo), 1_00)
	giveBack.Origin = models.RefundPaidTwice
	_, err := b.OpenRefund(t.Context(), giveBack)
	require.NoError(t, err)
	_, err = b.CloseRefund(t.Context(), giveBack.RequestNo, "Alipay will not")
	require.NoError(t, err)
	again, err := b.OpenRefund(t.Context(), giveBack)
	require.NoError(t, err)
	require.Equal(t, models.RefundClosed, again.Status, "the story does not begin again what an operator has ended")
	b.refund(byOperator(first, "n1", 1_00)) // and an operator may
	summary, err := b.OrderSummary(t.Context(), first.OrderID)
	require.NoError(t, err)
	require.Zero(t, summary.Refunded, "of what paid the order nothing has gone back")
	require.Equal(t, models.OrderPaid, b.order(first).Status)
	require.Equal(t, 1, b.count(`select count(*) from xc_pay_record where status = '601003' and pay_no = $1`, first.PayNo))
	require.Zero(t, b.count(`select count(*) from mq_message where message_type = 'refund_notify'`))
	_, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status)
}

func TestRefundOfAPaymentThatTheBooksRefuse(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r1")
	odd := b.payment(record, "T-odd")
	odd.Amount = 5_00
	giveBack := models.RefundRequest{
		OrderID: record.OrderID, PayNo: record.PayNo, RequestNo: models.StoryRefundNo(record.PayNo), Amount: 5_00,
		Origin: models.RefundRefused, Payment: &odd,
	}
	tooMuch := giveBack
	tooMuch.Amount++
	_, err := b.OpenRefund(t.Context(), tooMuch)
	requireRefused(t, err, models.CodeRefundTooMuch)
	_, err = b.OpenRefund(t.Context(), giveBack)
	require.NoError(t, err)
	_, err = b.CloseRefund(t.Context(), giveBack.RequestNo, "not\x00 now")
	require.NoError(t, err)
	b.refund(giveBack) // an operator wants it after all
	require.Equal(t, 1, b.count(`select count(*) from xc_pay_record where status = '601003' and close_date is not null`))
	require.Equal(t, models.OrderUnpaid, b.order(record).Status, "the learner may still pay what was asked")

	paid := b.paid("v")
	another := b.payment(paid, "T-another")
	_, err = b.OpenRefund(t.Context(), models.RefundRequest{
		OrderID: paid.OrderID, PayNo: paid.PayNo, RequestNo: "n", Amount: 1_00, Origin: models.RefundRefused, Payment: &another,
	})
	requireRefused(t, err, models.CodeTradeDiffers)
}

func TestRefundOfARenewalBringsTheOldEnrolmentBack(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.paid("u")
	first, _, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	b.now = b.now.AddDate(2, 0, 0)
	renewal := b.attempt(b.choose("u"), "renewal")
	_, err = b.Settle(t.Context(), b.payment(renewal, "T-renewal"))
	require.NoError(t, err)
	b.refund(byOperator(renewal, "n", 1_00))
	row, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnExpired, status)
	require.Equal(t, first.ValidtimeEnd, row.ValidtimeEnd)
	b.choose("u") // and can be renewed again
}

// A late payment buys the course only while it is the learner's to buy.
func TestLatePayments(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		meanwhile string
		want      models.RefundOrigin
	}{
		"still offered":                 {`select 1`, ""},
		"chosen again at another price": {`update course_publish set price = 200 where id = 1; update xc_choose_course set course_price = 200`, models.RefundNotForSale},
		"taken offline":                 {`update course_publish set status = '203003' where id = 1`, models.RefundNotForSale},
		"another price":                 {`update course_publish set price = 2 where id = 1`, models.RefundNotForSale},
		"owned in another way":          {`insert into xc_choose_course (id, course_id, course_name, user_id, company_id, order_type, create_date, course_price, valid_days, status, validtime_start, validtime_end) values (5, 1, 'x', 'u', 1, '700001', now(), 0, 365, '701001', now(), now() + interval '9 years'); insert into xc_course_tables (id, choose_course_id, user_id, course_id, company_id, course_name, course_type, create_date, validtime_start, validtime_end) values (6, 5, 'u', 1, 1, 'x', '700001', now(), now(), now() + interval '9 years')`, models.RefundNotForSale},
		"reopened at a new price":       {`update xc_orders set status = '600001', total_price = 2`, models.RefundNotForSale},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := openBooks(t)
			record := b.attempt(b.choose("u"), "r1")
			b.now = b.now.Add(15 * time.Minute)
			closed, err := b.CloseOrder(t.Context(), record.OrderID)
			require.NoError(t, err)
			require.Equal(t, models.OrderClosed, closed.Status)
			require.NoError(t, b.exec(row.meanwhile))
			for range 2 {
				done, err := b.Settle(t.Context(), b.payment(record, "T"))
				require.NoError(t, err)
				require.Equal(t, row.want, done.GiveBack)
			}
			require.Equal(t, 1, b.count(`select count(*) from xc_pay_record where status = '601002'`), "the money is in the books")
			messages := 0
			if row.want == "" {
				messages = 1
			}
			require.Equal(t, messages, b.count(`select count(*) from mq_message`))
		})
	}
}

func TestCancelling(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	opened := b.attempt(chosen, "r1")
	_, err := b.OpenAttempt(t.Context(), opened.PayNo)
	require.NoError(t, err)
	require.NoError(t, b.SupersedeAttempt(t.Context(), opened.PayNo))
	unopened := b.attempt(chosen, "r2")
	for range 2 {
		now, err := b.CancelOrder(t.Context(), opened.OrderID)
		require.NoError(t, err)
		require.Equal(t, models.Standing{OrderID: opened.OrderID, Status: models.OrderClosed, Payable: true}, now, "the open page may still be paid")
	}
	require.Equal(t, 1, b.count(`select count(*) from order_audit where event = 'cancelled'`))
	_, err = b.OpenAttempt(t.Context(), unopened.PayNo)
	requireRefused(t, err, models.CodePayCodeExpired)
	require.NoError(t, b.CloseAttempt(t.Context(), opened.PayNo))
	now, err := b.CancelOrder(t.Context(), opened.OrderID)
	require.NoError(t, err)
	require.False(t, now.Payable)

	again := b.attempt(chosen, "r3")
	require.Equal(t, opened.OrderID, again.OrderID, "the same order is open again")
	_, err = b.Settle(t.Context(), b.payment(again, "T"))
	require.NoError(t, err)
	now, err = b.CancelOrder(t.Context(), opened.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.OrderPaid, now.Status, "what is paid is not cancelled")
}

func TestNoCodeForWhatTheLearnerHas(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	record := b.attempt(chosen, "r1")
	b.now = b.now.Add(15 * time.Minute)
	_, err := b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.NoError(t, b.exec(`update course_publish set charge = '201000', price = 0 where id = 1`))
	_, status, err := b.ChooseCourse(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status, "free for a day")
	require.NoError(t, b.exec(`update course_publish set charge = '201001', price = 1 where id = 1`))
	requireRefused(t, b.CheckPayRequest(t.Context(), payRequest(chosen, "r2")), models.CodeOrderPaid)
}

func TestFinishedOrderCanBeRefunded(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.paid("u")
	require.NoError(t, b.exec(`update xc_orders set status = '600005'`))
	b.refund(byOperator(record, "n", 1_00))
	require.Equal(t, models.OrderRefunded, b.order(record).Status)
	_, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNone, status)
}

func TestAttention(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r1")
	waits := models.Attention{WorkflowID: "w", PayNo: record.PayNo, TradeNo: "T", Amount: 5_00, Reason: "amount differs"}
	for range 2 {
		orderID, err := b.Park(t.Context(), waits)
		require.NoError(t, err)
		require.Equal(t, record.OrderID, orderID)
	}
	unknown, err := b.Park(t.Context(), models.Attention{WorkflowID: "w", PayNo: 4711, Amount: 1, Reason: "no such attempt"})
	require.NoError(t, err)
	require.Zero(t, unknown)
	live, err := b.LiveAttempts(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Empty(t, live, "nobody finds the same money again by asking")
	open, err := b.OpenAttention(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, open, 2)
	require.Equal(t, "amount differs", open[0].Reason)
	for range 2 {
		require.NoError(t, b.Decide(t.Context(), "w", record.PayNo, "refund", "bought\x00 twice"))
	}
	require.NoError(t, b.Decide(t.Context(), "w", 4711, "close", ""))
	open, err = b.OpenAttention(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, open)
	require.Equal(t, 1, b.count(`select count(*) from order_audit where event = 'operator_refund' and note = 'bought twice'`))
	_, err = b.Park(t.Context(), waits)
	require.NoError(t, err)
	open, err = b.OpenAttention(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, open, 1, "it may come to wait again")
}

// Alipay tells again of a payment that an operator has given back by hand.
func TestPaymentThatWasDealtWithByHandBuysNothing(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r1")
	payment := b.payment(record, "T")
	_, err := b.Park(t.Context(), models.Attention{WorkflowID: "w", PayNo: record.PayNo, TradeNo: "T", Amount: 1_00, Reason: "x"})
	require.NoError(t, err)
	require.NoError(t, b.Decide(t.Context(), "w", record.PayNo, models.DecisionClose, "given back at Alipay's site"))
	for range 2 {
		done, err := b.Settle(t.Context(), payment)
		require.NoError(t, err)
		require.Equal(t, models.OrderUnpaid, done.Status)
		require.Empty(t, done.GiveBack)
	}
	require.Zero(t, b.count(`select count(*) from xc_pay_record where status <> '601001'`))
	payment.Amount++
	_, err = b.Settle(t.Context(), payment)
	require.NoError(t, err, "whatever was wrong with it")
}

// A workflow that was reset to before a decision asks again; the latest decision counts.
func TestDecisionThatWasTakenAgain(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r1")
	_, err := b.Park(t.Context(), models.Attention{WorkflowID: "w", PayNo: record.PayNo, TradeNo: "T", Amount: 1_00, Reason: "x"})
	require.NoError(t, err)
	require.NoError(t, b.Decide(t.Context(), "w", record.PayNo, models.DecisionClose, "by mistake"))
	for range 2 {
		require.NoError(t, b.Decide(t.Context(), "w", record.PayNo, "retry", "after the reset"))
	}
	done, err := b.Settle(t.Context(), b.payment(record, "T"))
	require.NoError(t, err)
	require.Equal(t, models.OrderPaid, done.Status)
	require.Equal(t, 2, b.count(`select count(*) from order_audit where event like 'operator_%'`))
}

// The payment was made in time, so what it was promised holds until an operator has decided.
func TestOrderWithAParkedPaymentStaysOpen(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r1")
	_, err := b.Park(t.Context(), models.Attention{WorkflowID: "w", PayNo: record.PayNo, TradeNo: "T", Amount: 1_00, Reason: "x"})
	require.NoError(t, err)
	b.now = b.now.Add(time.Hour)
	now, err := b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.Standing{OrderID: record.OrderID, Status: models.OrderUnpaid}, now)
	require.NoError(t, b.exec(`update course_publish set status = '203003' where id = 1`))
	done, err := b.Settle(t.Context(), b.payment(record, "T"))
	require.NoError(t, err)
	require.Empty(t, done.GiveBack)
	open, err := b.OpenAttention(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, open, "it is settled: nothing is left to decide")
}

func TestClosedRefundCanBeAskedForAgain(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	paid := b.paid("u")
	_, err := b.OpenRefund(t.Context(), byOperator(paid, "n", 1_00))
	require.NoError(t, err)
	_, err = b.CloseRefund(t.Context(), "n", "no money on the account")
	require.NoError(t, err)
	again, err := b.OpenRefund(t.Context(), byOperator(paid, "n", 1_00))
	require.NoError(t, err)
	require.Equal(t, models.RefundPending, again.Status)

	refused := b.attempt(b.choose("v"), "r1") // and one of money that the books had refused
	payment := b.payment(refused, "T-odd")
	payment.Amount = 2_00
	_, err = b.Park(t.Context(), models.Attention{WorkflowID: "w", PayNo: refused.PayNo, TradeNo: "T-odd", Amount: 2_00, Reason: "x"})
	require.NoError(t, err)
	story := models.RefundRequest{
		OrderID: refused.OrderID, PayNo: refused.PayNo, RequestNo: models.StoryRefundNo(refused.PayNo), Amount: 2_00,
		Origin: models.RefundRefused, Payment: &payment,
	}
	_, err = b.OpenRefund(t.Context(), story)
	require.NoError(t, err)
	_, err = b.CloseRefund(t.Context(), story.RequestNo, "later")
	require.NoError(t, err)
	_, err = b.OpenRefund(t.Context(), byOperator(refused, "n-new", 2_01))
	requireRefused(t, err, models.CodeRefundTooMuch)
	b.refund(byOperator(refused, "n-new", 2_00))
	require.Equal(t, 1, b.count(`select count(*) from xc_pay_record where status = '601003'`))
}

func TestOrderStory(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.paid("u")
	b.refund(byOperator(record, "n1", 30))
	require.NoError(t, b.KeepNotify(t.Context(), models.PayNotify{ReceiveDate: b.now, PayNo: &record.PayNo, Verdict: models.VerdictAccepted, Raw: []byte{}}))
	_, err := b.Park(t.Context(), models.Attention{WorkflowID: "w", PayNo: record.PayNo, Amount: 1, Reason: "x"})
	require.NoError(t, err)
	b.paid("v")
	story, err := b.OrderStory(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.Money(30), story.Order.Refunded)
	require.Equal(t, record.PayNo, *story.Order.PayNo)
	require.Len(t, story.Attempts, 1)
	require.Len(t, story.Refunds, 1)
	require.Len(t, story.Callbacks, 1)
	require.Len(t, story.Messages, 1)
	require.False(t, story.Messages[0].Delivered)
	require.Len(t, story.Attention, 1)
	events := make([]string, len(story.Audit))
	for i, a := range story.Audit {
		events[i] = a.Event
	}
	require.Equal(t, []string{"attempt_created", "paid", "refund_requested", "refunded", "parked"}, events)
	_, err = b.OrderStory(t.Context(), 4711)
	requireRefused(t, err, models.CodeNotFound)
}

func TestOrdersOfALearner(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	for range 3 {
		record := b.paid("u")
		b.refund(byOperator(record, "n-"+record.PayNo.String(), 1_00))
		require.NoError(t, b.exec(`update xc_pay_record set out_pay_no = out_pay_no || pay_no::text`))
		b.now = b.now.Add(time.Hour)
	}
	open := b.attempt(b.choose("u"), "open")
	b.attempt(b.choose("v"), "other")
	page, total, err := b.OrdersOf(t.Context(), models.OrderQuery{UserID: "u", Page: 1, Size: 2})
	require.NoError(t, err)
	require.EqualValues(t, 4, total)
	require.Len(t, page, 2)
	require.Equal(t, open.OrderID, page[0].ID, "newest first")
	require.Equal(t, open.PayNo, *page[0].PayNo)
	require.Equal(t, models.Money(1_00), page[1].Refunded)
	page, total, err = b.OrdersOf(t.Context(), models.OrderQuery{UserID: "u", Status: models.OrderRefunded, Page: 2, Size: 2})
	require.NoError(t, err)
	require.EqualValues(t, 3, total)
	require.Len(t, page, 1)
}
