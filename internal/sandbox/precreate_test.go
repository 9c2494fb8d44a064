package sandbox_test

import (
	"net/http"
	"testing"
	"time"

	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
)

// precreate asks for a QR code; change what matters.
func (w *world) precreate(number string, adapt ...func(*smartwalle.TradePreCreate)) *smartwalle.TradePreCreateRsp {
	w.t.Helper()
	order := smartwalle.TradePreCreate{Trade: w.order(number).Trade}
	order.ProductCode, order.ReturnURL = "QR_CODE_OFFLINE", ""
	for _, f := range adapt {
		f(&order)
	}
	answer, err := w.strict.TradePreCreate(w.t.Context(), order)
	require.NoError(w.t, err)
	return answer
}

func (w *world) cancel(number string) *smartwalle.TradeCancelRsp {
	w.t.Helper()
	answer, err := w.strict.TradeCancel(w.t.Context(), smartwalle.TradeCancel{OutTradeNo: number})
	require.NoError(w.t, err)
	return answer
}

func TestScanAndPay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.precreate("T1")
	require.Equal(t, "T1", code.OutTradeNo)
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.query("T1").SubCode, "nobody has scanned it")
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.close("T1").SubCode)
	require.Equal(t, code.QRCode, w.precreate("T1").QRCode)

	phone := newBrowser(t)
	phone.get(code.QRCode)
	require.Equal(t, "¥88.80", phone.text("#amount"))
	require.EqualValues(t, "WAIT_BUYER_PAY", w.query("T1").TradeStatus)
	phone.submit("pay")
	require.EqualValues(t, "TRADE_SUCCESS", w.query("T1").TradeStatus)
	requireSignedByAlipay(t, w, w.merchant.wait(t, 1)[0])
	phone.get(code.QRCode)
	require.Equal(t, 1, phone.page.Find("#paid").Length(), "scanned again: the result")
	require.Equal(t, "ACQ.TRADE_HAS_SUCCESS", w.precreate("T1").SubCode)
}

func TestPrecreateWithGopay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for number, product := range map[string]string{"T1": "QR_CODE_OFFLINE", "T2": "FACE_TO_FACE_PAYMENT", "T3": ""} {
		answer, err := w.gopay.TradePrecreate(t.Context(), bodyMap("out_trade_no", number, "total_amount", "1", "subject", "课",
			"product_code", product))
		require.NoError(t, err)
		require.Contains(t, answer.Response.QrCode, w.url+"/qr/")
	}
	_, err := w.gopay.TradePrecreate(t.Context(), bodyMap("out_trade_no", "T1", "total_amount", "1", "subject", "课",
		"product_code", "QUICK_WAP_WAY"))
	requireBizError(t, err, "40004", "ACQ.INVALID_PARAMETER")
}

func TestPrecreateRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scan := func(number string) {
		b := newBrowser(t)
		b.get(w.precreate(number).QRCode)
		require.Equal(t, http.StatusOK, b.status)
	}
	scan("waiting")
	dearer := func(o *smartwalle.TradePreCreate) { o.TotalAmount = "99" }
	require.Equal(t, "ACQ.CONTEXT_INCONSISTENT", w.precreate("waiting", dearer).SubCode)
	require.NotEmpty(t, w.precreate("waiting").QRCode)
	scan("closed")
	w.close("closed")
	require.Equal(t, "ACQ.TRADE_HAS_CLOSE", w.precreate("closed").SubCode)
	for code, adapt := range map[string]func(*smartwalle.TradePreCreate){
		"ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR": func(o *smartwalle.TradePreCreate) { o.TimeExpire = "2020-01-01 00:00:00" },
		"ACQ.TOTAL_FEE_EXCEED":                 func(o *smartwalle.TradePreCreate) { o.TotalAmount = "100000000.01" },
		"ACQ.EXIST_FORBIDDEN_WORD":             func(o *smartwalle.TradePreCreate) { o.Subject = "含违禁词的课" },
		"ACQ.INVALID_PARAMETER":                func(o *smartwalle.TradePreCreate) { o.Subject = "" },
	} {
		require.Equal(t, code, w.precreate("new", adapt).SubCode)
	}
}

func TestQRCodeDiesUnscannedAfterTwoHours(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	forgotten, scanned := w.precreate("T1"), w.precreate("T2")
	phone := newBrowser(t)
	phone.get(scanned.QRCode)
	w.clock.advance(2*time.Hour + time.Second)
	phone.submit("pay")
	require.EqualValues(t, "TRADE_SUCCESS", w.query("T2").TradeStatus)
	late := newBrowser(t)
	late.get(forgotten.QRCode)
	require.Equal(t, "ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR", late.text("#error-code"))
	fresh := w.precreate("T1")
	require.NotEqual(t, forgotten.QRCode, fresh.QRCode)
	late.get(fresh.QRCode)
	late.submit("pay")
	require.EqualValues(t, "TRADE_SUCCESS", w.query("T1").TradeStatus)
}

