package cli

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
	"coursepay/internal/mq"
	"coursepay/models"
)

func runDLQ(t *testing.T, args ...string) string {
	t.Helper()
	cmd := newDLQCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(t.Output())
	cmd.SetArgs(args)
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	return out.String()
}

// subscribe takes one message from a queue at a time, and one try each, until stop is called.
func subscribe(t *testing.T, url, queue string, h mq.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- mq.Consume(ctx, mq.ConsumerConfig{URL: url, Queue: queue, Prefetch: 1, Tries: 1}, h) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

// bury makes a queue's subscriber fail on a message for the last time.
func bury(t *testing.T, url, queue string, m mq.Message) {
	t.Helper()
	publisher, err := mq.NewPublisher(url, []string{queue}, nil)
	require.NoError(t, err)
	require.NoError(t, publisher.Publish(t.Context(), m))
	require.NoError(t, publisher.Close())
	stop := subscribe(t, url, queue, func(context.Context, mq.Message) error { return errors.New("no such order") })
	require.Eventually(t, func() bool {
		dead, err := mq.ListDead(t.Context(), url, queue, 1)
		return err == nil && len(dead) == 1
	}, 30*time.Second, 20*time.Millisecond)
	stop()
}

// Every subscriber has dead letters of its own, which its operator lists and replays by the queue's name.
func TestDeadLettersOfEverySubscriber(t *testing.T) {
	for orderType, queue := range models.Queues() {
		t.Run(string(orderType), func(t *testing.T) {
			url := devtest.AMQP(t)
			t.Setenv("AMQP_URL", url)
			bury(t, url, queue, mq.Message{ID: "4711", Body: []byte(`{"id":4711}`)})
			require.Equal(t, "4711\tno such order\t{\"id\":4711}\n1 messages in "+queue+".dlq\n", runDLQ(t, "list", "--queue", queue))
			require.Equal(t, "1 messages replayed\n", runDLQ(t, "replay", "--queue", queue, "4711"))
			require.Equal(t, "0 messages in "+queue+".dlq\n", runDLQ(t, "list", "--queue", queue))
			got := make(chan string, 1)
			stop := subscribe(t, url, queue, func(_ context.Context, m mq.Message) error { got <- m.ID; return nil })
			require.Equal(t, "4711", <-got, "it is in its own queue again")
			stop()
		})
	}
	require.Contains(t, newDLQCommand().PersistentFlags().FlagUsages(), "paynotify_material_queue, paynotify_queue")
}
