package alipay_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"

	"coursepay/internal/alipay"
	"coursepay/models"
)

const (
	billURLQuery = "alipay.data.dataservice.bill.downloadurl.query"
	detailName   = "20885212319120680156_20170831_业务明细.csv"
)

// billText is a bill as Alipay lays it out, with literal tabs.
const billText = `#支付宝业务明细查询
#账号：[20885212319120680156]
#起始日期：[2017年08月31日 00:00:00]   终止日期：[2017年09月01日 00:00:00]
#-----------------------------------------业务明细列表----------------------------------------
支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注
2017083121001004720299453898	,1700000000000000001	,交易	,课程,2017-08-31 00:06:14,2017-08-31 00:06:15,	,	,	,	,*杨(137****2600)	,20.00,19.50,0.00,0.00,0.00,0.00,0.00,,0.00	,0.00,	,0.00,0.00,备注
2017083121001004720299453898	,1700000000000000001	,退款	,课程,2017-08-31 00:06:14,2017-08-31 10:00:00,	,	,	,	,*杨(137****2600)	,-5.00,-5.00,0.00,0.00,0.00,0.00,0.00,,0.00	,0.00,R-1	,0.00,0.00,
#-----------------------------------------业务明细列表结束------------------------------------
#交易合计：1笔，商家实收共19.50元，商家优惠共0.00元
#退款合计：1笔，商家实收退款共-5.00元，商家优惠退款共0.00元
#导出时间：[2019年05月10日 07:27:37]
`

func beijingTime(text string) time.Time {
	at, err := time.ParseInLocation("2006-01-02 15:04:05", text, time.FixedZone("GMT+8", 8*60*60))
	if err != nil {
		panic(err)
	}
	return at
}

func gbk(text string) []byte {
	encoded, err := simplifiedchinese.GBK.NewEncoder().Bytes([]byte(text))
	if err != nil {
		panic(err)
	}
	return encoded
}

// archive packs files as Alipay does: their names are GBK too, and nothing says so.
func archive(files map[string]string) []byte {
	var buffer bytes.Buffer
	w := zip.NewWriter(&buffer)
	for name, text := range files {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: string(gbk(name)), Method: zip.Deflate, NonUTF8: true})
		if err == nil {
			_, err = entry.Write(gbk(text))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}

func billArchive(text string) []byte {
	return archive(map[string]string{detailName: text, "20885212319120680156_20170831_业务明细(汇总).csv": "#汇总\n"})
}

func wantBill() alipay.Bill {
	bought := beijingTime("2017-08-31 00:06:14")
	return alipay.Bill{Account: "20885212319120680156", Rows: []alipay.BillRow{
		{
			TradeNo: "2017083121001004720299453898", PayNo: payNo, Kind: alipay.BillPayment, Subject: "课程",
			Amount: 2000, Received: 1950, CreatedAt: bought, FinishedAt: beijingTime("2017-08-31 00:06:15"),
		},
		{
			TradeNo: "2017083121001004720299453898", PayNo: payNo, Kind: alipay.BillRefund, Subject: "课程", RequestNo: "R-1",
			Amount: 500, Received: 500, CreatedAt: bought, FinishedAt: beijingTime("2017-08-31 10:00:00"),
		},
	}}
}

func requireBill(t *testing.T, want, got alipay.Bill) {
	t.Helper()
	require.Len(t, got.Rows, len(want.Rows))
	for i := range want.Rows {
		require.WithinDuration(t, want.Rows[i].CreatedAt, got.Rows[i].CreatedAt, 0)
		require.WithinDuration(t, want.Rows[i].FinishedAt, got.Rows[i].FinishedAt, 0)
		got.Rows[i].CreatedAt, got.Rows[i].FinishedAt = want.Rows[i].CreatedAt, want.Rows[i].FinishedAt
	}
	require.Equal(t, want, got)
}

