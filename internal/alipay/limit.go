package alipay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// ErrOwnLimit: our own limit of calls per second let the call wait for longer than it could. Nothing was sent.
var ErrOwnLimit = errors.New("alipay: too many calls of our own at once")

const defaultMaxQPS = 20

// newLimiter spaces calls evenly, since Alipay counts by the second and a burst would be answered with 40005.
func newLimiter(perSecond int) *rate.Limiter {
	if perSecond <= 0 {
		perSecond = defaultMaxQPS
	}
	return rate.NewLimiter(rate.Limit(perSecond), 1)
}

// awaitTurn waits until the call may go out, at most as long as a call may take.
func (c *Client) awaitTurn(ctx context.Context, method string) error {
	patience, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.limiter.Wait(patience); err != nil {
		c.meter.calls.WithLabelValues(method, "limited").Inc()
		cause := ErrOwnLimit
		if ctx.Err() != nil {
			cause = fmt.Errorf("%w: %w", ErrOwnLimit, ctx.Err())
		}
		return &Error{Method: method, Kind: KindThrottled, cause: cause}
	}
	return nil
}

// meter counts and times the calls by method and outcome: "ok", a Kind, or "limited" for what our own limit held back.
type meter struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// newMeter registers the metrics, or joins those that another client of the same process has registered.
func newMeter(registerer prometheus.Registerer) (meter, error) {
	labels := []string{"method", "outcome"}
	m := meter{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coursepay_alipay_requests_total", Help: "Requests to Alipay's gateway.",
		}, labels),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "coursepay_alipay_request_seconds", Help: "How long Alipay's gateway took, waiting for our own limit left out.",
			Buckets: []float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, labels),
	}
	if registerer == nil {
		return m, nil
	}
	var callsErr, secondsErr error
	m.calls, callsErr = register(registerer, m.calls)
	m.seconds, secondsErr = register(registerer, m.seconds)
	if err := errors.Join(callsErr, secondsErr); err != nil {
		return meter{}, fmt.Errorf("alipay metrics: %w", err)
	}
	return m, nil
}

func register[C prometheus.Collector](registerer prometheus.Registerer, collector C) (C, error) {
	err := registerer.Register(collector)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, same := already.ExistingCollector.(C); same {
			return existing, nil
		}
	}
	return collector, err
}

// measure counts and times one call and passes its error on.
func (m meter) measure(method string, call func() error) error {
	start := time.Now()
	err := call()
	outcome := outcomeOf(err)
	m.calls.WithLabelValues(method, outcome).Inc()
	m.seconds.WithLabelValues(method, outcome).Observe(time.Since(start).Seconds())
	return err
}

func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	if failed, ok := errors.AsType[*Error](err); ok {
		return string(failed.Kind)
	}
	return string(KindUnknown)
}
