package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"coursepay/models"
)

// Order is what a learner has bought, or is about to.
type Order struct {
	ID            string             `json:"id"`
	TotalPrice    Price              `json:"totalPrice"`
	CreateDate    Date               `json:"createDate"`
	Status        models.OrderStatus `json:"status" doc:"600001 unpaid, 600002 paid, 600003 closed, 600004 refunded, 600005 finished"`
	UserID        string             `json:"userId"`
	OrderType     models.OrderType   `json:"orderType"`
	OrderName     string             `json:"orderName"`
	OrderDescrip  *string            `json:"orderDescrip,omitempty"`
	OrderDetail   *string            `json:"orderDetail,omitempty" doc:"The goods, as a JSON string"`
	OutBusinessID string             `json:"outBusinessId"`
	PayNo         string             `json:"payNo,omitempty" doc:"The attempt that paid it, or else the newest one"`
	ExpireDate    *Date              `json:"expireDate,omitempty" doc:"Until when that attempt can be paid, while the order is unpaid"`
	RefundedTotal Price              `json:"refundedTotal" doc:"What has gone back so far of the payment that paid it"`
}

func viewOrder(o models.OrderSummary) Order {
	view := Order{
		ID: o.ID.String(), TotalPrice: Price(o.TotalPrice), CreateDate: dateOf(o.CreateDate), Status: o.Status, UserID: o.UserID,
		OrderType: o.OrderType, OrderName: o.OrderName, OrderDescrip: o.OrderDescrip, OrderDetail: o.OrderDetail,
		OutBusinessID: o.OutBusinessID, RefundedTotal: Price(o.Refunded),
	}
	if o.PayNo != nil {
		view.PayNo = o.PayNo.String()
	}
	if o.Status == models.OrderUnpaid {
		view.ExpireDate = maybeDate(o.ExpireDate)
	}
	return view
}

// OrderPage is one page of a learner's orders.
type OrderPage struct {
	Items    []Order `json:"items"`
	Counts   string  `json:"counts"`
	Page     string  `json:"page"`
	PageSize string  `json:"pageSize"`
}

func viewOrderPage(orders []models.OrderSummary, total int64, page, size int) OrderPage {
	view := OrderPage{
		Items: make([]Order, len(orders)), Counts: strconv.FormatInt(total, 10), Page: strconv.Itoa(page), PageSize: strconv.Itoa(size),
	}
	for i, o := range orders {
		view.Items[i] = viewOrder(o)
	}
	return view
}

func (s *Server) ownOrders(api huma.API) {
	huma.Register(api, s.forUsers(api, huma.Operation{
		OperationID: "myorders", Method: http.MethodGet, Path: "/orders/my", Summary: "The learner's orders, newest first",
	}), s.myOrders)
	huma.Register(api, s.forUsers(api, huma.Operation{
		OperationID: "order", Method: http.MethodGet, Path: "/orders/{id}", Summary: "One of the learner's orders",
		Errors: []int{404},
	}), s.myOrder)
	huma.Register(api, s.forUsers(api, huma.Operation{
		OperationID: "cancelorder", Method: http.MethodPost, Path: "/orders/{id}/cancel", Summary: "Cancel an unpaid order",
		Description: "Its code leads to the cashier no more. If somebody turns out to have paid, the order is paid and not cancelled (409). " +
			"A page that was open before may still be paid: then the order is bought after all, or the money goes back by itself. " +
			"An order that is closed already stays closed. The same choice can be paid again with a new code.",
		Errors: []int{404, 409, 429},
	}), s.cancel)
}

type orderParam struct {
	ID string `path:"id" pattern:"^[1-9][0-9]{0,18}$" doc:"The order's id"`
}

// own finds the order, if it is the caller's.
func (s *Server) own(ctx context.Context, orderID string) (models.Order, error) {
	order, err := s.anyOrder(ctx, orderID)
	if err == nil && order.UserID != caller(ctx).ID {
		return models.Order{}, models.Refuse(models.CodeNotFound, "belongs to another user")
	}
	return order, err
}

type orderPageParams struct {
	Page   int    `query:"page" minimum:"1" maximum:"1000000" default:"1"`
	Size   int    `query:"size" minimum:"1" maximum:"100" default:"10"`
	Status string `query:"status" pattern:"^(60000[1-5])?$" doc:"An order status, empty for all"`
}

func (s *Server) myOrders(ctx context.Context, in *orderPageParams) (*answer[OrderPage], error) {
	orders, total, err := s.store.OrdersOf(ctx, models.OrderQuery{
		UserID: caller(ctx).ID, Status: models.OrderStatus(in.Status), Page: in.Page, Size: in.Size,
	})
	if err != nil {
		return nil, s.fail(ctx, "list orders of a learner", err)
	}
	return &answer[OrderPage]{viewOrderPage(orders, total, in.Page, in.Size)}, nil
}

func (s *Server) myOrder(ctx context.Context, in *orderParam) (*answer[Order], error) {
	order, err := s.own(ctx, in.ID)
	if err != nil {
		return nil, s.fail(ctx, "find order", err)
	}
	return s.showOrder(ctx, order.ID)
}

func (s *Server) showOrder(ctx context.Context, id models.ID) (*answer[Order], error) {
	summary, err := s.store.OrderSummary(ctx, id)
	if err != nil {
		return nil, s.fail(ctx, "find order", err)
	}
	return &answer[Order]{viewOrder(summary)}, nil
}

func (s *Server) cancel(ctx context.Context, in *orderParam) (*answer[Order], error) {
	order, err := s.own(ctx, in.ID)
	if err == nil && order.Status == models.OrderUnpaid {
		order, err = s.cancelled(ctx, order)
	}
	switch {
	case err != nil:
	case order.Status == models.OrderClosed:
		return s.showOrder(ctx, order.ID)
	case order.Status == models.OrderRefunded:
		err = models.Refuse(models.CodeOrderRefunded, "order %s", order.ID)
	default:
		err = models.Refuse(models.CodeOrderPaid, "order %s has status %s", order.ID, order.Status)
	}
	return nil, s.fail(ctx, "cancel order", err)
}

// cancelled lets the workflow cancel the order, and waits a moment for the outcome. Cancelling takes place even when
// nobody waits for it any more.
func (s *Server) cancelled(ctx context.Context, order models.Order) (models.Order, error) {
	if err := s.cancelOrder(ctx, order); err != nil {
		return order, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := s.store.Order(ctx, order.ID)
		if err != nil || now.Status != models.OrderUnpaid {
			return now, err
		}
		select {
		case <-ctx.Done():
			return now, models.Refuse(models.CodeUnavailable, "order %s is still being cancelled", order.ID)
		case <-tick.C:
		}
	}
}
