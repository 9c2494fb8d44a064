package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"coursepay/client"
	"coursepay/internal/buyer"
)

// describedAPI is what /openapi.json promises.
type describedAPI struct {
	compiler   *jsonschema.Compiler
	operations []*describedOperation
}

type describedOperation struct {
	OperationID string
	Security    []any
	Responses   map[string]struct {
		Content map[string]struct{ Schema json.RawMessage }
	}

	method, template string
	path             *regexp.Regexp
}

const documentURL = "http://described/openapi.json"

func readDescription(api string) (*describedAPI, error) {
	response, err := http.Get(api + "/openapi.json") //nolint:noctx // a test's; it ends with the server
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var document struct {
		Paths map[string]map[string]*describedOperation
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	d := &describedAPI{compiler: jsonschema.NewCompiler()}
	if err := d.compiler.AddResource(documentURL, whole); err != nil {
		return nil, err
	}
	for template, methods := range document.Paths {
		pattern := regexp.MustCompile(`\\{\w+\\}`).ReplaceAllString(regexp.QuoteMeta(template), `[^/]+`)
		for method, op := range methods {
			op.method, op.template, op.path = method, template, regexp.MustCompile("^(/api)?"+pattern+"$")
			d.operations = append(d.operations, op)
		}
	}
	slices.SortFunc(d.operations, func(a, b *describedOperation) int { // /orders/my before /orders/{id}
		return strings.Count(a.template, "{") - strings.Count(b.template, "{")
	})
	return d, nil
}

// find is the operation that a request is for; nil where the description tells nothing.
func (d *describedAPI) find(r *http.Request) *describedOperation {
	i := slices.IndexFunc(d.operations, func(op *describedOperation) bool {
		return strings.EqualFold(op.method, r.Method) && op.path.MatchString(r.URL.Path)
	})
	if i < 0 {
		return nil
	}
	return d.operations[i]
}

// check says where an answer is not what was promised.
func (d *describedAPI) check(op *describedOperation, status int, contentType string, body []byte) error {
	response, has := op.Responses[strconv.Itoa(status)]
	if !has {
		return fmt.Errorf("status %d is not described", status)
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("content type %q: %w", contentType, err)
	}
	if _, has := response.Content[kind]; !has {
		return fmt.Errorf("status %d as %s is not described", status, kind)
	}
	if kind == "text/event-stream" { // goes on
		return nil
	}
	schema, err := d.compiler.Compile(documentURL + "#" + pointer(
		"paths", op.template, op.method, "responses", strconv.Itoa(status), "content", kind, "schema"))
	if err != nil {
		return err
	}
	var value any = string(body)
	if kind == "application/json" {
		if value, err = jsonschema.UnmarshalJSON(bytes.NewReader(body)); err != nil {
			return err
		}
	}
	return schema.Validate(value)
}

// pointer is a JSON pointer as a URL's fragment.
func pointer(tokens ...string) (text string) {
	for _, token := range tokens {
		text += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return text
}

// honest sends the requests of a shop's tests, and has every answer compared with the description.
type honest struct {
	t   *testing.T
	api *string // where the described API is

	described func() (*describedAPI, error)

	mu   sync.Mutex // a compiler is nobody else's meanwhile
	seen map[string]map[int]bool
}

func newHonest(s *shop) *honest {
	return &honest{
		t: s.t, api: &s.api, seen: map[string]map[int]bool{},
		described: sync.OnceValues(func() (*describedAPI, error) { return readDescription(s.api) }),
	}
}

func (h *honest) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || r.URL.Scheme+"://"+r.URL.Host != *h.api {
		return response, err
	}
	d, err := h.described()
	if err != nil {
		return nil, fmt.Errorf("the API's description: %w", err)
	}
	op := d.find(r)
	if op == nil {
		return response, nil
	}
	var body []byte
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		body, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return nil, err
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	h.judge(d, op, response, body)
	return response, nil
}

func (h *honest) judge(d *describedAPI, op *describedOperation, response *http.Response, body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen[op.OperationID] == nil {
		h.seen[op.OperationID] = map[int]bool{}
	}
	h.seen[op.OperationID][response.StatusCode] = true
	if err := d.check(op, response.StatusCode, response.Header.Get("Content-Type"), body); err != nil {
		h.t.Errorf("%s %s is not as described: %v\n%.1000s", op.method, op.template, err, body)
	}
	if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "" {
		h.t.Errorf("%s %s: a 503 without Retry-After", op.method, op.template)
	}
}

// Every operation answers as described, when it succeeds and when it refuses. The other tests' requests are judged as well.
func TestAnswersAreAsDescribed(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	d, err := s.honest.described()
	require.NoError(t, err)

	for _, request := range []struct{ method, path, body string }{
		{"GET", "/demo/users", ""},
		{"POST", "/demo/login", `{"user":"xiaoming"}`},
		{"POST", "/orders/receivenotify", "x=1"},
		{"POST", "/orders/paynotify", "x=1"},
	} {
		kind := "application/json"
		if strings.HasSuffix(request.path, "notify") {
			kind = "application/x-www-form-urlencoded"
		}
		status, text := s.call(request.method, request.path, "", kind, request.body)
		require.Equal(t, http.StatusOK, status, text)
	}
	parked, _ := s.parkOne()
	learnEverything(t, s)
	operateEverything(t, s, parked)
	for _, op := range d.operations {
		require.True(t, s.honest.seen[op.OperationID][http.StatusOK], "nobody has seen %s succeed", op.OperationID)
	}
	for _, op := range d.operations {
		path := strings.ReplaceAll(op.template, "{id}", "1")
		method := strings.ToUpper(op.method)
		s.call(method, path, s.token("99"), "application/json", "{")
		s.call(method, path, "", "application/json", "{}")
		s.call(method, strings.ReplaceAll(op.template, "{id}", "x"), s.token("99"), "", "")
		s.asOps(method, path+"?payNo=1", "", map[string]any{"reason": "x", "workflowId": "x", "payNo": "1", "action": "retry", "note": "x"}, nil)
		if len(op.Security) > 0 {
			require.True(t, s.honest.seen[op.OperationID][http.StatusUnauthorized], "nobody has seen %s ask for a log-in", op.OperationID)
		}
	}
}

// learnEverything is what a learner can do.
func learnEverything(t *testing.T, s *shop) {
	t.Helper()
	learner := s.learner("61")
	must := func(_ any, err error) {
		t.Helper()
		require.NoError(t, err)
	}
	must(learner.Courses(t.Context()))
	must(learner.Course(t.Context(), course))
	must(learner.Materials(t.Context()))
	must(learner.LearnStatus(t.Context(), course))
	_, record := s.codeFor("61")
	for now, err := range learner.Events(t.Context(), record.PayNo) {
		require.NoError(t, err)
		require.Equal(t, buyer.PayRecord{}, differing(record, now), "the stream tells what payresult would")
		break
	}
	require.Equal(t, http.StatusOK, s.openPage(record.PayNo))
	must(learner.PayResult(t.Context(), record.PayNo))
	s.pay(record)
	s.enrolled("61")
	require.Equal(t, http.StatusConflict, s.openPage(record.PayNo))
	must(learner.PayResult(t.Context(), record.PayNo))
	must(learner.LearnStatus(t.Context(), course))
	must(learner.MyCourses(t.Context(), client.CourseTableQuery{Page: 1, Size: 10, SortType: "1"}))
	must(learner.MyOrders(t.Context(), client.OrderQuery{Status: client.OrderPaid}))
	must(learner.Order(t.Context(), record.OrderID))
	_, err := learner.CancelOrder(t.Context(), record.OrderID)
	require.ErrorContains(t, err, client.CodeOrderPaid)

	_, bought := s.materialCodeFor("61")
	s.pay(bought)
	s.granted("61")
	must(learner.MyMaterials(t.Context()))

	_, unwanted := s.codeFor("62")
	must(s.learner("62").CancelOrder(t.Context(), unwanted.OrderID))
}

// differing blanks what two records have in common, and the picture, which only a new code has.
func differing(a, b buyer.PayRecord) buyer.PayRecord {
	a.QRCode = ""
	if a == b {
		return buyer.PayRecord{}
	}
	return b
}

// openPage follows a code's link as a phone does, no further than our own page.
func (s *shop) openPage(payNo string) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.api+"/orders/requestpay?payNo="+payNo, nil)
	require.NoError(s.t, err)
	request.Header.Set("Accept", "text/html")
	response, err := s.web.Do(request)
	require.NoError(s.t, err)
	require.NoError(s.t, response.Body.Close())
	return response.StatusCode
}

