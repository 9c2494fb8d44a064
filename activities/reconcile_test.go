package activities_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"coursepay/activities"
	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

// noon is when the tests play, in China; the bills are of the day before.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, models.China)

const billDay = "2026-03-01"

var numbers atomic.Int64

// ledger is a store, an Alipay that answers as told, and stories that note what they are told.
type ledger struct {
	t     *testing.T
	store *models.Store
	db    *sql.DB
	now   time.Time
	env   *testsuite.TestActivityEnvironment

	trades  map[string]models.Trade
	silent  string // an attempt that Alipay gives no answer about
	bill    []models.BillRow
	noBill  error
	told    []models.Payment
	looked  []models.ID
	resumed []string
	asked   int
}

func (l *ledger) QueryTrade(_ context.Context, payNo string) (models.Trade, error) {
	l.asked++
	if payNo == l.silent {
		return models.Trade{}, errors.New("no answer about this one")
	}
	return l.trades[payNo], nil
}

func (l *ledger) DayBill(context.Context, time.Time) ([]models.BillRow, error) {
	return l.bill, l.noBill
}

func (l *ledger) TellPayment(_ context.Context, _ models.Order, p models.Payment) error {
	l.told = append(l.told, p)
	return nil
}

func (l *ledger) LookAgain(_ context.Context, o models.Order) error {
	l.looked = append(l.looked, o.ID)
	return nil
}

func (l *ledger) ResumeRefund(_ context.Context, r models.RefundRequest) error {
	l.resumed = append(l.resumed, r.RequestNo)
	return nil
}

func openLedger(t *testing.T) *ledger {
	t.Helper()
	l := &ledger{t: t, now: noon, trades: map[string]models.Trade{}}
	clock := func() time.Time { return l.now }
	var err error
	l.db, err = models.Open(t.Context(), devtest.Database(t, models.Migrate), 4)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.db.Close() })
	l.store, err = models.NewStore(l.db, func() (int64, error) { return 1000 + numbers.Add(1), nil }, clock)
	require.NoError(t, err)
	require.NoError(t, l.store.SeedDemo(t.Context()))
	var suite testsuite.WorkflowTestSuite
	l.env = suite.NewTestActivityEnvironment()
	l.env.RegisterActivity(activities.NewReconciler(l.store, activities.ReconcilerConfig{
		Alipay: l, Stories: l, Now: clock, Logger: slog.New(slog.DiscardHandler),
	}))
	return l
}

// attempt makes a learner's attempt to pay course 1 (¥1.00), with a quarter of an hour to pay.
func (l *ledger) attempt(user string, opened bool) models.PayRecord {
	l.t.Helper()
	chosen, _, err := l.store.ChooseCourse(l.t.Context(), user, 1)
	require.NoError(l.t, err)
	attempt, err := l.store.CreateAttempt(l.t.Context(), models.PayRequest{
		RequestID: user, UserID: user, OrderType: models.OrderCourse, OutBusinessID: chosen.ID.String(), TotalPrice: 1_00,
	}, l.now.Add(15*time.Minute))
	require.NoError(l.t, err)
	if opened {
		_, err = l.store.OpenAttempt(l.t.Context(), attempt.Record.PayNo)
		require.NoError(l.t, err)
	}
	return attempt.Record
}

// another makes a second attempt on the order of the first.
func (l *ledger) another(first models.PayRecord) models.PayRecord {
	l.t.Helper()
	order, err := l.store.Order(l.t.Context(), first.OrderID)
	require.NoError(l.t, err)
	attempt, err := l.store.CreateAttempt(l.t.Context(), models.PayRequest{
		RequestID: "another", UserID: first.UserID, OrderType: order.OrderType, OutBusinessID: order.OutBusinessID, TotalPrice: 1_00,
	}, l.now.Add(15*time.Minute))
	require.NoError(l.t, err)
	return attempt.Record
}

