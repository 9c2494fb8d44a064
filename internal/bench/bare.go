package bench

import "fmt"

// bareOnly says that there were no orders in the rounds (Config.SkeletonOnly).
func (c *Comparison) bareOnly() bool { return len(c.Orders.Rounds) == 0 }

// bareTable is the skeleton alone, where that was asked for.
func (r *Report) bareTable() (t table) {
	if r.Comparison == nil || !r.Comparison.bareOnly() {
		return t
	}
	bare := r.Comparison.Skeleton
	t.title = fmt.Sprintf("the skeleton alone, %d at once, medians over rounds (ms unless said otherwise)", r.Concurrency)
	t.add("", "skeleton")
	for _, row := range []struct {
		name  string
		value float64
	}{
		{"passes a second", bare.PerSecond},
		{"update with start p50", bare.Creation.P50}, {"update with start p99", bare.Creation.P99},
		{"signal → last activity p50", bare.Settling.P50}, {"signal → last activity p99", bare.Settling.P99},
		{"history events", bare.Costs.Events}, {"Temporal requests, without polls", bare.Costs.TemporalRequests},
		{"Temporal long polls", bare.Costs.TemporalPolls}, {"writing transactions", bare.Costs.WriteTransactions},
		{"WAL bytes", bare.Costs.WALBytes},
	} {
		t.add(row.name, number(row.value))
	}
	for _, service := range byValue(bare.Costs.CPUMillis) {
		t.add("CPU ms of "+service, number(bare.Costs.CPUMillis[service]))
	}
	return t
}
