package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"coursepay/models"
)

// callbackBuckets are fine enough to tell percentiles by: each is 1.5 times the one before, from 2 ms to 15 s.
var callbackBuckets = prometheus.ExponentialBucketsRange(0.002, notifyWithin.Seconds(), 23)

// meter counts what the API does under load.
type meter struct {
	callbacks *prometheus.HistogramVec
}

// newMeter makes the metrics, and registers them where there is a registerer.
func newMeter(registerer prometheus.Registerer, purchases, questions *gate) meter {
	with := promauto.With(registerer)
	refused := with.NewCounterVec(prometheus.CounterOpts{
		Name: "coursepay_api_refused_total",
		Help: "Requests that were told to come back later: no room in the line (full), no place in time (late). " +
			"For gate=\"questions\": Alipay was not asked, and the books answered.",
	}, []string{"gate", "reason"})
	for name, g := range map[string]*gate{"purchases": purchases, "questions": questions} {
		labels := prometheus.Labels{"gate": name}
		g.full, g.late = refused.WithLabelValues(name, "full").Inc, refused.WithLabelValues(name, "late").Inc
		with.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "coursepay_api_in_flight", Help: "Requests at work behind a gate.", ConstLabels: labels,
		}, func() float64 { return float64(g.inside.Load()) })
		with.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "coursepay_api_waiting", Help: "Requests that wait before a gate.", ConstLabels: labels,
		}, func() float64 { return float64(g.waiting.Load()) })
	}
	return meter{callbacks: with.NewHistogramVec(prometheus.HistogramOpts{
		Name: "coursepay_api_callback_seconds", Help: "How long Alipay's callbacks waited for their answer, by verdict.",
		Buckets: callbackBuckets,
	}, []string{"verdict"})}
}

func (m meter) callback(verdict models.Verdict, began time.Time) {
	m.callbacks.WithLabelValues(string(verdict)).Observe(time.Since(began).Seconds())
}
