// Package workflows tells the stories of an order, deterministically: no clock, no network, no database. Everything
// that touches the world is an activity.
package workflows

import (
	"go.temporal.io/sdk/workflow"

	"coursepay/activities"
	"coursepay/models"
)

// PayOrderWorkflow is the one writer of an order, and its story: a learner asks for a code and gets one; the money
// comes, told by Alipay's callback or found by asking, and is settled; or the learner cancels, or nobody pays in time,
// and the order is closed. Money that buys nothing goes back; what the books refuse is parked for an operator.
//
// It is started by whoever speaks first: the API with a request for a code (Update-with-Start), or with a callback for
// an order whose story had ended (Signal-with-Start). Cancelling the workflow changes nothing: money may be on its way.
// It returns how the order stands at the end of the story.
func PayOrderWorkflow(ctx workflow.Context, in PayOrderInput) (State, error) {
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	o := newPayOrder(ctx, in)
	if err := o.answerRequests(ctx); err != nil {
		return o.state, err
	}
	if err := o.awaitFirstWord(ctx); err != nil {
		return o.state, err
	}
	for {
		o.takeNews(ctx)
		var err error
		switch {
		case len(o.arrived) > 0:
			err = o.settleNext(ctx)
		case len(o.decisions) > 0:
			err = o.obeyNext(ctx)
		case o.cancelled:
			err = o.cancel(ctx)
		case o.timeUp:
			err = o.closeUnpaid(ctx)
		case o.payable || len(o.parked) > 0:
			err = o.awaitNews(ctx)
		case !workflow.AllHandlersFinished(ctx):
			err = o.awaitHandlers(ctx)
		default:
			o.doing(ctx, over)
			return o.state, nil
		}
		if err != nil {
			return o.state, err
		}
	}
}

// payOrder is an order's story so far.
type payOrder struct {
	in    PayOrderInput
	state State

	pen       workflow.Mutex         // held by whoever writes to the order: a handler, or the story itself
	news      workflow.Selector      // everything that the story waits for
	found     workflow.Channel       // payments that we found by asking
	arrived   []models.Payment       // payments heard of and not yet settled
	heard     map[string]bool        // trade numbers that have arrived: Alipay tells more than once
	parked    []parked               // payments that wait for an operator, the oldest first
	decisions []Operator             // what operators said, not yet obeyed
	steps     *activities.Activities // names the activities; nil, since a workflow never calls them itself

	urgent    bool // a payment waits for the pen, and goes before requests
	begun     bool // somebody has spoken
	payable   bool // an attempt may still be paid
	watching  bool // the activity that asks Alipay is running
	cancelled bool // the learner does not want the order any more
	timeUp    bool // nobody can pay any more, as far as the story knows: the books tell
}

func newPayOrder(ctx workflow.Context, in PayOrderInput) *payOrder {
	o := &payOrder{
		in:    in,
		pen:   workflow.NewMutex(ctx),
		news:  workflow.NewSelector(ctx),
		found: workflow.NewBufferedChannel(ctx, 1000),
		heard: map[string]bool{},
	}
	// What somebody typed wrong is dropped: nothing here may wait for more.
	payment := func(from workflow.ReceiveChannel, _ bool) {
		var p models.Payment
		if from.ReceiveAsync(&p) {
			o.hear(p)
		}
	}
	o.news.AddReceive(workflow.GetSignalChannel(ctx, SignalPaymentNotified), payment)
	o.news.AddReceive(o.found, payment)
	o.news.AddReceive(workflow.GetSignalChannel(ctx, SignalOperator), func(from workflow.ReceiveChannel, _ bool) {
		var decision Operator
		if from.ReceiveAsync(&decision) {
			o.decisions = append(o.decisions, decision)
		}
	})
	o.news.AddReceive(workflow.GetSignalChannel(ctx, SignalCancelOrder), func(from workflow.ReceiveChannel, _ bool) {
		from.ReceiveAsync(nil)
		o.cancelled = true
	})
	o.news.AddReceive(workflow.GetSignalChannel(ctx, SignalLookAgain), func(from workflow.ReceiveChannel, _ bool) {
		from.ReceiveAsync(nil)
		o.timeUp = true
	})
	return o
}

