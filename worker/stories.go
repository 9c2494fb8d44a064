package worker

import (
	"context"

	"go.temporal.io/sdk/client"

	"coursepay/models"
	"coursepay/workflows"
)

// Stories reaches the workflows of orders and refunds for the reconciler, and starts those that do not run.
type Stories struct {
	Temporal  client.Client
	TaskQueue string
}

// TellPayment hands a payment to its order's workflow, as the callback door does.
func (s Stories) TellPayment(ctx context.Context, o models.Order, p models.Payment) error {
	return s.signalOrder(ctx, o, workflows.SignalPaymentNotified, p)
}

// LookAgain asks an order's workflow to look where the order stands.
func (s Stories) LookAgain(ctx context.Context, o models.Order) error {
	return s.signalOrder(ctx, o, workflows.SignalLookAgain, nil)
}

func (s Stories) signalOrder(ctx context.Context, o models.Order, signal string, arg any) error {
	start := workflows.StartPayOrder(s.TaskQueue, o.Key(), o.UserID)
	_, err := s.Temporal.SignalWithStartWorkflow(ctx, start.Options.ID, signal, arg, start.Options, start.Type, start.Input)
	return err
}

// ResumeRefund starts the workflow of a refund; one that runs is left alone.
func (s Stories) ResumeRefund(ctx context.Context, r models.RefundRequest) error {
	start := workflows.StartRefund(s.TaskQueue, r)
	_, err := s.Temporal.ExecuteWorkflow(ctx, start.Options, start.Type, start.Input)
	return err
}
