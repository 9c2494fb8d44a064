package models

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// RefundOrigin says why money goes back.
type RefundOrigin string

const (
	RefundByOperator RefundOrigin = "operator"     // somebody with the role ops gives a paid order's money back
	RefundPaidTwice  RefundOrigin = "paid_twice"   // the order had been paid by another attempt
	RefundNotForSale RefundOrigin = "not_for_sale" // paid late, when the goods were no longer the learner's to buy
	RefundRefused    RefundOrigin = "refused"      // the books refuse the payment, and an operator gives it back
)

// RefundStatus is xc_refund_record.status.
type RefundStatus string

const (
	RefundPending RefundStatus = "pending"  // its workflow asks Alipay, or waits for an operator
	RefundDone    RefundStatus = "refunded" // nobody: the money is back
	RefundClosed  RefundStatus = "closed"   // nobody: an operator ended it, the money did not go back under this number
)

// RefundRequest asks for money to go back. The same RequestNo is the same refund, however often it is asked for.
type RefundRequest struct {
	OrderID   ID           `json:"orderId"`
	PayNo     ID           `json:"payNo"`
	RequestNo string       `json:"outRequestNo"` // Alipay's out_request_no: letters, digits, underscores, hyphens
	Amount    Money        `json:"amount"`
	Reason    string       `json:"reason"` // told to the buyer
	Origin    RefundOrigin `json:"origin"`
	By        string       `json:"by,omitempty"` // the operator's user id
	// Payment is the money that the books refused, for RefundRefused alone.
	Payment *Payment `json:"payment,omitempty"`
}

// Refund is a row of xc_refund_record.
type Refund struct {
	ID          ID           `json:"id"`
	RequestNo   string       `json:"outRequestNo"`
	OrderID     ID           `json:"orderId"`
	PayNo       ID           `json:"payNo"`
	Amount      Money        `json:"amount"`
	Reason      string       `json:"reason"`
	Origin      RefundOrigin `json:"origin"`
	RequestUser string       `json:"requestUser"`
	Status      RefundStatus `json:"status"`
	CreateDate  time.Time    `json:"createDate"`
	RefundDate  *time.Time   `json:"refundDate"`
	Note        string       `json:"note"`
}

// TableName is xc_refund_record.
func (Refund) TableName() string { return "xc_refund_record" }

// StoryRefundNo is the out_request_no under which an order's own story gives a whole payment back: one a payment, so
// that no two reasons give it back twice.
func StoryRefundNo(payNo ID) string { return "R" + payNo.String() }

// OpenRefund notes that money is to go back, once for a RequestNo. Refusals: CodeNotFound, CodePayRecordNotFound,
// CodeOrderNotPaid, CodeOrderRefunded, CodeRefundTooMuch, CodeRefundDiffers, CodeTradeDiffers.
func (s *Store) OpenRefund(ctx context.Context, r RefundRequest) (Refund, error) {
	var refund Refund
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		// Locked, so that refunds at the same moment do not add up to more than was paid.
		if _, err := first[Order](locked(tx).Where("id = ?", r.OrderID), CodeNotFound); err != nil {
			return err
		}
		known, err := checkRefund(tx, r)
		if err != nil {
			return err
		}
		if known != nil {
			refund = *known
			return s.reopenRefund(tx, refund)
		}
		refund, err = s.addRefund(tx, r)
		return err
	})
	return refund, err
}

// reopenRefund takes a refund that was closed back to pending, if that is what is wanted of it now.
func (s *Store) reopenRefund(tx *gorm.DB, wanted Refund) error {
	if wanted.Status != RefundPending {
		return nil
	}
	moved := tx.Model(&Refund{}).Where("id = ? and status = ?", wanted.ID, RefundClosed).Update("status", RefundPending)
	if moved.Error != nil || moved.RowsAffected == 0 {
		return moved.Error
	}
	return audit(tx, Audit{
		OrderID: wanted.OrderID, PayNo: &wanted.PayNo, CreateDate: s.now(), Event: "refund_reopened", Note: wanted.RequestNo,
	})
}

// CheckRefund says whether the refund would be taken now, without writing anything.
func (s *Store) CheckRefund(ctx context.Context, r RefundRequest) error {
	db := s.db.WithContext(ctx)
	if _, err := first[Order](db.Where("id = ?", r.OrderID), CodeNotFound); err != nil {
		return err
	}
	_, err := checkRefund(db, r)
	return err
}

