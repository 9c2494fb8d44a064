package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Costs are what one order, or one pass of the skeleton, costs. What could not be measured is missing.
type Costs struct {
	// Events is how long the workflow's history gets: the mean of a sample.
	Events float64 `json:"events,omitempty"`
	// Statements are SQL statements, BEGIN and COMMIT among them (pg_stat_statements).
	Statements float64 `json:"statements,omitempty"`
	// WriteTransactions are transactions that were given a number because they write.
	WriteTransactions float64 `json:"writeTransactions,omitempty"`
	WALBytes          float64 `json:"walBytes,omitempty"`
	// TemporalRequests are calls of Temporal's front end without the long polls, which are counted in TemporalPolls.
	TemporalRequests float64 `json:"temporalRequests,omitempty"`
	TemporalPolls    float64 `json:"temporalPolls,omitempty"`
	// Allocations and AllocatedBytes are those of our own processes on the heap, by service.
	Allocations    map[string]float64 `json:"allocations,omitempty"`
	AllocatedBytes map[string]float64 `json:"allocatedBytes,omitempty"`
	// CPUMillis is processor time by service; "bench" is this process.
	CPUMillis map[string]float64 `json:"cpuMillis,omitempty"`
}

// reading is what the stack's counters show at one moment.
type reading struct {
	at         time.Time
	statements float64
	writers    float64
	wal        float64
	requests   float64
	polls      float64
	alipay     float64
	mallocs    map[string]float64
	bytes      map[string]float64
	cpu        map[string]float64
}

// gauges reads the counters of a stack's processes. It knows from its first reading what can be read, and why the rest
// cannot.
type gauges struct {
	stack      Stack
	db         *pgx.Conn
	statements *pgx.Conn // where pg_stat_statements can be asked; nil where it cannot
	metrics    map[string]string
	// LeftOut says what is not measured and why.
	leftOut []string
}

func openGauges(ctx context.Context, stack Stack) (*gauges, error) {
	g := &gauges{stack: stack, metrics: map[string]string{}}
	var err error
	if g.db, err = pgx.Connect(ctx, stack.DatabaseURL); err != nil {
		return nil, err
	}
	g.statements, err = openStatements(ctx, stack)
	if err != nil {
		g.leftOut = append(g.leftOut, fmt.Sprintf("SQL statements: %v", err))
	}
	for service, address := range map[string]string{
		"api": stack.APIURL + "/metrics", "worker": stack.WorkerMetrics, "temporal": stack.TemporalMetrics,
	} {
		if _, err := readMetrics(ctx, address); address == "" || err != nil {
			g.leftOut = append(g.leftOut, fmt.Sprintf("metrics of %s: not found%s", service, hints[service]))
			continue
		}
		g.metrics[service] = address
	}
	for _, service := range services {
		if stack.PIDs[service] == 0 {
			g.leftOut = append(g.leftOut, fmt.Sprintf("processor time of %s: it is not a process of this stack", service))
		}
	}
	slices.Sort(g.leftOut)
	return g, nil
}

var hints = map[string]string{
	"worker":   " (METRICS_ADDR=127.0.0.1:0 when the stack starts, or --worker-metrics)",
	"temporal": " (--temporal-metrics)",
}

func (g *gauges) close(ctx context.Context) error {
	err := g.db.Close(ctx)
	if g.statements != nil {
		err = errors.Join(err, g.statements.Close(ctx))
	}
	return err
}

