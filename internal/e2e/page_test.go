package e2e

import (
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/auth"
	"coursepay/internal/buyer"
)

// demoToken makes the tokens of a shop's demo log-in.
func demoToken(user auth.User, ttl time.Duration) (string, error) {
	return auth.Issue([]byte(jwtSecret), user, ttl, time.Now())
}

// loaded is what a browser gets.
type loaded struct {
	status     int
	header     http.Header
	path, text string // path is where redirects ended
}

// get loads something as a browser does, with further headers in pairs.
func (s *shop) get(path string, headers ...string) loaded {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.api+path, nil)
	require.NoError(s.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return loaded{response.StatusCode, response.Header, response.Request.URL.Path, string(text)}
}

// eachPageFile calls fn with every file that the pages are made of.
func eachPageFile(t *testing.T, fn func(name, text string)) {
	t.Helper()
	files := os.DirFS(filepath.Join("..", "..", "api", "web"))
	require.NoError(t, fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		fn(name, string(text))
		return err
	}))
}

var (
	linked   = regexp.MustCompile(`(?:src|href)="([^"#{]+)"`)
	imported = regexp.MustCompile(`from '(\./[^']+)'`)
)

// Every page, and all that it is made of, is there, below /api too, and is served so that a browser runs nothing else.
// Red: a header left out; a module that is not embedded.
func TestPagesAreWhole(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	seen := map[string]bool{}
	var visit func(path, kind string)
	visit = func(path, kind string) {
		if seen[path] {
			return
		}
		seen[path] = true
		got := s.get(path)
		require.Equal(t, http.StatusOK, got.status, path)
		require.Contains(t, got.header.Get("Content-Type"), kind, path)
		require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"), path)
		require.Equal(t, "no-referrer", got.header.Get("Referrer-Policy"), path)
		requirePolicy(t, got.header.Get("Content-Security-Policy"))
		found := linked.FindAllStringSubmatch(got.text, -1)
		if strings.HasSuffix(path, ".js") {
			found = imported.FindAllStringSubmatch(got.text, -1)
		}
		for _, part := range found {
			visit(filepath.Join(filepath.Dir(path), part[1]), kinds[filepath.Ext(part[1])])
		}
	}
	for _, page := range []string{"/", "/ops", "/api/", "/api/ops"} {
		visit(page, "text/html")
	}
	require.Contains(t, seen, "/assets/pay.js")
	require.Contains(t, seen, "/api/assets/pay.js")
	require.Equal(t, "/ops", s.get("/ops/").path, "its parts are found relative to this")
	require.Equal(t, http.StatusNotFound, s.get("/assets/%2e%2e%2findex.html").status)
}

var kinds = map[string]string{".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

func requirePolicy(t *testing.T, policy string) {
	t.Helper()
	for _, rule := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
		"form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
	} {
		require.Contains(t, strings.Split(policy, "; "), rule)
	}
	require.NotContains(t, policy, "unsafe")
}

// What a browser has already is not sent again, and what it has is never older than the server's.
func TestPagesAreCachedByTheirContent(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	for _, path := range []string{"/", "/ops", "/assets/shop.js", "/assets/style.css"} {
		got := s.get(path)
		require.Equal(t, "no-cache", got.header.Get("Cache-Control"), "it is asked for each time")
		tag := got.header.Get("Etag")
		require.NotEmpty(t, tag)
		require.NotEmpty(t, got.text)
		got = s.get(path, "If-None-Match", tag)
		require.Equal(t, http.StatusNotModified, got.status, path)
		require.Empty(t, got.text)
		require.Equal(t, http.StatusOK, s.get(path, "If-None-Match", `"another"`).status, path)
	}
}

// The pages ask nobody else for anything, and hold no script or style that the policy would refuse.
func TestPagesNameNoOtherServer(t *testing.T) {
	t.Parallel()
	elsewhere := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]`)
	inline := regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:|innerHTML|insertAdjacentHTML|document\.write|\beval\(|@import|url\(`)
	files := 0
	eachPageFile(t, func(name, text string) {
		files++
		bare := strings.ReplaceAll(text, `xmlns="http://www.w3.org/2000/svg"`, "") // a name, not an address
		require.Empty(t, elsewhere.FindString(bare), name)
		require.Empty(t, inline.FindString(bare), name)
	})
	require.Greater(t, files, 8)
}

