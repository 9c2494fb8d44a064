// Package activities holds everything that the workflows do to the world: the books in Postgres, Alipay, the message
// bus. Each may run twice, or half: a repeat changes nothing.
package activities

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"coursepay/models"
)

// Gateway asks Alipay.
type Gateway interface {
	// QueryTrade is alipay.trade.query; a trade that is not there yet is models.TradeNotExist and no error.
	QueryTrade(ctx context.Context, payNo string) (models.Trade, error)
	// CloseTrade is alipay.trade.close.
	CloseTrade(ctx context.Context, payNo string) (models.CloseOutcome, error)
	// Refund is alipay.trade.refund. An answer without Refunded proves nothing.
	Refund(ctx context.Context, r models.TradeRefundRequest) (models.TradeRefund, error)
	// QueryRefund is alipay.trade.fastpay.refund.query; a refund that Alipay does not know is no error.
	QueryRefund(ctx context.Context, payNo, requestNo string) (models.TradeRefund, error)
}

// Activities is what the worker registers; every exported method is an activity.
type Activities struct {
	store *models.Store
	cfg   Config
}

// Config is what the activities need of the world beside the books.
type Config struct {
	Gateway Gateway
	// Publish sends a message to the bus and returns once the broker has taken it and found a queue for it.
	Publish      func(ctx context.Context, messageID string, body []byte) error
	PublicURL    string          // where phones reach the API: a code is PublicURL/orders/requestpay?payNo=…
	OrderExpiry  time.Duration   // how long a code can be paid
	PollSchedule []time.Duration // how long to wait before each next look for a payment; the last one repeats
	Now          func() time.Time
	Logger       *slog.Logger
}

// New makes the activities.
func New(store *models.Store, cfg Config) *Activities { return &Activities{store: store, cfg: cfg} }

// CreateAttempt writes the order, if it is new, and an attempt to pay it, and draws the attempt's QR code.
func (a *Activities) CreateAttempt(ctx context.Context, r models.PayRequest) (models.PayCode, error) {
	attempt, err := a.store.CreateAttempt(ctx, r, a.cfg.Now().Add(a.cfg.OrderExpiry))
	if err != nil {
		return models.PayCode{}, retryableOrFinal(err)
	}
	if len(attempt.Opened) > 0 {
		return models.PayCode{OrderID: attempt.Order.ID, Opened: attempt.Opened}, nil
	}
	record := attempt.Record
	qr, err := qrCode(a.cfg.PublicURL + "/orders/requestpay?payNo=" + record.PayNo.String())
	if err != nil {
		return models.PayCode{}, retryableOrFinal(err)
	}
	return models.PayCode{
		ID: record.ID, PayNo: record.PayNo, OrderID: record.OrderID, OrderName: record.OrderName,
		TotalPrice: record.TotalPrice, Currency: record.Currency, PayChannel: record.OutPayChannel, UserID: record.UserID,
		Status: record.Status, CreateDate: record.CreateDate, ExpireDate: record.ExpireDate, QRCode: qr,
	}, nil
}

// Settle takes a payment into the books, hands over what was bought, and delivers the message about it. It succeeds
// only when all of that is done.
func (a *Activities) Settle(ctx context.Context, p models.Payment) (models.Settlement, error) {
	done, err := a.store.Settle(ctx, p)
	if err != nil {
		return done, retryableOrFinal(err)
	}
	a.cfg.Logger.InfoContext(ctx, "payment settled", "orderId", done.OrderID, "payNo", p.PayNo, "giveBack", done.GiveBack)
	return done, retryableOrFinal(a.deliver(ctx, done.OrderID))
}

// deliver publishes what the outbox holds for the order. A message keeps its id over every try.
func (a *Activities) deliver(ctx context.Context, orderID models.ID) error {
	messages, err := a.store.UndeliveredMessages(ctx, orderID)
	if err != nil {
		return err
	}
	for _, m := range messages {
		body, err := m.Body()
		if err != nil {
			return err
		}
		if err := a.cfg.Publish(ctx, m.ID.String(), body); err != nil {
			if noted := a.store.MessageFailed(ctx, m.ID, err.Error()); noted != nil {
				a.cfg.Logger.WarnContext(ctx, "failed delivery not noted", "messageId", m.ID, "error", noted)
			}
			return fmt.Errorf("publish message %s: %w", m.ID, err)
		}
		if err := a.store.MessageDelivered(ctx, m.ID); err != nil {
			return err
		}
	}
	return nil
}
