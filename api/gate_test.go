package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"coursepay/internal/auth"
)

func TestGateLetsInAsManyAsItHasPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2, time.Second)
		var full, late int
		g.full, g.late = func() { full++ }, func() { late++ }
		first, second := g.enter(t.Context(), 1), g.enter(t.Context(), 1)
		require.NotNil(t, first)
		require.NotNil(t, second)

		third := make(chan func(), 1)
		go func() { third <- g.enter(t.Context(), 1) }()
		synctest.Wait()
		require.EqualValues(t, 1, g.waiting.Load())
		require.Nil(t, g.enter(t.Context(), 1), "the line is full")
		require.Equal(t, 1, full)

		first()
		leave := <-third
		require.NotNil(t, leave, "who waited gets the place")
		require.Nil(t, g.enter(t.Context(), 1), "nobody leaves in time")
		require.Equal(t, 1, late)
		second()
		leave()
		require.Zero(t, g.inside.Load())
		require.Zero(t, g.waiting.Load())
	})
}

func TestGateForgetsWhoGoesAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, time.Hour)
		leave := g.enter(t.Context(), 1)
		ctx, goAway := context.WithCancel(t.Context())
		gone := make(chan func())
		go func() { gone <- g.enter(ctx, 1) }()
		synctest.Wait()
		goAway()
		require.Nil(t, <-gone)
		require.Zero(t, g.waiting.Load())
		leave()
		require.NotNil(t, g.enter(t.Context(), 0), "the place is free")
	})
}

// busyServer is an API with one place for purchases, and nothing behind it: whoever passes the gate falls.
func busyServer(t *testing.T) (*Server, string, *prometheus.Registry) {
	t.Helper()
	const secret = "a secret for tests that is long enough"
	tokens, err := auth.NewVerifier(auth.Config{Secret: secret})
	require.NoError(t, err)
	token, err := auth.Issue([]byte(secret), auth.User{ID: "u"}, time.Hour, time.Now())
	require.NoError(t, err)
	metrics := prometheus.NewRegistry()
	s := New(Config{
		Tokens: tokens, CodesAtOnce: 1, Metrics: metrics, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	return s, token, metrics
}

// ask posts JSON.
func ask(t *testing.T, s *Server, path, token, body string) loaded {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.app.Test(request, -1)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return loaded{response.StatusCode, response.Header, string(text)}
}

const goodRequest = `{"totalPrice":129.00,"orderType":"60201","outBusinessId":"1"}`

func TestPurchasesAreRefusedWhenTooManyAreUnderWay(t *testing.T) {
	t.Parallel()
	s, token, metrics := busyServer(t)
	require.NotNil(t, s.purchases.enter(t.Context(), 0))
	s.purchases.waiting.Store(linePerPlace) // as many as fit in the line
	paths := []string{"/orders/generatepaycode", "/api/learning/choosecourse/2", "/learning/choosematerial/2"}
	for _, path := range paths {
		answer := ask(t, s, path, token, goodRequest)
		require.Equal(t, http.StatusServiceUnavailable, answer.status, path)
		after, err := strconv.Atoi(answer.header.Get("Retry-After"))
		require.NoError(t, err)
		require.GreaterOrEqual(t, after, retrySoonest)
		require.LessOrEqual(t, after, retryLatest)
		var body map[string]string
		require.NoError(t, json.Unmarshal([]byte(answer.body), &body), answer.body)
		require.Equal(t, map[string]string{"errMessage": "支付服务暂不可用，请稍后再试", "code": "UNAVAILABLE"}, body)

		require.Equal(t, http.StatusUnauthorized, ask(t, s, path, "", goodRequest).status, "a stranger is told so, and takes no place")
	}
	require.EqualValues(t, linePerPlace, s.purchases.waiting.Load())
	require.InDelta(t, 1, metric(t, metrics, "coursepay_api_in_flight"), 0)
	require.InDelta(t, linePerPlace, metric(t, metrics, "coursepay_api_waiting"), 0)
	require.InDelta(t, len(paths), metric(t, metrics, "coursepay_api_refused_total"), 0)

	require.Equal(t, http.StatusOK, load(t, s, "/healthz").status)
}

// metric reads a counter or gauge of the gate of purchases.
func metric(t *testing.T, metrics *prometheus.Registry, name string) (total float64) {
	t.Helper()
	families, err := metrics.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == "purchases" {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return total
}

// A beginner may use half of the line, so that those who have chosen get their codes.
func TestWhoHasChosenGoesBeforeWhoBegins(t *testing.T) {
	t.Parallel()
	s, token, _ := busyServer(t)
	leave := s.purchases.enter(t.Context(), 0)
	s.purchases.waiting.Store(linePerPlace / 2)
	s.purchases.late = func() { t.Error("a beginner waited behind half a line") }
	require.Equal(t, http.StatusServiceUnavailable, ask(t, s, "/learning/choosecourse/2", token, "").status)
	go func() { // once it waits
		for s.purchases.waiting.Load() != linePerPlace/2+1 {
			runtime.Gosched()
		}
		leave()
	}()
	require.Equal(t, http.StatusBadRequest, ask(t, s, "/orders/generatepaycode", token, `{}`).status, "it had its turn")
}

func TestPlacesAreGivenBack(t *testing.T) {
	t.Parallel()
	s, token, _ := busyServer(t)
	for name, try := range map[string]struct {
		path, body string
		status     int
	}{
		"error":  {"/orders/generatepaycode", `{}`, http.StatusBadRequest},
		"panic":  {"/orders/generatepaycode", goodRequest, http.StatusInternalServerError},
		"panic2": {"/learning/choosecourse/2", "", http.StatusInternalServerError},
	} {
		require.Equal(t, try.status, ask(t, s, try.path, token, try.body).status, name)
		require.Zero(t, s.purchases.inside.Load(), name)
	}
}

func TestEveryRequestHasItsTime(t *testing.T) {
	t.Parallel()
	app := fiber.New()
	app.Use(boundTime)
	app.Get("/", func(c *fiber.Ctx) error {
		if _, bounded := c.UserContext().Deadline(); !bounded {
			return fiber.ErrTeapot
		}
		return nil
	})
	response, err := app.Test(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), -1)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}
