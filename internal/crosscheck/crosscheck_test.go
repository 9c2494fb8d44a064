package crosscheck

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	gopayalipay "github.com/go-pay/gopay/alipay"
	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

// scene is one trade that a case is about, and the client that it is put to.
type scene struct {
	t      *testing.T
	w      *world
	kind   kind
	number string
	value  value
}

func newScene(t *testing.T, w *world, k kind, v value) scene {
	t.Helper()
	return scene{t, w, k, newNumber(), v}
}

// opened: nobody waits for notifies here.
func (s scene) opened() {
	o := s.w.order(s.number, s.value)
	o.NotifyURL = ""
	s.w.open(s.t, o)
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

// anyNumber is the scene's text in the place of a number, where the client does not look what it sends.
func (s scene) anyNumber() string {
	if s.kind.ours {
		return "any_number"
	}
	return s.value.text
}

// anyDay is the same in the place of a day.
func (s scene) anyDay() (day, subCode string) {
	if s.kind.ours {
		return "2016-02-29", "NO_BILL_DATA"
	}
	return s.value.text, "INVAILID_ARGUMENTS" // Alipay's spelling
}

func (s scene) trade() tradeState { return s.w.trade(s.t, s.number) }

// method is one of the gateway's and how to make it succeed and fail.
type method struct {
	name string
	// succeeds sets the scene for a success and gives the request; succeeded looks at what came of it.
	succeeds  func(s scene) map[string]any
	succeeded func(s scene, a answer)
	// fails does the same for a refusal, whose answer has these fields.
	fails func(s scene) (map[string]any, answer)
}

func businessError(subCode string) answer { return answer{"code": "40004", "sub_code": subCode} }

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
		fails: func(s scene) (map[string]any, answer) {
			no := businessError("ACQ.TRADE_NOT_EXIST")
			no["out_trade_no"] = s.kind.hears(s.anyNumber())
			return map[string]any{"out_trade_no": s.anyNumber()}, no
		},
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
		fails: func(s scene) (map[string]any, answer) {
			s.paid()
			return s.biz("operator_id", s.value.text), businessError("ACQ.TRADE_STATUS_ERROR")
		},
	},
	{
		name: refund,
		succeeds: func(s scene) map[string]any {
			s.paid()
			return s.biz("refund_amount", "8.80", "out_request_no", s.anyNumber(), "refund_reason", s.value.text)
		},
		succeeded: func(s scene, a answer) {
			require.Equal(s.t, s.number, a.text("out_trade_no"))
			require.Equal(s.t, "Y", a.text("fund_change"))
			require.Equal(s.t, "8.80", a.text("refund_fee"))
			require.Equal(s.t, "8.80", s.trade().RefundFee)
		},
		fails: func(s scene) (map[string]any, answer) {
			s.paid()
			return s.biz("refund_amount", "88.81", "out_request_no", s.anyNumber(), "refund_reason", s.value.text),
				businessError("ACQ.REASON_TRADE_REFUND_FEE_ERR")
		},
	},
	{
		name: refundQuery,
		succeeds: func(s scene) map[string]any {
			s.paid()
			s.w.prepare(s.t, refund, s.biz("refund_amount", "8.80", "out_request_no", s.anyNumber()))
			return s.biz("out_request_no", s.anyNumber())
		},
		succeeded: func(s scene, a answer) {
			require.Equal(s.t, "REFUND_SUCCESS", a.text("refund_status"))
			require.Equal(s.t, "8.80", a.text("refund_amount"))
			require.Equal(s.t, s.kind.hears(s.anyNumber()), a.text("out_request_no"))
		},
		fails: func(s scene) (map[string]any, answer) {
			return s.biz("out_request_no", s.anyNumber()), businessError("ACQ.TRADE_NOT_EXIST")
		},
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
		fails: func(s scene) (map[string]any, answer) {
			s.paid()
			return s.precreated().biz(), businessError("ACQ.TRADE_HAS_SUCCESS")
		},
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
		fails: func(s scene) (map[string]any, answer) {
			return map[string]any{"out_trade_no": s.w.old, "operator_id": s.value.text},
				businessError("ACQ.TRADE_CANCEL_TIME_OUT")
		},
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
		fails: func(s scene) (map[string]any, answer) {
			day, subCode := s.anyDay()
			return map[string]any{"bill_type": "trade", "bill_date": day}, businessError(subCode)
		},
	},
	{
		name: certDownload,
		succeeds: func(s scene) map[string]any {
			sn, err := gopayalipay.GetCertSN([]byte(sandboxtest.Keys()[sandbox.AlipayCertFile]))
			require.NoError(s.t, err)
			return map[string]any{"alipay_cert_sn": sn, "note": s.value.text}
		},
		succeeded: func(s scene, a answer) {
			content := a.text("alipay_cert_content")
			if text, err := base64.StdEncoding.DecodeString(content); err == nil { // gopay has done that
				content = string(text)
			}
			require.Equal(s.t, sandboxtest.Keys()[sandbox.AlipayCertFile], content)
		},
		fails: func(s scene) (map[string]any, answer) {
			return map[string]any{"alipay_cert_sn": s.value.text},
				answer{"code": "40002", "sub_code": "isv.invalid-alipay-cert-sn"}
		},
	},
}

