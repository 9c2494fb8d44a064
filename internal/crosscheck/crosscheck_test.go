package crosscheck

import (
	"cmp"
	"net/http"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"
)

// scene is one trade that a case is about.
type scene struct {
	t      *testing.T
	w      *world
	number string
	value  value
}

func (s scene) opened() {
	s.w.open(s.t, s.w.order(s.number, s.value))
}

func (s scene) waiting() {
	s.opened()
	s.w.buyer(s.t, s.number, "login")
}

func (s scene) paid() {
	s.opened()
	s.w.buyer(s.t, s.number, "pay")
}

// precreated is the scene's order as a QR code.
func (s scene) precreated() order {
	o := s.w.order(s.number, s.value)
	o.Method, o.QuitURL = precreate, ""
	return o
}

// biz is biz_content with this scene's number.
func (s scene) biz(pairs ...any) map[string]any {
	biz := map[string]any{"out_trade_no": s.number}
	for i := 0; i < len(pairs); i += 2 {
		biz[pairs[i].(string)] = pairs[i+1]
	}
	return biz
}

func (s scene) trade() tradeState { return s.w.trade(s.t, s.number) }

// method is one of the gateway's and how to make it succeed and fail.
type method struct {
	name string
	// succeeds sets the scene for a success and gives the request; succeeded looks at what came of it.
	succeeds  func(s scene) map[string]any
	succeeded func(s scene, a answer)
	// fails does the same for a refusal with that sub code, whose answer has these fields too.
	fails   func(s scene) map[string]any
	subCode string
	echo    func(s scene) map[string]string
}

var methods = []method{
	{
		name: query,
		succeeds: func(s scene) map[string]any {
			s.paid()
			return s.biz("query_options", []string{s.value.text})
		},
		succeeded: func(s scene, a answer) {
			require.Equal(s.t, s.number, a.text("out_trade_no"))
			require.Equal(s.t, "TRADE_SUCCESS", a.text("trade_status"))
			require.Equal(s.t, "88.80", a.text("total_amount"))
		},
		fails:   func(s scene) map[string]any { return map[string]any{"out_trade_no": s.value.text} },
		subCode: "ACQ.TRADE_NOT_EXIST",
		echo:    func(s scene) map[string]string { return map[string]string{"out_trade_no": s.value.text} },
	},
	{
		name: closeTrade,
		succeeds: func(s scene) map[string]any {
			s.waiting()
			return s.biz("operator_id", s.value.text)
		},
		succeeded: func(s scene, a answer) {
			require.Equal(s.t, s.number, a.text("out_trade_no"))
			require.Equal(s.t, "TRADE_CLOSED", s.trade().TradeStatus)
		},
		fails: func(s scene) map[string]any {
			s.paid()
			return s.biz("operator_id", s.value.text)
		},
		subCode: "ACQ.TRADE_STATUS_ERROR",
	},
	{
		name: refund,
		succeeds: func(s scene) map[string]any {
			s.paid()
			return s.biz("refund_amount", "8.80", "out_request_no", s.value.text, "refund_reason", s.value.text)
		},
		succeeded: func(s scene, a answer) {
			require.Equal(s.t, s.number, a.text("out_trade_no"))
			require.Equal(s.t, "Y", a.text("fund_change"))
			require.Equal(s.t, "8.80", a.text("refund_fee"))
			require.Equal(s.t, "8.80", s.trade().RefundFee)
		},
		fails: func(s scene) map[string]any {
			s.paid()
			return s.biz("refund_amount", "88.81", "out_request_no", s.value.text, "refund_reason", s.value.text)
		},
		subCode: "ACQ.REASON_TRADE_REFUND_FEE_ERR",
	},
	{
		name: refundQuery,
		succeeds: func(s scene) map[string]any {
			s.paid()
			s.w.prepare(s.t, refund, s.biz("refund_amount", "8.80", "out_request_no", s.value.text))
			return s.biz("out_request_no", s.value.text)
		},
		succeeded: func(s scene, a answer) {
			require.Equal(s.t, "REFUND_SUCCESS", a.text("refund_status"))
			require.Equal(s.t, "8.80", a.text("refund_amount"))
			require.Equal(s.t, s.value.text, a.text("out_request_no"))
		},
		fails:   func(s scene) map[string]any { return s.biz("out_request_no", s.value.text) },
		subCode: "ACQ.TRADE_NOT_EXIST",
	},
	{
		name:     precreate,
		succeeds: func(s scene) map[string]any { return s.precreated().biz() },
		succeeded: func(s scene, a answer) {
			require.Equal(s.t, s.number, a.text("out_trade_no"))
			require.Equal(s.t, http.StatusSeeOther, fetch(s.t, a.text("qr_code")).status)
			require.Equal(s.t, "WAIT_BUYER_PAY", s.trade().TradeStatus)
			require.Equal(s.t, s.value.subject(), s.trade().Subject)
		},
		fails: func(s scene) map[string]any {
			s.paid()
			return s.precreated().biz()
		},
		subCode: "ACQ.TRADE_HAS_SUCCESS",
	},
	{
		name: cancel,
		succeeds: func(s scene) map[string]any {
			s.paid()
			return s.biz("operator_id", s.value.text)
		},
		succeeded: func(s scene, a answer) {
			require.Equal(s.t, s.number, a.text("out_trade_no"))
			require.Equal(s.t, []string{"refund", "N"}, []string{a.text("action"), a.text("retry_flag")})
			require.Equal(s.t, "88.80", s.trade().RefundFee)
		},
		fails: func(s scene) map[string]any {
			return map[string]any{"out_trade_no": s.w.old, "operator_id": s.value.text}
		},
		subCode: "ACQ.TRADE_CANCEL_TIME_OUT",
	},
	{
		name: billURL,
		succeeds: func(s scene) map[string]any {
			return map[string]any{"bill_type": "trade", "bill_date": s.w.oldDay, "smid": s.value.text}
		},
		succeeded: func(s scene, a answer) {
			bill := fetch(s.t, a.text("bill_download_url"))
			require.Equal(s.t, http.StatusOK, bill.status)
			require.True(s.t, strings.HasPrefix(bill.body, "PK"), "a zip")
		},
		fails: func(s scene) map[string]any {
			return map[string]any{"bill_type": "trade", "bill_date": s.value.text}
		},
		subCode: "INVAILID_ARGUMENTS", // Alipay's spelling
	},
}