// operateEverything is what an operator can do.
func operateEverything(t *testing.T, s *shop, parked buyer.PayRecord) {
	t.Helper()
	operator := s.operator()
	page, err := operator.SearchOrders(t.Context(), "61", client.Page{})
	require.NoError(t, err)
	require.EqualValues(t, 2, page.Counts)
	paid := page.Items[slices.IndexFunc(page.Items, func(o client.Order) bool { return o.OrderType == client.OrderTypeCourse })]
	first, err := operator.Refund(t.Context(), paid.ID, client.RefundRequest{Amount: "1.00", Reason: "x", IdempotencyKey: "k"})
	require.NoError(t, err)
	again, err := operator.Refund(t.Context(), paid.ID, client.RefundRequest{Amount: "1.00", Reason: "x", IdempotencyKey: "k"})
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	_, err = operator.Refund(t.Context(), paid.ID, client.RefundRequest{Amount: "2.00", Reason: "x", IdempotencyKey: "k"})
	require.ErrorContains(t, err, client.CodeRefundDiffers)
	refunds, err := operator.Refunds(t.Context(), paid.ID)
	require.NoError(t, err)
	require.Len(t, refunds, 1)

	waits, err := operator.Attention(t.Context())
	require.NoError(t, err)
	require.Len(t, waits, 1)
	decided, err := operator.Decide(t.Context(), waits[0].Decide(client.ActionRefund, "the choice is gone"))
	require.NoError(t, err)
	require.Equal(t, client.ActionRefund, decided.Decision)
	_, err = operator.Decide(t.Context(), waits[0].Decide(client.ActionRefund, "again"))
	require.ErrorContains(t, err, client.CodeDecided)
	for _, id := range []string{parked.OrderID, paid.ID} {
		story, err := operator.OrderStory(t.Context(), id)
		require.NoError(t, err)
		require.NotEmpty(t, story.Audit)
	}
}

