package bench

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"coursepay/internal/devstack/devtest"
)

func TestWholeBenchOnAStack(t *testing.T) {
	t.Parallel()
	stack := devtest.Stack(t, map[string]string{"METRICS_ADDR": "127.0.0.1:0"})
	env, err := stack.Env()
	require.NoError(t, err)
	at, err := StackFromEnv(env, func(string) string { return "" })
	require.NoError(t, err)
	cfg := Config{
		Stack: at,
		DialTemporal: func(ctx context.Context) (client.Client, error) {
			return stack.Temporal.Dial(ctx, at.TemporalNamespace)
		},
		Orders: 3, Rounds: 1, Concurrency: 2, Alone: 1, ReadFor: 50 * time.Millisecond, Open: 2, IdleFor: 100 * time.Millisecond,
		Rows: []int{40, 60}, For: time.Minute, Progress: t.Output(),
	}
	soakShortly(t, cfg)
	report, err := Run(t.Context(), cfg)
	require.NoError(t, err)

	c := report.Comparison
	require.NotNil(t, c)
	require.Equal(t, 1, report.Rounds)
	require.Positive(t, c.Throughput)
	require.Positive(t, c.Orders.Creation.P50)
	require.Equal(t, 3, c.Skeleton.Settling.Count)
	require.Equal(t, 3, c.Orders.Settling.Count)
	require.Equal(t, 1, c.Orders.Click.Count, "one page in eight is open")
	require.InDelta(t, 20, c.Skeleton.Costs.Events, 5)
	require.InDelta(t, 23, c.Orders.Costs.Events, 8)
	require.Positive(t, c.Orders.Costs.WALBytes)
	require.Positive(t, c.Orders.Costs.TemporalRequests)
	require.Contains(t, c.Orders.Costs.Allocations, "worker")
	require.Contains(t, c.Orders.Costs.CPUMillis, "postgres")
	require.Equal(t, 1, report.Alone.Orders.Click.Count)
	require.Len(t, report.Reads, 3)
	require.Positive(t, report.Reads[0].PerSecond)

	require.NotNil(t, report.Idle.With.AlipayRequests)
	require.Equal(t, report.Idle.EventsBefore, report.Idle.EventsAfter) //nolint:testifylint // whole numbers

	require.Len(t, report.Growth.Sizes, 2)
	requireFilled(t, at.DatabaseURL)
	require.Contains(t, report.String(), "orders ÷ skeleton")
	require.Contains(t, report.String(), "ops: attention")
}

// requireFilled looks whether the made-up orders are whole: the constraints were not checked as they were written.
func requireFilled(t *testing.T, databaseURL string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var orders, whole int
	err = conn.QueryRow(t.Context(), `
		select count(*), count(*) filter (where p.status = '601002' and o.paid_by = p.pay_no and t.id is not null
		    and c.status = '701001' and g.id is not null and c.course_id = t.course_id and c.course_price = o.total_price
		    and exists (select from course_publish where id = c.course_id and price = p.total_price)
		    and exists (select from mq_message_history where business_key1 = o.out_business_id)
		    and exists (select from pay_notify where pay_no = p.pay_no)
		    and (select count(*) from order_audit where order_id = o.id) = 2)
		from xc_orders o left join xc_pay_record p on p.order_id = o.id left join xc_orders_goods g on g.order_id = o.id
		    left join xc_choose_course c on c.id::text = o.out_business_id
		    left join xc_course_tables t on t.choose_course_id = c.id
		where o.user_id like 'filled-%'`).Scan(&orders, &whole)
	require.NoError(t, err)
	require.Positive(t, orders)
	require.Equal(t, orders, whole)
}

func env(over map[string]string) map[string]string {
	variables := map[string]string{
		"API_URL": "http://127.0.0.1:8080", "SANDBOX_URL": "http://127.0.0.1:8090", "PUBLIC_URL": "http://127.0.0.1:8080",
		"DATABASE_URL": "postgres://coursepay:x@127.0.0.1:54329/coursepay", "TEMPORAL_ADDRESS": "127.0.0.1:7233",
		"TEMPORAL_NAMESPACE": "default", "JWT_SECRET": "s", "PID_POSTGRES": "7",
	}
	maps.Copy(variables, over)
	return variables
}

func nothing(string) string { return "" }

func TestStackThatIsNotKnown(t *testing.T) {
	t.Parallel()
	_, err := StackFromEnv(nil, nothing)
	require.ErrorContains(t, err, "API_URL, SANDBOX_URL")
	require.ErrorContains(t, err, "make up")
	_, err = StackFromEnv(env(map[string]string{"APP_ENV": "production"}), nothing)
	require.ErrorContains(t, err, "production")
}

func TestLoadGoesToThisMachineOnly(t *testing.T) {
	t.Parallel()
	plain := Config{Orders: 1, Concurrency: 1, Rounds: 1}
	for name, address := range map[string]string{
		"API_URL": "https://pay.example.com", "SANDBOX_URL": "http://10.0.0.7:8090", "PUBLIC_URL": "http://127.0.0.1.example.com",
		"DATABASE_URL": "postgres://u:secret@db.example.com/coursepay", "TEMPORAL_ADDRESS": "temporal.example.com:7233",
	} {
		stack, err := StackFromEnv(env(map[string]string{name: address}), nothing)
		require.NoError(t, err)
		plain.Stack, plain.AnyHost = stack, false
		err = plain.check()
		require.ErrorContains(t, err, "not this machine", name)
		require.NotContains(t, err.Error(), "secret")
		plain.AnyHost = true
		require.NoError(t, plain.check())
	}
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
		stack, err := StackFromEnv(env(map[string]string{"API_URL": "http://" + host + ":8080"}), nothing)
		require.NoError(t, err)
		plain.Stack, plain.AnyHost = stack, false
		require.NoError(t, plain.check())
	}
}

