package sandbox

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"coursepay/models"
)

const (
	// billLife is how long the address of a bill works.
	billLife = 30 * time.Second
	// billReady is the time of day, Beijing's, at which yesterday's bill is there.
	billReady = 9 * time.Hour
	// billAccount is what follows the seller id in the account that a bill is for.
	billAccount = "0156"
	billDay     = "2006-01-02"
)

// The sub codes have no ACQ in front, and the misspelling is Alipay's.
var (
	errBillArguments = &refusal{"INVAILID_ARGUMENTS", "入参不合法"}
	errBillNotExist  = &refusal{"BILL_NOT_EXIST", "账单不存在"}
	errNoBillData    = &refusal{"NO_BILL_DATA", "账单数据为空"}
)

// billAnswer is alipay.data.dataservice.bill.downloadurl.query's.
type billAnswer struct {
	head
	BillDownloadURL string `json:"bill_download_url"`
}

// billAddress gives the address of one day's trade bill, which works for billLife.
func (s *Server) billAddress(_ context.Context, c call) (any, error) {
	var r struct {
		Type text `json:"bill_type"`
		Date text `json:"bill_date"`
	}
	if err := c.biz(&r); err != nil {
		return nil, err
	}
	day, err := time.ParseInLocation(billDay, string(r.Date), beijing)
	if err != nil || r.Type != "trade" {
		return nil, errBillArguments
	}
	now := s.clock()
	if now.Before(day.AddDate(0, 0, 1).Add(billReady)) {
		return nil, errBillNotExist
	}
	if len(s.entries(c.app.sellerID, day)) == 0 {
		return nil, errNoBillData
	}
	query := url.Values{
		"sellerId": {c.app.sellerID}, "billDate": {string(r.Date)}, "expires": {strconv.FormatInt(now.Add(billLife).UnixMilli(), 10)},
	}
	query.Set("token", s.sealBill(query))
	return billAnswer{head: success, BillDownloadURL: c.base + "/bill?" + query.Encode()}, nil
}

func (s *Server) sealBill(query url.Values) string {
	seal := hmac.New(sha256.New, s.billKey)
	_, _ = fmt.Fprintf(seal, "%s/%s/%s", query.Get("sellerId"), query.Get("billDate"), query.Get("expires")) // a hash never fails
	return hex.EncodeToString(seal.Sum(nil))
}

// downloadBill serves the zip behind an address of billAddress's.
func (s *Server) downloadBill(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	expires, _ := strconv.ParseInt(query.Get("expires"), 10, 64)
	now := s.clock()
	if !hmac.Equal([]byte(query.Get("token")), []byte(s.sealBill(query))) || !now.Before(time.UnixMilli(expires)) {
		http.Error(w, "bill address invalid or expired", http.StatusForbidden)
		return
	}
	day, err := time.ParseInLocation(billDay, query.Get("billDate"), beijing)
	if err == nil {
		var file []byte
		if file, err = s.bill(query.Get("sellerId"), day, now); err == nil {
			w.Header().Set("Content-Type", "application/zip")
			w.Header().Set("Content-Disposition", `attachment; filename="bill.csv.zip"`)
			_, _ = w.Write(file) // the client has gone: nobody to tell
			return
		}
	}
	s.log.ErrorContext(r.Context(), "no bill", "error", err)
	http.Error(w, "internal error", http.StatusInternalServerError)
}

// billEntry is one movement of money: a payment, or a refund when requestNo is there.
type billEntry struct {
	trade     trade
	amount    models.Money // of the movement, never negative
	from, to  time.Time
	requestNo string
}

// entries is what happened to a seller's money on day, in the order of time.
func (s *Server) entries(sellerID string, day time.Time) []billEntry {
	var all []billEntry
	s.store.view(func(st *store) {
		for _, key := range st.tradeOrder {
			if t := st.trades[key]; t.Page.Terms.SellerID == sellerID {
				all = append(all, t.entries()...)
			}
		}
	})
	all = slices.DeleteFunc(all, func(e billEntry) bool { return e.to.Before(day) || !e.to.Before(day.AddDate(0, 0, 1)) })
	slices.SortStableFunc(all, func(a, b billEntry) int { return a.to.Compare(b.to) })
	return all
}

func (t trade) entries() []billEntry {
	if t.PaidAt.IsZero() {
		return nil
	}
	all := []billEntry{{trade: t, amount: t.Page.Terms.Amount, from: t.CreatedAt, to: t.PaidAt}}
	for _, r := range t.Refunds {
		all = append(all, billEntry{trade: t, amount: r.Amount, from: r.At, to: r.At, requestNo: r.RequestNo})
	}
	return all
}

