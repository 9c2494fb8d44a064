package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Attempt is the answer to a PayRequest.
type Attempt struct {
	Record PayRecord
	Order  Order
	// Opened lists older attempts whose pay page was handed out: they must be closed at Alipay before another attempt
	// may exist. When it is not empty, nothing was written and Record is empty.
	Opened []ID
}

// CheckPayRequest says whether the request would be taken now, without writing anything.
func (s *Store) CheckPayRequest(ctx context.Context, r PayRequest) error {
	db := s.db.WithContext(ctx)
	_, err := s.checkPayRequest(db, db, r)
	return err
}

// checkPayRequest is the one place that decides whether a request may become an attempt. lockOrder is the handle that
// reads the order, so that the writer can lock it.
func (s *Store) checkPayRequest(tx, lockOrder *gorm.DB, r PayRequest) (checked, error) {
	k, err := kindOf(r.OrderType)
	if err != nil {
		return checked{}, err
	}
	found, err := k.find(s, tx, r.OutBusinessID)
	if err != nil {
		return checked{}, err
	}
	if found.userID != r.UserID {
		return checked{}, Refuse(CodeChooseNotFound, "belongs to another user")
	}
	order, err := maybe[Order](lockOrder.Where("out_business_id = ?", r.OutBusinessID))
	if err != nil {
		return checked{}, err
	}
	if err := checkOrderOpen(order, found); err != nil {
		return checked{}, err
	}
	if err := found.checkClaim(r); err != nil {
		return checked{}, err
	}
	if order == nil {
		if err := checkStillOffered(tx, found); err != nil {
			return checked{}, err
		}
	}
	return checked{found, order}, nil
}

// checked is a request that may become an attempt: its goods, and its order if there is one already.
type checked struct {
	goods goods
	order *Order
}

func checkOrderOpen(order *Order, g goods) error {
	switch {
	case order == nil && g.sold:
		return Refuse(CodeOrderPaid, "the goods were handed over already")
	case order == nil || order.Status == OrderUnpaid || order.Status == OrderClosed:
		return nil
	case order.Status == OrderRefunded:
		return Refuse(CodeOrderRefunded, "order %s", order.ID)
	default:
		return Refuse(CodeOrderPaid, "order %s has status %s", order.ID, order.Status)
	}
}

// CreateAttempt makes the order if it is not there yet, closes older attempts that nobody opened, and adds a pay record
// that can be paid until expire. A repeat of the same request finds the same record. Only the order's workflow calls it.
func (s *Store) CreateAttempt(ctx context.Context, r PayRequest, expire time.Time) (Attempt, error) {
	var attempt Attempt
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		repeated, err := s.repeatedAttempt(tx, r)
		if err != nil || repeated != nil {
			attempt = deref(repeated)
			return err
		}
		c, err := s.checkPayRequest(tx, tx.Clauses(clause.Locking{Strength: "UPDATE"}), r)
		if err != nil {
			return err
		}
		if c.order == nil {
			attempt.Order, err = s.createOrder(tx, r, c.goods)
		} else {
			attempt.Order = *c.order
			attempt.Opened, err = s.clearTheWay(tx, &attempt.Order)
		}
		if err != nil || len(attempt.Opened) > 0 {
			return err
		}
		attempt.Record, err = s.addRecord(tx, attempt.Order, r.RequestID, expire)
		return err
	})
	return attempt, err
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
	if err != nil || record == nil {
		return nil, err
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
	for i := range g.lines {
		g.lines[i].OrderID = order.ID
		if g.lines[i].ID, err = s.mintID(); err != nil {
			return Order{}, err
		}
	}
	return order, tx.Create(g.lines).Error
}

// clearTheWay makes room for a new attempt on an order that exists: older attempts that nobody opened are closed, a
// closed order is opened again. Attempts that were opened are returned: only Alipay can close those.
func (s *Store) clearTheWay(tx *gorm.DB, order *Order) ([]ID, error) {
	live := func() *gorm.DB {
		return tx.Model(&PayRecord{}).Where("order_id = ? and status = ? and close_date is null", order.ID, PayUnpaid)
	}
	if err := live().Where("open_date is null").Update("close_date", s.now()).Error; err != nil {
		return nil, err
	}
	var opened []ID
	if err := live().Order("id").Pluck("pay_no", &opened).Error; err != nil || len(opened) > 0 {
		return opened, err
	}
	if order.Status != OrderClosed {
		return nil, nil
	}
	order.Status = OrderUnpaid
	return nil, s.moveOrder(tx, order.ID, OrderUnpaid, "reopened", nil)
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
// returns errNotMoved.
func (s *Store) moveOrder(tx *gorm.DB, id ID, next OrderStatus, event string, payNo *ID) error {
	var from string
	moved := tx.Raw(`
		update xc_orders o set status = ? from xc_orders was
		where o.id = ? and was.id = o.id and o.status in ? returning was.status`,
		next, id, before(orderTransitions, next)).Scan(&from)
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
		Where("pay_no = ? and status = ? and close_date is null and expire_date > ?", payNo, PayUnpaid, now).
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
	return s.db.WithContext(ctx).Model(&PayRecord{}).
		Where("pay_no = ? and status = ? and close_date is null", payNo, PayUnpaid).
		Update("close_date", s.now()).Error
}

// LiveAttempts lists the order's attempts that may still be paid as far as our books tell: unpaid and not closed.
func (s *Store) LiveAttempts(ctx context.Context, orderID ID) ([]PayRecord, error) {
	var records []PayRecord
	err := s.db.WithContext(ctx).
		Where("order_id = ? and status = ? and close_date is null", orderID, PayUnpaid).Order("id").Find(&records).Error
	return records, err
}

// CloseOrder closes the order and its attempts that nobody opened, if it is unpaid and no opened attempt is left. It
// returns the order's status afterwards.
func (s *Store) CloseOrder(ctx context.Context, orderID ID) (OrderStatus, error) {
	var status OrderStatus
	err := s.inTx(ctx, func(tx *gorm.DB) error {
		order, err := first[Order](tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", orderID), CodeNotFound)
		status = order.Status
		if err != nil || status != OrderUnpaid {
			return err
		}
		opened, err := s.clearTheWay(tx, &order)
		if err != nil || len(opened) > 0 {
			return err
		}
		status = OrderClosed
		return s.moveOrder(tx, orderID, OrderClosed, "closed", nil)
	})
	return status, err
}

// Order finds an order by its id; otherwise CodeNotFound.
func (s *Store) Order(ctx context.Context, id ID) (Order, error) {
	return first[Order](s.db.WithContext(ctx).Where("id = ?", id), CodeNotFound)
}

// OrderOf finds a user's own order by what it buys; nil if there is none.
func (s *Store) OrderOf(ctx context.Context, outBusinessID string) (*Order, error) {
	return maybe[Order](s.db.WithContext(ctx).Where("out_business_id = ?", outBusinessID))
}

// PayRecord finds an attempt by its pay number; otherwise CodePayRecordNotFound.
func (s *Store) PayRecord(ctx context.Context, payNo ID) (PayRecord, error) {
	return first[PayRecord](s.db.WithContext(ctx).Where("pay_no = ?", payNo), CodePayRecordNotFound)
}
