package models

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

var errNotMoved = errors.New("the order's status does not allow this step")

// Attempt is the answer to a PayRequest.
type Attempt struct {
	Record PayRecord
	Order  Order
	// Opened lists older attempts whose pay page was handed out: they must be closed at Alipay before another attempt
	// may exist. When it is not empty, there is no new attempt and Record is empty.
	Opened []ID
}

// CheckPayRequest says whether the request would be taken now, without writing anything.
func (s *Store) CheckPayRequest(ctx context.Context, r PayRequest) error {
	_, err := s.checkPayRequest(s.db.WithContext(ctx), s.db.WithContext(ctx), r)
	return err
}

// checked is a request that may become an attempt: its goods, and its order if there is one already.
type checked struct {
	goods goods
	order *Order
}

// checkPayRequest is the one place that decides whether a request may become an attempt. It reads goods and order
// through their own handle, so that the writer can lock them. An order that is open has fixed the price; a closed one
// takes the price of today.
func (s *Store) checkPayRequest(tx, goodsAndOrder *gorm.DB, r PayRequest) (checked, error) {
	k, err := kindOf(r.OrderType)
	if err != nil {
		return checked{}, err
	}
	found, err := k.find(s, goodsAndOrder, r.OutBusinessID)
	if err != nil {
		return checked{}, err
	}
	if found.userID != r.UserID {
		return checked{}, Refuse(CodeChooseNotFound, "belongs to another user")
	}
	order, err := maybe[Order](goodsAndOrder.Where("out_business_id = ?", r.OutBusinessID))
	if err != nil {
		return checked{}, err
	}
	if err := checkOrderOpen(order, found); err != nil {
		return checked{}, err
	}
	if err := found.checkClaim(r); err != nil {
		return checked{}, err
	}
	if order == nil || order.Status == OrderClosed {
		if err := k.offered(tx, found); err != nil {
			return checked{}, err
		}
	}
	return checked{found, order}, nil
}

func checkOrderOpen(order *Order, g goods) error {
	switch {
	case order != nil && order.Status == OrderRefunded:
		return Refuse(CodeOrderRefunded, "order %s", order.ID)
	case order != nil && order.Status != OrderUnpaid && order.Status != OrderClosed:
		return Refuse(CodeOrderPaid, "order %s has status %s", order.ID, order.Status)
	case g.sold:
		return Refuse(CodeOrderPaid, "the learner has the goods")
	}
	return nil
}

// CreateAttempt makes the order if it is not there yet, closes older attempts that nobody opened, and adds a pay record
// that can be paid until expire. A repeat of the same request finds the same record, or is refused when that can no
// longer be paid. Only the order's workflow calls it.
func (s *Store) CreateAttempt(ctx context.Context, r PayRequest, expire time.Time) (Attempt, error) {
	var attempt Attempt
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		repeated, err := s.repeatedAttempt(tx, r)
		if err != nil || repeated != nil {
			attempt = deref(repeated)
			return err
		}
		c, err := s.checkPayRequest(tx, locked(tx), r)
		if err != nil {
			return err
		}
		attempt.Order, attempt.Opened, err = s.openOrder(tx, r, c)
		if err != nil || len(attempt.Opened) > 0 {
			return err
		}
		attempt.Record, err = s.addRecord(tx, attempt.Order, r.RequestID, expire)
		return err
	})
	return attempt, err
}

