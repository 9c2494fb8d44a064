package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"coursepay/models"
)

func (s *Server) orders(api huma.API) {
	huma.Register(api, s.gated(api, s.forUsers(api, huma.Operation{
		OperationID: "generatepaycode", Method: http.MethodPost, Path: "/orders/generatepaycode",
		Summary: "Get a QR code to pay with",
		Description: "Price and goods come from the service's own tables; a request that claims others is refused. " +
			"Each call makes a new pay record and closes the older ones; a repeat under the same Idempotency-Key finds the same.",
		Errors: []int{404, 409, 429},
	}), continues), s.generatePayCode)
	huma.Register(api, s.forUsers(api, huma.Operation{
		OperationID: "payresult", Method: http.MethodGet, Path: "/orders/payresult",
		Summary: "A pay record, after asking Alipay", Errors: []int{404},
	}), s.payResult)
	api.OpenAPI().AddOperation(requestPayOperation())
	api.OpenAPI().AddOperation(notifyOperation("receivenotify"))
	api.OpenAPI().AddOperation(notifyOperation("paynotify"))
}

type payCodeRequest struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"200" doc:"Names this request, so that it can be repeated safely"`
	Body           payCodeBody
}

type payCodeBody struct {
	_             struct{}         `json:"-" additionalProperties:"true"`
	TotalPrice    AskedPrice       `json:"totalPrice" doc:"Must equal the price of what is bought"`
	OrderType     models.OrderType `json:"orderType" maxLength:"16" doc:"60201 a course" example:"60201"`
	OrderName     string           `json:"orderName,omitempty" maxLength:"1000" doc:"Ignored: the name comes from the catalogue"`
	OrderDescrip  string           `json:"orderDescrip,omitempty" maxLength:"255"`
	OrderDetail   string           `json:"orderDetail,omitempty" maxLength:"10000" doc:"The goods, as a JSON string: [{goodsId,goodsType,goodsName,goodsPrice,goodsDetail}]"`
	OutBusinessID string           `json:"outBusinessId" minLength:"1" maxLength:"64" doc:"The choose-course's id" example:"1936271839214141440"`
}

// claim is an entry of orderDetail.
type claim struct {
	GoodsID    flexible   `json:"goodsId"`
	GoodsType  flexible   `json:"goodsType"`
	GoodsPrice AskedPrice `json:"goodsPrice"`
}

func (in *payCodeRequest) payRequest(userID string) (models.PayRequest, error) {
	b := in.Body
	r := models.PayRequest{
		RequestID: requestID(userID, in.IdempotencyKey), UserID: userID, OrderType: b.OrderType,
		OutBusinessID: b.OutBusinessID, TotalPrice: models.Money(b.TotalPrice), OrderDescrip: b.OrderDescrip,
	}
	if !storable(b.OrderDescrip) {
		return r, models.Refuse(models.CodeInvalid, "orderDescrip holds a NUL")
	}
	if b.OrderDetail == "" {
		return r, nil
	}
	var claims []claim
	if err := json.Unmarshal([]byte(b.OrderDetail), &claims); err != nil {
		return r, models.Refuse(models.CodeInvalid, "orderDetail: %v", err)
	}
	for _, c := range claims {
		r.Goods = append(r.Goods, models.GoodsClaim{
			GoodsID: string(c.GoodsID), GoodsType: string(c.GoodsType), GoodsPrice: models.Money(c.GoodsPrice),
		})
	}
	return r, nil
}

// requestID names a request: by its Idempotency-Key, which is the caller's own, or anew.
func requestID(userID, key string) string {
	if key == "" {
		return uuid.NewString()
	}
	sum := sha256.Sum256([]byte(userID + "\x00" + key))
	return hex.EncodeToString(sum[:])
}

func (s *Server) generatePayCode(ctx context.Context, in *payCodeRequest) (*answer[PayRecord], error) {
	r, err := in.payRequest(caller(ctx).ID)
	if err != nil {
		return nil, s.fail(ctx, "read pay request", err)
	}
	// The workflow decides; asking first keeps hopeless requests from starting one.
	if err := s.store.CheckPayRequest(ctx, r); err != nil {
		return nil, s.fail(ctx, "check pay request", err)
	}
	alike := fmt.Sprintf("pay %q %q %q %q", r.UserID, r.OrderType, r.OutBusinessID, in.IdempotencyKey)
	code, err, _ := s.flight.Do(alike, func() (any, error) { return s.requestPayment(ctx, r) })
	if err != nil {
		return nil, s.fail(ctx, "request payment", err)
	}
	return &answer[PayRecord]{viewPayCode(code.(models.PayCode))}, nil
}

type payNoParam struct {
	PayNo string `query:"payNo" required:"true" pattern:"^[1-9][0-9]{0,18}$" doc:"The pay record's payNo"`
}

func (s *Server) payResult(ctx context.Context, in *payNoParam) (*answer[PayRecord], error) {
	payNo, err := models.ParseID(in.PayNo)
	if err != nil {
		return nil, errorOf(models.CodeInvalid)
	}
	record, err := s.store.PayRecord(ctx, payNo)
	if err == nil && record.UserID != caller(ctx).ID {
		err = models.Refuse(models.CodePayRecordNotFound, "belongs to another user")
	}
	if err != nil {
		return nil, s.fail(ctx, "find pay record", err)
	}
	if record.Status == models.PayUnpaid && record.OpenDate != nil && record.CloseDate == nil { // superseded ones too
		record = s.askAgain(ctx, record)
	}
	return &answer[PayRecord]{viewPayRecord(record)}, nil
}

// askAgain lets Alipay be asked about an unpaid attempt whose page was opened, and returns how the record stands after
// that. When nobody answers, or too many ask, the record as it was is the best answer that there is.
func (s *Server) askAgain(ctx context.Context, record models.PayRecord) models.PayRecord {
	leave := s.questions.enter(ctx, 0)
	if leave == nil {
		return record
	}
	defer leave()
	order, err := s.store.Order(ctx, record.OrderID)
	if err != nil {
		s.log.WarnContext(ctx, "payment not checked", "orderId", record.OrderID, "payNo", record.PayNo, "error", err)
		return record
	}
	status, err, _ := s.flight.Do("check/"+record.PayNo.String(), func() (any, error) {
		return s.checkPayment(ctx, order, record.PayNo)
	})
	if err != nil {
		s.log.WarnContext(ctx, "payment not checked", "orderId", record.OrderID, "payNo", record.PayNo, "error", err)
		return record
	}
	if status.(models.TradeStatus).Paid() {
		return s.untilSettled(ctx, record)
	}
	return record
}

// untilSettled waits a moment for the workflow to take a payment into the books.
func (s *Server) untilSettled(ctx context.Context, record models.PayRecord) models.PayRecord {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if now, err := s.store.PayRecord(ctx, record.PayNo); err == nil && now.Status != models.PayUnpaid {
			return now
		}
		select {
		case <-ctx.Done():
			return record
		case <-tick.C:
		}
	}
}
