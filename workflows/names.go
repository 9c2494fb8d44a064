package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"

	"coursepay/models"
)

// The names that clients, operators and saved histories know. A name that has been in production does not change.
const (
	TaskQueue = "coursepay"

	PayOrder  = "PayOrderWorkflow"
	Refund    = "RefundWorkflow"
	Reconcile = "ReconcileWorkflow"

	// WatchActivity is the activity that looks for a payment by asking. Resetting it makes it look soon.
	WatchActivity = "WatchPayment"

	// UpdateRequestPayment takes a models.PayRequest and returns a models.PayCode.
	UpdateRequestPayment = "request-payment"
	// UpdateCheckPayment takes a pay number (models.ID), asks Alipay once, and returns a models.TradeStatus.
	UpdateCheckPayment = "check-payment"

	// UpdateRequestRefund takes the models.RefundRequest that starts the refund, and returns it (models.Refund) once it is in the books, or the books' refusal.
	UpdateRequestRefund = "request-refund"

	// SignalPaymentNotified carries a models.Payment.
	SignalPaymentNotified = "payment-notified"
	// SignalCancelOrder says that the learner does not want the order any more. It carries nothing.
	SignalCancelOrder = "cancel-order"
	// SignalLookAgain lets the story look where its order stands: somebody found it without one. It carries nothing.
	SignalLookAgain = "look-again"
	// SignalOperator carries an Operator.
	SignalOperator = "operator"

	// QueryState returns a State, of a refund a RefundState.
	QueryState = "state"
)

// PayOrderID is the id of the workflow that writes the order for this business: one order, one writer.
func PayOrderID(t models.OrderType, outBusinessID string) string {
	return "pay-order-" + string(t) + "-" + outBusinessID
}

// RefundID is the id of the workflow that gives money back under this out_request_no.
func RefundID(orderID models.ID, requestNo string) string {
	return "refund-" + orderID.String() + "-" + requestNo
}

// Search attributes, by which operators list orders.
var (
	AttrOrderID       = temporal.NewSearchAttributeKeyKeyword("OrderId")
	AttrPayNo         = temporal.NewSearchAttributeKeyKeyword("PayNo")
	AttrUserID        = temporal.NewSearchAttributeKeyKeyword("UserId")
	AttrOrderStatus   = temporal.NewSearchAttributeKeyKeyword("OrderStatus")
	AttrNeedsOperator = temporal.NewSearchAttributeKeyBool("NeedsOperator")

	SearchAttributes = []temporal.SearchAttributeKey{AttrOrderID, AttrPayNo, AttrUserID, AttrOrderStatus, AttrNeedsOperator}
)

// PayOrderInput starts a PayOrderWorkflow.
type PayOrderInput struct {
	OrderType     models.OrderType `json:"orderType"`
	OutBusinessID string           `json:"outBusinessId"`
	UserID        string           `json:"userId"`
}

// State is the answer to QueryState.
type State struct {
	OrderID     models.ID          `json:"orderId,omitempty"`
	PayNo       models.ID          `json:"payNo,omitempty"` // the newest attempt
	OrderStatus models.OrderStatus `json:"orderStatus,omitempty"`
	Status      string             `json:"status,omitempty"` // OrderStatus in words
	Doing       string             `json:"doing"`
	NeedsHelp   string             `json:"needsHelp,omitempty"` // why it waits for an operator
}

// RefundState is the answer to a refund's QueryState.
type RefundState struct {
	Refund    models.Refund `json:"refund"`
	Doing     string        `json:"doing"`
	NeedsHelp string        `json:"needsHelp,omitempty"` // why it waits for an operator
}

// Operator is what an operator decides about something that is parked.
type Operator struct {
	Action string    `json:"action"` // ActionRetry, ActionRefund or ActionClose
	Note   string    `json:"note,omitempty"`
	PayNo  models.ID `json:"payNo,omitempty"` // which parked payment; may be left out when there is only one
}

const (
	// ActionRetry tries the step that failed once more.
	ActionRetry = "retry"
	// ActionRefund gives the parked payment back to the buyer.
	ActionRefund = "refund"
	// ActionClose ends the waiting: the operator has dealt with the money by hand.
	ActionClose = models.DecisionClose
)

// firstWord is how long a fresh run waits for the message that it was started for. The message travels with the start,
// but an update is lost when no worker was there to take it.
const firstWord = time.Minute
