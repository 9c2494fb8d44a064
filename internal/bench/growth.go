package bench

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Growth is how everything changes when the tables fill up.
type Growth struct {
	Sizes []Size `json:"sizes"`
	// Statements are those that grew most from the first size to the last, by their mean time in Postgres.
	Statements []StatementGrowth `json:"statements,omitempty"`
}

// Size is what was measured with so many paid orders in the tables. One at a time, so that it is the time and not the
// queue that is seen.
type Size struct {
	Rows int `json:"rows"`
	Times
	Reads map[string]Latency `json:"reads"`
}

// StatementGrowth is one SQL statement's mean time at the first size and at the last.
type StatementGrowth struct {
	Query       string  `json:"query"`
	Calls       float64 `json:"calls"` // at the last size
	FirstMillis float64 `json:"firstMillis"`
	LastMillis  float64 `json:"lastMillis"`
	Ratio       float64 `json:"ratio"`
}

// readsEach is how often each endpoint is read for every order that is bought.
const readsEach = 10

// growthReadings are the learner's reads and the operators'.
func (b *bench) growthReadings() ([]endpoint, error) {
	token, err := b.operator()
	if err != nil {
		return nil, err
	}
	asOperator := func(visit) string { return token }
	get := func(name string, path func(v visit) string, token func(visit) string) endpoint {
		return endpoint{name, http.MethodGet, path, token}
	}
	return append(learnersReads(),
		get("order", func(v visit) string { return "/orders/" + v.record.OrderID }, asLearner),
		get("my orders", func(visit) string { return "/orders/my" }, asLearner),
		get("ops: order", func(v visit) string { return "/ops/orders/" + v.record.OrderID }, asOperator),
		get("ops: search by payNo", func(v visit) string { return "/ops/orders?q=" + v.record.PayNo }, asOperator),
		get("ops: attention", func(visit) string { return "/ops/attention" }, asOperator),
	), nil
}

func (b *bench) growth(ctx context.Context) error {
	b.report.Growth = &Growth{}
	var first, last map[string]timing
	for i, rows := range b.Rows {
		if b.timeUp() {
			b.report.LeftOut = append(b.report.LeftOut, fmt.Sprintf("growth to %d orders: no time left (--for)", rows))
			break
		}
		if err := b.fill(ctx, rows); err != nil {
			return fmt.Errorf("fill the tables: %w", err)
		}
		size, timings, err := b.atSize(ctx, rows)
		if err != nil {
			return fmt.Errorf("with %d orders: %w", rows, err)
		}
		b.report.Growth.Sizes = append(b.report.Growth.Sizes, size)
		if i == 0 {
			first = timings
		}
		last = timings
	}
	if len(b.report.Growth.Sizes) > 1 {
		b.report.Growth.Statements = grown(first, last)
	}
	return nil
}

// atSize measures what people do, with the tables as they are.
func (b *bench) atSize(ctx context.Context, rows int) (Size, map[string]timing, error) {
	before, err := b.gauges.timings(ctx)
	if err != nil {
		return Size{}, nil, err
	}
	_, paid := b.kinds()
	paid.pass = func(ctx context.Context, name string, number int) (passed, error) {
		return b.shop.buy(ctx, name, number, true)
	}
	all, err := b.oneAtATime(ctx, paid, fmt.Sprint("grown-", rows), max(1, b.Alone))
	if err != nil {
		return Size{}, nil, err
	}
	paid.note(all)
	size := Size{Rows: rows, Times: paid.times(), Reads: map[string]Latency{}}
	visits, err := b.paidVisits(ctx, fmt.Sprint("grown-reader-", rows))
	if err != nil {
		return size, nil, err
	}
	endpoints, err := b.growthReadings()
	if err != nil {
		return size, nil, err
	}
	for _, e := range endpoints {
		if size.Reads[e.name], err = b.readOneAtATime(ctx, e, visits); err != nil {
			return size, nil, err
		}
	}
	after, err := b.gauges.timings(ctx)
	return size, since(before, after), err
}

func (b *bench) readOneAtATime(ctx context.Context, e endpoint, visits []visit) (Latency, error) {
	var all []time.Duration
	for i := range readsEach * max(1, b.Alone) {
		took, err := b.readOnce(ctx, e, visits[i%len(visits)])
		if err != nil {
			return Latency{}, err
		}
		all = append(all, took)
	}
	return latencyOf(all), nil
}

// timing is how often a statement ran, and how long in all, in milliseconds.
type timing struct{ calls, total float64 }

func (t timing) mean() float64 { return ratio(t.total, t.calls) }

// timings are those of every statement in our database, by its text; none where nobody counts them.
func (g *gauges) timings(ctx context.Context) (map[string]timing, error) {
	if g.statements == nil {
		return nil, nil
	}
	rows, err := g.statements.Query(ctx, `
		select query, sum(calls)::float8, sum(total_exec_time)::float8
		from pg_stat_statements s join pg_database d on d.oid = s.dbid where d.datname = $1 group by query`,
		g.db.Config().Database)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]timing{}
	for rows.Next() {
		var query string
		var t timing
		if err := rows.Scan(&query, &t.calls, &t.total); err != nil {
			return nil, err
		}
		found[query] = t
	}
	return found, rows.Err()
}

func since(before, after map[string]timing) map[string]timing {
	between := map[string]timing{}
	for query, now := range after {
		was := before[query]
		if now.calls > was.calls {
			between[query] = timing{now.calls - was.calls, now.total - was.total}
		}
	}
	return between
}

// grown lists the statements that grew most. Few calls prove nothing, and neither do a few microseconds.
func grown(first, last map[string]timing) []StatementGrowth {
	const (
		enoughCalls  = 20
		enoughMillis = 0.05
		listed       = 10
	)
	var found []StatementGrowth
	for query, now := range last {
		was, known := first[query]
		if !known || was.calls < enoughCalls || now.calls < enoughCalls || now.mean() < enoughMillis {
			continue
		}
		found = append(found, StatementGrowth{
			Query: strings.Join(strings.Fields(query), " "), Calls: now.calls,
			FirstMillis: was.mean(), LastMillis: now.mean(), Ratio: ratio(now.mean(), was.mean()),
		})
	}
	slices.SortFunc(found, func(a, b StatementGrowth) int { return cmp.Compare(b.Ratio, a.Ratio) })
	return found[:min(listed, len(found))]
}
