package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"coursepay/activities"
	"coursepay/models"
)

// answerRequests registers what may be asked of the order while its story runs.
func (o *payOrder) answerRequests(ctx workflow.Context) error {
	if err := workflow.SetQueryHandler(ctx, QueryState, func() (State, error) { return o.state, nil }); err != nil {
		return err
	}
	if err := workflow.SetUpdateHandler(ctx, UpdateRequestPayment, o.requestPayment); err != nil {
		return err
	}
	return workflow.SetUpdateHandler(ctx, UpdateCheckPayment, o.checkPayment)
}

// requestPayment makes a new attempt and returns its code. Older attempts that nobody opened are closed with it; older
// ones that were opened are closed at Alipay first, and if one of them turns out to be paid there is no new one.
func (o *payOrder) requestPayment(ctx workflow.Context, r models.PayRequest) (models.PayCode, error) {
	defer func() { o.begun = true }()
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	if err := o.takePenWhileSomebodyWaits(ctx); err != nil {
		return models.PayCode{}, err
	}
	defer o.pen.Unlock()
	r.OrderType, r.OutBusinessID = o.in.OrderType, o.in.OutBusinessID
	for {
		var code models.PayCode
		if err := workflow.ExecuteLocalActivity(whileSomebodyWaits(ctx), o.steps.CreateAttempt, r).Get(ctx, &code); err != nil {
			return models.PayCode{}, publicError(err)
		}
		if len(code.Opened) == 0 {
			return code, o.offer(ctx, code)
		}
		o.state.OrderID, o.payable = code.OrderID, true // also where an earlier run left these attempts behind
		o.keepWatch(ctx)
		for _, payNo := range code.Opened {
			closing, err := o.closeAtAlipay(ctx, payNo)
			if err != nil {
				return models.PayCode{}, publicError(err)
			}
			if closing.Payment != nil {
				return models.PayCode{}, temporal.NewNonRetryableApplicationError(
					models.CodeOrderPaid.Message(), string(models.CodeOrderPaid), nil)
			}
		}
	}
}

// takePenWhileSomebodyWaits takes the pen, unless others keep it for so long that nobody waits for the answer any more.
func (o *payOrder) takePenWhileSomebodyWaits(ctx workflow.Context) error {
	take := func() bool { return !o.urgent && o.pen.TryLock(ctx) }
	if take() {
		return nil
	}
	taken, err := workflow.AwaitWithTimeout(ctx, answerWithin, take)
	if err == nil && !taken {
		return unavailable()
	}
	return err
}

// offer notes the new attempt and starts to watch for its payment.
func (o *payOrder) offer(ctx workflow.Context, code models.PayCode) error {
	o.state.OrderID, o.state.PayNo = code.OrderID, code.PayNo
	o.payable, o.timeUp = true, false
	o.keepWatch(ctx)
	return o.show(ctx, models.OrderUnpaid)
}

// checkPayment asks Alipay about one attempt now. A payment that it finds goes the way of a callback.
func (o *payOrder) checkPayment(ctx workflow.Context, payNo models.ID) (models.TradeStatus, error) {
	defer func() { o.begun = true }()
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	var trade models.Trade
	if err := workflow.ExecuteLocalActivity(whileSomebodyWaits(ctx), o.steps.AskAlipay, payNo).Get(ctx, &trade); err != nil {
		return "", publicError(err)
	}
	if trade.Status.Paid() {
		o.found.Send(ctx, activities.PaymentOf(payNo, trade))
	}
	return trade.Status, nil
}

// closeAtAlipay closes an attempt whose pay page was handed out, or tries to for as long as somebody can be kept
// waiting. If it turns out to be paid, the story hears of it.
func (o *payOrder) closeAtAlipay(ctx workflow.Context, payNo models.ID) (activities.Closing, error) {
	var closing activities.Closing
	err := workflow.ExecuteActivity(closeWhileSomebodyWaits(ctx), o.steps.CloseAttempt, payNo).Get(ctx, &closing)
	if err == nil && closing.Payment != nil {
		o.found.Send(ctx, *closing.Payment)
	}
	return closing, err
}

// publicError keeps of an activity's failure what the caller may read: a refusal's code and message. Everything else is
// a service that is not there at the moment.
func publicError(err error) error {
	var refusal *temporal.ApplicationError
	if errors.As(err, &refusal) && refusal.NonRetryable() {
		return temporal.NewNonRetryableApplicationError(refusal.Message(), refusal.Type(), nil)
	}
	return unavailable()
}

func unavailable() error {
	return temporal.NewApplicationError(models.CodeUnavailable.Message(), string(models.CodeUnavailable))
}
