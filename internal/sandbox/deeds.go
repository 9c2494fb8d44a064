package sandbox

import (
	"errors"
	"time"

	"coursepay/models"
)

var (
	errNeverOpened  = &refusal{"ACQ.TRADE_NOT_EXIST", "没有打开过该订单的支付页面"}
	errAmbiguous    = errors.New("several apps use this out_trade_no: add ?app_id=")
	errNoSuchNotify = errors.New("no such notify")
	errUnchanged    = errors.New("nothing to write")
)

func asRefusal(err error) (*refusal, bool) { return errors.AsType[*refusal](err) }

// change moves one trade from its state to another and writes that down; the notification, if there is one, is written
// with it.
// The error is a *refusal when Alipay's rules forbid it, and then nothing has changed.
func (s *Server) change(key tradeKey, deed func(trade, time.Time) (trade, error)) (trade, error) {
	var after trade
	var told []notification
	err := s.store.update(func(st *store) (r record, err error) {
		now := s.clock()
		before := st.trades[key].at(now)
		if after, err = deed(before, now); err != nil {
			return r, err
		}
		r.Trades = []trade{after}
		if fields := s.news(before, after); fields != nil && after.Page.NotifyURL != "" {
			seq, id := st.nextSeq()
			r.Notifies = []notification{st.planFirst(newNotification(after, s.apps[key.AppID].buyer(), fields, seq, id, now), time.Now())}
		}
		told = r.Notifies
		return r, nil
	})
	if err != nil {
		return trade{}, err
	}
	for _, n := range told {
		s.agenda.add(n)
	}
	return after, nil
}

// news is what the merchant is told of a change beyond the trade as it stands; nil means nothing is told. A closing
// without a refund is told only when the sandbox was asked to: Alipay's documents leave it open, and nobody may rely on it.
func (s *Server) news(before, after trade) map[string]string {
	switch {
	case len(after.Refunds) > len(before.Refunds):
		last := after.Refunds[len(after.Refunds)-1]
		fields := map[string]string{
			"refund_fee": after.refunded().String(), "send_back_fee": last.Amount.String(), "out_biz_no": last.RequestNo,
			"gmt_refund": last.At.In(beijing).Format(timeLayout + ".000"),
		}
		if after.Status == models.TradeClosed {
			fields["gmt_close"] = beijingTime(after.ClosedAt)
		}
		return fields
	case after.Status == models.TradeSuccess && !before.Status.Paid(),
		after.Status == models.TradeFinished && before.Status != models.TradeFinished:
		return map[string]string{}
	case s.notifyClose && after.Status == models.TradeClosed && before.Status != models.TradeClosed:
		return map[string]string{"gmt_close": beijingTime(after.ClosedAt)}
	}
	return nil
}

// buyerPays is the buyer's payment on the page that was opened last, or that the trade came from.
func (s *Server) buyerPays(key tradeKey) (trade, error) {
	return s.change(key, func(t trade, now time.Time) (trade, error) { return t.pay(t.Page, now) })
}

func (s *Server) buyerLogsIn(key tradeKey) (trade, error) {
	return s.change(key, func(t trade, now time.Time) (trade, error) { return t.login(t.Page, now) })
}

// operatorCloses closes a trade as Alipay itself would; one that nobody has acted on yet comes into being for that.
func (s *Server) operatorCloses(key tradeKey) (trade, error) {
	return s.change(key, func(t trade, now time.Time) (trade, error) {
		if t.Status == models.TradeClosed {
			return t, errHasClose
		}
		if !t.exists() {
			var err error
			if t, err = t.login(t.Page, now); err != nil {
				return t, err
			}
		}
		return t.close(now)
	})
}

// refundWindowEnds is what months would do: a paid trade can be refunded no more.
func (s *Server) refundWindowEnds(key tradeKey) (trade, error) {
	return s.change(key, func(t trade, _ time.Time) (trade, error) {
		if t.Status != models.TradeSuccess {
			return t, errNotWaiting
		}
		t.Status = models.TradeFinished
		return t, nil
	})
}

// raceBuyer is the fault payBeforeClose: the buyer is quicker than the close or cancel that is about to happen.
func (s *Server) raceBuyer(key tradeKey) {
	var strikes bool
	s.store.view(func(st *store) {
		if _, known := st.trades[key]; known && st.faults.Race.PayBeforeClose > 0 {
			st.drawn["race"]++
			strikes = st.faults.strikes(st.faults.Race.PayBeforeClose, "race.payBeforeClose", st.drawn["race"], 0)
		}
	})
	if !strikes {
		return
	}
	if _, err := s.buyerPays(key); err != nil {
		s.log.Info("buyer could not race the close", "out_trade_no", key.OutTradeNo, "error", err)
	}
}
