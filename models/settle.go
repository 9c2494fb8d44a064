package models

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

var errNotMoved = errors.New("the order's status does not allow this step")

// Payment is a buyer's money, as Alipay told it.
type Payment struct {
	PayNo   ID        `json:"payNo"`
	TradeNo string    `json:"tradeNo"`
	Amount  Money     `json:"totalAmount"` // yuan, two decimals
	PaidAt  time.Time `json:"paidAt"`
}

// Settlement is what became of a payment.
type Settlement struct {
	OrderID ID `json:"orderId"`
	// Duplicate: the order had been paid by another attempt. The money is in the books, the goods are not handed over
	// again, and somebody has to give the money back.
	Duplicate bool `json:"duplicate,omitempty"`
	// Opened lists the order's other attempts whose pay page is open somewhere: they may still be paid.
	Opened []ID `json:"opened,omitempty"`
}

// Settle takes a payment into the books in one transaction: the pay record, the order, the goods handed over, the
// message for the bus. A repeat changes nothing. Refusals need an operator: CodePayRecordNotFound, CodeAmountDiffers,
// CodeTradeDiffers, CodeChooseNotFound. Only the order's workflow calls it.
func (s *Store) Settle(ctx context.Context, p Payment) (Settlement, error) {
	var done Settlement
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		record, fresh, err := s.markPaid(tx, p)
		if err != nil {
			return err
		}
		done.OrderID = record.OrderID
		done.Duplicate, err = s.takePayment(tx, record, fresh)
		if err != nil {
			return err
		}
		return live(tx, record.OrderID).Order("id").Pluck("pay_no", &done.Opened).Error
	})
	return done, err
}

// takePayment moves the order on a fresh payment. duplicate: another attempt had paid the order.
func (s *Store) takePayment(tx *gorm.DB, record PayRecord, fresh bool) (duplicate bool, err error) {
	if !fresh {
		order, err := first[Order](tx.Where("id = ?", record.OrderID), CodeNotFound)
		return order.PaidBy == nil || *order.PaidBy != record.PayNo, err
	}
	err = s.moveOrder(tx, record.OrderID, OrderPaid, "paid", &record.PayNo)
	if errors.Is(err, errNotMoved) {
		return true, audit(tx, Audit{OrderID: record.OrderID, PayNo: &record.PayNo, CreateDate: s.now(), Event: "paid_twice"})
	}
	if err != nil {
		return false, err
	}
	return false, s.handOver(tx, record)
}

// markPaid moves the pay record to paid. fresh is false when this very trade had been noted before.
func (s *Store) markPaid(tx *gorm.DB, p Payment) (record PayRecord, fresh bool, err error) {
	var paid []PayRecord
	err = tx.Model(&paid).Clauses(clause.Returning{}).
		Where("pay_no = ? and status in ? and total_price = ?", p.PayNo, before(payTransitions, PayPaid), p.Amount).
		Updates(map[string]any{
			"status": PayPaid, "out_pay_no": p.TradeNo, "pay_success_time": p.PaidAt,
			"close_date": gorm.Expr("coalesce(close_date, ?)", s.now()),
		}).Error
	if violates(err, "xc_pay_record_out_pay_no") {
		return record, false, Refuse(CodeTradeDiffers, "trade %s has paid another attempt", p.TradeNo)
	}
	if err != nil {
		return record, false, err
	}
	if len(paid) == 1 {
		return paid[0], true, nil
	}
	record, err = first[PayRecord](tx.Where("pay_no = ?", p.PayNo), CodePayRecordNotFound)
	switch {
	case err != nil:
		return record, false, err
	case record.TotalPrice != p.Amount:
		return record, false, Refuse(CodeAmountDiffers, "paid %s, asked %s", p.Amount, record.TotalPrice)
	case record.OutPayNo == nil || *record.OutPayNo != p.TradeNo:
		return record, false, Refuse(CodeTradeDiffers, "paid by trade %s before", deref(record.OutPayNo))
	}
	return record, false, nil
}

