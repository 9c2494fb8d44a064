package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"coursepay/internal/config"
	"coursepay/models"
	"coursepay/workflows"
)

func newReconcileCommand() *cobra.Command {
	var in workflows.ReconcileInput
	var asJSON bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Find what was missed: wake what was left lying, and compare Alipay's bill of a day with our books",
		Long: `Find what every other way has missed, now. The worker does the same by itself: a sweep every ten minutes, and
yesterday's bill at 10:00 in China.

Exit code: 0 nothing is left for a person, 1 somebody has to look at what was found, 2 it could not be done or waited for.`,
		Example: `  coursepay reconcile                      # sweep, then yesterday's bill
  coursepay reconcile --sweep
  coursepay reconcile --date 2026-11-22    # one bill`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Bill = in.Date != "" || !in.Sweep
			in.Sweep = in.Sweep || in.Date == ""
			if err := errors.Join(cobra.NoArgs(cmd, args), checkBillDate(in.Date, time.Now())); err != nil {
				return notChecked(err)
			}
			return notChecked(withRuntime(cmd.ErrOrStderr(), func(r *runtime) error {
				ctx, cancel := context.WithTimeout(cmd.Context(), wait)
				defer cancel()
				c, err := r.temporal()
				if err != nil {
					return err
				}
				done, err := reconcile(ctx, c, in)
				if err != nil {
					return err
				}
				return printReconciled(cmd.OutOrStdout(), done, asJSON)
			}, config.NeedTemporal))
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return notChecked(err) })
	cmd.Flags().StringVar(&in.Date, "date", "", "the day of the bill, such as 2026-11-22; not today's")
	cmd.Flags().BoolVar(&in.Sweep, "sweep", false, "only sweep, or sweep as well if there is a date")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long to wait for the end; the run goes on by itself")
	return cmd
}

func checkBillDate(date string, now time.Time) error {
	if date == "" {
		return nil
	}
	day, err := time.ParseInLocation(models.BillDayLayout, date, models.China)
	if err != nil {
		return fmt.Errorf("--date %q: want a day such as 2026-11-22", date)
	}
	if !day.AddDate(0, 0, 1).Before(now) {
		return fmt.Errorf("--date %s: that day is not over in China, and has no bill yet", date)
	}
	return nil
}

// reconcile runs the workflow, or joins the same one that runs already, and waits for its end.
func reconcile(ctx context.Context, c client.Client, in workflows.ReconcileInput) (done workflows.Reconciled, err error) {
	id := "reconcile-by-hand"
	if in.Sweep {
		id += "-sweep"
	}
	if in.Bill {
		id += "-bill"
	}
	if in.Date != "" {
		id += "-" + in.Date
	}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: workflows.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            "对账 · reconciliation by hand",
	}, workflows.Reconcile, in)
	if err != nil {
		return done, err
	}
	err = run.Get(ctx, &done)
	if err != nil && ctx.Err() != nil {
		return done, fmt.Errorf("workflow %s goes on, a worker may be missing or the bill not be ready: %w", id, ctx.Err())
	}
	return done, err
}

var errFindings = &exitError{exitFaults, errors.New("a person has to look at what was found")}

func printReconciled(out io.Writer, done workflows.Reconciled, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(out).Encode(done); err != nil {
			return err
		}
	} else {
		printSweep(out, done)
		printBill(out, done)
	}
	if done.Bill != nil && done.Bill.Count > 0 {
		return errFindings
	}
	return nil
}

func printSweep(out io.Writer, done workflows.Reconciled) {
	if s := done.Sweep; s != nil {
		fmt.Fprintf(out, "sweep: %d payments found, %d orders woken, %d settlings and %d refunds resumed, %d left to the next sweep\n",
			s.Payments, s.Woken, s.Resumed, s.Refunds, s.Failed)
	}
}

func printBill(out io.Writer, done workflows.Reconciled) {
	b := done.Bill
	if b == nil {
		return
	}
	fmt.Fprintf(out, "bill %s: %d rows, %d payments found, %d refunds found, %d findings\n", b.Date, b.Rows, b.Payments, b.Refunds, b.Count)
	for _, f := range b.Findings {
		fmt.Fprintf(out, "  %s\tpayNo %s\ttrade_no %s\tout_request_no %s\tbill %s\tbooks %s\t%s\n",
			f.Kind, orDash(f.PayNo), orDash(f.TradeNo), orDash(f.RequestNo), amount(f.Billed), amount(f.Booked), f.Detail)
	}
	if more := b.Count - int64(len(b.Findings)); more > 0 {
		fmt.Fprintf(out, "  and %d more in the table reconcile_finding\n", more)
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func amount(m *models.Money) string {
	if m == nil {
		return "-"
	}
	return m.String()
}
