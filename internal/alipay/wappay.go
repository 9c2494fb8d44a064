package alipay

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/go-pay/gopay"

	"coursepay/models"
)

const (
	methodWapPay = "alipay.trade.wap.pay"
	maxSubject   = 256 // characters, Alipay's limit
	// namelessSubject is shown to the buyer when nothing of a course's name may be.
	namelessSubject = "在线课程"
)

// WapPay is one payment on a phone (alipay.trade.wap.pay).
type WapPay struct {
	PayNo   string // our out_trade_no
	Subject string // what the buyer reads at the cashier; any text, made acceptable to Alipay here
	Amount  models.Money
	// ExpireAt is when Alipay stops taking money for this number, to the second. It is mandatory: a page without it
	// stays payable for weeks.
	ExpireAt time.Time
	QuitURL  string // where the cashier's back button leads, may be empty
}

// WapPayForm is a complete HTML page in UTF-8 that posts the signed payment to Alipay as soon as it is shown, or by a
// button where scripts are off. It calls nobody: a trade exists at Alipay only once the buyer has acted on the page.
// Serve it as text/html;charset=UTF-8, under a content policy that allows its inline script and a post to the gateway.
func (c *Client) WapPayForm(p WapPay) (string, error) {
	if err := p.validate(); err != nil {
		return "", fmt.Errorf("%s: %w", methodWapPay, err)
	}
	signed, err := c.signer.RequestParam(c.wapPayParams(p), methodWapPay)
	if err != nil {
		return "", fmt.Errorf("%s: sign: %w", methodWapPay, err)
	}
	params, err := url.ParseQuery(signed)
	if err != nil {
		return "", fmt.Errorf("%s: %w", methodWapPay, err)
	}
	// The charset must reach Alipay before it decodes the body, so all but the business content goes into the URL.
	biz := params.Get("biz_content")
	params.Del("biz_content")
	var page strings.Builder
	err = wapPage.Execute(&page, map[string]string{"Action": c.gateway + "?" + params.Encode(), "BizContent": biz})
	return page.String(), err
}

// wapPayParams puts the URLs beside biz_content, where gopay's RequestParam leaves them; inside they would be ignored.
func (c *Client) wapPayParams(p WapPay) gopay.BodyMap {
	biz := gopay.BodyMap{
		"out_trade_no": p.PayNo,
		"subject":      cleanSubject(p.Subject),
		"total_amount": p.Amount.String(),
		"product_code": "QUICK_WAP_WAY",
		"time_expire":  p.ExpireAt.In(beijing).Format(dateLayout),
	}
	if p.QuitURL != "" {
		biz.Set("quit_url", p.QuitURL)
	}
	params := gopay.BodyMap{"biz_content": biz}
	if c.cfg.NotifyURL != "" {
		params.Set("notify_url", c.cfg.NotifyURL)
	}
	if c.cfg.ReturnURL != "" {
		params.Set("return_url", c.cfg.ReturnURL)
	}
	return params
}

func (p WapPay) validate() error {
	switch {
	case !payNoText.MatchString(p.PayNo):
		return fault("PayNo", "up to 64 letters, digits or underscores")
	case p.Amount <= 0 || p.Amount > models.MaxMoney:
		return fault("Amount", "out of Alipay's range")
	case p.ExpireAt.IsZero():
		return fault("ExpireAt", "missing")
	}
	return absoluteURL("QuitURL", p.QuitURL)
}

// cleanSubject makes any text a subject that Alipay takes: / = & become their full-width twins, which read the same,
// control characters become spaces, and what is too long is cut.
func cleanSubject(text string) string {
	text = oneLine(strings.NewReplacer("/", "／", "=", "＝", "&", "＆").Replace(text))
	if text == "" {
		return namelessSubject
	}
	return strings.TrimSpace(firstRunes(text, maxSubject))
}

// oneLine makes one space of each run of spaces, line breaks and control characters.
func oneLine(text string) string {
	gap := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), gap), " ")
}

var wapPage = template.Must(template.New("wap").Parse(`<!DOCTYPE html>
<html lang="zh-CN">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>正在前往支付宝</title>
</head>
<body>
<form id="pay" method="post" action="{{.Action}}" accept-charset="UTF-8">
<input type="hidden" name="biz_content" value="{{.BizContent}}">
<noscript><button type="submit">前往支付宝付款</button></noscript>
</form>
<script>document.getElementById("pay").submit();</script>
</body>
</html>
`))
