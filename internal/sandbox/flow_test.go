package sandbox_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	gopayalipay "github.com/go-pay/gopay/alipay"
	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

func TestBuyerPaysAtTheCashier(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.open(w.order("T1"))
	require.Equal(t, http.StatusOK, b.status)
	require.Equal(t, `Go 语言 <从入门> 到"上线"`, b.text("#subject"))
	require.Equal(t, "¥88.80", b.text("#amount"))
	require.Contains(t, b.text(".notice"), "模拟器")
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.query("T1").SubCode, "an opened page is no trade")

	b.submit("login")
	require.EqualValues(t, "WAIT_BUYER_PAY", w.query("T1").TradeStatus)
	require.Zero(t, b.page.Find("form#login").Length())

	b.submit("pay")
	require.Equal(t, http.StatusOK, b.status)
	require.Equal(t, 1, b.page.Find("#paid").Length())
	require.Contains(t, b.text(".notice"), "模拟器")
	paid := w.query("T1")
	require.EqualValues(t, "TRADE_SUCCESS", paid.TradeStatus)
	require.Equal(t, "88.80", paid.TotalAmount)
	require.Equal(t, "88.80", paid.ReceiptAmount)
	require.Equal(t, "88.80", paid.FundBillList[0].Amount)
	require.Len(t, paid.TradeNo, 28)
	_, err := time.Parse("2006-01-02 15:04:05", paid.SendPayDate)
	require.NoError(t, err)

	notify := w.merchant.wait(t, 1)[0]
	require.Equal(t, paid.TradeNo, notify.form.Get("trade_no"))
	requireSignedByAlipay(t, w, notify)
}

// requireSignedByAlipay has both clients verify the notify.
func requireSignedByAlipay(t *testing.T, w *world, d delivery) {
	t.Helper()
	bm, err := gopayalipay.ParseNotifyByURLValues(d.form)
	require.NoError(t, err)
	ok, err := gopayalipay.VerifySign(sandboxtest.Bare(sandboxtest.Keys()[sandbox.AlipayPublicKeyFile]), bm)
	require.NoError(t, err)
	require.True(t, ok)
	_, err = w.strict.DecodeNotification(t.Context(), d.form)
	require.NoError(t, err)
}

func TestReturnIsSignedAndProvesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.open(w.order("T1"))
	b.submit("pay")
	back, err := url.Parse(b.page.Find("a#return").AttrOr("href", ""))
	require.NoError(t, err)
	require.Contains(t, b.header.Get("Refresh"), back.String())
	query := back.Query()
	require.Equal(t, "pay", query.Get("from"), "the merchant's own parameters stay")
	query.Del("from")
	require.Empty(t, query.Get("trade_status"))
	require.Equal(t, "alipay.trade.wap.pay.return", query.Get("method"))
	require.Equal(t, "88.80", query.Get("total_amount"))
	require.NoError(t, w.strict.VerifySign(t.Context(), query))
	query.Set("total_amount", "0.01")
	require.Error(t, w.strict.VerifySign(t.Context(), query))
}

func TestBuyerCancels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.open(w.order("T1"))
	b.submit("cancel")
	require.Equal(t, w.merchant.url+"/quit", b.page.Find("a#quit").AttrOr("href", ""))
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.query("T1").SubCode)

	again, err := b.at.Parse(b.page.Find("a#again").AttrOr("href", ""))
	require.NoError(t, err)
	b.get(again.String())
	b.submit("pay")
	require.EqualValues(t, "TRADE_SUCCESS", w.query("T1").TradeStatus, "cancelling does not close")
}

func TestDoubleTapPaysOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, other := w.open(w.order("T1")), w.open(w.order("T1"))
	b.submit("pay")
	other.submit("pay")
	require.Equal(t, http.StatusConflict, other.status)
	require.Equal(t, "ACQ.TRADE_HAS_SUCCESS", other.text("#error-code"))
	result, err := other.at.Parse(other.page.Find("a#result").AttrOr("href", ""))
	require.NoError(t, err)
	other.get(result.String())
	require.Equal(t, 1, other.page.Find("#paid").Length())
	w.merchant.wait(t, 1)
	require.Len(t, w.notifies(), 1)
}

func TestNotifyFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order := w.order("T1")
	order.Body, order.PassbackParams = "一门课", "a%3D1%26b%3D2"
	w.open(order)
	paid := w.pay("T1")
	form := w.merchant.wait(t, 1)[0].form
	for key, want := range map[string]string{
		"notify_type": "trade_status_sync", "app_id": appID, "auth_app_id": appID, "charset": "utf-8", "version": "1.0",
		"sign_type": "RSA2", "trade_no": paid.TradeNo, "out_trade_no": "T1", "seller_id": sellerID,
		"trade_status": "TRADE_SUCCESS", "total_amount": "88.80", "receipt_amount": "88.80", "invoice_amount": "88.80",
		"buyer_pay_amount": "88.80", "point_amount": "0.00", "subject": order.Subject, "body": "一门课",
		"passback_params": "a%3D1%26b%3D2", "fund_bill_list": `[{"amount":"88.80","fundChannel":"ALIPAYACCOUNT"}]`,
	} {
		require.Equal(t, want, form.Get(key), key)
	}
	for key, values := range form {
		require.Len(t, values, 1, key)
		require.NotEmpty(t, values[0], key)
	}
	for _, key := range []string{"notify_time", "gmt_create", "gmt_payment"} {
		at, err := time.ParseInLocation("2006-01-02 15:04:05", form.Get(key), time.FixedZone("", 8*60*60))
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), at, time.Minute, key)
	}
}

func TestNoNotifyURLNoNotify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	order := w.order("T1")
	order.NotifyURL = ""
	w.open(order)
	w.pay("T1")
	require.Empty(t, w.notifies())
}
