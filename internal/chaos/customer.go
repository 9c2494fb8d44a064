package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"coursepay/internal/auth"
	"coursepay/internal/buyer"
	"coursepay/models"
)

// visit is a customer at work.
type visit struct {
	Customer
	client   *caller
	operator *operator
	diary    *diary
	choice   choice
	asked    int // codes asked for, each under a key of its own
}

// choice is what the customer has chosen, a course or a material.
type choice struct {
	ID                         string
	CoursePrice, MaterialPrice json.Number
}

func (c choice) price() json.Number {
	if c.CoursePrice != "" {
		return c.CoursePrice
	}
	return c.MaterialPrice
}

// patience is how long a customer, or an operator, goes on trying.
const patience = 75 * time.Second

func (v *visit) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if v.Skew != 0 {
		v.diary.count(&v.diary.Faults, fmt.Sprintf("clock  tokens from one that is off by %v", v.Skew))
	}
	if err := v.choose(ctx); err != nil {
		return
	}
	v.knockExpired(ctx)
	payNo, orderID := v.act(ctx)
	if v.Refund == "" && !v.Keyed {
		return // and does not look back: nobody asks on this learner's behalf
	}
	if payNo != "" && v.paidWithin(ctx, payNo) && v.Refund != "" {
		v.operator.refund(ctx, orderID, v.Refund)
	}
}

// act does the deed and returns the attempt that the customer believes to have paid, and its order.
func (v *visit) act(ctx context.Context) (payNo, orderID string) {
	first, err := v.code(ctx)
	if err != nil {
		return "", ""
	}
	switch v.Does {
	case Buys:
		return v.pay(ctx, first)
	case AsksAgain:
		return v.payNew(ctx)
	case AsksAtOnce:
		return v.askAtOnce(ctx)
	case PaysOld, PaysBoth:
		return v.payOld(ctx, first)
	case Looks:
		_, _ = v.open(ctx, first)
	case Cancels:
		v.maybeOpen(ctx, first)
		v.cancel(ctx, first.OrderID)
	case ComesBack:
		v.maybeOpen(ctx, first)
		v.cancel(ctx, first.OrderID)
		return v.payNew(ctx)
	case CancelsPays:
		return v.cancelPaying(ctx, first)
	case NeverScans:
	}
	return "", ""
}

func (v *visit) choose(ctx context.Context) error {
	path := "/learning/choosecourse/"
	if v.Type == models.OrderMaterial {
		path = "/learning/choosematerial/"
	}
	return persist(ctx, func() error { return v.client.call(ctx, "choose", http.MethodPost, path+v.Goods, "", nil, &v.choice) })
}

// knockExpired shows a token that ran out long ago: nobody may let it in.
func (v *visit) knockExpired(ctx context.Context) {
	late := *v.client
	late.skew = -tokensLast - 5*time.Minute
	err := late.call(ctx, withOldToken, http.MethodGet, "/orders/my", "", nil, new(any))
	if err == nil {
		v.diary.find(Finding{Check: "old-token", User: v.User, Detail: "a token that ran out 5 minutes ago was let in"})
	}
}

// code asks for a code until there is one.
func (v *visit) code(ctx context.Context) (record buyer.PayRecord, err error) {
	v.asked++
	key := ""
	if v.Keyed {
		key = fmt.Sprint(v.User, "-", v.asked)
	}
	err = persist(ctx, func() error { record, err = v.codeOnce(ctx, key); return err })
	if err == nil && v.Keyed {
		v.askSame(ctx, key, record)
	}
	return record, err
}

func (v *visit) codeOnce(ctx context.Context, key string) (record buyer.PayRecord, err error) {
	err = v.client.call(ctx, "generatepaycode", http.MethodPost, "/orders/generatepaycode", key, map[string]any{
		"totalPrice": v.choice.price(), "orderType": v.Type, "outBusinessId": v.choice.ID,
	}, &record)
	if err == nil {
		v.diary.write(func() { v.diary.codes = append(v.diary.codes, code{v.User, record.OrderID, record.PayNo}) })
	}
	return record, err
}

// askSame asks once more under the same key: that finds the same attempt.
func (v *visit) askSame(ctx context.Context, key string, first buyer.PayRecord) {
	again, err := v.codeOnce(ctx, key)
	if err == nil && again.PayNo != first.PayNo {
		v.diary.find(Finding{Check: "same-key-same-code", User: v.User, OrderID: first.OrderID, PayNo: first.PayNo,
			Detail: "asked again under the same Idempotency-Key and got " + again.PayNo})
	}
}

var errNoPage = errors.New("the phone shows no cashier")

// page is a cashier's page on a phone.
type page struct {
	phone   *buyer.Phone
	cashier *buyer.Page
}

// open scans a code and opens the cashier. A few tries: people give up, too.
func (v *visit) open(ctx context.Context, record buyer.PayRecord) (page, error) {
	address, err := buyer.Scan(record.QRCode)
	if err != nil {
		v.diary.find(Finding{Check: "code-readable", User: v.User, OrderID: record.OrderID, PayNo: record.PayNo, Detail: err.Error()})
		return page{}, err
	}
	phone, err := buyer.NewPhone()
	if err != nil {
		return page{}, err
	}
	for range 5 {
		cashier, err := v.show(ctx, phone, address)
		if err == nil {
			return page{phone, cashier}, nil
		}
		if !sleep(ctx, time.Second) {
			break
		}
	}
	return page{}, errNoPage
}

