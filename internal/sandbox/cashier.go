package sandbox

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"

	"coursepay/models"
)

//go:embed pages/*.html
var pageFiles embed.FS

var pageTemplates = template.Must(template.New("").Funcs(template.FuncMap{"beijing": beijingTime}).ParseFS(pageFiles, "pages/*.html"))

// returnDelay is how long the result page waits before it sends the buyer back.
const returnDelay = 3 * time.Second

// errNoPage: the token is not that of a page for this number.
var errNoPage = &refusal{"ACQ.TRADE_NOT_EXIST", "支付页面不存在，请返回商家重新发起支付"}

func (s *Server) routeCashier(mux *http.ServeMux) {
	mux.HandleFunc("GET /qr/{token}", s.scan)
	mux.HandleFunc("GET /cashier/{outTradeNo}", s.onPage(s.showCashier))
	mux.HandleFunc("GET /cashier/{outTradeNo}/result", s.onPage(s.showResult))
	mux.HandleFunc("GET /cashier/{outTradeNo}/cancelled", s.onPage(s.showCancelled))
	mux.HandleFunc("POST /cashier/{outTradeNo}/login", s.onPage(s.act(page.login, "")))
	mux.HandleFunc("POST /cashier/{outTradeNo}/pay", s.onPage(s.act(page.pay, "/result")))
	mux.HandleFunc("POST /cashier/{outTradeNo}/cancel", s.onPage(s.cancel))
}

// cashierPath is relative, so that a phone stays on the host it came to and a proxy may add a prefix.
func cashierPath(p page, step string) string {
	return "cashier/" + url.PathEscape(p.Key.OutTradeNo) + step + "?" + url.Values{"token": {p.Token}}.Encode()
}

// onPage finds the page that the request's token belongs to.
func (s *Server) onPage(serve func(http.ResponseWriter, *http.Request, page)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4096)
		token := r.FormValue("token")
		var p page
		s.store.view(func(st *store) { p = st.pages[token] })
		if p.Token == "" || p.Key.OutTradeNo != r.PathValue("outTradeNo") {
			s.pageError(w, http.StatusNotFound, errNoPage)
			return
		}
		serve(w, r, p)
	}
}

func (p page) login(t trade, now time.Time) (trade, error) { return t.login(p, now) }
func (p page) pay(t trade, now time.Time) (trade, error)   { return t.pay(p, now) }

// act lets the buyer do deed and then shows step.
func (s *Server) act(deed func(page, trade, time.Time) (trade, error), step string) func(http.ResponseWriter, *http.Request, page) {
	return func(w http.ResponseWriter, _ *http.Request, p page) {
		_, err := s.change(p.Key, func(t trade, now time.Time) (trade, error) { return deed(p, t, now) })
		if errors.Is(err, errHasSuccess) { // a double tap: it was not paid twice, and here is how it stands
			view := errorView{Code: errHasSuccess.Code, Text: errHasSuccess.Text, Result: "result?" + url.Values{"token": {p.Token}}.Encode()}
			s.render(w, http.StatusConflict, "error.html", view)
			return
		}
		if err != nil {
			s.pageError(w, http.StatusConflict, err)
			return
		}
		seeOther(w, p, step)
	}
}

// cancel leaves the cashier; the trade, if there is one, goes on waiting, as at Alipay.
func (s *Server) cancel(w http.ResponseWriter, _ *http.Request, p page) { seeOther(w, p, "/cancelled") }

// seeOther leads from /cashier/{outTradeNo}/{deed} to another step of the same page.
func seeOther(w http.ResponseWriter, p page, step string) {
	w.Header().Set("Location", "../../"+cashierPath(p, step))
	w.WriteHeader(http.StatusSeeOther)
}

// cashierView is what the cashier's templates show.
type cashierView struct {
	Page      page
	Trade     trade
	Base      string // where the forms post to, relative to the page's own address
	ReturnURL string
	QuitURL   string
	Payable   bool
}

func (s *Server) showCashier(w http.ResponseWriter, _ *http.Request, p page) {
	now := s.clock()
	t := s.tradeOf(p)
	if t.Status.Paid() {
		seeOtherFromPage(w, p)
		return
	}
	if err := t.opened(p, now); err != nil {
		s.pageError(w, http.StatusConflict, err)
		return
	}
	s.render(w, http.StatusOK, "cashier.html", cashierView{Page: p, Trade: t, Base: url.PathEscape(p.Key.OutTradeNo), Payable: true})
}

// seeOtherFromPage leads from /cashier/{outTradeNo} to its result.
func seeOtherFromPage(w http.ResponseWriter, p page) {
	w.Header().Set("Location", "../"+cashierPath(p, "/result"))
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Server) tradeOf(p page) (t trade) {
	s.store.view(func(st *store) { t = st.trades[p.Key].at(s.clock()) })
	return t
}

func (s *Server) showResult(w http.ResponseWriter, _ *http.Request, p page) {
	t := s.tradeOf(p)
	if !t.Status.Paid() {
		s.pageError(w, http.StatusConflict, errNotWaiting)
		return
	}
	back, err := s.returnAddress(p, t)
	if err != nil {
		s.pageError(w, http.StatusInternalServerError, err)
		return
	}
	leadTo(w, back)
	s.render(w, http.StatusOK, "result.html", cashierView{Page: p, Trade: t, ReturnURL: back})
}

func (s *Server) showCancelled(w http.ResponseWriter, _ *http.Request, p page) {
	leadTo(w, p.QuitURL)
	s.render(w, http.StatusOK, "cancelled.html", cashierView{Page: p, QuitURL: p.QuitURL, Base: "../" + cashierPathFromResult(p)})
}

