package activities

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

// world is a store with one unpaid attempt, an Alipay and a bus that answer as told, and a clock that the test turns.
type world struct {
	t      *testing.T
	store  *models.Store
	db     *sql.DB
	now    time.Time
	steps  *Activities
	record models.PayRecord

	asked     int
	trade     models.Trade
	broken    models.ID // an attempt that Alipay gives no answer about
	closing   models.CloseOutcome
	gateway   error
	bus       error
	published []string

	refunds []models.TradeRefundRequest // what was asked
	back    models.TradeRefund          // the answer
	refusal error
	known   models.TradeRefund // what Alipay says when asked about a refund
}

func (w *world) QueryTrade(_ context.Context, payNo string) (models.Trade, error) {
	w.asked++
	if payNo == w.broken.String() {
		return models.Trade{}, errors.New("no answer about this one")
	}
	return w.trade, w.gateway
}

func (w *world) CloseTrade(context.Context, string) (models.CloseOutcome, error) {
	return w.closing, w.gateway
}

func (w *world) Refund(_ context.Context, r models.TradeRefundRequest) (models.TradeRefund, error) {
	w.refunds = append(w.refunds, r)
	return w.back, w.refusal
}

func (w *world) QueryRefund(context.Context, string, string) (models.TradeRefund, error) {
	return w.known, w.gateway
}

var ids atomic.Int64

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return w.now }
	var err error
	w.db, err = models.Open(t.Context(), devtest.Database(t, models.Migrate), 4)
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.store, err = models.NewStore(w.db, func() (int64, error) { return 1000 + ids.Add(1), nil }, clock)
	require.NoError(t, err)
	require.NoError(t, w.store.SeedDemo(t.Context()))
	w.steps = New(w.store, Config{
		Gateway: w,
		Publish: func(_ context.Context, id string, _ []byte) error {
			if w.bus == nil {
				w.published = append(w.published, id)
			}
			return w.bus
		},
		PublicURL: "https://pay.example.com", OrderExpiry: 15 * time.Minute, Now: clock,
		PollSchedule: []time.Duration{5 * time.Second, 10 * time.Second, 60 * time.Second}, Logger: slog.New(slog.DiscardHandler),
	})
	w.record = w.attempt("r1")
	return w
}

func (w *world) attempt(requestID string) models.PayRecord {
	chosen, _, err := w.store.ChooseCourse(w.t.Context(), "u", 1)
	require.NoError(w.t, err)
	code, err := w.steps.CreateAttempt(w.t.Context(), models.PayRequest{
		RequestID: requestID, UserID: "u", OrderType: models.OrderCourse, OutBusinessID: chosen.ID.String(), TotalPrice: 1_00,
	})
	require.NoError(w.t, err)
	return w.read(code.PayNo)
}

func (w *world) read(payNo models.ID) models.PayRecord {
	record, err := w.store.PayRecord(w.t.Context(), payNo)
	require.NoError(w.t, err)
	return record
}

func (w *world) open() {
	_, err := w.store.OpenAttempt(w.t.Context(), w.record.PayNo)
	require.NoError(w.t, err)
}

func (w *world) isPaid() {
	w.trade = models.Trade{PayNo: w.record.PayNo.String(), TradeNo: "T1", Status: models.TradeSuccess, Amount: 1_00}
}

// look is one look of the watch. again is when the next one is due, 0 when the watch is over.
func (w *world) look() (found *models.Payment, again time.Duration) {
	w.t.Helper()
	found, err := w.steps.findPayment(w.t.Context(), w.record.OrderID)
	if err == nil {
		return found, 0
	}
	waiting, ok := errors.AsType[*temporal.ApplicationError](err)
	require.True(w.t, ok, "%v", err)
	require.False(w.t, waiting.NonRetryable())
	require.Positive(w.t, waiting.NextRetryDelay())
	return nil, waiting.NextRetryDelay()
}

func TestWatchAsksAlipayOnlyAboutOpenedAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.isPaid()
	found, again := w.look()
	require.Nil(t, found)
	require.Equal(t, longestUnopened, again, "opening the page ends the pause")
	require.Zero(t, w.asked)
	w.now = w.now.Add(14 * time.Minute)
	_, again = w.look()
	require.Equal(t, time.Minute, again, "never past the end of its time")
	w.open()
	found, _ = w.look()
	require.Equal(t, &models.Payment{PayNo: w.record.PayNo, TradeNo: "T1", Amount: 1_00, PaidAt: w.now}, found,
		"Alipay left out the date of the payment")
}

