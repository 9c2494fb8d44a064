package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"coursepay/internal/mq"
	"coursepay/models"
)

// subscriber is the part of a service that hears of paid and refunded orders of its type: it hands the goods over, or
// takes them back. The transactions on the order do the same, so whoever comes first, it happens once; the subscriber
// also puts back what went missing. Every subscriber has a queue of its own on the fanout exchange.
type subscriber struct {
	orderType models.OrderType
	store     *models.Store
	log       *slog.Logger
}

func (s subscriber) handle(ctx context.Context, m mq.Message) error {
	var body struct {
		MessageType  string           `json:"messageType"`
		BusinessKey1 string           `json:"businessKey1"` // out_business_id
		BusinessKey2 models.OrderType `json:"businessKey2"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return fmt.Errorf("message %s is not JSON: %w", m.ID, err)
	}
	if body.BusinessKey2 != s.orderType {
		return nil // for another subscriber of the fanout
	}
	act, known := map[string]func(context.Context, models.OrderType, string) (bool, error){
		models.MessagePayResult: s.store.Fulfil,
		models.MessageRefund:    s.store.Revoke,
	}[body.MessageType]
	if !known {
		return nil
	}
	done, err := act(ctx, body.BusinessKey2, body.BusinessKey1)
	if err != nil {
		return fmt.Errorf("%s %s: %w", body.MessageType, body.BusinessKey1, err)
	}
	s.log.InfoContext(ctx, "message taken", "messageId", m.ID, "messageType", body.MessageType,
		"orderType", body.BusinessKey2, "outBusinessId", body.BusinessKey1, "done", done)
	return nil
}
