package alipay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
	"coursepay/models"
)

const (
	query   = "alipay.trade.query"
	closing = "alipay.trade.close"
)

func paidNode(number string) string {
	return fmt.Sprintf(`{"code":"10000","msg":"Success","buyer_logon_id":"abc***@sandbox.com","out_trade_no":"%s",`+
		`"send_pay_date":"2026-03-01 09:30:05","total_amount":"20.10","trade_no":"2026030122001","trade_status":"TRADE_SUCCESS"}`, number)
}

func TestQueryTradePaid(t *testing.T) {
	t.Parallel()
	client := gateway(t, func(method string, biz map[string]string) string {
		return signed(method, paidNode(biz["out_trade_no"]))
	})
	trade, err := client.QueryTrade(t.Context(), payNo)
	require.NoError(t, err)
	require.WithinDuration(t, time.Date(2026, 3, 1, 1, 30, 5, 0, time.UTC), trade.PaidAt, 0)
	trade.PaidAt = time.Time{}
	require.Equal(t, models.Trade{PayNo: payNo, TradeNo: "2026030122001", Status: models.TradeSuccess, Amount: 2010}, trade)
}

func TestQueryTradeNotExistIsAState(t *testing.T) {
	t.Parallel()
	client := gateway(t, func(method string, _ map[string]string) string {
		return signed(method, refused("40004", "ACQ.TRADE_NOT_EXIST"))
	})
	trade, err := client.QueryTrade(t.Context(), payNo)
	require.NoError(t, err)
	require.Equal(t, models.Trade{PayNo: payNo, Status: models.TradeNotExist}, trade)
}

func TestCloseTradeOutcomes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		node string
		want models.CloseOutcome
	}{
		"closed":         {`{"code":"10000","msg":"Success","out_trade_no":"` + payNo + `","trade_no":"20"}`, models.CloseDone},
		"not exist":      {refused("40004", "ACQ.TRADE_NOT_EXIST"), models.CloseNotExist},
		"status error":   {refused("40004", "ACQ.TRADE_STATUS_ERROR"), models.CloseNotWaiting},
		"status invalid": {refused("40004", "ACQ.REASON_TRADE_STATUS_INVALID"), models.CloseNotWaiting},
		"illegal status": {refused("40004", "ACQ.REASON_ILLEGAL_STATUS"), models.CloseNotWaiting},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(method string, _ map[string]string) string { return signed(method, test.node) })
			outcome, err := client.CloseTrade(t.Context(), payNo)
			require.NoError(t, err)
			require.Equal(t, test.want, outcome)
		})
	}
}

// A refusal that Alipay has signed is final or not by Alipay's own retry rules.
func TestSignedRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code, subCode string
		want          alipay.Kind
	}{
		{"20000", "isp.unknow-error", alipay.KindUnknown},
		{"20000", "aop.unknow-error", alipay.KindUnknown},
		{"40004", "ACQ.SYSTEM_ERROR", alipay.KindUnknown},
		{"40005", "isv.app-call-limited", alipay.KindThrottled},
		{"99999", "", alipay.KindUnknown},
		{"20001", "aop.invalid-auth-token", alipay.KindFinal},
		{"40001", "isv.missing-method", alipay.KindFinal},
		{"40002", "isv.invalid-signature", alipay.KindFinal},
		{"40003", "isv.whatever", alipay.KindFinal},
		{"40004", "ACQ.INVALID_PARAMETER", alipay.KindFinal},
		{"40006", "isv.insufficient-isv-permissions", alipay.KindFinal},
	}
	for _, test := range tests {
		t.Run(test.code+" "+test.subCode, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(method string, _ map[string]string) string {
				return signed(method, refused(test.code, test.subCode))
			})
			_, err := client.QueryTrade(t.Context(), payNo)
			refusal := requireError(t, err, test.want)
			require.Equal(t, test.subCode, refusal.SubCode)
			require.Equal(t, query, refusal.Method)
			_, err = client.CloseTrade(t.Context(), payNo)
			require.Equal(t, closing, requireError(t, err, test.want).Method)
		})
	}
}

func requireKind(t *testing.T, err error, kind alipay.Kind) {
	t.Helper()
	_ = requireError(t, err, kind)
}

func requireError(t *testing.T, err error, kind alipay.Kind) *alipay.Error {
	t.Helper()
	failure, ok := errors.AsType[*alipay.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, kind, failure.Kind, "%v", err)
	require.Equal(t, kind != alipay.KindFinal, failure.Temporary())
	return failure
}

