package e2e

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"coursepay/internal/auth"
	"coursepay/internal/buyer"
	"coursepay/internal/demo"
	"coursepay/internal/devstack"
	"coursepay/internal/devstack/devtest"
	"coursepay/models"
	"coursepay/workflows"
)

// mall is the whole program as separate processes on services of its own, to be killed.
type mall struct {
	t     *testing.T
	stack *devstack.Stack
	env   map[string]string
	db    *sql.DB
}

func openMall(t *testing.T) *mall {
	stack := devtest.Stack(t, map[string]string{"SANDBOX_NOTIFY_SCHEDULE": strings.TrimSuffix(strings.Repeat("500ms,", 200), ",")})
	env, err := stack.Env()
	require.NoError(t, err)
	db, err := sql.Open("pgx", env["DATABASE_URL"])
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return &mall{t, stack, env, db}
}

func (m *mall) learner(user string) *buyer.Learner {
	token, err := auth.Issue([]byte(m.env["JWT_SECRET"]), auth.User{ID: user}, time.Hour, time.Now())
	require.NoError(m.t, err)
	return buyer.NewLearner(m.env["API_URL"], token)
}

// codeFor asks for a code until there is one: a service may still be coming up.
func (m *mall) codeFor(t *testing.T, user string) (choice buyer.Choice, record buyer.PayRecord) {
	t.Helper()
	var err error
	ok := waitFor(func() bool {
		if choice, err = m.learner(user).Choose(t.Context(), course); err != nil {
			return false
		}
		record, err = m.learner(user).RequestCode(t.Context(), choice)
		return err == nil
	})
	require.True(t, ok, "no code: %v", err)
	return choice, record
}

func (m *mall) pay(t *testing.T, record buyer.PayRecord) {
	t.Helper()
	address, err := buyer.Scan(record.QRCode)
	require.NoError(t, err)
	phone, err := buyer.NewPhone()
	require.NoError(t, err)
	cashier, err := phone.OpenCashier(t.Context(), address)
	require.NoError(t, err)
	_, err = phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
}

// eventually waits until a query gives the number; a database that is down gives none.
func (m *mall) eventually(t *testing.T, want int, query string, args ...any) {
	t.Helper()
	var got int
	var err error
	ok := waitFor(func() bool {
		err = m.db.QueryRowContext(context.Background(), query, args...).Scan(&got)
		return err == nil && got == want
	})
	require.True(t, ok, "%s: got %d, want %d (%v)", query, got, want, err)
}

// delivered waits until the learner has the course, exactly once, and the bus has the message.
func (m *mall) delivered(t *testing.T, user string, choice buyer.Choice) {
	t.Helper()
	m.eventually(t, 1, `select count(*) from xc_course_tables where user_id = $1`, user)
	m.eventually(t, 1, `select count(*) from mq_message_history where business_key1 = $1`, choice.ID)
	m.eventually(t, 0, `select count(*) from mq_message where business_key1 = $1`, choice.ID)
	m.eventually(t, 1, `select count(*) from order_audit a join xc_orders o on o.id = a.order_id where o.out_business_id = $1 and event = 'paid'`, choice.ID)
}

func (m *mall) restart(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, m.stack.Service(name).Start(t.Context()))
}