func (l *ledger) payment(r models.PayRecord, paidAt time.Time) models.Payment {
	return models.Payment{PayNo: r.PayNo, TradeNo: "T" + r.PayNo.String(), Amount: r.TotalPrice, PaidAt: paidAt}
}

// paidAtAlipay lets Alipay say that the attempt is paid.
func (l *ledger) paidAtAlipay(r models.PayRecord, paidAt time.Time) {
	p := l.payment(r, paidAt)
	l.trades[r.PayNo.String()] = models.Trade{
		PayNo: r.PayNo.String(), TradeNo: p.TradeNo, Status: models.TradeSuccess, Amount: p.Amount, PaidAt: paidAt,
	}
}

func (l *ledger) settled(r models.PayRecord, paidAt time.Time) {
	l.t.Helper()
	_, err := l.store.Settle(l.t.Context(), l.payment(r, paidAt))
	require.NoError(l.t, err)
	l.exec(`update mq_message set create_date = $1`, l.now) // Postgres has a clock of its own
}

func (l *ledger) exec(statement string, args ...any) {
	l.t.Helper()
	_, err := l.db.ExecContext(l.t.Context(), statement, args...)
	require.NoError(l.t, err)
}

func (l *ledger) sweep() activities.Swept {
	l.t.Helper()
	l.told, l.looked, l.resumed, l.asked = nil, nil, nil, 0
	value, err := l.env.ExecuteActivity((*activities.Reconciler)(nil).Sweep)
	require.NoError(l.t, err)
	var so activities.Swept
	require.NoError(l.t, value.Get(&so))
	return so
}

func TestSweepLeavesTheUsualWaysTheirTime(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	l.attempt("u", true)
	l.settled(l.attempt("v", true), noon)
	require.Zero(t, l.sweep())
	l.now = noon.Add(24 * time.Minute)
	require.Equal(t, activities.Swept{Resumed: 1}, l.sweep(), "the message should have left by now")
	l.now = noon.Add(26 * time.Minute)
	require.Equal(t, activities.Swept{Woken: 1, Resumed: 1}, l.sweep())
}

// Red, one by one: any condition of the three lists left out.
func TestSweepFindsWhatIsLeftLying(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	never := l.attempt("never opened", false)
	unpaid := l.attempt("opened, not paid", true)
	paid := l.attempt("opened and paid", true)
	l.paidAtAlipay(paid, noon)
	silent := l.attempt("opened, no answer", true)
	l.silent = silent.PayNo.String()
	delivered := l.attempt("all done", true)
	l.settled(delivered, noon)
	l.exec(`delete from mq_message`)
	stranded := l.attempt("message stranded", true)
	l.settled(stranded, noon)

	late := l.attempt("paid after the goods had gone elsewhere", true)
	l.exec(`update xc_choose_course set status = '701001', validtime_start = now(), validtime_end = now() + interval '1 day'
		where user_id = $1`, late.UserID)
	l.settled(late, noon)
	parked := l.attempt("likewise, with an operator", true)
	l.exec(`update xc_choose_course set status = '701001', validtime_start = now(), validtime_end = now() + interval '1 day'
		where user_id = $1`, parked.UserID)
	l.settled(parked, noon)
	_, err := l.store.Park(t.Context(), models.Attention{WorkflowID: "w", PayNo: parked.PayNo, Amount: 1_00, Reason: "x"})
	require.NoError(t, err)
	refund := models.RefundRequest{
		OrderID: delivered.OrderID, PayNo: delivered.PayNo, RequestNo: "R1", Amount: 50, Reason: "sorry", Origin: models.RefundByOperator, By: "9",
	}
	_, err = l.store.OpenRefund(t.Context(), refund)
	require.NoError(t, err)

	page := l.attempt("an old page beside a paid order", true)
	require.NoError(t, l.store.SupersedeAttempt(t.Context(), page.PayNo))
	l.settled(l.another(page), noon)
	l.exec(`delete from mq_message where business_key1 = (select out_business_id from xc_orders where id = $1)`, page.OrderID)

	l.now = noon.Add(time.Hour)
	require.Equal(t, activities.Swept{Woken: 6, Payments: 1, Resumed: 2, Refunds: 1, Failed: 1}, l.sweep())
	require.ElementsMatch(t, []models.ID{never.OrderID, unpaid.OrderID, late.OrderID, parked.OrderID, page.OrderID}, l.looked)
	require.Equal(t, []models.ID{stranded.PayNo, late.PayNo, paid.PayNo}, payNos(l.told), "what needs no answer from Alipay comes first")
	require.Equal(t, noon.Unix(), l.told[0].PaidAt.Unix())
	require.Equal(t, "T"+stranded.PayNo.String(), l.told[0].TradeNo)
	require.Equal(t, []string{"R1"}, l.resumed)
	require.Equal(t, 4, l.asked, "only opened attempts can be known to Alipay")
}

