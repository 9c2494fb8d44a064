package sandbox_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
)

func (w *world) refund(number, request, amount string) *smartwalle.TradeRefundRsp {
	w.t.Helper()
	answer, err := w.strict.TradeRefund(w.t.Context(), smartwalle.TradeRefund{
		OutTradeNo: number, OutRequestNo: request, RefundAmount: amount,
	})
	require.NoError(w.t, err)
	return answer
}

func TestPartialRefundsUntilNothingIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("T1")
	w.merchant.wait(t, 1)
	first := w.refund("T1", "R1", "8.80")
	require.Equal(t, []string{"Y", "8.80", "8.80"}, []string{first.FundChange, first.RefundFee, first.SendBackFee})
	again := w.refund("T1", "R1", "8.80")
	require.Equal(t, []string{"N", "8.80"}, []string{again.FundChange, again.RefundFee})
	require.Equal(t, "ACQ.DISCORDANT_REPEAT_REQUEST", w.refund("T1", "R1", "8.81").SubCode)
	require.Equal(t, "ACQ.REASON_TRADE_REFUND_FEE_ERR", w.refund("T1", "R2", "80.01").SubCode)
	require.Equal(t, "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", w.refund("T1", "", "1.00").SubCode)
	require.EqualValues(t, "TRADE_SUCCESS", w.query("T1").TradeStatus)
	require.Equal(t, "80.00", w.refund("T1", "R2", "80").SendBackFee)
	require.EqualValues(t, "TRADE_CLOSED", w.query("T1").TradeStatus)
	require.Equal(t, "N", w.refund("T1", "R2", "80").FundChange)
	require.Equal(t, "ACQ.TRADE_HAS_CLOSE", w.refund("T1", "R3", "1").SubCode)

	got := w.merchant.wait(t, 3)
	want := map[string][3]string{"R1": {"TRADE_SUCCESS", "8.80", "8.80"}, "R2": {"TRADE_CLOSED", "88.80", "80.00"}}
	for _, d := range got[1:] {
		form := d.form
		told := [3]string{form.Get("trade_status"), form.Get("refund_fee"), form.Get("send_back_fee")}
		require.Equal(t, want[form.Get("out_biz_no")], told)
		require.NotEmpty(t, form.Get("gmt_refund"))
		require.NotEqual(t, got[0].form.Get("notify_id"), form.Get("notify_id"))
		requireSignedByAlipay(t, w, d)
	}
}

func TestFullRefundNeedsNoRequestNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("T1")
	answer, err := w.gopay.TradeRefund(t.Context(), bodyMap("out_trade_no", "T1", "refund_amount", "88.80"))
	require.NoError(t, err)
	require.Equal(t, "Y", answer.Response.FundChange)
	found, err := w.gopay.TradeFastPayRefundQuery(t.Context(), bodyMap("out_trade_no", "T1", "out_request_no", "T1"))
	require.NoError(t, err)
	require.Equal(t, "REFUND_SUCCESS", found.Response.RefundStatus)
	require.Equal(t, "88.80", found.Response.RefundAmount)
}

func TestRefundRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(w.order("waiting")).submit("login")
	w.open(w.order("closed")).submit("login")
	w.close("closed")
	for number, code := range map[string]string{
		"never": "ACQ.TRADE_NOT_EXIST", "waiting": "ACQ.TRADE_STATUS_ERROR", "closed": "ACQ.TRADE_HAS_CLOSE",
	} {
		require.Equal(t, code, w.refund(number, "R1", "1").SubCode)
		require.Equal(t, code, w.refund(number, "", "1").SubCode)
	}
	require.Equal(t, "ACQ.INVALID_PARAMETER", w.refund("waiting", "R1", "-1").SubCode)
	require.JSONEq(t, `{"code":"40004","msg":"Business Failed","sub_code":"ACQ.TRADE_NOT_EXIST","sub_msg":"交易不存在",
		"out_trade_no":"never","refund_fee":"0.00","send_back_fee":"0.00"}`, string(w.call(t, map[string]string{
		"method": "alipay.trade.refund", "biz_content": `{"out_trade_no":"never","refund_amount":1,"out_request_no":"R"}`,
	}).node))
}

func TestRefundQueryOfAnUnknownRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("T1")
	ask := func(biz string) string {
		return string(w.call(t, map[string]string{"method": "alipay.trade.fastpay.refund.query", "biz_content": biz}).node)
	}
	require.JSONEq(t, `{"code":"10000","msg":"Success"}`, ask(`{"out_trade_no":"T1","out_request_no":"R1"}`))
	require.Contains(t, ask(`{"out_trade_no":"T2","out_request_no":"R1"}`), "ACQ.TRADE_NOT_EXIST")
	require.Contains(t, ask(`{"out_trade_no":"T1"}`), "ACQ.INVALID_PARAMETER")
}

func TestParallelRefundsNeverExceedThePrice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("T1")
	var moved atomic.Int32
	var all sync.WaitGroup
	for i := range 20 { // each number twice
		all.Go(func() {
			if w.refund("T1", fmt.Sprintf("R%d", i/2), "22.20").FundChange == "Y" {
				moved.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 4, moved.Load())
	var trade struct {
		RefundFee string `json:"refund_fee"`
	}
	w.control("GET", "/control/trades/T1", "", &trade)
	require.Equal(t, "88.80", trade.RefundFee)
}

func TestRefundsOfOneTradeKeepTheirDistance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *sandbox.Config) { c.RefundPause = sandbox.DefaultRefundPause })
	w.paid("T1")
	w.paid("T2")
	require.Equal(t, "Y", w.refund("T1", "R1", "1").FundChange)
	require.Equal(t, "N", w.refund("T1", "R1", "1").FundChange, "a repeat is no further refund")
	require.Equal(t, "ACQ.DISCORDANT_REPEAT_REQUEST", w.refund("T1", "R1", "2").SubCode)
	require.Equal(t, "ACQ.SYSTEM_ERROR", w.refund("T1", "R2", "1").SubCode)
	require.Equal(t, "Y", w.refund("T2", "R2", "1").FundChange, "another trade")
	w.clock.advance(sandbox.DefaultRefundPause)
	answer, err := w.gopay.TradeRefund(t.Context(), bodyMap("out_trade_no", "T1", "out_request_no", "R2", "refund_amount", "1"))
	require.NoError(t, err)
	require.Equal(t, "Y", answer.Response.FundChange, "the same again, later")
}

func TestSellerWithoutBalance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("T1")
	w.refund("T1", "R1", "1")
	w.faults(`{"refund":{"sellerBalance":1}}`)
	require.Equal(t, "ACQ.SELLER_BALANCE_NOT_ENOUGH", w.refund("T1", "R2", "1").SubCode)
	require.Equal(t, "N", w.refund("T1", "R1", "1").FundChange, "that one has happened")
	w.faults(`{}`)
	require.Equal(t, "Y", w.refund("T1", "R2", "1").FundChange)
}

func TestRefundThatIsTakenAndNotCarriedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("T1")
	w.faults(`{"refund":{"pending":1}}`)
	answer := w.refund("T1", "R1", "1")
	require.EqualValues(t, "10000", answer.Code)
	require.Equal(t, "N", answer.FundChange)
	require.Equal(t, "0.00", answer.RefundFee)
	w.faults(`{}`)
	require.Equal(t, "Y", w.refund("T1", "R1", "1").FundChange)
}

func TestBuyerByOpenID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *sandbox.Config) { c.Apps[0].BuyerOpenID = true })
	w.paid("T1")
	answer, err := w.gopay.TradeQuery(t.Context(), bodyMap("out_trade_no", "T1"))
	require.NoError(t, err)
	require.NotEmpty(t, answer.Response.BuyerOpenId)
	require.Empty(t, answer.Response.BuyerUserId)
	form := w.merchant.wait(t, 1)[0].form
	require.Equal(t, answer.Response.BuyerOpenId, form.Get("buyer_open_id"))
	require.NotContains(t, form, "buyer_id")
	refunded, err := w.gopay.TradeRefund(t.Context(), bodyMap("out_trade_no", "T1", "refund_amount", "88.80"))
	require.NoError(t, err)
	require.Empty(t, refunded.Response.BuyerUserId)
}
