// Package endings tests the endings of an order: what can happen to one, in every order that can occur, generated.
//
// Each sequence of events runs against the real workflows (with time that skips), the real activities, the real books in
// Postgres, and the real Alipay client talking to the sandbox. When nothing more can happen, the books have to be right,
// whatever the order was. What is played here is the world around us: the buyer, Alipay, the learner who cancels, the
// operators, a worker that dies.
package endings

import (
	"hash/fnv"
	"iter"
	"slices"
	"strings"
)

// event is something that happens to an order.
type event string

const (
	notify   event = "notify"   // the buyer pays and Alipay's callback arrives; of a payment that was made, it arrives (again)
	poll     event = "poll"     // the buyer pays and the callback is lost: only asking can find it
	expiry   event = "expiry"   // the time to pay runs out
	cancel   event = "cancel"   // the learner wants the order no more
	second   event = "second"   // the buyer pays on the older page, which is open on another phone
	refund   event = "refund"   // an operator gives the order's money back
	operator event = "operator" // an operator decides about what is parked, if anything is
	crash    event = "crash"    // the next step is done and nobody hears of it, or is not done at all
)

var events = []event{notify, poll, expiry, cancel, second, refund, operator, crash}

// sequence is events in the order in which they happen.
type sequence []event

func (s sequence) String() string {
	names := make([]string, len(s))
	for i, e := range s {
		names[i] = string(e)
	}
	return strings.Join(names, ",")
}

// dice is a number that is always the same for this sequence: what varies without being an event varies with it.
func (s sequence) dice(salt string) int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(salt + "/" + s.String())) // never fails
	return int(hash.Sum32() >> 1)
}

// outside is how the world around us stands. It alone decides what can happen next, so what cannot occur is excluded by
// a rule and not by a list. Nothing in it depends on how our system reacts.
type outside struct {
	newPaid  bool // the page of the newest code was paid
	oldPaid  bool // the page of the code before it was paid
	over     bool // both pages are past their time
	payments int
}

// can is the rule.
//
//   - The time to pay can run out once for each pair of codes.
//   - A page can be paid once, within its time. When its time is over the buyer can get a new code, as long as nobody
//     has paid for the order.
//   - A callback can always arrive again, if there was a payment.
//   - Only money that came in can be refunded.
//   - Learners, operators, and crashes can come at any time.
func (o outside) can(e event) bool {
	switch e {
	case notify:
		return o.payments > 0 || o.payable(o.newPaid)
	case poll:
		return o.payable(o.newPaid)
	case second:
		return o.payable(o.oldPaid)
	case expiry:
		return !o.over
	case refund:
		return o.payments > 0
	default:
		return true
	}
}

// payable says whether a page can be paid, or one in its place.
func (o outside) payable(paid bool) bool { return !paid && (!o.over || o.payments == 0) }

// after is how the world stands once e has happened.
func (o outside) after(e event) outside {
	switch {
	case e == expiry:
		o.over = true
	case (e == notify || e == poll) && o.payable(o.newPaid):
		o = outside{newPaid: true, oldPaid: o.oldPaid, payments: o.payments + 1}
	case e == second:
		o = outside{newPaid: o.newPaid, oldPaid: true, payments: o.payments + 1}
	}
	return o
}

// sequences generates every sequence of that many events that can occur.
func sequences(length int) iter.Seq[sequence] {
	return func(yield func(sequence) bool) { extend(nil, outside{}, length, yield) }
}

func extend(so sequence, world outside, more int, yield func(sequence) bool) bool {
	if more == 0 {
		return yield(slices.Clone(so))
	}
	for _, e := range events {
		if world.can(e) && !extend(append(so, e), world.after(e), more-1, yield) {
			return false
		}
	}
	return true
}

// circumstances are what an order's events meet; they stay the same for a whole sequence.
type circumstances string

const (
	plain    circumstances = "plain"    // two codes were shown and both pages opened; Alipay knows of neither until they are paid
	loggedIn circumstances = "loggedIn" // the buyer has logged in on the newer page, so that Alipay can close it
	offline  circumstances = "offline"  // the course is sold no more since the pages were opened
	refusing circumstances = "refusing" // the books refuse every payment until an operator mends them
	poor     circumstances = "poor"     // Alipay refuses every refund until an operator fills up the account
	racing   circumstances = "racing"   // the buyer pays just before anybody closes a page at Alipay
)

var allCircumstances = []circumstances{plain, loggedIn, offline, refusing, poor, racing}

// matter says whether these circumstances make a difference to the sequence, or to what follows it.
func (c circumstances) matter(s sequence) bool {
	payments := slices.ContainsFunc(s, func(e event) bool { return e == notify || e == poll || e == second })
	switch c {
	case plain, loggedIn:
		return true
	case offline, refusing:
		return payments
	case poor:
		return slices.Contains(s, refund) || slices.Contains(s, second)
	default: // racing: somebody has to try to close a page
		return slices.Contains(s, cancel) || payments || slices.Contains(s, expiry)
	}
}
