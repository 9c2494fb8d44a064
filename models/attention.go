package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

const (
	// DecisionClose is an operator's decision: the money was dealt with by hand.
	DecisionClose = "close"
	// decisionSettled is nobody's: the payment has come again, and was settled.
	decisionSettled = "settled"
)

// Attention is a row of ops_attention: something that waits, or waited, for an operator.
type Attention struct {
	ID         int64 `gorm:"->"`
	WorkflowID string
	OrderID    *ID // nil where the payment names no order of ours
	PayNo      ID
	RequestNo  *string // the refund that is parked; nil for a payment
	TradeNo    string
	Amount     Money
	PaidAt     *time.Time // of a payment
	Reason     string
	CreateDate time.Time
	DecideDate *time.Time
	Decision   *string
	Note       string
}

// TableName is ops_attention.
func (Attention) TableName() string { return "ops_attention" }

// Park notes that something waits for an operator. A parked payment's attempt is closed in the books, so that nobody
// finds the same money again by asking. A repeat changes nothing. It returns the order that the payment is for, 0 if
// there is none.
func (s *Store) Park(ctx context.Context, a Attention) (ID, error) {
	var orderID ID
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		record, err := maybe[PayRecord](tx.Where("pay_no = ?", a.PayNo))
		if err != nil {
			return err
		}
		if record != nil {
			orderID, a.OrderID = record.OrderID, &record.OrderID
			if err := s.endAttempt(tx, a.PayNo, "close_date", "supersede_date"); err != nil {
				return err
			}
		}
		a.CreateDate, a.Reason = s.now(), cut(a.Reason, 512)
		added := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&a)
		if added.Error != nil || added.RowsAffected == 0 || record == nil {
			return added.Error
		}
		return audit(tx, Audit{OrderID: orderID, PayNo: &a.PayNo, CreateDate: s.now(), Event: "parked", Note: cut(a.Reason, 255)})
	})
	return orderID, err
}

// Decide notes what an operator decided about something that waits, or about what was decided before: a workflow that was
// reset asks again, and the latest decision counts.
func (s *Store) Decide(ctx context.Context, workflowID string, payNo ID, decision, note string) error {
	return s.inTx(ctx, func(tx *gorm.DB) error {
		last, err := maybe[Attention](locked(tx).Where("workflow_id = ? and pay_no = ?", workflowID, payNo).Order("id desc"))
		if err != nil || last == nil {
			return err
		}
		now, note := s.now(), cut(note, 255)
		switch {
		case last.DecideDate == nil:
			err = tx.Model(last).Updates(map[string]any{"decide_date": now, "decision": decision, "note": note}).Error
		case *last.Decision == decision && last.Note == note:
			return nil // told twice
		default:
			again := *last
			again.ID, again.DecideDate, again.Decision, again.Note = 0, &now, &decision, note
			err = tx.Create(&again).Error
		}
		if err != nil || last.OrderID == nil {
			return err
		}
		return audit(tx, Audit{OrderID: *last.OrderID, PayNo: &payNo, CreateDate: now, Event: "operator_" + decision, Note: note})
	})
}

// lastCase is the newest case of this attempt's payment, nil if it was never parked. The latest decision counts.
func lastCase(tx *gorm.DB, payNo ID) (*Attention, error) {
	return maybe[Attention](tx.Where("pay_no = ? and request_no is null", payNo).Order("id desc"))
}

// closed says that an operator has dealt with the money by hand.
func (a *Attention) closed() bool {
	return a != nil && a.Decision != nil && *a.Decision == DecisionClose
}

// settleCase ends the waiting of a payment that is in the books now after all.
func (s *Store) settleCase(tx *gorm.DB, waits *Attention) error {
	if waits == nil || waits.DecideDate != nil {
		return nil
	}
	return tx.Model(waits).Updates(map[string]any{"decide_date": s.now(), "decision": decisionSettled}).Error
}

// ParkedPayments lists the payments that a workflow has parked and nobody has decided about, the oldest first.
func (s *Store) ParkedPayments(ctx context.Context, workflowID string) ([]Attention, error) {
	var open []Attention
	err := s.db.WithContext(ctx).Where("workflow_id = ? and request_no is null and decide_date is null", workflowID).
		Order("id").Find(&open).Error
	return open, err
}

// OpenAttention lists what waits for an operator, the oldest first, at most limit of it.
func (s *Store) OpenAttention(ctx context.Context, limit int) ([]Attention, error) {
	var open []Attention
	err := s.db.WithContext(ctx).Where("decide_date is null").Order("id").Limit(limit).Find(&open).Error
	return open, err
}