// outcome is one way for a question to go.
type outcome struct {
	name   string
	faults string // of the sandbox
	fails  bool   // the method's refusal instead of its success
	// change: one byte of the signed request is not what the client sent.
	change bool
}

var cases = []outcome{
	{name: "success", faults: `{}`},
	{name: "business error", faults: `{}`, fails: true},
	{name: "tampered answer", faults: `{"gateway":{"tampered":1}}`},
	{name: "tampered business error", faults: `{"gateway":{"tampered":1}}`, fails: true},
	{name: "unsigned answer", faults: `{"gateway":{"unsigned":1}}`},
	{name: "unsigned business error", faults: `{"gateway":{"unsigned":1}}`, fails: true},
	{name: "changed request", faults: `{}`, change: true},
}

// TestQuestions asks everything with every client, and expects the same of all of them.
func TestQuestions(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		worlds := map[string]*world{}
		for _, c := range cases {
			if worlds[c.faults] == nil {
				worlds[c.faults] = newWorld(t, mode, c.faults)
			}
			for _, k := range kinds {
				for _, m := range methods {
					for _, v := range append(values, mixed) {
						question{k, m, c, v}.run(t, worlds[c.faults])
					}
				}
			}
		}
	}
}

// question is one cell of the matrix.
type question struct {
	kind    kind
	method  method
	outcome outcome
	value   value
}

// makesSense leaves out what a client cannot do.
func (q question) makesSense() bool {
	switch {
	case !spread(q.outcome.name == "success", q.value):
		return false
	case q.kind.ours && (q.value != plain || q.method.name == billURL && q.outcome.fails): // it asks for days only
		return false
	case q.kind.ours:
		return q.method.name != precreate && q.method.name != cancel
	case q.kind.trustsUnsignedErrors && q.outcome.fails && strings.HasPrefix(q.outcome.name, "unsigned"):
		return false
	}
	return true
}

func (q question) run(t *testing.T, w *world) {
	t.Helper()
	if !q.makesSense() {
		return
	}
	name := strings.Join([]string{q.kind.name, q.method.name, q.outcome.name, string(w.mode), q.value.name}, "/")
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		q.ask(scene{t, w, newNumber(), q.value})
	})
}

func (q question) ask(s scene) {
	gateway := s.w.gateway()
	if q.outcome.change {
		gateway = s.w.through("biz_content")
	}
	set := q.method.succeeds
	if q.outcome.fails {
		set = q.method.fails
	}
	biz := set(s)
	before := s.trade()
	a, err := q.kind.make(s.t, s.w, gateway).ask(s.t.Context(), q.method.name, biz)
	switch {
	case q.outcome.change:
		require.NoError(s.t, err)
		requireRefused(s.t, a, "40002", "isv.invalid-signature")
		require.Equal(s.t, before, s.trade(), "nothing is done")
	case q.outcome.faults != `{}`:
		require.Error(s.t, err, "believed: %v", a)
		require.NotErrorIs(s.t, err, errUnknownMethod)
	case q.outcome.fails:
		require.NoError(s.t, err)
		requireRefused(s.t, a, "40004", q.method.subCode)
		if q.method.echo != nil {
			for field, text := range q.method.echo(s) {
				require.Equal(s.t, text, a.text(field))
			}
		}
	default:
		require.NoError(s.t, err)
		require.Equal(s.t, "10000", a.text("code"), "%v", a)
		q.method.succeeded(s, a)
	}
}

