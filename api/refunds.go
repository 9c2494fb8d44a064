package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"coursepay/models"
)

// Refund is money that goes back, or has gone back.
type Refund struct {
	ID           string              `json:"id"`
	OutRequestNo string              `json:"outRequestNo" doc:"Alipay's out_request_no"`
	OrderID      string              `json:"orderId"`
	PayNo        string              `json:"payNo"`
	Amount       Price               `json:"amount"`
	Reason       string              `json:"reason"`
	Origin       models.RefundOrigin `json:"origin" doc:"operator, paid_twice, not_for_sale, refused" enum:"operator,paid_twice,not_for_sale,refused"`
	RequestUser  string              `json:"requestUser,omitempty" doc:"The operator who asked for it"`
	Status       models.RefundStatus `json:"status" doc:"pending, refunded, or closed by an operator" enum:"pending,refunded,closed"`
	CreateDate   Date                `json:"createDate"`
	RefundDate   *Date               `json:"refundDate,omitempty"`
	Note         string              `json:"note,omitempty"`
}

func viewRefund(r models.Refund) Refund {
	return Refund{
		ID: r.ID.String(), OutRequestNo: r.RequestNo, OrderID: r.OrderID.String(), PayNo: r.PayNo.String(), Amount: Price(r.Amount),
		Reason: r.Reason, Origin: r.Origin, RequestUser: r.RequestUser, Status: r.Status, CreateDate: dateOf(r.CreateDate),
		RefundDate: maybeDate(r.RefundDate), Note: r.Note,
	}
}

func viewRefunds(refunds []models.Refund) []Refund {
	views := make([]Refund, len(refunds))
	for i, r := range refunds {
		views[i] = viewRefund(r)
	}
	return views
}

func (s *Server) refunds(api huma.API) {
	huma.Register(api, s.forOps(api, huma.Operation{
		OperationID: "refund", Method: http.MethodPost, Path: "/orders/{id}/refunds", Summary: "Give money of a paid order back",
		Description: "In part or in full, several times, up to what was paid. The answer comes once the refund is in the books; " +
			"its status is pending until Alipay has given the money back. A repeat under the same Idempotency-Key is the same refund, " +
			"whoever sends it; without a key, a repeat is what asks for the same amount for the same reason. " +
			"Once everything has gone back, the order is 600004 and what it had bought is taken back.",
		Errors: []int{404, 409, 429},
	}), s.refund)
	huma.Register(api, s.forOps(api, huma.Operation{
		OperationID: "refunds", Method: http.MethodGet, Path: "/orders/{id}/refunds", Summary: "An order's refunds, oldest first",
		Errors: []int{404},
	}), s.listRefunds)
}

type refundRequest struct {
	ID             string `path:"id" pattern:"^[1-9][0-9]{0,18}$" doc:"The order's id"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"200" doc:"Names this refund, so that it can be repeated safely"`
	Body           refundBody
}

type refundBody struct {
	Amount *AskedPrice `json:"amount,omitempty" doc:"Yuan; left out: all that is left"`
	Reason string      `json:"reason" minLength:"1" maxLength:"200" doc:"Told to the buyer"`
	PayNo  string      `json:"payNo,omitempty" pattern:"^([1-9][0-9]{0,18})?$" doc:"The payment to give back; left out: the one that paid the order"`
}

func (s *Server) refund(ctx context.Context, in *refundRequest) (*answer[Refund], error) {
	r, err := s.refundRequest(ctx, in)
	if err == nil {
		err = s.store.CheckRefund(ctx, r) // the workflow decides; this keeps hopeless requests from starting one
	}
	if err != nil {
		return nil, s.fail(ctx, "check refund", err)
	}
	refund, err := s.requestRefund(ctx, r)
	if err != nil {
		return nil, s.fail(ctx, "request refund", err)
	}
	s.log.InfoContext(ctx, "refund requested", "orderId", r.OrderID, "payNo", r.PayNo, "outRequestNo", r.RequestNo, "amount", r.Amount)
	return &answer[Refund]{viewRefund(refund)}, nil
}

// refundRequest reads what is asked. A repeat asks for what the first request asked, if it names no amount.
func (s *Server) refundRequest(ctx context.Context, in *refundRequest) (models.RefundRequest, error) {
	order, err := s.anyOrder(ctx, in.ID)
	if err != nil {
		return models.RefundRequest{}, err
	}
	if !storable(in.Body.Reason) {
		return models.RefundRequest{}, models.Refuse(models.CodeInvalid, "reason holds a NUL")
	}
	r := models.RefundRequest{
		OrderID: order.ID, RequestNo: refundNo(order.ID, in.IdempotencyKey, in.Body), Reason: in.Body.Reason,
		Origin: models.RefundByOperator, By: caller(ctx).ID,
	}
	if r.PayNo, err = in.Body.payNo(order); err != nil {
		return r, err
	}
	known, err := s.store.RefundByNo(ctx, r.RequestNo)
	if err == nil {
		r.Amount = known.Amount
	} else if _, unknown := models.RefusalCode(err); unknown {
		r.Amount, err = s.store.Refundable(ctx, r.PayNo)
	}
	if in.Body.Amount != nil {
		r.Amount = models.Money(*in.Body.Amount)
	}
	return r, err
}

// payNo is the attempt whose payment is to go back.
func (b refundBody) payNo(order models.Order) (models.ID, error) {
	if b.PayNo == "" {
		if order.PaidBy == nil {
			return 0, models.Refuse(models.CodeOrderNotPaid, "order %s", order.ID)
		}
		return *order.PaidBy, nil
	}
	payNo, err := models.ParseID(b.PayNo)
	if err != nil {
		return 0, models.Refuse(models.CodeInvalid, "pay number %q", b.PayNo)
	}
	return payNo, nil
}

// refundNo is the out_request_no of an operator's refund: the same for the same key, or, without one, for the same
// refund. So whoever repeats a request that was not answered does not pay twice.
func refundNo(orderID models.ID, key string, b refundBody) string {
	named := "key\x00" + key
	if key == "" {
		amount := "all"
		if b.Amount != nil {
			amount = models.Money(*b.Amount).String()
		}
		named = "refund\x00" + b.PayNo + "\x00" + amount + "\x00" + b.Reason
	}
	sum := sha256.Sum256([]byte(orderID.String() + "\x00" + named))
	return hex.EncodeToString(sum[:16])
}

// anyOrder finds an order, whoever's it is: for operators.
func (s *Server) anyOrder(ctx context.Context, orderID string) (models.Order, error) {
	id, err := models.ParseID(orderID)
	if err != nil {
		return models.Order{}, models.Refuse(models.CodeInvalid, "order id %q", orderID)
	}
	return s.store.Order(ctx, id)
}

func (s *Server) listRefunds(ctx context.Context, in *orderParam) (*answer[[]Refund], error) {
	order, err := s.anyOrder(ctx, in.ID)
	if err != nil {
		return nil, s.fail(ctx, "find order", err)
	}
	refunds, err := s.store.Refunds(ctx, order.ID)
	if err != nil {
		return nil, s.fail(ctx, "list refunds", err)
	}
	return &answer[[]Refund]{viewRefunds(refunds)}, nil
}
