package sandbox_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	gopayalipay "github.com/go-pay/gopay/alipay"
	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

func TestGopayBelievesTheGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()

	_, err := w.gopay.TradeQuery(ctx, bodyMap("out_trade_no", "T1"))
	requireBizError(t, err, "40004", "ACQ.TRADE_NOT_EXIST")

	w.gopay.NotifyUrl, w.gopay.ReturnUrl = w.merchant.url, w.merchant.url
	params, err := w.gopay.RequestParam(bodyMap("biz_content", `{"out_trade_no":"T1","total_amount":"1.00",`+
		`"subject":"课","product_code":"QUICK_WAP_WAY"}`), "alipay.trade.wap.pay")
	require.NoError(t, err)
	b := newBrowser(t)
	b.get(w.url + "/gateway.do?" + params)
	b.submit("pay")

	answer, err := w.gopay.TradeQuery(ctx, bodyMap("out_trade_no", "T1"))
	require.NoError(t, err)
	require.Equal(t, "TRADE_SUCCESS", answer.Response.TradeStatus)
	byTradeNo, err := w.gopay.TradeQuery(ctx, bodyMap("out_trade_no", "other", "trade_no", answer.Response.TradeNo))
	require.NoError(t, err)
	require.Equal(t, "T1", byTradeNo.Response.OutTradeNo, "trade_no wins")

	_, err = w.gopay.TradeClose(ctx, bodyMap("out_trade_no", "T1"))
	requireBizError(t, err, "40004", "ACQ.TRADE_STATUS_ERROR")
}

func requireBizError(t *testing.T, err error, code, subCode string) {
	t.Helper()
	biz, ok := gopayalipay.IsBizError(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, biz.Code)
	require.Equal(t, subCode, biz.SubCode)
}

func TestCloseOfAWaitingTrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.close("T1").SubCode)
	b := w.open(w.order("T1"))
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.close("T1").SubCode, "and the page stays payable:")
	b.submit("login")
	closed, err := w.gopay.TradeClose(t.Context(), bodyMap("out_trade_no", "T1"))
	require.NoError(t, err)
	require.Equal(t, "T1", closed.Response.OutTradeNo)
	require.EqualValues(t, "TRADE_CLOSED", w.query("T1").TradeStatus)
	require.Equal(t, "ACQ.TRADE_STATUS_ERROR", w.close("T1").SubCode)

	b.submit("pay")
	require.Equal(t, http.StatusConflict, b.status)
	require.Equal(t, "ACQ.TRADE_HAS_CLOSE", b.text("#error-code"))
	require.Empty(t, w.notifies())
}

func TestCapturedBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(w.order("T1"))
	require.JSONEq(t, `{"code":"40004","msg":"Business Failed","sub_code":"ACQ.TRADE_NOT_EXIST","sub_msg":"交易不存在",
		"buyer_pay_amount":"0.00","invoice_amount":"0.00","out_trade_no":"T1","point_amount":"0.00","receipt_amount":"0.00"}`,
		string(w.call(t, map[string]string{"method": "alipay.trade.query", "biz_content": `{"out_trade_no":"T1"}`}).node))
	w.pay("T1")
	require.JSONEq(t, `{"code":"40004","msg":"Business Failed","sub_code":"ACQ.TRADE_STATUS_ERROR","sub_msg":"交易状态不合法",
		"out_trade_no":"T1"}`,
		string(w.call(t, map[string]string{"method": "alipay.trade.close", "biz_content": `{"out_trade_no":"T1"}`}).node))
}

// rawAnswer is an answer, taken apart by hand.
type rawAnswer struct {
	contentType string
	text        string
	name        string
	node        json.RawMessage
	sign        string
	body        struct {
		Code    string `json:"code"`
		SubCode string `json:"sub_code"`
		SubMsg  string `json:"sub_msg"`
	}
}

// call signs params by hand and POSTs them as a form; a value of "-" takes a default away.
func (w *world) call(t *testing.T, params map[string]string) rawAnswer {
	t.Helper()
	return w.send(t, "", w.signed(t, params).Encode())
}

