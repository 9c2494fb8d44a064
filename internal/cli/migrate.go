package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"coursepay/internal/config"
	"coursepay/models"
	"coursepay/worker"
)

func newMigrateCommand() *cobra.Command {
	var down int64
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database schema up to date and register Temporal's search attributes",
		Long: "Bring the database schema up to date (replicas may do it at once) and register the search attributes of " +
			"the workflows. With --down-to N the schema goes back to version N; 0 removes every table with its data.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("down-to") {
				return withRuntime(cmd.ErrOrStderr(), func(r *runtime) error {
					return models.MigrateDown(cmd.Context(), r.cfg.DatabaseURL, down)
				}, config.NeedDatabase)
			}
			return withRuntime(cmd.ErrOrStderr(), func(r *runtime) error { return migrate(cmd, r) },
				config.NeedDatabase, config.NeedTemporal)
		},
	}
	cmd.Flags().Int64Var(&down, "down-to", 0, "take the schema back to this version instead")
	return cmd
}

func migrate(cmd *cobra.Command, r *runtime) error {
	if err := models.Migrate(cmd.Context(), r.cfg.DatabaseURL); err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), "database schema is up to date")
	temporal, err := r.temporal()
	if err != nil {
		return err
	}
	if err := worker.RegisterSearchAttributes(cmd.Context(), temporal, r.cfg.TemporalNamespace); err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), "search attributes are registered")
	return nil
}

func newSeedCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "seed",
		Short: "Put the demo catalogue into the database (never in production)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRuntime(cmd.ErrOrStderr(), func(r *runtime) error {
				if r.cfg.InProduction() {
					return fmt.Errorf("seed: refused with APP_ENV=production: a real catalogue comes from the content service")
				}
				store, err := r.store(cmd.Context())
				if err != nil {
					return err
				}
				return store.SeedDemo(cmd.Context())
			}, config.NeedDatabase)
		},
	}
}
