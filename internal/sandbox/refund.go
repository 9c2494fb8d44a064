package sandbox

import (
	"context"
	"slices"
	"time"

	"coursepay/models"
)

var (
	errRefundPartial  = &refusal{"ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额与交易金额不一致，部分退款须传out_request_no"}
	errRefundTooMuch  = &refusal{"ACQ.REASON_TRADE_REFUND_FEE_ERR", "退款金额无效"}
	errRefundDiffers  = &refusal{"ACQ.DISCORDANT_REPEAT_REQUEST", "同一笔退款号的两次请求金额不一致"}
	errRefundFinished = &refusal{"ACQ.TRADE_HAS_FINISHED", "交易已完结"}
	errSellerBalance  = &refusal{"ACQ.SELLER_BALANCE_NOT_ENOUGH", "卖家余额不足"}
	// Alipay asks for a pause and names no code for those who do not make it; this one means: the same again, later.
	errRefundTooSoon = &refusal{"ACQ.SYSTEM_ERROR", "同一笔交易的退款间隔过短，请稍后以相同参数重试"}
)

// refund is money given back under one out_request_no.
type refund struct {
	RequestNo string       `json:"out_request_no"`
	Amount    models.Money `json:"refund_amount"`
	At        time.Time    `json:"gmt_refund"`
}

// refunded is what was given back so far.
func (t trade) refunded() (sum models.Money) {
	for _, r := range t.Refunds {
		sum += r.Amount
	}
	return sum
}

func (t trade) refundOf(requestNo string) (refund, bool) {
	for _, r := range t.Refunds {
		if r.RequestNo == requestNo {
			return r, true
		}
	}
	return refund{}, false
}

// refund gives amount back under requestNo, unless the refund before it is more recent than pause. A repeat with the same
// amount changes nothing; a full refund closes the trade.
func (t trade) refund(requestNo string, amount models.Money, pause time.Duration, now time.Time) (trade, error) {
	partial := requestNo == "" && amount != t.Page.Terms.Amount
	if requestNo == "" {
		requestNo = t.Page.Key.OutTradeNo
	}
	if before, again := t.refundOf(requestNo); again {
		if before.Amount != amount {
			return t, errRefundDiffers
		}
		return t, nil
	}
	if err := t.refundable(amount); err != nil {
		return t, err
	}
	if partial {
		return t, errRefundPartial
	}
	if n := len(t.Refunds); n > 0 && now.Sub(t.Refunds[n-1].At) < pause {
		return t, errRefundTooSoon
	}
	return t.giveBack(requestNo, amount, now), nil
}

func (t trade) giveBack(requestNo string, amount models.Money, now time.Time) trade {
	t.Refunds = append(slices.Clip(t.Refunds), refund{requestNo, amount, now})
	if t.refunded() == t.Page.Terms.Amount {
		t.Status, t.ClosedAt = models.TradeClosed, now
	}
	return t
}

func (t trade) refundable(amount models.Money) error {
	switch t.Status {
	case models.TradeNotExist:
		return errNotExist
	case models.TradeWaitBuyerPay:
		return errNotWaiting
	case models.TradeClosed:
		return errHasClose
	case models.TradeFinished:
		return errRefundFinished
	}
	if amount > t.Page.Terms.Amount-t.refunded() {
		return errRefundTooMuch
	}
	return nil
}

// refundRequest is the biz_content of alipay.trade.refund and alipay.trade.fastpay.refund.query.
type refundRequest struct {
	tradeRequest
	OutRequestNo text `json:"out_request_no"`
	RefundAmount text `json:"refund_amount"`
}

// refundAnswer is alipay.trade.refund's. RefundFee is the sum of all refunds of the trade, SendBackFee is this one.
type refundAnswer struct {
	head
	BuyerLogonID string `json:"buyer_logon_id,omitempty"`
	BuyerOpenID  string `json:"buyer_open_id,omitempty"`
	BuyerUserID  string `json:"buyer_user_id,omitempty"`
	FundChange   string `json:"fund_change,omitempty"` // Y: this request moved money; N: an earlier one had
	GmtRefundPay string `json:"gmt_refund_pay,omitempty"`
	OutTradeNo   string `json:"out_trade_no,omitempty"`
	RefundFee    string `json:"refund_fee"`
	SendBackFee  string `json:"send_back_fee"`
	TradeNo      string `json:"trade_no,omitempty"`
}

