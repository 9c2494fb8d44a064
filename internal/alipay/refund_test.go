package alipay_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
	"coursepay/models"
)

const (
	refunding   = "alipay.trade.refund"
	refundQuery = "alipay.trade.fastpay.refund.query"
	requestNo   = "R-1"
)

func refundRequest() models.TradeRefundRequest {
	return models.TradeRefundRequest{PayNo: payNo, RequestNo: requestNo, Amount: 500, Reason: "课程\n下架"}
}

const refundNode = `{"code":"10000","msg":"Success","buyer_logon_id":"abc***@sandbox.com","fund_change":"Y",` +
	`"gmt_refund_pay":"2026-03-02 10:00:00","out_trade_no":"` + payNo + `","refund_fee":"7.50","send_back_fee":"5.00",` +
	`"trade_no":"2026030122001"}`

func TestRefundMovesMoney(t *testing.T) {
	t.Parallel()
	var asked map[string]string
	client := gateway(t, func(method string, biz map[string]string) string {
		asked = biz
		return signed(method, refundNode)
	})
	refund, err := client.Refund(t.Context(), refundRequest())
	require.NoError(t, err)
	require.WithinDuration(t, time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC), refund.At, 0)
	refund.At = time.Time{}
	require.Equal(t, models.TradeRefund{
		PayNo: payNo, RequestNo: requestNo, TradeNo: "2026030122001", Refunded: true, Amount: 500, TotalRefunded: 750,
	}, refund)
	require.Equal(t, map[string]string{
		"out_trade_no": payNo, "out_request_no": requestNo, "refund_amount": "5.00", "refund_reason": "课程 下架",
	}, asked)
}

// 10000 alone is no refund: only fund_change=Y, exactly, says that money moved.
func TestRefundIsPendingWithoutFundChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{"N": `"fund_change":"N"`, "lower case": `"fund_change":"y"`, "missing": `"x":""`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := strings.Replace(refundNode, `"fund_change":"Y"`, change, 1)
			client := gateway(t, func(method string, _ map[string]string) string { return signed(method, node) })
			refund, err := client.Refund(t.Context(), refundRequest())
			require.NoError(t, err)
			require.False(t, refund.Refunded)
			require.Zero(t, refund.Amount)
			require.Equal(t, models.Money(750), refund.TotalRefunded)
		})
	}
}

func TestRefundRefusals(t *testing.T) {
	t.Parallel()
	for subCode, kind := range map[string]alipay.Kind{
		"ACQ.SYSTEM_ERROR":                alipay.KindUnknown,
		"ACQ.SELLER_BALANCE_NOT_ENOUGH":   alipay.KindFinal,
		"ACQ.REASON_TRADE_REFUND_FEE_ERR": alipay.KindFinal,
		"ACQ.DISCORDANT_REPEAT_REQUEST":   alipay.KindFinal,
		"ACQ.TRADE_NOT_EXIST":             alipay.KindFinal,
		"ACQ.TRADE_HAS_CLOSE":             alipay.KindFinal,
	} {
		t.Run(subCode, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(method string, _ map[string]string) string {
				return signed(method, refused("40004", subCode))
			})
			refund, err := client.Refund(t.Context(), refundRequest())
			require.Equal(t, subCode, requireError(t, err, kind).SubCode)
			require.Zero(t, refund)
		})
	}
}

func TestRefundAnswersThatAreNotBelieved(t *testing.T) {
	t.Parallel()
	swap := func(old, changed string) string {
		return signed(refunding, strings.Replace(refundNode, old, changed, 1))
	}
	for name, test := range map[string]struct {
		body string
		want error
	}{
		"tampered":                 {strings.Replace(signed(refunding, refundNode), "7.50", "9.50", 1), alipay.ErrForgedAnswer},
		"signed by the app":        {envelope(refunding, refundNode, sign(keys().app, refundNode)), alipay.ErrForgedAnswer},
		"unsigned refusal":         {`{"alipay_trade_refund_response":` + refused("40004", "ACQ.TRADE_HAS_FINISHED") + `}`, alipay.ErrUnsignedAnswer},
		"another trade's":          {swap(payNo, "2"), alipay.ErrForgedAnswer},
		"no number":                {swap(payNo, ""), alipay.ErrForgedAnswer},
		"less in all than this":    {swap("7.50", "4.99"), alipay.ErrMalformedAnswer},
		"amount in thousandths":    {swap("7.50", "7.500"), alipay.ErrMalformedAnswer},
		"amount with an exponent":  {swap("7.50", "75e-1"), alipay.ErrMalformedAnswer},
		"amount negative":          {swap("7.50", "-7.50"), alipay.ErrMalformedAnswer},
		"amount as a number":       {swap(`"7.50"`, "7.50"), alipay.ErrMalformedAnswer},
		"date unreadable":          {swap("2026-03-02 10", "2 March 10"), alipay.ErrMalformedAnswer},
		"the bare code, no number": {signed(refunding, `{"code":"10000","msg":"Success"}`), alipay.ErrForgedAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(string, map[string]string) string { return test.body })
			refund, err := client.Refund(t.Context(), refundRequest())
			require.ErrorIs(t, err, test.want)
			requireKind(t, err, alipay.KindUnknown)
			require.Zero(t, refund)
			require.NotContains(t, err.Error(), "sandbox.com", "personal data")
		})
	}
}

