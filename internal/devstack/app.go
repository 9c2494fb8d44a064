package devstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/api/enums/v1"
)

// App is one of coursepay's own processes.
type App struct{ *Service }

// AppSpec says how one of coursepay's own processes runs.
type AppSpec struct {
	Name   string   // also of its pid file and log
	Binary string   // coursepay
	Args   []string // the command, such as "api"
	Env    map[string]string
	// Port is checked before the start, 0 for none.
	Port int
	// Ready asks the running process, whose pid is given, whether it can do its work.
	Ready func(ctx context.Context, pid int) error
}

// StartApp starts a process of ours in dir (which it may share with other services) and returns when it is ready.
func StartApp(ctx context.Context, dir string, spec AppSpec) (*App, error) {
	layout, err := newLayout(dir)
	if err != nil {
		return nil, err
	}
	layout.leashed = true
	app, err := newApp(layout, spec)
	if err != nil {
		return nil, err
	}
	return app, app.Start(ctx)
}

// ReadyURL is a readiness check: GET url answers 200.
func ReadyURL(url string) func(context.Context, int) error {
	probe := probeHTTP(url)
	return func(ctx context.Context, _ int) error { return probe(ctx) }
}

func newApp(l layout, spec AppSpec) (*App, error) {
	hash, err := fileDigest(spec.Binary)
	if err != nil {
		return nil, err
	}
	env := environ(spec.Env)
	p := &process{
		name: spec.Name, layout: l, stopSignal: syscall.SIGTERM,
		settings: fmt.Sprint(hash, spec.Args, env), // a rebuilt binary is another setting
		launch: func(context.Context) (launch, error) {
			return launch{command: append([]string{spec.Binary}, spec.Args...), env: append(inherited(), env...)}, nil
		},
	}
	return &App{&Service{
		name: spec.Name, server: p, limit: time.Minute,
		probe: func(ctx context.Context) error { return spec.Ready(ctx, p.pid()) },
		prepare: func(context.Context) error {
			if spec.Port == 0 {
				return nil
			}
			return checkPort(spec.Name, spec.Port)
		},
	}}, nil
}

// inherited is what every process of ours takes over from the caller's shell.
func inherited() (env []string) {
	for _, name := range []string{"PATH", "HOME", "TZ", "LANG", "GOCOVERDIR", "GORACE"} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// environ lists variables in order.
func environ(variables map[string]string) []string {
	list := make([]string, 0, len(variables))
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		list = append(list, name+"="+variables[name])
	}
	return list
}

func fileDigest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// runOnce runs a command of coursepay to its end.
func runOnce(ctx context.Context, binary string, env map[string]string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, binary, arguments...)
	cmd.Env = append(inherited(), environ(env)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("coursepay %s: %w\n%s", strings.Join(arguments, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// workerReady asks Temporal whether the worker with this pid takes tasks: the SDK calls a worker "<pid>@<host>@".
func workerReady(temporal *Temporal, namespace string) func(context.Context, int) error {
	const taskQueue = "coursepay"
	return func(ctx context.Context, pid int) error {
		c, err := temporal.Dial(ctx, namespace)
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err := c.DescribeTaskQueue(ctx, taskQueue, enums.TASK_QUEUE_TYPE_WORKFLOW)
		if err != nil {
			return err
		}
		for _, poller := range answer.GetPollers() {
			if strings.HasPrefix(poller.GetIdentity(), fmt.Sprintf("%d@", pid)) {
				return nil
			}
		}
		return errors.New("it does not poll the task queue " + taskQueue + " yet")
	}
}