func (s *Server) tradeRefund(_ context.Context, c call) (any, error) {
	var r refundRequest
	if err := c.biz(&r); err != nil {
		return nil, err
	}
	no := refundAnswer{OutTradeNo: string(r.OutTradeNo), RefundFee: noMoney, SendBackFee: noMoney}
	amount, err := models.ParseMoney(string(r.RefundAmount))
	if err != nil || amount == 0 {
		no.head = failed(invalid("refund_amount须为大于零、至多两位小数的金额"))
		return no, nil //nolint:nilerr // the answer carries it
	}
	key, err := s.locate(c, r.tradeRequest)
	if err != nil {
		return nil, err
	}
	poor, pending := s.refundFaults()
	moved := "N"
	t, err := s.change(key, func(t trade, now time.Time) (trade, error) {
		after, err := t.refund(string(r.OutRequestNo), amount, s.refundPause, now)
		if len(after.Refunds) > len(t.Refunds) {
			if poor {
				return t, errSellerBalance
			}
			if pending {
				return t, nil
			}
			moved = "Y"
		}
		return after, err
	})
	if refused, ok := asRefusal(err); ok {
		no.head = failed(refused)
		return no, nil
	}
	return newRefundAnswer(t, c.app.buyer(), string(r.OutRequestNo), moved), err
}

// refundFaults throws the dice for the faults of a refund.
func (s *Server) refundFaults() (poor, pending bool) {
	s.store.view(func(st *store) {
		st.drawn["refund"]++
		n := st.drawn["refund"]
		poor = st.faults.strikes(st.faults.Refund.SellerBalance, "refund.sellerBalance", n, 0)
		pending = st.faults.strikes(st.faults.Refund.Pending, "refund.pending", n, 0)
	})
	return poor, pending
}

func newRefundAnswer(t trade, by buyer, requestNo, moved string) refundAnswer {
	if requestNo == "" {
		requestNo = t.Page.Key.OutTradeNo
	}
	this, carriedOut := t.refundOf(requestNo)
	at := ""
	if carriedOut {
		at = beijingTime(this.At)
	}
	return refundAnswer{
		head: success, BuyerLogonID: buyerLogonID, BuyerUserID: by.userID, BuyerOpenID: by.openID, FundChange: moved, GmtRefundPay: at,
		OutTradeNo: t.Page.Key.OutTradeNo, RefundFee: t.refunded().String(), SendBackFee: this.Amount.String(), TradeNo: t.TradeNo,
	}
}

// refundQueryAnswer is alipay.trade.fastpay.refund.query's; for an unknown out_request_no it is the head alone.
type refundQueryAnswer struct {
	head
	OutRequestNo string `json:"out_request_no,omitempty"`
	OutTradeNo   string `json:"out_trade_no,omitempty"`
	RefundAmount string `json:"refund_amount,omitempty"`
	RefundStatus string `json:"refund_status,omitempty"`
	TotalAmount  string `json:"total_amount,omitempty"`
	TradeNo      string `json:"trade_no,omitempty"`
}

func (s *Server) refundQuery(_ context.Context, c call) (any, error) {
	var r refundRequest
	if err := c.biz(&r); err != nil {
		return nil, err
	}
	if r.OutRequestNo == "" {
		return nil, invalid("out_request_no不能为空")
	}
	key, err := s.locate(c, r.tradeRequest)
	if err != nil {
		return nil, err
	}
	var t trade
	s.store.view(func(st *store) { t = st.trades[key].at(s.clock()) })
	if !t.exists() {
		return nil, errNotExist
	}
	found, known := t.refundOf(string(r.OutRequestNo))
	if !known {
		return refundQueryAnswer{head: success}, nil
	}
	return refundQueryAnswer{
		head: success, OutRequestNo: found.RequestNo, OutTradeNo: t.Page.Key.OutTradeNo, TradeNo: t.TradeNo,
		RefundAmount: found.Amount.String(), RefundStatus: "REFUND_SUCCESS", TotalAmount: t.Page.Terms.Amount.String(),
	}, nil
}
