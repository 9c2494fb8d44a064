package alipay

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/transform"

	"coursepay/models"
)

// ErrBillMalformed: the file is not Alipay's trade bill, or not a whole one. No part of it should be used.
var ErrBillMalformed = errors.New("alipay: malformed bill")

const (
	maxBillEntries = 16
	maxBillText    = 32 << 20 // unpacked: 130,000 trades
	maxBillLine    = 64 << 10
	billName       = "业务明细.csv"
)

// Bill is Alipay's trade bill of one day. The buyers' accounts, which it names too, are left where they are.
type Bill struct {
	Account string // 账号: whose bill it is, as written, often the seller id with four digits behind it
	Rows    []BillRow
}

// BillKind is 业务类型.
type BillKind string

const (
	// BillPayment (交易): money came in.
	BillPayment BillKind = "payment"
	// BillRefund (退款): money went back.
	BillRefund BillKind = "refund"
)

// BillRow is one payment or refund.
type BillRow struct {
	TradeNo   string // 支付宝交易号
	PayNo     string // 商户订单号, our out_trade_no
	Kind      BillKind
	Subject   string // 商品名称
	RequestNo string // 退款批次号/请求号, a refund's out_request_no
	// Amount is 订单金额: of a payment the whole total_amount, of a refund what went back, without the minus sign that
	// most refunds carry. Received is 商家实收, likewise; zero where the bill has no such column.
	Amount, Received      models.Money
	CreatedAt, FinishedAt time.Time // 创建时间 (zero where missing), 完成时间
}

// ParseBill reads the ZIP that Alipay offers. It keeps nothing on disk, so that names in the archive lead nowhere, and
// unpacks no more than a bill can have. Errors are ErrBillMalformed, wrapped.
func ParseBill(archive []byte) (Bill, error) {
	files, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return Bill{}, malformedBill("not a ZIP archive")
	}
	detail, err := detailFile(files.File)
	if err != nil {
		return Bill{}, err
	}
	text, err := detail.Open()
	if err != nil {
		return Bill{}, malformedBill("the detail file cannot be unpacked")
	}
	defer func() { _ = text.Close() }()
	return ParseBillCSV(text)
}

// detailFile finds the one file that lists each trade, beside the one that sums them up. Names are in GBK, unless the
// archive says otherwise. One that would lead out of a folder condemns the whole archive.
func detailFile(files []*zip.File) (detail *zip.File, err error) {
	if len(files) > maxBillEntries {
		return nil, malformedBill("%d files in the archive", len(files))
	}
	for _, file := range files {
		name := file.Name
		if file.NonUTF8 {
			if name, err = simplifiedchinese.GB18030.NewDecoder().String(name); err != nil {
				return nil, malformedBill("a file's name is not GBK")
			}
		}
		switch {
		case strings.ContainsAny(name, "/\\\x00") || strings.HasPrefix(name, ".."):
			return nil, malformedBill("a file's name leads out of the archive")
		case strings.HasSuffix(name, billName) && detail != nil:
			return nil, malformedBill("two detail files")
		case strings.HasSuffix(name, billName):
			detail = file
		}
	}
	if detail == nil {
		return nil, malformedBill("no detail file in the archive")
	}
	return detail, nil
}

// ParseBillCSV reads the detail file of a bill, in GBK. Columns are found by their names, because the sets vary. The
// counts at the end of the file have to agree with its rows: a bill that was cut off is no bill.
func ParseBillCSV(text io.Reader) (Bill, error) {
	p := billParser{claimed: map[BillKind]int{}, found: map[BillKind]int{}}
	capped := &io.LimitedReader{R: text, N: maxBillText + 1}
	lines := bufio.NewScanner(transform.NewReader(capped, simplifiedchinese.GB18030.NewDecoder()))
	lines.Buffer(nil, maxBillLine)
	for n := 1; lines.Scan(); n++ {
		if err := p.line(strings.TrimRight(lines.Text(), "\r")); err != nil {
			return Bill{}, fmt.Errorf("%w, line %d", err, n)
		}
	}
	switch {
	case lines.Err() != nil:
		return Bill{}, malformedBill("cannot be read: a line too long, or a damaged archive")
	case capped.N <= 0:
		return Bill{}, malformedBill("longer than %d bytes", maxBillText)
	}
	if err := p.complete(); err != nil {
		return Bill{}, err
	}
	return p.bill, nil
}

// billParser goes through a bill line by line.
type billParser struct {
	bill           Bill
	columns        map[string]int // by name; nil before the header
	ended          bool
	claimed, found map[BillKind]int // rows by the bill's own count, and by ours
}

var (
	billAccount = regexp.MustCompile(`^#账号[：:]\[([0-9]{1,32})\]`)
	billTotal   = regexp.MustCompile(`^#(交易|退款)合计[：:]([0-9]{1,9})笔`)
	billEnd     = regexp.MustCompile(`^#-+业务明细列表结束-+$`)
)

