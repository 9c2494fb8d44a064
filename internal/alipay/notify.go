package alipay

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	gopaymap "github.com/go-pay/gopay"
	gopay "github.com/go-pay/gopay/alipay"

	"coursepay/models"
)

// Why a notify is refused. Answer anything but "success" to all of them.
var (
	// ErrNotifyMalformed: not the form that Alipay posts, or one that can be read in two ways.
	ErrNotifyMalformed = errors.New("alipay notify: malformed")
	// ErrNotifySignType: sign_type is not exactly RSA2.
	ErrNotifySignType = errors.New("alipay notify: sign_type is not RSA2")
	// ErrNotifySignature: Alipay has not signed this.
	ErrNotifySignature = errors.New("alipay notify: bad signature")
	// ErrNotifyApp: genuine, and for another application.
	ErrNotifyApp = errors.New("alipay notify: another app_id")
	// ErrNotifySeller: genuine, and for another seller.
	ErrNotifySeller = errors.New("alipay notify: another seller_id")
	// ErrNotifyAmount: genuine, and an amount in it is not an amount.
	ErrNotifyAmount = errors.New("alipay notify: bad amount")
)

// maxNotify is far above any notify of Alipay's, which stay below 8 KiB.
const maxNotify = 256 << 10

// notifyCharsets are the charsets that a notify may be in. Each encodes '&' and '=' as ASCII does and never uses those
// bytes inside another character, so the signed text can be put together from the bytes as they came.
var notifyCharsets = []string{"", "utf-8", "gbk", "gb2312", "gb18030"}

// Notify is an asynchronous notify that Alipay has signed. Whether the pay number is ours, and whether the amount is
// the order's, only the caller can know.
type Notify struct {
	NotifyID, NotifyType string // NotifyID is the same on every resend of one notification
	AppID, SellerID      string
	PayNo                string // our out_trade_no
	TradeNo              string // Alipay's trade_no
	OutBizNo             string // a refund's out_request_no
	Status               models.TradeStatus
	Amount               models.Money // total_amount of the trade
	RefundFee            models.Money // refunded so far, all refunds together
	// PaidAt, RefundedAt and ClosedAt are gmt_payment, gmt_refund and gmt_close, zero when absent.
	PaidAt, RefundedAt, ClosedAt time.Time
}

// IsPayment is true when the notify tells of money that has arrived. A partial refund sends TRADE_SUCCESS once more,
// and is no payment.
func (n Notify) IsPayment() bool { return n.Status.Paid() && !n.IsRefund() }

// IsRefund is true when the notify tells of money that went back, in part or in full.
func (n Notify) IsRefund() bool { return n.RefundFee > 0 || n.OutBizNo != "" || !n.RefundedAt.IsZero() }

// ParseNotify decides whether raw, a request body exactly as received, is a notify of Alipay's for this application and
// seller. The error is one of the ErrNotify… values, wrapped. With ErrNotifyApp, ErrNotifySeller and ErrNotifyAmount the
// notify is returned too: Alipay did sign it, so it is good evidence. With the others it is empty; see ClaimedPayNo.
func (c *Client) ParseNotify(raw []byte) (Notify, error) {
	form, err := notifyForm(raw)
	if err != nil {
		return Notify{}, err
	}
	if form.Get("sign_type") != gopay.RSA2 {
		return Notify{}, ErrNotifySignType
	}
	if err := c.verifyNotify(form); err != nil {
		return Notify{}, fmt.Errorf("%w: %w", ErrNotifySignature, err)
	}
	return c.readNotify(form)
}

// ClaimedPayNo is the pay number that a notify of any kind, forged ones included, says it is about; empty if it names
// none. It is for filing evidence only and must never lead to a state change.
func ClaimedPayNo(raw []byte) string {
	if len(raw) > maxNotify {
		return ""
	}
	form, _ := url.ParseQuery(string(raw))
	if claimed := form["out_trade_no"]; len(claimed) == 1 && payNoText.MatchString(claimed[0]) {
		return claimed[0]
	}
	return ""
}

// notifyForm reads the body without the help of the Content-Type header, which Alipay sends in a form that Go's
// ParseForm refuses.
func notifyForm(raw []byte) (url.Values, error) {
	if len(raw) == 0 || len(raw) > maxNotify {
		return nil, fmt.Errorf("%w: %d bytes", ErrNotifyMalformed, len(raw))
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: not a form", ErrNotifyMalformed)
	}
	for key, values := range form {
		if len(values) != 1 {
			return nil, fmt.Errorf("%w: repeated key", ErrNotifyMalformed)
		}
		if key == "" || strings.ContainsAny(key, "=&") || hidesField(values[0]) {
			return nil, fmt.Errorf("%w: ambiguous field", ErrNotifyMalformed)
		}
	}
	if !slices.Contains(notifyCharsets, strings.ToLower(form.Get("charset"))) {
		return nil, fmt.Errorf("%w: unknown charset", ErrNotifyMalformed)
	}
	return form, nil
}

