package workflows

import (
	"errors"
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"coursepay/activities"
	"coursepay/models"
)

// parked is a payment that waits for an operator.
type parked struct {
	payment models.Payment
	reason  string
}

// park sets a payment aside until an operator decides about it; the story goes on meanwhile. Its attempt is closed in
// the books, so that nobody finds the same money again by asking.
func (o *payOrder) park(ctx workflow.Context, p models.Payment, why error) error {
	reason := reasonOf(why)
	var orderID models.ID
	err := workflow.ExecuteLocalActivity(patiently(ctx), o.steps.Park, models.Attention{
		WorkflowID: ownID(ctx), PayNo: p.PayNo, TradeNo: p.TradeNo, Amount: p.Amount, PaidAt: &p.PaidAt, Reason: reason,
	}).Get(ctx, &orderID)
	if err != nil {
		return err
	}
	if o.state.OrderID == 0 {
		o.state.OrderID = orderID
	}
	o.takeNews(ctx)
	if len(o.parked) == 0 { // so what has been decided was not about this, which nobody has seen yet
		o.decisions = slices.DeleteFunc(o.decisions, func(d Operator) bool { return d.PayNo == 0 })
	}
	o.parked = append(o.parked, parked{p, reason})
	return o.showAttention(ctx)
}

// obeyNext does what an operator decided about a parked payment: the one that is named, or the only one. A decision that
// comes when there is nothing to decide is about something else, and is not kept for later.
func (o *payOrder) obeyNext(ctx workflow.Context) error {
	decision := o.decisions[0]
	o.decisions = o.decisions[1:]
	if o.meant(decision) < 0 {
		if err := o.recall(ctx); err != nil {
			return err
		}
	}
	i := o.meant(decision)
	if i < 0 || !slices.Contains([]string{ActionRetry, ActionRefund, ActionClose}, decision.Action) {
		workflow.GetLogger(ctx).Warn("operator's decision decides nothing", "action", decision.Action, "payNo", decision.PayNo)
		return nil
	}
	payment := o.parked[i].payment
	if err := noteDecision(ctx, payment.PayNo, decision); err != nil {
		return err
	}
	o.parked = slices.Delete(o.parked, i, i+1)
	switch decision.Action {
	case ActionRetry:
		o.arrived = append(o.arrived, payment)
	case ActionRefund:
		if err := o.giveBack(ctx, payment, models.RefundRefused); err != nil {
			return err
		}
	case ActionClose:
		o.timeUp = true // it may have been all that kept the order open
	}
	return o.showAttention(ctx)
}

// meant finds the parked payment that a decision is about, or -1. Without a pay number it must be the only one: the same
// command sent twice would decide about two.
func (o *payOrder) meant(d Operator) int {
	if d.PayNo == 0 && len(o.parked) != 1 {
		return -1
	}
	return slices.IndexFunc(o.parked, func(c parked) bool { return d.PayNo == 0 || d.PayNo == c.payment.PayNo })
}

// recall takes over what an earlier run of this story had parked: it may have been ended by hand.
func (o *payOrder) recall(ctx workflow.Context) error {
	var waits []models.Attention
	if err := workflow.ExecuteLocalActivity(patiently(ctx), o.steps.ParkedPayments, ownID(ctx)).Get(ctx, &waits); err != nil {
		return err
	}
	for _, w := range waits {
		p := models.Payment{PayNo: w.PayNo, TradeNo: w.TradeNo, Amount: w.Amount}
		if w.PaidAt != nil {
			p.PaidAt = *w.PaidAt
		}
		if !o.heard[p.TradeNo] {
			o.heard[p.TradeNo] = true
			o.parked = append(o.parked, parked{p, w.Reason})
		}
		if w.OrderID != nil {
			o.state.OrderID = *w.OrderID
		}
	}
	return o.showAttention(ctx)
}

// giveBack starts the refund of a payment that bought nothing. The refund is a story of its own; this one does not wait
// for its end.
func (o *payOrder) giveBack(ctx workflow.Context, p models.Payment, why models.RefundOrigin) error {
	request := models.RefundRequest{
		OrderID: o.state.OrderID, PayNo: p.PayNo, RequestNo: models.StoryRefundNo(p.PayNo), Amount: p.Amount,
		Reason: refundReasons[why], Origin: why,
	}
	if why == models.RefundRefused {
		request.Payment = &p
	}
	var refund models.Refund
	err := workflow.ExecuteLocalActivity(patiently(ctx), o.steps.OpenRefund, request).Get(ctx, &refund)
	if err != nil {
		return o.park(ctx, p, err)
	}
	o.timeUp = true // this attempt may have been all that kept the order open
	if refund.Status != models.RefundPending {
		return nil // it was given back, or closed by an operator, before
	}
	return startRefund(ctx, request)
}

// showAttention tells operators whether, and why, the order waits for them.
func (o *payOrder) showAttention(ctx workflow.Context) error {
	reasons := make([]string, len(o.parked))
	for i, c := range o.parked {
		reasons[i] = c.reason
	}
	o.state.NeedsHelp = strings.Join(reasons, "; ")
	return workflow.UpsertTypedSearchAttributes(ctx, AttrNeedsOperator.ValueSet(len(o.parked) > 0))
}

// cases describes the parked payments, with what to type.
func (o *payOrder) cases(ctx workflow.Context) string {
	var text strings.Builder
	for _, c := range o.parked {
		p := c.payment
		text.WriteString(needsOperator(c.reason, p.PayNo, p.Amount) + "支付宝交易号 trade_no `" + p.TradeNo + "`\n\n" +
			"处理后重试 · mend the cause, then retry:\n\n" + toType(ctx, ActionRetry, p.PayNo) +
			"退款给买家 · give the money back:\n\n" + toType(ctx, ActionRefund, p.PayNo) +
			"已在支付宝后台退款 · given back by hand, end it:\n\n" + toType(ctx, ActionClose, p.PayNo))
	}
	return text.String()
}

func needsOperator(reason string, payNo models.ID, amount models.Money) string {
	return "\n\n**需要人工处理 · needs an operator**: " + reason + "\n\n" +
		"支付单号 payNo `" + payNo.String() + "`, " + amount.String() + " CNY, "
}

// toType are the commands by which an operator decides: Temporal's own, and the older tctl's.
func toType(ctx workflow.Context, action string, payNo models.ID) string {
	input := `'{"action":"` + action + `","payNo":"` + payNo.String() + `"}'` + "\n"
	return "    temporal workflow signal --workflow-id " + ownID(ctx) + " --name " + SignalOperator + " --input " + input +
		"    tctl workflow signal --workflow_id " + ownID(ctx) + " --name " + SignalOperator + " --input " + input + "\n"
}

func ownID(ctx workflow.Context) string { return workflow.GetInfo(ctx).WorkflowExecution.ID }

// reasonOf is what an operator reads of an activity's failure.
func reasonOf(err error) string {
	if refusal, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return refusal.Message()
	}
	return err.Error()
}

// noteDecision files what an operator decided.
func noteDecision(ctx workflow.Context, payNo models.ID, d Operator) error {
	var steps *activities.Activities
	return workflow.ExecuteLocalActivity(patiently(ctx), steps.Decide, activities.Decision{
		WorkflowID: ownID(ctx), PayNo: payNo, Action: d.Action, Note: d.Note,
	}).Get(ctx, nil)
}