// cashierPathFromResult is the cashier's address as seen from /cashier/{outTradeNo}/{step}.
func cashierPathFromResult(p page) string {
	return url.PathEscape(p.Key.OutTradeNo) + "?" + url.Values{"token": {p.Token}}.Encode()
}

// leadTo sends the browser to address after a moment. A header, since it needs no escaping into HTML.
func leadTo(w http.ResponseWriter, address string) {
	if u, err := url.Parse(address); err == nil && address != "" {
		w.Header().Set("Refresh", fmt.Sprintf("%d; url=%s", int(returnDelay.Seconds()), u))
	}
}

// returnAddress is return_url with Alipay's signed parameters. There is no trade_status among them: a return proves
// nothing.
func (s *Server) returnAddress(p page, t trade) (string, error) {
	if p.ReturnURL == "" {
		return "", nil
	}
	u, err := url.Parse(p.ReturnURL)
	if err != nil {
		return "", fmt.Errorf("return_url: %w", err)
	}
	fields := map[string]string{
		"app_id": p.Key.AppID, "auth_app_id": p.Key.AppID, "charset": p.Charset, "method": p.Method + ".return",
		"out_trade_no": p.Key.OutTradeNo, "trade_no": t.TradeNo, "total_amount": t.Page.Terms.Amount.String(),
		"seller_id": p.Terms.SellerID, "timestamp": beijingTime(s.clock()), "version": "1.0", "sign_type": "RSA2",
	}
	if fields["sign"], err = sign(s.key, []byte(canonical(fields, "sign", "sign_type"))); err != nil {
		return "", err
	}
	query := u.Query()
	for key, value := range fields {
		query.Set(key, value)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// errorView is what error.html shows.
type errorView struct {
	Code, Text string
	Result     string // where the payment's result is, when there is one
}

// pageError shows err as a page: Alipay's words for a rule of its own, nothing of our insides.
func (s *Server) pageError(w http.ResponseWriter, status int, err error) {
	view := errorView{Code: "isp.unknow-error", Text: "系统繁忙，请稍后再试"}
	if no, ok := asRefusal(err); ok {
		view = errorView{Code: no.Code, Text: no.Text}
	} else if public, ok := errors.AsType[*publicError](err); ok {
		view = errorView{Code: public.SubCode, Text: public.SubMsg}
	} else {
		status = http.StatusInternalServerError
		s.log.Error("page failed", "error", err)
	}
	s.render(w, status, "error.html", view)
}

func (s *Server) render(w http.ResponseWriter, status int, name string, view any) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	var page bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&page, name, view); err != nil {
		s.log.Error("page not made", "page", name, "error", err)
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // the client has gone: nobody to tell
}

// gbkPage recodes a page that is written in one piece: the gateway's own error pages are in GBK, as Alipay's are. What GBK
// lacks becomes a character reference.
type gbkPage struct{ http.ResponseWriter }

func (w gbkPage) WriteHeader(status int) {
	w.Header().Set("Content-Type", "text/html; charset=GBK")
	w.ResponseWriter.WriteHeader(status)
}

func (w gbkPage) Write(page []byte) (int, error) {
	page = bytes.Replace(page, []byte(`<meta charset="utf-8">`), []byte(`<meta charset="GBK">`), 1)
	recoded, err := encoding.HTMLEscapeUnsupported(simplifiedchinese.GBK.NewEncoder()).Bytes(page)
	if err != nil {
		return 0, fmt.Errorf("recode to GBK: %w", err)
	}
	return w.ResponseWriter.Write(recoded)
}

// homeView is what home.html shows: the newest of each, newest first.
type homeView struct {
	Trades   []tradeView
	Notifies []notifyView
	Total    int
}

// homeRows is how many trades and deliveries the home page lists.
const homeRows = 50

func (s *Server) routeHome(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("POST /resend/{id}", s.homeResend)
}

func (s *Server) home(w http.ResponseWriter, _ *http.Request) {
	view := homeView{Trades: s.listTrades(homeRows), Notifies: s.listNotifies("", homeRows)}
	s.store.view(func(st *store) { view.Total = len(st.trades) })
	s.render(w, http.StatusOK, "home.html", view)
}

func (s *Server) homeResend(w http.ResponseWriter, r *http.Request) {
	if _, err := s.resend(r.Context(), r.PathValue("id")); err != nil {
		s.pageError(w, http.StatusNotFound, &refusal{"NOT_FOUND", "没有这条通知"})
		return
	}
	w.Header().Set("Location", "../")
	w.WriteHeader(http.StatusSeeOther)
}

// tradeView is a trade as the control API shows it; times are RFC 3339.
type tradeView struct {
	OutTradeNo  string             `json:"out_trade_no"`
	AppID       string             `json:"app_id"`
	SellerID    string             `json:"seller_id"`
	TradeNo     string             `json:"trade_no,omitempty"`
	TradeStatus models.TradeStatus `json:"trade_status"` // "" while the buyer has not acted
	TotalAmount string             `json:"total_amount"`
	Subject     string             `json:"subject"`
	NotifyURL   string             `json:"notify_url,omitempty"`
	ReturnURL   string             `json:"return_url,omitempty"`
	QuitURL     string             `json:"quit_url,omitempty"`
	CashierURL  string             `json:"cashier_url"` // absolute when Config.PublicURL is set
	OpenedAt    time.Time          `json:"opened_at"`
	TimeExpire  time.Time          `json:"time_expire"`
	GmtCreate   time.Time          `json:"gmt_create,omitzero"`
	GmtPayment  time.Time          `json:"gmt_payment,omitzero"`
	GmtClose    time.Time          `json:"gmt_close,omitzero"`
	Payable     bool               `json:"payable"`
	RefundFee   string             `json:"refund_fee"` // all refunds together
	Notifies    []string           `json:"notifies"`   // ids
}
