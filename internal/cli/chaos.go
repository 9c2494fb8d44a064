package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"time"

	"github.com/spf13/cobra"

	"coursepay/internal/chaos"
)

func newChaosCommand() *cobra.Command {
	options := chaos.Options{Dir: filepath.Join(stackDir, "chaos")}
	var minutes float64
	var asJSON, planOnly bool
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Sell on a stack of its own while everything breaks, then check that every payment is accounted for",
		Long: "Sell on a stack of its own while processes are killed, connections break and the fake Alipay misbehaves, as the seed\n" +
			"has it; then let it calm down and check that every payment is accounted for. The running stack is not touched.\n\n" +
			"Exit code: 0 nothing was found, 1 something was, 2 it could not be tried or checked.",
		RunE: func(cmd *cobra.Command, args []string) error {
			options.Length = time.Duration(minutes * float64(time.Minute))
			if err := cobra.NoArgs(cmd, args); err != nil {
				return notChecked(err)
			}
			if planOnly {
				return printPlan(cmd.OutOrStdout(), options, asJSON)
			}
			if again := chaos.WithOwnMounts(cmd.Context()); again != nil {
				goruntime.LockOSThread() // it ends when the thread does that has started it
				return relayed(again.Run())
			}
			return notChecked(runChaos(cmd, options, asJSON))
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return notChecked(err) })
	cmd.Flags().IntVar(&options.Orders, "orders", 150, "how many learners come")
	cmd.Flags().Uint64Var(&options.Seed, "seed", 1, "decides what breaks and when, and who does what")
	cmd.Flags().Float64Var(&minutes, "minutes", 3, "how long things break; starting and calming down come on top")
	cmd.Flags().IntVar(&options.Replicas, "replicas", chaos.DefaultReplicas, "how many of api and worker there are each, 1 to 3")
	cmd.Flags().DurationVar(&options.Patience, "patience", chaos.DefaultPatience, "how long after that something may be open")
	cmd.Flags().StringVar(&options.Dir, "dir", options.Dir, "where the stack's folder is made; it is kept when something is found")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&planOnly, "plan", false, "only print what the seed has in store")
	return cmd
}

// relayed ends as another run of this program has, which has told why.
func relayed(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return &exitError{exit.ExitCode(), fmt.Errorf("chaos: %w", err)}
	}
	return notChecked(err)
}

func printPlan(out io.Writer, options chaos.Options, asJSON bool) error {
	plan := chaos.NewPlan(options.Seed, options.Orders, options.Length, options.Replicas)
	if asJSON {
		return json.NewEncoder(out).Encode(plan)
	}
	return plan.Print(out)
}

func runChaos(cmd *cobra.Command, options chaos.Options, asJSON bool) error {
	options.Progress = cmd.OutOrStdout()
	if asJSON {
		options.Progress = cmd.ErrOrStderr()
	}
	report, failure := chaos.Run(cmd.Context(), options)
	if failure != nil && !report.Failed() {
		return failure
	}
	if err := printChaos(cmd.OutOrStdout(), report, asJSON); err != nil {
		return errors.Join(err, failure)
	}
	if report.Failed() {
		return &exitError{exitFaults, errors.Join(fmt.Errorf("chaos: found: %d", len(report.Findings)), failure)}
	}
	return nil
}

func printChaos(out io.Writer, report chaos.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(report)
	}
	return report.Print(out)
}