// openStatements connects to where pg_stat_statements is, if the server has loaded it. In the stack's own Postgres it is
// made available, in a database beside ours; nobody's settings change.
func openStatements(ctx context.Context, stack Stack) (*pgx.Conn, error) {
	address := stack.DatabaseURL
	if stack.OwnPostgres {
		u, err := url.Parse(address)
		if err != nil {
			return nil, errors.New("DATABASE_URL is no URL")
		}
		u.Path = "/postgres"
		address = u.String()
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := findStatements(ctx, conn, stack.OwnPostgres); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

func findStatements(ctx context.Context, conn *pgx.Conn, own bool) error {
	var loaded string
	if err := conn.QueryRow(ctx, "show shared_preload_libraries").Scan(&loaded); err != nil {
		return err
	}
	if !strings.Contains(loaded, "pg_stat_statements") {
		return errors.New("the server has not loaded pg_stat_statements (shared_preload_libraries)")
	}
	if own {
		if _, err := conn.Exec(ctx, "create extension if not exists pg_stat_statements"); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "select 1 from pg_stat_statements limit 1")
	return err
}

// read takes one reading.
func (g *gauges) read(ctx context.Context) (reading, error) {
	r := reading{at: time.Now(), mallocs: map[string]float64{}, bytes: map[string]float64{}, cpu: cpuSeconds(g.stack.PIDs)}
	r.cpu["bench"] = ownCPU()
	if err := g.readDatabase(ctx, &r); err != nil {
		return r, fmt.Errorf("read Postgres' counters: %w", err)
	}
	for service, address := range g.metrics {
		metrics, err := readMetrics(ctx, address)
		if err != nil {
			return r, fmt.Errorf("read metrics of %s: %w", service, err)
		}
		if service == "temporal" {
			r.requests, r.polls = sum(metrics, requestsMetric, isRequest), sum(metrics, requestsMetric, isPoll)
			continue
		}
		r.mallocs[service] = sum(metrics, "go_memstats_mallocs_total", nil)
		r.bytes[service] = sum(metrics, "go_memstats_alloc_bytes_total", nil)
		r.alipay += sum(metrics, "coursepay_alipay_requests_total", nil)
	}
	return r, nil
}

// temporalLag is a little more than Temporal takes to publish what it has counted.
const temporalLag = 1200 * time.Millisecond

// catchUp waits until the counters show what has been done.
func (g *gauges) catchUp(ctx context.Context) error {
	if g.metrics["temporal"] == "" {
		return nil
	}
	return sleep(ctx, temporalLag)
}

func (g *gauges) readDatabase(ctx context.Context, r *reading) error {
	err := g.db.QueryRow(ctx, `
		select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8, pg_snapshot_xmax(pg_current_snapshot())::text::float8`).
		Scan(&r.wal, &r.writers)
	if err != nil || g.statements == nil {
		return err
	}
	return g.statements.QueryRow(ctx, `
		select coalesce(sum(calls), 0)::float8 from pg_stat_statements s join pg_database d on d.oid = s.dbid
		where d.datname = $1`, g.db.Config().Database).Scan(&r.statements)
}

const requestsMetric = "service_requests"

// isPoll says that a series of Temporal's counts the front end's long polls.
func isPoll(labels string) bool {
	return label(labels, "service_name") == "frontend" && strings.HasPrefix(label(labels, "operation"), "Poll")
}

// isRequest says that a series counts what users of the front end ask for. What the bench itself asks to look at
// histories, and what every client asks when it connects, is left out.
func isRequest(labels string) bool {
	switch label(labels, "operation") {
	case "DescribeWorkflowExecution", "GetWorkflowExecutionHistory", "GetSystemInfo", "Check":
		return false
	}
	return label(labels, "service_name") == "frontend" && !isPoll(labels)
}

// costs is what happened between two readings. It is added up over rounds, and then shared among the orders.
type costs struct {
	reading
	orders int
	events []int
}

func (c *costs) add(before, after reading, orders int) {
	if c.mallocs == nil {
		c.mallocs, c.bytes, c.cpu = map[string]float64{}, map[string]float64{}, map[string]float64{}
	}
	c.orders += orders
	c.statements += after.statements - before.statements
	c.writers += after.writers - before.writers
	c.wal += after.wal - before.wal
	c.requests += after.requests - before.requests
	c.polls += after.polls - before.polls
	c.alipay += after.alipay - before.alipay
	for _, m := range []struct{ to, before, after map[string]float64 }{
		{c.mallocs, before.mallocs, after.mallocs}, {c.bytes, before.bytes, after.bytes}, {c.cpu, before.cpu, after.cpu},
	} {
		for service := range m.after {
			m.to[service] += m.after[service] - m.before[service]
		}
	}
}

// each shares the costs among the orders.
func (c *costs) each() Costs {
	share := func(total, unit float64) float64 { return ratio(total*unit, float64(c.orders)) }
	shares := func(totals map[string]float64, unit float64) map[string]float64 {
		each := maps.Clone(totals)
		for service, total := range each {
			each[service] = share(total, unit)
		}
		return each
	}
	total := 0
	for _, n := range c.events {
		total += n
	}
	return Costs{
		Events:     ratio(float64(total), float64(len(c.events))),
		Statements: share(c.statements, 1), WriteTransactions: share(c.writers, 1), WALBytes: share(c.wal, 1),
		TemporalRequests: share(c.requests, 1), TemporalPolls: share(c.polls, 1),
		Allocations: shares(c.mallocs, 1), AllocatedBytes: shares(c.bytes, 1), CPUMillis: shares(c.cpu, 1000),
	}
}