// checkRefund is the one place that decides whether money may go back. A refund that is there already is returned, with
// the status that it shall have.
func checkRefund(tx *gorm.DB, r RefundRequest) (*Refund, error) {
	known, err := maybe[Refund](tx.Where("request_no = ?", r.RequestNo))
	switch {
	case err != nil:
		return nil, err
	case known != nil && (known.OrderID != r.OrderID || known.PayNo != r.PayNo || known.Amount != r.Amount):
		return nil, Refuse(CodeRefundDiffers, "refund %s is about %s of attempt %s", r.RequestNo, known.Amount, known.PayNo)
	case known != nil && known.Status == RefundClosed && (r.Origin == RefundRefused || r.Origin == RefundByOperator):
		// An operator wants it after all: the same refund is open again, below. A story's own word is not enough.
	case known != nil:
		return known, nil
	}
	record, err := first[PayRecord](tx.Where("pay_no = ? and order_id = ?", r.PayNo, r.OrderID), CodePayRecordNotFound)
	if err != nil {
		return nil, err
	}
	if err := checkRefundAmount(tx, record, r); err != nil || known == nil {
		return nil, err
	}
	known.Status = RefundPending
	return known, nil
}

// checkRefundAmount lets back at most what came in. Refunds under way count, those that an operator closed do not.
func checkRefundAmount(tx *gorm.DB, record PayRecord, r RefundRequest) error {
	paid, err := receivedFor(tx, record, r)
	if err != nil {
		return err
	}
	back, err := refunded(tx, record.PayNo, RefundPending, RefundDone)
	if err != nil {
		return err
	}
	if r.Amount <= 0 || r.Amount > paid-back {
		return Refuse(CodeRefundTooMuch, "asked %s of %s, %s of it is given back or on its way", r.Amount, paid, back)
	}
	return nil
}

// receivedFor is how much money an attempt has brought: what its record says, or, where the books refused the payment,
// what was parked.
func receivedFor(tx *gorm.DB, record PayRecord, r RefundRequest) (Money, error) {
	if record.Status == PayRefunded {
		return 0, Refuse(CodeOrderRefunded, "attempt %s", record.PayNo)
	}
	if record.Status == PayPaid {
		if r.Payment != nil && deref(record.OutPayNo) != r.Payment.TradeNo {
			return 0, Refuse(CodeTradeDiffers, "attempt %s was paid by another trade", record.PayNo)
		}
		return record.TotalPrice, nil
	}
	if r.Payment != nil {
		return r.Payment.Amount, nil
	}
	parked, err := lastCase(tx, record.PayNo)
	if err != nil {
		return 0, err
	}
	if parked == nil {
		return 0, Refuse(CodeOrderNotPaid, "attempt %s is not paid", record.PayNo)
	}
	return parked.Amount, nil
}

// refunded sums the attempt's refunds in these statuses.
func refunded(tx *gorm.DB, payNo ID, statuses ...RefundStatus) (Money, error) {
	var sum Money
	err := tx.Model(&Refund{}).Where("pay_no = ? and status in ?", payNo, statuses).
		Select("coalesce(sum(amount), 0)::text").Row().Scan(&sum)
	return sum, err
}

func (s *Store) addRefund(tx *gorm.DB, r RefundRequest) (Refund, error) {
	id, err := s.mintID()
	if err != nil {
		return Refund{}, err
	}
	refund := Refund{
		ID: id, RequestNo: r.RequestNo, OrderID: r.OrderID, PayNo: r.PayNo, Amount: r.Amount, Reason: cut(r.Reason, 255),
		Origin: r.Origin, RequestUser: cut(r.By, 64), Status: RefundPending, CreateDate: s.now(),
	}
	if err := tx.Create(&refund).Error; err != nil {
		return Refund{}, err
	}
	return refund, audit(tx, Audit{
		OrderID: r.OrderID, PayNo: &r.PayNo, CreateDate: s.now(), Event: "refund_requested",
		Note: cut(r.RequestNo+" "+r.Amount.String()+" "+string(r.Origin)+" "+r.Reason, 255),
	})
}

// BookRefund takes money that Alipay has given back at that time into the books: the refund, and once nothing of the
// payment is left, the pay record; if that attempt paid the order, the order, the goods taken back, and a message for
// the bus. A repeat changes nothing.
func (s *Store) BookRefund(ctx context.Context, requestNo string, back TradeRefund) (Refund, error) {
	var refund Refund
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		asked, err := first[Refund](tx.Where("request_no = ?", requestNo), CodeNotFound)
		if err != nil {
			return err
		}
		// The order first, as everywhere: who holds it may go on to the rest.
		order, err := first[Order](locked(tx).Where("id = ?", asked.OrderID), CodeNotFound)
		if err != nil {
			return err
		}
		var moved []Refund
		err = tx.Model(&moved).Clauses(clause.Returning{}).Where("request_no = ? and status <> ?", requestNo, RefundDone).
			Updates(map[string]any{"status": RefundDone, "refund_date": back.At}).Error
		if err == nil && len(moved) == 0 { // somebody else has booked it
			refund, err = first[Refund](tx.Where("request_no = ?", requestNo), CodeNotFound)
			return err
		}
		if err != nil {
			return err
		}
		refund = moved[0]
		return s.takeBack(tx, order, refund, back)
	})
	return refund, err
}

