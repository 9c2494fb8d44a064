package endings

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"coursepay/internal/devstack"
	"coursepay/models"
)

// longestInTable is how many events a row of docs/endings.md has at most.
const longestInTable = 2

// table collects how short sequences end.
type table struct {
	mu   sync.Mutex
	rows map[string]string
}

func (tb *table) add(how circumstances, seq sequence, b books) {
	if len(seq) > longestInTable {
		return
	}
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.rows[string(how)+"/"+seq.String()] = b.row(seq)
}

// row is an ending as one line of the table.
func (b books) row(seq sequence) string {
	attempts := make([]string, len(b.attempts))
	for i, a := range b.attempts {
		attempts[i] = string(a.Status) + " " + models.Label(a.Status)
		if a.Status == models.PayUnpaid {
			attempts[i] += ", closed"
		}
		if b.bought(a.PayNo) {
			attempts[i] += ", bought it"
		}
		if a.back > a.booked {
			attempts[i] += ", given back by hand"
		}
	}
	var refunds []string
	for _, r := range b.refunds {
		refunds = append(refunds, fmt.Sprintf("%s %s (%s)", r.Amount, r.Status, r.Origin))
	}
	enrolled := map[bool]string{true: "enrolled", false: "–"}[b.enrolled == 1]
	order := string(b.order.Status) + " " + models.Label(b.order.Status)
	cells := []string{orDash(strings.ReplaceAll(seq.String(), ",", ", ")), order, strings.Join(attempts, "<br>"), orDash(strings.Join(refunds, "<br>")), enrolled}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}

// meanings says what circumstances are, in the words of the table's readers.
var meanings = map[circumstances]string{
	plain:    "Two codes were shown, and both pages are open, on two phones. Alipay knows of neither before it is paid, so it can close neither.",
	loggedIn: "The same, and the buyer has logged in on the newer page: Alipay can close that one.",
	offline:  "The course is taken offline once the pages are open. What was promised is kept, a late payment goes back.",
	refusing: "The books refuse every payment until an operator has mended them: it is parked.",
	poor:     "Alipay refuses every refund until an operator has filled up the account: it is parked.",
	racing:   "The buyer pays just before anybody closes a page at Alipay.",
}

const preface = `# Every ending

How an order ends when these things happen to it, in this order, and then nothing more. The rows are not written by hand:
internal/endings generates every sequence that can occur, plays it, and writes this file (the test fails when it is not
current; ` + "`UPDATE=1 go test ./internal/endings`" + ` writes it). Longer sequences are played too, and only checked.

**notify**: the buyer pays on the newest page, and the callback arrives; of a payment that was made before, it arrives
again. **poll**: the buyer pays, and the callback is lost. **expiry**: the time to pay runs out. **cancel**: the learner
cancels. **second**: the buyer pays on the older page. **refund**: an operator gives the order's money back. **operator**:
an operator decides about what is parked: retry, refund or close, one of them in each row. **crash**: a worker dies in the
next step. What is still parked at the end is decided too.

Attempts are listed as they were made; the time of every unpaid one is over, and it is closed.
`

func (tb *table) text() string {
	var text strings.Builder
	text.WriteString(preface)
	for _, how := range allCircumstances {
		fmt.Fprintf(&text, "\n## %s\n\n%s\n\n| what happens | order | attempts | refunds | learner |\n|---|---|---|---|---|\n", how, meanings[how])
		for length := range longestInTable + 1 {
			for seq := range sequences(length) {
				text.WriteString(tb.rows[string(how)+"/"+seq.String()])
			}
		}
	}
	return text.String()
}

// isCurrent compares the table with docs/endings.md.
func (tb *table) isCurrent(t *testing.T) {
	t.Helper()
	root, err := devstack.ModuleRoot()
	path := filepath.Join(root, "docs", "endings.md")
	if err == nil && os.Getenv("UPDATE") != "" {
		err = os.WriteFile(path, []byte(tb.text()), 0o644)
	}
	if err != nil {
		t.Error(err)
		return
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	assert.Equal(t, string(written), tb.text(), "UPDATE=1 go test ./internal/endings writes it anew")
}
