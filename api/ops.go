package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"coursepay/models"
	"coursepay/workflows"
)

// Attention is something that waits for an operator.
type Attention struct {
	WorkflowID   string  `json:"workflowId"`
	WorkflowLink string  `json:"workflowLink,omitempty" doc:"In Temporal's Web UI"`
	OrderID      string  `json:"orderId,omitempty" doc:"Missing where the payment names no order of ours"`
	PayNo        string  `json:"payNo"`
	OutRequestNo *string `json:"outRequestNo,omitempty" doc:"The refund that is parked; missing for a payment"`
	TradeNo      string  `json:"tradeNo,omitempty"`
	Amount       Price   `json:"amount"`
	Reason       string  `json:"reason"`
	Since        Date    `json:"since"`
	// Actions are what an operator may decide, by the operator signal.
	Actions    []string `json:"actions"`
	DecideDate *Date    `json:"decideDate,omitempty"`
	Decision   *string  `json:"decision,omitempty"`
	Note       string   `json:"note,omitempty"`
}

func (s *Server) viewAttention(a models.Attention) Attention {
	view := Attention{
		WorkflowID: a.WorkflowID, WorkflowLink: s.workflowLink(a.WorkflowID), PayNo: a.PayNo.String(), OutRequestNo: a.RequestNo,
		TradeNo: a.TradeNo, Amount: Price(a.Amount), Reason: a.Reason, Since: dateOf(a.CreateDate),
		Actions:    []string{workflows.ActionRetry, workflows.ActionRefund, workflows.ActionClose},
		DecideDate: maybeDate(a.DecideDate), Decision: a.Decision, Note: a.Note,
	}
	if a.OrderID != nil {
		view.OrderID = a.OrderID.String()
	}
	if a.RequestNo != nil {
		view.Actions = []string{workflows.ActionRetry, workflows.ActionClose}
	}
	return view
}

func (s *Server) viewAttentions(waits []models.Attention) []Attention {
	views := make([]Attention, len(waits))
	for i, a := range waits {
		views[i] = s.viewAttention(a)
	}
	return views
}

// workflowLink leads to the workflow's runs in Temporal's Web UI.
func (s *Server) workflowLink(id string) string {
	if s.webUI == "" {
		return ""
	}
	return s.webUI + "/namespaces/" + url.PathEscape(s.namespace) + "/workflows?query=" + url.QueryEscape(`WorkflowId="`+id+`"`)
}

// AuditEntry is one thing that happened to an order.
type AuditEntry struct {
	At         Date    `json:"at"`
	Event      string  `json:"event"`
	PayNo      string  `json:"payNo,omitempty"`
	FromStatus *string `json:"fromStatus,omitempty"`
	ToStatus   *string `json:"toStatus,omitempty"`
	Note       string  `json:"note,omitempty"`
}

// Callback is a notify that knocked, with what was made of it.
type Callback struct {
	At       Date           `json:"at"`
	PayNo    string         `json:"payNo"`
	NotifyID *string        `json:"notifyId,omitempty"`
	Verdict  models.Verdict `json:"verdict" enum:"accepted,duplicate,ignored,refused,failed"`
	Reason   string         `json:"reason,omitempty"`
	From     string         `json:"from" doc:"The caller's address"`
}

// BusMessage is a message about the order on its way to the message bus, or delivered.
type BusMessage struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Delivered bool   `json:"delivered"`
	At        Date   `json:"at"`
	Tries     int    `json:"tries"`
	Failure   string `json:"failure,omitempty" doc:"Of the last try that failed"`
}

// Attempt is a pay record with its own life beside its status.
type Attempt struct {
	PayRecord

	OpenDate      *Date `json:"openDate,omitempty" doc:"When the pay page was first handed out"`
	SupersedeDate *Date `json:"supersedeDate,omitempty" doc:"Since when it is not handed out any more"`
	CloseDate     *Date `json:"closeDate,omitempty" doc:"Since when nobody can pay it"`
}

// OrderStory is everything that is known of one order.
type OrderStory struct {
	Order        Order        `json:"order"`
	WorkflowID   string       `json:"workflowId"`
	WorkflowLink string       `json:"workflowLink,omitempty" doc:"In Temporal's Web UI"`
	Attempts     []Attempt    `json:"attempts"`
	Refunds      []Refund     `json:"refunds"`
	Callbacks    []Callback   `json:"callbacks"`
	Messages     []BusMessage `json:"messages"`
	Attention    []Attention  `json:"attention"`
	Audit        []AuditEntry `json:"audit"`
}

func (s *Server) operators(api huma.API) {
	huma.Register(api, s.forOps(api, huma.Operation{
		OperationID: "attention", Method: http.MethodGet, Path: "/ops/attention", Summary: "What waits for an operator, oldest first",
	}), s.attention)
	huma.Register(api, s.forOps(api, huma.Operation{
		OperationID: "orderstory", Method: http.MethodGet, Path: "/ops/orders/{id}", Summary: "Everything that is known of an order",
		Errors: []int{404},
	}), s.orderStory)
}

// mostAttention is how much of what waits is listed at once.
const mostAttention = 500

func (s *Server) attention(ctx context.Context, _ *struct{}) (*answer[[]Attention], error) {
	waits, err := s.store.OpenAttention(ctx, mostAttention)
	if err != nil {
		return nil, s.fail(ctx, "list what waits for an operator", err)
	}
	return &answer[[]Attention]{s.viewAttentions(waits)}, nil
}

func (s *Server) orderStory(ctx context.Context, in *orderParam) (*answer[OrderStory], error) {
	order, err := s.anyOrder(ctx, in.ID)
	if err != nil {
		return nil, s.fail(ctx, "find order", err)
	}
	story, err := s.store.OrderStory(ctx, order.ID)
	if err != nil {
		return nil, s.fail(ctx, "tell an order's story", err)
	}
	return &answer[OrderStory]{s.viewStory(story)}, nil
}

func (s *Server) viewStory(story models.OrderStory) OrderStory {
	id := workflows.PayOrderID(story.Order.OrderType, story.Order.OutBusinessID)
	view := OrderStory{
		Order: viewOrder(story.Order), WorkflowID: id, WorkflowLink: s.workflowLink(id),
		Attempts: make([]Attempt, len(story.Attempts)), Refunds: viewRefunds(story.Refunds),
		Callbacks: make([]Callback, len(story.Callbacks)), Messages: make([]BusMessage, len(story.Messages)),
		Attention: s.viewAttentions(story.Attention), Audit: make([]AuditEntry, len(story.Audit)),
	}
	for i, a := range story.Attempts {
		view.Attempts[i] = Attempt{viewPayRecord(a), maybeDate(a.OpenDate), maybeDate(a.SupersedeDate), maybeDate(a.CloseDate)}
	}
	for i, n := range story.Callbacks {
		view.Callbacks[i] = Callback{dateOf(n.ReceiveDate), idText(n.PayNo), n.NotifyID, n.Verdict, n.Reason, n.RemoteAddr}
	}
	for i, m := range story.Messages {
		view.Messages[i] = BusMessage{m.ID.String(), m.MessageType, m.Delivered, dateOf(m.At), m.Tries, m.Failure}
	}
	for i, a := range story.Audit {
		view.Audit[i] = AuditEntry{dateOf(a.CreateDate), a.Event, idText(a.PayNo), a.FromStatus, a.ToStatus, a.Note}
	}
	return view
}

func idText(id *models.ID) string {
	if id == nil {
		return ""
	}
	return id.String()
}
