package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"coursepay/internal/mq"
	"coursepay/models"
)

// learning is the learning service's subscriber: it enrols the learner whose payment was settled. The settling does the
// same in its own transaction, so whoever comes first, the learner is enrolled once; this one also puts back an
// enrolment that went missing.
type learning struct {
	store *models.Store
	log   *slog.Logger
}

func (l learning) handle(ctx context.Context, m mq.Message) error {
	var body struct {
		MessageType  string           `json:"messageType"`
		BusinessKey1 string           `json:"businessKey1"` // out_business_id
		BusinessKey2 models.OrderType `json:"businessKey2"`
	}
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return fmt.Errorf("message %s is not JSON: %w", m.ID, err)
	}
	if body.MessageType != models.MessagePayResult || body.BusinessKey2 != models.OrderCourse {
		return nil // for another subscriber of the fanout
	}
	fulfilled, err := l.store.Fulfil(ctx, body.BusinessKey2, body.BusinessKey1)
	if err != nil {
		return fmt.Errorf("fulfil %s: %w", body.BusinessKey1, err)
	}
	l.log.InfoContext(ctx, "message taken", "messageId", m.ID, "outBusinessId", body.BusinessKey1, "fulfilled", fulfilled)
	return nil
}
