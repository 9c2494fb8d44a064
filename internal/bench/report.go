package bench

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// Report is what a run has found.
type Report struct {
	Began   time.Time `json:"began"`
	Machine Machine   `json:"machine"`
	// Commit is the version that is measured.
	Commit      string `json:"commit,omitempty"`
	Orders      int    `json:"orders"` // of each kind
	Concurrency int    `json:"concurrency"`
	Rounds      int    `json:"rounds"` // that were made

	Comparison *Comparison `json:"comparison,omitempty"`
	Alone      *Alone      `json:"alone,omitempty"`
	Reads      []Read      `json:"reads,omitempty"`
	Idle       *Idle       `json:"idle,omitempty"`
	Growth     *Growth     `json:"growth,omitempty"`
	Soak       *Soak       `json:"soak,omitempty"`
	Overload   *Overload   `json:"overload,omitempty"`
	// Refused is how often a learner was told to come back later (503 or 429), and did.
	Refused int64 `json:"refused"`
	// LeftOut is what was not measured, and why.
	LeftOut []string `json:"leftOut,omitempty"`
}

// Machine is where the bench and the stack ran.
type Machine struct {
	CPU   string  `json:"cpu"`
	Cores int     `json:"cores"`
	Load  float64 `json:"loadBefore"` // load average over a minute, before the bench
}

// Comparison holds the orders against the skeleton. Everything is the median over rounds.
type Comparison struct {
	Skeleton Side `json:"skeleton"`
	Orders   Side `json:"orders"`
	// Throughput is the orders' passes a second, as a share of the skeleton's: the median of each round's own.
	Throughput float64 `json:"throughputRatio"`
	Creation   float64 `json:"creationP50Ratio"`
	Settling   float64 `json:"settlingP50Ratio"`
}

// Side is one of the two.
type Side struct {
	PerSecond float64   `json:"perSecond"`
	Rounds    []float64 `json:"perSecondOfRounds"`
	Times
	Costs Costs `json:"costs"`
}

// Times are latencies in milliseconds.
type Times struct {
	// Creation is from asking for a code to its answer: over HTTP, or the update that comes with the start.
	Creation Latency `json:"creation"`
	// Settling is, of an order, from the callback's arrival at the API (receive_date in pay_notify) until the bench hears
	// from Postgres that the transaction with the course-table row is committed; of the skeleton, from sending the signal
	// until its last activity runs.
	Settling Latency `json:"settling"`
	// Click is from the buyer's confirmation at the sandbox to the event on the learner's open page (GET /orders/events).
	Click Latency `json:"clickToPage"`
}

// Alone is one pass at a time.
type Alone struct {
	Skeleton Times `json:"skeleton"`
	Orders   Times `json:"orders"`
}

func newReport(cfg Config, leftOut []string) *Report {
	return &Report{
		Began: time.Now(), Commit: cmp.Or(cfg.Commit, commit()), Orders: cfg.Orders, Concurrency: cfg.Concurrency, LeftOut: leftOut,
		Machine: Machine{CPU: cpuModel(), Cores: runtime.NumCPU(), Load: loadAverage()},
	}
}

func (k *kind) times() Times {
	return Times{Creation: medianLatency(k.creation), Settling: medianLatency(k.settling), Click: medianLatency(k.click)}
}

func (k *kind) side() Side {
	return Side{PerSecond: median(k.rounds), Rounds: k.rounds, Times: k.times(), Costs: k.costs.each()}
}

// compare takes over what the rounds have found, if one was finished.
func (r *Report) compare(bare, paid *kind, rounds int) {
	if rounds == 0 {
		return
	}
	r.Rounds = rounds
	c := &Comparison{Skeleton: bare.side(), Orders: paid.side()}
	shares := make([]float64, len(paid.rounds))
	for i := range shares {
		shares[i] = ratio(paid.rounds[i], bare.rounds[i])
	}
	c.Throughput = median(shares)
	c.Creation = ratio(c.Orders.Creation.P50, c.Skeleton.Creation.P50)
	c.Settling = ratio(c.Orders.Settling.P50, c.Skeleton.Settling.P50)
	r.Comparison = c
}

func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if settings["vcs.modified"] == "true" {
		return revision[:min(12, len(revision))] + "+"
	}
	return revision[:min(12, len(revision))]
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func loadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	var load float64
	if _, err := fmt.Sscan(string(text), &load); err != nil {
		return 0
	}
	return load
}
