// Package cli is coursepay's command line: one file per group of commands, each a thin layer over the package that
// does the work.
package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Run executes one command line and returns the process's exit code.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "coursepay:", err)
		return exitCode(err)
	}
	return 0
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "coursepay",
		Short:         "A payment service for online courses that cannot lose a payment",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newAPICommand(), newWorkerCommand(), newMigrateCommand(), newSeedCommand(), newSandboxCommand(),
		newTokenCommand(), newDLQCommand(), newDemoCommand(), newHealthcheckCommand(), newReconcileCommand(), newAuditCommand(), newChaosCommand(),
		newBenchCommand())
	root.AddCommand(newStackCommands()...)
	return root
}
