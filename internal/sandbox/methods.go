package sandbox

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"coursepay/models"
)

// text is a JSON string, or a number as it was written: clients send amounts either way.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	var number json.Number
	if raw[0] != '"' {
		if err := json.Unmarshal(raw, &number); err != nil {
			return err
		}
		*t = text(number)
		return nil
	}
	return json.Unmarshal(raw, (*string)(t))
}

// payRequest is the biz_content of alipay.trade.wap.pay, alipay.trade.page.pay and alipay.trade.precreate, as far as we
// look at it.
type payRequest struct {
	OutTradeNo     text `json:"out_trade_no"`
	TotalAmount    text `json:"total_amount"`
	Subject        text `json:"subject"`
	Body           text `json:"body"`
	ProductCode    text `json:"product_code"`
	SellerID       text `json:"seller_id"`
	TimeExpire     text `json:"time_expire"`
	TimeoutExpress text `json:"timeout_express"`
	QuitURL        text `json:"quit_url"`
	PassbackParams text `json:"passback_params"`
}

// productCodes are the ones that each paying method is sold under. Alipay's documents of precreate name two, and do not
// ask for any.
var productCodes = map[string][]string{
	"alipay.trade.wap.pay":  {"QUICK_WAP_WAY"},
	"alipay.trade.page.pay": {"FAST_INSTANT_TRADE_PAY"},
	precreate:               {"QR_CODE_OFFLINE", "FACE_TO_FACE_PAYMENT", ""},
}

// forbiddenWord in a subject is what Alipay's censors object to; the sandbox knows just this one.
const forbiddenWord = "违禁词"

var outTradeNo = regexp.MustCompile(`^[0-9A-Za-z_]{1,64}$`)

// openPage is alipay.trade.wap.pay and alipay.trade.page.pay: it remembers the page and creates no trade.
func (s *Server) openPage(_ context.Context, c call) (string, error) {
	p, err := s.rememberPage(c)
	if err != nil {
		return "", err
	}
	return cashierPath(p, ""), nil
}

// rememberPage notes the page that the merchant asks for, or finds the one that it has asked for before.
func (s *Server) rememberPage(c call) (page, error) {
	var request payRequest
	if err := c.biz(&request); err != nil {
		return page{}, err
	}
	now := s.clock()
	p, err := newPage(c, request, now)
	if err != nil {
		return page{}, err
	}
	err = s.store.update(func(st *store) (record, error) {
		t, known := st.trades[p.Key]
		t = t.at(now)
		if err := t.opened(p, now); err != nil {
			return record{}, err
		}
		if known && t.Page.sameAs(p) && t.opened(t.Page, now) == nil {
			p = t.Page
			return record{}, errUnchanged
		}
		p.Token = newToken()
		r := record{Pages: []page{p}}
		if !t.exists() {
			r.Trades = []trade{{Page: p}}
		}
		return r, nil
	})
	if err != nil && err != errUnchanged { //nolint:errorlint // it comes straight from the closure above
		return page{}, err
	}
	return p, nil
}

// newPage checks what the merchant asks for (Alipay, alipay.trade.wap.pay, table of request parameters).
func newPage(c call, r payRequest, now time.Time) (page, error) {
	amount, err := checkAmount(string(r.TotalAmount))
	if err != nil {
		return page{}, err
	}
	expiry, err := expireTime(r, c.method, now)
	if err != nil {
		return page{}, err
	}
	if err := checkPayRequest(c, r); err != nil {
		return page{}, err
	}
	var scanBy time.Time
	if c.method == precreate {
		scanBy = now.Add(qrLife)
	}
	return page{
		Key: tradeKey{c.app.id, string(r.OutTradeNo)}, Method: c.method, ScanBy: scanBy,
		Terms: terms{
			Amount: amount, Subject: string(r.Subject), Body: string(r.Body), ProductCode: string(r.ProductCode),
			SellerID: c.app.sellerID, Expiry: string(r.TimeExpire + "/" + r.TimeoutExpress),
		},
		NotifyURL: c.params["notify_url"], ReturnURL: c.params["return_url"], QuitURL: string(r.QuitURL),
		Passback: string(r.PassbackParams), Charset: answerCharset(c.params), OpenedAt: now, ExpireTime: expiry,
	}, nil
}