// handOver gives the learner what was paid, closes attempts that nobody opened, and leaves the message in the outbox.
func (s *Store) handOver(tx *gorm.DB, record PayRecord) error {
	order, err := first[Order](tx.Where("id = ?", record.OrderID), CodeNotFound)
	if err != nil {
		return err
	}
	k, err := kindOf(order.OrderType)
	if err != nil {
		return err
	}
	if err := k.fulfil(s, tx, order, *record.PaySuccessTime); err != nil {
		return err
	}
	if err := s.closeUnopened(tx, order.ID); err != nil {
		return err
	}
	id, err := s.mintID()
	if err != nil {
		return err
	}
	return tx.Create(&Message{
		ID: id, MessageType: MessagePayResult, BusinessKey1: order.OutBusinessID, BusinessKey2: string(order.OrderType),
	}).Error
}

// Fulfil hands over what a paid order bought, if that is missing: what a subscriber of the message bus does on a
// payresult_notify. An order that is not paid, or was refunded, changes nothing, and fulfilled says so.
func (s *Store) Fulfil(ctx context.Context, t OrderType, outBusinessID string) (fulfilled bool, err error) {
	k, err := kindOf(t)
	if err != nil {
		return false, err
	}
	err = s.inTx(ctx, func(tx *gorm.DB) error {
		// Locked, so that nobody else hands over, and no refund takes the goods back, between the look and the step.
		order, err := first[Order](locked(tx).Where("out_business_id = ? and order_type = ?", outBusinessID, t), CodeNotFound)
		if err != nil || (order.Status != OrderPaid && order.Status != OrderFinished) {
			return err
		}
		record, err := first[PayRecord](tx.Where("pay_no = ?", order.PaidBy), CodePayRecordNotFound)
		if err != nil {
			return err
		}
		fulfilled = true
		return k.fulfil(s, tx, order, *record.PaySuccessTime)
	})
	return fulfilled, err
}

// Body is the message as the XueCheng services read it.
func (m Message) Body() ([]byte, error) {
	return json.Marshal(struct {
		ID           int64  `json:"id"`
		MessageType  string `json:"messageType"`
		BusinessKey1 string `json:"businessKey1"`
		BusinessKey2 string `json:"businessKey2"`
	}{int64(m.ID), m.MessageType, m.BusinessKey1, m.BusinessKey2})
}

// UndeliveredMessages lists what the outbox still holds for the order.
func (s *Store) UndeliveredMessages(ctx context.Context, orderID ID) ([]Message, error) {
	var messages []Message
	err := s.db.WithContext(ctx).
		Where("business_key1 = (select out_business_id from xc_orders where id = ?)", orderID).Order("id").Find(&messages).Error
	return messages, err
}

// MessageDelivered moves a message to history: the broker has confirmed it.
func (s *Store) MessageDelivered(ctx context.Context, id ID) error {
	return s.db.WithContext(ctx).Exec(`
		with sent as (delete from mq_message where id = ? returning *)
		insert into mq_message_history (id, message_type, business_key1, business_key2, business_key3, execute_num, state,
		    returnfailure_date, returnsuccess_date, returnfailure_msg, execute_date,
		    stage_state1, stage_state2, stage_state3, stage_state4, create_date)
		select id, message_type, business_key1, business_key2, business_key3, execute_num + 1, '1',
		    returnfailure_date, ?, returnfailure_msg, ?, stage_state1, stage_state2, stage_state3, stage_state4, create_date
		from sent`, id, s.now(), s.now()).Error
}

// MessageFailed notes a failed delivery; the message stays in the outbox.
func (s *Store) MessageFailed(ctx context.Context, id ID, reason string) error {
	return s.db.WithContext(ctx).Model(&Message{}).Where("id = ?", id).Updates(map[string]any{
		"execute_num": gorm.Expr("execute_num + 1"), "execute_date": s.now(),
		"returnfailure_date": s.now(), "returnfailure_msg": cut(reason, 2048),
	}).Error
}

func cut(text string, most int) string {
	runes := []rune(text)
	if len(runes) > most {
		return string(runes[:most])
	}
	return text
}
