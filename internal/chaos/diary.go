package chaos

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// diary keeps what was done, what was promised, and what was found. It is safe for concurrent use.
type diary struct {
	mu    sync.Mutex
	out   io.Writer
	begin time.Time

	Faults    map[string]int // by kind and target
	Answers   map[string]int // by request and what came of it
	Decisions map[string]int // of operators
	codes     []code
	refunds   []refund
	paid      []string // attempts that payresult called paid
	findings  []Finding
}

// code is a code that was handed out: an attempt that the shop is bound to.
type code struct{ User, OrderID, PayNo string }

func newDiary(out io.Writer) *diary {
	return &diary{
		out: out, begin: time.Now(), Faults: map[string]int{}, Answers: map[string]int{}, Decisions: map[string]int{},
	}
}

// note prints a line with the time since the start.
func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = fmt.Fprintf(d.out, "%7.1f s  %s\n", time.Since(d.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (d *diary) count(into *map[string]int, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	(*into)[what]++
}

// write keeps something under the diary's lock.
func (d *diary) write(keep func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keep()
}

func (d *diary) find(f Finding) {
	d.note("FOUND  %s", f)
	d.write(func() { d.findings = append(d.findings, f) })
}
