package chaos

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"coursepay/internal/devstack"
	"coursepay/internal/sandbox"
)

// havoc breaks things as the plan has it.
type havoc struct {
	stack *devstack.Stack
	// services are the stack's and the other replicas.
	services []*devstack.Service
	links    *links
	disk     *disk // nil: none that may be full
	db       *sql.DB
	diary    *diary
	busy     map[string]*sync.Mutex // a service is not for concurrent use

	mu     sync.Mutex
	played map[string]int // the sandbox's faults that are on, by name
	seed   int64
}

func newHavoc(stack *devstack.Stack, services []*devstack.Service, l *links, d *diary, seed uint64) *havoc {
	h := &havoc{stack: stack, services: services, links: l, diary: d, busy: map[string]*sync.Mutex{}, played: map[string]int{}}
	h.seed = int64(seed >> 1)
	for _, service := range services {
		h.busy[service.Name()] = &sync.Mutex{}
	}
	return h
}

// wreak carries out the steps and returns when the last is over. It ends early with ctx.
func (h *havoc) wreak(ctx context.Context, steps []Step) {
	var all sync.WaitGroup
	begin := time.Now()
	for _, step := range steps {
		if !sleep(ctx, time.Until(begin.Add(step.At))) {
			break
		}
		all.Go(func() { h.take(ctx, step) })
	}
	all.Wait()
}

func (h *havoc) take(ctx context.Context, step Step) {
	if step.Kind == Full && h.disk == nil {
		return
	}
	h.diary.note("%-9s %-28s for %v", step.Kind, step.Target, step.For)
	h.diary.count(&h.diary.Faults, string(step.Kind)+" "+step.Target)
	over, cancel := context.WithTimeout(ctx, step.For)
	defer cancel()
	var err error
	switch step.Kind {
	case Kill:
		err = h.kill(ctx, step)
	case Full:
		err = h.full(ctx, over, step.Target)
	case Misplay:
		h.play(step.Target, 1)
		<-over.Done()
		h.play(step.Target, -1)
	default:
		err = h.links.spoil(over, step.Target, step.Kind)
	}
	if err != nil && ctx.Err() == nil {
		h.diary.note("%s %s: %v", step.Kind, step.Target, firstLine(err))
	}
}

// kill kills services and starts them again. One that does not become ready, since what it needs is down, is looked after
// later.
func (h *havoc) kill(ctx context.Context, step Step) error {
	victims := slices.DeleteFunc(slices.Clone(h.services), func(s *devstack.Service) bool {
		return step.Target != everything && step.Target != s.Name()
	})
	release := h.hold(victims)
	defer release()
	var faults []error
	for _, service := range victims {
		faults = append(faults, service.Kill())
	}
	sleep(ctx, step.For)
	for _, service := range victims {
		faults = append(faults, service.Start(ctx))
	}
	return errors.Join(faults...)
}

// hold keeps services for whoever calls it, until the function that it returns is called.
func (h *havoc) hold(services []*devstack.Service) (release func()) {
	for _, service := range services {
		h.busy[service.Name()].Lock()
	}
	return func() {
		for _, service := range services {
			h.busy[service.Name()].Unlock()
		}
	}
}

// full keeps Postgres' disk full until over ends. It may have stopped by then.
func (h *havoc) full(ctx, over context.Context, what string) error {
	var filling sync.WaitGroup
	defer filling.Wait()
	if what == fullLog {
		filling.Go(func() { h.consumeLog(over) })
	}
	if err := h.disk.fill(over); err != nil {
		return err
	}
	return h.raise(ctx, h.stack.Postgres.Service)
}

// consumeLog uses up the room that Postgres' log has put by, until ctx ends.
func (h *havoc) consumeLog(ctx context.Context) {
	for sleep(ctx, 100*time.Millisecond) {
		_, _ = h.db.ExecContext(ctx, `select pg_logical_emit_message(false, 'chaos', '')`) // it may be down by now
		_, _ = h.db.ExecContext(ctx, `select pg_switch_wal()`)
	}
}

// supervise starts our processes again when they end by themselves, as systemd or Kubernetes would, and keeps the
// sandbox's faults as they should be, until ctx ends.
func (h *havoc) supervise(ctx context.Context) {
	for sleep(ctx, 500*time.Millisecond) {
		for _, service := range h.services {
			if app := strings.TrimRight(service.Name(), "0123456789"); app == "api" || app == "worker" {
				h.lookAfter(ctx, service)
			}
		}
		_ = h.putFaults(ctx) // the sandbox may be down: next time
	}
}

