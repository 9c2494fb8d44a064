package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"coursepay/models"
)

// Alipay is asked what it knows of an attempt (its out_trade_no), and of a refund.
type Alipay interface {
	QueryTrade(ctx context.Context, payNo string) (models.Trade, error)
	QueryRefund(ctx context.Context, payNo, requestNo string) (models.TradeRefund, error)
}

// The checks against Alipay's view.
const (
	moneyNotHere   = "alipay-money-booked"
	moneyNotThere  = "alipay-has-the-money"
	tradeDiffers   = "alipay-same-trade"
	refundNotHere  = "alipay-refund-booked"
	refundNotThere = "alipay-did-the-refund"
)

// AlipayChecks lists the checks that need Alipay, without queries, in the order of a report.
func AlipayChecks() []Check {
	return []Check{
		{Name: moneyNotHere, Meaning: "Money that Alipay took is in our books, or waits for an operator."},
		{Name: moneyNotThere, Meaning: "Money in our books was taken by Alipay."},
		{Name: tradeDiffers, Meaning: "Trade number and amount of a payment are the same here and there."},
		{Name: refundNotHere, Meaning: "A refund that Alipay did is in our books."},
		{Name: refundNotThere, Meaning: "A refund in our books was done by Alipay, for that amount."},
	}
}

// booked is an attempt as our books have it.
type booked struct {
	id      int64
	orderID models.ID
	payNo   models.ID
	status  models.PayStatus
	tradeNo string
	cameIn  models.Money
	excused bool // it waits for an operator, or one has dealt with it by hand
	refunds []models.Refund
}

// seen is the same attempt as Alipay has it; refunds are in the order of the books'.
type seen struct {
	trade   models.Trade
	refunds []models.TradeRefund
}

// comparison asks Alipay about one attempt after the other.
type comparison struct {
	db         *sql.DB
	options    Options
	results    []Result
	unanswered []Finding
	silence    int // attempts in a row that Alipay gave no answer about
}

func newComparison(db *sql.DB, options Options) *comparison {
	c := &comparison{db: db, options: options}
	for _, check := range AlipayChecks() {
		c.results = append(c.results, Result{Check: check.Name, Meaning: check.Meaning, Findings: []Finding{}})
	}
	return c
}

// opened are the attempts that Alipay can know.
const opened = ` from attempts a where (a.open_date is not null or a.status <> '601001')`

func (c *comparison) run(ctx context.Context) error {
	var all, done int
	err := c.db.QueryRowContext(ctx, c.options.books()+" select count(*)"+opened, c.options.arguments()).Scan(&all)
	if err != nil {
		return fmt.Errorf("count the attempts that were opened: %w", err)
	}
	for after := int64(0); ; {
		page, err := c.read(ctx, "a.id > @after", after, 200)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, b := range page {
			if err := c.compare(ctx, b); err != nil {
				return err
			}
			done++
			if c.options.Progress != nil {
				c.options.Progress(done, all)
			}
			after = b.id
		}
	}
}

// compare files what differs between our books and Alipay. What differs is looked at twice: it may have changed between
// reading and asking.
func (c *comparison) compare(ctx context.Context, b booked) error {
	findings, err := c.look(ctx, b)
	if err == nil && len(findings) > 0 {
		var again []booked
		if again, err = c.read(ctx, "a.pay_no = @after", int64(b.payNo), 1); err != nil {
			return err
		}
		findings = nil
		for _, b := range again {
			findings, err = c.look(ctx, b)
		}
	}
	if err != nil {
		return c.noAnswer(ctx, b, err)
	}
	c.silence = 0
	for _, found := range findings {
		for i := range c.results {
			if c.results[i].Check == found.Check {
				c.results[i].add(found, c.options.Limit)
			}
		}
	}
	return nil
}

// maxSilence is after how many attempts in a row without an answer nobody is asked any more.
const maxSilence = 3

func (c *comparison) noAnswer(ctx context.Context, b booked, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.unanswered = append(c.unanswered, Finding{Check: "alipay", OrderID: b.orderID, PayNo: b.payNo, Detail: err.Error()})
	if c.silence++; c.silence >= maxSilence {
		return fmt.Errorf("alipay gives no answers: %w", err)
	}
	return nil
}

