package bench

import (
	"fmt"
	"time"
)

// Verdict is whether something grows.
type Verdict string

// The verdicts; judgeSeries has the rule.
const (
	Flat      Verdict = "flat"
	LevelsOff Verdict = "levels off" // has grown, and hardly does any more: something has filled up
	Grows     Verdict = "grows"
	TooShort  Verdict = "too few samples"
)

// quantity is what a series counts.
type quantity string

const (
	goroutines  quantity = "goroutines"
	heap        quantity = "heap"   // bytes at which the next collection is due: follows what was alive at the last
	memory      quantity = "memory" // bytes, anonymous and resident
	files       quantity = "files"
	connections quantity = "connections"
	stories     quantity = "stories"
)

// floors are by how much a series may be higher in the end whatever its level: the noise of a small number.
var floors = map[quantity]float64{goroutines: 20, heap: 2 << 20, memory: 16 << 20, files: 10, connections: 5, stories: 20}

const (
	tolerated  = 0.10 // of its level may be added, besides the floor
	stillGrows = 0.25 // of what was added has come between the middle third and the last: else it levels off
	fewest     = 9    // samples that can be judged
)

// Series is one quantity over the soak.
type Series struct {
	Name     string   `json:"name"`
	Quantity quantity `json:"quantity"`
	// Ours says that growth is a fault of ours: the exit code shows it. The others keep more by design: the sandbox every
	// trade, Temporal's development server every history.
	Ours bool `json:"ours"`
	// First, Middle and Last are the medians of thirds, after the warm-up.
	First  float64 `json:"first"`
	Middle float64 `json:"middle"`
	Last   float64 `json:"last"`
	// PerHour is what is added in an hour, if it goes on as from the first third to the last.
	PerHour float64   `json:"perHour"`
	Allowed float64   `json:"allowed"` // that Last may be above First
	Verdict Verdict   `json:"verdict"`
	Values  []float64 `json:"values"` // all samples, of the warm-up too
}

// judgeSeries compares thirds of what comes after the warm-up, by their medians. It grows if the last is above the first
// by more than a tenth of that and the floor, and still did so lately: a quarter or more of it came between the middle
// third and the last. at are the samples' times in seconds.
func judgeSeries(s Series, at []float64, warmUp time.Duration) Series {
	begin := 0
	for begin < len(at) && at[begin] < warmUp.Seconds() {
		begin++
	}
	at, values := at[begin:], s.Values[begin:]
	third := len(values) / 3
	if len(values) < fewest {
		s.Verdict = TooShort
		return s
	}
	s.First, s.Middle, s.Last = median(values[:third]), median(values[third:len(values)-third]), median(values[len(values)-third:])
	added := s.Last - s.First
	s.PerHour = ratio(added, median(at[len(at)-third:])-median(at[:third])) * time.Hour.Seconds()
	s.Allowed = tolerated*s.First + floors[s.Quantity]
	switch {
	case added <= s.Allowed:
		s.Verdict = Flat
	case s.Last-s.Middle < stillGrows*added:
		s.Verdict = LevelsOff
	default:
		s.Verdict = Grows
	}
	return s
}

// show is a value for people.
func (s Series) show(value float64) string {
	if s.Quantity == heap || s.Quantity == memory {
		return fmt.Sprintf("%.1f MiB", value/(1<<20))
	}
	return fmt.Sprintf("%.0f", value)
}

func (r *Report) soakTable() (t table) {
	s := r.Soak
	if s == nil {
		return t
	}
	t.title = fmt.Sprintf("soak: %.0f s at %g visits a second; medians of thirds, after a warm-up of %.0f s; orders may be paid for %.0f s",
		s.Seconds, s.PerSecond, s.WarmUp, s.OrderLives)
	t.add("", "first", "middle", "last", "", "more in an hour", "")
	for _, one := range s.Series {
		whose := "not ours"
		if one.Ours {
			whose = ""
		}
		more := ""
		if one.Verdict == Grows || one.Verdict == LevelsOff {
			more = one.show(one.PerHour)
		}
		t.add(one.Name, one.show(one.First), one.show(one.Middle), one.show(one.Last), string(one.Verdict), more, whose)
	}
	return t
}

// visitsTable shows what the learners of a soak did.
func (r *Report) visitsTable() (t table) {
	s := r.Soak
	if s == nil {
		return t
	}
	t.title = "visits"
	for _, name := range byValue(asFloats(s.Visits)) {
		t.add(name, fmt.Sprint(s.Visits[name]))
	}
	if s.Failed > 0 {
		t.add("failed", fmt.Sprint(s.Failed), s.FirstFailure)
	}
	if s.Crowded > 0 {
		t.add("left out: too many at once", fmt.Sprint(s.Crowded))
	}
	if !s.Judged {
		t.add("not judged", "the number of open orders is steady only once the first have run out: soak longer, or start the stack with a shorter ORDER_EXPIRY")
	}
	return t
}

func asFloats(counts map[string]int) map[string]float64 {
	floats := map[string]float64{}
	for name, n := range counts {
		floats[name] = float64(n)
	}
	return floats
}
