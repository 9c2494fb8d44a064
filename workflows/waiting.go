package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"coursepay/models"
)

// What the story is doing, as operators read it in the Web UI.
const (
	waitingForBuyer    = "等待买家付款 · waiting for the buyer to pay"
	settling           = "入账并开通课程 · settling: books, message bus, course table"
	waitingForOperator = "等待人工处理 · waiting for an operator"
	cancelling         = "取消订单 · cancelling the order"
	closing            = "关闭未付款订单 · closing the unpaid order"
	over               = "已结束 · the story is over"
)

func (o *payOrder) doing(ctx workflow.Context, what string) {
	o.state.Doing = what
	workflow.SetCurrentDetails(ctx, what+o.cases(ctx))
}

// show publishes the order's state to the query and to the search attributes.
func (o *payOrder) show(ctx workflow.Context, status models.OrderStatus) error {
	o.state.OrderStatus, o.state.Status = status, models.Label(status)
	known := []temporal.SearchAttributeUpdate{
		AttrOrderID.ValueSet(o.state.OrderID.String()), AttrOrderStatus.ValueSet(string(status)),
	}
	if o.state.PayNo != 0 {
		known = append(known, AttrPayNo.ValueSet(o.state.PayNo.String()))
	}
	return workflow.UpsertTypedSearchAttributes(ctx, known...)
}

// awaitFirstWord waits for the message that started this run. It is there already, unless it was an update that got
// lost on the way.
func (o *payOrder) awaitFirstWord(ctx workflow.Context) error {
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	_, err := workflow.AwaitWithTimeout(ctx, firstWord, func() bool { return o.begun || o.news.HasPending() })
	return err
}

// awaitHandlers lets everybody who asked get an answer before the story ends, unless there is more of it.
func (o *payOrder) awaitHandlers(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool {
		return workflow.AllHandlersFinished(ctx) || o.payable || o.news.HasPending()
	})
}

// keepWatch runs the activity that looks for a payment by asking, and notices when nobody can pay any more. It costs no
// events while it looks: looking again is a retry of the same activity.
func (o *payOrder) keepWatch(ctx workflow.Context) {
	if o.watching || !o.payable || o.state.OrderID == 0 {
		return
	}
	o.watching = true
	ctx, _ = workflow.NewDisconnectedContext(ctx) // it outlives the request that started it
	watch := workflow.ExecuteActivity(lookingUntilDone(ctx), o.steps.WatchPayment, o.state.OrderID)
	o.news.AddFuture(watch, func(f workflow.Future) {
		o.watching = false
		var payment *models.Payment
		switch err := f.Get(ctx, &payment); {
		case err != nil:
			// It is retried without end, so somebody ended it by hand; closeUnpaid finds out where the order stands.
			workflow.GetLogger(ctx).Error("watching for the payment ended early", "orderId", o.state.OrderID, "error", err)
			o.timeUp = true
		case payment != nil:
			o.hear(*payment)
		default:
			o.timeUp = true
		}
	})
}

// untilDone is for steps that must happen, however long it takes: retried without end, visible and pausable.
func untilDone(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second,
		Summary:             summary,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
	})
}

// lookingUntilDone is untilDone for the watch. When it is reset in the middle of a look, Temporal waits for that look's
// time to end before it begins another one.
func lookingUntilDone(ctx workflow.Context) workflow.Context {
	return workflow.WithStartToCloseTimeout(untilDone(ctx, "等待付款 · watch for the payment"), 12*time.Second)
}

// answerWithin bounds what a learner waits for: whoever asked gets an answer, if only "try again".
const answerWithin = 8 * time.Second

func closeWhileSomebodyWaits(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout:    answerWithin,
		ScheduleToCloseTimeout: answerWithin,
		Summary:                "关闭旧二维码 · close the older attempt at Alipay",
	})
}

func whileSomebodyWaits(ctx workflow.Context) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout:    answerWithin,
		ScheduleToCloseTimeout: answerWithin,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 2, MaximumInterval: time.Second},
	})
}

func patiently(ctx workflow.Context) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: 30 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
	})
}

// refundUntilDone is untilDone for asking Alipay to give money back: the same again at the earliest after 10 s, which is
// when Alipay knows what became of the first try.
func refundUntilDone(ctx workflow.Context, in models.RefundRequest) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second,
		Summary:             "退款 refund " + in.PayNo.String() + " " + in.Amount.String(),
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 10 * time.Second, BackoffCoefficient: 2, MaximumInterval: 5 * time.Minute},
	})
}