func (w *world) signed(t *testing.T, params map[string]string) url.Values {
	t.Helper()
	all := map[string]string{
		"app_id": appID, "charset": "utf-8", "sign_type": "RSA2", "version": "1.0", "format": "JSON",
		"timestamp": w.clock.now().In(time.FixedZone("", 8*60*60)).Format("2006-01-02 15:04:05"),
	}
	maps.Copy(all, params)
	maps.DeleteFunc(all, func(_, v string) bool { return v == "-" })
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if all[key] != "" {
			pairs = append(pairs, key+"="+all[key])
		}
	}
	if _, given := params["sign"]; !given {
		all["sign"] = signByHand(t, strings.Join(pairs, "&"))
	}
	values := url.Values{}
	for key, value := range all {
		values.Set(key, value)
	}
	return values
}

func signByHand(t *testing.T, text string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(sandboxtest.Keys()[sandbox.AppPrivateKeyFile]))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, digest[:])
	require.NoError(t, err)
	return base64.StdEncoding.EncodeToString(signature)
}

func (w *world) send(t *testing.T, query, body string) (a rawAnswer) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/gateway.do?"+query, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	a.contentType, a.text = response.Header.Get("Content-Type"), string(text)
	var parts map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &parts), "%s", text)
	for name, raw := range parts {
		if name == "sign" {
			require.NoError(t, json.Unmarshal(raw, &a.sign))
			continue
		}
		if name == "alipay_cert_sn" {
			continue
		}
		a.name, a.node = name, raw
	}
	require.NoError(t, json.Unmarshal(a.node, &a.body))
	return a
}

func TestPublicErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const node = "alipay_trade_query_response"
	for name, c := range map[string]struct {
		params              map[string]string
		code, subCode, node string
		unsigned            bool
	}{
		"unknown app":       {map[string]string{"app_id": "1"}, "40002", "isv.invalid-app-id", node, true},
		"no app":            {map[string]string{"app_id": "-"}, "40001", "isv.missing-app-id", node, true},
		"app before sign":   {map[string]string{"app_id": "1", "sign": "AAAA"}, "40002", "isv.invalid-app-id", node, true},
		"forged":            {map[string]string{"sign": "AAAA"}, "40002", "isv.invalid-signature", node, false},
		"no base64":         {map[string]string{"sign": "%%%"}, "40002", "isv.invalid-signature", node, false},
		"no sign":           {map[string]string{"sign": "-"}, "40001", "isv.missing-signature", node, false},
		"no sign type":      {map[string]string{"sign_type": "-"}, "40001", "isv.missing-signature-type", node, false},
		"RSA":               {map[string]string{"sign_type": "RSA"}, "40002", "isv.invalid-signature-type", node, false},
		"no timestamp":      {map[string]string{"timestamp": "-"}, "40001", "isv.missing-timestamp", node, false},
		"bad timestamp":     {map[string]string{"timestamp": "2026-10-01T08:00:00Z"}, "40002", "isv.invalid-timestamp", node, false},
		"old timestamp":     {map[string]string{"timestamp": "2016-10-01 08:00:00"}, "40002", "isv.invalid-timestamp", node, false},
		"no version":        {map[string]string{"version": "-"}, "40001", "isv.missing-version", node, false},
		"format":            {map[string]string{"format": "XML"}, "40002", "isv.invalid-format", node, false},
		"charset":           {map[string]string{"charset": "latin1"}, "40002", "isv.invalid-charset", node, false},
		"no method":         {map[string]string{"method": "-"}, "40001", "isv.missing-method", "error_response", false},
		"unknown method":    {map[string]string{"method": "alipay.trade.nothing"}, "40002", "isv.invalid-method", "alipay_trade_nothing_response", false},
		"method to inject":  {map[string]string{"method": `a":1,"b`}, "40002", "isv.invalid-method", "error_response", false},
		"no JSON":           {map[string]string{"biz_content": "{"}, "40002", "isv.illegal-json", node, false},
		"no ids":            {map[string]string{"biz_content": "{}"}, "40004", "ACQ.INVALID_PARAMETER", node, false},
		"JSON, wrong types": {map[string]string{"biz_content": `{"out_trade_no":{}}`}, "40002", "isv.illegal-json", node, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			params := map[string]string{"method": "alipay.trade.query", "biz_content": `{"out_trade_no":"T1"}`}
			maps.Copy(params, c.params)
			answer := w.call(t, params)
			require.Equal(t, c.node, answer.name)
			require.Equal(t, c.code, answer.body.Code)
			require.Equal(t, c.subCode, answer.body.SubCode)
			require.Equal(t, c.unsigned, answer.sign == "")
			require.Equal(t, "text/html;charset=utf-8", answer.contentType)
		})
	}
}