// key names the order as the business does.
func (o *payOrder) key() models.OrderKey {
	return models.OrderKey{OrderType: o.in.OrderType, OutBusinessID: o.in.OutBusinessID}
}

func (o *payOrder) hear(p models.Payment) {
	if !o.heard[p.TradeNo] {
		o.heard[p.TradeNo] = true
		o.arrived = append(o.arrived, p)
	}
}

// takeNews takes in what has come so far, without waiting.
func (o *payOrder) takeNews(ctx workflow.Context) {
	for o.news.HasPending() {
		o.news.Select(ctx)
	}
}

// awaitNews waits for the first of: callback, payment found by asking, end of the time to pay, cancelling, decision of an
// operator.
func (o *payOrder) awaitNews(ctx workflow.Context) error {
	if o.payable {
		o.doing(ctx, waitingForBuyer)
		o.keepWatch(ctx)
	} else {
		o.doing(ctx, waitingForOperator)
	}
	return workflow.Await(ctx, o.news.HasPending) // not Select, which would not hear of a watch that begins meanwhile
}

// settleNext takes the next payment into the books and delivers what was bought, however long that takes. One that buys
// nothing goes back; one that the books refuse is parked for an operator.
func (o *payOrder) settleNext(ctx workflow.Context) error {
	o.urgent = true
	err := o.pen.Lock(ctx)
	o.urgent = false
	if err != nil {
		return err
	}
	defer o.pen.Unlock()
	payment := o.arrived[0]
	o.arrived = o.arrived[1:]
	o.doing(ctx, settling)
	var done models.Settlement
	err = workflow.ExecuteActivity(untilDone(ctx, "入账 settle "+payment.PayNo.String()), o.steps.Settle, payment).Get(ctx, &done)
	if err != nil {
		return o.park(ctx, payment, err)
	}
	o.state.OrderID = done.OrderID
	if done.ByHand {
		o.timeUp = true // whatever this payment was to the order, the books know how it stands
		return nil
	}
	if done.GiveBack != "" {
		return o.giveBack(ctx, payment, done.GiveBack)
	}
	return o.paid(ctx, payment, done)
}

// paid notes that the order is paid, and closes other attempts that are open somewhere. One that cannot be closed now
// is watched until its time is over.
func (o *payOrder) paid(ctx workflow.Context, p models.Payment, done models.Settlement) error {
	o.state.PayNo = p.PayNo
	o.payable = false
	for _, payNo := range done.Opened {
		closing, err := o.closeAtAlipay(ctx, payNo)
		settled := closing.Closed || closing.Payment != nil
		o.payable = o.payable || err != nil || !settled
	}
	return o.show(ctx, done.Status)
}

// cancel closes the order for a learner who does not want it any more, unless somebody turns out to have paid. A page
// that is still open somewhere is watched until its time is over.
func (o *payOrder) cancel(ctx workflow.Context) error {
	if err := o.pen.Lock(ctx); err != nil {
		return err
	}
	defer o.pen.Unlock()
	o.cancelled = false
	o.doing(ctx, cancelling)
	var done activities.Cancellation
	if err := workflow.ExecuteActivity(untilDone(ctx, "取消订单 · cancel the order"), o.steps.CancelOrder, o.key()).Get(ctx, &done); err != nil {
		return err
	}
	if done.Payment != nil {
		o.hear(*done.Payment)
		return nil
	}
	return o.stands(ctx, done.Standing)
}

// closeUnpaid closes the order when nobody paid in time, or finds that somebody still can.
func (o *payOrder) closeUnpaid(ctx workflow.Context) error {
	if err := o.pen.Lock(ctx); err != nil {
		return err
	}
	defer o.pen.Unlock()
	o.timeUp = false
	o.doing(ctx, closing)
	var now models.Standing
	if err := workflow.ExecuteLocalActivity(patiently(ctx), o.steps.CloseOrder, o.key()).Get(ctx, &now); err != nil {
		return err
	}
	return o.stands(ctx, now)
}

// stands takes over how the books say that the order stands.
func (o *payOrder) stands(ctx workflow.Context, now models.Standing) error {
	if now.OrderID == 0 {
		return nil // nobody has asked for a code yet
	}
	o.state.OrderID, o.payable = now.OrderID, now.Payable
	return o.show(ctx, now.Status)
}
