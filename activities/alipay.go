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
	trade, err := a.cfg.Gateway.QueryTrade(ctx, payNo.String())
	if trade.Status.Paid() && trade.PaidAt.IsZero() {
		trade.PaidAt = a.cfg.Now() // Alipay may leave out send_pay_date; validity must start somewhere
	}
	return trade, retryableOrFinal(err)
}

// CloseAttempt closes an attempt at Alipay and then in our books. If it turns out to be paid it returns the payment and
// leaves the books alone.
//
// An attempt that Alipay does not know yet (models.CloseNotExist) is closed in our books only: its pay page may stay
// payable until its time_expire, and a payment that comes all the same is settled, or parked as a duplicate.
func (a *Activities) CloseAttempt(ctx context.Context, payNo models.ID) (*models.Payment, error) {
	outcome, err := a.cfg.Gateway.CloseTrade(ctx, payNo.String())
	if err != nil {
		return nil, retryableOrFinal(err)
	}
	if outcome == models.CloseNotWaiting {
		trade, err := a.AskAlipay(ctx, payNo)
		if err != nil {
			return nil, err
		}
		if trade.Status.Paid() {
			payment := PaymentOf(payNo, trade)
			return &payment, nil
		}
		if trade.Status == models.TradeWaitBuyerPay {
			return nil, lookAgainIn(time.Second, "Alipay refused to close a trade that it calls unpaid")
		}
	}
	return nil, retryableOrFinal(a.store.CloseAttempt(ctx, payNo))
}

// expiryGrace is how long after its time_expire an opened attempt is watched: a payment made in the last second takes a
// moment to show.
const expiryGrace = 10 * time.Second

// WatchPayment looks for a payment of the order by asking, until it finds one or until nobody can pay any more; then it
// returns nil. Looking again is a retry of this activity, which costs the workflow no events. Attempts whose pay page
// nobody opened are not asked about: Alipay cannot know them.
func (a *Activities) WatchPayment(ctx context.Context, orderID models.ID) (*models.Payment, error) {
	look := int(activity.GetInfo(ctx).Attempt)
	if look == 1 {
		return nil, lookAgainIn(a.pollDelay(look), "the code was shown a moment ago")
	}
	attempts, err := a.store.LiveAttempts(ctx, orderID)
	if err != nil {
		return nil, lookAgainIn(a.pollDelay(look), err.Error())
	}
	wait := time.Duration(0)
	for _, attempt := range attempts {
		end := attempt.ExpireDate
		if attempt.OpenDate != nil {
			trade, err := a.AskAlipay(ctx, attempt.PayNo)
			if err != nil {
				return nil, lookAgainIn(a.pollDelay(look), err.Error())
			}
			if trade.Status.Paid() {
				payment := PaymentOf(attempt.PayNo, trade)
				return &payment, nil
			}
			end = end.Add(expiryGrace)
		}
		wait = max(wait, end.Sub(a.cfg.Now()))
	}
	if wait <= 0 {
		return nil, nil
	}
	return nil, lookAgainIn(min(a.pollDelay(look), wait), "nobody has paid yet")
}

func (a *Activities) pollDelay(look int) time.Duration {
	return a.cfg.PollSchedule[min(look, len(a.cfg.PollSchedule))-1]
}

// Unpaid is where an order stands that nobody paid in time.
type Unpaid struct {
	Status  models.OrderStatus `json:"status"`
	Payable bool               `json:"payable"`          // an attempt has time left
	Opened  []models.ID        `json:"opened,omitempty"` // close these at Alipay and ask again
}

// CloseUnpaid closes the order and its unopened attempts whose time is over.
func (a *Activities) CloseUnpaid(ctx context.Context, orderID models.ID) (Unpaid, error) {
	attempts, err := a.store.LiveAttempts(ctx, orderID)
	if err != nil {
		return Unpaid{}, retryableOrFinal(err)
	}
	left := Unpaid{Status: models.OrderUnpaid}
	now := a.cfg.Now()
	for _, attempt := range attempts {
		switch {
		case attempt.ExpireDate.After(now):
			left.Payable = true
		case attempt.OpenDate != nil:
			left.Opened = append(left.Opened, attempt.PayNo)
		}
	}
	if left.Payable || len(left.Opened) > 0 {
		return left, nil
	}
	left.Status, err = a.store.CloseOrder(ctx, orderID)
	return left, retryableOrFinal(err)
}