// What Alipay has not signed is no answer, whatever it says.
func TestAnswersThatAreNotBelieved(t *testing.T) {
	t.Parallel()
	paid := paidNode(payNo)
	notExist := refused("40004", "ACQ.TRADE_NOT_EXIST")
	node := func(n string) string { return "alipay_trade_query" + n }
	tests := map[string]struct {
		body string
		want error
	}{
		"tampered":                      {strings.Replace(signed(query, paid), "20.10", "99.99", 1), alipay.ErrForgedAnswer},
		"status swapped":                {strings.Replace(signed(query, paid), "TRADE_SUCCESS", "WAIT_BUYER_PAY", 1), alipay.ErrForgedAnswer},
		"turned into not exist":         {strings.Replace(signed(query, refused("40004", "ACQ.SYSTEM_ERROR")), "SYSTEM_ERROR", "TRADE_NOT_EXIST", 1), alipay.ErrForgedAnswer},
		"signed by a stranger":          {envelope(query, paid, sign(keys().stranger, paid)), alipay.ErrForgedAnswer},
		"signed by the app":             {envelope(query, paid, sign(keys().app, paid)), alipay.ErrForgedAnswer},
		"signed with SHA-1":             {envelope(query, paid, signSHA1(keys().alipay, paid)), alipay.ErrForgedAnswer},
		"signature not base64":          {envelope(query, paid, "%%%"), alipay.ErrForgedAnswer},
		"signature with rubbish behind": {envelope(query, paid, sign(keys().alipay, paid)+"!"), alipay.ErrForgedAnswer},
		"success, unsigned":             {`{"` + node("_response") + `":` + paid + `}`, alipay.ErrForgedAnswer},
		"not exist, forged":             {envelope(query, notExist, sign(keys().stranger, notExist)), alipay.ErrForgedAnswer},
		"not exist, unsigned":           {`{"` + node("_response") + `":` + notExist + `}`, alipay.ErrUnsignedAnswer},
		"invalid app id, unsigned":      {`{"` + node("_response") + `":` + refused("40002", "isv.invalid-app-id") + `}`, alipay.ErrUnsignedAnswer},
		"bare error_response":           {`{"error_response":` + refused("40002", "isv.invalid-method") + `}`, alipay.ErrUnsignedAnswer},
		"another trade's answer":        {signed(query, paidNode("1700000000000000002")), alipay.ErrForgedAnswer},
		"another trade's refusal":       {signed(query, strings.Replace(notExist, payNo, "2", 1)), alipay.ErrForgedAnswer},
		"answer without a number":       {signed(query, strings.Replace(paid, payNo, "", 1)), alipay.ErrForgedAnswer},
		"another method's answer":       {signed(closing, paid), alipay.ErrMalformedAnswer},
		"forged node before the true one": {`{"` + node("_response") + `":` + strings.Replace(paid, "20.10", "0.01", 1) + `,` +
			signed(query, notExist)[1:], nil}, // the later member counts, and that one is signed
		"forged node after the true one": {strings.TrimSuffix(signed(query, notExist), "}") +
			`,"` + node("_response") + `":` + paid + `}`, alipay.ErrForgedAnswer},
		"sign is not a string":  {`{"` + node("_response") + `":` + paid + `,"sign":{}}`, alipay.ErrMalformedAnswer},
		"HTML":                  {"<html>系统繁忙</html>", alipay.ErrMalformedAnswer},
		"empty":                 {"", alipay.ErrMalformedAnswer},
		"null":                  {"null", alipay.ErrMalformedAnswer},
		"node is null":          {`{"` + node("_response") + `":null}`, alipay.ErrMalformedAnswer},
		"too long":              {signed(query, paid) + strings.Repeat(" ", 2<<20), alipay.ErrMalformedAnswer},
		"unknown status":        {signed(query, strings.Replace(paid, "TRADE_SUCCESS", "TRADE_WHATEVER", 1)), alipay.ErrMalformedAnswer},
		"amount as a float":     {signed(query, strings.Replace(paid, "20.10", "2.01e1", 1)), alipay.ErrMalformedAnswer},
		"amount in thousandths": {signed(query, strings.Replace(paid, "20.10", "20.100", 1)), alipay.ErrMalformedAnswer},
		"no trade number":       {signed(query, strings.Replace(paid, "2026030122001", "", 1)), alipay.ErrMalformedAnswer},
		"date unreadable":       {signed(query, strings.Replace(paid, "2026-03-01 09", "1 March 9", 1)), alipay.ErrMalformedAnswer},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(string, map[string]string) string { return test.body })
			trade, err := client.QueryTrade(t.Context(), payNo)
			if test.want == nil {
				require.NoError(t, err)
				require.Equal(t, models.TradeNotExist, trade.Status)
				return
			}
			require.ErrorIs(t, err, test.want)
			requireKind(t, err, alipay.KindUnknown)
			require.Zero(t, trade)
		})
	}
}

