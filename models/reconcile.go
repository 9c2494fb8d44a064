package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// BillKind is what a row of Alipay's trade bill tells (业务类型).
type BillKind string

const (
	BillPayment BillKind = "payment" // 交易: money came in
	BillRefund  BillKind = "refund"  // 退款: money went back
)

// BillRow is a row of Alipay's trade bill. It is a lead and no proof: the file, unlike an answer of the gateway, is not
// signed.
type BillRow struct {
	Kind      BillKind
	PayNo     string // 商户订单号; whose it is shows in our books
	TradeNo   string // 支付宝交易号
	RequestNo string // 退款请求号, our out_request_no
	Amount    Money  // 订单金额, without the minus sign of a refund
}

// BillDayLayout is how the day of a bill is written, a day of China.
const BillDayLayout = "2006-01-02"

// China is the zone of every date that Alipay tells; it has had no summer time since 1991.
var China = time.FixedZone("GMT+8", 8*60*60)

// FindingKind says what is wrong between the bill and the books.
type FindingKind string

const (
	FindingUnknownTrade    FindingKind = "unknown_trade"    // paid at Alipay under a number that is none of ours
	FindingAmountDiffers   FindingKind = "amount_differs"   // another amount was paid than we asked, or booked
	FindingTradeDiffers    FindingKind = "trade_differs"    // our books have the attempt paid by another trade
	FindingNotProved       FindingKind = "not_proved"       // the bill says paid, Alipay's signed answer does not
	FindingNotInBill       FindingKind = "not_in_bill"      // we have it paid that day, the bill does not
	FindingUnknownRefund   FindingKind = "unknown_refund"   // money went back that we did not send
	FindingRefundDiffers   FindingKind = "refund_differs"   // another amount, or of another payment, went back
	FindingRefundEnded     FindingKind = "refund_ended"     // money went back although an operator had ended the refund
	FindingRefundNotInBill FindingKind = "refund_not_there" // we have it given back that day, the bill does not
	FindingBillRefused     FindingKind = "bill_refused"     // what was offered as the bill is not one
)

// Finding is a row of reconcile_finding: a difference that a person has to look at.
type Finding struct {
	ID         int64       `gorm:"->" json:"-"`
	BillDate   string      `json:"billDate"` // BillDayLayout
	Kind       FindingKind `json:"kind"`
	PayNo      string      `json:"payNo,omitempty"`
	TradeNo    string      `json:"tradeNo,omitempty"`
	RequestNo  string      `json:"outRequestNo,omitempty"`
	Billed     *Money      `json:"billed,omitempty"`
	Booked     *Money      `json:"booked,omitempty"`
	Detail     string      `json:"detail,omitempty"`
	CreateDate time.Time   `json:"createDate"`
	FoundDate  time.Time   `json:"-"` // by the last comparison that found it
}

// TableName is reconcile_finding.
func (Finding) TableName() string { return "reconcile_finding" }

// KeepFinding notes a difference, as one row however often a day is compared.
func (s *Store) KeepFinding(ctx context.Context, f Finding) error {
	f.PayNo, f.TradeNo, f.RequestNo = cut(f.PayNo, 64), cut(f.TradeNo, 64), cut(f.RequestNo, 64)
	f.Detail, f.CreateDate, f.FoundDate = cut(f.Detail, 512), s.now(), s.now()
	return s.db.WithContext(ctx).Clauses(clause.OnConflict{
		OnConstraint: "reconcile_finding_once",
		DoUpdates: append(clause.AssignmentColumns([]string{"billed", "booked", "detail", "found_date"}),
			clause.Assignment{Column: clause.Column{Name: "resolve_date"}, Value: gorm.Expr("null")}),
	}).Create(&f).Error
}

// ResolveFindings notes that a comparison of the day, begun then, has not found the rest of what was found before.
func (s *Store) ResolveFindings(ctx context.Context, day string, begun time.Time) error {
	return s.db.WithContext(ctx).Model(&Finding{}).
		Where("bill_date = ? and resolve_date is null and found_date < ?", day, begun).Update("resolve_date", s.now()).Error
}

// Findings lists what was found for a day and is not resolved, the oldest first, at most limit of it, and counts all.
func (s *Store) Findings(ctx context.Context, day string, limit int) (found []Finding, all int64, err error) {
	query := s.db.WithContext(ctx).Model(&Finding{}).Where("bill_date = ? and resolve_date is null", day)
	if err := query.Count(&all).Error; err != nil {
		return nil, 0, err
	}
	err = s.db.WithContext(ctx).Where("bill_date = ? and resolve_date is null", day).
		Select("*, to_char(bill_date, 'YYYY-MM-DD') as bill_date").Order("id").Limit(limit).Find(&found).Error
	return found, all, err
}

// Page is a part of a list that is in the order of ids.
type Page struct {
	After ID // the last id of the page before
	Limit int
}

// Forgotten lists orders that something should have moved on before that time: unpaid ones whose attempts have all run
// out, and those with an opened attempt that ran out, unpaid and not closed. Their workflow is lost, or stuck.
func (s *Store) Forgotten(ctx context.Context, before time.Time, p Page) ([]Order, error) {
	var orders []Order
	err := s.db.WithContext(ctx).Raw(`
		select * from xc_orders where id in (
		    select order_id from xc_pay_record
		    where status = '601001' and close_date is null and open_date is not null
		      and expire_date < @before and order_id > @after
		    union
		    select o.id from xc_orders o
		    where o.status = '600001' and o.create_date < @before and o.id > @after
		      and not exists (select 1 from xc_pay_record r where r.order_id = o.id and r.expire_date >= @before))
		order by id limit @limit`,
		map[string]any{"before": before, "after": p.After, "limit": p.Limit}).Scan(&orders).Error
	return orders, err
}