// lookAfter starts a process of ours that has ended, unless a step has it in hand.
func (h *havoc) lookAfter(ctx context.Context, service *devstack.Service) {
	name := service.Name()
	if !h.busy[name].TryLock() {
		return
	}
	defer h.busy[name].Unlock()
	if service.PID() != 0 {
		return
	}
	h.diary.note("%s has ended by itself, and is started again", name)
	h.diary.count(&h.diary.Faults, "ended by itself: "+name)
	if err := service.Start(ctx); err != nil && ctx.Err() == nil {
		h.diary.note("start %s: %v", name, firstLine(err))
	}
}

// play counts a fault of the sandbox on or off.
func (h *havoc) play(fault string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.played[fault] += n
}

func (h *havoc) faults() sandbox.Faults {
	h.mu.Lock()
	defer h.mu.Unlock()
	faults := sandbox.Faults{Seed: h.seed}
	for name, n := range h.played {
		if n > 0 {
			faultOf[name](&faults)
		}
	}
	return faults
}

// faultOf switches on a fault of the sandbox, by its name in docs/sandbox.md.
var faultOf = map[string]func(*sandbox.Faults){
	"notify.drop":                 func(f *sandbox.Faults) { f.Notify.Drop = 0.8 },
	"notify.delay":                func(f *sandbox.Faults) { f.Notify.Delay = sandbox.Duration(3 * time.Second) },
	"notify.duplicate":            func(f *sandbox.Faults) { f.Notify.Duplicate = 0.8 },
	"notify.reorder":              func(f *sandbox.Faults) { f.Notify.Reorder = 0.8 },
	"notify.signature":            func(f *sandbox.Faults) { f.Notify.Signature = 0.8 },
	"notify.charset":              func(f *sandbox.Faults) { f.Notify.Charset = 0.8 },
	"notify.header":               func(f *sandbox.Faults) { f.Notify.Header = 0.8 },
	"gateway.slow":                func(f *sandbox.Faults) { f.Gateway.Slow = sandbox.Duration(2 * time.Second) },
	"gateway.hang":                func(f *sandbox.Faults) { f.Gateway.Hang = 0.5 },
	"gateway.http5xx":             func(f *sandbox.Faults) { f.Gateway.HTTP5xx = 0.7 },
	"gateway.systemError":         func(f *sandbox.Faults) { f.Gateway.SystemError = 0.7 },
	"gateway.executedThenTimeout": func(f *sandbox.Faults) { f.Gateway.ExecutedThenTimeout = 0.5 },
	"gateway.unsigned":            func(f *sandbox.Faults) { f.Gateway.Unsigned = 0.7 },
	"gateway.tampered":            func(f *sandbox.Faults) { f.Gateway.Tampered = 0.7 },
	"refund.pending":              func(f *sandbox.Faults) { f.Refund.Pending = 0.8 },
	"refund.sellerBalance":        func(f *sandbox.Faults) { f.Refund.SellerBalance = 0.8 },
	"race.payBeforeClose":         func(f *sandbox.Faults) { f.Race.PayBeforeClose = 0.8 },
}

// putFaults tells the sandbox what to play, unless it does already: telling begins its sequence of faults anew.
func (h *havoc) putFaults(ctx context.Context) error {
	want, now := h.faults(), sandbox.Faults{}
	address := h.stack.SandboxURL() + "/control/faults"
	if err := control(ctx, http.MethodGet, address, nil, &now); err != nil || now == want {
		return err
	}
	return control(ctx, http.MethodPut, address, want, nil)
}

// control asks the sandbox's control API.
func control(ctx context.Context, method, address string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("%s %s: HTTP %d: %.200q", method, request.URL.Path, response.StatusCode, answer)
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer, into)
}

// calm ends everything that is wrong: faults off, everything up. The links are whole once wreak has returned.
func (h *havoc) calm(ctx context.Context) error {
	h.mu.Lock()
	clear(h.played)
	h.mu.Unlock()
	for _, service := range h.services {
		if err := h.raise(ctx, service); err != nil {
			return fmt.Errorf("the services do not come back: %w", err)
		}
	}
	if err := control(ctx, http.MethodPut, h.stack.SandboxURL()+"/control/faults", sandbox.Faults{}, nil); err != nil {
		return fmt.Errorf("end the sandbox's faults: %w", err)
	}
	return nil
}

func (h *havoc) raise(ctx context.Context, service *devstack.Service) error {
	h.busy[service.Name()].Lock()
	defer h.busy[service.Name()].Unlock()
	return service.Start(ctx)
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
