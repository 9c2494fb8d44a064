package sandbox

import (
	"context"
	"net/http"
	"time"

	"coursepay/models"
)

const (
	precreate = "alipay.trade.precreate"
	// qrLife is how long a QR code can be scanned (alipay.trade.precreate, qr_code).
	qrLife = 2 * time.Hour
	// cancelWindow is how long after the payment a trade can be cancelled (alipay.trade.cancel).
	cancelWindow = 24 * time.Hour
)

var errCancelTooLate = &refusal{"ACQ.TRADE_CANCEL_TIME_OUT", "超过撤销时间"}

// precreateAnswer is alipay.trade.precreate's.
type precreateAnswer struct {
	head
	OutTradeNo string `json:"out_trade_no"`
	QRCode     string `json:"qr_code"`
}

// tradePrecreate is alipay.trade.precreate: like a pay page it creates no trade; the scan does.
func (s *Server) tradePrecreate(_ context.Context, c call) (any, error) {
	p, err := s.rememberPage(c)
	if err != nil {
		return nil, err
	}
	return precreateAnswer{head: success, OutTradeNo: p.Key.OutTradeNo, QRCode: c.base + "/qr/" + p.Token}, nil
}

// scan is what a phone does with the QR code: the trade comes into being, and the cashier opens.
func (s *Server) scan(w http.ResponseWriter, r *http.Request) {
	var p page
	s.store.view(func(st *store) { p = st.pages[r.PathValue("token")] })
	if p.Token == "" || p.Method != precreate {
		s.pageError(w, http.StatusNotFound, errNoPage)
		return
	}
	if !s.tradeOf(p).Status.Paid() { // else the cashier shows the result
		if _, err := s.change(p.Key, func(t trade, now time.Time) (trade, error) { return t.login(p, now) }); err != nil {
			s.pageError(w, http.StatusConflict, err)
			return
		}
	}
	w.Header().Set("Location", "../"+cashierPath(p, ""))
	w.WriteHeader(http.StatusSeeOther)
}

// cancelAnswer is alipay.trade.cancel's. Action is close or refund, or absent when there was nothing to do.
type cancelAnswer struct {
	head
	Action     string `json:"action,omitempty"`
	OutTradeNo string `json:"out_trade_no,omitempty"`
	RetryFlag  string `json:"retry_flag"`
	TradeNo    string `json:"trade_no,omitempty"`
}

// tradeCancel closes a waiting trade and refunds a paid one. A trade that does not exist is no error, and its page or QR
// code stays payable.
func (s *Server) tradeCancel(_ context.Context, c call) (any, error) {
	r, key, err := s.aboutToClose(c)
	if err != nil {
		return nil, err
	}
	answer := cancelAnswer{head: success, OutTradeNo: string(r.OutTradeNo), RetryFlag: "N"}
	var t trade
	s.store.view(func(st *store) { t = st.trades[key].at(s.clock()) })
	if !t.exists() {
		return answer, nil
	}
	t, err = s.change(key, func(t trade, now time.Time) (after trade, err error) {
		after, answer.Action, err = t.cancel(now)
		return after, err
	})
	if no, ok := asRefusal(err); ok {
		answer.head = failed(no)
		return answer, nil
	}
	answer.OutTradeNo, answer.TradeNo = key.OutTradeNo, t.TradeNo
	return answer, err
}

// cancel is alipay.trade.cancel; action says what it came to, "" for nothing.
func (t trade) cancel(now time.Time) (after trade, action string, err error) {
	switch t.Status {
	case models.TradeFinished:
		return t, "", errRefundFinished
	case models.TradeSuccess:
		if now.Sub(t.PaidAt) >= cancelWindow {
			return t, "", errCancelTooLate
		}
		requestNo := t.Page.Key.OutTradeNo
		if _, taken := t.refundOf(requestNo); taken {
			requestNo = "cancel_" + t.TradeNo
		}
		return t.giveBack(requestNo, t.Page.Terms.Amount-t.refunded(), now), "refund", nil
	case models.TradeWaitBuyerPay:
		t.Status, t.ClosedAt = models.TradeClosed, now
		return t, "close", nil
	}
	return t, "", nil
}
