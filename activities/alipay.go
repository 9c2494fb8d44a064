package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"coursepay/models"
)

// PaymentOf is the payment that a paid trade proves.
func PaymentOf(payNo models.ID, t models.Trade) models.Payment {
	return models.Payment{PayNo: payNo, TradeNo: t.TradeNo, Amount: t.Amount, PaidAt: t.PaidAt}
}

// AskAlipay queries one attempt's trade.
func (a *Activities) AskAlipay(ctx context.Context, payNo models.ID) (models.Trade, error) {
	trade, err := queryTrade(ctx, a.cfg.Gateway, payNo, a.cfg.Now)
	return trade, retryableOrFinal(err)
}

// queryTrade asks about one attempt's trade. Alipay may leave out when it was paid; validity must start somewhere.
func queryTrade(ctx context.Context, alipay tradeQuerier, payNo models.ID, now func() time.Time) (models.Trade, error) {
	trade, err := alipay.QueryTrade(ctx, payNo.String())
	if trade.Status.Paid() && trade.PaidAt.IsZero() {
		trade.PaidAt = now()
	}
	return trade, err
}

// tradeQuerier is what asking about a trade needs of Alipay.
type tradeQuerier interface {
	QueryTrade(ctx context.Context, payNo string) (models.Trade, error)
}

// Closing is what became of an attempt that was to be closed at Alipay.
type Closing struct {
	Payment *models.Payment `json:"payment,omitempty"` // it turned out to be paid
	Closed  bool            `json:"closed"`            // nobody can pay it any more
}

// CloseAttempt closes an attempt at Alipay and then in our books. One that turns out to be paid is left alone.
//
// An attempt that Alipay does not know yet (models.CloseNotExist) is only superseded: its pay page may be open, and
// stays payable until its time_expire, so WatchPayment goes on to ask about it.
func (a *Activities) CloseAttempt(ctx context.Context, payNo models.ID) (Closing, error) {
	outcome, err := a.cfg.Gateway.CloseTrade(ctx, payNo.String())
	if err != nil {
		return Closing{}, retryableOrFinal(err)
	}
	switch outcome {
	case models.CloseDone:
		return Closing{Closed: true}, retryableOrFinal(a.store.CloseAttempt(ctx, payNo))
	case models.CloseNotExist:
		return Closing{}, retryableOrFinal(a.store.SupersedeAttempt(ctx, payNo))
	}
	trade, err := a.AskAlipay(ctx, payNo)
	switch {
	case err != nil:
		return Closing{}, err
	case trade.Status.Paid():
		payment := PaymentOf(payNo, trade)
		return Closing{Payment: &payment}, nil
	case trade.Status == models.TradeNotExist:
		return Closing{}, retryableOrFinal(a.store.SupersedeAttempt(ctx, payNo))
	case trade.Status == models.TradeWaitBuyerPay:
		return Closing{}, lookAgainIn(time.Second, "Alipay refused to close a trade that it calls unpaid")
	}
	return Closing{Closed: true}, retryableOrFinal(a.store.CloseAttempt(ctx, payNo))
}

const (
	// expiryGrace is how long after its time_expire an opened attempt is still asked about: a payment made in the last
	// second takes a moment to show.
	expiryGrace = 10 * time.Second
	// longestBlind is the longest pause between two looks at an attempt whose pay page is open.
	longestBlind = 15 * time.Second
	// longestUnopened is the pause between two looks at an attempt that nobody has opened. Opening it ends the pause, by
	// resetting the watch; this is for when that got lost.
	longestUnopened = 5 * time.Minute
	// closeWithin bounds the closing of attempts while a learner waits for the order to be cancelled.
	closeWithin = 6 * time.Second
	// askWithin bounds one question of a look, so that one attempt's trouble does not use up the time of all.
	askWithin = 4 * time.Second
)

// WatchPayment looks for a payment of the order by asking, until it finds one, or until nobody can pay any more; then it
// returns nil. Looking again is a retry of this activity, which costs the workflow no events. Attempts whose pay page
// nobody opened are not asked about: Alipay cannot know them. One whose time is over is asked about once more, and then
// closed. The API resets this activity when a pay page is opened, which makes it look at once.
func (a *Activities) WatchPayment(ctx context.Context, orderID models.ID) (*models.Payment, error) {
	if info := activity.GetInfo(ctx); info.Attempt == 1 && a.cfg.Now().Sub(info.ScheduledTime) < a.pollDelay(0) {
		return nil, lookAgainIn(a.pollDelay(0), "the code was shown a moment ago")
	}
	return a.findPayment(ctx, orderID)
}