// What the words are called for and what they are called must fit, in both languages.
func TestPagesHaveAllTheirWords(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile(filepath.Join("..", "..", "api", "web", "assets", "words.js"))
	require.NoError(t, err)
	known := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^  (\w+): \['[^']+', '.+'\],$`).FindAllStringSubmatch(string(table), -1) {
		known[line[1]] = true
	}
	require.Greater(t, len(known), 100)
	used := regexp.MustCompile(`\bt\('([^']+)'|data-t(?:-label)?="([^"]+)"`)
	eachPageFile(t, func(name, text string) {
		for _, use := range used.FindAllStringSubmatch(text, -1) {
			require.Contains(t, known, use[1]+use[2], name)
		}
	})
}

func TestDemoLogin(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	require.Contains(t, s.get("/").text, `<html lang="zh-CN" data-demo>`)
	text := s.get("/demo/users").text
	var users []struct {
		ID, Name string
		Ops      bool
	}
	require.NoError(t, json.Unmarshal([]byte(text), &users))
	require.GreaterOrEqual(t, len(users), 4)
	for _, user := range users {
		status, _, header := s.callFull(http.MethodPost, "/demo/login", "", "application/json", `{"user":"`+user.ID+`"}`)
		require.Equal(t, http.StatusOK, status)
		cookie, err := http.ParseSetCookie(header.Get("Set-Cookie"))
		require.NoError(t, err)
		require.Equal(t, "jwt", cookie.Name)
		require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
		status, _ = s.call(http.MethodGet, "/learning/mycoursetable", cookie.Value, "", "")
		require.Equal(t, http.StatusOK, status)
		status, _ = s.call(http.MethodGet, "/ops/attention", cookie.Value, "", "")
		require.Equal(t, user.Ops, status == http.StatusOK, user.ID)
		requireCookieWritesNothing(t, s, cookie.Value)
	}
	for body, want := range map[string]int{`{"user":"root"}`: http.StatusNotFound, `{"user":""}`: http.StatusBadRequest, `{}`: http.StatusBadRequest} {
		status, _ := s.call(http.MethodPost, "/demo/login", "", "application/json", body)
		require.Equal(t, want, status, body)
	}
}

// requireCookieWritesNothing: another site's page makes a browser send the cookie, and nothing comes of it.
func requireCookieWritesNothing(t *testing.T, s *shop, token string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.api+"/learning/choosecourse/4", nil)
	require.NoError(t, err)
	request.Header.Set("Cookie", "jwt="+token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusUnauthorized, response.StatusCode)
}

// Without the means to make tokens, as in production, there is no demo log-in at all.
func TestNoDemoLoginUnlessConfigured(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	door, _ := s.openDoor(s.engine, slog.New(slog.DiscardHandler))
	s.api = strings.TrimSuffix(door, "/orders/receivenotify")
	require.NotContains(t, s.get("/").text, "data-demo")
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, path := range []string{"/demo/users", "/demo/login", "/api/demo/login"} {
			status, _, header := s.callFull(method, path, "", "application/json", `{"user":"operator"}`)
			require.Equal(t, http.StatusNotFound, status, path)
			require.Empty(t, header.Get("Set-Cookie"))
		}
	}
	require.NotContains(t, s.get("/openapi.json").text, "/demo/")
}

type searchPage struct {
	Items  []struct{ ID, UserID, Status, PayNo string }
	Counts string
}

func (s *shop) search(query string) searchPage {
	s.t.Helper()
	var page searchPage
	status, code := s.asOps(http.MethodGet, "/ops/orders?"+query, "", nil, &page)
	require.Equal(s.t, http.StatusOK, status, code)
	return page
}