func payNos(payments []models.Payment) (all []models.ID) {
	for _, p := range payments {
		all = append(all, p.PayNo)
	}
	return all
}

// Red: the asking ends with the first attempt that has no answer.
func TestOneAttemptsSilenceHidesNoPayment(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	paid := l.attempt("u", true)
	l.paidAtAlipay(paid, noon)
	require.NoError(t, l.store.SupersedeAttempt(t.Context(), paid.PayNo))
	silent := l.another(paid)
	_, err := l.store.OpenAttempt(t.Context(), silent.PayNo)
	require.NoError(t, err)
	l.silent = silent.PayNo.String()
	l.now = noon.Add(time.Hour)
	require.Equal(t, activities.Swept{Payments: 1, Failed: 1}, l.sweep())
	require.Equal(t, []models.ID{paid.PayNo}, payNos(l.told))
}

// Red: only the first page read.
func TestSweepGoesThroughAllPages(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	l.attempt("u", false)
	l.exec(`insert into xc_orders (id, total_price, create_date, status, user_id, order_type, order_name, out_business_id)
		select n, 1, '2026-03-01', '600001', 'u', '60201', 'x', 'b' || n from generate_series(1000000, 1000448) n`)
	l.now = noon.Add(time.Hour)
	require.Equal(t, 450, l.sweep().Woken)
}

func (l *ledger) compare() (activities.BillReport, error) {
	l.t.Helper()
	l.told, l.looked, l.resumed, l.asked = nil, nil, nil, 0
	value, err := l.env.ExecuteActivity((*activities.Reconciler)(nil).CompareBill, billDay)
	if err != nil {
		return activities.BillReport{}, err
	}
	var report activities.BillReport
	require.NoError(l.t, value.Get(&report))
	return report, nil
}

func billed(r models.PayRecord) models.BillRow {
	return models.BillRow{Kind: models.BillPayment, PayNo: r.PayNo.String(), TradeNo: "T" + r.PayNo.String(), Amount: r.TotalPrice}
}

func back(r models.PayRecord, requestNo string, amount models.Money) models.BillRow {
	return models.BillRow{
		Kind: models.BillRefund, PayNo: r.PayNo.String(), TradeNo: "T" + r.PayNo.String(), RequestNo: requestNo, Amount: amount,
	}
}

// refunded opens a refund of a paid attempt, and books it if it is done.
func (l *ledger) refunded(r models.PayRecord, requestNo string, amount models.Money, done bool) {
	l.t.Helper()
	_, err := l.store.OpenRefund(l.t.Context(), models.RefundRequest{
		OrderID: r.OrderID, PayNo: r.PayNo, RequestNo: requestNo, Amount: amount, Origin: models.RefundByOperator,
	})
	require.NoError(l.t, err)
	if done {
		_, err = l.store.BookRefund(l.t.Context(), requestNo, models.TradeRefund{
			PayNo: r.PayNo.String(), RequestNo: requestNo, TradeNo: "T" + r.PayNo.String(), Refunded: true, Amount: amount, At: l.now,
		})
		require.NoError(l.t, err)
	}
}