// TestNoMethodIsLeftOut holds the matrix against the sandbox's documentation and against our own client.
func TestNoMethodIsLeftOut(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/sandbox.md")
	require.NoError(t, err)
	asked := []string{wapPay, pagePay}
	for _, m := range methods {
		asked = append(asked, m.name)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		if row, isRow := strings.CutPrefix(line, "| `alipay."); isRow {
			names, _, _ := strings.Cut(row, "` |")
			for name := range strings.SplitSeq(names, "` `alipay.") {
				documented = append(documented, "alipay."+name)
			}
		}
	}
	require.ElementsMatch(t, documented, asked)
	var ours []string
	for m := range reflect.TypeFor[*alipay.Client]().Methods() {
		ours = append(ours, m.Name)
	}
	require.ElementsMatch(t, []string{
		"QueryTrade", "CloseTrade", "Refund", "QueryRefund", "BillURL", "Bill", // ourClient.ask
		"WapPayForm", "ParseNotify", // ourClient.page and verify
	}, ours, "what our client has learnt wants a place in ourClient, and to leave kind.lacks")
}

// lie is what somebody on the line does to an answer.
type lie string

const (
	tampered lie = "tampered"
	unsigned lie = "unsigned"
)

// outcome is one way for a question to go.
type outcome struct {
	name  string
	fails bool // the method's refusal instead of its success
	lie   lie  // "": the answer is the sandbox's
	// spoilt is the gateway behind somebody who spoils the request, and refusal the gateway's answer to that.
	spoilt  func(*world) (gateway string)
	refusal answer
}

var outcomes = []outcome{
	{name: "success"},
	{name: "business error", fails: true},
	{name: "tampered answer", lie: tampered},
	{name: "tampered business error", lie: tampered, fails: true},
	{name: "unsigned answer", lie: unsigned},
	{name: "unsigned business error", lie: unsigned, fails: true},
	{
		name:    "changed request",
		spoilt:  func(w *world) string { return w.changing("biz_content") },
		refusal: answer{"code": "40002", "sub_code": "isv.invalid-signature"},
	},
	{
		name:    "unsigned request",
		spoilt:  func(w *world) string { return w.dropping("sign") },
		refusal: answer{"code": "40001", "sub_code": "isv.missing-signature"},
	},
}

// faults is what has the sandbox lie like that.
func (l lie) faults() string {
	if l == "" {
		return `{}`
	}
	return `{"gateway":{"` + string(l) + `":1}}`
}

