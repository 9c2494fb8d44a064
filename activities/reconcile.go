package activities

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.temporal.io/sdk/activity"

	"coursepay/models"
)

// Reconciler is a second struct of activities: they find what every other way has missed. They write nothing to an
// order; whatever they find is told to the order's own workflow, which is its one writer.
type Reconciler struct {
	store *models.Store
	cfg   ReconcilerConfig
}

// ReconcilerConfig is what the reconciler needs of the world beside the books.
type ReconcilerConfig struct {
	Alipay  Teller
	Stories Stories
	// Grace is how long the usual ways have before the sweep looks after something; 0 is ten minutes.
	Grace  time.Duration
	Now    func() time.Time
	Logger *slog.Logger
}

// Teller is what Alipay tells.
type Teller interface {
	// QueryTrade is alipay.trade.query; a trade that is not there yet is models.TradeNotExist and no error.
	QueryTrade(ctx context.Context, payNo string) (models.Trade, error)
	// DayBill is the trade bill of a day, empty where nothing happened. ErrBillNotReady: it is not there (yet). A file
	// that must not be used is refused with models.CodeBillRefused.
	DayBill(ctx context.Context, day time.Time) ([]models.BillRow, error)
}

// ErrBillNotReady means that Alipay has no bill for the day: not yet, or because nothing happened.
var ErrBillNotReady = errors.New("no bill for that day, or not yet")

// Stories reaches the workflows. Each method starts the workflow if it does not run.
type Stories interface {
	// TellPayment hands a payment over, as the callback door does.
	TellPayment(ctx context.Context, o models.Order, p models.Payment) error
	// LookAgain asks an order's workflow to look where the order stands.
	LookAgain(ctx context.Context, o models.Order) error
	// ResumeRefund starts a refund's workflow; one that runs is left alone.
	ResumeRefund(ctx context.Context, r models.RefundRequest) error
}

// NewReconciler makes the reconciler.
func NewReconciler(store *models.Store, cfg ReconcilerConfig) *Reconciler {
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Minute
	}
	return &Reconciler{store: store, cfg: cfg}
}

// pageSize is how many rows are read at once.
const pageSize = 200

// Swept is what a sweep did.
type Swept struct {
	Woken    int `json:"woken"`            // orders whose workflow was told
	Payments int `json:"payments"`         // payments found by asking, and handed over
	Resumed  int `json:"resumed"`          // settled payments whose story had stopped half way
	Refunds  int `json:"refunds"`          // refunds whose workflow was started, if it did not run
	Failed   int `json:"failed,omitempty"` // could not be done now; the next sweep tries again
}

// sweepMark is where a sweep has got to: a repeat goes on from there.
type sweepMark struct {
	Orders, Payments, Refunds models.ID
	So                        Swept
}

// Sweep goes through everything in our books that should have moved on a while ago, page by page, and wakes the
// workflow that it belongs to. What fails is counted and left to the next sweep, so that one order's trouble does not
// hide another one's payment.
func (r *Reconciler) Sweep(ctx context.Context) (Swept, error) {
	var mark sweepMark
	if activity.HasHeartbeatDetails(ctx) {
		if err := activity.GetHeartbeatDetails(ctx, &mark); err != nil {
			mark = sweepMark{} // from the start, then: nothing is done twice
		}
	}
	before := r.cfg.Now().Add(-r.cfg.Grace)
	beat := func() { activity.RecordHeartbeat(ctx, mark) }
	// What needs no answer from Alipay comes first: Alipay may hang.
	err := eachOf(ctx, &mark.Payments, func(p models.Page) ([]models.PayRecord, error) { return r.store.Unfinished(ctx, before, p) },
		func(p models.PayRecord) models.ID { return p.PayNo }, func(p models.PayRecord) {
			r.count(ctx, &mark.So.Resumed, &mark.So.Failed, r.tell(ctx, p.OrderID, p.Payment()), "payNo", p.PayNo)
			beat()
		})
	if err != nil {
		return mark.So, err
	}
	err = eachOf(ctx, &mark.Refunds, func(p models.Page) ([]models.Refund, error) { return r.store.PendingRefunds(ctx, before, p) },
		func(f models.Refund) models.ID { return f.ID }, func(f models.Refund) {
			err := r.cfg.Stories.ResumeRefund(ctx, f.Request())
			r.count(ctx, &mark.So.Refunds, &mark.So.Failed, err, "requestNo", f.RequestNo)
			beat()
		})
	if err != nil {
		return mark.So, err
	}
	err = eachOf(ctx, &mark.Orders, func(p models.Page) ([]models.Order, error) { return r.store.Forgotten(ctx, before, p) },
		func(o models.Order) models.ID { return o.ID }, func(o models.Order) {
			payments, err := r.wake(ctx, o)
			mark.So.Payments += payments
			r.count(ctx, &mark.So.Woken, &mark.So.Failed, err, "orderId", o.ID)
			beat()
		})
	return mark.So, err
}

// eachOf goes through a list page by page, and keeps the mark up with it.
func eachOf[T any](ctx context.Context, mark *models.ID, page func(models.Page) ([]T, error), id func(T) models.ID, do func(T)) error {
	for {
		rows, err := page(models.Page{After: *mark, Limit: pageSize})
		if err != nil || len(rows) == 0 {
			return retryableOrFinal(err)
		}
		for _, row := range rows {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			*mark = id(row)
			do(row)
		}
	}
}

func (r *Reconciler) count(ctx context.Context, done, failed *int, err error, key string, id any) {
	if err == nil {
		*done++
		return
	}
	*failed++
	r.cfg.Logger.WarnContext(ctx, "reconcile: left to the next sweep", key, id, "error", err)
}

// wake asks Alipay about the order's opened attempts and hands over what is paid. If nothing is, the order's story is
// to look where it stands. payments is how many were handed over, also where another attempt's answer is missing.
func (r *Reconciler) wake(ctx context.Context, o models.Order) (payments int, err error) {
	attempts, err := r.store.LiveAttempts(ctx, o.ID)
	if err != nil {
		return 0, err
	}
	var unanswered []error
	for _, attempt := range attempts {
		if attempt.OpenDate == nil {
			continue // Alipay cannot know it
		}
		trade, err := queryTrade(ctx, r.cfg.Alipay, attempt.PayNo, r.cfg.Now)
		if err == nil && trade.Status.Paid() {
			if err = r.cfg.Stories.TellPayment(ctx, o, PaymentOf(attempt.PayNo, trade)); err == nil {
				payments++
			}
		}
		if err != nil {
			unanswered = append(unanswered, err)
		}
	}
	if payments > 0 || len(unanswered) > 0 {
		return payments, errors.Join(unanswered...)
	}
	return 0, r.cfg.Stories.LookAgain(ctx, o)
}

func (r *Reconciler) tell(ctx context.Context, orderID models.ID, p models.Payment) error {
	order, err := r.store.Order(ctx, orderID)
	if err != nil {
		return err
	}
	return r.cfg.Stories.TellPayment(ctx, order, p)
}
