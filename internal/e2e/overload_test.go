package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// metric reads a counter or gauge of the shop's API, by the values of its labels.
func (s *shop) metric(name string, labels ...string) (total float64) {
	s.t.Helper()
	families, err := s.metrics.Gather()
	require.NoError(s.t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var values []string
			for _, pair := range m.GetLabel() {
				values = append(values, pair.GetValue())
			}
			if family.GetName() == name && subset(labels, values) {
				total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return total
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(value string) bool { return !slices.Contains(all, value) })
}

// askForCode asks for a code, and looks at no answer.
func (s *shop) askForCode(ctx context.Context, user, chosen string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.api+"/orders/generatepaycode",
		strings.NewReader(payCodeBody(price, "60201", chosen)))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.token(user))
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// The engine takes no more, here because no worker is there, and every place for purchases is taken. Whoever has his code
// goes on to pay, Alipay's callback is taken, and results are read. Afterwards everything is as before, also when those
// who held the places went away.
func TestPaymentsGoOnWhileNoCodesAreGiven(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{codesAtOnce: 1})
	_, record := s.codeFor("paying")
	choice, err := s.learner("asking").Choose(t.Context(), course)
	require.NoError(t, err)
	s.quit()

	var asking sync.WaitGroup
	ctx, goAway := context.WithCancel(t.Context())
	asking.Go(func() { _ = s.askForCode(ctx, "asking", choice.ID) })
	require.True(t, waitFor(func() bool { return s.metric("coursepay_api_in_flight", "purchases") == 1 }))

	status, text, header := s.callFull(http.MethodPost, "/orders/generatepaycode", s.token("asking"), "application/json",
		payCodeBody(price, "60201", choice.ID))
	require.Equal(t, http.StatusServiceUnavailable, status, text)
	require.NotEmpty(t, header.Get("Retry-After"))
	code, _ := errorBody(t, text)
	require.Equal(t, "UNAVAILABLE", code)
	require.Positive(t, s.metric("coursepay_api_refused_total", "purchases"))

	s.open(record)
	require.Equal(t, "success", s.knock(s.genuine(paidNotify(record.PayNo))))
	status, text = s.call(http.MethodGet, "/learning/mycoursetable", s.token("paying"), "", "")
	require.Equal(t, http.StatusOK, status, text)
	status, text = s.call(http.MethodGet, "/orders/payresult?payNo="+record.PayNo, s.token("paying"), "", "")
	require.Equal(t, http.StatusOK, status, text)

	goAway()
	asking.Wait()
	require.True(t, waitFor(func() bool { return s.metric("coursepay_api_in_flight", "purchases") == 0 }), "the place is given back")
	s.quit = s.work()
	s.enrolled("paying")
	s.codeFor("later")
}

// Each learner who waits for his result lets Alipay be asked. When too many wait, the books answer.
func TestTooManyQuestionsAreAnsweredFromTheBooks(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{codesAtOnce: 1})
	var records []string
	for _, user := range []string{"first", "second"} {
		_, record := s.codeFor(user)
		s.open(record)
		records = append(records, record.PayNo)
	}
	s.quit()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() { s.call(http.MethodGet, "/orders/payresult?payNo="+records[0], s.token("first"), "", "") })
	require.True(t, waitFor(func() bool { return s.metric("coursepay_api_in_flight", "questions") == 1 }))
	status, text := s.call(http.MethodGet, "/orders/payresult?payNo="+records[1], s.token("second"), "", "")
	require.Equal(t, http.StatusOK, status, text)
	require.InDelta(t, 1, s.metric("coursepay_api_refused_total", "questions", "full"), 0)
	require.InDelta(t, 1, s.metric("coursepay_api_in_flight", "questions"), 0, "the other one still waits")
}

// Everybody else's connections to the database are taken; the callback has its own.
func TestCallbacksHaveTheirOwnWayToTheBooks(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("paying")
	s.quit()
	for range s.db.Stats().MaxOpenConnections {
		conn, err := s.db.Conn(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
	require.Equal(t, "success", s.knock(s.genuine(paidNotify(record.PayNo))))
}
