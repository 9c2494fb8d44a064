// Package devstack runs coursepay's private stack: Postgres, RabbitMQ, a Temporal server, and our own processes.
//
// Everything lives in one folder (.coursepay by default): data, logs, pid files, keys, and the file env that tells how
// to reach it all. A system's own Postgres or RabbitMQ is never touched. The processes outlive the command that starts
// them; a later one finds them by their pid files, which name a process beyond doubt (its start time is in them).
//
// Up starts a stack, Open finds one again, Down stops it. A test that wants to break things starts a stack of its own
// with free ports, or just one service with StartPostgres and its like, and may Kill, Stop and Restart each.
package devstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Stack is a running stack, or one that can be started. The parts of ours are nil when only the services were asked for.
type Stack struct {
	Postgres *Postgres
	RabbitMQ *RabbitMQ
	Temporal *Temporal
	Sandbox  *App
	Worker   *App
	API      *App

	layout   layout
	options  Options
	progress *progress
	envMu    sync.Mutex
}

// Up makes sure that the stack runs, and returns when every part is ready. What runs already as it should is left
// alone. A stack that could be started only in part stays so: call Up again, or Down.
func Up(ctx context.Context, options Options) (*Stack, error) {
	layout, err := newLayout(options.Dir)
	if err != nil {
		return nil, err
	}
	unlock, err := lockStack(ctx, layout)
	if err != nil {
		return nil, err
	}
	defer unlock()
	kept, err := loadOptions(layout)
	if err != nil {
		return nil, err
	}
	layout.leashed = options.Leashed
	if options, err = options.complete(layout, kept.Ports); err != nil {
		return nil, err
	}
	stack, err := assemble(ctx, layout, options)
	if err != nil {
		return nil, err
	}
	if err := options.save(layout); err != nil {
		return nil, err
	}
	return stack, stack.start(ctx)
}

// Open finds the stack of a folder again, running or not.
func Open(ctx context.Context, dir string) (*Stack, error) {
	layout, err := newLayout(dir)
	if err != nil {
		return nil, err
	}
	kept, err := loadOptions(layout)
	if err != nil {
		return nil, err
	}
	if kept.Binary == "" {
		return nil, fmt.Errorf("there is no stack in %s: start one with coursepay up", layout.root)
	}
	kept.Dir, kept.Progress = layout.root, io.Discard
	return assemble(ctx, layout, kept)
}

func lockStack(ctx context.Context, l layout) (func(), error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Minute, errors.New("waited for 10 minutes"))
	defer cancel()
	return locked(ctx, l.path("lock"))
}

// assemble makes the parts without starting them.
func assemble(ctx context.Context, l layout, options Options) (*Stack, error) {
	b := &builder{layout: l, given: options.Env, progress: &progress{out: options.Progress}, engine: options.Engine}
	if err := b.ensureTools(ctx, "postgres", "rabbitmq", "temporal"); err != nil {
		return nil, err
	}
	apiPort := 0
	if options.ForTests {
		apiPort = options.Ports.AMQPAPI
	}
	postgres, err := b.postgres(options.Ports.Postgres)
	if err != nil {
		return nil, err
	}
	engine, err := b.chooseTemporal(options, postgres)
	if err != nil {
		return nil, err
	}
	s := &Stack{
		layout: l, options: options, progress: b.progress, Postgres: postgres,
		RabbitMQ: b.rabbitmq(options.Ports.AMQP, apiPort), Temporal: engine,
	}
	if !options.ServicesOnly {
		if err := s.assembleApps(); err != nil {
			return nil, err
		}
	}
	for _, service := range s.Services() {
		service.changed = s.writeEnv
	}
	return s, nil
}

func (b *builder) chooseTemporal(options Options, postgres *Postgres) (*Temporal, error) {
	settings, err := options.engineSettings()
	if err != nil {
		return nil, err
	}
	ports := options.Ports
	switch options.Engine {
	case "", EngineDev:
		return b.temporal(ports.Temporal, ports.TemporalUI, options.ForTests, settings), nil
	case EnginePostgres:
		return b.plainTemporal(ports.Temporal, postgres, settings)
	}
	return nil, fmt.Errorf("there is no engine %q: want %s or %s", options.Engine, EngineDev, EnginePostgres)
}

func (s *Stack) assembleApps() (err error) {
	env, err := s.settings()
	if err != nil {
		return err
	}
	ports := s.options.Ports
	s.Sandbox, err = newApp(s.layout, AppSpec{
		Name: "sandbox", Binary: s.options.Binary, Args: []string{"sandbox"}, Port: ports.Sandbox,
		Env: s.sandboxEnv(env), Ready: ReadyURL("http://" + loopback(ports.Sandbox) + "/healthz"),
	})
	if err != nil {
		return err
	}
	s.Worker, err = newApp(s.layout, AppSpec{
		Name: "worker", Binary: s.options.Binary, Args: []string{"worker"}, Env: s.appEnv("worker", env),
		Ready: workerReady(s.Temporal, env["TEMPORAL_NAMESPACE"]),
	})
	if err != nil {
		return err
	}
	env = maps.Clone(env)
	delete(env, "METRICS_ADDR") // the worker's; the API serves its metrics with everything else
	s.API, err = newApp(s.layout, AppSpec{
		Name: "api", Binary: s.options.Binary, Args: []string{"api"}, Port: ports.API, Env: s.appEnv("api", env),
		Ready: ReadyURL("http://" + loopback(ports.API) + "/readyz"),
	})
	return err
}

