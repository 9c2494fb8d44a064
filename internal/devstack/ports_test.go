package devstack

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// takePort listens on a free port for as long as the test runs.
func takePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().(*net.TCPAddr).Port
}

func TestATakenPortIsToldWithWhatToDo(t *testing.T) {
	t.Parallel()
	port := takePort(t)
	for service, variable := range map[string]string{
		"postgres": "COURSEPAY_POSTGRES_PORT", "rabbitmq": "COURSEPAY_AMQP_PORT", "temporal": "COURSEPAY_TEMPORAL_PORT",
		"temporal Web UI": "COURSEPAY_TEMPORAL_UI_PORT", "api": "COURSEPAY_API_PORT", "sandbox": "COURSEPAY_SANDBOX_PORT",
	} {
		err := checkPort(service, port)
		require.ErrorContains(t, err, variable)
		require.ErrorContains(t, err, service)
	}
	_, err := StartPostgres(t.Context(), t.TempDir(), port)
	require.ErrorAs(t, err, new(*PortTakenError))
	_, err = StartRabbitMQ(t.Context(), t.TempDir(), port)
	require.ErrorAs(t, err, new(*PortTakenError))
	_, err = StartTemporal(t.Context(), t.TempDir(), port, 0)
	require.ErrorAs(t, err, new(*PortTakenError))
}

func TestOptionsFromEnvironment(t *testing.T) {
	t.Setenv("COURSEPAY_API_PORT", "18080")
	t.Setenv("ORDER_EXPIRY", "20s")
	t.Setenv("DATABASE_URL", "postgres://elsewhere/db")
	options, err := OptionsFromEnvironment("x")
	require.NoError(t, err)
	require.Equal(t, 18080, options.Ports.API)
	require.Equal(t, 54329, options.Ports.Postgres)
	require.Equal(t, "20s", options.Env["ORDER_EXPIRY"])
	require.Equal(t, "postgres://elsewhere/db", options.Env["DATABASE_URL"])

	t.Setenv("COURSEPAY_API_PORT", "eighty")
	t.Setenv("COURSEPAY_AMQP_PORT", "70000")
	_, err = OptionsFromEnvironment("x")
	require.ErrorContains(t, err, "COURSEPAY_API_PORT")
	require.ErrorContains(t, err, "COURSEPAY_AMQP_PORT", "all faults at once")
}

func TestFreePortsAreRememberedUnlessAStrangerHasTakenThem(t *testing.T) {
	t.Parallel()
	layout := testLayout(t)
	remembered := false
	for range 20 { // another test may take a free port before we ask for it
		free, err := freePort()
		require.NoError(t, err)
		again, err := portAsBefore(layout, "postgres", free)
		require.NoError(t, err)
		if remembered = again == free; remembered {
			break
		}
	}
	require.True(t, remembered)
	taken := takePort(t)
	other, err := portAsBefore(layout, "postgres", taken)
	require.NoError(t, err)
	require.NotEqual(t, taken, other)
}

func TestTheToolsAreThosePinned(t *testing.T) {
	t.Parallel()
	root, err := ModuleRoot()
	require.NoError(t, err)
	for _, tool := range []Tool{TemporalCLI, TemporalServer, TemporalSQLTool, Tctl, GolangciLint, WorkflowCheck} {
		text, err := os.ReadFile(filepath.Join(root, "deploy", "tools", tool.Module, "go.mod"))
		require.NoError(t, err)
		module, _, _ := strings.Cut(tool.Package, "/cmd/")
		require.Contains(t, string(text), "\t"+module+" v"+tool.Version)
	}
}

func TestSuitableServer(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)": true,
		"temporal version 1.6.0 (Server 1.30.0, UI 2.45.0)": true,
		"temporal version 1.1.2 (Server 1.25.2, UI 2.31.2)": false,
		"temporal version 9 (Server 2.0.0)":                 false,
		"nothing of the kind":                               false,
	} {
		require.Equal(t, want, suitableServer(version), version)
	}
}
