package models

import (
	"context"

	"gorm.io/gorm"
)

// OrderSearch asks for the orders that a text names: by order id, pay number, Alipay's trade number, user, refund request
// number or out_business_id, always in full. Page counts from 1.
type OrderSearch struct {
	Text       string
	Page, Size int
}

// matches finds the ids of the orders that @text, or its number @id, names. Each branch has an index of its own.
const matches = `
	select id from xc_orders where id = @id
	union select order_id from xc_pay_record where pay_no = @id
	union select order_id from xc_pay_record where out_pay_no = @text
	union select id from xc_orders where user_id = @text
	union select id from xc_orders where out_business_id = @text
	union select order_id from xc_refund_record where request_no = @text
	union select order_id from ops_attention where trade_no = @text and trade_no <> '' and order_id is not null`

// SearchOrders gives one page of the orders that the text names, newest first, and how many there are in all.
func (s *Store) SearchOrders(ctx context.Context, q OrderSearch) ([]OrderSummary, int64, error) {
	named := map[string]any{"text": q.Text, "id": nil}
	if id, err := ParseID(q.Text); err == nil {
		named["id"] = id
	}
	db := s.db.WithContext(ctx)
	var total int64
	if err := db.Raw("select count(*) from ("+matches+") m", named).Scan(&total).Error; err != nil {
		return nil, 0, err
	}
	var orders []OrderSummary
	err := summaries(db.Model(&Order{}).Where("xc_orders.id in (?)", db.Raw(matches, named))).
		Order("xc_orders.create_date desc, xc_orders.id desc").
		Offset((q.Page - 1) * q.Size).Limit(q.Size).Scan(&orders).Error
	return orders, total, err
}

// LastAttention is the newest case of that workflow and pay number, decided or not; otherwise CodeNotFound.
func (s *Store) LastAttention(ctx context.Context, workflowID string, payNo ID) (Attention, error) {
	return first[Attention](s.attention(ctx, "workflow_id = ? and pay_no = ?", workflowID, payNo).Order("id desc"), CodeNotFound)
}

// Attention finds one case; otherwise CodeNotFound.
func (s *Store) Attention(ctx context.Context, id int64) (Attention, error) {
	return first[Attention](s.attention(ctx, "id = ?", id), CodeNotFound)
}

func (s *Store) attention(ctx context.Context, where string, args ...any) *gorm.DB {
	return s.db.WithContext(ctx).Where(where, args...)
}