func (c *comparison) look(ctx context.Context, b booked) ([]Finding, error) {
	var s seen
	err := stubbornly(ctx, func() (err error) {
		s.trade, err = c.options.Alipay.QueryTrade(ctx, b.payNo.String())
		return err
	})
	for _, r := range b.refunds {
		if err != nil || s.trade.Status == models.TradeNotExist { // there can be no refund of what is not there
			break
		}
		err = stubbornly(ctx, func() error {
			back, err := c.options.Alipay.QueryRefund(ctx, b.payNo.String(), r.RequestNo)
			if err == nil {
				s.refunds = append(s.refunds, back)
			}
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return judge(b, s, c.options.ripe()), nil
}

// stubbornly asks up to three times while the answer is none.
func stubbornly(ctx context.Context, ask func() error) error {
	const tries, pause = 3, 200 * time.Millisecond
	var err error
	for try := range tries {
		if err = ask(); err == nil || !temporary(err) || try == tries-1 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return err
}

func temporary(err error) bool {
	var failure interface{ Temporary() bool }
	return errors.As(err, &failure) && failure.Temporary()
}

// judge says how our books and Alipay differ about one attempt. What happened at Alipay after ripe may still be on its
// way to us.
func judge(b booked, s seen, ripe time.Time) []Finding {
	j := &judgement{b: b}
	took := tookMoney(s)
	switch ours := b.status != models.PayUnpaid; {
	case took && !ours && !b.excused && len(b.refunds) == 0 && !s.trade.PaidAt.After(ripe):
		j.note(moneyNotHere, "Alipay took %s with trade %s, the attempt is %s", s.trade.Amount, s.trade.TradeNo, b.status)
	case ours && !took && (b.status == models.PayPaid || s.trade.Status != models.TradeClosed):
		j.note(moneyNotThere, "the attempt is %s with trade %s, Alipay says %q", b.status, b.tradeNo, s.trade.Status)
	case ours && took && (b.tradeNo != s.trade.TradeNo || b.cameIn != s.trade.Amount):
		j.note(tradeDiffers, "here %s with trade %s, at Alipay %s with trade %s", b.cameIn, b.tradeNo, s.trade.Amount, s.trade.TradeNo)
	}
	j.refunds(s, ripe)
	return j.findings
}

type judgement struct {
	b        booked
	findings []Finding
}

func (j *judgement) note(check, detail string, args ...any) {
	j.findings = append(j.findings, Finding{
		Check: check, OrderID: j.b.orderID, PayNo: j.b.payNo, Detail: fmt.Sprintf(detail, args...),
	})
}

// tookMoney says whether the buyer has ever paid. Alipay closes a trade that is given back in whole.
func tookMoney(s seen) bool {
	for _, back := range s.refunds {
		if back.Refunded {
			return true
		}
	}
	return s.trade.Status.Paid() || (s.trade.Status == models.TradeClosed && !s.trade.PaidAt.IsZero())
}

func (j *judgement) refunds(s seen, ripe time.Time) {
	known, fresh := models.Money(0), false
	for i, r := range j.b.refunds {
		var back models.TradeRefund
		if i < len(s.refunds) {
			back = s.refunds[i]
		}
		switch {
		case r.Status == models.RefundDone && (!back.Refunded || back.Amount != r.Amount):
			j.note(refundNotThere, "refund %s gave back %s, Alipay says %s", r.RequestNo, r.Amount, back.Amount)
		case r.Status != models.RefundDone && back.Refunded && doneAt(r, back).After(ripe):
			fresh = true
		case r.Status != models.RefundDone && back.Refunded:
			j.note(refundNotHere, "refund %s is %s, Alipay gave back %s", r.RequestNo, r.Status, back.Amount)
		}
		if r.Status == models.RefundDone {
			known += r.Amount
		} else {
			known += back.Amount
		}
	}
	if s.trade.Status == models.TradeClosed && tookMoney(s) && j.b.status != models.PayUnpaid && !fresh && known < j.b.cameIn {
		j.note(refundNotHere, "Alipay gave back all of %s, we know of refunds of %s", j.b.cameIn, known)
	}
}

// doneAt is when Alipay gave the money back; where it does not say, when we asked.
func doneAt(r models.Refund, back models.TradeRefund) time.Time {
	if back.At.IsZero() {
		return r.CreateDate
	}
	return back.At
}

// read reads up to limit attempts that Alipay can know, with their refunds; where says which.
func (c *comparison) read(ctx context.Context, where string, after int64, limit int) ([]booked, error) {
	arguments := c.options.arguments()
	arguments["after"], arguments["limit"] = after, limit
	rows, err := c.db.QueryContext(ctx, c.options.books()+`
		select a.id, a.order_id, a.pay_no, a.status, coalesce(a.out_pay_no, ''), (`+cameIn+`)::text,
		    exists (select from excused e where e.pay_no = a.pay_no)
		from (select a.*`+opened+` and `+where+` order by a.id limit @limit) a
		left join parked k on k.pay_no = a.pay_no order by a.id`, arguments)
	if err != nil {
		return nil, fmt.Errorf("read the attempts that were opened: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var page []booked
	for rows.Next() {
		var b booked
		if err := rows.Scan(&b.id, &b.orderID, &b.payNo, &b.status, &b.tradeNo, &b.cameIn, &b.excused); err != nil {
			return nil, fmt.Errorf("read an attempt: %w", err)
		}
		page = append(page, b)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the attempts that were opened: %w", err)
	}
	return page, c.readRefunds(ctx, page)
}

func (c *comparison) readRefunds(ctx context.Context, page []booked) error {
	at, payNos := map[models.ID]int{}, make([]int64, len(page))
	for i, b := range page {
		at[b.payNo], payNos[i] = i, int64(b.payNo)
	}
	rows, err := c.db.QueryContext(ctx,
		`select pay_no, request_no, amount::text, status, create_date from xc_refund_record where pay_no = any ($1) order by id`, payNos)
	if err != nil {
		return fmt.Errorf("read refunds: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r models.Refund
		if err := rows.Scan(&r.PayNo, &r.RequestNo, &r.Amount, &r.Status, &r.CreateDate); err != nil {
			return fmt.Errorf("read a refund: %w", err)
		}
		b := &page[at[r.PayNo]]
		b.refunds = append(b.refunds, r)
	}
	return rows.Err()
}
