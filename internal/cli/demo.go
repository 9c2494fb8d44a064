package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/joho/godotenv"
	"github.com/spf13/cobra"

	"coursepay/internal/demo"
)

func newDemoCommand() *cobra.Command {
	var envFile, course string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Buy a course on the running stack, step by step, as read back from Postgres and RabbitMQ",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), envFile, course, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&envFile, "env", ".coursepay/env", "file that says where the stack is; variables of the environment go first")
	cmd.Flags().StringVar(&course, "course", "", "id of the course to buy (default: one of the demo catalogue)")
	return cmd
}

func runDemo(ctx context.Context, envFile, course string, out io.Writer) error {
	known, err := godotenv.Read(envFile)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read %s: %w", envFile, err)
	}
	get := func(name string) string {
		if value := os.Getenv(name); value != "" {
			return value
		}
		return known[name]
	}
	for _, name := range []string{"API_URL", "DATABASE_URL", "AMQP_URL", "JWT_SECRET"} {
		if get(name) == "" {
			return fmt.Errorf("%s is not known: start the stack with `make up`, or set it", name)
		}
	}
	return demo.Run(ctx, demo.Env{
		APIURL: get("API_URL"), DatabaseURL: get("DATABASE_URL"), AMQPURL: get("AMQP_URL"), JWTSecret: get("JWT_SECRET"),
		CourseID: course,
	}, out)
}
