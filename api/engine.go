package api

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"coursepay/models"
	"coursepay/workflows"
)

// answerWithin is how long a caller waits for the order's workflow.
const answerWithin = 10 * time.Second

// requestPayment asks the order's workflow for a code, and starts it if it is not there.
func (s *Server) requestPayment(ctx context.Context, r models.PayRequest) (code models.PayCode, err error) {
	key := models.OrderKey{OrderType: r.OrderType, OutBusinessID: r.OutBusinessID}
	err = s.updateWithStart(ctx, workflows.StartPayOrder(s.taskQueue, key, r.UserID), workflows.UpdateRequestPayment, r, &code)
	return code, err
}

// updateWithStart sends an update to a workflow, starts it if it is not there, and waits for the answer.
func (s *Server) updateWithStart(ctx context.Context, start workflows.Start, update string, arg, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	handle, err := s.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: s.temporal.NewWithStartWorkflowOperation(start.Options, start.Type, start.Input),
		UpdateOptions: client.UpdateWorkflowOptions{
			// An id of its own: Temporal keeps an update's failure under its id, and a repeat shall be tried anew. The
			// repeat of a request that succeeded is known by its own number, in the books.
			UpdateID: uuid.NewString(), UpdateName: update, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err == nil {
		err = handle.Get(ctx, into)
	}
	return engineError(err)
}

// checkPayment lets the order's workflow ask Alipay about an attempt now.
func (s *Server) checkPayment(ctx context.Context, order models.Order, payNo models.ID) (models.TradeStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	update, err := s.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: workflows.PayOrderID(order.OrderType, order.OutBusinessID),
		UpdateName: workflows.UpdateCheckPayment, Args: []any{payNo},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var status models.TradeStatus
	if err == nil {
		err = update.Get(ctx, &status)
	}
	return status, engineError(err)
}

// lookSoon lets the order's workflow look for a payment soon, because a pay page was opened. It resets the watching
// activity, which leaves nothing in the workflow's history. It is a help and no more: without it the watch looks later.
func (s *Server) lookSoon(ctx context.Context, order models.Order) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := s.temporal.WorkflowService().ResetActivity(ctx, &workflowservice.ResetActivityRequest{
		Namespace:  s.namespace,
		Execution:  &common.WorkflowExecution{WorkflowId: workflows.PayOrderID(order.OrderType, order.OutBusinessID)},
		Activity:   &workflowservice.ResetActivityRequest_Type{Type: workflows.WatchActivity},
		KeepPaused: true,
	})
	var none *serviceerror.NotFound // the watch begins in a moment, or the story is over
	if err != nil && !errors.As(err, &none) {
		s.log.WarnContext(ctx, "watch not told of an opened page", "orderId", order.ID, "error", err)
	}
}

// cancelOrder tells the order's workflow that the learner does not want it any more. When it returns nil, Temporal has it
// for good.
func (s *Server) cancelOrder(ctx context.Context, order models.Order) error {
	return s.signal(ctx, order, workflows.SignalCancelOrder, nil)
}

// requestRefund starts the refund's workflow and returns the refund once it is in the books. A repeat finds the same.
func (s *Server) requestRefund(ctx context.Context, r models.RefundRequest) (refund models.Refund, err error) {
	err = s.updateWithStart(ctx, workflows.StartRefund(s.taskQueue, r), workflows.UpdateRequestRefund, r, &refund)
	return refund, err
}

// notifyPayment hands a payment to the order's workflow. When it returns nil, Temporal has it for good.
func (s *Server) notifyPayment(ctx context.Context, order models.Order, p models.Payment) error {
	return s.signal(ctx, order, workflows.SignalPaymentNotified, p)
}

// signal tells the order's workflow something, and starts it if its story had ended.
func (s *Server) signal(ctx context.Context, order models.Order, name string, arg any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	start := workflows.StartPayOrder(s.taskQueue, order.Key(), order.UserID)
	_, err := s.temporal.SignalWithStartWorkflow(ctx, start.Options.ID, name, arg, start.Options, start.Type, start.Input)
	return engineError(err)
}

// engineError keeps the refusals that a workflow gives; everything else means that the engine did not answer now. The
// same request may then be sent again: it is taken at most once.
func engineError(err error) error {
	var refusal *temporal.ApplicationError
	var busy *serviceerror.ResourceExhausted
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal) && refusal.NonRetryable():
		return models.Refuse(models.Code(refusal.Type()), "by the workflow: %s", refusal.Message())
	case errors.As(err, &busy):
		return models.Refuse(models.CodeTooMany, "%v", err)
	default:
		return models.Refuse(models.CodeUnavailable, "workflow engine: %v", err)
	}
}