func TestInvalidSignatureEchoesTheStringToSign(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer := w.call(t, map[string]string{
		"method": "alipay.trade.query", "sign": "AAAA", "biz_content": `{"out_trade_no":"T1","sign":"x"}`, "timestamp": "2026-10-01 08:00:00",
	})
	require.Contains(t, answer.body.SubMsg, `app_id=`+appID+`&biz_content={"out_trade_no":"T1","sign":"x"}&charset=utf-8&`+
		`format=JSON&method=alipay.trade.query&sign_type=RSA2&timestamp=2026-10-01 08:00:00&version=1.0`)
	requireSignedNode(t, answer)
}

func requireSignedNode(t *testing.T, answer rawAnswer) {
	t.Helper()
	ok, err := gopayalipay.VerifySyncSign(sandboxtest.Bare(sandboxtest.Keys()[sandbox.AlipayPublicKeyFile]), string(answer.node), answer.sign)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, `{"`+answer.name+`":`+string(answer.node)+`,"sign":"`+answer.sign+`"}`, answer.text, "compact, in this order")
}

func TestClientsDivideTheirParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := w.signed(t, map[string]string{"method": "alipay.trade.query", "format": "-", "biz_content": `{"out_trade_no":"T1"}`})
	biz := url.Values{"biz_content": all["biz_content"]}
	common := maps.Clone(all)
	delete(common, "biz_content")
	for name, layout := range map[string]struct{ query, body string }{
		"all in the body":           {"", all.Encode()},
		"all in the query":          {all.Encode(), ""},
		"biz_content in the body":   {common.Encode(), biz.Encode()},
		"charset twice":             {"charset=utf-8", all.Encode()},
		"charset twice, in capital": {"charset=UTF-8", all.Encode()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.send(t, layout.query, layout.body).body.SubCode)
		})
	}
	require.Equal(t, "isv.invalid-parameter", w.send(t, "app_id=1", all.Encode()).body.SubCode, "which of the two?")
}

func TestSlashesAreEscapedAndSignedSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer := w.call(t, map[string]string{"method": "alipay.trade.query", "biz_content": `{"out_trade_no":"a/b<&>"}`})
	require.Contains(t, string(answer.node), `"a\/b<&>"`)
	requireSignedNode(t, answer)
}

func TestGBKRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gbk := func(text string) string {
		encoded, err := simplifiedchinese.GBK.NewEncoder().String(text)
		require.NoError(t, err)
		return encoded
	}
	params := w.signed(t, map[string]string{
		"method": "alipay.trade.wap.pay", "charset": "GBK", "notify_url": w.merchant.url,
		"biz_content": gbk(`{"out_trade_no":"T1","total_amount":"1","subject":"汉字","product_code":"QUICK_WAP_WAY"}`),
	})
	b := newBrowser(t)
	b.get(w.url + "/gateway.do?" + params.Encode())
	require.Equal(t, "汉字", b.text("#subject"))
	b.submit("pay")
	notify := w.merchant.wait(t, 1)[0]
	require.Equal(t, gbk("汉字"), notify.form.Get("subject"))
	requireSignedByAlipay(t, w, notify)

	answer := w.send(t, "", w.signed(t, map[string]string{
		"method": "alipay.trade.close", "charset": "GBK", "biz_content": `{"out_trade_no":"T1"}`,
	}).Encode())
	require.Equal(t, "text/html;charset=GBK", answer.contentType)
	require.Contains(t, answer.text, gbk("交易状态不合法"))
}

func TestPayPageAsForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	params := w.signed(t, map[string]string{
		"method":      "alipay.trade.page.pay",
		"biz_content": `{"out_trade_no":"T1","total_amount":0.01,"subject":"x","product_code":"FAST_INSTANT_TRADE_PAY"}`,
	})
	biz := url.Values{"biz_content": params["biz_content"]}
	params.Del("biz_content")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/gateway.do?"+params.Encode(), strings.NewReader(biz.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b := newBrowser(t)
	b.do(r)
	require.Equal(t, "¥0.01", b.text("#amount"))
}

func TestPayPageRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		adapt func(*smartwalle.TradeWapPay)
		code  string
	}{
		"number":      {func(o *smartwalle.TradeWapPay) { o.OutTradeNo = "a-b" }, "ACQ.INVALID_PARAMETER"},
		"long number": {func(o *smartwalle.TradeWapPay) { o.OutTradeNo = strings.Repeat("1", 65) }, "ACQ.INVALID_PARAMETER"},
		"subject":     {func(o *smartwalle.TradeWapPay) { o.Subject = "a&b" }, "ACQ.INVALID_PARAMETER"},
		"forbidden":   {func(o *smartwalle.TradeWapPay) { o.Subject = "违禁词" }, "ACQ.EXIST_FORBIDDEN_WORD"},
		"zero":        {func(o *smartwalle.TradeWapPay) { o.TotalAmount = "0.00" }, "ACQ.INVALID_PARAMETER"},
		"negative":    {func(o *smartwalle.TradeWapPay) { o.TotalAmount = "-1" }, "ACQ.INVALID_PARAMETER"},
		"half a fen":  {func(o *smartwalle.TradeWapPay) { o.TotalAmount = "0.005" }, "ACQ.INVALID_PARAMETER"},
		"too much":    {func(o *smartwalle.TradeWapPay) { o.TotalAmount = "100000000.01" }, "ACQ.TOTAL_FEE_EXCEED"},
		"product":     {func(o *smartwalle.TradeWapPay) { o.ProductCode = "FACE_TO_FACE_PAYMENT" }, "ACQ.INVALID_PARAMETER"},
		"return_url":  {func(o *smartwalle.TradeWapPay) { o.ReturnURL = "javascript:alert(1)" }, "ACQ.INVALID_PARAMETER"},
		"quit_url":    {func(o *smartwalle.TradeWapPay) { o.QuitURL = "data:text/html,x" }, "ACQ.INVALID_PARAMETER"},
		"expired":     {func(o *smartwalle.TradeWapPay) { o.TimeExpire = "2020-01-01 00:00:00" }, "ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR"},
		"expiry text": {func(o *smartwalle.TradeWapPay) { o.TimeExpire = "tomorrow" }, "ACQ.INVALID_PARAMETER"},
		"timeout":     {func(o *smartwalle.TradeWapPay) { o.TimeoutExpress = "1.5h" }, "ACQ.INVALID_PARAMETER"},
		"short":       {func(o *smartwalle.TradeWapPay) { o.TimeoutExpress = "4m" }, "ACQ.INVALID_PARAMETER"},
		"long":        {func(o *smartwalle.TradeWapPay) { o.TimeoutExpress = "16d" }, "ACQ.INVALID_PARAMETER"},
	} {
		t.Run(name, func(t *testing.T) {
			order := w.order("T1")
			c.adapt(&order)
			b := w.open(order)
			require.Equal(t, c.code, b.text("#error-code"), b.text("#error-text"))
			require.Contains(t, b.text(".notice"), "模拟器")
			require.Equal(t, "text/html; charset=GBK", b.header.Get("Content-Type"))
			require.Equal(t, "GBK", b.page.Find("meta[charset]").AttrOr("charset", ""))
		})
	}
	var trades []tradeJSON
	w.control(http.MethodGet, "/control/trades", "", &trades)
	require.Empty(t, trades)
}

