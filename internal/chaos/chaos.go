// Package chaos sells courses and materials through HTTP on a stack of its own while a seed decides what breaks: processes
// are killed and started again, the ways between them are cut, slowed and swallowed, and the fake Alipay plays every fault
// it knows. Then comes calm, and every payment is accounted for: in the books, at Alipay, and from the buyers' side.
//
// Requests may fail while things are broken. What was answered with 200 is a promise, and has to hold.
package chaos

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver of the books' database

	"coursepay/internal/audit"
	"coursepay/internal/auth"
	"coursepay/internal/devstack"
)

// Options say how much of what.
type Options struct {
	Orders int           // customers, each of whom wants one thing
	Seed   uint64        // of the plan
	Length time.Duration // how long things break; starting and calming down come on top
	// Patience is how long after that something may be open; 0 is DefaultPatience.
	Patience time.Duration
	// Expiry is how long an order may be paid; 0 is DefaultExpiry.
	Expiry time.Duration
	// Concurrency bounds how many customers there are at once; 0 is DefaultConcurrency, which is also the most.
	Concurrency int
	// Replicas is how many of api and worker there are each; 0 is DefaultReplicas.
	Replicas int
	// Dir is where the stack's folder is made. The folder goes when nothing was found.
	Dir string
	// Binary is coursepay. Empty: this very program.
	Binary string
	// Progress gets a line for each thing that happens; nil for none.
	Progress io.Writer
}

const (
	DefaultConcurrency = 8
	DefaultReplicas    = 2
	// DefaultPatience lets the sweep, which looks after what is ten minutes old, have its turn.
	DefaultPatience = 13 * time.Minute
	// DefaultExpiry is short, so that unpaid orders end within a run.
	DefaultExpiry = 45 * time.Second
)

func (o Options) complete() (Options, error) {
	if o.Orders < 1 || o.Length < firstStep {
		return o, fmt.Errorf("chaos takes an order and %s at least", firstStep)
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	o.Expiry = cmp.Or(o.Expiry, DefaultExpiry)
	o.Patience = cmp.Or(o.Patience, DefaultPatience)
	if o.Replicas = cmp.Or(o.Replicas, DefaultReplicas); o.Replicas < 1 || o.Replicas > mostReplicas {
		return o, fmt.Errorf("chaos has 1 to %d replicas", mostReplicas)
	}
	o.Concurrency = min(cmp.Or(o.Concurrency, DefaultConcurrency), DefaultConcurrency)
	if o.Binary != "" {
		return o, nil
	}
	var err error
	o.Binary, err = os.Executable()
	return o, err
}

// run is one run.
type run struct {
	options  Options
	dir      string
	plan     Plan
	diary    *diary
	stack    *devstack.Stack
	env      map[string]string // how to reach everything directly
	disk     *disk             // nil: none of its own
	links    *links
	balancer *balancer
	services []*devstack.Service // all that may be killed
	replicas []*devstack.Service // those of them that the stack does not know
	leftOut  []string
	havoc    *havoc
	operator *operator
	http     *http.Client
	db       *sql.DB
}

// Run does it all. An error means that nothing can be said about the shop: the report's findings say what is wrong with
// it. Everything that it starts has ended when it returns.
func Run(ctx context.Context, options Options) (report Report, err error) {
	r, err := open(ctx, options)
	if r != nil {
		defer func() {
			broken := err != nil && ctx.Err() == nil
			if broken {
				r.lastWords()
			}
			err = errors.Join(err, r.close(len(report.Findings) == 0 && !broken))
		}()
	}
	if err != nil {
		return report, err
	}
	if err := r.disturb(ctx); err != nil {
		return report, err
	}
	settled, err := r.calmDown(ctx)
	if err != nil {
		return report, err
	}
	report, err = r.judge(ctx, settled)
	return report, err
}

// open starts the stack: the services first, then proxies before them, then our processes behind those.
func open(ctx context.Context, options Options) (*run, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(options.Dir, 0o755); err != nil { //nolint:gosec // Postgres, another user, has its data below it
		return nil, err
	}
	dir, err := os.MkdirTemp(options.Dir, fmt.Sprintf("chaos-%d-", options.Seed))
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		return nil, err
	}
	r := &run{
		options: options, dir: dir, plan: NewPlan(options.Seed, options.Orders, options.Length, options.Replicas),
		diary: newDiary(options.Progress), http: &http.Client{},
	}
	if err := r.keepBinary(); err != nil {
		return r, err
	}
	return r, r.start(ctx)
}