func TestRowsAreMadeUpInTheStacksOwnDatabaseOnly(t *testing.T) {
	t.Parallel()
	own, err := StackFromEnv(env(nil), nothing)
	require.NoError(t, err)
	require.NoError(t, own.checkRows())
	given, err := StackFromEnv(env(nil), func(name string) string {
		if name == "DATABASE_URL" {
			return "postgres://u@127.0.0.1/coursepay"
		}
		return ""
	})
	require.NoError(t, err)
	require.Error(t, given.checkRows(), "a database that the environment gives")
	for _, over := range []map[string]string{
		{"PID_POSTGRES": ""}, {"DATABASE_URL": "postgres://u@127.0.0.1/shop"}, {"DATABASE_URL": "postgres://u@db.example.com/coursepay"},
	} {
		stack, err := StackFromEnv(env(over), nothing)
		require.NoError(t, err)
		require.Error(t, stack.checkRows(), over)
		require.Error(t, Config{Stack: stack, AnyHost: true, Orders: 1, Concurrency: 1, Rounds: 1, Rows: []int{1}}.check(), over)
	}
}

func TestWhatIsAskedForHasBounds(t *testing.T) {
	t.Parallel()
	stack, err := StackFromEnv(env(nil), nothing)
	require.NoError(t, err)
	good := Config{Stack: stack, Orders: 10, Concurrency: 2, Rounds: 2}
	require.NoError(t, good.check())
	for name, spoil := range map[string]func(*Config){
		"--orders":      func(c *Config) { c.Orders = 100_001 },
		"--rounds":      func(c *Config) { c.Rounds = 11 },
		"--concurrency": func(c *Config) { c.Concurrency = 0 },
		"--open":        func(c *Config) { c.Open = -1 },
		"--for":         func(c *Config) { c.For = 25 * time.Hour },
		"--soak":        func(c *Config) { c.Soak = 25 * time.Hour },
		"--soak-rate":   func(c *Config) { c.Soak = time.Minute },
		"--rows":        func(c *Config) { c.Rows = []int{100, 10} },
	} {
		bad := good
		spoil(&bad)
		require.ErrorContains(t, bad.check(), name)
	}
}

func TestStackThatIsDown(t *testing.T) {
	t.Parallel()
	stack, err := StackFromEnv(env(map[string]string{"API_URL": "http://127.0.0.1:1", "SANDBOX_URL": "http://127.0.0.1:1"}), nothing)
	require.NoError(t, err)
	_, err = Run(t.Context(), Config{Stack: stack, Orders: 1, Concurrency: 1, Rounds: 1})
	require.ErrorContains(t, err, "make up")
}

func TestTogetherGivesUpAtTheFirstFailure(t *testing.T) {
	t.Parallel()
	require.NoError(t, together(t.Context(), 5, 2, func(context.Context, int) error { return nil }))
	begun := 0
	err := together(t.Context(), 1000, 1, func(_ context.Context, i int) error {
		begun++
		if i == 3 {
			return context.DeadlineExceeded
		}
		return nil
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, begun, 10)
	ended, end := context.WithCancel(t.Context())
	end()
	require.ErrorIs(t, together(ended, 3, 1, func(context.Context, int) error { return nil }), context.Canceled)
}

func TestMetricsOfPrometheus(t *testing.T) {
	t.Parallel()
	metrics, err := parseMetrics(strings.NewReader(`# HELP service_requests x
service_requests{namespace="default",operation="PollWorkflowTaskQueue",service_name="frontend"} 7
service_requests{namespace="default",operation="SignalWorkflowExecution",service_name="frontend"} 3
service_requests{namespace="default",operation="SignalWorkflowExecution",service_name="history"} 3
service_requests{namespace="default",operation="DescribeWorkflowExecution",service_name="frontend"} 9
go_memstats_mallocs_total 1.5e+06
`))
	require.NoError(t, err)
	require.InDelta(t, 3, sum(metrics, requestsMetric, isRequest), 0)
	require.InDelta(t, 7, sum(metrics, requestsMetric, isPoll), 0)
	require.InDelta(t, 1.5e6, sum(metrics, "go_memstats_mallocs_total", nil), 0)
}

func TestProcessTimes(t *testing.T) {
	t.Parallel()
	s, ok := parseStat("12 (a) b (c)) S 7 12 12 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7")
	require.True(t, ok)
	require.Equal(t, stat{parent: 7, ticks: 100}, s)
	_, ok = parseStat("nonsense")
	require.False(t, ok)
	ticks, found := treeTicks(map[int]stat{1: {0, 1}, 7: {1, 10}, 8: {7, 100}, 9: {8, 1000}, 5: {1, 9}}, 7)
	require.True(t, found)
	require.EqualValues(t, 1110, ticks)
	_, found = treeTicks(map[int]stat{}, 7)
	require.False(t, found)
	port, inode, ok := parseListener("  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1")
	require.True(t, ok)
	require.Equal(t, 8080, port)
	require.Equal(t, "4711", inode)
}