// TestQuestions asks everything with every client, and expects the same of all of them.
func TestQuestions(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		worlds := map[lie]*world{}
		for _, o := range outcomes {
			if worlds[o.lie] == nil {
				worlds[o.lie] = newWorld(t, mode, o.lie.faults())
			}
			for _, k := range allKinds {
				for _, m := range methods {
					for _, v := range values {
						question{k, m, o, v}.run(t, worlds[o.lie])
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

// makesSense leaves out what the client has no method or no characters for. Where there are no certificates there is
// none to download.
func (q question) makesSense(m mode) bool {
	return !slices.Contains(q.kind.lacks, q.method.name) && q.kind.sends(q.value, q.outcome.name == "success") &&
		(q.method.name != certDownload || m == certificate || q.outcome.fails)
}

func (q question) run(t *testing.T, w *world) {
	t.Helper()
	if !q.makesSense(w.mode) {
		return
	}
	name := strings.Join([]string{q.kind.name, q.method.name, q.outcome.name, string(w.mode), q.value.name}, "/")
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		q.ask(newScene(t, w, q.kind, q.value))
	})
}

// set sets the scene and gives the request, and the refusal that it is to meet, if any.
func (q question) set(s scene) (biz map[string]any, refusal answer) {
	if q.outcome.fails {
		return q.method.fails(s)
	}
	return q.method.succeeds(s), q.outcome.refusal
}

func (q question) ask(s scene) {
	gateway := s.w.gateway()
	if q.outcome.spoilt != nil {
		gateway = q.outcome.spoilt(s.w)
	}
	biz, refusal := q.set(s)
	before := s.trade()
	a, err := q.kind.make(s.t, s.w, gateway).ask(s.t.Context(), q.method.name, biz)
	require.NotErrorIs(s.t, err, errUnknownMethod)
	switch {
	case q.outcome.lie != "" && q.kind.credulous != nil && q.kind.credulous(q):
		require.NoError(s.t, err, "it has learnt not to believe that")
	case q.outcome.lie != "", refusal != nil && q.kind.deaf:
		require.Error(s.t, err, "believed: %v", a)
	case refusal != nil:
		require.NoError(s.t, err)
		requireFields(s.t, refusal, a)
	default:
		require.NoError(s.t, err)
		require.Equal(s.t, "10000", a.text("code"), "%v", a)
		q.method.succeeded(s, a)
	}
	if q.outcome.spoilt != nil {
		require.Equal(s.t, before, s.trade(), "nothing is done")
	}
}

func requireFields(t *testing.T, want, a answer) {
	t.Helper()
	got := answer{}
	for field := range want {
		got[field] = a[field]
	}
	require.Equal(t, want, got, "%v", a)
}

// refusals are the sub codes for parameters that the gateway looks at before it knows how to check the signature.
var refusals = map[string]string{
	"app_id": "isv.invalid-app-id", "sign_type": "isv.invalid-signature-type",
	"app_cert_sn": "isv.app-cert-not-exist", "alipay_root_cert_sn": "isv.invalid-alipay-root-cert-sn",
}

// sends are the parameters that a question of the client has.
func (m mode) sends(k kind) []string {
	params := []string{"app_id", "method", "charset", "sign_type", "sign", "timestamp", "version", "biz_content"}
	if !k.formless {
		params = append(params, "format")
	}
	if m == certificate {
		params = append(params, "app_cert_sn", "alipay_root_cert_sn")
	}
	return params
}

// TestEveryParameterIsSigned changes one byte of each parameter that a client sends in turn.
func TestEveryParameterIsSigned(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		w := newWorld(t, mode, `{}`)
		for _, k := range allKinds {
			heard := w.overhear(t, func(gateway string) {
				_, _ = k.make(t, w, gateway).ask(t.Context(), query, map[string]any{"out_trade_no": w.old})
			})
			require.ElementsMatch(t, mode.sends(k), heard.params(), k.name)
			for _, param := range heard.params() {
				t.Run(strings.Join([]string{k.name, query, "changed " + param, string(mode)}, "/"), func(t *testing.T) {
					t.Parallel()
					s := newScene(t, w, k, plain)
					s.paid()
					a, err := k.make(t, w, w.changing(param)).ask(t.Context(), query, s.biz())
					require.NotErrorIs(t, err, errUnknownMethod)
					switch {
					case err != nil: // the answer is unsigned, or not under the method's name, or in a charset it cannot read
						require.True(t, k.deaf || param == "app_id" || param == "method", "%v", err)
					default:
						subCode := cmp.Or(refusals[param], "isv.invalid-signature")
						requireFields(t, answer{"code": "40002", "sub_code": subCode}, a)
					}
				})
			}
		}
	}
}

var refusedRequest = regexp.MustCompile(`"code":"4000[12]"`)

// TestEveryByteIsSigned takes what a client has sent and changes each of its bytes in turn, names and delimiters too.
func TestEveryByteIsSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, certificate, `{}`) // which adds to what is sent with public keys, and takes nothing away
	for _, k := range kinds {
		t.Run(k.name+"/"+query, func(t *testing.T) {
			t.Parallel()
			asked := w.overhear(t, func(gateway string) {
				_, err := k.make(t, w, gateway).ask(t.Context(), query, map[string]any{"out_trade_no": w.old})
				require.NoError(t, err)
			})
			requireSigned(t, asked, func(s sent) bool {
				answered := w.repeat(t.Context(), s).Body.String()
				accepted := strings.Contains(answered, `"code":"10000"`)
				require.NotEqual(t, accepted, refusedRequest.MatchString(answered), "%s", answered)
				return accepted
			})
		})
		for _, verb := range k.verbs() {
			t.Run(strings.Join([]string{k.name, wapPay, verb}, "/"), func(t *testing.T) {
				t.Parallel()
				opened := w.overhear(t, func(gateway string) {
					request, err := k.make(t, w, gateway).page(t.Context(), verb, w.order(newNumber(), plain))
					require.NoError(t, err)
					require.Equal(t, http.StatusSeeOther, browse(t, request).status)
				})
				requireSigned(t, opened, func(s sent) bool { return w.repeat(t.Context(), s).Code == http.StatusSeeOther })
			})
		}
	}
}

