// Package workflows tells the stories of an order, deterministically: no clock, no network, no database. Everything
// that touches the world is an activity.
package workflows

import (
	"go.temporal.io/sdk/workflow"

	"coursepay/activities"
	"coursepay/models"
)

// PayOrderWorkflow is the one writer of an order, and its story: a learner asks for a code and gets one; the money
// comes, told by Alipay's callback or found by asking, and is settled; or nobody pays in time and the order is closed.
//
// It is started by whoever speaks first: the API with a request for a code (Update-with-Start), or with a callback for
// an order whose story had ended (Signal-with-Start). Cancelling the workflow changes nothing: money may be on its way.
func PayOrderWorkflow(ctx workflow.Context, in PayOrderInput) error {
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	o := newPayOrder(ctx, in)
	if err := o.answerRequests(ctx); err != nil {
		return err
	}
	if err := o.awaitFirstWord(ctx); err != nil {
		return err
	}
	for {
		if err := o.awaitHandlers(ctx); err != nil || !o.goesOn() {
			return err
		}
		payment := o.awaitPayment(ctx)
		var err error
		if payment != nil {
			err = o.settle(ctx, *payment)
		} else {
			err = o.closeUnpaid(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// payOrder is an order's story so far.
type payOrder struct {
	in    PayOrderInput
	state State

	pen     workflow.Mutex         // held by whoever writes to the order: a handler, or the story itself
	news    workflow.Selector      // everything that the story waits for
	found   workflow.Channel       // payments that we found by asking
	arrived []models.Payment       // payments heard of and not yet settled
	heard   map[string]bool        // trade numbers that have arrived: Alipay tells more than once
	steps   *activities.Activities // names the activities; nil, since a workflow never calls them itself

	begun    bool // somebody has spoken
	payable  bool // an attempt may still be paid
	watching bool // the activity that asks Alipay is running
	timeUp   bool // it says that nobody can pay any more
}

func newPayOrder(ctx workflow.Context, in PayOrderInput) *payOrder {
	o := &payOrder{
		in:    in,
		pen:   workflow.NewMutex(ctx),
		news:  workflow.NewSelector(ctx),
		found: workflow.NewBufferedChannel(ctx, 1000),
		heard: map[string]bool{},
	}
	receive := func(from workflow.ReceiveChannel, _ bool) {
		var p models.Payment
		from.Receive(ctx, &p)
		o.hear(p)
	}
	o.news.AddReceive(workflow.GetSignalChannel(ctx, SignalPaymentNotified), receive)
	o.news.AddReceive(o.found, receive)
	return o
}

func (o *payOrder) hear(p models.Payment) {
	if !o.heard[p.TradeNo] {
		o.heard[p.TradeNo] = true
		o.arrived = append(o.arrived, p)
	}
}

// goesOn says whether there is anything left to wait for or to settle.
func (o *payOrder) goesOn() bool {
	return o.payable || len(o.arrived) > 0 || o.news.HasPending()
}

// awaitFirstWord waits for the message that started this run. It is there already, unless it was an update that got
// lost; so the timer is cancelled before it costs an event.
func (o *payOrder) awaitFirstWord(ctx workflow.Context) error {
	ctx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	_, err := workflow.AwaitWithTimeout(ctx, firstWord, func() bool { return o.begun || o.news.HasPending() })
	return err
}

// awaitHandlers lets everybody who asked get an answer before the story goes on, or ends.
func (o *payOrder) awaitHandlers(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// awaitPayment waits for the first of: callback, payment found by asking, end of the time to pay. Then it returns nil.
func (o *payOrder) awaitPayment(ctx workflow.Context) *models.Payment {
	o.keepWatch(ctx)
	for len(o.arrived) == 0 && !o.timeUp {
		o.doing(ctx, waitingForBuyer)
		o.news.Select(ctx)
	}
	if len(o.arrived) == 0 {
		o.timeUp = false
		return nil
	}
	next := o.arrived[0]
	o.arrived = o.arrived[1:]
	return &next
}

// settle takes a payment into the books and delivers what was bought, however long that takes.
func (o *payOrder) settle(ctx workflow.Context, p models.Payment) error {
	if err := o.pen.Lock(ctx); err != nil {
		return err
	}
	defer o.pen.Unlock()
	for {
		o.doing(ctx, settling)
		var done models.Settlement
		err := workflow.ExecuteActivity(untilDone(ctx, "settle "+p.PayNo.String()), o.steps.Settle, p).Get(ctx, &done)
		if err == nil && !done.Duplicate {
			o.payable = false
			o.state.OrderID, o.state.PayNo = done.OrderID, p.PayNo
			return o.show(ctx, models.OrderPaid)
		}
		decision, err := o.park(ctx, p, err)
		if err != nil || decision.Action == ActionClose {
			return err
		}
	}
}

// closeUnpaid closes the order when nobody paid in time. An attempt whose page was opened is closed at Alipay first; if
// that finds it paid, the order is settled instead.
func (o *payOrder) closeUnpaid(ctx workflow.Context) error {
	if err := o.pen.Lock(ctx); err != nil {
		return err
	}
	defer o.pen.Unlock()
	for {
		o.doing(ctx, closing)
		var left activities.Unpaid
		if err := workflow.ExecuteLocalActivity(patiently(ctx), o.steps.CloseUnpaid, o.state.OrderID).Get(ctx, &left); err != nil {
			return err
		}
		if len(left.Opened) == 0 {
			o.payable = left.Payable
			return o.show(ctx, left.Status)
		}
		paid, err := o.closeAtAlipay(untilDone(ctx, "close at Alipay"), left.Opened)
		if err != nil || paid {
			return err
		}
	}
}