var billKinds = map[string]BillKind{"交易": BillPayment, "退款": BillRefund}

func (p *billParser) line(line string) error {
	switch {
	case strings.HasPrefix(line, "#"):
		return p.comment(strings.TrimSpace(line))
	case strings.TrimSpace(line) == "":
		return nil
	case p.ended:
		return malformedBill("text behind the end of the list")
	case p.columns == nil:
		return p.header(line)
	}
	fields, err := p.split(line)
	if err != nil {
		return err
	}
	row, err := p.row(fields)
	if err != nil {
		return err
	}
	p.found[row.Kind]++
	p.bill.Rows = append(p.bill.Rows, row)
	return nil
}

func (p *billParser) comment(line string) error {
	if account := billAccount.FindStringSubmatch(line); account != nil {
		p.bill.Account = account[1]
	}
	if total := billTotal.FindStringSubmatch(line); total != nil {
		count, err := strconv.Atoi(total[2])
		if err != nil {
			return malformedBill("a total is not a number")
		}
		p.claimed[billKinds[total[1]]] = count
	}
	p.ended = p.ended || billEnd.MatchString(line)
	return nil
}

// The columns that we read. 订单金额 and 商家实收 are followed by their unit in brackets.
const (
	colTradeNo  = "支付宝交易号"
	colPayNo    = "商户订单号"
	colKind     = "业务类型"
	colSubject  = "商品名称"
	colCreated  = "创建时间"
	colFinished = "完成时间"
	colAmount   = "订单金额"
	colReceived = "商家实收"
	colRequest  = "退款批次号/请求号"
)

func (p *billParser) header(line string) error {
	p.columns = map[string]int{}
	for i, name := range strings.Split(line, ",") {
		name = strings.TrimSpace(strings.NewReplacer("（", "(", "）", ")", "／", "/").Replace(name))
		name = strings.TrimSpace(strings.TrimSuffix(name, "(元)"))
		if _, twice := p.columns[name]; twice {
			return malformedBill("a column twice")
		}
		p.columns[name] = i
	}
	for _, name := range []string{colTradeNo, colPayNo, colKind, colFinished, colAmount, colRequest} {
		if _, found := p.columns[name]; !found {
			return malformedBill("no column %s", name)
		}
	}
	return nil
}

// split takes a line apart. Alipay does not quote, so a comma in the name of what was sold makes fields of it, which are
// joined again; whoever does quote is understood too.
func (p *billParser) split(line string) ([]string, error) {
	if strings.Contains(line, `"`) {
		quoted, err := csv.NewReader(strings.NewReader(line)).Read()
		if err == nil && len(quoted) == len(p.columns) {
			return quoted, nil
		}
	}
	fields := strings.Split(line, ",")
	subject, named := p.columns[colSubject]
	if extra := len(fields) - len(p.columns); named && extra > 0 {
		name := strings.Join(fields[subject:subject+extra+1], ",")
		fields = slices.Replace(fields, subject, subject+extra+1, name)
	}
	if len(fields) != len(p.columns) {
		return nil, malformedBill("%d fields under %d columns", len(fields), len(p.columns))
	}
	return fields, nil
}

func (p *billParser) row(fields []string) (row BillRow, err error) {
	get := func(column string) string {
		if i, found := p.columns[column]; found {
			return strings.TrimSpace(fields[i])
		}
		return ""
	}
	row = BillRow{
		TradeNo: get(colTradeNo), PayNo: get(colPayNo), Kind: billKinds[get(colKind)],
		Subject: get(colSubject), RequestNo: get(colRequest),
	}
	if row.TradeNo == "" || row.PayNo == "" || row.Kind == "" {
		return row, malformedBill("no number, or an unknown kind")
	}
	if row.Amount, err = billMoney(row.Kind, get(colAmount)); err != nil {
		return row, malformedBill("an amount")
	}
	if received := get(colReceived); received != "" {
		if row.Received, err = billMoney(row.Kind, received); err != nil {
			return row, malformedBill("an amount received")
		}
	}
	var createdErr, finishedErr error
	row.CreatedAt, createdErr = parseDate(get(colCreated))
	row.FinishedAt, finishedErr = parseDate(get(colFinished))
	if createdErr != nil || finishedErr != nil || row.FinishedAt.IsZero() {
		return row, malformedBill("a date")
	}
	return row, nil
}

// billMoney reads an amount. Only a refund may carry a minus sign, and some do not.
func billMoney(kind BillKind, text string) (models.Money, error) {
	if kind == BillRefund {
		text = strings.TrimPrefix(text, "-")
	}
	return models.ParseMoney(text)
}

func (p *billParser) complete() error {
	if p.columns == nil || !p.ended {
		return malformedBill("no header, or no end")
	}
	for kind, count := range p.claimed {
		if p.found[kind] != count {
			return malformedBill("%d rows of kind %s, and %d by its own count", p.found[kind], kind, count)
		}
	}
	return nil
}

func malformedBill(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBillMalformed}, args...)...)
}
