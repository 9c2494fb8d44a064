package mq

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
)

func TestPublishedMessageIsAsPromised(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	publish(t, publisher(t, url), message(1))
	ch := channel(t, url)
	got, found, err := ch.Get(learningQueue, true)
	require.NoError(t, err)
	require.True(t, found, "confirmed and not there")
	require.Equal(t, amqp.Persistent, got.DeliveryMode)
	require.Equal(t, "m1", got.MessageId)
	require.Equal(t, "application/json", got.ContentType)
	require.JSONEq(t, `{"id":"m1"}`, string(got.Body))
}

// The neighbours declare the exchange and the queue without any argument; ours must not stand in their way.
func TestTopologyIsTheNeighbours(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	require.NoError(t, DeclareTopology(t.Context(), url, learningQueue))
	require.NoError(t, DeclareTopology(t.Context(), url, learningQueue), "twice")
	ch := channel(t, url)
	require.NoError(t, ch.ExchangeDeclare(Exchange, "fanout", true, false, false, false, nil))
	_, err := ch.QueueDeclare(learningQueue, true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.Publish(Exchange, "", false, false, amqp.Publishing{Body: []byte("{}")}))
	eventually(t, "the queue is bound", func() bool { return depth(t, ch, learningQueue) == 1 })
}

func TestUnroutableIsAnError(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	p := publisher(t, url)
	publish(t, p, message(1))
	ch := channel(t, url)
	require.NoError(t, ch.QueueUnbind(learningQueue, "", Exchange, nil))
	require.ErrorIs(t, p.Publish(t.Context(), message(2)), ErrUnroutable)
	require.NoError(t, ch.QueueBind(learningQueue, "", Exchange, false, nil))
	publish(t, p, message(2))
	require.Equal(t, 2, depth(t, ch, learningQueue))
}

// A return is told apart from an acknowledgement even for the same message published at the same moment.
func TestReturnsAndConfirmsOfOneMessageDoNotMix(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	require.NoError(t, DeclareTopology(t.Context(), url, learningQueue))
	conn, err := dial(t.Context(), url)
	require.NoError(t, err)
	defer hangUp(conn)
	l, err := newLink(conn)
	require.NoError(t, err)
	var all sync.WaitGroup
	for i := range 600 {
		all.Go(func() {
			if i%2 == 0 {
				if err := l.publish(t.Context(), "", learningQueue, publishing(message(1))); err != nil {
					t.Error("routable:", err)
				}
			} else if err := l.publish(t.Context(), "", "nowhere", publishing(message(1))); !errors.Is(err, ErrUnroutable) {
				t.Error("unroutable:", err)
			}
		})
	}
	all.Wait()
	require.Equal(t, 300, depth(t, channel(t, url), learningQueue))
}

func TestPublishBehindADeadBroker(t *testing.T) {
	t.Parallel()
	px, url := newProxy(t, devtest.AMQP(t))
	px.setDown(true)
	p := publisher(t, url)
	require.ErrorIs(t, p.Publish(t.Context(), message(1)), ErrUnconfirmed)
	px.setDown(false)
	publish(t, p, message(1))
	px.setDown(true)
	require.ErrorIs(t, p.Publish(t.Context(), message(2)), ErrUnconfirmed)
	px.setDown(false)
	publish(t, p, message(2))
	require.Equal(t, 2, depth(t, channel(t, url), learningQueue))
}

func TestPublishBehindASilentBrokerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	px, url := newProxy(t, devtest.AMQP(t))
	px.setMute(true)
	p := publisher(t, url)
	expired := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return p.Publish(ctx, message(1))
	}
	err := expired()
	require.ErrorIs(t, err, ErrUnconfirmed, "while connecting")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	px.setMute(false)
	px.cut()
	eventually(t, "heard again", func() bool { return p.Publish(t.Context(), message(2)) == nil })
	px.setMute(true)
	err = expired()
	require.ErrorIs(t, err, ErrUnconfirmed, "while waiting for the confirm")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	px.setMute(false)
	px.cut()
	eventually(t, "heard again", func() bool { return p.Publish(t.Context(), message(3)) == nil })
}

