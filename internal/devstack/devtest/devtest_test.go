package devtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"coursepay/internal/devstack/devtest"
)

func migrateSample(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "CREATE TABLE sample (id int PRIMARY KEY)")
	return err
}

func TestDatabasesAreMigratedAndApart(t *testing.T) {
	t.Parallel()
	for range 2 {
		conn, err := pgx.Connect(t.Context(), devtest.Database(t, migrateSample))
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "INSERT INTO sample VALUES (1)") // twice in one database would fail
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
}

func TestVirtualHostsAreApart(t *testing.T) {
	t.Parallel()
	for range 2 {
		conn, err := amqp.Dial(devtest.AMQP(t))
		require.NoError(t, err)
		channel, err := conn.Channel()
		require.NoError(t, err)
		queue, err := channel.QueueDeclare("q", true, false, false, false, nil)
		require.NoError(t, err)
		require.Zero(t, queue.Messages)
		require.NoError(t, channel.PublishWithContext(t.Context(), "", "q", true, false, amqp.Publishing{}))
		require.NoError(t, conn.Close())
	}
}

func TestNamespacesHaveOurSearchAttributes(t *testing.T) {
	t.Parallel()
	address, namespace := devtest.Temporal(t)
	c, err := client.DialContext(t.Context(), client.Options{HostPort: address, Namespace: namespace})
	require.NoError(t, err)
	defer c.Close()
	options := client.StartWorkflowOptions{
		ID: "w", TaskQueue: "none", WorkflowExecutionTimeout: time.Minute,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword("OrderId").ValueSet("1"),
			temporal.NewSearchAttributeKeyBool("NeedsOperator").ValueSet(true),
		),
	}
	_, err = c.ExecuteWorkflow(t.Context(), options, "Nothing")
	require.NoError(t, err)
}
