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
		case o.timeUp:
			err = o.closeUnpaid(ctx)
		case o.payable || len(o.parked) > 0:
			o.awaitNews(ctx)
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

	urgent   bool // a payment waits for the pen, and goes before requests
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
	o.news.AddReceive(workflow.GetSignalChannel(ctx, SignalOperator), func(from workflow.ReceiveChannel, _ bool) {
		var decision Operator
		from.Receive(ctx, &decision)
		o.decisions = append(o.decisions, decision)
	})
	return o
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

// awaitNews waits for the first of: callback, payment found by asking, end of the time to pay, decision of an operator.
func (o *payOrder) awaitNews(ctx workflow.Context) {
	if o.payable {
		o.doing(ctx, waitingForBuyer)
		o.keepWatch(ctx)
	} else {
		o.doing(ctx, waitingForOperator)
	}
	o.news.Select(ctx)
}

// settleNext takes the next payment into the books and delivers what was bought, however long that takes. One that does
// not fit, or came twice, is parked for an operator.
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
	if done.Duplicate {
		o.payable = o.payable || len(done.Opened) > 0
		return o.park(ctx, payment, errPaidTwice)
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
	return o.show(ctx, models.OrderPaid)
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
	if err := workflow.ExecuteLocalActivity(patiently(ctx), o.steps.CloseOrder, o.state.OrderID).Get(ctx, &now); err != nil {
		return err
	}
	o.payable = now.Payable
	return o.show(ctx, now.Status)
}
