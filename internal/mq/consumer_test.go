package mq

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	got := make(chan Message, 10)
	stop := consume(t, quick(url), func(_ context.Context, m Message) error {
		got <- m
		return nil
	})
	p := publisher(t, url)
	seen := map[string]string{}
	for i := range 5 {
		publish(t, p, message(i))
		m := <-got
		seen[m.ID] = string(m.Body)
	}
	require.Len(t, seen, 5)
	require.JSONEq(t, `{"id":"m3"}`, seen["m3"])
	stop()
	require.Zero(t, depth(t, channel(t, url), learningQueue), "not acknowledged")
}

func TestFailingMessageEndsInTheDeadLetterQueue(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]Handler{
		"error": func(context.Context, Message) error { return errors.New("课程下线 " + strings.Repeat("很", 5000)) },
		"panic": func(context.Context, Message) error { panic("buyer 13800000000") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := devtest.AMQP(t)
			var calls atomic.Int32
			stop := consume(t, quick(url), func(ctx context.Context, m Message) error {
				calls.Add(1)
				return h(ctx, m)
			})
			publish(t, publisher(t, url), message(1))
			ch := channel(t, url)
			eventually(t, "dead", func() bool { return depth(t, ch, deadQueue(learningQueue)) == 1 })
			stop()
			require.EqualValues(t, 3, calls.Load())
			require.Zero(t, depth(t, ch, learningQueue))
			require.Zero(t, depth(t, ch, retryQueue(learningQueue)))
			dead, err := ListDead(t.Context(), url, learningQueue, 10)
			require.NoError(t, err)
			require.Len(t, dead, 1)
			require.Equal(t, "m1", dead[0].ID)
			require.Equal(t, 3, dead[0].Tries)
			require.JSONEq(t, `{"id":"m1"}`, string(dead[0].Body))
			require.NotEmpty(t, dead[0].Reason)
			require.LessOrEqual(t, len([]rune(dead[0].Reason)), 200)
			require.NotContains(t, dead[0].Reason, "138", "the text of a panic may be anything")
			require.False(t, dead[0].DiedAt.IsZero())
		})
	}
}

func TestMessageThatFailsOnceSucceedsLater(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	var calls atomic.Int32
	done := make(chan struct{})
	stop := consume(t, quick(url), func(context.Context, Message) error {
		if calls.Add(1) == 1 {
			return errors.New("not yet")
		}
		close(done)
		return nil
	})
	publish(t, publisher(t, url), message(1))
	<-done
	stop()
	ch := channel(t, url)
	for _, queue := range []string{learningQueue, retryQueue(learningQueue), deadQueue(learningQueue)} {
		require.Zero(t, depth(t, ch, queue), queue)
	}
}

func TestListAndReplayTheDead(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	ch := channel(t, url)
	p := publisher(t, url)
	stop := consume(t, ConsumerConfig{URL: url, Queue: learningQueue, Tries: 1, Prefetch: 1},
		func(context.Context, Message) error { return errors.New("no") })
	for i := range 4 {
		publish(t, p, message(i))
	}
	eventually(t, "dead", func() bool { return depth(t, ch, deadQueue(learningQueue)) == 4 })
	stop()

	for range 2 {
		require.Equal(t, []string{"m0", "m1", "m2", "m3"}, deadIDs(t, url, 10))
	}
	require.Equal(t, []string{"m0", "m1"}, deadIDs(t, url, 2))

	// Another subscriber of the exchange has had its copies.
	_, err := ch.QueueDeclare("neighbour", true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind("neighbour", "", Exchange, false, nil))
	n, err := ReplayDead(t.Context(), url, learningQueue, "m2", "unknown")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []string{"m0", "m1", "m3"}, deadIDs(t, url, 10))
	require.Zero(t, depth(t, ch, "neighbour"))

	back, found, err := ch.Get(learningQueue, true)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "m2", back.MessageId)
	require.Zero(t, triesOf(back.Headers), "a replayed message has all its tries before it")

	n, err = ReplayDead(t.Context(), url, learningQueue)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Empty(t, deadIDs(t, url, 10))
	require.Equal(t, 3, depth(t, ch, learningQueue))
}

func deadIDs(t *testing.T, url string, limit int) (ids []string) {
	t.Helper()
	dead, err := ListDead(t.Context(), url, learningQueue, limit)
	require.NoError(t, err)
	for _, d := range dead {
		ids = append(ids, d.ID)
	}
	return ids
}

