package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"coursepay/models"
)

// Plan is all that a run will try, as the seed has it: what breaks and when, who comes and what they do. The same seed,
// orders and time give the same plan; what happens then is up to the machine, too.
type Plan struct {
	Steps     []Step     `json:"steps"`
	Customers []Customer `json:"customers"`
}

// Step is one thing that goes wrong, for a while.
type Step struct {
	At   time.Duration `json:"at"`  // since the start
	For  time.Duration `json:"for"` // how long
	Kind Kind          `json:"kind"`
	// Target is a service, or everything (kill), a link such as "worker-postgres" (cut, reset, slow, blackhole), or one of the sandbox's
	// faults such as "notify.drop".
	Target string `json:"target"`
}

// What Postgres has no room for: a table that grows is an error then, a log that grows ends Postgres.
const (
	fullData = "disk of postgres"
	fullLog  = "disk of postgres' log"
)

// Kind says how something goes wrong.
type Kind string

// What can go wrong.
const (
	Kill      Kind = "kill"      // kill -9, and a start some time later
	Cut       Kind = "cut"       // connections are closed and new ones refused
	Reset     Kind = "reset"     // connections are reset (TCP RST), also those that are made meanwhile
	Slow      Kind = "slow"      // everything takes longer
	Blackhole Kind = "blackhole" // connections stay, and nothing goes through
	Full      Kind = "full"      // there is no room on the disk of Postgres
	Misplay   Kind = "alipay"    // the sandbox plays one of its faults
)

// Customer is one learner who wants one thing.
type Customer struct {
	At    time.Duration    `json:"at"`
	User  string           `json:"user"`
	Type  models.OrderType `json:"orderType"`
	Goods string           `json:"goods"` // a course or a material
	Does  Deed             `json:"does"`
	// Refund is what an operator gives back once the payment is in the books: "", "part" or "full".
	Refund string `json:"refund,omitempty"`
	// Skew is how wrong the clock is that the learner's tokens come from.
	Skew time.Duration `json:"skew"`
	// Keyed: the requests for codes carry an Idempotency-Key.
	Keyed bool `json:"keyed"`
}

// Deed is how a customer goes about it.
type Deed string

// What customers do.
const (
	Buys        Deed = "buys"            // one code, scanned and paid
	AsksAgain   Deed = "asks again"      // a second code, and that is paid
	AsksAtOnce  Deed = "asks twice"      // two codes at the same time; the one that still works is paid
	PaysOld     Deed = "pays old page"   // opens the page, asks for another code, pays the first page if it can
	PaysBoth    Deed = "pays both"       // opens two pages and pays both
	Cancels     Deed = "cancels"         // cancels, sometimes with the page open
	ComesBack   Deed = "comes back"      // cancels, thinks again and pays
	CancelsPays Deed = "cancels, paying" // cancels and pays at the same moment
	Looks       Deed = "only looks"      // opens the page and goes away
	NeverScans  Deed = "never scans"
)

// deeds are weighed by how often they stand here.
var deeds = []Deed{
	Buys, Buys, Buys, Buys, Buys, AsksAgain, AsksAgain, AsksAtOnce, PaysOld, PaysOld, PaysBoth, PaysBoth, Cancels,
	ComesBack, ComesBack, CancelsPays, CancelsPays, Looks, Looks, NeverScans,
}

// bought are the demo catalogue's goods that cost something, courses more often.
var bought = []struct {
	orderType models.OrderType
	id        string
}{
	{models.OrderCourse, "1"}, {models.OrderCourse, "2"}, {models.OrderCourse, "3"}, {models.OrderCourse, "5"},
	{models.OrderMaterial, "101"}, {models.OrderMaterial, "102"},
}

// skews are wrong clocks whose tokens are good all the same: those of the first have just run out, within the leeway.
var skews = []time.Duration{-tokensLast - 10*time.Second, 20 * time.Second, 10 * time.Minute, 0, 0, 0, 0}

