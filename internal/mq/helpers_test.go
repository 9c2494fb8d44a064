package mq

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// patience bounds every wait for something that must happen; nothing is concluded from how long it took.
const patience = 30 * time.Second

// learningQueue stands for any subscriber's queue.
const learningQueue = "paynotify_queue"

func message(n int) Message {
	return Message{ID: fmt.Sprint("m", n), Body: fmt.Appendf(nil, `{"id":"m%d"}`, n)}
}

func publisher(t *testing.T, url string) *Publisher {
	t.Helper()
	p, err := NewPublisher(url, []string{learningQueue}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func publish(t *testing.T, p *Publisher, messages ...Message) {
	t.Helper()
	for _, m := range messages {
		require.NoError(t, p.Publish(t.Context(), m))
	}
}

// channel is a look at the broker that does not go through the code under test.
func channel(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

func depth(t *testing.T, ch *amqp.Channel, queue string) int {
	t.Helper()
	state, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(t, err)
	return state.Messages
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 20*time.Millisecond, what)
}

// consume runs Consume until the test ends or stop is called; stop waits until it has returned.
func consume(t *testing.T, cfg ConsumerConfig, h Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Consume(ctx, cfg, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Error("Consume did not return")
		}
	})
	t.Cleanup(stop)
	return stop
}

func quick(url string) ConsumerConfig {
	return ConsumerConfig{URL: url, Queue: learningQueue, RetryDelay: 20 * time.Millisecond}
}

// proxy stands between a client and the broker and can misbehave like a network.
type proxy struct {
	target   string
	listener net.Listener

	mu    sync.Mutex
	conns []net.Conn
	down  bool          // new connections are closed at once
	mute  bool          // what the broker says is lost
	deaf  chan struct{} // until it is closed, nothing is read from clients; nil: they are heard
}

// newProxy returns a proxy and the broker's URL through it.
func newProxy(t *testing.T, brokerURL string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(brokerURL)
	require.NoError(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{target: u.Host, listener: listener}
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
	})
	go p.accept()
	u.Host = listener.Addr().String()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
		if err != nil || !p.keep(client, server) {
			_ = client.Close()
			continue
		}
		go pipe(server, hearing{p, client})
		go pipe(client, muteable{p, server})
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	p.conns = append(p.conns, conns...)
	return true
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, struct{ io.Reader }{from})
	_ = to.Close()
	_ = from.Close()
}

// cut breaks all connections as a pulled cable does.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) setDown(down bool) {
	p.mu.Lock()
	p.down = down
	p.mu.Unlock()
	if down {
		p.cut()
	}
}

func (p *proxy) setMute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

// muteable reads the broker's words and forgets them while the proxy is mute.
type muteable struct {
	proxy *proxy
	net.Conn
}

func (m muteable) Read(b []byte) (int, error) {
	for {
		n, err := m.Conn.Read(b)
		m.proxy.mu.Lock()
		mute := m.proxy.mute
		m.proxy.mu.Unlock()
		if err != nil || !mute {
			return n, err
		}
	}
}

// setDeaf stops reading what clients say, until the test ends, as a broker does that is short of memory.
func (p *proxy) setDeaf(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = make(chan struct{})
	t.Cleanup(func() { close(p.deaf) })
}

// hearing reads the clients' words while the proxy is not deaf.
type hearing struct {
	proxy *proxy
	net.Conn
}

func (h hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.proxy.mu.Lock()
	deaf := h.proxy.deaf
	h.proxy.mu.Unlock()
	if deaf != nil {
		<-deaf
	}
	return n, err
}

// direct turns a URL through the proxy into one past it.
func (p *proxy) direct(proxied string) string {
	return strings.Replace(proxied, p.listener.Addr().String(), p.target, 1)
}