func checkPayRequest(c call, r payRequest) error {
	switch {
	case !outTradeNo.MatchString(string(r.OutTradeNo)):
		return invalid("out_trade_no须为1至64位字母、数字、下划线")
	case r.Subject == "" || utf8.RuneCountInString(string(r.Subject)) > 256 || strings.ContainsAny(string(r.Subject), "/=&"):
		return invalid("subject须为1至256个字符，且不含/、=、&")
	case utf8.RuneCountInString(string(r.Body)) > 128:
		return invalid("body不得超过128个字符")
	case strings.Contains(string(r.Subject)+string(r.Body), forbiddenWord):
		return errForbidden
	case !slices.Contains(productCodes[c.method], string(r.ProductCode)):
		return invalid("product_code须为%s", strings.Trim(strings.Join(productCodes[c.method], "、"), "、"))
	case r.SellerID != "" && string(r.SellerID) != c.app.sellerID:
		return invalid("seller_id与应用不符")
	case len(r.PassbackParams) > 512:
		return invalid("passback_params不得超过512个字符")
	}
	for name, address := range map[string]string{
		"notify_url": c.params["notify_url"], "return_url": c.params["return_url"], "quit_url": string(r.QuitURL),
	} {
		if address != "" && !isWebAddress(address) {
			return invalid("%s须为http或https地址", name)
		}
	}
	return nil
}

