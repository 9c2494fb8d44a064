package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"coursepay/internal/auth"
	"coursepay/internal/buyer"
	"coursepay/models"
)

// judge audits the books, asks from the buyers' side, and looks whether every promise was kept.
func (r *run) judge(ctx context.Context, s settled) (Report, error) {
	report := Report{
		Seed: r.options.Seed, Orders: r.options.Orders, Minutes: r.options.Length.Minutes(), Again: r.options.again(), Replicas: r.options.Replicas, LeftOut: r.leftOut,
		Plan: r.plan, Faults: r.diary.Faults, Answers: r.diary.Answers, Decisions: r.diary.Decisions,
		CalmSeconds: s.took.Seconds(), Sweeps: s.sweeps, Swept: s.swept, Replayed: s.replayed,
		Findings: append([]Finding{}, r.diary.findings...),
	}
	for _, what := range s.open {
		report.Findings = append(report.Findings, Finding{Check: "stuck", Detail: what + " after " + s.took.Round(time.Second).String()})
	}
	for _, look := range []func(context.Context, *Report) error{r.audited, r.asBuyersSeeIt, r.promises, r.endings} {
		if err := look(ctx, &report); err != nil {
			return report, err
		}
	}
	if len(report.Findings) > 0 {
		report.Dir = r.dir
		report.Stories, report.Errors = r.keepStories(ctx, report.Findings), r.logLines("level=ERROR")
	}
	return report, nil
}

// audited runs coursepay audit --alipay, with next to no grace: nothing is on its way any more.
func (r *run) audited(ctx context.Context, report *Report) error {
	out, failure := r.command(ctx, "audit", "--alipay", "--json", "--grace", "1s")
	if err := json.Unmarshal(out, &report.Audit); err != nil {
		return errors.Join(failure, err)
	}
	for _, result := range report.Audit.Results {
		for _, f := range result.Findings {
			report.Findings = append(report.Findings, Finding{
				Check: "audit " + f.Check, OrderID: orNothing(f.OrderID), PayNo: orNothing(f.PayNo), Detail: f.Detail,
			})
		}
	}
	for _, f := range report.Audit.Unanswered {
		report.Findings = append(report.Findings, Finding{Check: "audit unanswered", PayNo: orNothing(f.PayNo), Detail: f.Detail})
	}
	if failure != nil && report.Audit.Faults == 0 && len(report.Audit.Unanswered) == 0 {
		return failure
	}
	return nil
}

func orNothing(id models.ID) string {
	if id == 0 {
		return ""
	}
	return id.String()
}

// trade is one at the sandbox.
type trade struct {
	PayNo     string    `json:"out_trade_no"`
	Total     string    `json:"total_amount"`
	GivenBack string    `json:"refund_fee"`
	PaidAt    time.Time `json:"gmt_payment"`
}

// kept is what of a trade's money the shop has kept.
func (t trade) kept() (models.Money, error) {
	if t.PaidAt.IsZero() {
		return 0, nil
	}
	total, err := models.ParseMoney(t.Total)
	if err != nil {
		return 0, err
	}
	back, err := models.ParseMoney(t.GivenBack)
	return total - back, err
}

// asBuyersSeeIt holds what Alipay took from each buyer against what the buyer has.
func (r *run) asBuyersSeeIt(ctx context.Context, report *Report) error {
	var trades []trade
	if err := control(ctx, http.MethodGet, r.stack.SandboxURL()+"/control/trades", nil, &trades); err != nil {
		return fmt.Errorf("ask the sandbox for its trades: %w", err)
	}
	owner := r.owners()
	paid := map[string][]trade{}
	for _, t := range trades {
		kept, err := t.kept()
		if err != nil {
			return fmt.Errorf("trade %s: %w", t.PayNo, err)
		}
		user, known := owner[t.PayNo]
		switch {
		case kept == 0:
		case !known:
			report.Findings = append(report.Findings, Finding{Check: "payer-unknown", PayNo: t.PayNo, Detail: "paid, and nobody was given that code"})
		default:
			paid[user] = append(paid[user], t)
		}
	}
	for _, customer := range r.plan.Customers {
		has, err := r.has(ctx, customer)
		if err != nil {
			return fmt.Errorf("ask what %s has: %w", customer.User, err)
		}
		report.Findings = append(report.Findings, fair(customer, has, paid[customer.User])...)
	}
	return nil
}

// owners are the users by the codes that they were given.
func (r *run) owners() map[string]string {
	owner := map[string]string{}
	r.diary.write(func() {
		for _, c := range r.diary.codes {
			owner[c.PayNo] = c.User
		}
	})
	return owner
}

