package api

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	"coursepay/internal/auth"
)

// bareServer is an API with all of its routes and nothing behind them.
func bareServer() *Server {
	return New(Config{
		DemoToken: func(auth.User, time.Duration) (string, error) { return "", nil },
		Logger:    slog.New(slog.DiscardHandler),
	})
}

// loaded is an answer with its whole body.
type loaded struct {
	status int
	header http.Header
	body   string
}

// load asks for a path. Headers are pairs.
func load(t *testing.T, s *Server, path string, headers ...string) loaded {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := s.app.Test(request, -1)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return loaded{response.StatusCode, response.Header, string(body)}
}

// What the description leaves out: it describes what programs of others call.
var undescribed = []string{
	"GET /healthz", "GET /readyz", "GET /metrics",
	"GET /", "GET /ops", "GET /assets/{name}",
	"GET /docs", "GET /docs/init.js", "GET /docs/swagger-ui-bundle.js", "GET /docs/swagger-ui.css",
	"GET /openapi.json", "GET /openapi.yaml", "GET /openapi-3.0.json", "GET /openapi-3.0.yaml",
}

var pathParameter = regexp.MustCompile(`:(\w+)`)

func TestEveryRouteIsDescribedAndEveryDescribedRouteIsThere(t *testing.T) {
	t.Parallel()
	s := bareServer()
	var routes []string
	for _, route := range s.app.GetRoutes(true) {
		if route.Method != fiber.MethodHead { // comes with GET
			routes = append(routes, route.Method+" "+pathParameter.ReplaceAllString(route.Path, "{$1}"))
		}
	}
	require.Equal(t, slices.Compact(slices.Sorted(slices.Values(routes))), slices.Sorted(slices.Values(routes)), "a route is there twice")

	text := load(t, s, "/openapi.json").body
	var document struct {
		OpenAPI string
		Paths   map[string]map[string]struct{ OperationID string }
	}
	require.NoError(t, json.Unmarshal([]byte(text), &document))
	require.True(t, strings.HasPrefix(document.OpenAPI, "3.1"), document.OpenAPI)
	told := slices.Clone(undescribed)
	names := map[string]bool{}
	for path, methods := range document.Paths {
		for method, op := range methods {
			told = append(told, strings.ToUpper(method)+" "+path)
			require.NotEmpty(t, op.OperationID, path)
			require.False(t, names[op.OperationID], op.OperationID)
			names[op.OperationID] = true
		}
	}
	require.ElementsMatch(t, told, routes)
}