// openOrder makes the order, or makes room for a new attempt on the one that is there. Attempts that stand in the way
// are returned: their pay page was handed out, so only Alipay can close them.
func (s *Store) openOrder(tx *gorm.DB, r PayRequest, c checked) (Order, []ID, error) {
	if c.order == nil {
		order, err := s.createOrder(tx, r, c.goods)
		return order, nil, err
	}
	opened, err := s.supersede(tx, c.order.ID)
	if err != nil || len(opened) > 0 || c.order.Status == OrderUnpaid {
		return *c.order, opened, err
	}
	return s.reopenOrder(tx, *c.order, c.goods)
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func (s *Store) repeatedAttempt(tx *gorm.DB, r PayRequest) (*Attempt, error) {
	order, err := maybe[Order](tx.Where("out_business_id = ? and user_id = ?", r.OutBusinessID, r.UserID))
	if err != nil || order == nil {
		return nil, err
	}
	record, err := maybe[PayRecord](tx.Where("order_id = ? and request_id = ?", order.ID, r.RequestID))
	switch {
	case err != nil || record == nil:
		return nil, err
	case record.Status == PayRefunded:
		return nil, Refuse(CodeOrderRefunded, "the attempt of this request was given back")
	case record.Status != PayUnpaid:
		return nil, Refuse(CodeOrderPaid, "the attempt of this request has status %s", record.Status)
	case !record.Payable(s.now()):
		return nil, Refuse(CodePayCodeExpired, "the attempt of this request is over")
	}
	return &Attempt{Record: *record, Order: *order}, nil
}

func (s *Store) createOrder(tx *gorm.DB, r PayRequest, g goods) (Order, error) {
	id, err := s.mintID()
	if err != nil {
		return Order{}, err
	}
	detail, err := g.detail()
	if err != nil {
		return Order{}, err
	}
	order := Order{
		ID: id, TotalPrice: g.price, CreateDate: s.now(), Status: OrderUnpaid, UserID: r.UserID, OrderType: r.OrderType,
		OrderName: g.name, OrderDetail: &detail, OutBusinessID: r.OutBusinessID,
	}
	if r.OrderDescrip != "" {
		order.OrderDescrip = &r.OrderDescrip
	}
	if err := tx.Create(&order).Error; err != nil {
		return Order{}, err
	}
	return order, s.addGoods(tx, order.ID, g)
}

func (s *Store) addGoods(tx *gorm.DB, orderID ID, g goods) (err error) {
	for i := range g.lines {
		g.lines[i].OrderID = orderID
		if g.lines[i].ID, err = s.mintID(); err != nil {
			return err
		}
	}
	return tx.Create(g.lines).Error
}

// reopenOrder makes a closed order payable again, at the price of today.
func (s *Store) reopenOrder(tx *gorm.DB, order Order, g goods) (Order, []ID, error) {
	detail, err := g.detail()
	if err != nil {
		return order, nil, err
	}
	if err := s.moveOrder(tx, order.ID, OrderUnpaid, "reopened", nil); err != nil {
		return order, nil, err
	}
	order.Status, order.TotalPrice, order.OrderName, order.OrderDetail = OrderUnpaid, g.price, g.name, &detail
	err = tx.Model(&order).Select("total_price", "order_name", "order_detail").Updates(&order).Error
	if err != nil {
		return order, nil, err
	}
	if err := tx.Where("order_id = ?", order.ID).Delete(&OrderGoods{}).Error; err != nil {
		return order, nil, err
	}
	return order, nil, s.addGoods(tx, order.ID, g)
}

// live are the order's attempts that may still be paid, as far as our books tell.
func live(tx *gorm.DB, orderID ID) *gorm.DB {
	return tx.Model(&PayRecord{}).Where("order_id = ? and status = ? and close_date is null", orderID, PayUnpaid)
}

// supersede closes the attempts that nobody opened, and returns those that somebody did and that we still hand out.
func (s *Store) supersede(tx *gorm.DB, orderID ID) (opened []ID, err error) {
	if err := s.closeUnopened(tx, orderID); err != nil {
		return nil, err
	}
	err = live(tx, orderID).Where("supersede_date is null").Order("id").Pluck("pay_no", &opened).Error
	return opened, err
}

func (s *Store) closeUnopened(tx *gorm.DB, orderID ID) error {
	return live(tx, orderID).Where("open_date is null").Updates(map[string]any{"close_date": s.now(), "supersede_date": s.now()}).Error
}

func (s *Store) addRecord(tx *gorm.DB, order Order, requestID string, expire time.Time) (PayRecord, error) {
	id, err := s.mintID()
	if err != nil {
		return PayRecord{}, err
	}
	payNo, err := s.mintID()
	if err != nil {
		return PayRecord{}, err
	}
	record := PayRecord{
		ID: id, PayNo: payNo, OutPayChannel: ChannelAlipay, OrderID: order.ID, OrderName: order.OrderName,
		TotalPrice: order.TotalPrice, Currency: "CNY", CreateDate: s.now(), Status: PayUnpaid, UserID: order.UserID,
		RequestID: requestID, ExpireDate: expire.Truncate(time.Second), // Alipay's time_expire counts seconds
	}
	if err := tx.Create(&record).Error; err != nil {
		return PayRecord{}, err
	}
	return record, audit(tx, Audit{OrderID: order.ID, PayNo: &payNo, CreateDate: s.now(), Event: "attempt_created"})
}

// moveOrder takes the order to the next status if the table of transitions allows it, and notes it; otherwise it
// returns errNotMoved. payNo is the attempt that paid it, or nil.
func (s *Store) moveOrder(tx *gorm.DB, id ID, next OrderStatus, event string, payNo *ID) error {
	var from string
	moved := tx.Raw(`
		update xc_orders o set status = ?, paid_by = coalesce(o.paid_by, ?) from xc_orders was
		where o.id = ? and was.id = o.id and o.status in ? returning was.status`,
		next, payNo, id, before(orderTransitions, next)).Scan(&from)
	if moved.Error != nil {
		return moved.Error
	}
	if moved.RowsAffected == 0 {
		return errNotMoved
	}
	to := string(next)
	return audit(tx, Audit{OrderID: id, PayNo: payNo, CreateDate: s.now(), Event: event, FromStatus: &from, ToStatus: &to})
}

// OpenAttempt notes that the attempt's pay page is handed out now, and returns it. An attempt that can no longer be
// paid is refused: CodePaymentDone, or CodePayCodeExpired.
func (s *Store) OpenAttempt(ctx context.Context, payNo ID) (PayRecord, error) {
	now := s.now()
	var opened []PayRecord
	err := s.db.WithContext(ctx).Model(&opened).Clauses(clause.Returning{}).
		Where("pay_no = ? and status = ? and supersede_date is null and close_date is null and expire_date > ?", payNo, PayUnpaid, now).
		Where("exists (select 1 from xc_orders o where o.id = order_id and o.status = ?)", OrderUnpaid).
		Update("open_date", gorm.Expr("coalesce(open_date, ?)", now)).Error
	if err != nil {
		return PayRecord{}, err
	}
	if len(opened) == 1 {
		return opened[0], nil
	}
	record, err := s.PayRecord(ctx, payNo)
	if err != nil {
		return PayRecord{}, err
	}
	if record.Status == PayRefunded {
		return record, Refuse(CodeOrderRefunded, "pay record has status %s", record.Status)
	}
	if record.Status != PayUnpaid {
		return record, Refuse(CodePaymentDone, "pay record has status %s", record.Status)
	}
	order, err := s.Order(ctx, record.OrderID)
	if err != nil {
		return PayRecord{}, err
	}
	if order.Status != OrderUnpaid && order.Status != OrderClosed {
		return record, Refuse(CodePaymentDone, "order has status %s", order.Status)
	}
	return record, Refuse(CodePayCodeExpired, "expired or superseded")
}

// CloseAttempt notes that nobody can pay the attempt any more. A paid one is left alone.
func (s *Store) CloseAttempt(ctx context.Context, payNo ID) error {
	return s.endAttempt(s.db.WithContext(ctx), payNo, "close_date", "supersede_date")
}

// SupersedeAttempt notes that the attempt is not handed out any more. A page that is open may still be paid.
func (s *Store) SupersedeAttempt(ctx context.Context, payNo ID) error {
	return s.endAttempt(s.db.WithContext(ctx), payNo, "supersede_date")
}

func (s *Store) endAttempt(tx *gorm.DB, payNo ID, columns ...string) error {
	changes := map[string]any{}
	for _, column := range columns {
		changes[column] = gorm.Expr("coalesce("+column+", ?)", s.now())
	}
	return tx.Model(&PayRecord{}).Where("pay_no = ? and status = ?", payNo, PayUnpaid).Updates(changes).Error
}

// LiveAttempts lists the order's attempts that may still be paid as far as our books tell, unpaid and not closed, the
// newest first.
func (s *Store) LiveAttempts(ctx context.Context, orderID ID) ([]PayRecord, error) {
	var records []PayRecord
	err := live(s.db.WithContext(ctx), orderID).Order("id desc").Find(&records).Error
	return records, err
}

// Standing is where an order stands.
type Standing struct {
	OrderID ID          `json:"orderId,omitempty"`
	Status  OrderStatus `json:"status"`
	Payable bool        `json:"payable,omitempty"` // an attempt has time left, or was opened and not closed since
}

// CloseOrder closes the order and its attempts that nobody opened, if it is unpaid and nobody can pay it any more. While
// a payment of it is parked, the order stays open: it may have been paid in time.
func (s *Store) CloseOrder(ctx context.Context, orderID ID) (Standing, error) {
	var now Standing
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		order, err := first[Order](locked(tx).Where("id = ?", orderID), CodeNotFound)
		if err != nil {
			return err
		}
		var inTheWay int64
		err = live(tx, orderID).Where("open_date is not null or expire_date > ?", s.now()).Count(&inTheWay).Error
		now = Standing{OrderID: orderID, Status: order.Status, Payable: inTheWay > 0}
		if err != nil || now.Payable || now.Status != OrderUnpaid {
			return err
		}
		parked, err := maybe[Attention](tx.Where("order_id = ? and request_no is null and decide_date is null", orderID))
		if err != nil || parked != nil {
			return err
		}
		if err := s.closeUnopened(tx, orderID); err != nil {
			return err
		}
		now.Status = OrderClosed
		return s.moveOrder(tx, orderID, OrderClosed, "closed", nil)
	})
	return now, err
}