// misplays are the sandbox's faults that a step may switch on.
var misplays = []string{
	"notify.drop", "notify.delay", "notify.duplicate", "notify.reorder", "notify.signature", "notify.charset", "notify.header",
	"gateway.slow", "gateway.hang", "gateway.http5xx", "gateway.systemError", "gateway.executedThenTimeout",
	"gateway.unsigned", "gateway.tampered", "refund.pending", "refund.sellerBalance", "race.payBeforeClose",
}

// killed are the services, those that are deployed often twice, and all of them at once.
var killed = []string{"api", "api", "worker", "worker", "rabbitmq", "postgres", "temporal", "sandbox", everything}

const everything = "everything"

const (
	firstStep     = 3 * time.Second // there are some orders by then
	pauseOfSteps  = 2 * time.Second // least time between two steps
	spreadOfSteps = 3 * time.Second // and up to that much more
	comeUntil     = 85              // customers come in the first so many percent of the time
	shortest      = time.Second     // that something is broken
)

// NewPlan draws a plan from the seed, for so many replicas of our processes.
func NewPlan(seed uint64, orders int, length time.Duration, replicas int) Plan {
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // to be drawn again from the same seed
	return Plan{Steps: drawSteps(r, length, replicas), Customers: drawCustomers(r, seed, orders, length)}
}

// drawSteps deals from a shuffled deck, so that everything has its turn before anything comes again.
func drawSteps(r *rand.Rand, length time.Duration, replicas int) []Step {
	var steps, deck []Step
	for at := firstStep; at < length-shortest; at += pauseOfSteps + between(r, 0, spreadOfSteps) {
		if len(deck) == 0 {
			deck = newDeck()
			r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		step := deck[0]
		deck = deck[1:]
		step.At = at
		if replicas > 1 {
			step.Target = drawReplica(r, step.Target, replicas)
		}
		step.For = min(between(r, shortest, longest[step.Kind]), length-at)
		steps = append(steps, step)
	}
	return steps
}

// drawReplica draws which replica it hits, where there are several of what the step is about.
func drawReplica(r *rand.Rand, target string, replicas int) string {
	app, service, isLink := strings.Cut(target, "-")
	if app != "api" && app != "worker" {
		return target
	}
	app = replicaNames(app, replicas)[r.IntN(replicas)]
	if isLink {
		return app + "-" + service
	}
	return app
}

var longest = map[Kind]time.Duration{
	Kill: 6 * time.Second, Cut: 6 * time.Second, Reset: 5 * time.Second, Slow: 12 * time.Second,
	Blackhole: 15 * time.Second, Full: 8 * time.Second, Misplay: 20 * time.Second,
}

func newDeck() []Step {
	deck := []Step{{Kind: Full, Target: fullData}, {Kind: Full, Target: fullLog}}
	for _, service := range killed {
		deck = append(deck, Step{Kind: Kill, Target: service})
	}
	for _, link := range linkNames {
		for _, kind := range []Kind{Cut, Reset, Slow, Blackhole} {
			deck = append(deck, Step{Kind: kind, Target: link})
		}
	}
	for _, fault := range misplays {
		deck = append(deck, Step{Kind: Misplay, Target: fault})
	}
	return deck
}

func drawCustomers(r *rand.Rand, seed uint64, orders int, length time.Duration) []Customer {
	customers := make([]Customer, orders)
	for i := range customers {
		goods := bought[r.IntN(len(bought))]
		c := Customer{
			At:   between(r, 0, length*comeUntil/100),
			User: fmt.Sprintf("chaos-%d-%d", seed, i), Type: goods.orderType, Goods: goods.id,
			Does: deeds[r.IntN(len(deeds))], Skew: skews[r.IntN(len(skews))], Keyed: r.IntN(2) == 0,
		}
		switch n := r.IntN(10); {
		case n < 2:
			c.Refund = "full"
		case n == 2 && goods.id != "5": // of a fen, there is no part
			c.Refund = "part"
		}
		customers[i] = c
	}
	slices.SortFunc(customers, func(a, b Customer) int { return cmp.Compare(a.At, b.At) })
	return customers
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return (low + time.Duration(r.Int64N(int64(high-low)))).Round(time.Millisecond)
}