// bill is the zip of one seller's day: two CSV files in GBK, their names too.
func (s *Server) bill(sellerID string, day, now time.Time) ([]byte, error) {
	entries := s.entries(sellerID, day)
	account := sellerID + billAccount
	name := account + "_" + day.Format("20060102") + "_业务明细"
	var file bytes.Buffer
	archive := zip.NewWriter(&file)
	for _, part := range []struct{ name, text string }{
		{name + ".csv", billDetails(account, entries, day, now)},
		{name + "(汇总).csv", billSummary(account, entries, day, now)},
	} {
		if err := addGBK(archive, part.name, part.text, now); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("bill: %w", err)
	}
	return file.Bytes(), nil
}

func addGBK(archive *zip.Writer, name, text string, now time.Time) error {
	gbkName, err := gbkBytes(name)
	if err != nil {
		return err
	}
	gbkText, err := gbkBytes(text)
	if err != nil {
		return err
	}
	part, err := archive.CreateHeader(&zip.FileHeader{Name: gbkName, NonUTF8: true, Method: zip.Deflate, Modified: now.In(beijing)})
	if err == nil {
		_, err = part.Write([]byte(gbkText))
	}
	if err != nil {
		return fmt.Errorf("bill: %w", err)
	}
	return nil
}

const billHeading = "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）," +
	"商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）," +
	"退款批次号/请求号,服务费（元）,分润（元）,备注"

// billDetails is the file that lists every movement.
func billDetails(account string, entries []billEntry, day, now time.Time) string {
	lines := billTop("业务明细", account, day)
	lines = append(lines, billHeading)
	for _, e := range entries {
		lines = append(lines, e.line())
	}
	sums := sumUp(entries)
	lines = append(lines, billRule("业务明细列表结束"),
		fmt.Sprintf("#交易合计：%d笔，商家实收共%s元，商家优惠共0.00元", sums.paid, sums.income),
		fmt.Sprintf("#退款合计：%d笔，商家实收退款共%s元，商家优惠退款共0.00元", sums.refunds, minus(sums.back)), billEnd(now))
	return strings.Join(lines, "\r\n") + "\r\n"
}

func billTop(title, account string, day time.Time) []string {
	const layout = "2006年01月02日 15:04:05"
	return []string{
		"#支付宝" + title + "查询", "#账号：[" + account + "]",
		fmt.Sprintf("#起始日期：[%s]   终止日期：[%s]", day.Format(layout), day.AddDate(0, 0, 1).Format(layout)), billRule(title + "列表"),
	}
}

func billRule(title string) string {
	return "#" + strings.Repeat("-", 41) + title + strings.Repeat("-", 40)
}

func billEnd(now time.Time) string {
	return "#导出时间：[" + now.In(beijing).Format("2006年01月02日 15:04:05") + "]"
}

// line is a row of the details. Text that a spreadsheet would take for a number is followed by a tab.
func (e billEntry) line() string {
	kind, amount := "交易", e.amount.String()
	if e.requestNo != "" {
		kind, amount = "退款", minus(e.amount)
	}
	p := e.trade.Page
	fields := []string{
		e.trade.TradeNo + "\t", p.Key.OutTradeNo + "\t", kind, p.Terms.Subject, beijingTime(e.from), beijingTime(e.to),
		"\t", "\t", "\t", "\t", buyerLogonID + "\t", amount, amount, noMoney, noMoney, noMoney, noMoney, noMoney, "",
		noMoney + "\t", noMoney, e.requestNo + "\t", noMoney, noMoney, p.Terms.Body,
	}
	for i, field := range fields {
		fields[i] = csvField(field)
	}
	return strings.Join(fields, ",")
}

// csvField quotes what would break the row, and nothing else.
func csvField(field string) string {
	if !strings.ContainsAny(field, ",\"\r\n") {
		return field
	}
	return `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
}

func minus(m models.Money) string {
	if m == 0 {
		return noMoney
	}
	return "-" + m.String()
}

// billSums is what a day came to.
type billSums struct {
	paid, refunds int
	income, back  models.Money
}

func sumUp(entries []billEntry) (sums billSums) {
	for _, e := range entries {
		if e.requestNo == "" {
			sums.paid, sums.income = sums.paid+1, sums.income+e.amount
		} else {
			sums.refunds, sums.back = sums.refunds+1, sums.back+e.amount
		}
	}
	return sums
}

// net may be below zero: refunds of earlier days.
func (b billSums) net() string {
	if b.income < b.back {
		return minus(b.back - b.income)
	}
	return (b.income - b.back).String()
}

// billSummary is the file with the day's totals; there is only one shop.
func billSummary(account string, entries []billEntry, day, now time.Time) string {
	sums := sumUp(entries)
	net := sums.net()
	lines := append(billTop("业务汇总", account, day),
		"门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）",
		fmt.Sprintf("合计\t,\t,%d,%d,%s,%s,0.00,0.00,0.00,0.00,0.00,%s", sums.paid, sums.refunds, net, net, net),
		billRule("业务汇总列表结束"), billEnd(now))
	return strings.Join(lines, "\r\n") + "\r\n"
}
