package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// tools are the programs that the services are started from. An empty one runs as a container.
type tools struct {
	postgresBin string // folder with initdb and postgres
	rabbitBin   string // folder with rabbitmq-server
	temporal    string // the program: the development server
	// The plain server's programs, for EnginePostgres.
	temporalServer, temporalSQL string
}

// packages are Debian's names for what we look for.
var packages = map[string]string{"postgres": "postgresql", "rabbitmq": "rabbitmq-server"}

// ensureTools finds the programs of the services in need, or gets them: Postgres and RabbitMQ are installed ones, else
// a Docker engine's, else installed now; Temporal is one on the PATH, else built from the pinned module.
func (b *builder) ensureTools(ctx context.Context, need ...string) error {
	need = slices.DeleteFunc(need, func(service string) bool { return b.given[givenVariables[service]] != "" })
	group, ctx := errgroup.WithContext(ctx)
	if slices.Contains(need, "temporal") {
		group.Go(func() error { return b.ensureEngine(ctx) })
	}
	group.Go(func() error { return b.ensurePackages(ctx, need) })
	return group.Wait()
}

func (b *builder) ensureEngine(ctx context.Context) (err error) {
	if b.engine != EnginePostgres {
		b.tools.temporal, err = b.ensureTemporal(ctx)
		return err
	}
	if b.tools.temporalServer, err = b.ensureTool(ctx, TemporalServer); err != nil {
		return err
	}
	b.tools.temporalSQL, err = b.ensureTool(ctx, TemporalSQLTool)
	return err
}

func (b *builder) ensurePackages(ctx context.Context, need []string) error {
	missing := b.findPackages(need)
	if len(missing) == 0 || dockerAnswers(ctx) {
		return nil
	}
	if err := b.install(ctx, missing); err != nil {
		return err
	}
	if missing = b.findPackages(need); len(missing) > 0 {
		return fmt.Errorf("%s: installed, but its programs are not found", strings.Join(missing, ", "))
	}
	return nil
}

// ensureCompiler installs a C compiler where there is none: Go's race detector, which the tests run with, needs one.
func (b *builder) ensureCompiler(ctx context.Context) error {
	for _, compiler := range []string{os.Getenv("CC"), "gcc", "clang", "cc"} {
		if _, err := exec.LookPath(compiler); err == nil {
			return nil
		}
	}
	return b.install(ctx, []string{"gcc", "libc6-dev"})
}

// testPrograms are what the tests run beside our own: program and Debian package. Node.js and npm for Alipay's own client
// (see internal/crosscheck; Debian 12's version 18 is new enough) and axe-core, curl and psql for the commands of
// docs/operations.md, chromium for the pages (see internal/browser).
var testPrograms = [][2]string{
	{"node", "nodejs"}, {"npm", "npm"}, {"curl", "curl"}, {"psql", "postgresql-client"}, {"chromium", "chromium"},
}

// ensureTestPrograms installs those of the testPrograms that are missing.
func (b *builder) ensureTestPrograms(ctx context.Context) error {
	var missing []string
	for _, program := range testPrograms {
		if _, err := exec.LookPath(program[0]); err != nil {
			missing = append(missing, program[1])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return b.install(ctx, append(missing, "ca-certificates")) // npm speaks TLS, and a bare image trusts nobody
}

// findPackages looks for installed programs and names the packages of those that are missing.
func (b *builder) findPackages(need []string) (missing []string) {
	b.tools.postgresBin, b.tools.rabbitBin = findPostgres(), findRabbitMQ()
	if slices.Contains(need, "postgres") && b.tools.postgresBin == "" {
		missing = append(missing, packages["postgres"])
	}
	if slices.Contains(need, "rabbitmq") && b.tools.rabbitBin == "" {
		missing = append(missing, packages["rabbitmq"])
	}
	return missing
}

// findPostgres prefers the newest of Debian's versions, which are not on the PATH.
func findPostgres() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b string) int { return len(a) - len(b) + strings.Compare(a, b) })
		return filepath.Dir(found[len(found)-1])
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(initdb)
	}
	return ""
}

// findRabbitMQ avoids Debian's wrapper in /usr/sbin, which changes user and folder.
func findRabbitMQ() string {
	const debian = "/usr/lib/rabbitmq/bin"
	if _, err := os.Stat(filepath.Join(debian, "rabbitmq-server")); err == nil {
		return debian
	}
	script, err := exec.LookPath("rabbitmq-server")
	if err != nil {
		return ""
	}
	if target, err := filepath.EvalSymlinks(script); err == nil {
		script = target
	}
	return filepath.Dir(script)
}

func dockerAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := docker(ctx, "info")
	return err == nil
}

// installScript keeps the packages from starting servers of their own: nothing on this machine but our stack is to
// change. A policy that the administrator has made is left alone.
const installScript = `
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
`

func (b *builder) install(ctx context.Context, missing []string) error {
	what := strings.Join(missing, " and ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s must be installed by hand, since there is no apt-get here; or start Docker; "+
			"or, for servers, set DATABASE_URL and AMQP_URL to ones that run already", what)
	}
	command := append([]string{"sh", "-c", installScript, "install"}, missing...)
	if os.Geteuid() != 0 {
		if _, err := exec.LookPath("sudo"); err != nil {
			return fmt.Errorf("%s must be installed by root (apt-get install %s), since there is no sudo here; "+
				"or set DATABASE_URL and AMQP_URL to servers that run already", what, strings.Join(missing, " "))
		}
		command = append([]string{"sudo"}, command...)
	}
	return b.progress.during(ctx, "installing "+what+" with apt-get", func(ctx context.Context) error {
		return b.logged(ctx, "install", exec.CommandContext(ctx, command[0], command[1:]...))
	})
}

// logged runs a command with its output in a log, and shows the end of that when it fails.
func (b *builder) logged(_ context.Context, name string, cmd *exec.Cmd) error {
	logFile, err := openLog(b.layout.log(name))
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, logFile, logFile
	if err := errors.Join(cmd.Run(), logFile.Close()); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:1], " "), err, tail(b.layout.log(name), 15))
	}
	return nil
}
