package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/joho/godotenv"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"coursepay/internal/bench"
)

type benchFlags struct {
	bench.Config
	envFile                        string
	workerMetrics, temporalMetrics string
	json                           bool
}

func newBenchCommand() *cobra.Command {
	var flags benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the running stack: real paid orders over HTTP beside what Temporal alone can do",
		Long: "Measure the running stack as its users load it: orders over HTTP, from the choice of a course to the row in the\n" +
			"course table, in turns with a bare Temporal workflow of the same shape (the skeleton) on the same machine. It buys\n" +
			"courses for learners that it makes up; nothing else changes. docs/performance.md says how to read the figures.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBench(cmd, flags) },
	}
	f := cmd.Flags()
	f.StringVar(&flags.envFile, "env", ".coursepay/env", "file that says where the stack is; variables of the environment go first")
	f.IntVar(&flags.Orders, "orders", 1500, "paid orders, and as many passes of the skeleton, in all rounds together")
	f.IntVar(&flags.Concurrency, "concurrency", 32, "how many at once")
	f.IntVar(&flags.Rounds, "rounds", 5, "rounds, of which the median is told")
	f.BoolVar(&flags.SkeletonOnly, "skeleton-only", false, "no orders in the rounds: to compare settings of Temporal")
	f.IntVar(&flags.Alone, "alone", 50, "passes of each kind, one at a time")
	f.DurationVar(&flags.ReadFor, "read-for", 5*time.Second, "how long to read from each endpoint; 0 not at all")
	f.IntVar(&flags.Open, "open", 0, "also the idle cost of so many orders that nobody scans")
	f.DurationVar(&flags.IdleFor, "idle-for", time.Minute, "how long to watch them")
	f.IntSliceVar(&flags.Rows, "rows", nil, "also with the stack's tables filled to so many paid orders, such as 1000,1000000; they stay")
	f.DurationVar(&flags.For, "for", 30*time.Minute, "begin no further part after this time")
	f.DurationVar(&flags.Soak, "soak", 0, "instead: hold a steady load for so long, and say what of goroutines, memory and connections grows")
	f.Float64Var(&flags.SoakRate, "soak-rate", 2, "visits a second in the soak")
	f.DurationVar(&flags.OverloadFor, "overload-for", 0, "instead: measure the peak, then offer several times of it for so long, and say what gets through")
	f.Float64Var(&flags.Overload, "overload", 5, "how many times of the peak")
	f.StringVar(&flags.Commit, "commit", "", "what is measured, for the report (default: what this program was built from)")
	f.BoolVar(&flags.json, "json", false, "print JSON")
	f.BoolVar(&flags.AnyHost, "yes-load-this-host", false, "also when the stack is not on this machine")
	f.StringVar(&flags.workerMetrics, "worker-metrics", "", "where the worker serves its metrics (default: found by its pid)")
	f.StringVar(&flags.temporalMetrics, "temporal-metrics", "", "where Temporal serves its metrics (default: found by its pid)")
	return cmd
}

func runBench(cmd *cobra.Command, flags benchFlags) error {
	known, err := godotenv.Read(flags.envFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", flags.envFile, err)
	}
	if flags.Stack, err = bench.StackFromEnv(known, os.Getenv); err != nil {
		return err
	}
	flags.Stack.WorkerMetrics, flags.Stack.TemporalMetrics = flags.workerMetrics, flags.temporalMetrics
	flags.Progress = cmd.ErrOrStderr()
	flags.DialTemporal = func(ctx context.Context) (client.Client, error) {
		return dialTemporal(ctx, flags.Stack.TemporalAddress, flags.Stack.TemporalNamespace)
	}
	report, failure := bench.Run(cmd.Context(), flags.Config)
	if failure != nil {
		failure = fmt.Errorf("bench: %w", failure)
	}
	if report == nil || report.Comparison == nil && report.Soak == nil && report.Overload == nil {
		return failure
	}
	return errors.Join(failure, printBench(cmd.OutOrStdout(), report, flags.json), report.Soak.Verdict(), report.Overload.Verdict()) // what was measured until then, too
}

func printBench(out io.Writer, report *bench.Report, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	_, err := fmt.Fprint(out, report)
	return err
}

// dialTemporal connects as our processes do.
func dialTemporal(ctx context.Context, address, namespace string) (client.Client, error) {
	options, err := temporalOptions(address, namespace, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return client.DialContext(ctx, options)
}
