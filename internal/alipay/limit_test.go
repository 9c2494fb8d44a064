package alipay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
)

// counted reads the counter's and the histogram's counts by "method outcome".
func counted(t *testing.T, registry *prometheus.Registry) (calls, timed map[string]uint64) {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	calls, timed = map[string]uint64{}, map[string]uint64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := metric.GetLabel()
			key := labels[0].GetValue() + " " + labels[1].GetValue()
			if family.GetName() == "coursepay_alipay_requests_total" {
				calls[key] = uint64(metric.GetCounter().GetValue())
			} else {
				timed[key] = metric.GetHistogram().GetSampleCount()
			}
		}
	}
	return calls, timed
}

func TestCallsAreCountedByMethodAndOutcome(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	answers := map[string]string{
		query:     signed(query, paidNode(payNo)),
		closing:   signed(closing, refused("40004", "ACQ.TRADE_STATUS_ERROR")),
		refunding: signed(refunding, refused("20000", "isp.unknow-error")),
	}
	for range 2 { // two clients of one process share the metrics
		client := gateway(t, func(method string, _ map[string]string) string { return answers[method] }, func(c *alipay.Config) { c.Metrics = registry })
		_, err := client.QueryTrade(t.Context(), payNo)
		require.NoError(t, err)
		_, err = client.CloseTrade(t.Context(), payNo)
		require.NoError(t, err)
		_, err = client.Refund(t.Context(), refundRequest())
		requireKind(t, err, alipay.KindUnknown)
		_, err = client.QueryTrade(t.Context(), "2")
		requireKind(t, err, alipay.KindUnknown)
	}
	calls, timed := counted(t, registry)
	want := map[string]uint64{query + " ok": 2, query + " unknown": 2, closing + " final": 2, refunding + " unknown": 2}
	require.Equal(t, want, calls)
	require.Equal(t, want, timed)
}

func TestForeignMetricOfThatName(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "coursepay_alipay_requests_total"}))
	cfg := config()
	cfg.Metrics = registry
	_, err := alipay.New(cfg)
	require.ErrorContains(t, err, "alipay metrics")
	requireNoKey(t, err.Error(), cfg)
}

func TestOwnLimitEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := gateway(t, func(string, map[string]string) string { panic("asked") }).CloseTrade(ctx, payNo)
	require.ErrorIs(t, err, context.Canceled)
	requireKind(t, err, alipay.KindThrottled)
}

// Whatever a gateway echoes or a network says, an error names neither the signed request nor the buyer.
func TestErrorsNameNothingSecretOrPersonal(t *testing.T) {
	t.Parallel()
	var request string
	hostile := map[string]http.HandlerFunc{
		"echo of the request": func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			request = r.Form.Get("sign")
			_, _ = fmt.Fprint(w, signed(r.Form.Get("method"), //nolint:gosec // an echo is what is tested
				`{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.invalid-signature","sub_msg":"`+
					strings.Repeat("验签出错", 16)+request+` abc***@sandbox.com"}`))
		},
		"buyer in a forged answer": func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			_, _ = fmt.Fprint(w, envelope(r.Form.Get("method"), paidNode(payNo), ""))
		},
		"buyer in a broken answer": func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			node := strings.Replace(paidNode(payNo), `"trade_no":"2026030122001"`, `"trade_no":{"abc***@sandbox.com":1},"refund_fee":{"abc***@sandbox.com":1}`, 1)
			_, _ = fmt.Fprint(w, signed(r.Form.Get("method"), node)) //nolint:gosec // for a client of ours, no browser
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, handler := range hostile {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			client := newClient(t, func(c *alipay.Config) { c.Gateway = server.URL })
			_, queryErr := client.QueryTrade(t.Context(), payNo)
			_, refundErr := client.Refund(t.Context(), refundRequest())
			for _, err := range []error{queryErr, refundErr} {
				require.Error(t, err)
				text := err.Error()
				requireNoKey(t, text, config())
				require.NotContains(t, text, "sandbox.com")
				require.NotContains(t, text, "biz_content")
				require.False(t, request != "" && strings.Contains(text, request[:16]))
			}
		})
	}
}