// takeBack is what follows from a refund that was carried out.
func (s *Store) takeBack(tx *gorm.DB, order Order, refund Refund, back TradeRefund) error {
	note := Audit{
		OrderID: order.ID, PayNo: &refund.PayNo, CreateDate: s.now(), Event: "refunded",
		Note: refund.RequestNo + " " + refund.Amount.String(),
	}
	if err := audit(tx, note); err != nil {
		return err
	}
	whole, err := s.markRefunded(tx, refund, back)
	if err != nil || !whole || order.PaidBy == nil || *order.PaidBy != refund.PayNo {
		return err
	}
	err = s.moveOrder(tx, order.ID, OrderRefunded, "order_refunded", nil)
	if errors.Is(err, errNotMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	k, err := kindOf(order.OrderType)
	if err != nil {
		return err
	}
	if err := k.revoke(s, tx, order); err != nil {
		return err
	}
	return s.addMessage(tx, MessageRefund, order)
}

// markRefunded moves the pay record to refunded if nothing of its money is left here.
func (s *Store) markRefunded(tx *gorm.DB, refund Refund, back TradeRefund) (whole bool, err error) {
	sum, err := refunded(tx, refund.PayNo, RefundDone)
	if err != nil {
		return false, err
	}
	// A payment that the books had refused is told here for the first time; its amount may be another one than we asked,
	// and Alipay may have left out its own number.
	moved := tx.Model(&PayRecord{}).
		Where("pay_no = ? and status in ?", refund.PayNo, before(payTransitions, PayRefunded)).
		Where("total_price <= ? or status = ?", sum, PayUnpaid).
		Updates(map[string]any{
			"status":           PayRefunded,
			"out_pay_no":       gorm.Expr("coalesce(out_pay_no, nullif(?, ''), pay_no::text)", back.TradeNo),
			"pay_success_time": gorm.Expr("coalesce(pay_success_time, ?)", back.At),
			"close_date":       gorm.Expr("coalesce(close_date, ?)", s.now()),
		})
	return moved.RowsAffected == 1, moved.Error
}

// CloseRefund notes that an operator has ended a refund that could not be carried out; what it held back is free again.
func (s *Store) CloseRefund(ctx context.Context, requestNo, note string) (Refund, error) {
	var refund Refund
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		moved := tx.Model(&Refund{}).Where("request_no = ? and status = ?", requestNo, RefundPending).
			Updates(map[string]any{"status": RefundClosed, "note": cut(note, 255)})
		if moved.Error != nil {
			return moved.Error
		}
		var err error
		refund, err = first[Refund](tx.Where("request_no = ?", requestNo), CodeNotFound)
		if err != nil || moved.RowsAffected == 0 {
			return err
		}
		return audit(tx, Audit{
			OrderID: refund.OrderID, PayNo: &refund.PayNo, CreateDate: s.now(), Event: "refund_closed", Note: cut(requestNo+" "+note, 255),
		})
	})
	return refund, err
}

// RefundByNo finds a refund by its out_request_no; otherwise CodeNotFound.
func (s *Store) RefundByNo(ctx context.Context, requestNo string) (Refund, error) {
	return first[Refund](s.db.WithContext(ctx).Where("request_no = ?", requestNo), CodeNotFound)
}

// Refunds lists the order's refunds, the oldest first.
func (s *Store) Refunds(ctx context.Context, orderID ID) ([]Refund, error) {
	var refunds []Refund
	err := s.db.WithContext(ctx).Where("order_id = ?", orderID).Order("id").Find(&refunds).Error
	return refunds, err
}

// Refundable is what may still be given back of an attempt's payment.
func (s *Store) Refundable(ctx context.Context, payNo ID) (Money, error) {
	record, err := s.PayRecord(ctx, payNo)
	if err != nil {
		return 0, err
	}
	paid, err := receivedFor(s.db.WithContext(ctx), record, RefundRequest{})
	if err != nil {
		return 0, err
	}
	back, err := refunded(s.db.WithContext(ctx), payNo, RefundPending, RefundDone)
	return paid - back, err
}