// The judge itself: it would be no use if it took everything.
func TestTheDescriptionRefusesOtherAnswers(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	d, err := s.honest.described()
	require.NoError(t, err)
	byID := map[string]*describedOperation{}
	for _, op := range d.operations {
		byID[op.OperationID] = op
	}
	const jsonType = "application/json"
	good := map[string]any{
		"id": "1", "payNo": "2", "outPayChannel": "603002", "orderId": "3", "orderName": "Go", "totalPrice": 129.0,
		"currency": "CNY", "createDate": "2026-03-01 18:30:00", "expireDate": "2026-03-01 18:45:00", "status": "601001", "userId": "52",
	}
	answer := func(change string, value any) []byte {
		changed := maps.Clone(good)
		if changed[change] = value; value == nil {
			delete(changed, change)
		}
		text, err := json.Marshal(changed)
		require.NoError(t, err)
		return text
	}
	require.NoError(t, d.check(byID["payresult"], 200, jsonType, answer("userId", "52")))
	for name, wrong := range map[string]error{
		"an id that is a number":      d.check(byID["payresult"], 200, jsonType, answer("id", 1)),
		"a price that is a string":    d.check(byID["payresult"], 200, jsonType, answer("totalPrice", "129.00")),
		"another date":                d.check(byID["payresult"], 200, jsonType, answer("createDate", "2026-03-01T18:30:00Z")),
		"a field that nobody told of": d.check(byID["payresult"], 200, jsonType, answer("secret", "x")),
		"a field that is missing":     d.check(byID["payresult"], 200, jsonType, answer("payNo", nil)),
		"a status":                    d.check(byID["payresult"], 418, jsonType, answer("userId", "52")),
		"a content type":              d.check(byID["payresult"], 200, "text/html", answer("userId", "52")),
		"an error without a code":     d.check(byID["payresult"], 404, jsonType, []byte(`{"errMessage":"x"}`)),
		"a code that nobody knows":    d.check(byID["payresult"], 404, jsonType, []byte(`{"errMessage":"x","code":"X"}`)),
		"a word to Alipay":            d.check(byID["receivenotify"], 200, "text/plain; charset=utf-8", []byte("SUCCESS")),
	} {
		require.Error(t, wrong, name)
	}
}