// CancelOrder closes an unpaid order because the learner wants it no more. No attempt is handed out again; a page that is
// open somewhere may still be paid, and then Payable says so. An order that is not unpaid stays as it is.
func (s *Store) CancelOrder(ctx context.Context, orderID ID) (Standing, error) {
	var now Standing
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		order, err := first[Order](locked(tx).Where("id = ?", orderID), CodeNotFound)
		if err != nil {
			return err
		}
		now = Standing{OrderID: order.ID, Status: order.Status}
		if now.Status == OrderUnpaid {
			now.Status = OrderClosed
			if err := s.moveOrder(tx, orderID, OrderClosed, "cancelled", nil); err != nil {
				return err
			}
			if err := s.closeUnopened(tx, orderID); err != nil {
				return err
			}
		}
		var left int64
		err = live(tx, orderID).Count(&left).Error
		now.Payable = left > 0
		return err
	})
	return now, err
}

// OrderOf finds the order of that name, or nil.
func (s *Store) OrderOf(ctx context.Context, key OrderKey) (*Order, error) {
	return maybe[Order](s.db.WithContext(ctx).Where("out_business_id = ? and order_type = ?", key.OutBusinessID, key.OrderType))
}

// Order finds an order by its id; otherwise CodeNotFound.
func (s *Store) Order(ctx context.Context, id ID) (Order, error) {
	return first[Order](s.db.WithContext(ctx).Where("id = ?", id), CodeNotFound)
}

// PayRecord finds an attempt by its pay number; otherwise CodePayRecordNotFound.
func (s *Store) PayRecord(ctx context.Context, payNo ID) (PayRecord, error) {
	return first[PayRecord](s.db.WithContext(ctx).Where("pay_no = ?", payNo), CodePayRecordNotFound)
}