// Red, one by one: each comparison left out.
func TestBillIsComparedRowByRow(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	yesterday := noon.AddDate(0, 0, -1)
	l.now = yesterday
	agreed := l.attempt("agreed", true)
	l.settled(agreed, yesterday)
	lost := l.attempt("lost", true)
	l.paidAtAlipay(lost, yesterday)
	forged := l.attempt("forged", true)
	dear := l.attempt("another amount", true)
	l.settled(dear, yesterday)
	swapped := l.attempt("another trade", true)
	l.settled(swapped, yesterday)
	missing := l.attempt("not in the bill", true)
	l.settled(missing, yesterday)
	midnight := l.attempt("another day's", true)
	l.settled(midnight, yesterday)
	l.paidAtAlipay(midnight, yesterday.AddDate(0, 0, -1))
	dealtWith := l.attempt("an operator's", true)
	_, err := l.store.Park(t.Context(), models.Attention{
		WorkflowID: "w", PayNo: dealtWith.PayNo, TradeNo: "T" + dealtWith.PayNo.String(), Amount: 1_00, Reason: "x",
	})
	require.NoError(t, err)
	l.refunded(agreed, "R1", 10, true)
	l.refunded(agreed, "R2", 11, false)
	l.refunded(agreed, "R3", 12, true)
	l.refunded(agreed, "R4", 13, false)
	_, err = l.store.CloseRefund(t.Context(), "R4", "by hand")
	require.NoError(t, err)
	l.refunded(agreed, "R5", 14, true)
	l.now = noon

	wrongAmount, wrongTrade := billed(dear), billed(swapped)
	wrongAmount.Amount, wrongTrade.TradeNo = 99, "T-other"
	l.bill = []models.BillRow{
		billed(agreed), billed(lost), billed(forged), wrongAmount, wrongTrade, billed(dealtWith),
		{Kind: models.BillPayment, PayNo: "shop_7\x00\xff", TradeNo: "T7", Amount: 5},
		{Kind: models.BillPayment, PayNo: "4711", TradeNo: "T8", Amount: 6},
		back(agreed, "R1", 10), back(agreed, "R2", 11), back(agreed, "R3", 99), back(agreed, "R4", 13), back(agreed, "stranger", 1),
	}
	report, err := l.compare()
	require.NoError(t, err)
	want := map[string]string{
		"not_proved " + forged.PayNo.String():                   "1.00",
		"amount_differs " + dear.PayNo.String():                 "0.99 1.00",
		"trade_differs " + swapped.PayNo.String():               "1.00 1.00",
		"unknown_trade shop_7":                                  "0.05",
		"unknown_trade 4711":                                    "0.06",
		"not_in_bill " + missing.PayNo.String():                 " 1.00",
		"refund_differs " + agreed.PayNo.String() + " R3":       "0.99 0.12",
		"refund_ended " + agreed.PayNo.String() + " R4":         "0.13 0.13",
		"unknown_refund " + agreed.PayNo.String() + " stranger": "0.01",
		"refund_not_there " + agreed.PayNo.String() + " R5":     " 0.14",
	}
	require.Equal(t, want, told(report.Findings))
	require.Equal(t, int64(len(want)), report.Count)
	require.Equal(t, 13, report.Rows)
	require.Equal(t, 1, report.Payments)
	require.Equal(t, []models.ID{lost.PayNo}, payNos(l.told))
	require.Equal(t, 1, report.Refunds)
	require.Equal(t, []string{"R2"}, l.resumed)

	again, err := l.compare()
	require.NoError(t, err)
	require.Equal(t, report, again, "a repeat finds the same")
}

