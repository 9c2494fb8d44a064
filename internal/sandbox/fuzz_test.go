package sandbox_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

// FuzzRequest sends anything to the gateway: as it comes, or as a merchant's well-signed request. Whatever it is, the
// answer is an answer: JSON with one node and a code, a page, or a way to the cashier.
func FuzzRequest(f *testing.F) {
	const query, precreate = "alipay.trade.query", "alipay.trade.precreate"
	for _, biz := range []string{
		`{"out_trade_no":"T1"}`, `{"out_trade_no":1,"trade_no":""}`, `{"out_trade_no":"T1","refund_amount":1e2,"out_request_no":"R"}`,
		`{"out_trade_no":"T1","total_amount":"0.01","subject":"x","product_code":"QUICK_WAP_WAY"}`, `{`, `null`, `[]`, "\xff",
		`{"out_trade_no":"T1","total_amount":88.8,"subject":"\u0000","time_expire":"2099-01-01 00:00:00"}`,
		`{"bill_type":"trade","bill_date":"2024-02-29"}`, `{"alipay_cert_sn":"\/"}`,
	} {
		for _, method := range []string{query, precreate, "alipay.trade.wap.pay", "alipay.trade.refund", "alipay.trade.cancel",
			"alipay.data.dataservice.bill.downloadurl.query", "alipay.open.app.alipaycert.download"} {
			f.Add(true, method, biz, "charset=utf-8", "")
		}
	}
	f.Add(false, query, "{}", "app_id="+appID+"&sign_type=RSA2&sign=AAAA&method=alipay.trade.query", "app_id=1;x")
	f.Add(false, "", "", "%zz", "a=%")
	f.Add(true, "A\"", "{}", "charset=gbk", "biz_content=%81&timestamp=x&method=a.b")
	handler := fuzzedSandbox(f)
	f.Fuzz(func(t *testing.T, signed bool, method, biz, rawQuery, body string) {
		if signed {
			w := &world{t: t, clock: &clock{}}
			values := w.signed(t, map[string]string{"method": method, "biz_content": biz})
			body = values.Encode() + strings.Repeat("&", min(len(body), 1)) + body
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/gateway.do", strings.NewReader(body))
		r.URL.RawQuery = rawQuery
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		requireAnswer(t, w)
	})
}

func fuzzedSandbox(f *testing.F) http.Handler {
	f.Helper()
	keys := sandboxtest.Keys()
	server, err := sandbox.New(sandbox.Config{
		Apps:       []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: keys[sandbox.AppPublicKeyFile]}},
		PrivateKey: keys[sandbox.AlipayPrivateKeyFile], NotifySchedule: []time.Duration{},
	})
	require.NoError(f, err)
	return server.Handler()
}

func requireAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	kind := w.Header().Get("Content-Type")
	if w.Code == http.StatusSeeOther {
		location, err := url.Parse(w.Header().Get("Location"))
		require.NoError(t, err)
		require.Empty(t, location.Host, "never leads elsewhere")
		return
	}
	require.Equal(t, http.StatusOK, w.Code)
	if strings.HasPrefix(kind, "text/html; ") {
		require.Contains(t, w.Body.String(), `id="error-code"`)
		return
	}
	if strings.HasSuffix(kind, "charset=GBK") {
		require.True(t, strings.HasPrefix(w.Body.String(), `{"`))
		return
	}
	var parts map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &parts), w.Body.String())
	sign := parts["sign"]
	delete(parts, "sign")
	require.Len(t, parts, 1)
	for name, node := range parts {
		require.True(t, strings.HasSuffix(name, "_response"), name)
		var head struct {
			Code string `json:"code"`
		}
		require.NoError(t, json.Unmarshal(node, &head))
		require.NotEmpty(t, head.Code)
		if len(sign) > 0 {
			require.Equal(t, `{"`+name+`":`+string(node)+`,"sign":`+string(sign)+`}`, w.Body.String())
		}
	}
}
