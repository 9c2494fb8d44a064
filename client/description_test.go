package client

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/api"
	"coursepay/internal/auth"
)

// document is the API's own description, as far as it matters here.
type document struct {
	Paths map[string]map[string]struct {
		OperationID string
		Parameters  []struct{ Name, In string }
		RequestBody struct {
			Content map[string]struct{ Schema schema }
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema schema }
		}
	}
	Components struct{ Schemas map[string]schema }
}

type schema struct {
	Ref        string `json:"$ref"`
	Properties map[string]schema
	Required   []string
	Items      *schema
	Enum       []string
}

// description asks the API itself, with nothing behind it.
func description(t *testing.T) (d document) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := api.New(api.Config{
		DemoToken: func(auth.User, time.Duration) (string, error) { return "", nil }, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	defer func() {
		stop()
		require.NoError(t, <-done)
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+"/openapi.json", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.NoError(t, json.NewDecoder(response.Body).Decode(&d))
	return d
}

// What is not for callers of the client: pages for phones, Alipay's doors, and the demo's log-in.
var notForPrograms = []string{"requestpay", "receivenotify", "paynotify", "demousers", "demologin"}

// calls is every operation, called with everything that can be given.
var calls = map[string]func(context.Context, *Client) (any, error){
	"courses":        func(ctx context.Context, c *Client) (any, error) { return c.Courses(ctx) },
	"course":         func(ctx context.Context, c *Client) (any, error) { return c.Course(ctx, "4711") },
	"materials":      func(ctx context.Context, c *Client) (any, error) { return c.Materials(ctx) },
	"choosecourse":   func(ctx context.Context, c *Client) (any, error) { return c.ChooseCourse(ctx, "4711") },
	"learnstatus":    func(ctx context.Context, c *Client) (any, error) { return c.LearnStatus(ctx, "4711") },
	"choosematerial": func(ctx context.Context, c *Client) (any, error) { return c.ChooseMaterial(ctx, "4711") },
	"mymaterials":    func(ctx context.Context, c *Client) (any, error) { return c.MyMaterials(ctx, Page{2, 20}) },
	"mycoursetable": func(ctx context.Context, c *Client) (any, error) {
		return c.MyCourses(ctx, CourseTableQuery{2, 20, ChoicePaid, "1", "2"})
	},
	"generatepaycode": func(ctx context.Context, c *Client) (any, error) {
		r := ChooseCourse{ID: "1", CourseID: "2", CourseName: "Go", CoursePrice: "129.00"}.PayCode()
		r.OrderDescrip, r.IdempotencyKey = "x", "k"
		return c.PayCode(ctx, r)
	},
	"payresult": func(ctx context.Context, c *Client) (any, error) { return c.PayResult(ctx, "4711") },
	"payevents": func(ctx context.Context, c *Client) (any, error) {
		for record, err := range c.Events(ctx, "4711") {
			return record, err
		}
		return nil, nil
	},
	"myorders": func(ctx context.Context, c *Client) (any, error) {
		return c.MyOrders(ctx, OrderQuery{2, 20, OrderPaid})
	},
	"order":       func(ctx context.Context, c *Client) (any, error) { return c.Order(ctx, "4711") },
	"cancelorder": func(ctx context.Context, c *Client) (any, error) { return c.CancelOrder(ctx, "4711") },
	"refund": func(ctx context.Context, c *Client) (any, error) {
		return c.Refund(ctx, "4711", RefundRequest{Amount: "1.00", Reason: "x", PayNo: "1", IdempotencyKey: "k"})
	},
	"refunds":   func(ctx context.Context, c *Client) (any, error) { return c.Refunds(ctx, "4711") },
	"attention": func(ctx context.Context, c *Client) (any, error) { return c.Attention(ctx) },
	"decide": func(ctx context.Context, c *Client) (any, error) {
		return c.Decide(ctx, Attention{WorkflowID: "w", PayNo: "1"}.Decide(ActionRetry, "x"))
	},
	"orderstory":   func(ctx context.Context, c *Client) (any, error) { return c.OrderStory(ctx, "4711") },
	"searchorders": func(ctx context.Context, c *Client) (any, error) { return c.SearchOrders(ctx, "52", Page{2, 20}) },
}

func TestEveryOperationHasAMethodThatAsksAsDescribed(t *testing.T) {
	t.Parallel()
	d := description(t)
	called := slices.Clone(notForPrograms)
	for path, methods := range d.Paths {
		for method, op := range methods {
			call, has := calls[op.OperationID]
			if !has {
				require.Contains(t, notForPrograms, op.OperationID, "the client has no method for %s %s", method, path)
				continue
			}
			called = append(called, op.OperationID)
			asked, body, result := record(t, call)
			require.Equal(t, strings.ToUpper(method), asked.Method)
			require.Equal(t, strings.ReplaceAll(path, "{id}", "4711"), asked.URL.Path)
			require.Equal(t, "Bearer t", asked.Header.Get("Authorization"))
			query := map[string]bool{}
			for _, parameter := range op.Parameters {
				switch parameter.In {
				case "query":
					query[parameter.Name] = true
				case "header":
					require.NotEmpty(t, asked.Header.Get(parameter.Name), "%s: header %s", op.OperationID, parameter.Name)
				}
			}
			require.ElementsMatch(t, keys(query), keys(asked.URL.Query()), "%s: parameters", op.OperationID)
			wants := d.resolve(op.RequestBody.Content["application/json"].Schema)
			require.ElementsMatch(t, keys(wants.Properties), keys(body), "%s: body", op.OperationID)
			if answer, ok := op.Responses["200"].Content["application/json"]; ok {
				d.fits(t, op.OperationID, answer.Schema, reflect.TypeOf(result))
			}
		}
	}
	known := append(keys(calls), notForPrograms...)
	require.ElementsMatch(t, known, called, "operations that are not there any more")
}

// record makes the call and gives what was asked, the fields of its body, and what the call returned.
func record(t *testing.T, call func(context.Context, *Client) (any, error)) (asked *http.Request, body map[string]any, result any) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		if text, err := io.ReadAll(r.Body); err == nil && len(text) > 0 {
			assertJSON(t, text, &body)
		}
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	c := New(Config{URL: server.URL + "/", Token: StaticToken("t")})
	result, err := call(t.Context(), c)
	var refusal *Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, http.StatusForbidden, refusal.Status)
	return asked, body, result
}

