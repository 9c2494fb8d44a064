package endings

import (
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"coursepay/models"
)

// books is how an order stands in our books, and at Alipay, when all is over.
type books struct {
	order    models.Order
	attempts []attempt
	refunds  []models.Refund
	enrolled int
	chosen   models.ChooseStatus
	sent     map[string]int // messages that were delivered, by their type
}

// attempt is one code, in our books and at Alipay.
type attempt struct {
	models.PayRecord
	trade
	back   models.Money // what Alipay has given back
	booked models.Money // what our books say is given back
}

func (w *world) read() books {
	ctx, t := w.t.Context(), w.t
	story, err := w.store.OrderStory(ctx, w.order)
	require.NoError(t, err)
	b := books{order: story.Order.Order, refunds: story.Refunds, sent: map[string]int{}}
	for _, m := range story.Messages {
		if m.Delivered {
			b.sent[m.MessageType]++
		}
	}
	for _, record := range story.Attempts {
		a := attempt{PayRecord: record, trade: w.trade(record.PayNo)}
		a.back, err = models.ParseMoney(a.RefundFee)
		require.NoError(t, err)
		for _, r := range story.Refunds {
			if r.PayNo == record.PayNo && r.Status == models.RefundDone {
				a.booked += r.Amount
			}
		}
		b.attempts = append(b.attempts, a)
	}
	require.NoError(t, w.db.QueryRowContext(ctx, `select count(*) from xc_course_tables where user_id = $1`, w.in.UserID).Scan(&b.enrolled))
	require.NoError(t, w.db.QueryRowContext(ctx, `select status from xc_choose_course where id = $1`, w.in.OutBusinessID).Scan(&b.chosen))
	return b
}

// bought says that this attempt paid the order.
func (b books) bought(payNo models.ID) bool { return b.order.PaidBy != nil && *b.order.PaidBy == payNo }

// wrong lists every sentence about the books that is not true, and has to be.
func (w *world) wrong(b books) (faults []string) {
	must := func(right bool, format string, args ...any) {
		if !right {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	w.moneyIsRight(b, must)
	w.goodsAreRight(b, must)
	w.stepsAreRight(must)
	w.nothingIsOpen(b, must)
	return faults
}

type sentence func(right bool, format string, args ...any)

// moneyIsRight: what came in has bought the order or went back, once; and Alipay's view of it is ours.
func (w *world) moneyIsRight(b books, must sentence) {
	byOps := 0
	for _, r := range b.refunds {
		if r.Origin == models.RefundByOperator {
			byOps++
		}
	}
	must(byOps == w.refunds, "operators asked for %d refunds, the books have %d", w.refunds, byOps)
	for _, a := range b.attempts {
		hand := models.Money(0)
		if w.byHand[a.PayNo] {
			hand = a.TotalPrice
		}
		must(a.back == a.booked+hand, "money: Alipay gave %s of %s back, the books say %s, by hand %s", a.back, a.PayNo, a.booked, hand)
		must(a.back <= a.TotalPrice, "money: %s was given back twice", a.PayNo)
		kept := a.paid() && a.back < a.TotalPrice
		if a.paid() {
			must(kept == (b.bought(a.PayNo) && b.order.Status == models.OrderPaid),
				"money: %s was paid, %s of it is back, bought the order: %t, order is %s", a.PayNo, a.back, b.bought(a.PayNo), b.order.Status)
		}
		must(hand > 0 || (a.Status == models.PayUnpaid) == !a.paid(), "money: %s is %s, Alipay says %s", a.PayNo, a.Status, a.Standing)
		must(hand > 0 || (a.Status == models.PayRefunded) == (a.paid() && !kept), "money: %s is %s, %s of it is back", a.PayNo, a.Status, a.back)
		must(a.OutPayNo == nil || *a.OutPayNo == a.TradeNo, "money: %s was paid by trade %s, not %v", a.PayNo, a.TradeNo, a.OutPayNo)
	}
	for _, r := range b.refunds {
		if r.Status == models.RefundDone {
			back, err := w.alipay.QueryRefund(w.t.Context(), r.PayNo.String(), r.RequestNo)
			must(err == nil && back.Refunded && back.Amount == r.Amount, "money: refund %s of %s is in the books, Alipay says %+v %v", r.RequestNo, r.Amount, back, err)
		}
	}
	// Money that comes while the order is just being closed may go back; where everything has its time, it may not.
	must(!w.promised || w.pause() == atOnce || w.how == refusing || b.order.PaidBy != nil, "goods: money came while the order was open, and it bought nothing")
	must(w.perhaps || w.how != offline || b.order.PaidBy == nil, "goods: a late payment bought what is sold no more")
}

// goodsAreRight: who has paid is enrolled, once, and nobody else; the bus was told, once.
func (w *world) goodsAreRight(b books, must sentence) {
	paid := b.order.Status == models.OrderPaid
	must(b.enrolled <= 1, "goods: enrolled %d times", b.enrolled)
	must((b.enrolled == 1) == paid, "goods: order is %s, enrolled %d times", b.order.Status, b.enrolled)
	must((b.chosen == models.ChooseDone) == (b.order.PaidBy != nil), "goods: the choice is %s, the order %s", b.chosen, b.order.Status)
	for what, told := range map[string]bool{models.MessagePayResult: b.order.PaidBy != nil, models.MessageRefund: b.order.Status == models.OrderRefunded} {
		want := 0
		if told {
			want = 1
		}
		must(b.sent[what] == want, "bus: %d %s, want %d", b.sent[what], what, want)
	}
}

// stepsAreRight: the order took only steps that models allows, each from where the one before had led.
func (w *world) stepsAreRight(must sentence) {
	story, err := w.store.OrderStory(w.t.Context(), w.order)
	require.NoError(w.t, err)
	stands := models.OrderUnpaid
	for _, step := range story.Audit {
		if step.ToStatus == nil {
			continue
		}
		from, to := models.OrderStatus(*step.FromStatus), models.OrderStatus(*step.ToStatus)
		must(from == stands, "steps: %s from %s, when the order was %s", step.Event, from, stands)
		must(from.May(to), "steps: %s from %s to %s", step.Event, from, to)
		stands = to
	}
	must(stands == story.Order.Status, "steps: the trail ends at %s, the order is %s", stands, story.Order.Status)
}

// nothingIsOpen: no story waits, no page can be paid, nothing is to be sent, given back or decided.
func (w *world) nothingIsOpen(b books, must sentence) {
	must(len(w.failed) == 0, "story failed: %s", strings.Join(w.failed, "; "))
	must(len(w.stories()) == 0, "open: stories run for ever: %s", strings.Join(w.stories(), ", "))
	must(b.order.Status != models.OrderUnpaid, "open: the order is unpaid, and its time is over")
	for _, a := range b.attempts {
		must(a.Status != models.PayUnpaid || a.CloseDate != nil, "open: %s is neither paid nor closed", a.PayNo)
	}
	for _, r := range b.refunds {
		must(r.Status != models.RefundPending, "open: refund %s is pending", r.RequestNo)
	}
	must(len(w.parked()) == 0, "open: something is parked")
	undelivered, err := w.store.UndeliveredMessages(w.t.Context(), w.order)
	require.NoError(w.t, err)
	must(len(undelivered) == 0, "open: %d messages in the outbox", len(undelivered))
}