func (v *visit) show(ctx context.Context, phone *buyer.Phone, address string) (*buyer.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	cashier, err := phone.OpenCashier(ctx, address)
	v.diary.count(&v.diary.Answers, "scan: "+shown(err))
	return cashier, err
}

// confirm pays on a page that is open.
func (v *visit) confirm(ctx context.Context, p page) bool {
	for range 3 {
		once, cancel := context.WithTimeout(ctx, answerWithin)
		_, err := p.phone.Pay(once, p.cashier)
		cancel()
		v.diary.count(&v.diary.Answers, "pay at the cashier: "+shown(err))
		if err == nil {
			return true
		}
		if !sleep(ctx, time.Second) {
			break
		}
	}
	return false
}

func shown(err error) string {
	if err == nil {
		return "200"
	}
	return "not shown"
}

func (v *visit) maybeOpen(ctx context.Context, record buyer.PayRecord) {
	if v.Keyed { // as good a coin as any
		_, _ = v.open(ctx, record)
	}
}

// pay pays with a code, or with a new one when that shows nothing any more.
func (v *visit) pay(ctx context.Context, record buyer.PayRecord) (payNo, orderID string) {
	if p, err := v.open(ctx, record); err == nil && v.confirm(ctx, p) {
		return record.PayNo, record.OrderID
	}
	if v.asked < 3 {
		return v.payNew(ctx)
	}
	return "", ""
}

func (v *visit) payNew(ctx context.Context) (payNo, orderID string) {
	record, err := v.code(ctx)
	if err != nil {
		return "", ""
	}
	return v.pay(ctx, record)
}

// askAtOnce asks for two codes at the same time, and pays with one of them if it can.
func (v *visit) askAtOnce(ctx context.Context) (payNo, orderID string) {
	var records [2]buyer.PayRecord
	var all sync.WaitGroup
	for i := range records {
		all.Go(func() { records[i], _ = v.codeOnce(ctx, "") })
	}
	all.Wait()
	for _, record := range records {
		if record.PayNo == "" {
			continue
		}
		if p, err := v.open(ctx, record); err == nil && v.confirm(ctx, p) {
			return record.PayNo, record.OrderID
		}
	}
	return v.payNew(ctx)
}

// payOld opens the page of the first code, asks for a second one, and pays the first page; the second as well if it wants
// both, or if the first does not take it any more.
func (v *visit) payOld(ctx context.Context, first buyer.PayRecord) (payNo, orderID string) {
	old, err := v.open(ctx, first)
	if err != nil {
		return v.payNew(ctx)
	}
	second, askErr := v.code(ctx)
	var fresh page
	if askErr == nil && v.Does == PaysBoth {
		fresh, askErr = v.open(ctx, second)
	}
	if v.confirm(ctx, old) {
		payNo, orderID = first.PayNo, first.OrderID
	}
	switch {
	case askErr != nil:
	case fresh.phone != nil:
		if v.confirm(ctx, fresh) && payNo == "" {
			payNo, orderID = second.PayNo, second.OrderID
		}
	case payNo == "":
		return v.pay(ctx, second)
	}
	return payNo, orderID
}

func (v *visit) cancel(ctx context.Context, orderID string) {
	_ = persist(ctx, func() error {
		return v.client.call(ctx, "cancel", http.MethodPost, "/orders/"+orderID+"/cancel", "", nil, new(any))
	})
}

func (v *visit) cancelPaying(ctx context.Context, record buyer.PayRecord) (payNo, orderID string) {
	p, err := v.open(ctx, record)
	if err != nil {
		return "", ""
	}
	var both sync.WaitGroup
	both.Go(func() { v.cancel(ctx, record.OrderID) })
	both.Go(func() {
		if v.confirm(ctx, p) {
			payNo, orderID = record.PayNo, record.OrderID
		}
	})
	both.Wait()
	return payNo, orderID
}

// paidWithin asks as the front end does until the payment is in the books.
func (v *visit) paidWithin(ctx context.Context, payNo string) bool {
	for ctx.Err() == nil {
		var record buyer.PayRecord
		err := v.client.call(ctx, "payresult", http.MethodGet, "/orders/payresult?payNo="+payNo, "", nil, &record)
		if err == nil && record.Status == string(models.PayPaid) {
			v.diary.write(func() { v.diary.paid = append(v.diary.paid, payNo) })
			return true
		}
		if final(err) || !sleep(ctx, 2*time.Second) {
			break
		}
	}
	return false
}

// newVisit sends a customer to the shop.
func (r *run) newVisit(c Customer) *visit {
	return &visit{
		Customer: c, diary: r.diary, operator: r.operator,
		client: &caller{
			api: r.apiURL(), secret: r.env["JWT_SECRET"], user: auth.User{ID: c.User}, skew: c.Skew,
			diary: r.diary, http: r.http,
		},
	}
}