func assertJSON(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Errorf("%v: %s", err, text)
	}
}

func keys[V any](m map[string]V) []string {
	names := []string{}
	for name := range m {
		names = append(names, name)
	}
	return names
}

func (d document) resolve(s schema) schema {
	if name, found := strings.CutPrefix(s.Ref, "#/components/schemas/"); found {
		return d.Components.Schemas[name]
	}
	return s
}

// fits wants the type to have exactly the fields of the schema, and so on for what they hold.
func (d document) fits(t *testing.T, where string, s schema, held reflect.Type) {
	t.Helper()
	s = d.resolve(s)
	if s.Items != nil {
		require.Equal(t, reflect.Slice, held.Kind(), where)
		d.fits(t, where+"[]", *s.Items, held.Elem())
		return
	}
	if len(s.Properties) == 0 {
		require.NotEqual(t, reflect.Struct, held.Kind(), where)
		return
	}
	fields := map[string]reflect.Type{}
	for _, field := range reflect.VisibleFields(held) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			fields[name] = field.Type
		}
	}
	require.ElementsMatch(t, keys(s.Properties), keys(fields), "%s: %s", where, held)
	for name, property := range s.Properties {
		d.fits(t, where+"."+name, property, fields[name])
	}
}

var constant = regexp.MustCompile(`(?m)^\tCode\w+ += "(\w+)"`)

func TestEveryCodeHasAConstant(t *testing.T) {
	t.Parallel()
	source := readFile(t, "errors.go")
	var constants []string
	for _, match := range constant.FindAllStringSubmatch(source, -1) {
		constants = append(constants, match[1])
	}
	require.ElementsMatch(t, description(t).Components.Schemas["Error"].Properties["code"].Enum, constants)
}
