package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// DecisionClose is an operator's decision: the money was dealt with by hand.
const DecisionClose = "close"

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

// Decide notes what an operator decided about something that waits.
func (s *Store) Decide(ctx context.Context, workflowID string, payNo ID, decision, note string) error {
	return s.inTx(ctx, func(tx *gorm.DB) error {
		var decided []Attention
		err := tx.Model(&decided).Clauses(clause.Returning{}).
			Where("workflow_id = ? and pay_no = ? and decide_date is null", workflowID, payNo).
			Updates(map[string]any{"decide_date": s.now(), "decision": decision, "note": cut(note, 255)}).Error
		if err != nil || len(decided) == 0 || decided[0].OrderID == nil {
			return err
		}
		return audit(tx, Audit{
			OrderID: *decided[0].OrderID, PayNo: &payNo, CreateDate: s.now(), Event: "operator_" + decision, Note: cut(note, 255),
		})
	})
}

// dealtWithByHand finds the decisions that ended the waiting of this attempt's payment without anything of ours.
func dealtWithByHand(tx *gorm.DB, payNo ID) *gorm.DB {
	return tx.Session(&gorm.Session{NewDB: true}).Model(&Attention{}).
		Where("pay_no = ? and request_no is null and decision = ?", payNo, DecisionClose)
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