func TestOnlyAQRCodeCanBeScanned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.open(w.order("T1")).at.Query().Get("token")
	for _, other := range []string{"x", token} {
		b := newBrowser(t)
		b.get(w.url + "/qr/" + other)
		require.Equal(t, http.StatusNotFound, b.status)
	}
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.query("T1").SubCode)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	code := w.precreate("T1")
	nothing := w.cancel("T1")
	require.Equal(t, []string{"10000", "", "N", "T1"}, []string{string(nothing.Code), nothing.Action, nothing.RetryFlag, nothing.OutTradeNo})
	phone := newBrowser(t)
	phone.get(code.QRCode)
	require.Equal(t, "¥88.80", phone.text("#amount"), "cancelling what nobody has scanned stops nobody")
	require.Equal(t, "close", w.cancel("T1").Action)
	require.EqualValues(t, "TRADE_CLOSED", w.query("T1").TradeStatus)
	require.Empty(t, w.cancel("T1").Action)
	require.Empty(t, w.notifies())

	w.paid("T2")
	w.merchant.wait(t, 1)
	w.refund("T2", "T2", "8.80")
	answer, err := w.gopay.TradeCancel(t.Context(), bodyMap("out_trade_no", "T2"))
	require.NoError(t, err)
	require.Equal(t, "refund", answer.Response.Action)
	require.EqualValues(t, "TRADE_CLOSED", w.query("T2").TradeStatus)
	require.Empty(t, w.cancel("T2").Action, "once")
	told, numbers := map[string]string{}, map[string]bool{}
	for _, d := range w.merchant.wait(t, 3)[1:] {
		told[d.form.Get("trade_status")] = d.form.Get("refund_fee") + " " + d.form.Get("send_back_fee")
		numbers[d.form.Get("out_biz_no")] = true
	}
	require.Len(t, numbers, 2, "each refund has a number of its own")
	require.Equal(t, map[string]string{"TRADE_SUCCESS": "8.80 8.80", "TRADE_CLOSED": "88.80 80.00"}, told)
}

func TestCancelRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("old")
	w.paid("finished")
	var trade tradeJSON
	require.Equal(t, http.StatusOK, w.control(http.MethodPost, "/control/trades/finished/finish", "", &trade))
	require.Equal(t, "TRADE_FINISHED", trade.TradeStatus)
	require.Equal(t, "ACQ.TRADE_HAS_FINISHED", w.cancel("finished").SubCode)
	require.Equal(t, "ACQ.TRADE_HAS_FINISHED", w.refund("finished", "R1", "1").SubCode)
	require.Equal(t, http.StatusConflict, w.control(http.MethodPost, "/control/trades/finished/finish", "", nil))
	w.clock.advance(24 * time.Hour)
	late := w.call(t, map[string]string{"method": "alipay.trade.cancel", "biz_content": `{"out_trade_no":"old"}`})
	require.Equal(t, "ACQ.TRADE_CANCEL_TIME_OUT", late.body.SubCode)
	w.control(http.MethodGet, "/control/trades/old", "", &trade)
	require.Equal(t, "TRADE_SUCCESS", trade.TradeStatus)
}

func TestBuyerPaysJustBeforeTheCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.faults(`{"race":{"payBeforeClose":1}}`)
	w.precreate("T1")
	require.Equal(t, "refund", w.cancel("T1").Action)
	require.EqualValues(t, "TRADE_CLOSED", w.query("T1").TradeStatus)
}

func TestFinishedIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paid("T1")
	w.merchant.wait(t, 1)
	w.control(http.MethodPost, "/control/trades/T1/finish", "", nil)
	require.Equal(t, "TRADE_FINISHED", w.merchant.wait(t, 2)[1].form.Get("trade_status"))
}

func TestClosingIsToldOnRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *sandbox.Config) { c.NotifyClose = true })
	w.open(w.order("T1")).submit("login")
	w.close("T1")
	w.open(w.order("T2")).submit("login")
	w.cancel("T2")
	for _, d := range w.merchant.wait(t, 2) {
		require.Equal(t, "TRADE_CLOSED", d.form.Get("trade_status"))
		require.NotEmpty(t, d.form.Get("gmt_close"))
		require.NotContains(t, d.form, "gmt_payment", "it was not paid")
		requireSignedByAlipay(t, w, d)
	}
}
