package workflows

import (
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"coursepay/models"
)

// Start is how to start a workflow: its options, its type, its input. One that runs already is used as it is.
type Start struct {
	Options client.StartWorkflowOptions
	Type    string
	Input   any
}

// StartPayOrder is how whoever speaks first starts the story of the user's order.
func StartPayOrder(taskQueue string, key models.OrderKey, userID string) Start {
	return Start{
		Options: client.StartWorkflowOptions{
			ID:                       PayOrderID(key.OrderType, key.OutBusinessID),
			TaskQueue:                taskQueue,
			WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			StaticSummary:            "订单 · order for " + key.OutBusinessID,
			TypedSearchAttributes:    temporal.NewSearchAttributes(AttrUserID.ValueSet(userID)),
		},
		Type:  PayOrder,
		Input: PayOrderInput{OrderType: key.OrderType, OutBusinessID: key.OutBusinessID, UserID: userID},
	}
}

// StartRefund is how the story of a refund is started.
func StartRefund(taskQueue string, r models.RefundRequest) Start {
	return Start{
		Options: client.StartWorkflowOptions{
			ID:                       RefundID(r.OrderID, r.RequestNo),
			TaskQueue:                taskQueue,
			WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			StaticSummary:            refundSummary(r),
		},
		Type:  Refund,
		Input: r,
	}
}

func refundSummary(r models.RefundRequest) string { return "退款 · refund of " + r.PayNo.String() }
