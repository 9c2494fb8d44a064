package models

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Payment is a buyer's money, as Alipay told it.
type Payment struct {
	PayNo   ID        `json:"payNo"`
	TradeNo string    `json:"tradeNo"`
	Amount  Money     `json:"totalAmount"` // yuan, two decimals
	PaidAt  time.Time `json:"paidAt"`
}

// Settlement is what became of a payment.
type Settlement struct {
	OrderID ID          `json:"orderId"`
	Status  OrderStatus `json:"status"` // of the order
	// GiveBack says why the money has to go back: it is in the books, and bought nothing. Empty when it paid the order.
	GiveBack RefundOrigin `json:"giveBack,omitempty"`
	// ByHand: an operator has dealt with this payment outside the books. Nothing was booked.
	ByHand bool `json:"byHand,omitempty"`
	// Opened lists the order's other attempts whose pay page is open somewhere: they may still be paid.
	Opened []ID `json:"opened,omitempty"`
}

// Settle takes a payment into the books in one transaction: the pay record, the order, the goods handed over, the
// message for the bus. A repeat changes nothing, and neither does a payment that an operator has dealt with by hand.
// Refusals need an operator: CodePayRecordNotFound, CodeAmountDiffers,
// CodeTradeDiffers, CodeChooseNotFound. Only the order's workflow calls it.
func (s *Store) Settle(ctx context.Context, p Payment) (Settlement, error) {
	var done Settlement
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		waits, err := lastCase(tx, p.PayNo)
		if err != nil {
			return err
		}
		if waits.closed() {
			done, err = dealtWith(tx, p.PayNo)
			return err
		}
		if done, err = s.book(tx, p); err != nil {
			return err
		}
		return s.settleCase(tx, waits)
	})
	return done, err
}

// dealtWith says where the order of a payment stands that an operator has dealt with by hand.
func dealtWith(tx *gorm.DB, payNo ID) (Settlement, error) {
	order, err := first[Order](tx.Where("id = (select order_id from xc_pay_record where pay_no = ?)", payNo), CodePayRecordNotFound)
	return Settlement{OrderID: order.ID, Status: order.Status, ByHand: true}, err
}

// book is the settling itself.
func (s *Store) book(tx *gorm.DB, p Payment) (Settlement, error) {
	record, fresh, err := s.markPaid(tx, p)
	if err != nil {
		return Settlement{}, err
	}
	order, err := first[Order](locked(tx).Where("id = ?", record.OrderID), CodeNotFound)
	if err != nil {
		return Settlement{}, err
	}
	done := Settlement{OrderID: order.ID, Status: order.Status, GiveBack: order.wantsNot(record.PayNo)}
	if fresh {
		if done.GiveBack, err = s.takePayment(tx, order, record); err != nil {
			return done, err
		}
		if done.GiveBack == "" {
			done.Status = OrderPaid
		}
	}
	err = live(tx, order.ID).Order("id").Pluck("pay_no", &done.Opened).Error
	return done, err
}

// wantsNot says why a payment that is in the books did not pay the order; empty if it did.
func (o *Order) wantsNot(payNo ID) RefundOrigin {
	switch {
	case o.PaidBy == nil:
		return RefundNotForSale
	case *o.PaidBy != payNo:
		return RefundPaidTwice
	}
	return ""
}

// takePayment moves the order on a fresh payment, or says why the money has to go back.
func (s *Store) takePayment(tx *gorm.DB, order Order, record PayRecord) (RefundOrigin, error) {
	giveBack, err := s.stillWanted(tx, order, record)
	if err != nil {
		return "", err
	}
	if giveBack != "" {
		return giveBack, audit(tx, Audit{OrderID: order.ID, PayNo: &record.PayNo, CreateDate: s.now(), Event: string(giveBack)})
	}
	if err := s.moveOrder(tx, order.ID, OrderPaid, "paid", &record.PayNo); err != nil {
		return "", err
	}
	return "", s.handOver(tx, order, *record.PaySuccessTime)
}

// stillWanted decides whether a payment may pay the order: at the price that the goods were chosen for, and while the
// learner does not have them. An order that is open has promised its goods. One that was closed has not: a late payment
// buys them only if they could be bought today.
func (s *Store) stillWanted(tx *gorm.DB, order Order, record PayRecord) (RefundOrigin, error) {
	if !order.Status.May(OrderPaid) {
		return RefundPaidTwice, nil
	}
	k, err := kindOf(order.OrderType)
	if err != nil {
		return "", err
	}
	goods, err := k.find(s, locked(tx), order.OutBusinessID)
	if err != nil {
		return "", err
	}
	if goods.sold || record.TotalPrice != order.TotalPrice || record.TotalPrice != goods.price {
		return RefundNotForSale, nil
	}
	if order.Status == OrderUnpaid {
		return "", nil
	}
	err = k.offered(tx, goods)
	if _, refused := RefusalCode(err); refused {
		return RefundNotForSale, nil
	}
	return "", err
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
	if err != nil {
		return record, false, err
	}
	switch {
	case record.TotalPrice != p.Amount:
		return record, false, Refuse(CodeAmountDiffers, "paid %s, asked %s", p.Amount, record.TotalPrice)
	case record.OutPayNo == nil || *record.OutPayNo != p.TradeNo:
		return record, false, Refuse(CodeTradeDiffers, "paid by trade %s before", deref(record.OutPayNo))
	}
	return record, false, nil
}

// handOver gives the learner what was paid, closes attempts that nobody opened, and leaves the message in the outbox.
func (s *Store) handOver(tx *gorm.DB, order Order, paidAt time.Time) error {
	k, err := kindOf(order.OrderType)
	if err != nil {
		return err
	}
	if err := k.fulfil(s, tx, order, paidAt); err != nil {
		return err
	}
	if err := s.closeUnopened(tx, order.ID); err != nil {
		return err
	}
	return s.addMessage(tx, MessagePayResult, order)
}

// addMessage leaves a message about the order in the outbox.
func (s *Store) addMessage(tx *gorm.DB, messageType string, order Order) error {
	id, err := s.mintID()
	if err != nil {
		return err
	}
	return tx.Create(&Message{
		ID: id, MessageType: messageType, BusinessKey1: order.OutBusinessID, BusinessKey2: string(order.OrderType),
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

// Revoke takes back what a refunded order had bought, if that is still there: what a subscriber of the message bus does
// on a refund_notify. An order that is not refunded changes nothing, and revoked says so.
func (s *Store) Revoke(ctx context.Context, t OrderType, outBusinessID string) (revoked bool, err error) {
	k, err := kindOf(t)
	if err != nil {
		return false, err
	}
	err = s.inTx(ctx, func(tx *gorm.DB) error {
		order, err := first[Order](locked(tx).Where("out_business_id = ? and order_type = ?", outBusinessID, t), CodeNotFound)
		if err != nil || order.Status != OrderRefunded {
			return err
		}
		revoked = true
		return k.revoke(s, tx, order)
	})
	return revoked, err
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

// cut makes text fit a column: at most so many characters, and none that Postgres does not take.
func cut(text string, most int) string {
	runes := []rune(strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), ""))
	return string(runes[:min(len(runes), most)])
}
