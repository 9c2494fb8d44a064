package devstack

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.yaml.in/yaml/v3"

	compose "coursepay/deploy/compose/temporal"
)

func TestTheEngineIsTunedAsShipped(t *testing.T) {
	t.Parallel()
	shipped, err := Options{}.engineSettings()
	require.NoError(t, err)
	require.NotEmpty(t, shipped.dynamic)
	require.NotEmpty(t, shipped.env)
	stock, err := Options{EngineSettings: map[string]string{}}.engineSettings()
	require.NoError(t, err)
	require.Empty(t, stock.dynamic)
	require.Empty(t, stock.env)
}

func TestEngineSettingsReachBothServers(t *testing.T) {
	t.Parallel()
	tuned, err := newEngineSettings(map[string]string{
		"GOGC": "400", "NUM_HISTORY_SHARDS": "8", "a.number": "1", "a.switch": "true", "a.duration": "5s", "a.list": `["x y", 2]`,
	})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"GOGC": "400", "NUM_HISTORY_SHARDS": "8"}, tuned.env)
	require.Equal(t, []string{"GOGC=400"}, tuned.runtimeEnv())

	flags, err := tuned.flags()
	require.NoError(t, err)
	require.Equal(t, []string{
		"--dynamic-config-value", `a.duration="5s"`, "--dynamic-config-value", `a.list=["x y",2]`,
		"--dynamic-config-value", `a.number=1`, "--dynamic-config-value", `a.switch=true`,
	}, flags)

	text, err := tuned.file()
	require.NoError(t, err)
	var file map[string][]struct{ Value any }
	require.NoError(t, yaml.Unmarshal(text, &file))
	require.Len(t, file, 4)
	require.Equal(t, []struct{ Value any }{{true}}, file["a.switch"])

	_, err = newEngineSettings(map[string]string{"a.list": "["})
	require.ErrorContains(t, err, "a.list")
}

func TestAnEngineIsRefusedThatCannotBe(t *testing.T) {
	t.Parallel()
	for fault, options := range map[string]Options{
		`no engine "cassandra"`: {Engine: "cassandra"},
		"unset DATABASE_URL":    {Engine: EnginePostgres, Env: map[string]string{"DATABASE_URL": "postgres://127.0.0.1:1/x"}},
	} {
		b := &builder{given: options.Env}
		postgres := &Postgres{Service: givenService("postgres", nil)}
		_, err := b.chooseTemporal(options, postgres)
		require.ErrorContains(t, err, fault)
	}
}

// What a stack was started with is what it is restarted with: an engine without settings is not one with those shipped.
func TestTheEngineIsRemembered(t *testing.T) {
	t.Parallel()
	l := testLayout(t)
	for _, settings := range []map[string]string{nil, {}, {"GOGC": "400"}} {
		require.NoError(t, Options{Engine: EnginePostgres, EngineSettings: settings}.save(l))
		kept, err := loadOptions(l)
		require.NoError(t, err)
		require.Equal(t, EnginePostgres, kept.Engine)
		require.Equal(t, settings, kept.EngineSettings)
	}
}

func TestPlainServerSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	builtTool(t, TemporalServer)
	builtTool(t, TemporalSQLTool)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	t.Cleanup(func() { require.NoError(t, Down(context.WithoutCancel(ctx), dir)) })
	stack, err := Up(ctx, Options{Dir: dir, ServicesOnly: true, Leashed: true, Engine: EnginePostgres})
	require.NoError(t, err)
	c, err := stack.Temporal.Dial(ctx, "default")
	require.NoError(t, err)
	defer c.Close()
	_, err = c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "kept", TaskQueue: "none"}, "Nothing")
	require.NoError(t, err)

	require.NoError(t, stack.Temporal.Kill())
	opened, err := Open(ctx, dir)
	require.NoError(t, err)
	require.NoError(t, opened.Temporal.Restart(ctx))
	_, err = c.DescribeWorkflowExecution(ctx, "kept", "")
	require.NoError(t, err)
	tables(t, stack.Postgres, "temporal_visibility", "executions_visibility")
}

// tables requires that a database of this server has that table.
func tables(t *testing.T, postgres *Postgres, database, table string) {
	t.Helper()
	address, err := url.Parse(postgres.URL())
	require.NoError(t, err)
	address.Path = database
	execute(t, &Postgres{url: address.String()}, "SELECT count(*) FROM "+table)
}

// The pinned server only warns of a name that it does not know, and goes on without.
func TestShippedSettingsAreKnownToTheServer(t *testing.T) {
	t.Parallel()
	server := builtTool(t, TemporalServer)
	validate := func(config []byte) string {
		file := filepath.Join(t.TempDir(), "dynamicconfig.yaml")
		require.NoError(t, os.WriteFile(file, config, 0o600))
		out, err := exec.CommandContext(t.Context(), server, "validate-dynamic-config", file).CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(strings.TrimPrefix(string(out), file))
	}
	require.Empty(t, validate(compose.DynamicConfig))
	require.Contains(t, validate([]byte("matching.unheardof:\n  - value: 1\n")), "matching.unheardof")
	shipped, err := Options{}.engineSettings()
	require.NoError(t, err)
	generated, err := shipped.file()
	require.NoError(t, err)
	require.Empty(t, validate(generated))
}

func builtTool(t *testing.T, tool Tool) string {
	t.Helper()
	root, err := ModuleRoot()
	require.NoError(t, err)
	binary := filepath.Join(root, ".coursepay", "bin", tool.Name+"-"+tool.Version)
	if !isProgram(binary) {
		t.Skipf("building it takes minutes: `coursepay stack tool %s` does it", tool.Name)
	}
	return binary
}