// Red: each try behind a broker that stops reading left a goroutine until the connection broke.
func TestPublishBehindADeafBrokerLeavesOneWriterBehind(t *testing.T) {
	t.Parallel()
	px, url := newProxy(t, devtest.AMQP(t))
	p := publisher(t, url)
	publish(t, p, message(1))
	px.setDeaf(t)
	large := message(2)
	large.Body = make([]byte, 8<<20) // more than sockets hold
	for range 30 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		require.ErrorIs(t, p.Publish(ctx, large), ErrUnconfirmed)
		cancel()
	}
	require.Less(t, writers(), 10, "other tests write, too")
}

// writers counts the goroutines of the process that write a message, or wait to.
func writers() int {
	stacks := make([]byte, 4<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "mq.(*link).send.func")
}

// The broker took the message, its confirm got lost: the same message again, rather than an error or a silence.
func TestLostConfirmIsRepeated(t *testing.T) {
	t.Parallel()
	px, url := newProxy(t, devtest.AMQP(t))
	p := publisher(t, url)
	publish(t, p, message(1))
	ch := channel(t, px.direct(url))
	px.setMute(true)
	result := make(chan error, 1)
	go func() { result <- p.Publish(context.Background(), message(2)) }()
	eventually(t, "the broker has the message", func() bool { return depth(t, ch, learningQueue) == 2 })
	px.setMute(false)
	px.cut()
	require.NoError(t, <-result)
	require.Equal(t, 3, depth(t, ch, learningQueue))
	for _, want := range []string{"m1", "m2", "m2"} {
		got, _, err := ch.Get(learningQueue, true)
		require.NoError(t, err)
		require.Equal(t, want, got.MessageId)
	}
}

func TestPublishSurvivesWhatHappensToItsLink(t *testing.T) {
	t.Parallel()
	url := devtest.AMQP(t)
	ch := channel(t, url)
	p := publisher(t, url)
	publish(t, p, message(0))
	for i, harm := range []func(){
		func() { require.NoError(t, p.current.channel.Close()) },
		func() { require.NoError(t, p.current.conn.Close()) },
		func() { require.NoError(t, ch.ExchangeDelete(Exchange, false, false)) },
		func() { _, err := ch.QueueDelete(learningQueue, false, false, false); require.NoError(t, err) },
	} {
		harm()
		if err := p.Publish(t.Context(), message(i)); err != nil {
			// Nobody can know that a queue has gone; that must be said, and a new link repairs it.
			require.ErrorIs(t, err, ErrUnroutable)
			require.NoError(t, p.current.conn.Close())
			publish(t, p, message(i))
		}
	}
}

// Many publishers through connections that are cut again and again: what Publish called published is in the queue.
func TestNothingConfirmedIsLostWhenConnectionsAreCut(t *testing.T) {
	t.Parallel()
	px, url := newProxy(t, devtest.AMQP(t))
	require.NoError(t, DeclareTopology(t.Context(), url, learningQueue))
	p := publisher(t, url)
	const publishers, each = 20, 25
	var all sync.WaitGroup
	for i := range publishers {
		all.Go(func() {
			for j := range each {
				for p.Publish(t.Context(), message(i*each+j)) != nil {
					if t.Context().Err() != nil {
						return
					}
				}
			}
		})
	}
	ch := channel(t, px.direct(url))
	for i := range 8 {
		eventually(t, "progress", func() bool {
			state, err := ch.QueueDeclarePassive(learningQueue, true, false, false, false, nil)
			require.NoError(t, err)
			return state.Messages >= i*50
		})
		px.cut()
	}
	all.Wait()
	seen := map[string]bool{}
	for {
		d, found, err := ch.Get(learningQueue, true)
		require.NoError(t, err)
		if !found {
			break
		}
		seen[d.MessageId] = true
	}
	require.Len(t, seen, publishers*each)
}

func TestClosedPublisherSaysSo(t *testing.T) {
	t.Parallel()
	p := publisher(t, devtest.AMQP(t))
	publish(t, p, message(1))
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Publish(t.Context(), message(2)), ErrUnconfirmed)
}

func TestBadURLsAreRefusedWithoutTheirPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "http://x", "amqp://user:s3cret@host:port/", "amqp://user:s3 cret@host"} {
		_, err := NewPublisher(url, []string{learningQueue}, nil)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "cret")
		err = Consume(t.Context(), ConsumerConfig{URL: url, Queue: "q"}, func(context.Context, Message) error { return nil })
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "cret")
	}
	err := DeclareTopology(t.Context(), "amqp://user:s3cret@127.0.0.1:1/", learningQueue)
	require.Error(t, err)
	require.NotContains(t, fmt.Sprintf("%+v", err), "cret")
}