// Slashes come escaped, spaces may stand anywhere, and unknown members are Alipay's business.
func TestSignatureIsOverTheRawNode(t *testing.T) {
	t.Parallel()
	node := "{ \"code\": \"10000\",\"store\":\"a\\/b 中文 \\u4e2d\",\"sign\":\"nested\"," + paidNode(payNo)[len(`{"code":"10000",`):]
	body := "{ \"alipay_trade_query_response\" : " + node + " , \"alipay_cert_sn\":\"x\", \"sign\" : \"" + sign(keys().alipay, node) + "\" }\n"
	client := gateway(t, func(string, map[string]string) string { return body })
	trade, err := client.QueryTrade(t.Context(), payNo)
	require.NoError(t, err)
	require.Equal(t, models.TradeSuccess, trade.Status)
}

func TestGatewayInTroubleIsTemporary(t *testing.T) {
	t.Parallel()
	paid := signed(query, paidNode(payNo))
	var redirects atomic.Int32
	tests := map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, paid, http.StatusInternalServerError) },
		"502": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, paid, http.StatusBadGateway) },
		"404": http.NotFound,
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			redirects.Add(1)
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(handler)
			defer server.Close()
			client := newClient(t, func(c *alipay.Config) { c.Gateway = server.URL })
			_, err := client.QueryTrade(t.Context(), payNo)
			require.ErrorIs(t, err, alipay.ErrGatewayStatus)
			require.LessOrEqual(t, redirects.Load(), int32(1), "a redirect was followed")
			requireKind(t, err, alipay.KindUnknown)
		})
	}
}

func TestUnreachableGatewayIsTemporary(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, err := newClient(t, func(c *alipay.Config) { c.Gateway = server.URL }).CloseTrade(t.Context(), payNo)
	requireKind(t, err, alipay.KindUnknown)
}

func TestHangingGatewayEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	patient := newClient(t, func(c *alipay.Config) { c.Gateway, c.Timeout = server.URL, time.Hour })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := patient.QueryTrade(ctx, payNo)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	requireKind(t, err, alipay.KindUnknown)

	hasty := newClient(t, func(c *alipay.Config) { c.Gateway, c.Timeout = server.URL, 50*time.Millisecond })
	_, err = hasty.CloseTrade(t.Context(), payNo)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	requireKind(t, err, alipay.KindUnknown)
}

func TestPayNumberIsCheckedBeforeItLeaves(t *testing.T) {
	t.Parallel()
	client := gateway(t, func(string, map[string]string) string { panic("asked") })
	for _, bad := range []string{"", "a b", `"`, strings.Repeat("1", 65)} {
		_, err := client.QueryTrade(t.Context(), bad)
		require.ErrorContains(t, err, "not a pay number")
		_, isAlipays := errors.AsType[*alipay.Error](err)
		require.False(t, isAlipays)
	}
}

// The gateway echoes our whole request when it dislikes the signature.
func TestErrorsStayShort(t *testing.T) {
	t.Parallel()
	client := gateway(t, func(method string, _ map[string]string) string {
		return signed(method, `{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.invalid-signature","sub_msg":"`+
			strings.Repeat("验签出错", 500)+`"}`)
	})
	_, err := client.QueryTrade(t.Context(), payNo)
	requireKind(t, err, alipay.KindFinal)
	require.Less(t, len(err.Error()), 400)
	requireNoKey(t, err.Error(), config())
}

func TestConcurrentCallsDoNotMix(t *testing.T) {
	t.Parallel()
	client := gateway(t, func(method string, biz map[string]string) string {
		return signed(method, paidNode(biz["out_trade_no"]))
	})
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			number := fmt.Sprint("N", i)
			trade, err := client.QueryTrade(t.Context(), number)
			if err != nil || trade.PayNo != number {
				t.Errorf("%s: %v %v", number, trade, err)
			}
		})
	}
	all.Wait()
}
