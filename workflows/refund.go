package workflows

import (
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"coursepay/activities"
	"coursepay/models"
)

// RefundWorkflow is the story of money that goes back to its buyer, once: it is noted in the books, Alipay is asked under
// one number until it says that the money is back, and then the order, the goods and the message bus learn of it. What
// Alipay refuses for good is parked for an operator.
//
// An operator starts it through the API, and PayOrderWorkflow does for money that bought nothing. It returns how the
// refund stands at the end; one that the books refused is empty.
func RefundWorkflow(ctx workflow.Context, in models.RefundRequest) (models.Refund, error) {
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	r := &refund{in: in}
	if err := r.answerRequests(ctx); err != nil {
		return r.state.Refund, err
	}
	if err := r.open(ctx); err != nil {
		return r.state.Refund, err
	}
	for r.state.Refund.Status == models.RefundPending {
		err := r.giveBack(ctx)
		if err != nil {
			err = r.awaitDecision(ctx, err)
		}
		if err != nil {
			return r.state.Refund, err
		}
	}
	r.doing(ctx, over)
	return r.state.Refund, workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// refund is a refund's story so far.
type refund struct {
	in      models.RefundRequest
	state   RefundState
	opened  bool  // the books have answered
	refusal error // their answer, where it was no
	steps   *activities.Activities
}

func (r *refund) answerRequests(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, QueryState, func() (RefundState, error) { return r.state, nil }); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, UpdateRequestRefund, r.requested)
}

// requested answers whoever asked for the refund, once the books have answered. Asked for something else under the same
// number, it is refused.
func (r *refund) requested(ctx workflow.Context, asked models.RefundRequest) (models.Refund, error) {
	if err := workflow.Await(ctx, func() bool { return r.opened }); err != nil {
		return models.Refund{}, err
	}
	if asked.PayNo != r.in.PayNo || asked.Amount != r.in.Amount {
		return models.Refund{}, temporal.NewNonRetryableApplicationError(
			models.CodeRefundDiffers.Message(), string(models.CodeRefundDiffers), nil)
	}
	return r.state.Refund, r.refusal
}

// open notes in the books that the money is to go back. A refusal ends the story before it began.
func (r *refund) open(ctx workflow.Context) error {
	r.doing(ctx, "登记退款 · noting the refund")
	err := workflow.ExecuteLocalActivity(patiently(ctx), r.steps.OpenRefund, r.in).Get(ctx, &r.state.Refund)
	r.opened = true
	if err != nil {
		r.refusal = publicError(err)
		workflow.GetLogger(ctx).Warn("refund refused by the books", "orderId", r.in.OrderID, "payNo", r.in.PayNo, "reason", reasonOf(err))
		return nil
	}
	return workflow.UpsertTypedSearchAttributes(ctx,
		AttrOrderID.ValueSet(r.in.OrderID.String()), AttrPayNo.ValueSet(r.in.PayNo.String()))
}

// giveBack lets Alipay give the money back, however long that takes, and then takes that into the books, which always
// works in the end. The error is Alipay's final refusal.
func (r *refund) giveBack(ctx workflow.Context) error {
	r.doing(ctx, "退款中 · Alipay is asked to give the money back")
	var back models.TradeRefund
	err := workflow.ExecuteActivity(refundUntilDone(ctx, r.in), r.steps.SendRefund, r.state.Refund).Get(ctx, &back)
	if err != nil {
		return err
	}
	r.doing(ctx, "退款入账 · taking the refund into the books")
	return workflow.ExecuteActivity(untilDone(ctx, "退款入账 · book the refund"), r.steps.BookRefund, r.in.RequestNo, back).
		Get(ctx, &r.state.Refund)
}

// awaitDecision parks the refund until an operator lets it be tried again, or ends it.
func (r *refund) awaitDecision(ctx workflow.Context, why error) error {
	err := workflow.ExecuteLocalActivity(patiently(ctx), r.steps.Park, models.Attention{
		WorkflowID: ownID(ctx), PayNo: r.in.PayNo, RequestNo: &r.in.RequestNo, Amount: r.in.Amount, Reason: reasonOf(why),
	}).Get(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.showAttention(ctx, reasonOf(why)); err != nil {
		return err
	}
	decision := r.nextDecision(ctx)
	if err := noteDecision(ctx, r.in.PayNo, decision); err != nil {
		return err
	}
	if decision.Action == ActionClose {
		err = workflow.ExecuteActivity(untilDone(ctx, "结束退款 · close the refund"), r.steps.CloseRefund, r.state.Refund, decision.Note).Get(ctx, &r.state.Refund)
		if err != nil {
			return err
		}
	}
	return r.showAttention(ctx, "")
}

// nextDecision waits for an operator. Decisions of before the refund was parked were about something else.
func (r *refund) nextDecision(ctx workflow.Context) Operator {
	decisions := workflow.GetSignalChannel(ctx, SignalOperator)
	for decisions.Len() > 0 {
		decisions.ReceiveAsync(nil)
	}
	for {
		var decision Operator
		decisions.Receive(ctx, &decision)
		switch decision.Action {
		case ActionRetry, ActionRefund, ActionClose:
			return decision
		}
		workflow.GetLogger(ctx).Warn("operator's decision decides nothing", "action", decision.Action, "payNo", decision.PayNo)
	}
}

// showAttention tells operators why the refund waits for them; empty when it does not.
func (r *refund) showAttention(ctx workflow.Context, reason string) error {
	r.state.NeedsHelp = reason
	if reason != "" {
		r.doing(ctx, waitingForOperator)
	}
	return workflow.UpsertTypedSearchAttributes(ctx, AttrNeedsOperator.ValueSet(reason != ""))
}

func (r *refund) doing(ctx workflow.Context, what string) {
	r.state.Doing = what
	text := what
	if r.state.NeedsHelp != "" {
		text += needsOperator(r.state.NeedsHelp, r.in.PayNo, r.in.Amount) + "out_request_no `" + r.in.RequestNo + "`\n\n" +
			"处理后重试（同一请求号，不会重复退款）· mend the cause, then retry; the same number never pays twice:\n\n" + toType(ctx, ActionRetry, r.in.PayNo) +
			"放弃这次退款，金额可另行再退 · give this refund up; the amount may then be refunded anew:\n\n" + toType(ctx, ActionClose, r.in.PayNo)
	}
	workflow.SetCurrentDetails(ctx, text)
}

// refundReasons are told to the buyer, by Alipay.
var refundReasons = map[models.RefundOrigin]string{
	models.RefundPaidTwice:  "重复支付，自动退款",
	models.RefundNotForSale: "商品已不可购买，自动退款",
	models.RefundRefused:    "支付无法入账，退款",
}

// startRefund starts the refund's own story, which outlives the order's. One that runs already is the same refund.
func startRefund(ctx workflow.Context, request models.RefundRequest) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx) // whose end would ask the refund to stop
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:        RefundID(request.OrderID, request.RequestNo),
		ParentClosePolicy: enums.PARENT_CLOSE_POLICY_ABANDON,
		StaticSummary:     refundSummary(request),
	})
	err := workflow.ExecuteChildWorkflow(ctx, RefundWorkflow, request).GetChildWorkflowExecution().Get(ctx, nil)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return nil
	}
	return err
}