func isWebAddress(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func checkAmount(text string) (models.Money, error) {
	amount, err := models.ParseMoney(text)
	if err != nil && looksHuge.MatchString(text) {
		return 0, errFeeTooLarge
	}
	if err != nil || amount == 0 {
		return 0, invalid("total_amount须为0.01至100000000之间、至多两位小数的金额")
	}
	return amount, nil
}

// looksHuge is a well-written amount of 100 000 000 yuan and more.
var looksHuge = regexp.MustCompile(`^[1-9][0-9]{8,}(\.[0-9]{1,2})?$`)

const defaultTimeout = 15 * 24 * time.Hour

// expireTime is the moment from which on the page cannot be paid: time_expire, else timeout_express from now, else
// fifteen days.
func expireTime(r payRequest, method string, now time.Time) (time.Time, error) {
	if r.TimeExpire != "" {
		at, err := time.ParseInLocation(timeLayout, string(r.TimeExpire), beijing)
		if err != nil {
			return at, invalid("time_expire须为yyyy-MM-dd HH:mm:ss")
		}
		return at, nil
	}
	switch r.TimeoutExpress {
	case "":
		return now.Add(defaultTimeout), nil
	case "1c":
		year, month, day := now.In(beijing).Date()
		return time.Date(year, month, day+1, 0, 0, 0, 0, beijing), nil
	}
	timeout, ok := parseTimeout(string(r.TimeoutExpress))
	if least := leastTimeout(method); !ok || timeout < least || timeout > defaultTimeout {
		return now, invalid("timeout_express须为%d分钟至15天", int(least.Minutes()))
	}
	return now.Add(timeout), nil
}

func leastTimeout(method string) time.Duration {
	if method == "alipay.trade.wap.pay" {
		return 5 * time.Minute
	}
	return time.Minute
}

var timeoutText = regexp.MustCompile(`^([1-9][0-9]{0,4})([mhd])$`)

func parseTimeout(text string) (time.Duration, bool) {
	parts := timeoutText.FindStringSubmatch(text)
	if parts == nil {
		return 0, false
	}
	n, err := strconv.Atoi(parts[1])
	unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[parts[2]]
	return time.Duration(n) * unit, err == nil
}

// tradeRequest is the biz_content of the methods that are about one trade. With both ids given, TradeNo wins.
type tradeRequest struct {
	OutTradeNo text `json:"out_trade_no"`
	TradeNo    text `json:"trade_no"`
}

// locate gives the key of the trade that r means, within the caller's app; a key without a trade is
// ACQ.TRADE_NOT_EXIST's business.
func (st *store) locate(c call, r tradeRequest) (tradeKey, error) {
	if r.TradeNo != "" {
		if key := st.byTradeNo[string(r.TradeNo)]; key.AppID == c.app.id {
			return key, nil
		}
		return tradeKey{}, nil
	}
	if r.OutTradeNo == "" {
		return tradeKey{}, invalid("out_trade_no和trade_no不能同时为空")
	}
	return tradeKey{c.app.id, string(r.OutTradeNo)}, nil
}

func (s *Server) locate(c call, r tradeRequest) (key tradeKey, err error) {
	s.store.view(func(st *store) { key, err = st.locate(c, r) })
	return key, err
}

// queryAnswer is alipay.trade.query's; what does not apply is left out. The first four amounts come in any case.
type queryAnswer struct {
	head
	BuyerLogonID   string     `json:"buyer_logon_id,omitempty"`
	BuyerOpenID    string     `json:"buyer_open_id,omitempty"`
	BuyerPayAmount string     `json:"buyer_pay_amount"`
	BuyerUserID    string     `json:"buyer_user_id,omitempty"`
	FundBillList   []fundItem `json:"fund_bill_list,omitempty"`
	InvoiceAmount  string     `json:"invoice_amount"`
	OutTradeNo     string     `json:"out_trade_no,omitempty"`
	PointAmount    string     `json:"point_amount"`
	ReceiptAmount  string     `json:"receipt_amount"`
	SendPayDate    string     `json:"send_pay_date,omitempty"`
	TotalAmount    string     `json:"total_amount,omitempty"`
	TradeNo        string     `json:"trade_no,omitempty"`
	TradeStatus    string     `json:"trade_status,omitempty"`
}

type fundItem struct {
	Amount      string `json:"amount"`
	FundChannel string `json:"fund_channel"`
}

const noMoney = "0.00"

func (s *Server) tradeQuery(_ context.Context, c call) (any, error) {
	var r tradeRequest
	if err := c.biz(&r); err != nil {
		return nil, err
	}
	var t trade
	var err error
	s.store.view(func(st *store) {
		var key tradeKey
		key, err = st.locate(c, r)
		t = st.trades[key].at(s.clock())
	})
	answer := queryAnswer{
		OutTradeNo: string(r.OutTradeNo), BuyerPayAmount: noMoney, InvoiceAmount: noMoney, PointAmount: noMoney,
		ReceiptAmount: noMoney,
	}
	if err == nil && !t.exists() {
		answer.head = failed(errNotExist)
		return answer, nil
	}
	return answer.about(t, c.app.buyer()), err
}

func (a queryAnswer) about(t trade, by buyer) queryAnswer {
	amount := t.Page.Terms.Amount.String()
	a.head = success
	a.OutTradeNo, a.TradeNo, a.TradeStatus = t.Page.Key.OutTradeNo, t.TradeNo, string(t.Status)
	a.TotalAmount, a.BuyerUserID, a.BuyerOpenID, a.BuyerLogonID = amount, by.userID, by.openID, buyerLogonID
	if !t.PaidAt.IsZero() {
		a.BuyerPayAmount, a.InvoiceAmount, a.ReceiptAmount = amount, amount, amount
		a.SendPayDate, a.FundBillList = beijingTime(t.PaidAt), []fundItem{{amount, "ALIPAYACCOUNT"}}
	}
	return a
}

// closeAnswer is alipay.trade.close's; its errors carry the number too.
type closeAnswer struct {
	head
	OutTradeNo string `json:"out_trade_no,omitempty"`
	TradeNo    string `json:"trade_no,omitempty"`
}

// aboutToClose finds the trade that a close or cancel is about, and lets the buyer be quicker where the faults say so.
func (s *Server) aboutToClose(c call) (r tradeRequest, key tradeKey, err error) {
	if err = c.biz(&r); err != nil {
		return r, key, err
	}
	if key, err = s.locate(c, r); err == nil {
		s.raceBuyer(key)
	}
	return r, key, err
}

func (s *Server) tradeClose(_ context.Context, c call) (any, error) {
	r, key, err := s.aboutToClose(c)
	if err != nil {
		return nil, err
	}
	t, err := s.change(key, trade.close)
	if no, ok := asRefusal(err); ok {
		return closeAnswer{head: failed(no), OutTradeNo: string(r.OutTradeNo)}, nil
	}
	return closeAnswer{head: success, OutTradeNo: key.OutTradeNo, TradeNo: t.TradeNo}, err
}
