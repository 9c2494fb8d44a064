package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"go.temporal.io/api/serviceerror"

	"coursepay/models"
	"coursepay/workflows"
)

func (s *Server) operatorActions(api huma.API) {
	huma.Register(api, s.forOps(api, huma.Operation{
		OperationID: "searchorders", Method: http.MethodGet, Path: "/ops/orders", Summary: "Find orders, newest first",
		Description: "By order id, pay number, Alipay's trade number, user, refund request number or outBusinessId, each in full.",
	}), s.searchOrders)
	huma.Register(api, s.forOps(api, huma.Operation{
		OperationID: "decide", Method: http.MethodPost, Path: "/ops/decisions", Summary: "Decide about something that waits for an operator",
		Description: "The answer comes once the workflow has noted the decision; what follows from it, such as a refund, may take longer. " +
			"What has been decided already is refused (409), what never waited is unknown (404).",
		Errors: []int{404, 409, 429},
	}), s.decide)
}

type searchParams struct {
	Query string `query:"q" required:"true" minLength:"1" maxLength:"64" doc:"A number or a user, in full"`
	Page  int    `query:"page" minimum:"1" maximum:"1000000" default:"1"`
	Size  int    `query:"size" minimum:"1" maximum:"100" default:"20"`
}

func (s *Server) searchOrders(ctx context.Context, in *searchParams) (*answer[OrderPage], error) {
	text := strings.TrimSpace(in.Query)
	if text == "" || !storable(text) {
		return nil, errorOf(models.CodeInvalid)
	}
	orders, total, err := s.store.SearchOrders(ctx, models.OrderSearch{Text: text, Page: in.Page, Size: in.Size})
	if err != nil {
		return nil, s.fail(ctx, "search orders", err)
	}
	return &answer[OrderPage]{viewOrderPage(orders, total, in.Page, in.Size)}, nil
}

// storable says whether Postgres takes the text.
func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

type decisionRequest struct {
	Body struct {
		WorkflowID string `json:"workflowId" minLength:"1" maxLength:"255" doc:"As GET /ops/attention tells it"`
		PayNo      string `json:"payNo" pattern:"^[1-9][0-9]{0,18}$"`
		Action     string `json:"action" enum:"retry,refund,close" doc:"One of the case's actions"`
		Note       string `json:"note" minLength:"1" maxLength:"180" doc:"Why; kept in the audit trail with the operator's id"`
	}
}

func (s *Server) decide(ctx context.Context, in *decisionRequest) (*answer[Attention], error) {
	parked, err := s.undecided(ctx, in)
	if err != nil {
		return nil, s.fail(ctx, "find what is to be decided", err)
	}
	decision := workflows.Operator{
		Action: in.Body.Action, PayNo: parked.PayNo, Note: caller(ctx).ID + ": " + strings.TrimSpace(in.Body.Note),
	}
	if err := s.tellDecision(ctx, parked, decision); err != nil {
		return nil, s.fail(ctx, "decide", err)
	}
	s.log.InfoContext(ctx, "operator decided", "workflowId", parked.WorkflowID, "payNo", parked.PayNo, "action", decision.Action)
	decided, err := s.untilDecided(ctx, parked)
	if err != nil {
		return nil, s.fail(ctx, "wait for the decision", err)
	}
	if decided.Decision == nil || *decided.Decision != decision.Action || decided.Note != decision.Note {
		return nil, s.fail(ctx, "decide", models.Refuse(models.CodeDecided, "another operator was first"))
	}
	return &answer[Attention]{s.viewAttention(decided)}, nil
}

// undecided finds the case, if it still waits for such a decision.
func (s *Server) undecided(ctx context.Context, in *decisionRequest) (models.Attention, error) {
	payNo, err := models.ParseID(in.Body.PayNo)
	if err != nil || strings.TrimSpace(in.Body.Note) == "" || !storable(in.Body.Note) || !storable(in.Body.WorkflowID) {
		return models.Attention{}, models.Refuse(models.CodeInvalid, "pay number, note or workflow id")
	}
	parked, err := s.store.LastAttention(ctx, in.Body.WorkflowID, payNo)
	switch {
	case err != nil:
		return parked, err
	case parked.DecideDate != nil:
		return parked, models.Refuse(models.CodeDecided, "decided at %s", parked.DecideDate)
	case !slices.Contains(s.viewAttention(parked).Actions, in.Body.Action):
		return parked, models.Refuse(models.CodeInvalid, "action %q is none of this case's", in.Body.Action)
	}
	return parked, nil
}

// tellDecision signals the workflow. An order's story that was ended by hand begins again: it finds in the books what an
// earlier run had parked. A refund's does not; the sweep starts it again, and it parks itself anew.
func (s *Server) tellDecision(ctx context.Context, parked models.Attention, decision workflows.Operator) error {
	if parked.OrderID != nil && parked.RequestNo == nil {
		order, err := s.store.Order(ctx, *parked.OrderID)
		if err != nil {
			return err
		}
		return s.signal(ctx, order, workflows.SignalOperator, decision)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := s.temporal.SignalWorkflow(ctx, parked.WorkflowID, "", workflows.SignalOperator, decision)
	if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
		return models.Refuse(models.CodeNotFound, "workflow %s is not running", parked.WorkflowID)
	}
	return engineError(err)
}

// untilDecided waits until the workflow has noted the decision. Temporal has it for good, so it will be noted even when
// nobody waits any more.
func (s *Server) untilDecided(ctx context.Context, parked models.Attention) (models.Attention, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := s.store.Attention(ctx, parked.ID)
		if err != nil || now.DecideDate != nil {
			return now, err
		}
		select {
		case <-ctx.Done():
			return now, models.Refuse(models.CodeUnavailable, "case %d is still being decided", parked.ID)
		case <-tick.C:
		}
	}
}
