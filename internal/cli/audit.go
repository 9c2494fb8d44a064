package cli

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"coursepay/internal/audit"
	"coursepay/internal/config"
	"coursepay/models"
)

// exitError ends the process with an exit code that says more than "failed".
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exitCode is what the process ends with after err.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	return 1
}

const (
	exitFaults     = 1
	exitNotChecked = 2
)

// notChecked is an error of which nothing follows about the books, unless it has an exit code already.
func notChecked(err error) error {
	if _, decided := errors.AsType[*exitError](err); err == nil || decided {
		return err
	}
	return &exitError{exitNotChecked, err}
}

type auditOptions struct {
	audit.Options
	json, alipay bool
}

func newAuditCommand() *cobra.Command {
	var options auditOptions
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Check that every payment is accounted for, in the database and at Alipay",
		Long: "Check that every payment is accounted for: what came in has bought something or goes back, who paid has it, and\n" +
			"nothing is open for ever. It reads the database and changes nothing; run it on a live one as often as you like.\n\n" +
			"Exit code: 0 nothing is off, 1 something is, 2 it could not be checked.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(cobra.NoArgs(cmd, args), options.check()); err != nil {
				return notChecked(err)
			}
			parts := []config.Part{config.NeedDatabase}
			if options.alipay {
				parts = append(parts, config.NeedAlipay)
			}
			return notChecked(withRuntime(cmd.ErrOrStderr(), func(r *runtime) error { return runAudit(cmd, r, options) }, parts...))
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return notChecked(err) })
	cmd.Flags().BoolVar(&options.json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&options.alipay, "alipay", false, "also ask Alipay about every attempt that was opened, and every refund")
	cmd.Flags().DurationVar(&options.Since, "since", 0, "only orders created, or asked for again, so recently, such as 48h (default all)")
	cmd.Flags().DurationVar(&options.Grace, "grace", audit.DefaultGrace, "how long something may be unfinished")
	cmd.Flags().IntVar(&options.Limit, "limit", audit.DefaultLimit, "list at most so many findings of a check; all are counted")
	return cmd
}

func (o auditOptions) check() error {
	if o.Since < 0 || o.Grace <= 0 || o.Limit <= 0 {
		return errors.New("audit: --since, --grace and --limit are more than nothing")
	}
	return nil
}

// connectWithin bounds the wait for a database that does not answer.
const connectWithin = 30 * time.Second

func runAudit(cmd *cobra.Command, r *runtime, options auditOptions) error {
	ctx := cmd.Context()
	db, err := openForAudit(ctx, r)
	if err != nil {
		return err
	}
	if options.alipay {
		if options.Alipay, err = r.alipay(); err != nil {
			return err
		}
		options.Progress = auditProgress(cmd.ErrOrStderr())
	}
	report, failure := audit.Run(ctx, db, options.Options)
	if failure == nil || report.Faults > 0 {
		if err := printAudit(cmd.OutOrStdout(), report, options.json); err != nil {
			return err
		}
	}
	switch {
	case report.Faults > 0:
		return &exitError{exitFaults, errors.Join(fmt.Errorf("audit: faults found: %d", report.Faults), failure)}
	case failure == nil && len(report.Unanswered) > 0:
		return fmt.Errorf("audit: Alipay gave no answer about %d attempts", len(report.Unanswered))
	}
	return failure
}

func openForAudit(ctx context.Context, r *runtime) (*sql.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	db, err := models.Open(ctx, r.cfg.DatabaseURL, 2)
	if err != nil {
		return nil, err
	}
	r.atEnd("database", func(context.Context) error { return db.Close() })
	return db, nil
}

func printAudit(w io.Writer, report audit.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(report)
	}
	return report.Print(w)
}

func auditProgress(w io.Writer) func(done, all int) {
	const step = 100
	return func(done, all int) {
		if done%step == 0 || done == all {
			fmt.Fprintf(w, "asked Alipay about %d of %d attempts\n", done, all)
		}
	}
}
