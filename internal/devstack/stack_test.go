package devstack

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/joho/godotenv"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func upServices(t *testing.T, dir string) *Stack {
	t.Helper()
	stack, err := Up(t.Context(), Options{Dir: dir, ServicesOnly: true, Leashed: true})
	assert.NoError(t, err) // also called outside the test's own goroutine
	return stack
}

func pids(stack *Stack) map[string]int {
	found := map[string]int{}
	if stack == nil {
		return found
	}
	for _, service := range stack.Services() {
		found[service.Name()] = service.PID()
	}
	return found
}

func TestUpAndDownAreIdempotent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var found [3]map[string]int
	var all sync.WaitGroup
	for i := range found {
		all.Go(func() { found[i] = pids(upServices(t, dir)) })
	}
	all.Wait()
	first := found[0]
	require.Equal(t, first, found[1], "started at once: one stack")
	require.Equal(t, first, found[2])
	require.NotContains(t, slices.Collect(maps.Values(first)), 0)
	stack, err := Open(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, first, pids(stack))

	t.Run("the file env follows", func(t *testing.T) {
		opened, err := Open(t.Context(), dir)
		require.NoError(t, err)
		require.Equal(t, first, pids(opened))
		require.NoError(t, opened.Temporal.Restart(t.Context()))
		env, err := godotenv.Read(opened.EnvFile())
		require.NoError(t, err)
		want, err := stack.Env()
		require.NoError(t, err)
		for name, value := range want {
			require.Equal(t, value, env[name], name)
		}
		require.NotEqual(t, first["temporal"], opened.Temporal.PID())
		info, err := os.Stat(opened.EnvFile())
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode().Perm(), "it has secrets in it")
	})
	t.Run("only the dead is started", func(t *testing.T) {
		require.NoError(t, stack.Postgres.Kill())
		before := pids(stack)
		after := pids(upServices(t, dir))
		require.NotZero(t, after["postgres"])
		require.Equal(t, before["rabbitmq"], after["rabbitmq"])
		require.Equal(t, before["temporal"], after["temporal"])
	})
	for range 2 {
		require.NoError(t, Down(t.Context(), dir))
		require.Equal(t, map[string]int{"postgres": 0, "rabbitmq": 0, "temporal": 0}, pids(stack))
		require.NoFileExists(t, stack.EnvFile())
		left, err := filepath.Glob(filepath.Join(dir, "run", "*.pid"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestGivenServicesAreUsedAndLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	postgres, err := StartPostgres(t.Context(), t.TempDir(), 0)
	require.NoError(t, err)
	stopLater(t, postgres.Service)
	given := map[string]string{
		"DATABASE_URL": postgres.URL(), "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/", "TEMPORAL_ADDRESS": "127.0.0.1:1",
	}
	_, err = Up(t.Context(), Options{Dir: dir, ServicesOnly: true, Env: given})
	require.ErrorContains(t, err, "rabbitmq is not ready")
	require.ErrorContains(t, err, "temporal is not ready")

	stack, err := Open(t.Context(), dir)
	require.NoError(t, err)
	require.True(t, stack.Postgres.Given())
	require.NoError(t, stack.Postgres.Start(t.Context()))
	require.ErrorIs(t, stack.Postgres.Kill(), ErrGiven)
	require.ErrorIs(t, stack.Postgres.Stop(t.Context()), ErrGiven)
	env, err := stack.Env()
	require.NoError(t, err)
	require.Equal(t, postgres.URL(), env["DATABASE_URL"])
	for name := range env {
		require.False(t, strings.HasPrefix(name, "PID_"), name)
	}
	require.NoError(t, Down(t.Context(), dir))
	require.NotZero(t, postgres.PID())
}

func TestAStackThatPhonesReachListensEverywhere(t *testing.T) {
	t.Parallel()
	stack := &Stack{options: Options{Ports: DefaultPorts(), Env: map[string]string{}}}
	require.Equal(t, "127.0.0.1", stack.bindHost())
	require.Equal(t, "http://127.0.0.1:8090", stack.SandboxURL())
	stack.options.Env["PUBLIC_URL"] = "http://192.168.1.5:8080"
	require.Empty(t, stack.bindHost())
	require.Equal(t, "http://192.168.1.5:8090", stack.SandboxURL())
}