// fair says what is wrong between a buyer and the shop; paid are the trades whose money the shop has, all or part.
func fair(c Customer, has bool, paid []trade) (findings []Finding) {
	add := func(check, payNo, detail string) {
		findings = append(findings, Finding{Check: check, User: c.User, PayNo: payNo, Detail: detail + fmt.Sprintf(" (%s, refund %q)", c.Does, c.Refund)})
	}
	switch {
	case len(paid) > 1:
		add("paid-twice", paid[1].PayNo, fmt.Sprintf("the shop has the money of %d trades for one %s", len(paid), c.Goods))
	case len(paid) == 1 && !has:
		add("paid-for-nothing", paid[0].PayNo, fmt.Sprintf("paid %s, got %s back, has no %s", paid[0].Total, paid[0].GivenBack, c.Goods))
	case len(paid) == 0 && has:
		add("has-it-unpaid", "", "has "+c.Goods+", and the shop has no money for it")
	}
	return findings
}

// has asks the API, as the buyer.
func (r *run) has(ctx context.Context, c Customer) (has bool, err error) {
	token, err := auth.Issue([]byte(r.env["JWT_SECRET"]), auth.User{ID: c.User}, tokensLast, time.Now())
	if err != nil {
		return false, err
	}
	learner := buyer.NewLearner(r.apiURL(), token)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = persist(ctx, func() error {
		if c.Type == models.OrderMaterial {
			rights, err := learner.MyMaterials(ctx)
			for _, right := range rights {
				has = has || right.MaterialID == c.Goods
			}
			return err
		}
		enrolment, err := learner.LearnStatus(ctx, c.Goods)
		has = enrolment.LearnStatus == "702001"
		return err
	})
	return has, err
}

// promises looks for what was answered with 200 and does not hold.
func (r *run) promises(ctx context.Context, report *Report) error {
	for _, c := range r.diary.codes {
		if err := r.promised(ctx, report, Finding{Check: "promised-code", User: c.User, OrderID: c.OrderID, PayNo: c.PayNo, Detail: "a code was given, and its attempt is not in the books"},
			`select count(*) from xc_pay_record where pay_no = $1 and order_id = $2 and user_id = $3`, c.PayNo, c.OrderID, c.User); err != nil {
			return err
		}
	}
	for _, payNo := range r.diary.paid {
		if err := r.promised(ctx, report, Finding{Check: "promised-paid", PayNo: payNo, Detail: "payresult said paid, the books do not"},
			`select count(*) from xc_pay_record where pay_no = $1 and status in ('601002', '601003')`, payNo); err != nil {
			return err
		}
	}
	for _, f := range r.diary.refunds {
		if err := r.promised(ctx, report, Finding{Check: "promised-refund", OrderID: f.OrderID, PayNo: f.PayNo, Detail: "refund " + f.OutRequestNo + " of " + f.Amount.String() + " was taken on, and is not done"},
			`select count(*) from xc_refund_record where request_no = $1 and amount = $2::numeric and status = 'refunded'`, f.OutRequestNo, f.Amount.String()); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) promised(ctx context.Context, report *Report, broken Finding, query string, args ...any) error {
	var n int
	if err := r.db.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return fmt.Errorf("look for %s: %w", broken.Check, err)
	}
	if n != 1 {
		report.Findings = append(report.Findings, broken)
	}
	return nil
}

// endings counts how orders, refunds and callbacks ended.
func (r *run) endings(ctx context.Context, report *Report) error {
	report.Endings = map[string]int{}
	rows, err := r.db.QueryContext(ctx, `
		select 'order ' || status || case status when '600001' then ' unpaid' when '600002' then ' paid'
		    when '600003' then ' closed' when '600004' then ' refunded' else '' end, count(*) from xc_orders group by status
		union all select 'refund ' || origin || ' ' || status, count(*) from xc_refund_record group by origin, status
		union all select 'callback ' || verdict, count(*) from pay_notify group by verdict
		union all select 'attempt', count(*) from xc_pay_record
		union all select 'message delivered', count(*) from mq_message_history`)
	if err != nil {
		return fmt.Errorf("count endings: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var what string
		var n int
		if err := rows.Scan(&what, &n); err != nil {
			return fmt.Errorf("count endings: %w", err)
		}
		report.Endings[what] = n
	}
	return rows.Err()
}

// Failed says whether something was found.
func (r Report) Failed() bool { return len(r.Findings) > 0 || r.Audit.Waiting > 0 }
