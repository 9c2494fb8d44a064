package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"

	"coursepay/models"
)

// BillReport is what came of comparing a day.
type BillReport struct {
	Date     string           `json:"date"`               // models.BillDayLayout
	Rows     int              `json:"rows"`               // of the bill
	Payments int              `json:"payments"`           // found in the bill alone, and handed over
	Refunds  int              `json:"refunds"`            // went through at Alipay, not in our books yet: woken
	Count    int64            `json:"count"`              // findings of that day, those of earlier runs too
	Findings []models.Finding `json:"findings,omitempty"` // the first of them
}

const (
	// mostProofs is how many of the payments that are missing in one bill are asked about one by one.
	mostProofs = 200
	// mostReported is how many findings travel in a report; the table has all.
	mostReported = 50
	// billRetry is the pause between two looks for a bill that is not ready.
	billRetry = 10 * time.Minute
	// billSureAt is the time of the next day from which a bill that is still not there means a day without trades, unless
	// our books have some. It is usually ready at 9 in the morning.
	billSureAt = 12 * time.Hour
)

// CompareBill compares Alipay's bill of a day with our books, row by row, and the other way round. A payment that we
// have not is handed to its order's workflow, once Alipay's signed answer confirms it; every other difference is kept
// as a finding. A repeat finds the same. day is written as models.BillDayLayout says.
func (r *Reconciler) CompareBill(ctx context.Context, day string) (BillReport, error) {
	start, err := time.ParseInLocation(models.BillDayLayout, day, models.China)
	if err != nil {
		return BillReport{}, retryableOrFinal(models.Refuse(models.CodeInvalid, "%q is no day", day))
	}
	c := comparison{
		Reconciler: r, day: models.Span{From: start, To: start.AddDate(0, 0, 1)}, report: BillReport{Date: day},
		seen: map[string]bool{}, proofs: mostProofs,
	}
	if !c.day.To.Before(r.cfg.Now()) {
		return c.report, retryableOrFinal(models.Refuse(models.CodeInvalid, "%s is not over yet", day))
	}
	stopBeating := keepBeating(ctx)
	defer stopBeating()
	err = c.run(ctx)
	if code, refused := models.RefusalCode(err); refused && code == models.CodeBillRefused {
		if kept := c.found(ctx, models.Finding{Kind: models.FindingBillRefused, Detail: err.Error()}); kept != nil {
			return c.report, kept
		}
	}
	if errors.Is(err, ErrBillNotReady) {
		return c.report, lookAgainIn(billRetry, err.Error())
	}
	return c.report, retryableOrFinal(err)
}

// keepBeating tells Temporal that the activity lives while it waits for Alipay, until stop is called.
func keepBeating(ctx context.Context) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			activity.RecordHeartbeat(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return stop
}

// comparison is the comparing of one day. What it remembers is bounded by the size that a bill may have.
type comparison struct {
	*Reconciler
	day    models.Span
	report BillReport
	seen   map[string]bool // payments and refunds in the bill
	proofs int             // how many missing payments may still be asked about
}

func (c *comparison) run(ctx context.Context) error {
	begun := c.cfg.Now()
	rows, err := c.download(ctx)
	if err != nil {
		return err
	}
	c.report.Rows = len(rows)
	for len(rows) > 0 {
		page := rows[:min(pageSize, len(rows))]
		if err := c.comparePage(ctx, page); err != nil {
			return err
		}
		rows = rows[len(page):]
	}
	if err := c.missingPayments(ctx); err != nil {
		return err
	}
	if err := c.missingRefunds(ctx); err != nil {
		return err
	}
	if err := c.store.ResolveFindings(ctx, c.report.Date, begun); err != nil {
		return err
	}
	c.report.Findings, c.report.Count, err = c.store.Findings(ctx, c.report.Date, mostReported)
	return err
}

// download fetches the bill. One that is not there long after it should be is that of a day without trades, if our books
// say so too.
func (c *comparison) download(ctx context.Context) ([]models.BillRow, error) {
	rows, err := c.cfg.Alipay.DayBill(ctx, c.day.From)
	if !errors.Is(err, ErrBillNotReady) || c.cfg.Now().Before(c.day.To.Add(billSureAt)) {
		return rows, err
	}
	paid, paidErr := c.store.PaidIn(ctx, c.day, models.Page{Limit: 1})
	back, backErr := c.store.RefundedIn(ctx, c.day, models.Page{Limit: 1})
	if bookErr := errors.Join(paidErr, backErr); bookErr != nil || len(paid)+len(back) > 0 {
		return nil, errors.Join(err, bookErr)
	}
	return nil, nil
}