func TestParseBill(t *testing.T) {
	t.Parallel()
	bill, err := alipay.ParseBill(billArchive(billText))
	require.NoError(t, err)
	requireBill(t, wantBill(), bill)
	require.NotContains(t, fmt.Sprintf("%+v", bill), "杨", "personal data")
}

// before is a bill that ends where text would begin.
func before(text string) string {
	head, _, _ := strings.Cut(billText, text)
	return head
}

func swapBill(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(billText) }

func TestParseBillVariants(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text    string
		subject string
	}{
		"half-width brackets":      {swapBill("（元）", "(元)"), "课程"},
		"lines end with CRLF":      {swapBill("\n", "\r\n"), "课程"},
		"a column more":            {swapBill("商品名称,", "商品名称,新列,", ",课程,", ",课程,,"), "课程"},
		"refund without a sign":    {swapBill(",-5.00,-5.00,", ",5.00,5.00,"), "课程"},
		"amounts with one decimal": {swapBill(",20.00,", ",20.0,"), "课程"},
		"amounts with a tab":       {swapBill(",20.00,", ",20.00\t,"), "课程"},
		"comma in a name":          {swapBill(",课程,", ",Java,从入门,到放弃,"), "Java,从入门,到放弃"},
		"quotes in a name":         {swapBill(",课程,", `,"Java" 入门,`), `"Java" 入门`},
		"one quote, one comma":     {swapBill(",课程,", `,5" 屏,入门,`), `5" 屏,入门`},
		"a name in quotes":         {swapBill(",课程,", `,"Java,入门",`), `Java,入门`},
		"no totals":                {before("#交易合计"), "课程"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bill, err := alipay.ParseBillCSV(bytes.NewReader(gbk(test.text)))
			require.NoError(t, err)
			want := wantBill()
			for i := range want.Rows {
				want.Rows[i].Subject = test.subject
			}
			requireBill(t, want, bill)
		})
	}
}

func TestParseBillEmptyDay(t *testing.T) {
	t.Parallel()
	lines := strings.SplitAfter(billText, "\n")
	text := strings.Join(append(lines[:5:5], lines[7]), "")
	bill, err := alipay.ParseBillCSV(bytes.NewReader(gbk(text)))
	require.NoError(t, err)
	require.Empty(t, bill.Rows)
}

func TestParseBillRefusesText(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":                  "",
		"HTML":                   "<html>系统繁忙</html>",
		"cut off":                before("#-----------------------------------------业务明细列表结束"),
		"a row lost":             strings.Join(append(strings.SplitAfter(billText, "\n")[:5:5], strings.SplitAfter(billText, "\n")[6:]...), ""),
		"rows behind the end":    billText + strings.SplitAfter(billText, "\n")[5],
		"no pay number column":   swapBill("商户订单号", "别的"),
		"a column twice":         swapBill("商品名称", "商户订单号"),
		"a field too few":        swapBill(",课程,", ","),
		"unknown kind":           swapBill("退款\t", "转账\t"),
		"no pay number":          swapBill(payNo, ""),
		"payment negative":       swapBill(",20.00,", ",-20.00,"),
		"amount with exponent":   swapBill(",20.00,", ",2e1,"),
		"amount in thousandths":  swapBill(",20.00,", ",20.000,"),
		"amount with a comma":    swapBill(",20.00,", `,"1,020.00",`),
		"two minus signs":        swapBill(",-5.00,-5.00,", ",--5.00,-5.00,"),
		"amount missing":         swapBill(",20.00,", ",,"),
		"date missing":           swapBill("2017-08-31 00:06:15", ""),
		"date unreadable":        swapBill("2017-08-31 00:06:15", "31 August"),
		"a line of 100 thousand": swapBill(",课程,", ","+strings.Repeat("x", 100_000)+","),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bill, err := alipay.ParseBillCSV(bytes.NewReader(gbk(text)))
			require.ErrorIs(t, err, alipay.ErrBillMalformed)
			require.Empty(t, bill)
			require.Less(t, len(err.Error()), 200)
			require.NotContains(t, err.Error(), "杨", "personal data")
		})
	}
	_, err := alipay.ParseBillCSV(strings.NewReader(billText))
	require.ErrorIs(t, err, alipay.ErrBillMalformed, "UTF-8 taken for GBK")
}

