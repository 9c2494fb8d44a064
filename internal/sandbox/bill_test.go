package sandbox_test

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"
)

var beijing = time.FixedZone("", 8*60*60)

// longAgo is certainly enough for a bill to be ready, and less than two days.
const longAgo = 40 * time.Hour

func fromGBK(t *testing.T, text []byte) string {
	t.Helper()
	decoded, err := simplifiedchinese.GBK.NewDecoder().Bytes(text)
	require.NoError(t, err)
	return string(decoded)
}

// paidOn pays a trade whose subject needs care, and gives its number at Alipay.
func (w *world) paidOn(number string) string {
	w.t.Helper()
	biz := `{"out_trade_no":"` + number + `","total_amount":"88.80","subject":"Go,\"从\" 𠮷","body":"备注","product_code":"QUICK_WAP_WAY"}`
	newBrowser(w.t).get(w.url + "/gateway.do?" +
		w.signed(w.t, map[string]string{"method": "alipay.trade.wap.pay", "biz_content": biz}).Encode())
	return w.pay(number).TradeNo
}

func (w *world) download(address string) (int, []byte) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address, nil)
	require.NoError(w.t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(w.t, err)
	return response.StatusCode, body
}

// unzip gives the files by their names, both decoded by hand: the zip must not claim to be UTF-8.
func unzip(t *testing.T, file []byte) map[string]string {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	files := map[string]string{}
	for _, entry := range archive.File {
		require.Zero(t, entry.Flags&0x800, "UTF-8 flag")
		part, err := entry.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(part)
		require.NoError(t, err)
		files[fromGBK(t, []byte(entry.Name))] = fromGBK(t, text)
	}
	return files
}

func TestBill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clock.advance(-longAgo)
	day := w.clock.now().In(beijing)
	if day.Hour() == 23 && day.Minute() == 59 { // the refund shall fall on the same day
		w.clock.advance(-time.Hour)
	}
	w.clock.advance(-48 * time.Hour)
	w.paidOn("T0") // not that day
	w.clock.advance(48 * time.Hour)
	tradeNo := w.paidOn("T1")
	w.call(t, map[string]string{
		"method": "alipay.trade.refund", "biz_content": `{"out_trade_no":"T1","refund_amount":"8.80","out_request_no":"R1"}`,
	})
	w.clock.advance(longAgo)
	answer, err := w.gopay.DataBillDownloadUrlQuery(t.Context(), bodyMap("bill_type", "trade", "bill_date", day.Format("2006-01-02")))
	require.NoError(t, err)
	status, file := w.download(answer.Response.BillDownloadUrl)
	require.Equal(t, http.StatusOK, status)
	files := unzip(t, file)
	name := sellerID + "0156_" + day.Format("20060102") + "_业务明细"
	require.Len(t, files, 2)
	require.Contains(t, files[name+"(汇总).csv"], ",1,1,80.00,80.00,")

	lines := strings.Split(files[name+".csv"], "\r\n")
	require.Equal(t, "#支付宝业务明细查询", lines[0])
	require.Equal(t, "#账号：["+sellerID+"0156]", lines[1])
	require.True(t, strings.HasPrefix(lines[4], "支付宝交易号,商户订单号,业务类型,"), lines[4])
	require.Equal(t, 24, strings.Count(lines[4], ","))
	paid, refunded := lines[5], lines[6]
	require.True(t, strings.HasPrefix(paid, tradeNo+"\t,T1\t,交易,\"Go,\"\"从\"\" "), paid)
	require.Contains(t, paid, ",88.80,88.80,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,\t,0.00,0.00,备注")
	require.True(t, strings.HasPrefix(refunded, tradeNo+"\t,T1\t,退款,"), refunded)
	require.Contains(t, refunded, ",-8.80,-8.80,0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,R1\t,0.00,0.00,备注")
	require.Equal(t, "#交易合计：1笔，商家实收共88.80元，商家优惠共0.00元", lines[8])
	require.Equal(t, "#退款合计：1笔，商家实收退款共-8.80元，商家优惠退款共0.00元", lines[9])
}

func TestBillAddressDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clock.advance(-longAgo)
	day := w.clock.now().In(beijing).Format("2006-01-02")
	w.paidOn("T1")
	w.clock.advance(longAgo)
	answer, err := w.strict.BillDownloadURLQuery(t.Context(), smartwalle.BillDownloadURLQuery{BillType: "trade", BillDate: day})
	require.NoError(t, err)
	address := answer.BillDownloadURL
	for _, forged := range []string{
		strings.Replace(address, sellerID, "2088721000000002", 1), strings.Replace(address, "expires=", "expires=9", 1), w.url + "/bill",
	} {
		status, _ := w.download(forged)
		require.Equal(t, http.StatusForbidden, status)
	}
	w.clock.advance(20 * time.Second)
	status, _ := w.download(address)
	require.Equal(t, http.StatusOK, status)
	w.clock.advance(10 * time.Second)
	status, _ = w.download(address)
	require.Equal(t, http.StatusForbidden, status)
}

func TestBillRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paidOn("T1")
	now := w.clock.now().In(beijing)
	for name, c := range map[string]struct{ kind, date, code string }{
		"today":    {"trade", now.Format("2006-01-02"), "BILL_NOT_EXIST"},
		"tomorrow": {"trade", now.AddDate(0, 0, 1).Format("2006-01-02"), "BILL_NOT_EXIST"},
		"nothing":  {"trade", now.AddDate(0, 0, -3).Format("2006-01-02"), "NO_BILL_DATA"},
		"type":     {"everything", "2024-01-01", "INVAILID_ARGUMENTS"},
		"date":     {"trade", "2024-02-30", "INVAILID_ARGUMENTS"},
		"month":    {"trade", "2024-02", "INVAILID_ARGUMENTS"},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := w.strict.BillDownloadURLQuery(t.Context(), smartwalle.BillDownloadURLQuery{BillType: c.kind, BillDate: c.date})
			require.NoError(t, err)
			require.EqualValues(t, "40004", answer.Code)
			require.Equal(t, c.code, answer.SubCode)
			_, err = w.gopay.DataBillDownloadUrlQuery(t.Context(), bodyMap("bill_type", c.kind, "bill_date", c.date))
			requireBizError(t, err, "40004", c.code)
		})
	}
}

func TestBillIsReadyAtNineTheNextDay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.paidOn("T1")
	year, month, day := w.clock.now().In(beijing).Date()
	ask := func() string {
		return w.call(t, map[string]string{
			"method":      "alipay.data.dataservice.bill.downloadurl.query",
			"biz_content": `{"bill_type":"trade","bill_date":"` + time.Date(year, month, day, 0, 0, 0, 0, beijing).Format("2006-01-02") + `"}`,
		}).body.SubCode
	}
	ready := time.Date(year, month, day+1, 9, 0, 0, 0, beijing)
	w.clock.advance(ready.Add(-time.Minute).Sub(w.clock.now()))
	require.Equal(t, "BILL_NOT_EXIST", ask())
	w.clock.advance(time.Minute)
	require.Empty(t, ask())
}
