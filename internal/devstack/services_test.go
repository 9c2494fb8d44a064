package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// A test's folder is closed to other users, as a checkout below /root is: as root, these tests show that Postgres,
// which then runs as another user, gets there all the same.

func stopLater(t *testing.T, service *Service) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		require.NoError(t, service.Stop(ctx))
		require.Zero(t, service.PID())
	})
}

func execute(t *testing.T, postgres *Postgres, statement string) {
	t.Helper()
	require.NoError(t, withPostgres(t.Context(), postgres.URL(), func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), statement)
		return err
	}))
}

func TestPostgresSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	postgres, err := StartPostgres(t.Context(), t.TempDir(), 0)
	require.NoError(t, err)
	stopLater(t, postgres.Service)
	execute(t, postgres, "CREATE TABLE kept (id int)")
	for range 3 {
		pid := postgres.PID()
		require.NotZero(t, pid)
		require.NoError(t, postgres.Kill())
		require.Zero(t, postgres.PID())
		require.Error(t, probePostgres(postgres.URL())(t.Context()))
		require.NoError(t, postgres.Restart(t.Context()))
		require.NotEqual(t, pid, postgres.PID())
		execute(t, postgres, "INSERT INTO kept VALUES (1)")
	}
	// Killed by somebody else while a client keeps it busy: the child that works for the client does not notice.
	busy, err := pgx.Connect(t.Context(), postgres.URL())
	require.NoError(t, err)
	go func() { _, _ = busy.Exec(t.Context(), "SELECT count(*) FROM generate_series(1, 1e12::bigint)") }()
	require.Eventually(t, func() bool { return activeQueries(t, postgres) > 0 }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, exec.CommandContext(t.Context(), "kill", "-9", fmt.Sprint(postgres.PID())).Run())
	require.NoError(t, postgres.Restart(t.Context()))
}

func activeQueries(t *testing.T, postgres *Postgres) (count int) {
	t.Helper()
	require.NoError(t, withPostgres(t.Context(), postgres.URL(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series%' "+
			"AND state = 'active' AND pid <> pg_backend_pid()").Scan(&count)
	}))
	return count
}

func TestPostgresThrowsHalfMadeDataAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "postgres", "data.half", "base"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres", "data.half", "PG_VERSION"), []byte("15\n"), 0o600))
	postgres, err := StartPostgres(t.Context(), dir, 0)
	require.NoError(t, err)
	stopLater(t, postgres.Service)
}

// After a crash postmaster.pid may name a process that has nothing to do with it; after the loss of our own pid file it
// may name a server that still runs.
func TestPostgresOwnPidFileIsSettled(t *testing.T) {
	t.Parallel()
	postgres, err := StartPostgres(t.Context(), t.TempDir(), 0)
	require.NoError(t, err)
	stopLater(t, postgres.Service)
	data := postgres.server.(*process).layout.path("postgres", "data")

	running, err := identify(postgres.PID())
	require.NoError(t, err)
	require.NoError(t, os.Remove(postgres.server.(*process).pidFile()))
	require.NoError(t, postgres.Start(t.Context()))
	require.False(t, running.alive(), "two servers on one data folder")

	require.NoError(t, postgres.Kill())
	stranger := exec.CommandContext(t.Context(), "sleep", "600")
	require.NoError(t, stranger.Start())
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	require.NoError(t, os.WriteFile(filepath.Join(data, "postmaster.pid"), fmt.Appendf(nil, "%d\n%s\n", stranger.Process.Pid, data), 0o600))
	require.NoError(t, postgres.Start(t.Context()))
	require.False(t, zombie(stranger.Process.Pid))
}

func TestRabbitMQSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// What a broker leaves that was killed during its first start.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "rabbitmq", "mnesia"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rabbitmq", "node"), []byte("half@localhost"), 0o600))
	rabbit, err := StartRabbitMQ(t.Context(), dir, 0)
	require.NoError(t, err)
	stopLater(t, rabbit.Service)
	name, err := os.ReadFile(filepath.Join(dir, "rabbitmq", "node"))
	require.NoError(t, err)
	require.NotEqual(t, "half@localhost", string(name), "half-made data was kept")

	withChannel(t, rabbit, func(channel *amqp.Channel) {
		_, err := channel.QueueDeclare("kept", true, false, false, false, nil)
		require.NoError(t, err)
	})
	// A queue is safe from a crash only after a while: the broker writes what it knows of queues with delay. A clean stop
	// does not wait for that.
	require.NoError(t, rabbit.Restart(t.Context()))
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", rabbit.PID()))
	require.NoError(t, err)
	require.Equal(t, "beam.smp", filepath.Base(program), "the pid is the broker's own")

	require.NoError(t, rabbit.Kill())
	require.Zero(t, rabbit.PID())
	require.NoError(t, rabbit.Restart(t.Context()))
	withChannel(t, rabbit, func(channel *amqp.Channel) {
		_, err := channel.QueueDeclarePassive("kept", true, false, false, false, nil)
		require.NoError(t, err)
	})

	helper := (&process{name: "epmd", layout: rabbit.server.(*process).layout}).current()
	require.True(t, helper.alive())
	require.NoError(t, rabbit.Stop(t.Context()))
	require.False(t, helper.alive(), "Erlang's helper daemon was left behind")
}

func withChannel(t *testing.T, rabbit *RabbitMQ, use func(*amqp.Channel)) {
	t.Helper()
	conn, err := amqp.Dial(rabbit.URL())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	channel, err := conn.Channel()
	require.NoError(t, err)
	use(channel)
}

func TestTemporalSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "temporal"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "temporal", "temporal.db"), []byte("half a database"), 0o600))
	temporal, err := StartTemporal(t.Context(), dir, 0, 0)
	require.NoError(t, err)
	stopLater(t, temporal.Service)
	c, err := temporal.Dial(t.Context(), "default")
	require.NoError(t, err)
	defer c.Close()
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "kept", TaskQueue: "none"}, "Nothing")
	require.NoError(t, err)

	require.NoError(t, temporal.Kill())
	require.Zero(t, temporal.PID())
	require.NoError(t, temporal.Restart(t.Context()))
	_, err = c.DescribeWorkflowExecution(t.Context(), "kept", "")
	require.NoError(t, err)
	require.NoError(t, probeHTTP(temporal.UIURL())(t.Context()))
}
