package models

import "slices"

// Which status may follow which. Every change is one conditional UPDATE whose WHERE clause is made from this table, so
// a step that is not here cannot be taken, whoever asks for it and however often.
var (
	orderTransitions = map[OrderStatus][]OrderStatus{
		OrderUnpaid:   {OrderPaid, OrderClosed},
		OrderClosed:   {OrderUnpaid, OrderPaid}, // asked for again; paid late
		OrderPaid:     {OrderRefunded, OrderFinished},
		OrderFinished: {OrderRefunded},
	}
	payTransitions = map[PayStatus][]PayStatus{
		PayUnpaid: {PayPaid, PayRefunded}, // given back without having bought anything: the books had refused it
		PayPaid:   {PayRefunded},
	}
	chooseTransitions = map[ChooseStatus][]ChooseStatus{
		ChoosePending: {ChooseDone},
	}
)

// May says whether the order may go from s to next.
func (s OrderStatus) May(next OrderStatus) bool { return slices.Contains(orderTransitions[s], next) }

// May says whether the pay record may go from s to next.
func (s PayStatus) May(next PayStatus) bool { return slices.Contains(payTransitions[s], next) }

// before lists the statuses from which next may be reached.
func before[S ~string](table map[S][]S, next S) []S {
	var from []S
	for s, targets := range table {
		if slices.Contains(targets, next) {
			from = append(from, s)
		}
	}
	return from
}
