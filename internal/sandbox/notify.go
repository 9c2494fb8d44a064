package sandbox

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"

	"coursepay/models"
)

// The one buyer of this little world. Alipay masks the log-in name just so.
const (
	buyerID      = "2088102176000001"
	buyerOpenID  = "074a1CcTG1LelxKe4xQC0zgNdId0nxi95b5lsNpazWYoCo5"
	buyerLogonID = "san***@sandbox.example"
)

// buyer is who paid, as an app gets to know it: by user id, or by open id when Alipay has switched the app to that.
type buyer struct{ userID, openID string }

func (a app) buyer() buyer {
	if a.openID {
		return buyer{openID: buyerOpenID}
	}
	return buyer{userID: buyerID}
}

// notification is one event that a merchant is told of, with every attempt to do so. NotifyID stays the same on every
// resend.
type notification struct {
	ID           string            `json:"id"`
	NotifyID     string            `json:"notify_id"`
	Key          tradeKey          `json:"trade"`
	URL          string            `json:"notify_url"`
	Fields       map[string]string `json:"fields"` // without notify_time, charset, sign_type and sign
	Charset      string            `json:"charset"`
	Seq          int64             `json:"seq"`
	Rounds       int               `json:"rounds"` // attempts made by schedule
	Held         bool              `json:"held,omitempty"`
	NextAt       time.Time         `json:"next_at,omitzero"` // zero: no further attempt
	Acknowledged bool              `json:"acknowledged"`
	Attempts     []Attempt         `json:"attempts"`
}

// Attempt is one POST of a notification to its merchant and what came back.
type Attempt struct {
	At          time.Time `json:"at"`
	ContentType string    `json:"content_type,omitempty"`
	Faults      []string  `json:"faults,omitempty"`
	Status      int       `json:"status"` // HTTP status; 0: no answer
	Body        string    `json:"body"`   // its first 200 bytes
	Error       string    `json:"error,omitempty"`
}

// newNotification tells of a trade as it stands, and of more when something else happened (alipay.trade.wap.pay,
// asynchronous notify). No field is ever empty.
func newNotification(t trade, by buyer, more map[string]string, seq int64, id string, now time.Time) notification {
	amount, p := t.Page.Terms.Amount.String(), t.Page
	fields := map[string]string{
		"notify_type": "trade_status_sync", "notify_id": newNotifyID(now),
		"app_id": p.Key.AppID, "auth_app_id": p.Key.AppID, "version": "1.0",
		"trade_no": t.TradeNo, "out_trade_no": p.Key.OutTradeNo, "trade_status": string(t.Status),
		"buyer_id": by.userID, "buyer_open_id": by.openID, "buyer_logon_id": buyerLogonID,
		"seller_id": p.Terms.SellerID, "seller_email": "seller@sandbox.example",
		"total_amount": amount, "receipt_amount": amount, "invoice_amount": amount, "buyer_pay_amount": amount,
		"point_amount": "0.00", "fund_bill_list": fundBill(amount),
		"subject": p.Terms.Subject, "body": p.Terms.Body, "passback_params": p.Passback,
		"gmt_create": beijingTime(t.CreatedAt), "gmt_payment": paidTime(t),
	}
	maps.Copy(fields, more)
	maps.DeleteFunc(fields, func(_, value string) bool { return value == "" })
	return notification{
		ID: id, NotifyID: fields["notify_id"], Key: p.Key, URL: p.NotifyURL,
		Fields: fields, Charset: p.Charset, Seq: seq, Attempts: []Attempt{},
	}
}

func fundBill(amount string) string {
	return fmt.Sprintf(`[{"amount":"%s","fundChannel":"ALIPAYACCOUNT"}]`, amount)
}

func paidTime(t trade) string {
	if t.PaidAt.IsZero() {
		return ""
	}
	return beijingTime(t.PaidAt)
}

func beijingTime(t time.Time) string { return t.In(beijing).Format(timeLayout) }

func newNotifyID(now time.Time) string { return now.In(beijing).Format("20060102") + newToken() }

// form is the signed body of one attempt, with the lies that the plan asks for.
func (s *Server) form(n notification, plan deliveryPlan) (url.Values, error) {
	fields := maps.Clone(n.Fields)
	fields["notify_time"] = beijingTime(s.clock())
	fields["charset"], fields["sign_type"] = n.Charset, "RSA2"
	plan.lie(fields)
	if isGBK(fields["charset"]) {
		if err := toGBK(fields); err != nil {
			return nil, err
		}
	}
	signature, err := sign(s.key, []byte(canonical(fields, "sign", "sign_type")))
	if err != nil {
		return nil, err
	}
	if plan.signature {
		signature = breakSignature(signature)
	}
	fields["sign"] = signature
	form := url.Values{}
	for key, value := range fields {
		form.Set(key, value)
	}
	return form, nil
}

func (p deliveryPlan) lie(fields map[string]string) {
	if p.amount {
		lie := offByOneFen(fields["total_amount"])
		for _, key := range []string{"total_amount", "receipt_amount", "invoice_amount", "buyer_pay_amount"} {
			fields[key] = lie
		}
		fields["fund_bill_list"] = fundBill(lie)
	}
	if p.app {
		fields["app_id"] = otherNumber(fields["app_id"])
		fields["auth_app_id"] = fields["app_id"]
	}
	if p.seller {
		fields["seller_id"] = otherNumber(fields["seller_id"])
	}
	if p.charset {
		fields["charset"] = "GBK"
	}
}

func offByOneFen(amount string) string {
	m, err := models.ParseMoney(amount)
	if err != nil || m <= 1 {
		return models.Money(2).String()
	}
	return (m - 1).String()
}

// otherNumber changes the last digit: a plausible neighbour.
func otherNumber(number string) string {
	last := len(number) - 1
	if last < 0 {
		return "1"
	}
	if number[last] == '9' {
		return number[:last] + "0"
	}
	return number[:last] + "9"
}

func breakSignature(signature string) string {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(raw) == 0 {
		return ""
	}
	raw[len(raw)/2] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}

// toGBK recodes every value.
func toGBK(fields map[string]string) error {
	for key, value := range fields {
		recoded, err := gbkBytes(value)
		if err != nil {
			return err
		}
		fields[key] = recoded
	}
	return nil
}

// gbkBytes recodes a text; what GBK lacks becomes a question mark, as Java has it. The encoder's own substitute is a
// control character, which JSON does not allow in a string.
func gbkBytes(text string) (string, error) {
	recoded, err := encoding.ReplaceUnsupported(simplifiedchinese.GBK.NewEncoder()).String(text)
	if err != nil {
		return "", fmt.Errorf("recode to GBK: %w", err)
	}
	return strings.ReplaceAll(recoded, string(rune(encoding.ASCIISub)), "?"), nil
}
