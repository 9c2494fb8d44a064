package models

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// OrderSummary is an order with what a list shows beside it.
type OrderSummary struct {
	Order

	PayNo      *ID        // the attempt that paid it, or else the newest one
	ExpireDate *time.Time // of that attempt
	Refunded   Money      // what has gone back so far of what paid it
}

// OrderQuery selects a page of a learner's orders; empty fields select all.
type OrderQuery struct {
	UserID     string
	Status     OrderStatus
	Page, Size int // Page counts from 1
}

// OrdersOf gives one page of the learner's orders, newest first, and how many there are in all.
func (s *Store) OrdersOf(ctx context.Context, q OrderQuery) ([]OrderSummary, int64, error) {
	query := s.db.WithContext(ctx).Model(&Order{}).Where("xc_orders.user_id = ?", q.UserID)
	if q.Status != "" {
		query = query.Where("xc_orders.status = ?", q.Status)
	}
	var total int64
	if err := query.Count(&total).Error; err != nil {
		return nil, 0, err
	}
	var orders []OrderSummary
	err := summaries(query).Order("xc_orders.create_date desc, xc_orders.id desc").
		Offset((q.Page - 1) * q.Size).Limit(q.Size).Scan(&orders).Error
	return orders, total, err
}

// OrderSummary finds one order; otherwise CodeNotFound.
func (s *Store) OrderSummary(ctx context.Context, id ID) (OrderSummary, error) {
	var found []OrderSummary
	err := summaries(s.db.WithContext(ctx).Model(&Order{}).Where("xc_orders.id = ?", id)).Scan(&found).Error
	if err == nil && len(found) == 0 {
		err = Refuse(CodeNotFound, "order %s", id)
	}
	if err != nil {
		return OrderSummary{}, err
	}
	return found[0], nil
}

func summaries(orders *gorm.DB) *gorm.DB {
	return orders.
		Select(`xc_orders.*, p.pay_no, p.expire_date, coalesce(r.refunded, 0)::text as refunded`).
		Joins(`left join lateral (select pay_no, expire_date from xc_pay_record a where a.order_id = xc_orders.id
		           order by a.pay_no = xc_orders.paid_by desc nulls last, a.id desc limit 1) p on true`).
		Joins(`left join lateral (select sum(amount) as refunded from xc_refund_record b
		           where b.pay_no = xc_orders.paid_by and b.status = ?) r on true`, RefundDone)
}

// MessageState is a message of the outbox or of its history.
type MessageState struct {
	ID          ID
	MessageType string
	Delivered   bool
	At          time.Time // of its making
	Tries       int
	Failure     string // of the last try that failed
}

// OrderStory is everything that the books know of one order; each list is in the order of time.
type OrderStory struct {
	Order     OrderSummary
	Attempts  []PayRecord
	Refunds   []Refund
	Callbacks []PayNotify
	Messages  []MessageState
	Attention []Attention
	Audit     []Audit
}

// mostOfAKind bounds each list of a story.
const mostOfAKind = 1000

// OrderStory tells everything about the order; otherwise CodeNotFound.
func (s *Store) OrderStory(ctx context.Context, id ID) (OrderStory, error) {
	order, err := s.OrderSummary(ctx, id)
	if err != nil {
		return OrderStory{}, err
	}
	story := OrderStory{Order: order}
	ofOrder := func() *gorm.DB {
		return s.db.WithContext(ctx).Where("order_id = ?", id).Order("id").Limit(mostOfAKind)
	}
	for _, list := range []any{&story.Attempts, &story.Refunds, &story.Attention, &story.Audit} {
		if err := ofOrder().Find(list).Error; err != nil {
			return story, err
		}
	}
	err = s.db.WithContext(ctx).Where("pay_no in (select pay_no from xc_pay_record where order_id = ?)", id).
		Order("id").Limit(mostOfAKind).Find(&story.Callbacks).Error
	if err != nil {
		return story, err
	}
	err = s.db.WithContext(ctx).Raw(`
		select id, message_type, false as delivered, create_date as at, execute_num as tries, coalesce(returnfailure_msg, '') as failure
		from mq_message where business_key1 = ?
		union all
		select id, message_type, true, create_date, execute_num, coalesce(returnfailure_msg, '')
		from mq_message_history where business_key1 = ?
		order by at, id limit ?`, order.OutBusinessID, order.OutBusinessID, mostOfAKind).Scan(&story.Messages).Error
	return story, err
}
