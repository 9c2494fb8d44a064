package alipay_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
	"coursepay/models"
)

func wapPay(subject string) alipay.WapPay {
	return alipay.WapPay{
		PayNo: payNo, Subject: subject, Amount: 100,
		ExpireAt: time.Date(2026, 3, 1, 16, 4, 5, 999, time.UTC), QuitURL: "https://pay.example.com/?course=1&x=%20",
	}
}

// submit does what a browser does with the page: the parameters that the gateway gets, and the host that gets them.
func submit(t *testing.T, page string) (params url.Values, biz map[string]string, action *url.URL) {
	t.Helper()
	doc, err := goquery.NewDocumentFromReader(strings.NewReader(page))
	require.NoError(t, err)
	form := doc.Find("form")
	require.Equal(t, 1, form.Length())
	require.Equal(t, "post", form.AttrOr("method", ""))
	require.Equal(t, 1, form.Find("noscript button, noscript").Length())
	require.Contains(t, doc.Find("script").Text(), "submit()")
	action, err = url.Parse(form.AttrOr("action", ""))
	require.NoError(t, err)
	params = action.Query()
	form.Find("input").Each(func(_ int, input *goquery.Selection) {
		params.Add(input.AttrOr("name", ""), input.AttrOr("value", ""))
	})
	for name, values := range params {
		require.Len(t, values, 1, name)
	}
	require.NoError(t, json.Unmarshal([]byte(params.Get("biz_content")), &biz))
	return params, biz, action
}

func TestWapPayFormSurvivesAnyCourseName(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(c *alipay.Config) { c.Gateway = "http://127.0.0.1:8090" })
	tests := map[string]struct{ subject, want string }{
		"plain":       {"Java 编程思想", "Java 编程思想"},
		"quotes":      {`"He said 'hi'" \`, `"He said 'hi'" \`},
		"percent":     {"100% 学会 %41", "100% 学会 %41"},
		"plus":        {"C++ 入门", "C++ 入门"},
		"emoji":       {"学习🎓👩‍💻", "学习🎓👩‍💻"},
		"forbidden":   {"TCP/IP & a=b", "TCP／IP ＆ a＝b"},
		"markup":      {"</form><script>alert(1)</script>", "<／form><script>alert(1)<／script>"},
		"controls":    {" a\r\n\tb\x00 c ", "a b c"},
		"not UTF-8":   {"课\xff程", "课程"},
		"nothing":     {" \n", "在线课程"},
		"much":        {strings.Repeat("课", 300), strings.Repeat("课", 256)},
		"line breaks": {"a\u2028b\u0085c", "a b c"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := client.WapPayForm(wapPay(test.subject))
			require.NoError(t, err)
			require.True(t, utf8.ValidString(page))
			params, biz, action := submit(t, page)
			require.True(t, signedByApp(params), "signature")
			require.Equal(t, test.want, biz["subject"])
			require.Equal(t, "http://127.0.0.1:8090/gateway.do", action.Scheme+"://"+action.Host+action.Path)
		})
	}
}

func TestWapPayFormParameters(t *testing.T) {
	t.Parallel()
	page, err := newClient(t).WapPayForm(wapPay("课程"))
	require.NoError(t, err)
	params, biz, action := submit(t, page)
	require.Equal(t, map[string]string{
		"out_trade_no": payNo, "subject": "课程", "total_amount": "1.00", "product_code": "QUICK_WAP_WAY",
		"time_expire": "2026-03-02 00:04:05", "quit_url": "https://pay.example.com/?course=1&x=%20",
	}, biz)
	require.Equal(t, "openapi-sandbox.dl.alipaydev.com", action.Host)
	cfg := config()
	for name, want := range map[string]string{
		"method": "alipay.trade.wap.pay", "app_id": appID, "sign_type": "RSA2", "charset": "utf-8", "version": "1.0",
		"notify_url": cfg.NotifyURL, "return_url": cfg.ReturnURL,
	} {
		require.Equal(t, []string{want}, params[name], name)
	}
	requireNoKey(t, page, cfg)
}

func TestProductionPagesGoToAlipay(t *testing.T) {
	t.Parallel()
	page, err := newClient(t, func(c *alipay.Config) { c.Production = true }).WapPayForm(wapPay("课程"))
	require.NoError(t, err)
	_, _, action := submit(t, page)
	require.Equal(t, "openapi.alipay.com", action.Host)
}

func TestWapPayFormRefuses(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	for name, change := range map[string]func(*alipay.WapPay){
		"no number":       func(p *alipay.WapPay) { p.PayNo = "" },
		"strange number":  func(p *alipay.WapPay) { p.PayNo = "a-b" },
		"nothing to pay":  func(p *alipay.WapPay) { p.Amount = 0 },
		"negative":        func(p *alipay.WapPay) { p.Amount = -1 },
		"too much":        func(p *alipay.WapPay) { p.Amount = models.MaxMoney + 1 },
		"no end":          func(p *alipay.WapPay) { p.ExpireAt = time.Time{} },
		"scripted return": func(p *alipay.WapPay) { p.QuitURL = "javascript:alert(1)" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := wapPay("课程")
			change(&p)
			_, err := client.WapPayForm(p)
			require.Error(t, err)
		})
	}
}