// told makes findings comparable: kind and numbers, and what the bill and the books say.
func told(findings []models.Finding) map[string]string {
	all := map[string]string{}
	for _, f := range findings {
		key := string(f.Kind) + " " + f.PayNo
		if f.RequestNo != "" {
			key += " " + f.RequestNo
		}
		amounts := ""
		if f.Billed != nil {
			amounts = f.Billed.String()
		}
		if f.Booked != nil {
			amounts += " " + f.Booked.String()
		}
		all[key] = amounts
	}
	return all
}

// Red: only the first page compared; the reverse comparison knows only one page of the bill.
func TestBillOfManyPages(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	first := l.attempt("u", true)
	l.settled(first, noon.AddDate(0, 0, -1))
	l.exec(`insert into xc_pay_record (id, pay_no, out_pay_no, out_pay_channel, order_id, order_name, total_price, create_date,
			status, pay_success_time, user_id, request_id, expire_date)
		select n, n, 'T' || n, '603002', $1, 'x', 1, $2, '601002', $2, 'u', 'r' || n, $2 from generate_series(2000000, 2000998) n`,
		first.OrderID, noon.AddDate(0, 0, -1))
	l.bill = []models.BillRow{billed(first)}
	for n := range 999 {
		l.bill = append(l.bill, billed(models.PayRecord{PayNo: models.ID(2000000 + n), TotalPrice: 1_00}))
	}
	report, err := l.compare()
	require.NoError(t, err)
	require.Equal(t, activities.BillReport{Date: billDay, Rows: 1000}, report)

	l.bill = l.bill[:400]
	report, err = l.compare()
	require.NoError(t, err)
	require.Equal(t, int64(600), report.Count)
	require.Less(t, len(report.Findings), 100, "the table has all")
	require.Equal(t, 200, l.asked, "not one by one, where so much is wrong")
}

// Red: a missing bill taken for a day without trades at once, or although our books have trades.
func TestBillThatIsNotThere(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	waits := func() {
		t.Helper()
		_, err := l.compare()
		later, ok := errors.AsType[*temporal.ApplicationError](err)
		require.True(t, ok, "%v", err)
		require.False(t, later.NonRetryable())
		require.Positive(t, later.NextRetryDelay())
	}
	l.noBill = fmt.Errorf("wrapped: %w", activities.ErrBillNotReady)
	l.now = noon.Add(-time.Second)
	waits()
	l.now = noon
	report, err := l.compare()
	require.NoError(t, err)
	require.Zero(t, report.Rows)
	l.settled(l.attempt("u", true), noon.AddDate(0, 0, -1))
	waits()
	l.noBill = nil
	report, err = l.compare()
	require.NoError(t, err)
	require.Equal(t, models.FindingNotInBill, report.Findings[0].Kind, "the bill says that nothing happened")
}

func TestBillThatIsRefused(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	l.noBill = models.Refuse(models.CodeBillRefused, "not Alipay's address")
	for range 2 {
		_, err := l.compare()
		final, ok := errors.AsType[*temporal.ApplicationError](err)
		require.True(t, ok, "%v", err)
		require.True(t, final.NonRetryable())
	}
	found, all, err := l.store.Findings(t.Context(), billDay, 10)
	require.NoError(t, err)
	require.Equal(t, int64(1), all)
	require.Equal(t, models.FindingBillRefused, found[0].Kind)
}

func TestDayThatIsNotOverHasNoBill(t *testing.T) {
	t.Parallel()
	l := openLedger(t)
	for _, day := range []string{"2026-03-02", "2026-03-03", "1 March", ""} {
		_, err := l.env.ExecuteActivity((*activities.Reconciler)(nil).CompareBill, day)
		final, ok := errors.AsType[*temporal.ApplicationError](err)
		require.True(t, ok, "%v", err)
		require.True(t, final.NonRetryable(), day)
	}
}