func TestCrashes(t *testing.T) {
	m := openMall(t)

	t.Run("worker killed between payment and settling", func(t *testing.T) {
		choice, record := m.codeFor(t, "crash-worker")
		require.NoError(t, m.stack.Service("worker").Kill())
		m.pay(t, record)
		m.eventually(t, 1, `select count(*) from pay_notify where pay_no = $1 and verdict = 'accepted'`, record.PayNo)
		m.eventually(t, 1, `select count(*) from xc_orders where out_business_id = $1 and status = '600001'`, choice.ID)
		m.restart(t, "worker")
		m.delivered(t, "crash-worker", choice)
	})

	t.Run("broker down when the payment comes", func(t *testing.T) {
		choice, record := m.codeFor(t, "crash-broker")
		require.NoError(t, m.stack.Service("rabbitmq").Stop(t.Context()))
		m.pay(t, record)
		m.eventually(t, 1, `select count(*) from xc_orders where out_business_id = $1 and status = '600002'`, choice.ID)
		m.eventually(t, 1, `select count(*) from mq_message where business_key1 = $1 and execute_num > 0 and returnfailure_msg <> ''`, choice.ID)
		require.True(t, waitFor(func() bool { return m.retrying(t, choice, "Settle") }), "the retries are in the operators' sight")
		m.restart(t, "rabbitmq")
		m.delivered(t, "crash-broker", choice)
	})

	t.Run("worker killed while the broker is down", func(t *testing.T) {
		choice, record := m.codeFor(t, "crash-both")
		require.NoError(t, m.stack.Service("rabbitmq").Stop(t.Context()))
		m.pay(t, record)
		m.eventually(t, 1, `select count(*) from mq_message where business_key1 = $1`, choice.ID)
		require.NoError(t, m.stack.Service("worker").Kill())
		m.restart(t, "rabbitmq")
		m.restart(t, "worker")
		m.delivered(t, "crash-both", choice)
	})

	t.Run("api down when the notify comes", func(t *testing.T) {
		choice, record := m.codeFor(t, "crash-api")
		address, err := buyer.Scan(record.QRCode)
		require.NoError(t, err)
		phone, err := buyer.NewPhone()
		require.NoError(t, err)
		cashier, err := phone.OpenCashier(t.Context(), address)
		require.NoError(t, err)
		require.NoError(t, m.stack.Service("api").Kill())
		_, err = phone.Pay(t.Context(), cashier)
		require.NoError(t, err)
		m.restart(t, "api")
		m.delivered(t, "crash-api", choice)
	})

	t.Run("engine down when the notify comes", func(t *testing.T) {
		choice, record := m.codeFor(t, "crash-engine")
		require.NoError(t, m.stack.Service("temporal").Kill())
		m.pay(t, record)
		m.eventually(t, 1, `select least(count(*), 1) from pay_notify where pay_no = $1 and verdict = 'failed'`, record.PayNo)
		m.restart(t, "temporal")
		m.delivered(t, "crash-engine", choice)
	})

	t.Run("database killed after the payment", func(t *testing.T) {
		choice, record := m.codeFor(t, "crash-db")
		require.NoError(t, m.stack.Service("worker").Kill())
		m.pay(t, record)
		m.eventually(t, 1, `select count(*) from pay_notify where pay_no = $1 and verdict = 'accepted'`, record.PayNo)
		require.NoError(t, m.stack.Service("postgres").Kill())
		m.restart(t, "postgres")
		m.restart(t, "worker")
		m.delivered(t, "crash-db", choice)
	})

	t.Run("the demo passes, and fails when it should", m.testDemo)
}

// retrying says whether the order's workflow shows an activity that has failed and will be tried again.
func (m *mall) retrying(t *testing.T, choice buyer.Choice, activity string) bool {
	t.Helper()
	engine, err := client.Dial(client.Options{HostPort: m.env["TEMPORAL_ADDRESS"], Namespace: m.env["TEMPORAL_NAMESPACE"]})
	require.NoError(t, err)
	defer engine.Close()
	d, err := engine.DescribeWorkflowExecution(t.Context(), workflows.PayOrderID(models.OrderCourse, choice.ID), "")
	require.NoError(t, err)
	for _, pending := range d.GetPendingActivities() {
		if pending.GetActivityType().GetName() == activity && pending.GetAttempt() > 1 && pending.GetLastFailure() != nil {
			return true
		}
	}
	return false
}

func (m *mall) testDemo(t *testing.T) {
	env := demo.Env{
		APIURL: m.env["API_URL"], DatabaseURL: m.env["DATABASE_URL"], AMQPURL: m.env["AMQP_URL"], JWTSecret: m.env["JWT_SECRET"],
	}
	var told strings.Builder
	require.NoError(t, demo.Run(t.Context(), env, &told))
	for _, part := range []string{"600002", "xc_course_tables", "payresult_notify", "702001"} {
		require.Contains(t, told.String(), part)
	}

	m.putFaults(t, `{"notify":{"signature":1}}`)
	err := demo.Run(t.Context(), env, &told)
	require.ErrorContains(t, err, "not believed", "a forged notify")
	m.putFaults(t, `{}`)

	require.NoError(t, m.stack.Service("worker").Kill())
	env.Patience = 3 * time.Second
	require.ErrorContains(t, demo.Run(t.Context(), env, &told), "QR code", "no worker")
	m.restart(t, "worker")
}

func (m *mall) putFaults(t *testing.T, faults string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, m.env["SANDBOX_URL"]+"/control/faults", strings.NewReader(faults))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Less(t, response.StatusCode, 300)
}