// An operator finds an order by any of its numbers, and a user's orders page by page.
func TestSearch(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.bought("52")
	_, other := s.codeFor("53")
	refund := s.refund(record.OrderID, "", map[string]any{"amount": 1, "reason": "x"})
	paid, err := s.learner("52").PayResult(t.Context(), record.PayNo)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"order id": record.OrderID, "pay number": record.PayNo, "trade number": paid.OutPayNo, "user": "52",
		"refund request": refund.OutRequestNo, "choice": choice.ID, "padded": "%20" + record.PayNo + "%20",
	} {
		page := s.search("q=" + text)
		require.Equal(t, "1", page.Counts, name)
		require.Equal(t, record.OrderID, page.Items[0].ID, name)
		require.Equal(t, "52", page.Items[0].UserID)
	}
	require.Equal(t, other.OrderID, s.search("q=53").Items[0].ID)
	require.Equal(t, "0", s.search("q=5").Counts, "not a part of a number")
	require.Empty(t, s.search("q=no%20such%20thing").Items)

	material, err := s.learner("52").ChooseMaterial(t.Context(), "101")
	require.NoError(t, err)
	_, err = s.learner("52").RequestMaterialCode(t.Context(), material)
	require.NoError(t, err)
	first, second := s.search("q=52&size=1"), s.search("q=52&size=1&page=2")
	require.Equal(t, []string{"2", "2"}, []string{first.Counts, second.Counts})
	require.NotEqual(t, first.Items[0].ID, second.Items[0].ID)
	require.Equal(t, record.OrderID, second.Items[0].ID, "newest first")

	for _, bad := range []string{"", "q=", "q=%20", "q=%00", "q=%ff", "q=" + strings.Repeat("1", 65), "q=1&size=0", "q=1&page=0"} {
		status, code := s.asOps(http.MethodGet, "/ops/orders?"+bad, "", nil, nil)
		require.Equal(t, http.StatusBadRequest, status, bad)
		require.Equal(t, "INVALID_REQUEST", code)
	}
	status, _ := s.ask(s.token("52"), http.MethodGet, "/ops/orders?q=52", "", nil, nil)
	require.Equal(t, http.StatusForbidden, status)
}

// parkOne is a payment that the books refuse, waiting for an operator.
func (s *shop) parkOne() (record buyer.PayRecord, workflow string) {
	s.t.Helper()
	_, record = s.codeFor("52")
	phone, cashier := s.open(record)
	s.exec(`delete from xc_choose_course`)
	_, err := phone.Pay(s.t.Context(), cashier)
	require.NoError(s.t, err)
	s.eventually(1, `select count(*) from ops_attention where decide_date is null`)
	var waits []struct{ WorkflowID, TradeNo string }
	s.asOps(http.MethodGet, "/ops/attention", "", nil, &waits)
	require.Equal(s.t, record.OrderID, s.search("q=" + waits[0].TradeNo).Items[0].ID, "by the number of the payment that waits")
	return record, waits[0].WorkflowID
}

// An operator decides about a payment that waits, on the page alone, and everybody can read who it was and why.
func TestDecisions(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	record, workflow := s.parkOne()
	decision := func(changes ...string) map[string]string {
		body := map[string]string{"workflowId": workflow, "payNo": record.PayNo, "action": "refund", "note": "course row is gone"}
		for i := 0; i+1 < len(changes); i += 2 {
			body[changes[i]] = changes[i+1]
		}
		return body
	}
	for _, refused := range []struct {
		body   map[string]string
		status int
		code   string
	}{
		{decision("note", ""), http.StatusBadRequest, "INVALID_REQUEST"},
		{decision("note", "  "), http.StatusBadRequest, "INVALID_REQUEST"},
		{decision("note", "x\x00"), http.StatusBadRequest, "INVALID_REQUEST"},
		{decision("action", "forget"), http.StatusBadRequest, "INVALID_REQUEST"},
		{decision("payNo", "4711"), http.StatusNotFound, "NOT_FOUND"},
		{decision("workflowId", "pay-order-60201-1"), http.StatusNotFound, "NOT_FOUND"},
	} {
		status, code := s.asOps(http.MethodPost, "/ops/decisions", "", refused.body, nil)
		require.Equal(t, refused.status, status, "%v", refused.body)
		require.Equal(t, refused.code, code, "%v", refused.body)
	}
	status, _ := s.ask(s.token("52"), http.MethodPost, "/ops/decisions", "", decision(), nil)
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, 1, s.count(`select count(*) from ops_attention where decide_date is null`))

	var decided struct{ Decision, Note, DecideDate string }
	status, code := s.asOps(http.MethodPost, "/ops/decisions", "", decision(), &decided)
	require.Equal(t, http.StatusOK, status, code)
	require.Equal(t, "refund", decided.Decision)
	require.Equal(t, "operator-1: course row is gone", decided.Note)
	require.NotEmpty(t, decided.DecideDate)
	s.eventually(1, `select count(*) from xc_pay_record where status = '601003'`)
	require.Equal(t, price, s.givenBack(record.PayNo))
	require.Equal(t, 1, s.count(`select count(*) from order_audit where event = 'operator_refund' and note = 'operator-1: course row is gone'`))

	status, code = s.asOps(http.MethodPost, "/ops/decisions", "", decision(), nil)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, "ALREADY_DECIDED", code)
	s.booksBalance()
}