func TestWatchLooksOftenWhileThePayPageIsOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.now = w.now.Add(10 * time.Minute)
	w.open()
	_, again := w.look()
	require.Equal(t, 5*time.Second, again, "the schedule starts again when the page is opened")
	w.now = w.now.Add(4 * time.Minute)
	_, again = w.look()
	require.Equal(t, longestBlind, again)
	w.gateway = errors.New("no answer")
	_, again = w.look()
	require.Equal(t, longestBlind, again, "a gateway that does not answer is asked again")
}

func TestWatchEndsWhenNobodyCanPay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.now = w.record.ExpireDate
	_, again := w.look()
	require.Zero(t, again, "never opened")
	require.Zero(t, w.asked)
}

func TestWatchAsksOnceMoreAfterTheExpiry(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status  models.TradeStatus
		closing models.CloseOutcome
		over    bool
	}{
		"never acted on":               {models.TradeNotExist, "", true},
		"closed by Alipay":             {models.TradeClosed, "", true},
		"left waiting":                 {models.TradeWaitBuyerPay, models.CloseDone, true},
		"left waiting, then forgotten": {models.TradeWaitBuyerPay, models.CloseNotExist, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.open()
			w.now = w.record.ExpireDate.Add(expiryGrace - time.Second)
			if tc.status != models.TradeClosed {
				_, again := w.look()
				require.Equal(t, time.Second, again, "a payment of the last second may still show")
			}
			w.now = w.record.ExpireDate.Add(expiryGrace)
			w.trade.Status, w.closing = tc.status, tc.closing
			found, again := w.look()
			require.Nil(t, found)
			require.Equal(t, tc.over, again == 0)
			require.Equal(t, tc.over, w.read(w.record.PayNo).CloseDate != nil)
			require.Positive(t, w.asked)
		})
	}
}

func TestWatchFindsAPaymentOfASupersededAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open()
	w.closing = models.CloseNotExist
	closing, err := w.steps.CloseAttempt(t.Context(), w.record.PayNo)
	require.NoError(t, err)
	require.Equal(t, Closing{}, closing, "its page may be open")
	w.attempt("r2")
	w.isPaid()
	found, _ := w.look()
	require.NotNil(t, found)
	require.Equal(t, w.record.PayNo, found.PayNo)
}

func TestTroubleWithOneAttemptHidesNoOther(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]bool{"the older one": false, "the newer one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.open()
			require.NoError(t, w.store.SupersedeAttempt(t.Context(), w.record.PayNo))
			newer := w.attempt("r2")
			_, err := w.store.OpenAttempt(t.Context(), newer.PayNo)
			require.NoError(t, err)
			w.broken = w.record.PayNo
			if second {
				w.broken = newer.PayNo
			}
			_, again := w.look()
			require.Equal(t, longestBlind, again)
			w.isPaid()
			found, _ := w.look()
			require.NotNil(t, found)
			require.NotEqual(t, w.broken, found.PayNo)
		})
	}
}

func TestClosingAnAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open()
	w.closing, w.trade.Status = models.CloseNotWaiting, models.TradeWaitBuyerPay
	_, err := w.steps.CloseAttempt(t.Context(), w.record.PayNo)
	require.Error(t, err, "Alipay contradicts itself: asked again")
	w.trade.Status = models.TradeNotExist
	closing, err := w.steps.CloseAttempt(t.Context(), w.record.PayNo)
	require.NoError(t, err)
	require.Equal(t, Closing{}, closing, "not there yet is not closed")
	require.Nil(t, w.read(w.record.PayNo).CloseDate)
	w.isPaid()
	closing, err = w.steps.CloseAttempt(t.Context(), w.record.PayNo)
	require.NoError(t, err)
	require.NotNil(t, closing.Payment)
	require.Nil(t, w.read(w.record.PayNo).CloseDate)
	w.closing = models.CloseDone
	closing, err = w.steps.CloseAttempt(t.Context(), w.record.PayNo)
	require.NoError(t, err)
	require.True(t, closing.Closed)
	require.NotNil(t, w.read(w.record.PayNo).CloseDate)
}