func requireRefused(t *testing.T, a answer, code, subCode string) {
	t.Helper()
	require.Equal(t, []string{code, subCode}, []string{a.text("code"), a.text("sub_code")}, "%v", a)
}

// refusals are the sub codes for parameters that the gateway looks at before it knows how to check the signature.
var refusals = map[string]string{
	"app_id": "isv.invalid-app-id", "sign_type": "isv.invalid-signature-type",
	"app_cert_sn": "isv.app-cert-not-exist", "alipay_root_cert_sn": "isv.invalid-alipay-root-cert-sn",
}

// TestEveryParameterIsSigned changes one byte of each parameter in turn.
func TestEveryParameterIsSigned(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		w := newWorld(t, mode, `{}`)
		params := []string{"app_id", "method", "charset", "sign_type", "sign", "timestamp", "version", "biz_content"}
		if mode == certificate {
			params = append(params, "app_cert_sn", "alipay_root_cert_sn")
		}
		for _, k := range kinds {
			for _, param := range params {
				t.Run(strings.Join([]string{k.name, query, "changed " + param, string(mode)}, "/"), func(t *testing.T) {
					t.Parallel()
					s := scene{t, w, newNumber(), plain}
					s.paid()
					a, err := k.make(t, w, w.through(param)).ask(t.Context(), query, s.biz())
					require.NotErrorIs(t, err, errUnknownMethod)
					switch {
					case err != nil:
						require.Contains(t, []string{"app_id", "method"}, param, "%v", err)
					default:
						requireRefused(t, a, "40002", cmp.Or(refusals[param], "isv.invalid-signature"))
					}
				})
			}
		}
	}
}

// TestPages opens pay pages with every client, in both layouts of the parameters.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		w := newWorld(t, mode, `{}`)
		for _, k := range kinds {
			for _, method := range []string{wapPay, pagePay} {
				for _, verb := range []string{http.MethodGet, http.MethodPost} {
					for _, v := range append(values, mixed) {
						if k.opens(method, verb, v) {
							testPage(t, w, k, method, verb, v)
						}
					}
				}
			}
		}
	}
}

// opens says whether a client can open such a page.
func (k kind) opens(method, verb string, v value) bool {
	switch {
	case k.ours: // it rewrites a subject with spaces about or with what Alipay forbids
		return method == wapPay && verb == http.MethodPost && v.subject() == v.text && v.name != "spaces"
	case k.name == "node" && verb == http.MethodPost:
		return v.name != "ampersand" // the form leaves the & of an entity as it is: the browser sends what was not signed
	}
	return true
}

func testPage(t *testing.T, w *world, k kind, method, verb string, v value) {
	t.Helper()
	run := func(what, gateway string, f func(t *testing.T, o order, open func() shown)) {
		if !spread(what == "success", v) {
			return
		}
		t.Run(strings.Join([]string{k.name, method, what, string(w.mode), verb, v.name}, "/"), func(t *testing.T) {
			t.Parallel()
			o := w.order(newNumber(), v)
			if o.Method = method; method == pagePay {
				o.QuitURL = ""
			}
			f(t, o, func() shown {
				request, err := k.make(t, w, gateway).page(t.Context(), verb, o)
				require.NoError(t, err)
				return browse(t, request)
			})
		})
	}
	run("success", w.gateway(), func(t *testing.T, o order, open func() shown) {
		page := open()
		require.Equal(t, http.StatusSeeOther, page.status)
		require.Contains(t, page.header.Get("Location"), o.Number)
		got := w.trade(t, o.Number)
		got.CashierURL = ""
		require.Equal(t, tradeState{
			OutTradeNo: o.Number, TotalAmount: o.Amount, Subject: o.Subject, NotifyURL: o.NotifyURL, ReturnURL: o.ReturnURL,
			QuitURL: o.QuitURL, RefundFee: "0.00",
		}, got)
	})
	run("business error", w.gateway(), func(t *testing.T, o order, open func() shown) {
		w.open(t, o)
		w.buyer(t, o.Number, "pay")
		requirePageError(t, open(), "ACQ.TRADE_HAS_SUCCESS")
	})
	for _, param := range []string{"biz_content", "notify_url", "return_url"} {
		run("changed "+param, w.through(param), func(t *testing.T, o order, open func() shown) {
			requirePageError(t, open(), "isv.invalid-signature")
			require.Empty(t, w.trade(t, o.Number).OutTradeNo, "there is no such page")
		})
	}
}

func requirePageError(t *testing.T, page shown, code string) {
	t.Helper()
	require.Equal(t, http.StatusOK, page.status)
	document, err := goquery.NewDocumentFromReader(strings.NewReader(page.body))
	require.NoError(t, err)
	require.Equal(t, code, strings.TrimSpace(document.Find("#error-code").Text()))
}
