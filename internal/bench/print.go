package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// String is the report for people.
func (r *Report) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %d cores, load %.2f before; commit %s", r.Machine.CPU, r.Machine.Cores, r.Machine.Load, r.Commit)
	if r.Rounds > 0 {
		fmt.Fprintf(&text, "; %d orders in %d rounds, %d at once", r.Orders, r.Rounds, r.Concurrency)
	}
	text.WriteByte('\n')
	for _, part := range []func() table{r.bareTable, r.comparison, r.costs, r.aloneTable, r.readsTable, r.idleTable, r.growthTable, r.statements, r.soakTable, r.visitsTable, r.overloadTable} {
		if t := part(); len(t.rows) > 0 {
			t.print(&text)
		}
	}
	if r.Refused > 0 {
		fmt.Fprintf(&text, "\n%d times a learner was told to come back later, and did\n", r.Refused)
	}
	for _, left := range r.LeftOut {
		fmt.Fprintf(&text, "not measured: %s\n", left)
	}
	return text.String()
}

// table is a title over rows of cells, of which the first row names the columns.
type table struct {
	title string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(to *strings.Builder) {
	fmt.Fprintf(to, "\n%s\n", t.title)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	_ = w.Flush() // a strings.Builder takes everything
}

func (r *Report) comparison() (t table) {
	c := r.Comparison
	if c == nil || c.bareOnly() {
		return t
	}
	t.title = fmt.Sprintf("%d at once, medians over rounds (ms unless said otherwise)", r.Concurrency)
	t.add("", "skeleton", "orders", "orders ÷ skeleton")
	t.add("passes a second", number(c.Skeleton.PerSecond), number(c.Orders.PerSecond), fmt.Sprintf("%.2f", c.Throughput))
	t.addTimes(c.Skeleton.Times, c.Orders.Times)
	return t
}

func (t *table) addTimes(bare, paid Times) {
	t.add("code creation p50", number(bare.Creation.P50), number(paid.Creation.P50), share(paid.Creation.P50, bare.Creation.P50))
	t.add("code creation p99", number(bare.Creation.P99), number(paid.Creation.P99), share(paid.Creation.P99, bare.Creation.P99))
	t.add("notify → enrolled p50", number(bare.Settling.P50), number(paid.Settling.P50), share(paid.Settling.P50, bare.Settling.P50))
	t.add("notify → enrolled p99", number(bare.Settling.P99), number(paid.Settling.P99), share(paid.Settling.P99, bare.Settling.P99))
	t.add("click → page p50", "", number(paid.Click.P50))
	t.add("click → page p99", "", number(paid.Click.P99))
}

func (r *Report) aloneTable() (t table) {
	if r.Alone == nil {
		return t
	}
	t.title = fmt.Sprintf("one at a time, %d of each (ms)", r.Alone.Orders.Creation.Count)
	t.add("", "skeleton", "orders", "orders ÷ skeleton")
	t.addTimes(r.Alone.Skeleton, r.Alone.Orders)
	return t
}

func (r *Report) costs() (t table) {
	if r.Comparison == nil || r.Comparison.bareOnly() {
		return t
	}
	bare, paid := r.Comparison.Skeleton.Costs, r.Comparison.Orders.Costs
	t.title = "each costs"
	t.add("", "skeleton", "orders")
	for _, row := range []struct {
		name       string
		bare, paid float64
	}{
		{"history events", bare.Events, paid.Events},
		{"Temporal requests, without polls", bare.TemporalRequests, paid.TemporalRequests},
		{"Temporal long polls", bare.TemporalPolls, paid.TemporalPolls},
		{"SQL statements", bare.Statements, paid.Statements},
		{"writing transactions", bare.WriteTransactions, paid.WriteTransactions},
		{"WAL bytes", bare.WALBytes, paid.WALBytes},
	} {
		if row.paid != 0 {
			t.add(row.name, number(row.bare), number(row.paid))
		}
	}
	for _, service := range slices.Sorted(maps.Keys(paid.Allocations)) {
		t.add("allocations of "+service, "", number(paid.Allocations[service]))
		t.add("allocated bytes of "+service, "", number(paid.AllocatedBytes[service]))
	}
	for _, service := range byValue(paid.CPUMillis) {
		t.add("CPU ms of "+service, number(bare.CPUMillis[service]), number(paid.CPUMillis[service]))
	}
	return t
}

// byValue lists keys, the largest value first.
func byValue(values map[string]float64) []string {
	return slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		switch {
		case values[a] > values[b]:
			return -1
		case values[a] < values[b]:
			return 1
		}
		return strings.Compare(a, b)
	})
}

func (r *Report) readsTable() (t table) {
	t.title = fmt.Sprintf("reads, %d connections", r.Concurrency)
	if len(r.Reads) > 0 {
		t.add("", "a second", "p50 ms", "p99 ms")
	}
	for _, read := range r.Reads {
		t.add(read.Endpoint, number(read.PerSecond), number(read.Latency.P50), number(read.Latency.P99))
	}
	return t
}

func (r *Report) idleTable() (t table) {
	i := r.Idle
	if i == nil {
		return t
	}
	t.title = fmt.Sprintf("%d open orders that nobody scans, watched for %.0f s (made at %.1f/s)", i.Orders, i.Seconds, i.PerSecond)
	t.add("", "without them", "with them")
	for _, service := range byValue(i.With.CPUSeconds) {
		t.add("CPU seconds of "+service, fmt.Sprintf("%.2f", i.Before.CPUSeconds[service]), fmt.Sprintf("%.2f", i.With.CPUSeconds[service]))
	}
	t.add("WAL bytes", number(i.Before.WALBytes), number(i.With.WALBytes))
	if i.Before.AlipayRequests != nil && i.With.AlipayRequests != nil {
		t.add("requests to Alipay", number(*i.Before.AlipayRequests), number(*i.With.AlipayRequests))
	}
	t.add("history events, at the beginning and the end", number(i.EventsBefore), number(i.EventsAfter))
	return t
}

func (r *Report) growthTable() (t table) {
	if r.Growth == nil || len(r.Growth.Sizes) == 0 {
		return t
	}
	sizes := r.Growth.Sizes
	t.title = "with so many paid orders in the tables, one at a time (p50, ms)"
	header := []string{""}
	for _, size := range sizes {
		header = append(header, fmt.Sprint(size.Rows))
	}
	t.add(header...)
	row := func(name string, of func(Size) float64) {
		cells := []string{name}
		for _, size := range sizes {
			cells = append(cells, number(of(size)))
		}
		t.add(cells...)
	}
	row("code creation", func(s Size) float64 { return s.Creation.P50 })
	row("notify → enrolled", func(s Size) float64 { return s.Settling.P50 })
	row("click → page", func(s Size) float64 { return s.Click.P50 })
	for _, name := range slices.Sorted(maps.Keys(sizes[0].Reads)) {
		row(name, func(s Size) float64 { return s.Reads[name].P50 })
	}
	return t
}

func (r *Report) statements() (t table) {
	if r.Growth == nil {
		return t
	}
	t.title = "the statements that grew most, from the first size to the last (mean ms in Postgres)"
	for _, s := range r.Growth.Statements {
		t.add(fmt.Sprintf("× %.1f", s.Ratio), fmt.Sprintf("%.3f", s.FirstMillis), fmt.Sprintf("%.3f", s.LastMillis),
			string([]rune(s.Query)[:min(100, len([]rune(s.Query)))]))
	}
	return t
}

// number shows three digits or so.
func number(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func share(a, b float64) string {
	if b == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", a/b)
}