// decisive are the fields that decide what a notify means.
var decisive = []string{
	"app_id", "seller_id", "out_trade_no", "trade_no", "trade_status", "total_amount", "refund_fee", "out_biz_no",
	"gmt_payment", "gmt_refund", "gmt_close", "notify_id", "notify_type",
}

// hidesField finds a decisive field tucked into another one's value. The signature covers the joined text "k=v&k=v"
// only, so a genuine refund notify with its refund_fee moved into the field before it would still verify, as a payment.
func hidesField(value string) bool {
	return strings.Contains(value, "&") && slices.ContainsFunc(decisive, func(field string) bool {
		return strings.Contains(value, "&"+field+"=")
	})
}

// verifyNotify checks the signature over all fields but sign and sign_type, unknown ones included. Alipay's documents
// contradict each other on whether empty values take part, and in certificate mode clients disagree on alipay_cert_sn.
// Either reading is accepted: each is Alipay's signature.
func (c *Client) verifyNotify(form url.Values) error {
	// A map of its own: gopay's helpers delete and drop what they dislike.
	fields, err := gopay.ParseNotifyByURLValues(form)
	if err != nil {
		return err
	}
	sign := form.Get("sign")
	fields.Remove("sign")
	fields.Remove("sign_type")
	err = c.verifyFields(fields, sign)
	if errors.Is(err, errBadSignature) && c.trust.certificates() && form.Has("alipay_cert_sn") {
		fields.Remove("alipay_cert_sn")
		return c.verifyFields(fields, sign)
	}
	return err
}

func (c *Client) verifyFields(fields gopaymap.BodyMap, sign string) error {
	err := c.trust.verify([]byte(fields.EncodeAliPaySignParams()), sign)
	if errors.Is(err, errBadSignature) && hasEmpty(fields) {
		return c.trust.verify([]byte(joinAll(fields)), sign)
	}
	return err
}

func hasEmpty(fields gopaymap.BodyMap) bool {
	return slices.Contains(slices.Collect(maps.Values(fields)), any(""))
}

// joinAll is gopay's EncodeAliPaySignParams with the empty values left in.
func joinAll(fields gopaymap.BodyMap) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		pairs = append(pairs, key+"="+fields.GetString(key))
	}
	return strings.Join(pairs, "&")
}

// readNotify takes the fields out of a verified form and holds them against who we are.
func (c *Client) readNotify(form url.Values) (Notify, error) {
	n := Notify{
		NotifyID: form.Get("notify_id"), NotifyType: form.Get("notify_type"),
		AppID: form.Get("app_id"), SellerID: form.Get("seller_id"),
		PayNo: form.Get("out_trade_no"), TradeNo: form.Get("trade_no"), OutBizNo: form.Get("out_biz_no"),
		Status: models.TradeStatus(form.Get("trade_status")),
	}
	if !payNoText.MatchString(n.PayNo) || n.Status == "" {
		return Notify{}, fmt.Errorf("%w: no out_trade_no or trade_status", ErrNotifyMalformed)
	}
	if err := n.readDates(form); err != nil {
		return Notify{}, err
	}
	amountErr := n.readAmounts(form)
	switch {
	case n.AppID != c.cfg.AppID:
		return n, ErrNotifyApp
	case n.SellerID != c.cfg.SellerID:
		return n, ErrNotifySeller
	}
	return n, amountErr
}

func (n *Notify) readAmounts(form url.Values) (err error) {
	if n.Amount, err = models.ParseMoney(form.Get("total_amount")); err != nil || n.Amount == 0 {
		return fmt.Errorf("%w: total_amount", ErrNotifyAmount)
	}
	if fee := form.Get("refund_fee"); fee != "" {
		if n.RefundFee, err = models.ParseMoney(fee); err != nil {
			return fmt.Errorf("%w: refund_fee", ErrNotifyAmount)
		}
	}
	return nil
}

func (n *Notify) readDates(form url.Values) (err error) {
	for field, date := range map[string]*time.Time{
		"gmt_payment": &n.PaidAt, "gmt_refund": &n.RefundedAt, "gmt_close": &n.ClosedAt,
	} {
		if *date, err = parseDate(form.Get(field)); err != nil {
			return fmt.Errorf("%w: %s", ErrNotifyMalformed, field)
		}
	}
	return nil
}