func TestUnpaidTradeClosesItself(t *testing.T) {
	t.Parallel()
	for name, adapt := range map[string]func(*world, *smartwalle.TradeWapPay){
		"time_expire": func(w *world, o *smartwalle.TradeWapPay) {
			o.TimeExpire = w.clock.now().Add(15 * time.Minute).In(time.FixedZone("", 8*60*60)).Format("2006-01-02 15:04:05")
			o.TimeoutExpress = "1h"
		},
		"timeout_express": func(_ *world, o *smartwalle.TradeWapPay) { o.TimeoutExpress = "15m" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var pages []*browser
			for _, number := range []string{"seen", "waiting"} {
				order := w.order(number)
				adapt(w, &order)
				pages = append(pages, w.open(order))
			}
			pages[1].submit("login")
			w.clock.advance(14 * time.Minute)
			require.EqualValues(t, "WAIT_BUYER_PAY", w.query("waiting").TradeStatus)
			w.clock.advance(time.Minute + time.Second)
			require.EqualValues(t, "TRADE_CLOSED", w.query("waiting").TradeStatus)
			require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.query("seen").SubCode, "nobody ever acted on it")

			for i, code := range []string{"ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR", "ACQ.TRADE_HAS_CLOSE"} {
				pages[i].submit("pay")
				require.Equal(t, http.StatusConflict, pages[i].status)
				require.Equal(t, code, pages[i].text("#error-code"))
			}
			for _, number := range []string{"seen", "waiting"} {
				require.Equal(t, http.StatusConflict, w.control(http.MethodPost, "/control/trades/"+number+"/pay", "", nil))
			}
			require.Empty(t, w.notifies())
		})
	}
}

func TestOpeningANumberAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order := w.order("T1")
	first := w.open(order)
	require.Equal(t, first.at.String(), w.open(order).at.String(), "the same page")

	dearer := order
	dearer.TotalAmount = "99"
	other := w.open(dearer)
	require.Equal(t, "¥99.00", other.text("#amount"), "no trade yet: the pages do not know of each other")
	first.submit("login")
	other.submit("pay")
	require.Equal(t, "ACQ.CONTEXT_INCONSISTENT", other.text("#error-code"))
	require.Equal(t, "ACQ.CONTEXT_INCONSISTENT", w.open(dearer).text("#error-code"))
	require.Equal(t, "¥88.80", w.open(order).text("#amount"))
	require.Equal(t, "88.80", w.query("T1").TotalAmount)

	first.submit("pay")
	require.Equal(t, "ACQ.TRADE_HAS_SUCCESS", w.open(order).text("#error-code"))
	w.open(w.order("T2")).submit("login")
	w.close("T2")
	require.Equal(t, "ACQ.TRADE_HAS_CLOSE", w.open(w.order("T2")).text("#error-code"))
}

func TestAppsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *sandbox.Config) {
		c.Apps = append(c.Apps, sandbox.App{ID: "2", SellerID: "22", PublicKey: c.Apps[0].PublicKey})
	})
	w.open(w.order("T1"))
	paid := w.pay("T1")
	for _, biz := range []string{`{"out_trade_no":"T1"}`, `{"trade_no":"` + paid.TradeNo + `"}`} {
		answer := w.call(t, map[string]string{"app_id": "2", "method": "alipay.trade.query", "biz_content": biz})
		require.Equal(t, "ACQ.TRADE_NOT_EXIST", answer.body.SubCode)
	}

	biz := `{"out_trade_no":"T1","total_amount":"1","subject":"x","product_code":"QUICK_WAP_WAY"}`
	newBrowser(t).get(w.url + "/gateway.do?" +
		w.signed(t, map[string]string{"app_id": "2", "method": "alipay.trade.wap.pay", "biz_content": biz}).Encode())
	var e errorJSON
	require.Equal(t, http.StatusConflict, w.control(http.MethodGet, "/control/trades/T1", "", &e))
	require.Equal(t, "AMBIGUOUS", e.Code)
	var trade tradeJSON
	require.Equal(t, http.StatusOK, w.control(http.MethodGet, "/control/trades/T1?app_id=2", "", &trade))
	require.Equal(t, "1.00", trade.TotalAmount)
}

func TestCashierNeedsItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(w.order("T1"))
	other := w.open(w.order("T2"))
	for _, address := range []string{"/cashier/T1", "/cashier/T1?token=x", "/cashier/T1?" + other.at.RawQuery} {
		b := newBrowser(t)
		b.get(w.url + address)
		require.Equal(t, http.StatusNotFound, b.status)
		require.Equal(t, "ACQ.TRADE_NOT_EXIST", b.text("#error-code"))
	}
}

func TestHangingClientIsLetGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"gateway":{"hang":1}}`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.strict.TradeQuery(ctx, smartwalle.TradeQuery{OutTradeNo: "T1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