// keepBinary takes a copy of the program, so that a build meanwhile changes nothing.
func (r *run) keepBinary() error {
	program, err := os.ReadFile(r.options.Binary)
	if err != nil {
		return err
	}
	r.options.Binary = filepath.Join(r.dir, "coursepay")
	return os.WriteFile(r.options.Binary, program, 0o755) //nolint:gosec // a program
}

func (r *run) start(ctx context.Context) (err error) {
	how := devstack.Options{
		Dir: r.dir, Binary: r.options.Binary, Leashed: true, ServicesOnly: true,
		Env: map[string]string{
			"ORDER_EXPIRY":            r.options.Expiry.String(),
			"SANDBOX_NOTIFY_SCHEDULE": "1s,2s,3s,5s" + strings.Repeat(",10s", 20),
			"POLL_SCHEDULE":           "2s,4s,8s,15s",
		},
	}
	if r.stack, err = devstack.Up(ctx, how); err != nil {
		return err
	}
	if r.disk, err = giveDisk(ctx, r.stack, r.dir); errors.Is(err, errNoDisk) {
		r.leftOut = append(r.leftOut, err.Error())
		r.diary.note("%v", err)
	} else if err != nil {
		return err
	}
	if r.links, err = layLinks(r.stack, r.options.Replicas); err != nil {
		return err
	}
	if r.balancer, err = openBalancer(ctx); err != nil {
		return err
	}
	how.ServicesOnly, how.Env["PUBLIC_URL"] = false, r.balancer.url()
	if how.AppEnv, err = r.links.env(r.stack, 1); err != nil {
		return err
	}
	if r.stack, err = devstack.Up(ctx, how); err != nil {
		return err
	}
	if r.env, err = r.stack.Env(); err != nil {
		return err
	}
	if err := r.addReplicas(ctx); err != nil {
		return err
	}
	if r.db, err = sql.Open("pgx", r.env["DATABASE_URL"]); err != nil {
		return err
	}
	if err := r.sparingLog(ctx); err != nil {
		return err
	}
	r.havoc = newHavoc(r.stack, r.services, r.links, r.diary, r.options.Seed)
	r.havoc.disk, r.havoc.db = r.disk, r.db
	r.operator = r.newOperator()
	return nil
}

// sparingLog keeps Postgres' log of what it is about to write small enough for a small disk.
func (r *run) sparingLog(ctx context.Context) error {
	for _, statement := range []string{`alter system set max_wal_size = '128MB'`, `select pg_reload_conf()`} {
		if _, err := r.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("keep Postgres' log small: %w", err)
		}
	}
	return nil
}

func (r *run) newOperator() *operator {
	return &operator{diary: r.diary, tried: map[string]int{}, client: &caller{
		api: r.apiURL(), secret: r.env["JWT_SECRET"], user: auth.User{ID: "operator-1", Ops: true},
		diary: r.diary, http: r.http,
	}}
}

// apiURL is where learners and operators find the API, whichever replica answers.
func (r *run) apiURL() string { return r.balancer.url() }

