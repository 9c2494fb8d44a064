package workflows

import (
	"errors"
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"coursepay/models"
)

// parked is a payment that waits for an operator.
type parked struct {
	payment models.Payment
	reason  string
}

var errPaidTwice = errors.New("重复支付 · the order was paid before by another attempt: give this payment back")

// park sets a payment aside until an operator decides about it; the story goes on meanwhile. Its attempt is closed in
// the books, so that nobody finds the same money again by asking.
func (o *payOrder) park(ctx workflow.Context, p models.Payment, why error) error {
	reason := why.Error()
	if refusal, ok := errors.AsType[*temporal.ApplicationError](why); ok {
		reason = refusal.Message()
	}
	if err := workflow.ExecuteLocalActivity(patiently(ctx), o.steps.SetAsideAttempt, p.PayNo).Get(ctx, nil); err != nil {
		return err
	}
	o.parked = append(o.parked, parked{p, reason})
	return o.showAttention(ctx)
}

// obeyNext does what an operator decided about a parked payment: the one that is named, or else the oldest. A decision
// that comes when there is nothing to decide is about something else, and is not kept for later.
func (o *payOrder) obeyNext(ctx workflow.Context) error {
	decision := o.decisions[0]
	o.decisions = o.decisions[1:]
	i := slices.IndexFunc(o.parked, func(c parked) bool { return decision.PayNo == 0 || decision.PayNo == c.payment.PayNo })
	known := decision.Action == ActionRetry || decision.Action == ActionClose
	if i < 0 || !known {
		workflow.GetLogger(ctx).Warn("operator's decision decides nothing", "action", decision.Action, "payNo", decision.PayNo)
		return nil
	}
	workflow.GetLogger(ctx).Info("operator decided", "orderId", o.state.OrderID, "payNo", o.parked[i].payment.PayNo,
		"action", decision.Action, "note", decision.Note)
	if decision.Action == ActionRetry {
		o.arrived = append(o.arrived, o.parked[i].payment)
	}
	o.parked = slices.Delete(o.parked, i, i+1)
	return o.showAttention(ctx)
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
	id := workflow.GetInfo(ctx).WorkflowExecution.ID
	var text strings.Builder
	for _, c := range o.parked {
		p := c.payment
		signal := "    temporal workflow signal --workflow-id " + id + " --name " + SignalOperator + " --input "
		text.WriteString("\n\n**需要人工处理 · needs an operator**: " + c.reason + "\n\n" +
			"支付单号 payNo `" + p.PayNo.String() + "`, 支付宝交易号 trade_no `" + p.TradeNo + "`, " + p.Amount.String() + " CNY\n\n" +
			"处理后重试 · mend the cause, then retry:\n\n" +
			signal + `'{"action":"retry","payNo":"` + p.PayNo.String() + `"}'` + "\n\n" +
			"已在支付宝后台退款 · given back by hand, end it:\n\n" +
			signal + `'{"action":"close","payNo":"` + p.PayNo.String() + `"}'` + "\n")
	}
	return text.String()
}
