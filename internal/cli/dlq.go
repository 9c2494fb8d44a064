package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"coursepay/internal/config"
	"coursepay/internal/mq"
	"coursepay/models"
)

func newDLQCommand() *cobra.Command {
	var queue string
	cmd := &cobra.Command{Use: "dlq", Short: "List or replay messages that a subscriber could not take"}
	queues := models.Queues()
	cmd.PersistentFlags().StringVar(&queue, "queue", queues[models.OrderCourse],
		"the subscriber's queue, one of "+strings.Join(slices.Sorted(maps.Values(queues)), ", "))
	cmd.AddCommand(newDLQListCommand(&queue), newDLQReplayCommand(&queue))
	return cmd
}

func newDLQListCommand(queue *string) *cobra.Command {
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the messages, oldest first, and why they failed; they stay where they are",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRuntime(cmd.ErrOrStderr(), func(r *runtime) error {
				dead, err := mq.ListDead(cmd.Context(), r.cfg.AMQPURL, *queue, limit)
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(dead)
				}
				for _, m := range dead {
					fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%s\n", m.ID, m.Reason, m.Body)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%d messages in %s.dlq\n", len(dead), *queue)
				return nil
			}, config.NeedAMQP)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newDLQReplayCommand(queue *string) *cobra.Command {
	return &cobra.Command{
		Use:   "replay [message id…]",
		Short: "Give the messages back to their queue: those named, or all",
		RunE: func(cmd *cobra.Command, ids []string) error {
			return withRuntime(cmd.ErrOrStderr(), func(r *runtime) error {
				n, err := mq.ReplayDead(cmd.Context(), r.cfg.AMQPURL, *queue, ids...)
				fmt.Fprintf(cmd.OutOrStdout(), "%d messages replayed\n", n)
				return err
			}, config.NeedAMQP)
		},
	}
}