func TestLookingForTheDeadDeclaresNothing(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	_, err := ListDead(t.Context(), url, "mistyped", 10)
	require.Error(t, err)
	_, err = ReplayDead(t.Context(), url, "mistyped")
	require.Error(t, err)
	_, err = channel(t, url).QueueDeclarePassive("mistyped", true, false, false, false, nil)
	require.Error(t, err)
}

func TestShutdownFinishesWhatIsInHand(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	begun, release := make(chan struct{}), make(chan struct{})
	var finished atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	cfg := quick(url)
	cfg.Prefetch = 2
	returned := make(chan error, 1)
	go func() {
		returned <- Consume(ctx, cfg, func(ctx context.Context, _ Message) error {
			begun <- struct{}{}
			<-release
			finished.Add(1)
			return ctx.Err()
		})
	}()
	p := publisher(t, url)
	for i := range 5 {
		publish(t, p, message(i))
	}
	<-begun
	<-begun
	cancel()
	select {
	case err := <-returned:
		t.Fatal("returned with messages in hand:", err)
	case <-begun:
		t.Fatal("began another message")
	case <-time.After(200 * time.Millisecond): // long enough to be caught, never long enough to fail wrongly
	}
	close(release)
	require.NoError(t, <-returned)
	require.EqualValues(t, 2, finished.Load())
	ch := channel(t, url)
	eventually(t, "the rest is still there", func() bool { return depth(t, ch, learningQueue) == 3 })
	require.Zero(t, depth(t, ch, retryQueue(learningQueue)), "a message in hand was failed by the shutdown")
}

// A connection that breaks while a message is worked on: it comes again, and nothing is lost or stuck.
func TestConsumerComesBack(t *testing.T) {
	t.Parallel()
	direct := devtest.AMQP(t)
	px, url := newProxy(t, direct)
	px.setDown(true)
	begun, release := make(chan struct{}, 100), make(chan struct{})
	var mu sync.Mutex
	seen := map[string]int{}
	stop := consume(t, quick(url), func(_ context.Context, m Message) error {
		begun <- struct{}{}
		<-release
		mu.Lock()
		defer mu.Unlock()
		seen[m.ID]++
		return nil
	})
	p := publisher(t, direct)
	publish(t, p, message(1), message(2))
	px.setDown(false)
	<-begun
	<-begun
	px.cut()
	close(release)
	publish(t, p, message(3))
	eventually(t, "all done, the first two twice", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen["m1"] == 2 && seen["m2"] == 2 && seen["m3"] >= 1
	})
	stop()
	require.Zero(t, depth(t, channel(t, direct), learningQueue))
}

// Where a failed message would go has vanished: it must stay the broker's until it has a place again.
func TestFailedMessageWithNowhereToGoIsKept(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	ch := channel(t, url)
	fail, failed := make(chan struct{}), make(chan struct{}, 100)
	stop := consume(t, quick(url), func(context.Context, Message) error {
		<-fail
		failed <- struct{}{}
		return errors.New("no")
	})
	publish(t, publisher(t, url), message(1))
	for _, queue := range []string{retryQueue(learningQueue), deadQueue(learningQueue)} {
		eventually(t, "queue there", func() bool {
			_, err := ch.QueueDelete(queue, false, false, false)
			return err == nil
		})
	}
	close(fail)
	<-failed
	eventually(t, "dead after all", func() bool {
		state, err := channel(t, url).QueueDeclarePassive(deadQueue(learningQueue), true, false, false, false, nil)
		return err == nil && state.Messages == 1
	})
	stop()
}

func TestDeletedQueueIsDeclaredAgain(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	got := make(chan Message, 10)
	consume(t, quick(url), func(_ context.Context, m Message) error {
		got <- m
		return nil
	})
	p := publisher(t, url)
	publish(t, p, message(1))
	<-got
	_, err := channel(t, url).QueueDelete(learningQueue, false, false, false)
	require.NoError(t, err)
	eventually(t, "routable again", func() bool { return p.Publish(t.Context(), message(2)) == nil })
	require.Equal(t, "m2", (<-got).ID)
}

func TestHandlerHasADeadline(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	cfg := quick(url)
	cfg.Timeout, cfg.Tries = 50*time.Millisecond, 1
	consume(t, cfg, func(ctx context.Context, _ Message) error {
		<-ctx.Done()
		return ctx.Err()
	})
	publish(t, publisher(t, url), message(1))
	ch := channel(t, url)
	eventually(t, "dead", func() bool { return depth(t, ch, deadQueue(learningQueue)) == 1 })
}
