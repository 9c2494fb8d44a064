package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"coursepay/activities"
	"coursepay/models"
)

// ReconcileInput says what to look through; without either, nothing.
type ReconcileInput struct {
	Sweep bool   `json:"sweep,omitempty"`
	Bill  bool   `json:"bill,omitempty"`
	Date  string `json:"date,omitempty"` // of the bill, as models.BillDayLayout; without it, yesterday in China
}

// Reconciled is what a ReconcileWorkflow found; a part that was not asked for is nil.
type Reconciled struct {
	Sweep *activities.Swept      `json:"sweep,omitempty"`
	Bill  *activities.BillReport `json:"bill,omitempty"`
}

// ReconcileWorkflow finds what every other way has missed: it wakes orders and refunds that our books show to have been
// left lying, and compares the bill of a day with our books. It changes no order: the order's own workflow does. What
// only a person can mend is kept as a finding, and NeedsOperator says so.
func ReconcileWorkflow(ctx workflow.Context, in ReconcileInput) (Reconciled, error) {
	var done Reconciled
	var steps *activities.Reconciler
	if in.Sweep {
		workflow.SetCurrentDetails(ctx, "清扫 · looking for what was left lying")
		if err := workflow.ExecuteActivity(sweeping(ctx), steps.Sweep).Get(ctx, &done.Sweep); err != nil {
			return done, askForHelp(ctx, err)
		}
	}
	if in.Bill {
		day := in.billDay(ctx)
		workflow.SetCurrentDetails(ctx, "对账 "+day+" · comparing the bill with our books")
		if err := workflow.ExecuteActivity(comparing(ctx, day), steps.CompareBill, day).Get(ctx, &done.Bill); err != nil {
			return done, askForHelp(ctx, err)
		}
	}
	workflow.SetCurrentDetails(ctx, done.details())
	if done.Bill != nil && done.Bill.Count > 0 {
		return done, workflow.UpsertTypedSearchAttributes(ctx, AttrNeedsOperator.ValueSet(true))
	}
	return done, nil
}

// askForHelp makes a run that failed stand out.
func askForHelp(ctx workflow.Context, failed error) error {
	workflow.SetCurrentDetails(ctx, "**需要人工处理 · needs an operator**: "+failed.Error()+
		"\n\n处理后重新对账 · mend the cause, then run it again: `coursepay reconcile`")
	if err := workflow.UpsertTypedSearchAttributes(ctx, AttrNeedsOperator.ValueSet(true)); err != nil {
		return err
	}
	return failed
}

// attrScheduledStart is Temporal's own: when a schedule meant the run to start. A run that was caught up starts later.
var attrScheduledStart = temporal.NewSearchAttributeKeyTime("TemporalScheduledStartTime")

func (in ReconcileInput) billDay(ctx workflow.Context) string {
	if in.Date != "" {
		return in.Date
	}
	meant, scheduled := workflow.GetTypedSearchAttributes(ctx).GetTime(attrScheduledStart)
	if !scheduled {
		meant = workflow.Now(ctx)
	}
	return meant.In(models.China).AddDate(0, 0, -1).Format(models.BillDayLayout)
}

// details tells an operator what was found.
func (r Reconciled) details() string {
	var lines []string
	if s := r.Sweep; s != nil {
		lines = append(lines, fmt.Sprintf("清扫 · swept: 唤醒订单 woken %d, 找到付款 payments found %d, 续办入账 settlings resumed %d, "+
			"退款 refunds %d, 留待下次 left to the next sweep %d\n", s.Woken, s.Payments, s.Resumed, s.Refunds, s.Failed))
	}
	if b := r.Bill; b != nil {
		lines = append(lines, fmt.Sprintf("账单 · bill %s: %d 行 rows, 找到付款 payments found %d, 退款 refunds %d, 差异 findings %d\n",
			b.Date, b.Rows, b.Payments, b.Refunds, b.Count))
		for _, f := range b.Findings {
			lines = append(lines, fmt.Sprintf("- **%s** payNo `%s`, trade_no `%s`, out_request_no `%s` %s",
				f.Kind, f.PayNo, f.TradeNo, f.RequestNo, f.Detail))
		}
	}
	return strings.Join(lines, "\n")
}

// sweeping is for a step that comes again soon by itself, so it need not be tried for ever.
func sweeping(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout:    30 * time.Minute,
		ScheduleToCloseTimeout: time.Hour,
		HeartbeatTimeout:       time.Minute,
		Summary:                "清扫 · sweep",
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 5 * time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
	})
}

// comparing is for a bill: it may be ready hours later, but before the next one is due.
func comparing(ctx workflow.Context, day string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout:    30 * time.Minute,
		ScheduleToCloseTimeout: 20 * time.Hour,
		HeartbeatTimeout:       time.Minute,
		Summary:                "对账 · compare the bill of " + day,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: 30 * time.Second, BackoffCoefficient: 2, MaximumInterval: 10 * time.Minute},
	})
}