// requireSigned: what says something else is not accepted. It may say the same: charset is in gopay's address as well as
// in the body, and charset=utf-8 without its = is the name of nothing.
func requireSigned(t *testing.T, genuine sent, accepted func(sent) bool) {
	t.Helper()
	require.True(t, accepted(genuine))
	for _, changed := range genuine.variants() {
		if accepted(changed) {
			require.Equal(t, genuine.says(), changed.says(), "%s\n%s", changed.query, changed.body)
		}
	}
}

// TestPages opens pay pages with every client, in both layouts of the parameters.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		w := newWorld(t, mode, `{}`)
		for _, k := range allKinds {
			for _, method := range []string{wapPay, pagePay} {
				for _, verb := range k.verbs() {
					for _, v := range append(values, trailing) {
						if !slices.Contains(k.lacks, method) {
							testPage(t, w, k, method, verb, v)
						}
					}
				}
			}
		}
	}
}

// verbs are the ways in which the client has a browser open a page.
func (k kind) verbs() []string {
	if k.ours {
		return []string{http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodPost}
}

// order is one whose subject the client leaves as it is.
func (k kind) order(w *world, method string, v value) order {
	o := w.order(newNumber(), v)
	if o.Method = method; method == pagePay {
		o.QuitURL = ""
	}
	if k.ours { // it makes one space of several
		o.Subject = strings.Join(strings.Fields(o.Subject), " ")
	}
	return o
}

func testPage(t *testing.T, w *world, k kind, method, verb string, v value) {
	t.Helper()
	spoilt := k.rawEntities && verb == http.MethodPost && v.name == "ampersand"
	run := func(what, gateway string, f func(t *testing.T, o order, open func() shown)) {
		if !k.sends(v, what == "success" || spoilt) {
			return
		}
		t.Run(strings.Join([]string{k.name, method, what, string(w.mode), verb, v.name}, "/"), func(t *testing.T) {
			t.Parallel()
			o := k.order(w, method, v)
			f(t, o, func() shown {
				request, err := k.make(t, w, gateway).page(t.Context(), verb, o)
				require.NoError(t, err)
				return browse(t, request)
			})
		})
	}
	refused := func(what, gateway, code string) {
		run(what, gateway, func(t *testing.T, o order, open func() shown) {
			requirePageError(t, open(), code)
			require.Empty(t, w.trade(t, o.Number).OutTradeNo, "there is no such page")
		})
	}
	for _, param := range []string{"biz_content", "notify_url", "return_url"} {
		refused("changed "+param, w.changing(param), "isv.invalid-signature")
	}
	refused("unsigned", w.dropping("sign"), "isv.missing-signature")
	if spoilt {
		refused("spoilt by the client", w.gateway(), "isv.invalid-signature")
		return
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
}

func requirePageError(t *testing.T, page shown, code string) {
	t.Helper()
	require.Equal(t, http.StatusOK, page.status)
	document, err := goquery.NewDocumentFromReader(strings.NewReader(page.body))
	require.NoError(t, err)
	require.Equal(t, code, strings.TrimSpace(document.Find("#error-code").Text()))
}
