package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A report on the skeleton alone says nothing of orders, not even that they took no time.
func TestReportOnTheSkeletonAlone(t *testing.T) {
	t.Parallel()
	bare := &kind{name: "skeleton", rounds: []float64{40, 44, 42}}
	bare.costs.cpu = map[string]float64{"temporal": 0.5}
	bare.costs.orders = 20
	report := &Report{Concurrency: 32}
	report.compare(bare, &kind{name: "orders"}, 3)
	text := report.String()
	require.Regexp(t, `passes a second +42\.0`, text)
	require.Contains(t, text, "CPU ms of temporal")
	require.NotContains(t, text, "orders ÷ skeleton")
}