// findPayment is one look at the order's attempts.
func (a *Activities) findPayment(ctx context.Context, orderID models.ID) (*models.Payment, error) {
	attempts, err := a.store.LiveAttempts(ctx, orderID)
	if err != nil {
		return nil, lookAgainIn(longestBlind, err.Error())
	}
	again, unanswered := time.Duration(0), error(nil)
	for _, attempt := range attempts {
		payment, next, err := a.look(ctx, attempt)
		switch {
		case payment != nil:
			return payment, nil
		case err != nil: // one attempt's trouble does not hide another one's payment
			unanswered = err
		case next > 0 && (again == 0 || next < again):
			again = next
		}
	}
	switch {
	case unanswered != nil:
		return nil, lookAgainIn(longestBlind, unanswered.Error())
	case again > 0:
		return nil, lookAgainIn(again, "nobody has paid yet")
	}
	return nil, nil
}

// look asks about one attempt, if there is something to ask. next is when to look again; 0 when nobody can pay it.
func (a *Activities) look(ctx context.Context, attempt models.PayRecord) (payment *models.Payment, next time.Duration, err error) {
	now := a.cfg.Now()
	if attempt.OpenDate == nil {
		return nil, max(0, min(attempt.ExpireDate.Sub(now), longestUnopened)), nil
	}
	asking, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	trade, err := a.AskAlipay(asking, attempt.PayNo)
	if err != nil {
		return nil, 0, err
	}
	if trade.Status.Paid() {
		found := PaymentOf(attempt.PayNo, trade)
		return &found, 0, nil
	}
	if left := attempt.ExpireDate.Add(expiryGrace).Sub(now); left > 0 && trade.Status != models.TradeClosed {
		return nil, min(left, a.pollDelay(now.Sub(*attempt.OpenDate)), longestBlind), nil
	}
	return a.bury(ctx, attempt.PayNo, trade.Status)
}

// bury closes an attempt whose time is over.
func (a *Activities) bury(ctx context.Context, payNo models.ID, status models.TradeStatus) (*models.Payment, time.Duration, error) {
	if status != models.TradeWaitBuyerPay {
		return nil, 0, a.store.CloseAttempt(ctx, payNo)
	}
	closing, err := a.CloseAttempt(ctx, payNo)
	if err == nil && closing.Payment == nil && !closing.Closed {
		return nil, longestBlind, nil
	}
	return closing.Payment, 0, err
}

// pollDelay is how long to wait for the next look at an attempt that is as old as that: the schedule is walked from the
// attempt's start.
func (a *Activities) pollDelay(age time.Duration) time.Duration {
	schedule := a.cfg.PollSchedule
	for _, delay := range schedule {
		if age -= delay; age < 0 {
			return delay
		}
	}
	return schedule[len(schedule)-1]
}

// CloseOrder closes the order if nobody can pay it any more, and says where it stands; empty if there is none.
func (a *Activities) CloseOrder(ctx context.Context, key models.OrderKey) (models.Standing, error) {
	order, err := a.store.OrderOf(ctx, key)
	if err != nil || order == nil {
		return models.Standing{}, retryableOrFinal(err)
	}
	now, err := a.store.CloseOrder(ctx, order.ID)
	return now, retryableOrFinal(err)
}

// Cancellation is what became of an order that was to be cancelled.
type Cancellation struct {
	Payment  *models.Payment `json:"payment,omitempty"` // somebody has paid: the order is not cancelled
	Standing models.Standing `json:"standing"`
}

// CancelOrder closes what is open of an unpaid order at Alipay, as far as Alipay answers in time, and then the order in
// the books. A page that could not be closed may still be paid, and the standing says so.
func (a *Activities) CancelOrder(ctx context.Context, key models.OrderKey) (Cancellation, error) {
	order, err := a.store.OrderOf(ctx, key)
	if err != nil || order == nil {
		return Cancellation{}, retryableOrFinal(err)
	}
	if order.Status == models.OrderUnpaid {
		payment, err := a.closeOpened(ctx, order.ID)
		if err != nil || payment != nil {
			return Cancellation{Payment: payment}, retryableOrFinal(err)
		}
	}
	now, err := a.store.CancelOrder(ctx, order.ID)
	return Cancellation{Standing: now}, retryableOrFinal(err)
}

// closeOpened tries to close the order's opened attempts at Alipay, and returns the payment that it meets.
func (a *Activities) closeOpened(ctx context.Context, orderID models.ID) (*models.Payment, error) {
	attempts, err := a.store.LiveAttempts(ctx, orderID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	for _, attempt := range attempts {
		if attempt.OpenDate == nil {
			continue
		}
		closing, err := a.CloseAttempt(ctx, attempt.PayNo)
		if err != nil {
			a.cfg.Logger.WarnContext(ctx, "attempt of a cancelled order not closed", "orderId", orderID, "payNo", attempt.PayNo, "error", err)
		}
		if closing.Payment != nil {
			return closing.Payment, nil
		}
	}
	return nil, nil
}
