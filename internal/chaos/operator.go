package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"coursepay/workflows"
)

// operator sits at the desk: refunds what learners do not want, and decides about what is parked.
type operator struct {
	client *caller
	diary  *diary
	tried  map[string]int // retries, by workflow and attempt
}

// refund is one that the API has taken.
type refund struct {
	OutRequestNo string
	OrderID      string
	PayNo        string
	Amount       json.Number
}

const part = "0.50"

// refund gives money back, in part or in full. Every try has the same key, so it is one refund.
func (o *operator) refund(ctx context.Context, orderID, how string) {
	body := map[string]any{"reason": "不想学了"}
	if how == "part" {
		body["amount"] = part
	}
	var done refund
	err := persist(ctx, func() error {
		return o.client.call(ctx, "refund", http.MethodPost, "/orders/"+orderID+"/refunds", "chaos "+orderID, body, &done)
	})
	if err == nil {
		o.diary.write(func() { o.diary.refunds = append(o.diary.refunds, done) })
	}
}

// parked is what waits for an operator, as the API tells it.
type parked struct {
	WorkflowID, PayNo, OutRequestNo, Reason string
	Actions                                 []string
}

// serve decides about whatever is parked, again and again, until ctx ends.
func (o *operator) serve(ctx context.Context) {
	for sleep(ctx, 3*time.Second) {
		var cases []parked
		if err := o.client.call(ctx, "attention", http.MethodGet, "/ops/attention", "", nil, &cases); err != nil {
			continue
		}
		for _, c := range cases {
			o.decide(ctx, c)
		}
	}
}

// decide tries a case once more; the third time, a payment is given back.
func (o *operator) decide(ctx context.Context, c parked) {
	action, id := workflows.ActionRetry, fmt.Sprint(c.WorkflowID, " ", c.PayNo, " ", c.OutRequestNo)
	if o.tried[id] >= 2 && slices.Contains(c.Actions, workflows.ActionRefund) {
		action = workflows.ActionRefund
	}
	err := o.client.call(ctx, "decide", http.MethodPost, "/ops/decisions", "", map[string]any{
		"workflowId": c.WorkflowID, "payNo": c.PayNo, "action": action, "note": "chaos",
	}, new(any))
	if err != nil {
		return
	}
	o.tried[id]++
	o.diary.note("operator: %s for %s (%s)", action, c.WorkflowID, c.Reason)
	o.diary.count(&o.diary.Decisions, action+": "+c.Reason)
}