// unfinishedFor is for how long after a payment the sweep looks whether it bought something: nothing waits so long.
const unfinishedFor = 7 * 24 * time.Hour

// Unfinished lists payments that the books took before that time and whose story did not go on: the message about the
// order has not left the outbox, or the money, paid within the last week, bought nothing and nobody gives it back.
// Settling one again goes on from there. What an operator has, or had, is left to the operator.
func (s *Store) Unfinished(ctx context.Context, before time.Time, p Page) ([]PayRecord, error) {
	var records []PayRecord
	err := s.db.WithContext(ctx).Raw(`
		select * from xc_pay_record where pay_no in (
		    select o.paid_by from mq_message m join xc_orders o on o.out_business_id = m.business_key1
		    where m.create_date < @before and o.paid_by > @after
		    union
		    select r.pay_no from xc_pay_record r join xc_orders o on o.id = r.order_id
		    where r.status = '601002' and r.pay_success_time > @since and r.close_date < @before and r.pay_no > @after
		      and o.paid_by is distinct from r.pay_no
		      and not exists (select 1 from xc_refund_record f where f.pay_no = r.pay_no)
		      and not exists (select 1 from ops_attention a where a.pay_no = r.pay_no and coalesce(a.decision, '') <> 'retry'))
		order by pay_no limit @limit`,
		map[string]any{"before": before, "since": before.Add(-unfinishedFor), "after": p.After, "limit": p.Limit}).Scan(&records).Error
	return records, err
}

// PendingRefunds lists refunds that were asked for before that time and are not through.
func (s *Store) PendingRefunds(ctx context.Context, before time.Time, p Page) ([]Refund, error) {
	var refunds []Refund
	err := s.db.WithContext(ctx).Where("id > ? and status = ? and create_date < ?", p.After, RefundPending, before).
		Order("id").Limit(p.Limit).Find(&refunds).Error
	return refunds, err
}

// Request is what the refund's workflow is started with.
func (r Refund) Request() RefundRequest {
	return RefundRequest{
		OrderID: r.OrderID, PayNo: r.PayNo, RequestNo: r.RequestNo, Amount: r.Amount, Reason: r.Reason, Origin: r.Origin,
		By: r.RequestUser,
	}
}

// Payment is the money that a paid attempt's row proves.
func (p *PayRecord) Payment() Payment {
	return Payment{PayNo: p.PayNo, TradeNo: deref(p.OutPayNo), Amount: p.TotalPrice, PaidAt: deref(p.PaySuccessTime)}
}

// Span is a time from its start up to its end, which is not part of it.
type Span struct{ From, To time.Time }

// PaidIn lists attempts that were paid in that time, by the order of pay numbers.
func (s *Store) PaidIn(ctx context.Context, t Span, p Page) ([]PayRecord, error) {
	var records []PayRecord
	err := s.db.WithContext(ctx).Where("pay_no > ? and pay_success_time >= ? and pay_success_time < ?", p.After, t.From, t.To).
		Order("pay_no").Limit(p.Limit).Find(&records).Error
	return records, err
}

// RefundedIn lists refunds that Alipay gave back in that time, by the order of ids.
func (s *Store) RefundedIn(ctx context.Context, t Span, p Page) ([]Refund, error) {
	var refunds []Refund
	err := s.db.WithContext(ctx).Where("id > ? and refund_date >= ? and refund_date < ?", p.After, t.From, t.To).
		Order("id").Limit(p.Limit).Find(&refunds).Error
	return refunds, err
}

// PayRecords finds those of the attempts that are ours.
func (s *Store) PayRecords(ctx context.Context, payNos []ID) (map[ID]PayRecord, error) {
	var records []PayRecord
	if err := s.db.WithContext(ctx).Where("pay_no in ?", payNos).Find(&records).Error; err != nil {
		return nil, err
	}
	byNo := make(map[ID]PayRecord, len(records))
	for _, r := range records {
		byNo[r.PayNo] = r
	}
	return byNo, nil
}

// RefundsByNo finds those of the refunds, by their out_request_no, that are ours.
func (s *Store) RefundsByNo(ctx context.Context, requestNos []string) (map[string]Refund, error) {
	var refunds []Refund
	if err := s.db.WithContext(ctx).Where("request_no in ?", requestNos).Find(&refunds).Error; err != nil {
		return nil, err
	}
	byNo := make(map[string]Refund, len(refunds))
	for _, r := range refunds {
		byNo[r.RequestNo] = r
	}
	return byNo, nil
}

// WithOperator says whether a payment that the books do not have is an operator's: it waits for one, or one has dealt
// with it, or has it given back.
func (s *Store) WithOperator(ctx context.Context, payNo ID, tradeNo string) (bool, error) {
	var n int64
	err := s.db.WithContext(ctx).Model(&Attention{}).
		Where("pay_no = ? and trade_no = ? and coalesce(decision, '') <> 'retry'", payNo, tradeNo).Count(&n).Error
	return n > 0, err
}
