// Package devtest gives tests real services. The first test that asks starts a Postgres, a RabbitMQ and a Temporal
// server in .coursepay/test of the checkout, on free ports; all tests of all packages share them, and each test gets a
// database, a virtual host and a namespace of its own, so that tests may run in parallel. They stay up for the next run
// until "coursepay down --test" (make down). DATABASE_URL, AMQP_URL and TEMPORAL_ADDRESS are used instead when set.
//
// A test that breaks services starts a private Stack, or one service with devstack.StartPostgres and its like.
package devtest

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"coursepay/internal/devstack"
)

// shared is looked up once in each test process.
var shared = sync.OnceValues(func() (*devstack.Stack, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	return devstack.UpShared(ctx, os.Stderr)
})

func services(t testing.TB) *devstack.Stack {
	t.Helper()
	stack, err := shared()
	if err != nil {
		t.Fatalf("start the services for tests: %v", err)
	}
	return stack
}

// Stack starts a whole private stack (services, sandbox, worker, api) on free ports in a folder of its own, with
// variables that differ from the usual ones, such as {"ORDER_EXPIRY": "10s"}. The test may kill and restart each part;
// everything is stopped when the test ends. It takes about ten seconds.
func Stack(t testing.TB, env map[string]string) *devstack.Stack {
	t.Helper()
	return start(t, devstack.Options{Binary: Binary(t), Env: env})
}

// Services starts private services only: Postgres, RabbitMQ and Temporal, to be broken by the test.
func Services(t testing.TB) *devstack.Stack {
	t.Helper()
	return start(t, devstack.Options{ServicesOnly: true})
}

func start(t testing.TB, options devstack.Options) *devstack.Stack {
	t.Helper()
	options.Dir, options.Progress, options.Leashed = t.TempDir(), t.Output(), true
	t.Cleanup(func() {
		ctx, cancel := cleanupContext(t)
		defer cancel()
		if err := devstack.Down(ctx, options.Dir); err != nil {
			t.Errorf("stop the stack: %v", err)
		}
	})
	stack, err := devstack.Up(t.Context(), options)
	if err != nil {
		t.Fatalf("start a stack: %v", err)
	}
	return stack
}

// cleanupContext outlives the test's own context, which has ended when cleanups run.
func cleanupContext(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
}

// Binary builds coursepay from the checkout and returns its path. Several packages may ask at once. When
// COURSEPAY_BINARY names a program, that is taken.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatalf("build coursepay: %v", err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("COURSEPAY_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	root, err := devstack.ModuleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".coursepay", "test", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, ".lock"))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	path := filepath.Join(dir, "coursepay")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-C", root, "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &buildError{out: string(out), err: err}
	}
	return path, nil
})

type buildError struct {
	out string
	err error
}

func (e *buildError) Error() string { return cmp.Or(e.out, e.err.Error()) }
func (e *buildError) Unwrap() error { return e.err }