// appEnv is the settings as one of our processes gets them.
func (s *Stack) appEnv(name string, env map[string]string) map[string]string {
	env = maps.Clone(env)
	maps.Copy(env, s.options.AppEnv[name])
	return env
}

// Services lists the parts, those first that others need.
func (s *Stack) Services() []*Service {
	services := []*Service{s.Postgres.Service, s.RabbitMQ.Service, s.Temporal.Service}
	for _, app := range []*App{s.Sandbox, s.Worker, s.API} {
		if app != nil {
			services = append(services, app.Service)
		}
	}
	return services
}

// Service finds a part by its name, nil if there is none.
func (s *Stack) Service(name string) *Service {
	for _, service := range s.Services() {
		if service.name == name {
			return service
		}
	}
	return nil
}

func (s *Stack) start(ctx context.Context) error {
	if err := s.checkPorts(ctx); err != nil {
		return err
	}
	if s.options.Engine == EnginePostgres { // the engine begins with its tables there
		if err := s.startOne(ctx, s.Postgres.Service); err != nil {
			return err
		}
	}
	if err := s.startAll(ctx, s.Services()[:3]); err != nil {
		return err
	}
	if s.options.ServicesOnly {
		return nil
	}
	if err := s.furnish(ctx); err != nil {
		return err
	}
	return s.startAll(ctx, s.Services()[3:])
}

// checkPorts complains about our own processes' ports before anything is started. The services complain themselves.
func (s *Stack) checkPorts(ctx context.Context) error {
	var faults []error
	for _, app := range s.Services()[3:] {
		if app.PID() == 0 {
			faults = append(faults, app.prepare(ctx))
		}
	}
	return errors.Join(faults...)
}

// startAll starts services at once and reports every fault, not only the first.
func (s *Stack) startAll(ctx context.Context, services []*Service) error {
	faults := make([]error, len(services))
	var all sync.WaitGroup
	for i, service := range services {
		all.Go(func() { faults[i] = s.startOne(ctx, service) })
	}
	all.Wait()
	return errors.Join(faults...)
}

func (s *Stack) startOne(ctx context.Context, service *Service) error {
	begin, before := time.Now(), service.PID()
	if err := service.Start(ctx); err != nil {
		return err
	}
	switch {
	case service.Given():
		s.progress.printf("✓ %-9s given by %s", service.name, givenVariables[service.name])
	case service.PID() == before:
		s.progress.printf("✓ %-9s runs already", service.name)
	default:
		s.progress.printf("✓ %-9s started (%s)", service.name, since(begin))
	}
	return nil
}

// furnish makes what our processes need: keys, tables, and courses to sell.
func (s *Stack) furnish(ctx context.Context) error {
	env, err := s.settings()
	if err != nil {
		return err
	}
	for _, arguments := range [][]string{
		{"sandbox", "keys", "--dir", s.layout.path("keys")}, {"migrate"}, {"seed"},
	} {
		if err := runOnce(ctx, s.options.Binary, env, arguments...); err != nil {
			return err
		}
	}
	s.progress.printf("✓ keys, tables and the demo catalogue")
	return nil
}

// Down stops everything that runs in this folder and is ours. The data stay.
func (s *Stack) Down(ctx context.Context) error { return Down(ctx, s.layout.root) }

// Down stops everything that runs in this folder and is ours, also what an Up that was killed has left behind. The data
// stay. It does nothing when nothing runs.
func Down(ctx context.Context, dir string) error {
	layout, err := newLayout(dir)
	if err != nil {
		return err
	}
	unlock, err := lockStack(ctx, layout)
	if err != nil {
		return err
	}
	defer unlock()
	for _, together := range [][]string{{"api", "worker", "sandbox"}, {"temporal", "rabbitmq"}, {"postgres", "epmd"}} {
		if err := stopAll(ctx, layout, together); err != nil {
			return err
		}
	}
	return removeFile(layout.path("env"))
}

func stopAll(ctx context.Context, l layout, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		group.Go(func() error { return stopByName(ctx, l, name) })
	}
	return group.Wait()
}

func stopByName(ctx context.Context, l layout, name string) error {
	c := &container{service: name, layout: l}
	if c.marked() {
		return c.stop(ctx)
	}
	p := &process{name: name, layout: l, stopSignal: syscall.SIGTERM}
	if name == "postgres" {
		p.stopSignal = syscall.SIGINT
	}
	return p.stop(ctx)
}

// APIURL is where the API answers.
func (s *Stack) APIURL() string { return "http://" + loopback(s.options.Ports.API) }

// SandboxURL is where the sandbox answers, as phones are told.
func (s *Stack) SandboxURL() string {
	return "http://" + net.JoinHostPort(s.publicHost(), fmt.Sprint(s.options.Ports.Sandbox))
}

// publicHost is this machine as phones know it, when PUBLIC_URL tells.
func (s *Stack) publicHost() string {
	public, err := url.Parse(s.options.Env["PUBLIC_URL"])
	if err != nil {
		return "127.0.0.1"
	}
	return cmp.Or(public.Hostname(), "127.0.0.1")
}

// bindHost is where our processes listen: only a stack that others are told of is open to others.
func (s *Stack) bindHost() string {
	if host := s.publicHost(); host == "localhost" || strings.HasPrefix(host, "127.") {
		return "127.0.0.1"
	}
	return ""
}

func (s *Stack) key(name string) string { return filepath.Join(s.layout.root, "keys", name) }
