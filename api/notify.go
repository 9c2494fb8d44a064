package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"coursepay/internal/alipay"
	"coursepay/models"
)

// Alipay reads nothing but this word as "taken"; on any other answer it sends the notify again.
const (
	notifyTaken   = "success"
	notifyRefused = "fail"
)

// evidenceCap is how much of a callback's body is kept, in bytes. A genuine one is kept whole.
const evidenceCap = 16 << 10

// maxFields is far above any notify of Alipay's, which have some 40 fields. A body of nothing but separators would make
// a stranger's parsing costly.
const maxFields = 200

// notifyWithin bounds what a callback waits for: the books, and Temporal. Alipay sends a slow one again.
const notifyWithin = 15 * time.Second

// receiveNotify is the callback door. Whoever knocks leaves evidence; only a genuine payment of ours reaches the order's
// workflow, and "success" is said only once Temporal, or our books, have it for good.
func (s *Server) receiveNotify(c *fiber.Ctx) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(c.UserContext(), notifyWithin)
	defer cancel()
	raw := c.Request().Body() // not c.Body(), which would unpack what a stranger has packed
	evidence := models.PayNotify{
		ReceiveDate: s.now(), RemoteAddr: c.IP(), Raw: raw[:min(len(raw), evidenceCap)], RawSize: int64(len(raw)),
	}
	if size, ok := c.Locals(bodySize).(int64); ok {
		evidence.RawSize = size
	}
	evidence.Verdict, evidence.Reason = s.judgeNotify(ctx, raw, &evidence)
	if evidence.NotifyID == nil { // anybody can send such
		s.refused.file(ctx, evidence)
		return c.SendString(notifyRefused)
	}
	defer func() { s.meter.callback(evidence.Verdict, began) }()
	evidence.PayNo = claimedPayNo(evidence.Raw)
	s.log.InfoContext(ctx, "notify", "payNo", evidence.PayNo, "verdict", evidence.Verdict, "reason", evidence.Reason)
	if err := s.door.KeepNotify(ctx, evidence); err != nil {
		s.log.ErrorContext(ctx, "notify's evidence not kept", "payNo", evidence.PayNo, "error", err)
		return c.SendString(notifyRefused)
	}
	switch evidence.Verdict {
	case models.VerdictAccepted, models.VerdictDuplicate, models.VerdictIgnored:
		return c.SendString(notifyTaken)
	default:
		return c.SendString(notifyRefused)
	}
}

// judgeNotify decides what a callback is, and hands a payment over. The cheap checks come first: nothing that is not
// signed by Alipay reaches the database. A callback that Alipay has signed for us gets its NotifyID.
func (s *Server) judgeNotify(ctx context.Context, raw []byte, evidence *models.PayNotify) (models.Verdict, string) {
	if evidence.RawSize > bodyCap {
		return models.VerdictRefused, "body too large"
	}
	if bytes.Count(raw, []byte("&")) >= maxFields {
		return models.VerdictRefused, "too many fields"
	}
	notify, err := s.alipay.ParseNotify(raw)
	if err == nil || errors.Is(err, alipay.ErrNotifyAmount) {
		evidence.NotifyID = &notify.NotifyID
	}
	if err != nil {
		return models.VerdictRefused, err.Error()
	}
	if !notify.IsPayment() {
		return models.VerdictIgnored, fmt.Sprintf("no payment: %s, refund %t", notify.Status, notify.IsRefund())
	}
	record, order, err := s.paidRecord(ctx, notify)
	if code, refused := models.RefusalCode(err); refused {
		return models.VerdictRefused, string(code)
	}
	if err != nil {
		return models.VerdictFailed, err.Error()
	}
	done, err := s.door.PaymentDone(ctx, record, notify.TradeNo)
	if err != nil {
		return models.VerdictFailed, err.Error()
	}
	if done {
		return models.VerdictDuplicate, "in the books already"
	}
	payment := models.Payment{PayNo: record.PayNo, TradeNo: notify.TradeNo, Amount: notify.Amount, PaidAt: notify.PaidAt}
	if payment.PaidAt.IsZero() {
		payment.PaidAt = s.now()
	}
	_, err, _ = s.flight.Do("notify/"+record.PayNo.String()+"/"+notify.TradeNo, func() (any, error) {
		return nil, s.notifyPayment(ctx, order, payment)
	})
	if err != nil {
		return models.VerdictFailed, err.Error()
	}
	return models.VerdictAccepted, string(notify.Status)
}

// claimedPayNo is the attempt that a callback says it is about, whoever sent it; nil if it names none.
func claimedPayNo(raw []byte) *models.ID {
	id, err := models.ParseID(alipay.ClaimedPayNo(raw))
	if err != nil {
		return nil
	}
	return &id
}

// paidRecord finds the attempt that a genuine payment is for. It must be ours, and the amount must be what we asked.
func (s *Server) paidRecord(ctx context.Context, n alipay.Notify) (models.PayRecord, models.Order, error) {
	payNo, err := models.ParseID(n.PayNo)
	if err != nil {
		return models.PayRecord{}, models.Order{}, models.Refuse(models.CodePayRecordNotFound, "out_trade_no is none of ours")
	}
	record, err := s.door.PayRecord(ctx, payNo)
	if err != nil {
		return record, models.Order{}, err
	}
	if record.TotalPrice != n.Amount {
		return record, models.Order{}, models.Refuse(models.CodeAmountDiffers, "paid %s, asked %s", n.Amount, record.TotalPrice)
	}
	order, err := s.door.Order(ctx, record.OrderID)
	return record, order, err
}

func notifyOperation(name string) *huma.Operation {
	return &huma.Operation{
		OperationID: name, Method: fiber.MethodPost, Path: "/orders/" + name, Summary: "Alipay's asynchronous notify",
		Description: "The body is Alipay's signed form. The answer is the bare word success, or fail.",
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{fiber.MIMEApplicationForm: {}}},
		Responses: map[string]*huma.Response{
			"200": {Description: "success or fail", Content: map[string]*huma.MediaType{fiber.MIMETextPlain: {
				Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{notifyTaken, notifyRefused}},
			}}},
		},
		Metadata: map[string]any{byHand: true},
	}
}