func TestRefundIsCheckedBeforeItLeaves(t *testing.T) {
	t.Parallel()
	client := gateway(t, func(string, map[string]string) string { panic("asked") })
	for name, change := range map[string]func(*models.TradeRefundRequest){
		"PayNo":     func(r *models.TradeRefundRequest) { r.PayNo = "a b" },
		"RequestNo": func(r *models.TradeRefundRequest) { r.RequestNo = "" },
		"too long":  func(r *models.TradeRefundRequest) { r.RequestNo = strings.Repeat("1", 65) },
		"nothing":   func(r *models.TradeRefundRequest) { r.Amount = 0 },
		"negative":  func(r *models.TradeRefundRequest) { r.Amount = -1 },
		"too much":  func(r *models.TradeRefundRequest) { r.Amount = models.MaxMoney + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refundRequest()
			change(&r)
			_, err := client.Refund(t.Context(), r)
			require.Error(t, err)
			_, isAlipays := errors.AsType[*alipay.Error](err)
			require.False(t, isAlipays)
		})
	}
	_, err := client.QueryRefund(t.Context(), payNo, "")
	require.ErrorContains(t, err, "RequestNo")
	_, err = client.QueryRefund(t.Context(), "", requestNo)
	require.ErrorContains(t, err, "not a pay number")
}

const refundFound = `{"code":"10000","msg":"Success","out_request_no":"` + requestNo + `","out_trade_no":"` + payNo + `",` +
	`"refund_amount":"5.00","refund_status":"REFUND_SUCCESS","total_amount":"20.10","trade_no":"2026030122001"}`

func TestQueryRefund(t *testing.T) {
	t.Parallel()
	known := models.TradeRefund{PayNo: payNo, RequestNo: requestNo, TradeNo: "2026030122001", Refunded: true, Amount: 500}
	unproven := models.TradeRefund{PayNo: payNo, RequestNo: requestNo, TradeNo: "2026030122001"}
	swap := func(old, changed string) string { return strings.Replace(refundFound, old, changed, 1) }
	tests := map[string]struct {
		node string
		want models.TradeRefund
		err  error
	}{
		"refunded":               {refundFound, known, nil},
		"unknown request number": {`{"code":"10000","msg":"Success"}`, models.TradeRefund{PayNo: payNo, RequestNo: requestNo}, nil},
		"no status":              {swap(`"refund_status":"REFUND_SUCCESS",`, ""), unproven, nil},
		"another status":         {swap("REFUND_SUCCESS", "REFUND_PROCESSING"), unproven, nil},
		"another request's":      {swap(requestNo, "R-2"), models.TradeRefund{}, alipay.ErrForgedAnswer},
		"no request number":      {swap(requestNo, ""), models.TradeRefund{}, alipay.ErrForgedAnswer},
		"another trade's":        {swap(payNo, "2"), models.TradeRefund{}, alipay.ErrForgedAnswer},
		"no pay number":          {swap(payNo, ""), models.TradeRefund{}, alipay.ErrForgedAnswer},
		"no amount":              {swap("5.00", ""), models.TradeRefund{}, alipay.ErrMalformedAnswer},
		"amount zero":            {swap("5.00", "0.00"), models.TradeRefund{}, alipay.ErrMalformedAnswer},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(method string, biz map[string]string) string {
				require.Equal(t, refundQuery, method)
				require.Equal(t, requestNo, biz["out_request_no"])
				return signed(method, test.node)
			})
			refund, err := client.QueryRefund(t.Context(), payNo, requestNo)
			require.Equal(t, test.want, refund)
			require.ErrorIs(t, err, test.err)
			if test.err != nil {
				requireKind(t, err, alipay.KindUnknown)
			}
		})
	}
}
