package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/joho/godotenv"
	"github.com/stretchr/testify/require"

	"coursepay/internal/buyer"
	"coursepay/internal/devstack"
	"coursepay/internal/devstack/devtest"
	"coursepay/models"
	"coursepay/workflows"
)

// manual is docs/operations.md: its commands, by heading.
type manual struct {
	headings []string // of the sections with commands
	commands map[string][]string
}

func readManual(t *testing.T) manual {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	m := manual{commands: map[string][]string{}}
	heading, inBlock := "", false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "## ") && !inBlock:
			heading = strings.TrimPrefix(line, "## ")
		case strings.HasPrefix(line, "```"):
			require.Contains(t, []string{"```sh", "```"}, line, "an operator's block is a sh block, so that it is tried")
			inBlock = !inBlock
		case inBlock && line != "":
			if len(m.commands[heading]) == 0 {
				m.headings = append(m.headings, heading)
			}
			m.commands[heading] = append(m.commands[heading], line)
		}
	}
	return m
}

const preparation = "Before you start"

// desk is where an operator sits: a checkout in which a stack runs, and one section of the manual.
type desk struct {
	t         *testing.T
	dir       string
	prepare   []string
	prepared  bool
	commands  []string
	tried     map[string]bool
	variables map[string]string
}

// sit opens a section of the manual. checkout is a folder with .coursepay/env in it. At the end of the test, every command
// of the section has been run.
func sit(t *testing.T, heading, checkout string) *desk {
	t.Helper()
	d := newDesk(t, checkout)
	d.commands = readManual(t).commands[heading]
	require.NotEmpty(t, d.commands, "no such section with commands: %s", heading)
	t.Cleanup(func() {
		for _, command := range d.commands {
			if !t.Failed() && !d.tried[command] {
				t.Errorf("no test runs this command of %q: %s", heading, command)
			}
		}
	})
	return d
}

func newDesk(t *testing.T, checkout string) *desk {
	t.Helper()
	return &desk{
		t: t, dir: checkout, prepare: readManual(t).commands[preparation], tried: map[string]bool{}, variables: map[string]string{},
	}
}

// furnish makes a folder look like a checkout: what the preparation needs is there.
func furnish(t *testing.T, dir string) {
	t.Helper()
	root, err := devstack.ModuleRoot()
	require.NoError(t, err)
	for _, tool := range []devstack.Tool{devstack.TemporalCLI, devstack.Tctl} {
		_, err := devstack.EnsureTool(t.Context(), tool, t.Output())
		require.NoError(t, err)
	}
	for _, folder := range []string{"bin", ".coursepay"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, folder), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module coursepay\n"), 0o600))
	require.NoError(t, os.Symlink(devtest.Binary(t), filepath.Join(dir, "bin", "coursepay")))
	require.NoError(t, os.Symlink(filepath.Join(root, ".coursepay", "bin"), filepath.Join(dir, ".coursepay", "bin")))
}

// checkout is a folder in which this shop looks like a stack that runs.
func (s *shop) checkout() string {
	s.t.Helper()
	dir := s.t.TempDir()
	furnish(s.t, dir)
	var env strings.Builder
	for name, value := range map[string]string{
		"DATABASE_URL": s.databaseURL(), "AMQP_URL": s.amqp, "TEMPORAL_ADDRESS": s.engineAddress(), "TEMPORAL_NAMESPACE": s.namespace,
		"API_URL": s.api, "PUBLIC_URL": s.api, "JWT_SECRET": jwtSecret, "APP_ENV": "development",
		"ALIPAY_GATEWAY": s.sandbox + "/gateway.do", "ALIPAY_APP_ID": appID, "ALIPAY_SELLER_ID": sellerID,
		"ALIPAY_PRIVATE_KEY_FILE": filepath.Join(s.keys, "app-private.pem"),
		"ALIPAY_PUBLIC_KEY_FILE":  filepath.Join(s.keys, "alipay-public.pem"),
	} {
		env.WriteString(name + "=" + value + "\n")
	}
	require.NoError(s.t, os.WriteFile(filepath.Join(dir, ".coursepay", "env"), []byte(env.String()), 0o600))
	return dir
}

// engineAddress is where the tests' Temporal server listens.
func (s *shop) engineAddress() string {
	s.t.Helper()
	dir, err := devstack.SharedDir()
	require.NoError(s.t, err)
	env, err := godotenv.Read(filepath.Join(dir, "env"))
	require.NoError(s.t, err)
	return env["TEMPORAL_ADDRESS"]
}