func TestParseBillRefusesArchives(t *testing.T) {
	t.Parallel()
	good := billArchive(billText)
	crowd := map[string]string{detailName: billText}
	for i := range 20 {
		crowd[fmt.Sprint(i)] = ""
	}
	for name, raw := range map[string][]byte{
		"empty":           nil,
		"no ZIP":          gbk(billText),
		"cut off":         good[:len(good)/2],
		"no detail file":  archive(map[string]string{"readme.txt": billText}),
		"two of them":     archive(map[string]string{detailName: billText, "x" + detailName: billText}),
		"zip slip":        archive(map[string]string{"../../etc/" + detailName: billText}),
		"zip slip beside": archive(map[string]string{"../x": "", detailName: billText}),
		"back slashes":    archive(map[string]string{`..\` + detailName: billText}),
		"absolute":        archive(map[string]string{"/tmp/" + detailName: billText}),
		"a crowd":         archive(crowd),
		"bomb, one line":  archive(map[string]string{detailName: strings.Repeat("0", 20<<20)}),
		"bomb, comments":  archive(map[string]string{detailName: billText + strings.Repeat("#"+strings.Repeat(" ", 30<<10)+"\n", 1<<10+100)}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bill, err := alipay.ParseBill(raw)
			require.ErrorIs(t, err, alipay.ErrBillMalformed)
			require.Empty(t, bill)
		})
	}
}

// billServer is a gateway that offers its own address, or another one, for the bill.
func billServer(t *testing.T, offer string, file http.HandlerFunc, change ...func(*alipay.Config)) *alipay.Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bill", file)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("POST /gateway.do", func(w http.ResponseWriter, _ *http.Request) {
		url := strings.ReplaceAll(offer, "HERE", server.URL)
		_, _ = fmt.Fprint(w, signed(billURLQuery, `{"code":"10000","msg":"Success","bill_download_url":"`+url+`"}`))
	})
	return newClient(t, append(change, func(c *alipay.Config) { c.Gateway = server.URL })...)
}

func serveBill(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(billArchive(billText)) }

func TestBill(t *testing.T) {
	t.Parallel()
	client := billServer(t, `HERE\/bill?token=t0k3n`, serveBill)
	bill, err := client.Bill(t.Context(), time.Now().AddDate(0, 0, -1))
	require.NoError(t, err)
	requireBill(t, wantBill(), bill)
}

func TestBillIsOfADayThatIsOver(t *testing.T) {
	t.Parallel()
	asked := ""
	client := gateway(t, func(method string, biz map[string]string) string {
		asked = biz["bill_date"]
		return signed(method, `{"code":"10000","msg":"Success","bill_download_url":"https://dwbillcenter.alipay.com/x"}`)
	})
	_, err := client.BillURL(t.Context(), time.Now())
	require.ErrorContains(t, err, "not over")
	require.Empty(t, asked)
	_, err = client.BillURL(t.Context(), time.Date(2026, 2, 28, 16, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, "2026-03-01", asked, "the day in China")
}

func TestBillAddressIsAlipays(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // the address used, "" if refused
		"http://dwbillcenter.alipay.com/downloadBillFile.resource?a=b": "https://dwbillcenter.alipay.com/downloadBillFile.resource?a=b",
		"https://dwbillcenter.alipay.com/x":                            "https://dwbillcenter.alipay.com/x",
		"https://dwbillcenter.alipaydev.com/x":                         "https://dwbillcenter.alipaydev.com/x",
		"HERE/bill":                                                    "HERE/bill",
		"https://dwbillcenter.alipay.com.evil.example/x":               "",
		"https://evilalipay.com/x":                                     "",
		"https://alipay.com@evil.example/x":                            "",
		"https://user:pw@dwbillcenter.alipay.com/x":                    "",
		"https://dwbillcenter.alipay.com:8443/x":                       "",
		"http://169.254.169.254/latest/meta-data":                      "",
		"http://127.0.0.1:1/bill":                                      "",
		"file:///etc/passwd":                                           "",
		"ftp://dwbillcenter.alipay.com/x":                              "",
		"//dwbillcenter.alipay.com/x":                                  "",
		"":                                                             "",
	}
	for offer, want := range tests {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			client := billServer(t, offer, http.NotFound)
			address, err := client.BillURL(t.Context(), time.Now().AddDate(0, 0, -1))
			if want == "" {
				require.ErrorIs(t, err, alipay.ErrBillAddress)
				requireKind(t, err, alipay.KindUnknown)
				require.Empty(t, address)
				return
			}
			require.NoError(t, err)
			require.True(t, strings.HasSuffix(address, strings.TrimPrefix(want, "HERE")), address)
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Its address opens a bill to whoever knows it, so it is in no error.
func TestBillDownloadFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file http.HandlerFunc
		want error
	}{
		"expired":  {http.NotFound, alipay.ErrGatewayStatus},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, alipay.ErrGatewayStatus},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, endless{})
		}, alipay.ErrBillMalformed},
		"no ZIP":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(gbk(billText)) }, alipay.ErrBillMalformed},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := billServer(t, "HERE/bill?token=t0k3n", test.file)
			_, err := client.Bill(t.Context(), time.Now().AddDate(0, 0, -1))
			requireKind(t, err, alipay.KindUnknown)
			require.NotContains(t, err.Error(), "t0k3n")
			require.Equal(t, name == "endless", strings.Contains(err.Error(), "longer than"))
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
			}
		})
	}
}

func TestNoBill(t *testing.T) {
	t.Parallel()
	for subCode, none := range map[string]bool{"BILL_NOT_EXIST": true, "NO_BILL_DATA": true, "INVAILID_ARGUMENTS": false, "UNKNOW_ERROR": false} {
		t.Run(subCode, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(method string, _ map[string]string) string {
				return signed(method, `{"code":"40004","msg":"Business Failed","sub_code":"`+subCode+`","sub_msg":"账单不存在"}`)
			})
			_, err := client.Bill(t.Context(), time.Now().AddDate(0, 0, -1))
			require.Equal(t, none, errors.Is(err, alipay.ErrNoBill))
			failed, ok := errors.AsType[*alipay.Error](err)
			require.True(t, ok)
			require.Equal(t, subCode, failed.SubCode)
			require.Equal(t, subCode == "UNKNOW_ERROR", failed.Temporary())
		})
	}
}

// Whatever stands in a bill: no panic, the one error, and no row that is not sound.
func FuzzBill(f *testing.F) {
	for _, text := range []string{
		billText, swapBill(",课程,", ",a,b,"), swapBill(",课程,", `,"a",`), swapBill(",-5.00,", ",5,"), swapBill("退款", "x"),
		swapBill("1笔", "999999999笔"), "", "#\n,\n",
	} {
		f.Add(gbk(text))
		f.Add(billArchive(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, parse := range []func() (alipay.Bill, error){
			func() (alipay.Bill, error) { return alipay.ParseBill(raw) },
			func() (alipay.Bill, error) { return alipay.ParseBillCSV(bytes.NewReader(raw)) },
		} {
			bill, err := parse()
			if err != nil {
				require.ErrorIs(t, err, alipay.ErrBillMalformed)
				require.Empty(t, bill)
			}
			for _, row := range bill.Rows {
				require.Contains(t, []alipay.BillKind{alipay.BillPayment, alipay.BillRefund}, row.Kind)
				require.True(t, row.Amount >= 0 && row.Amount <= models.MaxMoney)
				require.True(t, row.PayNo != "" && row.TradeNo != "" && !row.FinishedAt.IsZero())
			}
		}
	})
}
