package sandbox

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"

	"coursepay/models"
)

// beijing is the zone of every time in Alipay's protocol (GMT+8, no summer time).
var beijing = time.FixedZone("GMT+8", 8*60*60)

// timeLayout is Alipay's yyyy-MM-dd HH:mm:ss.
const timeLayout = "2006-01-02 15:04:05"

// refusal is a rule of Alipay's that said no: its sub code and its Chinese message.
type refusal struct {
	Code string
	Text string
}

func (r *refusal) Error() string { return r.Code + ": " + r.Text }

var (
	errNotExist    = &refusal{"ACQ.TRADE_NOT_EXIST", "交易不存在"}
	errNotWaiting  = &refusal{"ACQ.TRADE_STATUS_ERROR", "交易状态不合法"}
	errHasSuccess  = &refusal{"ACQ.TRADE_HAS_SUCCESS", "交易已被支付"}
	errHasClose    = &refusal{"ACQ.TRADE_HAS_CLOSE", "交易已经关闭"}
	errPastExpiry  = &refusal{"ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR", "当前时间已超过允许支付的时间"}
	errOtherTerms  = &refusal{"ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改"}
	errFeeTooLarge = &refusal{"ACQ.TOTAL_FEE_EXCEED", "订单总金额超过限额"}
	errForbidden   = &refusal{"ACQ.EXIST_FORBIDDEN_WORD", "订单信息中包含违禁词"}
)

// invalid is ACQ.INVALID_PARAMETER with the reason, which the real gateway seldom gives.
func invalid(format string, args ...any) *refusal {
	return &refusal{"ACQ.INVALID_PARAMETER", "参数无效：" + fmt.Sprintf(format, args...)}
}

// terms is what may not change while a number waits for its buyer: another value under the same out_trade_no is
// CONTEXT_INCONSISTENT.
type terms struct {
	Amount      models.Money `json:"total_amount"`
	Subject     string       `json:"subject"`
	Body        string       `json:"body,omitempty"`
	ProductCode string       `json:"product_code"`
	SellerID    string       `json:"seller_id"`
	Expiry      string       `json:"expiry"` // time_expire or timeout_express as it was sent
}

// page is one pay page that a merchant opened: nobody has acted on it yet.
type page struct {
	Token      string    `json:"token"`
	Key        tradeKey  `json:"key"`
	Terms      terms     `json:"terms"`
	Method     string    `json:"method"`
	NotifyURL  string    `json:"notify_url,omitempty"`
	ReturnURL  string    `json:"return_url,omitempty"`
	QuitURL    string    `json:"quit_url,omitempty"`
	Passback   string    `json:"passback_params,omitempty"`
	Charset    string    `json:"charset"`
	OpenedAt   time.Time `json:"opened_at"`
	ExpireTime time.Time `json:"expire_time"`
	ScanBy     time.Time `json:"scan_by,omitzero"` // a QR code dies then, unless it was scanned; zero: no QR code
}

// sameAs says whether other asks for the very same page, so that its token can be used again.
func (p page) sameAs(other page) bool {
	other.Token, other.OpenedAt, other.ExpireTime, other.ScanBy = p.Token, p.OpenedAt, p.ExpireTime, p.ScanBy
	return p == other
}

// tradeKey names a trade: each app has its own out_trade_nos.
type tradeKey struct {
	AppID      string `json:"app_id"`
	OutTradeNo string `json:"out_trade_no"`
}

// trade is one out_trade_no. While Status is models.TradeNotExist, Page is the one opened last; afterwards it is the
// one that the buyer acted on.
type trade struct {
	Page      page               `json:"page"`
	TradeNo   string             `json:"trade_no,omitempty"`
	Status    models.TradeStatus `json:"trade_status"`
	CreatedAt time.Time          `json:"gmt_create,omitzero"`
	PaidAt    time.Time          `json:"gmt_payment,omitzero"`
	ClosedAt  time.Time          `json:"gmt_close,omitzero"`
	Refunds   []refund           `json:"refunds,omitempty"`
}

func (t trade) exists() bool { return t.Status != models.TradeNotExist }

// at is the trade as it stands at now: a waiting one is closed from its time_expire on.
func (t trade) at(now time.Time) trade {
	if t.Status == models.TradeWaitBuyerPay && !now.Before(t.Page.ExpireTime) {
		t.Status, t.ClosedAt = models.TradeClosed, t.Page.ExpireTime
	}
	return t
}

// opened checks whether the merchant may open p, given what its number has been through.
func (t trade) opened(p page, now time.Time) error {
	switch {
	case t.Status.Paid():
		return errHasSuccess
	case t.Status == models.TradeClosed:
		return errHasClose
	case t.exists() && t.Page.Terms != p.Terms:
		return errOtherTerms
	case !now.Before(p.ExpireTime), !t.exists() && !p.ScanBy.IsZero() && !now.Before(p.ScanBy):
		return errPastExpiry
	}
	return nil
}

// login is the buyer's log-in on p: the trade comes into being and waits.
func (t trade) login(p page, now time.Time) (trade, error) {
	if err := t.opened(p, now); err != nil {
		return t, err
	}
	if !t.exists() {
		t = trade{Page: p, TradeNo: newTradeNo(now), Status: models.TradeWaitBuyerPay, CreatedAt: now}
	}
	return t, nil
}

// pay is the buyer's 确认付款 on p.
func (t trade) pay(p page, now time.Time) (trade, error) {
	t, err := t.login(p, now)
	if err != nil {
		return t, err
	}
	t.Status, t.PaidAt = models.TradeSuccess, now
	return t, nil
}

// close is alipay.trade.close.
func (t trade) close(now time.Time) (trade, error) {
	switch t.Status {
	case models.TradeNotExist:
		return t, errNotExist
	case models.TradeWaitBuyerPay:
		t.Status, t.ClosedAt = models.TradeClosed, now
		return t, nil
	default:
		return t, errNotWaiting
	}
}

// newTradeNo looks like Alipay's: the day and twenty digits.
func newTradeNo(now time.Time) string {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(20), nil)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(err) // crypto/rand never fails on the platforms that Go supports
	}
	return now.In(beijing).Format("20060102") + fmt.Sprintf("%020d", n)
}

func newToken() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails, by its documentation
	return hex.EncodeToString(raw[:])
}
