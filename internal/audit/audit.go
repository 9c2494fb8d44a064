// Package audit holds the books against themselves, and against Alipay's: every sentence that must be true of a shop in
// which no payment gets lost is one check, a query that finds what breaks it. A check reads and never mends.
//
// All queries see one snapshot, so that an audit of a live database is not confused by what happens meanwhile. What is
// allowed to be true for a moment, between one transaction of an order's story and the next, is off only after a grace.
package audit

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"coursepay/models"
)

// Check is one sentence about the books that has to be true.
type Check struct {
	Name    string // what findings are filed under
	Meaning string // the sentence, for operators
	Waits   bool   // what it finds waits for an operator: to be told, and no fault
	// query finds what breaks the sentence: rows of order_id, pay_no (either may be null) and detail. It sees the common
	// table expressions of books, and the named arguments of arguments.
	query string
}

// Checks lists every check on the database, in the order of a report.
func Checks() []Check {
	var all []Check
	for _, some := range [][]Check{moneyChecks, orderChecks, goodsChecks, messageChecks, waitingChecks} {
		all = append(all, some...)
	}
	return all
}

// Finding is one thing that is off.
type Finding struct {
	Check   string    `json:"check"`
	OrderID models.ID `json:"orderId,omitzero"`
	PayNo   models.ID `json:"payNo,omitzero"`
	Detail  string    `json:"detail"`
}

// Result is what one check found.
type Result struct {
	Check    string    `json:"check"`
	Meaning  string    `json:"meaning"`
	Waits    bool      `json:"waits"` // it waits for an operator, and is no fault
	Count    int       `json:"count"` // all that was found
	Findings []Finding `json:"findings"`
}

func (r *Result) add(f Finding, limit int) {
	r.Count++
	if len(r.Findings) < limit {
		r.Findings = append(r.Findings, f)
	}
}

// Report is what an audit found.
type Report struct {
	At      time.Time `json:"at"`
	Results []Result  `json:"results"`
	Faults  int       `json:"faults"`  // things that are off
	Waiting int       `json:"waiting"` // things that wait for an operator
	// Unanswered are attempts about which Alipay gave no answer, so that nothing is known of them.
	Unanswered []Finding `json:"unanswered"`
}

func (r *Report) add(results ...Result) {
	for _, result := range results {
		if result.Waits {
			r.Waiting += result.Count
		} else {
			r.Faults += result.Count
		}
	}
	r.Results = append(r.Results, results...)
}

// Options says what is looked at, and when something that is unfinished becomes a fault. The zero value looks at
// everything, now, without Alipay.
type Options struct {
	Now   time.Time     // zero: the clock's
	Since time.Duration // only orders created, or asked for again, so recently; 0: all
	Grace time.Duration // for what the next step of a story will finish; 0: DefaultGrace
	Limit int           // at most so many findings of a check are listed, all are counted; 0: DefaultLimit
	// Alipay is asked about every attempt that was opened, and every refund, where it is not nil.
	Alipay Alipay
	// Progress may be nil. It is told how many attempts Alipay has been asked about, and how many there are.
	Progress func(done, all int)

	recent []int64 // the orders that Since leaves
}

const (
	DefaultGrace = 2 * time.Minute
	DefaultLimit = 100
	// refundGrace is how long a refund may be under way: Alipay may want another day to know.
	refundGrace = 24 * time.Hour
)

func (o Options) withDefaults() Options {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	o.Grace, o.Limit = cmp.Or(o.Grace, DefaultGrace), cmp.Or(o.Limit, DefaultLimit)
	return o
}

// ripe is when the grace of something that is unfinished now began, if that is over.
func (o Options) ripe() time.Time { return o.Now.Add(-o.Grace) }

// Run audits the database. An error means that it could not be looked at, or Alipay not be asked; the report then holds
// what had been found so far.
func Run(ctx context.Context, db *sql.DB, options Options) (Report, error) {
	options = options.withDefaults()
	report := Report{At: options.Now, Results: []Result{}, Unanswered: []Finding{}}
	if err := options.findRecent(ctx, db); err != nil {
		return report, err
	}
	results, err := askBooks(ctx, db, options)
	report.add(results...)
	if err != nil || options.Alipay == nil {
		return report, err
	}
	asked := newComparison(db, options)
	err = asked.run(ctx)
	report.add(asked.results...)
	report.Unanswered = append(report.Unanswered, asked.unanswered...)
	return report, err
}

