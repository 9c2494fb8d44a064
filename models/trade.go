package models

import "time"

// TradeStatus is Alipay's trade_status (alipay.trade.query and the asynchronous notify), or TradeNotExist.
type TradeStatus string

const (
	// TradeNotExist stands for ACQ.TRADE_NOT_EXIST: the buyer has not acted yet. It is the normal state before a scan,
	// and no proof that the pay page is closed: the page stays payable until its time_expire.
	TradeNotExist TradeStatus = ""
	// TradeWaitBuyerPay: the buyer has opened the cashier and may still pay.
	TradeWaitBuyerPay TradeStatus = "WAIT_BUYER_PAY"
	// TradeSuccess: paid; refunds are possible. A partial refund keeps this state.
	TradeSuccess TradeStatus = "TRADE_SUCCESS"
	// TradeFinished: paid, and the refund window is over.
	TradeFinished TradeStatus = "TRADE_FINISHED"
	// TradeClosed: never paid and closed, or refunded in full.
	TradeClosed TradeStatus = "TRADE_CLOSED"
)

// Paid says that the buyer's money has arrived: TRADE_SUCCESS or TRADE_FINISHED.
func (s TradeStatus) Paid() bool { return s == TradeSuccess || s == TradeFinished }

// Trade is what Alipay knows of one pay number (its out_trade_no).
type Trade struct {
	PayNo   string // our out_trade_no
	TradeNo string // Alipay's trade_no, empty while the trade does not exist
	Status  TradeStatus
	Amount  Money     // total_amount
	PaidAt  time.Time // gmt_payment of a notify, send_pay_date of a query; zero while unpaid
}

// CloseOutcome is what alipay.trade.close achieved.
type CloseOutcome string

const (
	// CloseDone: the trade is closed; nobody can pay it any more.
	CloseDone CloseOutcome = "closed"
	// CloseNotExist: Alipay has no such trade yet. Its pay page stays payable until its time_expire.
	CloseNotExist CloseOutcome = "not_exist"
	// CloseNotWaiting: the trade is past WAIT_BUYER_PAY, perhaps paid: only a query tells.
	CloseNotWaiting CloseOutcome = "not_waiting"
)

// TradeRefundRequest asks Alipay for money to go back to the buyer.
type TradeRefundRequest struct {
	PayNo string // the out_trade_no that was paid
	// RequestNo (out_request_no) names this refund among those of the trade, whole refunds included: what is repeated
	// under the same number happens once.
	RequestNo string
	Amount    Money
	Reason    string // shown to the buyer, may be empty
}

// TradeRefund is what Alipay says of one refund.
type TradeRefund struct {
	PayNo, RequestNo string
	TradeNo          string // Alipay's trade_no, empty when Alipay has nothing to say
	// Refunded is true when money went back: fund_change=Y, or refund_status=REFUND_SUCCESS. False proves nothing: the
	// refund may be under way, done by an earlier request, or never have come about. Asking tells, 10 s later.
	Refunded bool
	// Amount is what went back under RequestNo, zero unless Refunded.
	Amount Money
	// TotalRefunded is refund_fee: what went back in all refunds of the trade together. It is not told when asking.
	TotalRefunded Money
	At            time.Time // gmt_refund_pay, zero when Alipay does not say
}
