package mq

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
)

const secondQueue = "paynotify_second_queue"

// fanoutPublisher publishes for two subscribers.
func fanoutPublisher(t *testing.T, url string) *Publisher {
	t.Helper()
	p, err := NewPublisher(url, []string{learningQueue, secondQueue}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// next is the ID of the next message that arrives.
func next(t *testing.T, arrived <-chan Message) string {
	t.Helper()
	select {
	case m := <-arrived:
		return m.ID
	case <-time.After(patience):
		require.FailNow(t, "no message arrived")
		return ""
	}
}

// A subscriber that has never run gets what was published before its first day.
func TestEverySubscriberGetsWhatWasPublishedBeforeItRan(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	publish(t, fanoutPublisher(t, url), message(1), message(2))
	for _, queue := range []string{learningQueue, secondQueue} {
		cfg := quick(url)
		cfg.Queue = queue
		got := make(chan Message, 10)
		stop := consume(t, cfg, func(_ context.Context, m Message) error { got <- m; return nil })
		require.ElementsMatch(t, []string{"m1", "m2"}, []string{next(t, got), next(t, got)}, queue)
		stop()
	}
}

// What one subscriber cannot take is its own affair: its retries, its dead letters, and their replay.
func TestFailureOfOneSubscriberIsNotTheOthers(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	taken := make(chan Message, 10)
	first := quick(url)
	first.Prefetch = 1 // so that it takes them in their order
	consume(t, first, func(_ context.Context, m Message) error { taken <- m; return nil })
	second := quick(url)
	second.Queue = secondQueue
	stop := consume(t, second, func(context.Context, Message) error { return errors.New("not today") })
	p := fanoutPublisher(t, url)
	publish(t, p, message(1))
	require.Equal(t, "m1", next(t, taken))
	ch := channel(t, url)
	eventually(t, "dead", func() bool { return depth(t, ch, deadQueue(secondQueue)) == 1 })
	stop()
	require.Zero(t, depth(t, ch, deadQueue(learningQueue)))

	dead, err := ListDead(t.Context(), url, secondQueue, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Equal(t, "m1", dead[0].ID)
	n, err := ReplayDead(t.Context(), url, secondQueue)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, depth(t, ch, secondQueue))
	require.Zero(t, depth(t, ch, deadQueue(secondQueue)))
	publish(t, p, message(2))
	require.Equal(t, "m2", next(t, taken), "the other subscriber had m1, and does not get it again")
}

func TestPublisherWithoutQueuesIsRefused(t *testing.T) {
	t.Parallel()
	for _, queues := range [][]string{nil, {}, {learningQueue, ""}} {
		_, err := NewPublisher("amqp://127.0.0.1:1/", queues, nil)
		require.ErrorIs(t, err, errNoQueues, queues)
	}
	require.ErrorContains(t, DeclareTopology(t.Context(), devtest.AMQP(t)), "no subscriber's queue")
}
