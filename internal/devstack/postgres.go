package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgresUser     = "coursepay"
	postgresDatabase = "coursepay"
)

// Postgres is a private Postgres server, listening on the loopback interface only.
type Postgres struct {
	*Service
	url string
}

// URL is what DATABASE_URL has to be; the database in it exists.
func (p *Postgres) URL() string { return p.url }

// StartPostgres starts a Postgres in dir (which it may share with other services) and returns when it answers. Port 0
// takes a free one.
func StartPostgres(ctx context.Context, dir string, port int) (*Postgres, error) {
	builder, err := newBuilder(ctx, dir, io.Discard, "postgres")
	if err != nil {
		return nil, err
	}
	if port, err = orFree(port); err != nil {
		return nil, err
	}
	postgres, err := builder.postgres(port)
	if err != nil {
		return nil, err
	}
	return postgres, postgres.Start(ctx)
}

func (b *builder) postgres(port int) (*Postgres, error) {
	if given := b.given["DATABASE_URL"]; given != "" {
		return &Postgres{Service: givenService("postgres", probePostgres(given)), url: given}, nil
	}
	password, err := keptSecret(b.layout.path("keys", "postgres-password"))
	if err != nil {
		return nil, err
	}
	address := (&url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresUser, password), Host: loopback(port), Path: postgresDatabase,
		RawQuery: "sslmode=disable",
	}).String()
	admin := strings.Replace(address, "/"+postgresDatabase+"?", "/postgres?", 1)
	service := &Service{
		name: "postgres", limit: time.Minute, probe: probePostgres(admin),
		settle: func(ctx context.Context) error { return createDatabase(ctx, admin, postgresDatabase) },
	}
	if b.tools.postgresBin == "" {
		service.server = b.container(container{
			service: "postgres", image: "postgres:16-alpine", port: port, inner: 5432, volume: "/var/lib/postgresql/data",
			env:     []string{"POSTGRES_USER=" + postgresUser, "POSTGRES_PASSWORD=" + password},
			command: append([]string{"postgres"}, countStatements...),
		})
		service.prepare = func(context.Context) error { return checkPort("postgres", port) }
		return &Postgres{Service: service, url: address}, nil
	}
	cluster := postgresCluster{bin: b.tools.postgresBin, layout: b.layout, port: port, password: password}
	service.server = &process{
		name: "postgres", layout: b.layout, stopSignal: syscall.SIGINT, // a fast shutdown: it does not wait for clients
		settings: fmt.Sprint(cluster.bin, port), launch: cluster.launch,
	}
	service.prepare = cluster.prepare
	return &Postgres{Service: service, url: address}, nil
}

// postgresCluster is a data folder with a Postgres of an installed version.
type postgresCluster struct {
	bin      string
	layout   layout
	port     int
	password string
}

func (c postgresCluster) data() string { return c.layout.path("postgres", "data") }

func (c postgresCluster) launch(context.Context) (launch, error) {
	user, err := unprivileged(c.layout.path("postgres"))
	if err != nil {
		return launch{}, err
	}
	command := []string{
		filepath.Join(c.bin, "postgres"), "-D", c.data(), "-p", fmt.Sprint(c.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
		"-c", "timezone=UTC", "-c", "log_timezone=UTC",
	}
	if c.countsStatements() {
		command = append(command, countStatements...)
	}
	return launch{
		command: command,
		// Not started in the data folder: a capability helps only the program that is run, not the step into the folder.
		env: []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, dir: "/", account: user,
	}, nil
}

// countStatements has Postgres count what it runs, for who wants to know what a purchase costs.
var countStatements = []string{"-c", "shared_preload_libraries=pg_stat_statements"}

// countsStatements says whether this Postgres can: the library is in a package of its own on some systems, and a server
// that does not find it does not start.
func (c postgresCluster) countsStatements() bool {
	for _, folder := range []string{"lib", "lib/postgresql", "lib64"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(c.bin), folder, "pg_stat_statements.so")); err == nil {
			return true
		}
	}
	return false
}

// prepare makes the data folder. It comes into being under its name only when initdb has finished: what an earlier
// try left half-made is thrown away.
func (c postgresCluster) prepare(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.data(), "PG_VERSION")); err == nil {
		return errors.Join(c.settleLeftovers(ctx), checkPort("postgres", c.port))
	}
	if err := checkPort("postgres", c.port); err != nil {
		return err
	}
	home := c.layout.path("postgres")
	if err := os.RemoveAll(home); err != nil {
		return fmt.Errorf("remove a half-made Postgres data folder: %w", err)
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	half := c.layout.path("postgres", "data.half")
	if err := c.initdb(ctx, home, half); err != nil {
		return err
	}
	return os.Rename(half, c.data())
}

// settleLeftovers ends what still works on these data although our own pid file knows nothing of it: a whole server whose
// pid file has been lost, or the children of one that was killed, which may be busy for long and keep the next from
// starting. The pid in Postgres' own file may by now be a stranger's, which would keep it from starting too: the file goes.
func (c postgresCluster) settleLeftovers(ctx context.Context) error {
	path := filepath.Join(c.data(), "postmaster.pid")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	family := processesIn(c.data())
	for _, member := range family {
		if strconv.Itoa(member.pid) == line {
			return errors.Join(member.signal(syscall.SIGINT), awaitGone(ctx, family...))
		}
	}
	for _, orphan := range family {
		err = errors.Join(err, orphan.signal(syscall.SIGKILL))
	}
	return errors.Join(err, awaitGone(ctx, family...), removeFile(path))
}

func (c postgresCluster) initdb(ctx context.Context, home, data string) error {
	user, err := unprivileged(home)
	if err != nil {
		return err
	}
	passwordFile := filepath.Join(home, "password")
	if err := os.WriteFile(passwordFile, []byte(c.password), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(passwordFile) }()
	if err := errors.Join(user.own(home), user.own(passwordFile)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "initdb"), "-D", data, "-U", postgresUser, "-E", "UTF8",
		"--locale=C", "--auth=scram-sha-256", "--pwfile="+passwordFile)
	cmd.Env, cmd.Dir = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, "/"
	cmd.SysProcAttr = user.attributes()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func probePostgres(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		return withPostgres(ctx, address, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "SELECT 1")
			return err
		})
	}
}

func withPostgres(ctx context.Context, address string, use func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	return errors.Join(use(conn), conn.Close(ctx))
}

func createDatabase(ctx context.Context, admin, name string) error {
	return withPostgres(ctx, admin, func(conn *pgx.Conn) error {
		var there bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there)
		if err != nil || there {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
		return err
	})
}

// keptSecret is a random secret that is made once and kept in a file.
func keptSecret(path string) (string, error) {
	kept, err := os.ReadFile(path)
	if err == nil && len(kept) > 0 {
		return string(kept), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret := rand.Text() + rand.Text()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	return secret, writeFile(path, []byte(secret), 0o600)
}
