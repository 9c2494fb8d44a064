package activities

import (
	"context"
	"time"

	"coursepay/models"
)

// OpenRefund notes in the books that money is to go back.
func (a *Activities) OpenRefund(ctx context.Context, r models.RefundRequest) (models.Refund, error) {
	refund, err := a.store.OpenRefund(ctx, r)
	return refund, retryableOrFinal(err)
}

// refundKnownAfter is when Alipay knows what became of a refund that it has taken.
const refundKnownAfter = 10 * time.Second

// SendRefund lets Alipay give the money back, and succeeds once Alipay says that it has. Every try is the same request
// under the same number, so money goes back at most once. A refusal says nothing about a try before it, so it is final
// only when Alipay, asked about the refund, knows of none.
func (a *Activities) SendRefund(ctx context.Context, r models.Refund) (models.TradeRefund, error) {
	payNo := r.PayNo.String()
	back, refused := a.cfg.Gateway.Refund(ctx, models.TradeRefundRequest{
		PayNo: payNo, RequestNo: r.RequestNo, Amount: r.Amount, Reason: r.Reason,
	})
	if refused == nil && back.Refunded {
		return a.dated(back), nil
	}
	if refused != nil && !refusedForGood(refused) {
		return models.TradeRefund{}, retryableOrFinal(refused)
	}
	back, err := a.cfg.Gateway.QueryRefund(ctx, payNo, r.RequestNo)
	switch {
	case err != nil && !refusedForGood(err):
		return models.TradeRefund{}, retryableOrFinal(err)
	case err == nil && back.Refunded && back.Amount == r.Amount:
		return a.dated(back), nil
	case err == nil && back.Refunded:
		return models.TradeRefund{}, refundRefused("the number was used before, for " + back.Amount.String())
	case refused != nil && err != nil:
		return models.TradeRefund{}, refundRefused(refused.Error() + "; asked what became of it: " + err.Error())
	case refused != nil:
		return models.TradeRefund{}, refundRefused(refused.Error())
	}
	return models.TradeRefund{}, lookAgainIn(refundKnownAfter, "Alipay has taken the refund and not yet carried it out")
}

func (a *Activities) dated(back models.TradeRefund) models.TradeRefund {
	if back.At.IsZero() {
		back.At = a.cfg.Now()
	}
	return back
}

// BookRefund takes a refund that Alipay has carried out into the books, and delivers the message about it. Nothing is
// final here, not even a refusal of the books: the money has gone back.
func (a *Activities) BookRefund(ctx context.Context, requestNo string, back models.TradeRefund) (models.Refund, error) {
	refund, err := a.store.BookRefund(ctx, requestNo, back)
	if err != nil {
		return refund, err
	}
	a.cfg.Logger.InfoContext(ctx, "refund booked", "orderId", refund.OrderID, "payNo", refund.PayNo, "outRequestNo", requestNo)
	return refund, a.deliver(ctx, refund.OrderID)
}

// CloseRefund ends a refund that an operator has given up, unless Alipay, asked once more, has carried it out meanwhile:
// then it is booked.
func (a *Activities) CloseRefund(ctx context.Context, r models.Refund, note string) (models.Refund, error) {
	back, err := a.cfg.Gateway.QueryRefund(ctx, r.PayNo.String(), r.RequestNo)
	switch {
	case err != nil && !refusedForGood(err):
		return r, err
	case err == nil && back.Refunded && back.Amount == r.Amount:
		return a.BookRefund(ctx, r.RequestNo, a.dated(back))
	}
	refund, err := a.store.CloseRefund(ctx, r.RequestNo, note)
	return refund, retryableOrFinal(err)
}

// Park files what waits for an operator, and returns the order that it is about, 0 if there is none.
func (a *Activities) Park(ctx context.Context, waits models.Attention) (models.ID, error) {
	orderID, err := a.store.Park(ctx, waits)
	if err == nil {
		a.cfg.Logger.WarnContext(ctx, "needs an operator", "orderId", orderID, "payNo", waits.PayNo, "reason", waits.Reason)
	}
	return orderID, retryableOrFinal(err)
}

// ParkedPayments lists what a workflow has parked and nobody has decided about.
func (a *Activities) ParkedPayments(ctx context.Context, workflowID string) ([]models.Attention, error) {
	waits, err := a.store.ParkedPayments(ctx, workflowID)
	return waits, retryableOrFinal(err)
}

// Decision is what an operator decided about something that was parked.
type Decision struct {
	WorkflowID string    `json:"workflowId"`
	PayNo      models.ID `json:"payNo"`
	Action     string    `json:"action"`
	Note       string    `json:"note,omitempty"`
}

// Decide files an operator's decision.
func (a *Activities) Decide(ctx context.Context, d Decision) error {
	return retryableOrFinal(a.store.Decide(ctx, d.WorkflowID, d.PayNo, d.Action, d.Note))
}