// comparePage holds a page of the bill against our books.
func (c *comparison) comparePage(ctx context.Context, page []models.BillRow) error {
	var payNos []models.ID
	var requestNos []string
	for _, row := range page {
		if payNo, err := models.ParseID(row.PayNo); err == nil {
			payNos = append(payNos, payNo)
		}
		requestNos = append(requestNos, row.RequestNo)
	}
	records, err := c.store.PayRecords(ctx, payNos)
	if err != nil {
		return err
	}
	refunds, err := c.store.RefundsByNo(ctx, requestNos)
	if err != nil {
		return err
	}
	for _, row := range page {
		c.seen[seenKey(row.Kind, row.PayNo, row.RequestNo)] = true
		if row.Kind == models.BillRefund {
			refund, ours := refunds[row.RequestNo]
			err = c.compareRefund(ctx, row, refund, ours)
		} else {
			payNo, _ := models.ParseID(row.PayNo) // 0 is nobody's
			record, ours := records[payNo]
			err = c.comparePayment(ctx, row, record, ours)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func seenKey(kind models.BillKind, payNo, requestNo string) string {
	if kind == models.BillPayment {
		requestNo = ""
	}
	return string(kind) + "/" + payNo + "/" + requestNo
}

func (c *comparison) comparePayment(ctx context.Context, row models.BillRow, record models.PayRecord, ours bool) error {
	if !ours {
		return c.foundIn(ctx, row, models.FindingUnknownTrade, nil, "out_trade_no is none of ours")
	}
	if record.TotalPrice != row.Amount {
		if err := c.foundIn(ctx, row, models.FindingAmountDiffers, &record.TotalPrice, ""); err != nil {
			return err
		}
	}
	if record.Status == models.PayUnpaid {
		return c.handOver(ctx, row, record)
	}
	if record.Payment().TradeNo != row.TradeNo {
		return c.foundIn(ctx, row, models.FindingTradeDiffers, &record.TotalPrice, "booked as trade "+record.Payment().TradeNo)
	}
	return nil
}

// handOver hands a payment that only the bill tells of to its order, if Alipay's signed answer confirms it.
func (c *comparison) handOver(ctx context.Context, row models.BillRow, record models.PayRecord) error {
	known, err := c.store.WithOperator(ctx, record.PayNo, row.TradeNo)
	if err != nil || known {
		return err
	}
	trade, err := queryTrade(ctx, c.cfg.Alipay, record.PayNo, c.cfg.Now)
	if err != nil {
		return err
	}
	if !trade.Status.Paid() {
		return c.foundIn(ctx, row, models.FindingNotProved, nil, fmt.Sprintf("alipay.trade.query says %q", trade.Status))
	}
	if err := c.tell(ctx, record.OrderID, PaymentOf(record.PayNo, trade)); err != nil {
		return err
	}
	c.report.Payments++
	c.cfg.Logger.WarnContext(ctx, "reconcile: the bill has a payment that nobody had told us of", "payNo", record.PayNo)
	return nil
}

func (c *comparison) compareRefund(ctx context.Context, row models.BillRow, refund models.Refund, ours bool) error {
	switch {
	case !ours:
		return c.foundIn(ctx, row, models.FindingUnknownRefund, nil, "out_request_no is none of ours")
	case refund.Amount != row.Amount || refund.PayNo.String() != row.PayNo:
		return c.foundIn(ctx, row, models.FindingRefundDiffers, &refund.Amount, "booked for attempt "+refund.PayNo.String())
	case refund.Status == models.RefundClosed:
		return c.foundIn(ctx, row, models.FindingRefundEnded, &refund.Amount, "an operator had ended it: "+refund.Note)
	case refund.Status == models.RefundPending:
		c.report.Refunds++
		return c.cfg.Stories.ResumeRefund(ctx, refund.Request())
	}
	return nil
}

// missingPayments looks for payments in our books that the bill has not. A payment close to midnight may be another
// day's, so Alipay is asked about each, up to a number.
func (c *comparison) missingPayments(ctx context.Context) error {
	var mark models.ID
	var failed error
	err := eachOf(ctx, &mark, func(p models.Page) ([]models.PayRecord, error) { return c.store.PaidIn(ctx, c.day, p) },
		func(p models.PayRecord) models.ID { return p.PayNo }, func(p models.PayRecord) {
			if failed == nil && !c.seen[seenKey(models.BillPayment, p.PayNo.String(), "")] {
				failed = c.missing(ctx, p)
			}
		})
	return errors.Join(err, failed)
}

func (c *comparison) missing(ctx context.Context, record models.PayRecord) error {
	detail := "not asked: too many are missing"
	if c.proofs > 0 {
		c.proofs--
		trade, err := c.cfg.Alipay.QueryTrade(ctx, record.PayNo.String())
		if err != nil {
			return err
		}
		if !trade.PaidAt.IsZero() && (trade.PaidAt.Before(c.day.From) || !trade.PaidAt.Before(c.day.To)) {
			return nil // another day's
		}
		detail = fmt.Sprintf("alipay.trade.query says %q", trade.Status)
	}
	return c.found(ctx, models.Finding{
		Kind: models.FindingNotInBill, PayNo: record.PayNo.String(), TradeNo: record.Payment().TradeNo,
		Booked: &record.TotalPrice, Detail: detail,
	})
}

// missingRefunds looks for refunds in our books that the bill has not.
func (c *comparison) missingRefunds(ctx context.Context) error {
	var mark models.ID
	var failed error
	err := eachOf(ctx, &mark, func(p models.Page) ([]models.Refund, error) { return c.store.RefundedIn(ctx, c.day, p) },
		func(f models.Refund) models.ID { return f.ID }, func(f models.Refund) {
			if failed == nil && !c.seen[seenKey(models.BillRefund, f.PayNo.String(), f.RequestNo)] {
				failed = c.found(ctx, models.Finding{
					Kind: models.FindingRefundNotInBill, PayNo: f.PayNo.String(), RequestNo: f.RequestNo, Booked: &f.Amount,
				})
			}
		})
	return errors.Join(err, failed)
}

func (c *comparison) foundIn(ctx context.Context, row models.BillRow, kind models.FindingKind, booked *models.Money, detail string) error {
	return c.found(ctx, models.Finding{
		Kind: kind, PayNo: row.PayNo, TradeNo: row.TradeNo, RequestNo: row.RequestNo, Billed: &row.Amount, Booked: booked,
		Detail: detail,
	})
}

func (c *comparison) found(ctx context.Context, f models.Finding) error {
	f.BillDate = c.report.Date
	c.cfg.Logger.WarnContext(ctx, "reconcile: the bill and our books differ", "date", f.BillDate, "kind", f.Kind,
		"payNo", f.PayNo, "requestNo", f.RequestNo)
	return c.store.KeepFinding(ctx, f)
}
