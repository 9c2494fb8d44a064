package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"coursepay/models"
)

// settled says how it became quiet.
type settled struct {
	took     time.Duration
	sweeps   int
	swept    []string
	replayed int
	open     []string // what is open still
}

// openThings are the questions whose answers are 0 when nothing is open.
var openThings = []struct{ name, query string }{
	{"unpaid orders", `select count(*) from xc_orders where status = '600001'`},
	{"pages that may still be paid", `select count(*) from xc_pay_record where status = '601001' and open_date is not null and close_date is null`},
	{"messages in the outbox", `select count(*) from mq_message`},
	{"refunds under way", `select count(*) from xc_refund_record where status = 'pending'`},
	{"cases for an operator", `select count(*) from ops_attention where decide_date is null`},
}

const (
	// unhelped is how long it may take, once every order has run out, without a sweep by hand: what failed last is tried
	// again.
	unhelped   = 90 * time.Second
	sweepEvery = time.Minute
)

// calmDown ends everything that is wrong, and waits until nothing is open any more. An operator decides what is parked and
// replays dead letters; what is open for long gets a sweep, as in real life.
func (r *run) calmDown(ctx context.Context) (settled, error) {
	r.diary.note("calm")
	if err := r.havoc.calm(ctx); err != nil {
		return settled{}, err
	}
	engine, err := r.stack.Temporal.Dial(ctx, "default")
	if err != nil {
		return settled{}, err
	}
	defer engine.Close()
	watched, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { r.operator.serve(watched) })
	background.Go(func() { r.havoc.supervise(watched) })
	defer background.Wait()
	defer stop()
	return r.awaitQuiet(ctx, engine)
}

func (r *run) awaitQuiet(ctx context.Context, engine client.Client) (s settled, err error) {
	begin := time.Now()
	nextSweep := begin.Add(r.options.Expiry + unhelped)
	for quiet := 0; ; {
		if s.open, err = r.stillOpen(ctx, engine); err != nil {
			return s, err
		}
		s.took = time.Since(begin)
		if len(s.open) == 0 {
			if quiet++; quiet == 2 { // between two steps of a story, nothing may seem open for a moment
				return s, nil
			}
		} else {
			quiet = 0
		}
		if s.took > r.options.Patience {
			return s, nil
		}
		if len(s.open) > 0 && time.Now().After(nextSweep) {
			nextSweep = time.Now().Add(sweepEvery)
			r.sweep(ctx, &s)
		}
		n, err := r.replay(ctx)
		if err != nil {
			return s, err
		}
		s.replayed += n
		if !sleep(ctx, time.Second) {
			return s, fmt.Errorf("interrupted: %w", ctx.Err())
		}
	}
}

// stillOpen names what is open, with how many there are.
func (r *run) stillOpen(ctx context.Context, engine client.Client) (open []string, err error) {
	add := func(n int64, name string) {
		if n > 0 {
			open = append(open, fmt.Sprint(n, " ", name))
		}
	}
	for _, thing := range openThings {
		var n int64
		if err := r.db.QueryRowContext(ctx, thing.query).Scan(&n); err != nil {
			return nil, fmt.Errorf("count %s: %w", thing.name, err)
		}
		add(n, thing.name)
	}
	answer, err := engine.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Query: `ExecutionStatus="Running" AND WorkflowType IN ("PayOrderWorkflow", "RefundWorkflow")`,
	})
	if err != nil {
		return nil, fmt.Errorf("count workflows: %w", err)
	}
	add(answer.GetCount(), "workflows that run")
	dead, err := r.deadLetters(ctx)
	add(int64(dead), "dead letters")
	return open, err
}

// sweep looks after what was left lying, by hand.
func (r *run) sweep(ctx context.Context, s *settled) {
	out, err := r.command(ctx, "reconcile", "--sweep")
	told := strings.Join(s.open, ", ") + " → " + strings.TrimSpace(string(out))
	if err != nil {
		told += " " + firstLine(err)
	}
	s.sweeps++
	s.swept = append(s.swept, told)
	r.diary.note("swept by hand: %s", told)
}

func (r *run) deadLetters(ctx context.Context) (n int, err error) {
	for _, queue := range models.Queues() {
		out, err := r.command(ctx, "dlq", "list", "--queue", queue, "--json")
		var dead []json.RawMessage
		if err == nil {
			err = json.Unmarshal(out, &dead)
		}
		if err != nil {
			return n, err
		}
		n += len(dead)
	}
	return n, nil
}

// replay gives dead letters back to their queues, as an operator does once the cause is gone.
func (r *run) replay(ctx context.Context) (int, error) {
	n, err := r.deadLetters(ctx)
	if err != nil || n == 0 {
		return 0, err
	}
	for _, queue := range slices.Sorted(maps.Values(models.Queues())) {
		if _, err := r.command(ctx, "dlq", "replay", "--queue", queue); err != nil {
			return 0, err
		}
	}
	r.diary.note("%d dead letters replayed", n)
	return n, nil
}