func TestSettlingIsDoneOnceTheBusHasTheMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.bus = errors.New("broker is down")
	payment := models.Payment{PayNo: w.record.PayNo, TradeNo: "T1", Amount: 1_00, PaidAt: w.now}
	_, err := w.steps.Settle(t.Context(), payment)
	require.ErrorContains(t, err, "broker is down")
	require.False(t, isFinal(err))
	require.Equal(t, models.PayPaid, w.read(w.record.PayNo).Status, "the learner need not wait for the broker")
	w.bus = nil
	for range 3 {
		_, err = w.steps.Settle(t.Context(), payment)
		require.NoError(t, err)
	}
	require.Len(t, w.published, 1)
}

func TestSecondPaymentPublishesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open()
	require.NoError(t, w.store.SupersedeAttempt(t.Context(), w.record.PayNo))
	second := w.attempt("r2")
	_, err := w.steps.Settle(t.Context(), models.Payment{PayNo: second.PayNo, TradeNo: "T2", Amount: 1_00, PaidAt: w.now})
	require.NoError(t, err)
	done, err := w.steps.Settle(t.Context(), models.Payment{PayNo: w.record.PayNo, TradeNo: "T1", Amount: 1_00, PaidAt: w.now})
	require.NoError(t, err)
	require.Equal(t, models.RefundPaidTwice, done.GiveBack)
	require.Len(t, w.published, 1)
}

func (w *world) pendingRefund() models.Refund {
	w.t.Helper()
	payment := models.Payment{PayNo: w.record.PayNo, TradeNo: "T1", Amount: 1_00, PaidAt: w.now}
	_, err := w.steps.Settle(w.t.Context(), payment)
	require.NoError(w.t, err)
	refund, err := w.steps.OpenRefund(w.t.Context(), models.RefundRequest{
		OrderID: w.record.OrderID, PayNo: w.record.PayNo, RequestNo: "n", Amount: 1_00, Origin: models.RefundByOperator,
	})
	require.NoError(w.t, err)
	return refund
}

// answer is an error as the gateway gives it.
type answer struct{ temporary bool }

func (a answer) Error() string   { return "ACQ.SOMETHING" }
func (a answer) Temporary() bool { return a.temporary }

func TestRefundIsDoneOnlyWhenAlipaySaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	refund := w.pendingRefund()
	done := models.TradeRefund{TradeNo: "T1", RequestNo: "n", Refunded: true, Amount: 1_00}
	other := done
	other.Amount = 99
	final, unknown := answer{temporary: false}, answer{temporary: true}
	for name, row := range map[string]struct {
		back  models.TradeRefund
		err   error
		known models.TradeRefund
		silly error // of asking
		want  string
	}{
		"gone back":                              {back: done, want: "done"},
		"taken, not carried out":                 {want: "again"},
		"taken, carried out by an earlier try":   {known: done, want: "done"},
		"no answer":                              {err: unknown, want: "again"},
		"refused":                                {err: final, want: "final"},
		"refused, carried out by an earlier try": {err: final, known: done, want: "done"},
		"refused, and no answer when asked":      {err: final, silly: unknown, want: "again"},
		"refused, and refused when asked":        {err: final, silly: final, want: "final"},
		"taken, and refused when asked":          {silly: final, want: "again"},
		"the number was used for something else": {known: other, want: "final"},
	} {
		w.back, w.refusal, w.known, w.gateway = row.back, row.err, row.known, row.silly
		back, err := w.steps.SendRefund(t.Context(), refund)
		switch row.want {
		case "done":
			require.NoError(t, err, name)
			require.Equal(t, w.now, back.At, "Alipay left out the date: %s", name)
		case "again":
			require.Error(t, err, name)
			require.False(t, isFinal(err), name)
		default:
			require.True(t, isFinal(err), name)
			require.ErrorContains(t, err, "支付宝拒绝退款", name)
		}
	}
	for _, asked := range w.refunds {
		require.Equal(t, models.TradeRefundRequest{PayNo: w.record.PayNo.String(), RequestNo: "n", Amount: 1_00}, asked, "every try is the same")
	}
}

func TestRefundIsBookedAndToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	refund := w.pendingRefund()
	back := models.TradeRefund{TradeNo: "T1", Refunded: true, Amount: 1_00, At: w.now}
	w.bus = errors.New("broker is down")
	_, err := w.steps.BookRefund(t.Context(), refund.RequestNo, back)
	require.ErrorContains(t, err, "broker is down")
	w.bus = nil
	for range 3 {
		booked, err := w.steps.BookRefund(t.Context(), refund.RequestNo, back)
		require.NoError(t, err)
		require.Equal(t, models.RefundDone, booked.Status)
	}
	require.Len(t, w.published, 2, "payresult_notify and refund_notify")
}

func TestClosingARefund(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		known models.TradeRefund
		fault error
		want  models.RefundStatus // empty: tried again
	}{
		"Alipay knows of none":      {want: models.RefundClosed},
		"it went through meanwhile": {known: models.TradeRefund{TradeNo: "T1", Refunded: true, Amount: 1_00}, want: models.RefundDone},
		"no answer":                 {fault: answer{temporary: true}},
		"Alipay does not say, ever": {fault: answer{}, want: models.RefundClosed},
	} {
		w := newWorld(t)
		refund := w.pendingRefund()
		w.known, w.gateway = row.known, row.fault
		closed, err := w.steps.CloseRefund(t.Context(), refund, "given up")
		if row.want == "" {
			require.Error(t, err, name)
			require.False(t, isFinal(err), name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, row.want, closed.Status, name)
	}
}

func (w *world) cancel() Cancellation {
	w.t.Helper()
	order, err := w.store.Order(w.t.Context(), w.record.OrderID)
	require.NoError(w.t, err)
	became, err := w.steps.CancelOrder(w.t.Context(), models.OrderKey{OrderType: order.OrderType, OutBusinessID: order.OutBusinessID})
	require.NoError(w.t, err)
	return became
}

func TestCancellingMeetsAPayment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open()
	w.closing = models.CloseNotWaiting
	w.isPaid()
	became := w.cancel()
	require.NotNil(t, became.Payment)
	order, err := w.store.Order(t.Context(), w.record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.OrderUnpaid, order.Status, "the payment is settled first")
}

// Whatever Alipay says, the learner's order is closed; what may still be paid stays watched.
func TestCancellingWhateverAlipaySays(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		opened  bool
		closing models.CloseOutcome
		fault   error
		payable bool
	}{
		"never opened":                  {},
		"closed":                        {opened: true, closing: models.CloseDone},
		"not there yet":                 {opened: true, closing: models.CloseNotExist, payable: true},
		"no answer":                     {opened: true, fault: errors.New("timeout"), payable: true},
		"refuses to close, not paid":    {opened: true, closing: models.CloseNotWaiting, payable: true},
		"refused, says somebody else's": {opened: true, fault: answer{}, payable: true},
	} {
		w := newWorld(t)
		if row.opened {
			w.open()
		}
		w.closing, w.gateway = row.closing, row.fault
		became := w.cancel()
		require.Equal(t, models.OrderClosed, became.Standing.Status, name)
		require.Equal(t, row.payable, became.Standing.Payable, name)
		require.Nil(t, became.Payment, name)
	}
}

func TestLookingAtAnOrderThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobody := models.OrderKey{OrderType: models.OrderCourse, OutBusinessID: "4711"}
	now, err := w.steps.CloseOrder(t.Context(), nobody)
	require.NoError(t, err)
	require.Zero(t, now)
	became, err := w.steps.CancelOrder(t.Context(), nobody)
	require.NoError(t, err)
	require.Zero(t, became)
}

func TestWhatIsFinal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.steps.Settle(t.Context(), models.Payment{PayNo: w.record.PayNo, TradeNo: "T1", Amount: 99, PaidAt: w.now})
	require.True(t, isFinal(err))
	require.ErrorContains(t, err, "支付金额与订单金额不一致")
	require.False(t, isFinal(retryableOrFinal(context.DeadlineExceeded)))
	require.NoError(t, retryableOrFinal(nil))
}

func isFinal(err error) bool {
	failure, ok := errors.AsType[*temporal.ApplicationError](err)
	return ok && failure.NonRetryable()
}

func TestQRCodeOfATextThatIsTooLong(t *testing.T) {
	t.Parallel()
	_, err := qrCode(strings.Repeat("x", 5000))
	require.Error(t, err)
}