// What is parked again after a retry can be decided again, and a refund that is parked takes no refund.
func TestDecisionAfterARetry(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	record, workflow := s.parkOne()
	body := map[string]string{"workflowId": workflow, "payNo": record.PayNo, "action": "retry", "note": "try"}
	status, code := s.asOps(http.MethodPost, "/ops/decisions", "", body, nil)
	require.Equal(t, http.StatusOK, status, code)
	s.eventually(2, `select count(*) from ops_attention`)
	s.faults(`{"refund":{"sellerBalance":1}}`)
	body["action"] = "refund"
	status, code = s.asOps(http.MethodPost, "/ops/decisions", "", body, nil)
	require.Equal(t, http.StatusOK, status, code)
	s.eventually(1, `select count(*) from ops_attention where decide_date is null and request_no is not null`)
	var waits []struct {
		WorkflowID string
		Actions    []string
	}
	s.asOps(http.MethodGet, "/ops/attention", "", nil, &waits)
	require.Equal(t, []string{"retry", "close"}, waits[0].Actions)
	body["workflowId"] = waits[0].WorkflowID
	status, _ = s.asOps(http.MethodPost, "/ops/decisions", "", body, nil)
	require.Equal(t, http.StatusBadRequest, status)
	s.faults(`{}`)
	body["action"] = "retry"
	status, code = s.asOps(http.MethodPost, "/ops/decisions", "", body, nil)
	require.Equal(t, http.StatusOK, status, code)
	s.eventually(1, `select count(*) from xc_pay_record where status = '601003'`)
	s.booksBalance()
}

// Whoever scans a code that cannot be paid reads what happened and what to do, in two languages; programs get an error.
func TestPhonePages(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, old := s.codeFor("52")
	fresh, err := s.learner("52").RequestCode(t.Context(), choice)
	require.NoError(t, err)
	_, cancelled := s.codeFor("53")
	status, _ := s.ask(s.token("53"), http.MethodPost, "/orders/"+cancelled.OrderID+"/cancel", "", nil, nil)
	require.Equal(t, http.StatusOK, status)
	_, ranOut := s.codeFor("54")
	s.exec(`update xc_pay_record set expire_date = now() - interval '1 second' where pay_no = ` + ranOut.PayNo)
	s.pay(fresh)
	s.enrolled("52")
	for _, c := range []struct {
		payNo, code, chinese, english string
		status                        int
	}{
		{fresh.PayNo, "PAYMENT_DONE", "支付已经成功，无需重复支付", "This is paid already", http.StatusConflict},
		{old.PayNo, "PAYMENT_DONE", "请不要再次付款", "do not pay again", http.StatusConflict},
		{cancelled.PayNo, "PAY_CODE_EXPIRED", "订单已取消", "can no longer be paid", http.StatusGone},
		{ranOut.PayNo, "PAY_CODE_EXPIRED", "重新获取二维码", "get a new code", http.StatusGone},
		{"4711", "PAY_RECORD_NOT_FOUND", "支付记录不存在", "no such payment", http.StatusNotFound},
		{"x", "PAY_RECORD_NOT_FOUND", "支付记录不存在", "no such payment", http.StatusNotFound},
	} {
		page := s.get("/api/orders/requestpay?payNo="+c.payNo, "Accept", "text/html,*/*")
		require.Equal(t, c.status, page.status, c.payNo)
		require.Equal(t, "no-store", page.header.Get("Cache-Control"))
		requirePolicy(t, page.header.Get("Content-Security-Policy"))
		require.Contains(t, page.text, c.chinese)
		require.Contains(t, page.text, c.english)
		require.Contains(t, page.text, `data-code="`+c.code+`"`)
		code, _ := errorBody(t, s.get("/orders/requestpay?payNo="+c.payNo, "Accept", "application/json").text)
		require.Equal(t, c.code, code)
	}
	for _, link := range linked.FindAllStringSubmatch(s.get("/orders/requestpay?payNo=1", "Accept", "text/html").text, -1) {
		require.Equal(t, http.StatusOK, s.get(filepath.Join("/api/orders", link[1])).status, link[1])
	}
}
