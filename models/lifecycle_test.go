package models_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/models"
)

// drawing is one state diagram of docs/order-lifecycle.md.
type drawing struct {
	names map[string]string // by code: what stands beside it
	steps map[step][]string // the events on each arrow; none where nothing of ours takes it
}

// step is an arrow between two codes; from is "" for an arrow out of nothing.
type step struct{ from, to string }

func lifecycleDoc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "order-lifecycle.md"))
	require.NoError(t, err)
	return string(text)
}

var (
	drawnState = regexp.MustCompile(`^state "(\S+) (\S+)" as (\w+)$`)
	drawnArrow = regexp.MustCompile(`^(\S+) --> (\S+)(?: : (.+))?$`)
)

// drawn reads the diagram below a heading.
func drawn(t *testing.T, heading string) drawing {
	t.Helper()
	_, section, found := strings.Cut(lifecycleDoc(t), "\n## "+heading+"\n")
	require.True(t, found, heading)
	_, section, found = strings.Cut(section, "```mermaid\nstateDiagram-v2\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "```")
	d := drawing{names: map[string]string{}, steps: map[step][]string{}}
	codes := map[string]string{"[*]": ""}
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if m := drawnState.FindStringSubmatch(line); m != nil {
			codes[m[3]], d.names[m[1]] = m[1], m[2]
			continue
		}
		m := drawnArrow.FindStringSubmatch(line)
		require.NotNil(t, m, "neither a state nor an arrow: %s", line)
		from, known := codes[m[1]]
		require.True(t, known, line)
		to, known := codes[m[2]]
		require.True(t, known, line)
		if to == "" {
			require.Empty(t, m[3], line)
			continue
		}
		require.NotEmpty(t, m[3], "an arrow says what causes it: %s", line)
		require.NotContains(t, d.steps, step{from, to}, "drawn twice: %s", line)
		d.steps[step{from, to}] = nil
		if !strings.HasPrefix(m[3], "(") {
			d.steps[step{from, to}] = strings.Split(m[3], ", ")
		}
	}
	return d
}

// triples are the arrows with each of their events.
func (d drawing) triples() []string {
	var all []string
	for s, events := range d.steps {
		for _, event := range events {
			all = append(all, triple(s.from, s.to, event))
		}
	}
	return all
}

func triple(from, to, event string) string { return from + " → " + to + ": " + event }

// sources parses this package without its tests.
func sources(t *testing.T) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// constants lists the values of a string type's constants.
func constants(t *testing.T, typeName string) []string {
	t.Helper()
	var values []string
	for _, file := range sources(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == typeName {
				values = append(values, literal(t, spec.Values[0]))
			}
			return true
		})
	}
	require.NotEmpty(t, values, typeName)
	return values
}

func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	value, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	require.NoError(t, err)
	return value
}

// checkTransitions compares a drawing with the table of transitions, for every pair of statuses.
func checkTransitions[S ~string](t *testing.T, heading, typeName string, may func(from, to S) bool) {
	t.Helper()
	d := drawn(t, heading)
	statuses := constants(t, typeName)
	require.Len(t, d.names, len(statuses), "every status is drawn, and nothing else")
	for _, from := range statuses {
		require.Equal(t, models.Label(S(from)), d.names[from], from)
		for _, to := range statuses {
			_, there := d.steps[step{from, to}]
			require.Equal(t, may(S(from), S(to)), there, "%s: %s → %s: allowed by the table, and drawn", heading, from, to)
		}
	}
}

func TestDrawingShowsTheTransitions(t *testing.T) {
	t.Parallel()
	checkTransitions(t, "Order", "OrderStatus", models.OrderStatus.May)
	checkTransitions(t, "Attempt", "PayStatus", models.PayStatus.May)
	require.ElementsMatch(t, constants(t, "RefundStatus"), codesOf(drawn(t, "Refund")))
}

func codesOf(d drawing) []string {
	var codes []string
	for code := range d.names {
		codes = append(codes, code)
	}
	return codes
}

// Every step of an order is taken once on real books, and leaves the event that is drawn. Red: an arrow that nothing
// takes, a step that is not drawn, an event that is called otherwise.
func TestOrdersTakeTheStepsThatAreDrawn(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	paid := b.paid("paid, refunded")
	b.refund(byOperator(paid, "n1", 1_00))
	finished := b.paid("finished, refunded")
	require.NoError(t, b.exec(`update xc_orders set status = '600005' where id = $1`, finished.OrderID)) // a neighbour's step
	b.refund(byOperator(finished, "n2", 1_00))
	chosen := b.choose("cancelled, closed, paid late")
	record := b.attempt(chosen, "a")
	_, err := b.CancelOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	record = b.attempt(chosen, "b")
	b.now = b.now.Add(time.Hour)
	_, err = b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	_, err = b.Settle(t.Context(), b.payment(record, "T-late"))
	require.NoError(t, err)

	taken := b.texts(`select distinct from_status || ' → ' || to_status || ': ' || event from order_audit where to_status is not null`)
	taken = append(taken, b.texts(`
		select distinct ' → 600001: ' || event from order_audit a
		where id = (select min(id) from order_audit f where f.order_id = a.order_id)`)...)
	require.ElementsMatch(t, drawn(t, "Order").triples(), taken)
}

// texts runs a query that gives one column of text.
func (b *books) texts(query string, args ...any) []string {
	b.t.Helper()
	rows, err := b.db.QueryContext(b.t.Context(), query, args...)
	require.NoError(b.t, err)
	defer func() { require.NoError(b.t, rows.Close()) }()
	var all []string
	for rows.Next() {
		var text string
		require.NoError(b.t, rows.Scan(&text))
		all = append(all, text)
	}
	require.NoError(b.t, rows.Err())
	return all
}

// watched notes what a step makes of one row, and which events name it.
type watched struct {
	b      *books
	status string // query of the row's status, with $1 for its key
	events string // query of the events that name it, in order, with $1 for its key
	taken  []string
}

// take takes a step on the row with that key.
func (w *watched) take(key any, act func() error) {
	w.b.t.Helper()
	from, before := w.look(key)
	require.NoError(w.b.t, act())
	to, after := w.look(key)
	if from == to {
		return
	}
	for _, event := range after[len(before):] {
		if fact := triple(from, to, event); !slices.Contains(w.taken, fact) {
			w.taken = append(w.taken, fact)
		}
	}
}

func (w *watched) look(key any) (status string, events []string) {
	if found := w.b.texts(w.status, key); len(found) == 1 {
		status = found[0]
	}
	return status, w.b.texts(w.events, key)
}

// The same for attempts.
func TestAttemptsTakeTheStepsThatAreDrawn(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	w := &watched{
		b: b, status: `select status from xc_pay_record where pay_no = $1`,
		events: `select event from order_audit where pay_no = $1 order by id`,
	}
	settle := func(r models.PayRecord, trade string) {
		w.take(r.PayNo, func() error { _, err := b.Settle(t.Context(), b.payment(r, trade)); return err })
	}
	giveBack := func(r models.RefundRequest) {
		_, err := b.OpenRefund(t.Context(), r)
		require.NoError(t, err)
		w.take(r.PayNo, func() error {
			back := models.TradeRefund{TradeNo: "T-" + r.RequestNo, Refunded: true, Amount: r.Amount, At: b.now}
			_, err := b.BookRefund(t.Context(), r.RequestNo, back)
			return err
		})
	}
	chosen := b.choose("u")
	first := b.attempt(chosen, "a")
	second := b.attempt(chosen, "b")
	settle(second, "T1")
	settle(first, "T2")
	giveBack(byOperator(second, "n1", 1_00))
	late := b.attempt(b.choose("v"), "c")
	_, err := b.CancelOrder(t.Context(), late.OrderID)
	require.NoError(t, err)
	refused := b.attempt(b.choose("w"), "d")
	payment := models.Payment{PayNo: refused.PayNo, TradeNo: "T4", Amount: 2_00, PaidAt: b.now}
	giveBack(models.RefundRequest{
		OrderID: refused.OrderID, PayNo: refused.PayNo, RequestNo: "n2", Amount: 2_00, Origin: models.RefundRefused, Payment: &payment,
	})
	require.NoError(t, b.exec(`update course_publish set status = '203003' where id = 1`))
	settle(late, "T3")

	w.taken = append(w.taken, triple("", "601001", b.texts(w.events, first.PayNo)[0]))
	require.ElementsMatch(t, drawn(t, "Attempt").triples(), w.taken)
}

// A refund in each status meets everything that the store can do to it.
func TestRefundsTakeTheStepsThatAreDrawn(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	w := &watched{
		b: b, status: `select status from xc_refund_record where request_no = $1`,
		events: `select event from order_audit where note like $1 || '%' and event in ('refund_requested', 'refunded', 'refund_closed', 'refund_reopened')
			order by id`,
	}
	record := b.paid("u")
	operations := []func(r models.RefundRequest) error{
		func(r models.RefundRequest) error { _, err := b.OpenRefund(t.Context(), r); return err },
		func(r models.RefundRequest) error {
			_, err := b.BookRefund(t.Context(), r.RequestNo, models.TradeRefund{TradeNo: "T", Refunded: true, Amount: r.Amount, At: b.now})
			return err
		},
		func(r models.RefundRequest) error { _, err := b.CloseRefund(t.Context(), r.RequestNo, "x"); return err },
	}
	for made := range operations { // as opened, then booked or closed
		for then := range operations {
			r := byOperator(record, fmt.Sprintf("n%d%d-", made, then), 1)
			w.take(r.RequestNo, func() error { return operations[0](r) })
			w.take(r.RequestNo, func() error { return operations[made](r) })
			w.take(r.RequestNo, func() error { return operations[then](r) })
		}
	}
	require.ElementsMatch(t, drawn(t, "Refund").triples(), w.taken)
}

// eventsInSource collects what the package's code can write to order_audit.event. An operator's decision is one of three
// words.
func eventsInSource(t *testing.T) []string {
	t.Helper()
	var events []string
	for _, file := range sources(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Event" {
					events = append(events, eventNames(t, n.Value)...)
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "moveOrder" {
					events = append(events, eventNames(t, n.Args[3])...)
				}
			}
			return true
		})
	}
	slices.Sort(events)
	return slices.Compact(events)
}

func eventNames(t *testing.T, e ast.Expr) []string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		return []string{literal(t, e)}
	case *ast.BinaryExpr: // "operator_" + decision
		prefix := literal(t, e.X)
		return []string{prefix + "retry", prefix + "refund", prefix + "close"}
	case *ast.CallExpr: // string(giveBack)
		return []string{string(models.RefundPaidTwice), string(models.RefundNotForSale)}
	case *ast.Ident: // moveOrder's own parameter
		return nil
	}
	require.Fail(t, "an event whose name this test cannot tell", "%T", e)
	return nil
}

// Red: an event that the document does not explain, or explains though nothing writes it.
func TestEveryEventIsExplained(t *testing.T) {
	t.Parallel()
	_, table, found := strings.Cut(lifecycleDoc(t), "\n## Events\n")
	require.True(t, found)
	var explained []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(table, -1) {
		for name := range strings.FieldsSeq(row[1]) {
			explained = append(explained, strings.Trim(name, "`"))
		}
	}
	require.ElementsMatch(t, eventsInSource(t), explained)
}
