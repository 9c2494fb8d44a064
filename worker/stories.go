package worker

import (
	"context"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

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
	id := workflows.PayOrderID(o.OrderType, o.OutBusinessID)
	_, err := s.Temporal.SignalWithStartWorkflow(ctx, id, signal, arg, client.StartWorkflowOptions{
		ID: id, TaskQueue: s.TaskQueue,
		StaticSummary:         "订单 · order for " + o.OutBusinessID,
		TypedSearchAttributes: temporal.NewSearchAttributes(workflows.AttrUserID.ValueSet(o.UserID)),
	}, workflows.PayOrder, workflows.PayOrderInput{OrderType: o.OrderType, OutBusinessID: o.OutBusinessID, UserID: o.UserID})
	return err
}

// ResumeRefund starts the workflow of a refund; one that runs is left alone.
func (s Stories) ResumeRefund(ctx context.Context, r models.RefundRequest) error {
	_, err := s.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.RefundID(r.OrderID, r.RequestNo), TaskQueue: s.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            "退款 · refund " + r.RequestNo,
	}, workflows.Refund, r)
	return err
}