// close ends everything that was started. What was found is kept with the logs and data.
func (r *run) close(clean bool) error {
	var faults []error
	if r.db != nil {
		faults = append(faults, r.db.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	faults = append(faults, r.stopReplicas(ctx), devstack.Down(ctx, r.dir))
	if r.balancer != nil {
		r.balancer.close()
	}
	if r.links != nil {
		r.links.close()
	}
	if r.disk != nil {
		faults = append(faults, r.disk.giveBack(ctx, !clean))
	}
	if clean {
		faults = append(faults, os.RemoveAll(r.dir))
	}
	return errors.Join(faults...)
}

// disturb lets customers in and breaks things, and returns when both are over and nothing is broken any more.
func (r *run) disturb(ctx context.Context) error {
	r.diary.begin = time.Now()
	r.diary.note("%d orders, %d things that go wrong, seed %d", len(r.plan.Customers), len(r.plan.Steps), r.options.Seed)
	watched, stopWatching := context.WithCancel(ctx)
	var background, load sync.WaitGroup
	background.Go(func() { r.havoc.supervise(watched) })
	background.Go(func() { r.operator.serve(watched) })
	load.Go(func() { r.havoc.wreak(ctx, r.plan.Steps) })
	load.Go(func() { r.serveCustomers(ctx) })
	load.Wait()
	stopWatching()
	background.Wait()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	return nil
}

func (r *run) serveCustomers(ctx context.Context) {
	seats := make(chan struct{}, r.options.Concurrency)
	var all sync.WaitGroup
	for _, customer := range r.plan.Customers {
		if !sleep(ctx, time.Until(r.diary.begin.Add(customer.At))) {
			break
		}
		seats <- struct{}{}
		all.Go(func() {
			defer func() { <-seats }()
			r.newVisit(customer).run(ctx)
		})
	}
	all.Wait()
}

// command runs a command of coursepay as an operator would, and returns what it prints.
func (r *run) command(ctx context.Context, arguments ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, r.options.Binary, arguments...) //nolint:gosec // this program
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LOG_LEVEL=error", "ALIPAY_MAX_QPS=200"}
	for name, value := range r.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("coursepay %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(complaints.String()))
	}
	return out, nil
}

// Finding is something that is not as it has to be.
type Finding struct {
	Check   string `json:"check"`
	User    string `json:"user,omitempty"`
	OrderID string `json:"orderId,omitempty"`
	PayNo   string `json:"payNo,omitempty"`
	Detail  string `json:"detail"`
}

func (f Finding) String() string {
	var text strings.Builder
	text.WriteString(f.Check)
	for _, part := range []struct{ name, value string }{{"user", f.User}, {"order", f.OrderID}, {"attempt", f.PayNo}} {
		if part.value != "" {
			text.WriteString(" " + part.name + " " + part.value)
		}
	}
	return text.String() + ": " + f.Detail
}

// Report is what was done and found.
type Report struct {
	Seed      uint64         `json:"seed"`
	Orders    int            `json:"orders"`
	Minutes   float64        `json:"minutes"`
	Replicas  int            `json:"replicas"`
	LeftOut   []string       `json:"leftOut,omitempty"` // what could not be tried here
	Again     string         `json:"again"`             // the command that repeats it
	Plan      Plan           `json:"plan"`
	Faults    map[string]int `json:"faults"`    // what went wrong, by kind and target
	Answers   map[string]int `json:"answers"`   // what requests came to
	Decisions map[string]int `json:"decisions"` // operators', on what was parked
	Endings   map[string]int `json:"endings"`   // orders, refunds and the like in the end
	// CalmSeconds is how long it took after the last fault until nothing was open, Sweeps how many sweeps by hand ran
	// meanwhile, Replayed how many dead letters were given back.
	CalmSeconds float64      `json:"calmSeconds"`
	Sweeps      int          `json:"sweeps"`
	Swept       []string     `json:"swept"` // what the sweeps did, and what was open before
	Replayed    int          `json:"replayed"`
	Audit       audit.Report `json:"audit"`
	Findings    []Finding    `json:"findings"`
	Stories     []Story      `json:"stories,omitempty"` // of the orders that something was found about
	Errors      []string     `json:"errors,omitempty"`  // the last of each of our processes, when something was found
	Dir         string       `json:"dir,omitempty"`     // kept when something was found
}

// Again is the command that repeats a run.
func (o Options) again() string {
	return fmt.Sprintf("coursepay chaos --orders %d --seed %d --minutes %g --replicas %d", o.Orders, o.Seed, o.Length.Minutes(), o.Replicas)
}

func (r *run) findingsDir() string { return filepath.Join(r.dir, "findings") }