// findRecent finds the orders that Since leaves, once for all checks.
func (o *Options) findRecent(ctx context.Context, db *sql.DB) error {
	if o.Since <= 0 {
		return nil
	}
	rows, err := db.QueryContext(ctx, `
		select id from xc_orders where create_date >= @since
		union select order_id from xc_pay_record where create_date >= @since`, o.arguments())
	if err != nil {
		return fmt.Errorf("find the recent orders: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("find the recent orders: %w", err)
		}
		o.recent = append(o.recent, id)
	}
	return rows.Err()
}

// askBooks runs the checks on one snapshot of the database.
func askBooks(ctx context.Context, db *sql.DB, options Options) ([]Result, error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("begin the audit: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	var results []Result
	for _, check := range Checks() {
		result, err := check.run(ctx, tx, options)
		if err != nil {
			return results, fmt.Errorf("check %s: %w", check.Name, err)
		}
		results = append(results, result)
	}
	return results, nil
}

func (c Check) run(ctx context.Context, tx *sql.Tx, options Options) (Result, error) {
	result := Result{Check: c.Name, Meaning: c.Meaning, Waits: c.Waits, Findings: []Finding{}}
	//nolint:gosec // both parts are texts of this package; what varies is an argument
	query := options.books() + `
		select coalesce(f.order_id, 0), coalesce(f.pay_no, 0), coalesce(f.detail, ''), count(*) over ()
		from (` + c.query + `) f (order_id, pay_no, detail)
		order by 1, 2, 3 limit @limit`
	rows, err := tx.QueryContext(ctx, query, options.arguments())
	if err != nil {
		return result, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		found := Finding{Check: c.Name}
		if err := rows.Scan(&found.OrderID, &found.PayNo, &found.Detail, &result.Count); err != nil {
			return result, err
		}
		result.Findings = append(result.Findings, found)
	}
	return result, rows.Err()
}

func (o Options) arguments() pgx.NamedArgs {
	var since time.Time
	if o.Since > 0 {
		since = o.Now.Add(-o.Since)
	}
	return pgx.NamedArgs{
		"now": o.Now, "since": since, "ripe": o.ripe(), "ripe_refund": o.Now.Add(-refundGrace), "limit": o.Limit,
		"steps": steps(), "types": auditedTypes, "recent": o.recent,
	}
}

// auditedTypes are the types of order whose goods the checks can find.
var auditedTypes = []string{string(models.OrderCourse), string(models.OrderMaterial)}

// steps lists what models allows an order to do, as "from>to".
func steps() []string {
	all := []models.OrderStatus{
		models.OrderUnpaid, models.OrderPaid, models.OrderClosed, models.OrderRefunded, models.OrderFinished,
	}
	var allowed []string
	for _, from := range all {
		for _, to := range all {
			if from.May(to) {
				allowed = append(allowed, string(from)+">"+string(to))
			}
		}
	}
	return allowed
}

// books are the common table expressions that every query begins with:
//
//	orders, attempts   the rows of xc_orders and xc_pay_record that are looked at
//	parked             for a payment that the books refused, what had come in
//	back               what of an attempt's money is back (done), back or on its way (owed), or also given up (dealt)
//	told               the messages to the bus, delivered or not
//	excused            payments that wait for an operator, or that one has dealt with by hand
//
// One that a query does not name costs nothing.
func (o Options) books() string {
	orders, attempts, messages := "", "", ""
	if o.Since > 0 {
		orders, attempts = "where id = any (@recent)", "where order_id = any (@recent)"
		messages = "where business_key1 in (select out_business_id from orders)"
	}
	return strings.NewReplacer("{orders}", orders, "{attempts}", attempts, "{messages}", messages).Replace(`
	with orders as not materialized (select * from xc_orders {orders}),
	attempts as not materialized (select * from xc_pay_record {attempts}),
	parked as (select pay_no, max(amount) as amount from ops_attention where request_no is null group by pay_no),
	back as (
	    select pay_no, sum(amount) filter (where status = 'refunded') as done,
	        sum(amount) filter (where status <> 'closed') as owed, sum(amount) as dealt
	    from xc_refund_record group by pay_no
	),
	told as (
	    select business_key1, business_key2, message_type from mq_message {messages}
	    union all select business_key1, business_key2, message_type from mq_message_history {messages}
	),
	excused as (
	    select pay_no from (
	        select distinct on (pay_no) pay_no, decide_date, decision from ops_attention where request_no is null order by pay_no, id desc
	    ) latest where decide_date is null or decision = 'close')`)
}
