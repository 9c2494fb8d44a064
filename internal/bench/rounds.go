package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// watchedOf is which share of the orders in the rounds has a page open: one in so many.
	watchedOf = 8
	// sampled is how many histories are measured a round.
	sampled = 40
)

// kind is one of the two things that are compared.
type kind struct {
	name   string
	pass   func(ctx context.Context, name string, number int) (passed, error)
	settle func(ctx context.Context, all []passed) error // checks what was done, and fills in what only the books know

	rounds   []float64 // passes a second
	creation []Latency
	settling []Latency
	click    []Latency
	costs    costs
}

func (b *bench) kinds() (bare, paid *kind) {
	bare = &kind{
		name: "skeleton",
		pass: func(ctx context.Context, name string, _ int) (passed, error) { return b.skeleton.pass(ctx, name) },
		settle: func(context.Context, []passed) error {
			return nil
		},
	}
	paid = &kind{
		name: "orders",
		pass: func(ctx context.Context, name string, number int) (passed, error) {
			return b.shop.buy(ctx, name, number, number%watchedOf == 1)
		},
		settle: b.readBooks,
	}
	return bare, paid
}

func (b *bench) warmUp(ctx context.Context) error {
	bare, paid := b.kinds()
	n := max(1, min(2*b.Concurrency, b.Orders/b.Rounds))
	if err := b.round(ctx, bare, "warm", n); err != nil || b.SkeletonOnly {
		return err
	}
	return b.round(ctx, paid, "warm", n)
}

// rounds lets the skeleton and the orders take turns, and who goes first take turns too.
func (b *bench) rounds(ctx context.Context) error {
	bare, paid := b.kinds()
	turns := []*kind{bare, paid}
	if b.SkeletonOnly {
		turns = turns[:1]
	}
	done := 0
	defer func() { b.report.compare(bare, paid, done) }() // also when a later round fails
	for ; done < b.Rounds && !b.timeUp(); done++ {
		n := b.Orders / b.Rounds
		if done < b.Orders%b.Rounds {
			n++
		}
		for _, k := range turns {
			if err := b.round(ctx, k, fmt.Sprint("r", done), n); err != nil {
				return fmt.Errorf("round %d: %s: %w", done+1, k.name, err)
			}
		}
		for _, k := range turns {
			b.say("round %d of %d: %s %.1f/s", done+1, b.Rounds, k.name, k.rounds[done])
		}
		slices.Reverse(turns)
	}
	return nil
}

// round makes n passes of a kind and notes how they went.
func (b *bench) round(ctx context.Context, k *kind, name string, n int) error {
	before, err := b.gauges.read(ctx)
	if err != nil {
		return err
	}
	all := make([]passed, n)
	began := time.Now()
	err = together(ctx, n, b.Concurrency, func(ctx context.Context, i int) (err error) {
		all[i], err = k.pass(ctx, fmt.Sprint(name, "-", i), i)
		return err
	})
	took := time.Since(began)
	if err != nil {
		return err
	}
	if err := errors.Join(b.drain(ctx, all), b.gauges.catchUp(ctx)); err != nil {
		return err
	}
	after, err := b.gauges.read(ctx)
	if err != nil {
		return err
	}
	if err := k.settle(ctx, all); err != nil {
		return err
	}
	k.costs.add(before, after, n)
	k.rounds = append(k.rounds, float64(n)/took.Seconds())
	k.note(all)
	return b.sampleEvents(ctx, k, all)
}

func (k *kind) note(all []passed) {
	var creation, settling, click []time.Duration
	for _, p := range all {
		creation = append(creation, p.creation)
		if p.settling > 0 {
			settling = append(settling, p.settling)
		}
		if p.click > 0 {
			click = append(click, p.click)
		}
	}
	k.creation = append(k.creation, latencyOf(creation))
	k.settling = append(k.settling, latencyOf(settling))
	k.click = append(k.click, latencyOf(click))
}

// drain waits until the stories of the last passes are over, so that one kind's end is no load on the other's beginning.
func (b *bench) drain(ctx context.Context, all []passed) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last := all[max(0, len(all)-b.Concurrency):]
	return together(ctx, len(last), 8, func(ctx context.Context, i int) error {
		if err := b.engine.GetWorkflow(ctx, last[i].workflowID, "").Get(ctx, nil); err != nil {
			return fmt.Errorf("the end of %s: %w", last[i].workflowID, err)
		}
		return nil
	})
}

func (b *bench) sampleEvents(ctx context.Context, k *kind, all []passed) error {
	for i := 0; i < len(all); i += max(1, len(all)/sampled) {
		events, err := b.historyLength(ctx, all[i].workflowID)
		if err != nil {
			return err
		}
		k.costs.events = append(k.costs.events, events)
	}
	return nil
}

func (b *bench) historyLength(ctx context.Context, workflowID string) (int, error) {
	seen, err := b.engine.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return 0, fmt.Errorf("describe %s: %w", workflowID, err)
	}
	return int(seen.GetWorkflowExecutionInfo().GetHistoryLength()), nil
}

// readBooks checks in the tables that every payment enrolled its learner, and takes from them when its callback came in.
func (b *bench) readBooks(ctx context.Context, all []passed) error {
	numbers := make([]string, len(all))
	for i, p := range all {
		numbers[i] = p.payNo
	}
	rows, err := b.gauges.db.Query(ctx, `
		select p.pay_no::text, (select min(n.receive_date) from pay_notify n where n.pay_no = p.pay_no and n.verdict = 'accepted')
		from xc_pay_record p join xc_orders o on o.id = p.order_id and o.status = '600002' and o.paid_by = p.pay_no
		    join xc_course_tables t on t.choose_course_id = o.out_business_id::bigint and t.user_id = o.user_id
		where p.status = '601002' and p.pay_no = any ($1::bigint[])`, numbers)
	if err != nil {
		return err
	}
	defer rows.Close()
	came := map[string]*time.Time{}
	for rows.Next() {
		var payNo string
		var at *time.Time
		if err := rows.Scan(&payNo, &at); err != nil {
			return err
		}
		came[payNo] = at
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for i, p := range all {
		at, enrolled := came[p.payNo]
		if !enrolled {
			return fmt.Errorf("pay record %s: paid, but the tables do not show it and the enrolment", p.payNo)
		}
		if at != nil {
			all[i].settling = p.heard.Sub(*at)
		}
	}
	return nil
}

// alone measures one pass at a time: what a learner feels on a quiet machine.
func (b *bench) alone(ctx context.Context) error {
	bare, paid := b.kinds()
	paid.pass = func(ctx context.Context, name string, number int) (passed, error) {
		return b.shop.buy(ctx, name, number, true)
	}
	for _, k := range []*kind{bare, paid} {
		all, err := b.oneAtATime(ctx, k, "alone", b.Alone)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		k.note(all)
	}
	b.report.Alone = &Alone{Skeleton: bare.times(), Orders: paid.times()}
	return nil
}

func (b *bench) oneAtATime(ctx context.Context, k *kind, name string, n int) ([]passed, error) {
	var all []passed
	for i := range n {
		p, err := k.pass(ctx, fmt.Sprint(name, "-", i), i)
		if err != nil {
			return nil, err
		}
		if err := b.drain(ctx, []passed{p}); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, k.settle(ctx, all)
}