func (s *shop) databaseURL() string {
	connection, err := s.db.Conn(s.t.Context())
	require.NoError(s.t, err)
	defer func() { _ = connection.Close() }()
	var url string
	require.NoError(s.t, connection.Raw(func(driver any) error {
		url = driver.(*stdlib.Conn).Conn().Config().ConnString()
		return nil
	}))
	return url
}

// checkout is the folder of this stack, as the operator who started it sees it.
func (m *mall) checkout() string {
	m.t.Helper()
	dir := m.t.TempDir()
	furnish(m.t, dir)
	own := filepath.Join(dir, ".coursepay")
	require.NoError(m.t, os.Rename(filepath.Join(own, "bin"), filepath.Join(filepath.Dir(m.stack.EnvFile()), "bin")))
	require.NoError(m.t, os.Remove(own))
	require.NoError(m.t, os.Symlink(filepath.Dir(m.stack.EnvFile()), own))
	return dir
}

// with sets variables, as name and value in turn.
func (d *desk) with(pairs ...string) *desk {
	for pair := range slices.Chunk(pairs, 2) {
		d.variables[pair[0]] = pair[1]
	}
	return d
}

// run types the one command of the section that has all these parts in it, and returns what it printed.
func (d *desk) run(parts ...string) string {
	d.t.Helper()
	out, err := d.attempt(parts...)
	require.NoError(d.t, err, "%v: %s", parts, out)
	return out
}

// fails is run for a command that says by its exit code that something is wrong.
func (d *desk) fails(parts ...string) string {
	d.t.Helper()
	out, err := d.attempt(parts...)
	require.Error(d.t, err, out)
	return out
}

// unlessOver is run for a command that hurries on what may have happened by itself meanwhile.
func (d *desk) unlessOver(parts ...string) {
	d.t.Helper()
	if out, err := d.attempt(parts...); err != nil {
		require.Regexp(d.t, `(?i)not found|already completed`, out)
	}
}

func (d *desk) attempt(parts ...string) (string, error) {
	d.t.Helper()
	command := d.find(parts)
	d.tried[command] = true
	return d.shell(command)
}

// find takes the shortest of the commands that have all the parts, since one may be the beginning of another.
func (d *desk) find(parts []string) string {
	d.t.Helper()
	var found []string
	for _, command := range d.commands {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(command, part) }) {
			found = append(found, command)
		}
	}
	require.NotEmpty(d.t, found, "no command of this section has %q in it", parts)
	return slices.MinFunc(found, func(a, b string) int { return len(a) - len(b) })
}

// shell runs one command line as an operator would who has prepared.
func (d *desk) shell(command string) (string, error) {
	d.t.Helper()
	if !d.prepared { // once; what it leaves in the environment is kept
		out, err := d.bash(strings.Join(append(slices.Clone(d.prepare), "export -p > prepared"), "\n"))
		require.NoError(d.t, err, out)
		d.prepared = true
	}
	for _, program := range []string{"curl", "psql"} {
		if _, err := exec.LookPath(program); err != nil && strings.HasPrefix(command, program+" ") {
			d.t.Skipf("%s is not installed", program)
		}
	}
	var variables strings.Builder
	for name, value := range d.variables {
		variables.WriteString(name + "='" + value + "'\n")
	}
	return d.bash(". ./prepared\n" + variables.String() + command)
}

func (d *desk) bash(script string) (string, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = d.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "USER=operator-1"}
	var told, warned strings.Builder
	cmd.Stdout, cmd.Stderr = &told, &warned
	if err := cmd.Run(); err != nil {
		return told.String() + warned.String(), fmt.Errorf("%s: %w", script, err)
	}
	return told.String(), nil
}

// until runs the command again and again until what it prints has this in it: the list follows the workflows with a delay.
func (d *desk) until(want string, parts ...string) string {
	d.t.Helper()
	var out string
	var err error
	require.True(d.t, waitFor(func() bool {
		out, err = d.attempt(parts...)
		return err == nil && strings.Contains(out, want)
	}), "%v: %q not in %s (%v)", parts, want, out, err)
	return out
}

// bothTools does something by temporal, and then something else by tctl.
func bothTools(do func(tool string)) {
	for _, tool := range []string{"temporal ", "tctl "} {
		do(tool)
	}
}

// about sets the variables by which the manual names an order.
func (d *desk) about(choice buyer.Choice, record buyer.PayRecord) *desk {
	return d.with("ORDER_ID", record.OrderID, "PAY_NO", record.PayNo,
		"ORDER_WORKFLOW", workflows.PayOrderID(models.OrderCourse, choice.ID))
}
