package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/events"
	"coursepay/models"
)

// fakeWatch is a record that the test changes.
type fakeWatch struct {
	changed chan struct{}
	seen    events.Snapshot
	fails   int // looks
	closed  bool
}

func (w *fakeWatch) Changed() <-chan struct{} { return w.changed }
func (w *fakeWatch) Close()                   { w.closed = true }

// Look fails as often as it shall.
func (w *fakeWatch) Look(context.Context) (events.Snapshot, error) {
	if w.fails > 0 {
		w.fails--
		return events.Snapshot{}, errors.New("no books")
	}
	return w.seen, nil
}

func newFeed(t *testing.T, a *streams, user string) (*stream, *fakeWatch) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	w := &fakeWatch{changed: make(chan struct{}, 1), seen: events.Snapshot{Order: models.OrderUnpaid}}
	f := &stream{watch: w, conn: near, log: slog.New(slog.DiscardHandler)}
	require.NoError(t, a.enter(user, f))
	f.tell(w.seen)
	return f, w
}

func read(t *testing.T, f *stream) string {
	t.Helper()
	text := make([]byte, 4096)
	n, err := f.Read(text)
	require.NoError(t, err)
	return string(text[:n])
}

func TestAStreamTellsDifferencesAndKeepsTheConnectionAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newStreams(1, 1)
		f, w := newFeed(t, a, "52")
		defer func() { require.NoError(t, f.Close()) }()
		require.Contains(t, read(t, f), "event: record\n")
		began := time.Now()
		require.Equal(t, ":\n\n", read(t, f))
		require.Equal(t, heartbeat, time.Since(began))

		// Told again and again of nothing, it still sends its comments.
		began = time.Now()
		go func() {
			for range 14 {
				w.changed <- struct{}{}
				time.Sleep(time.Second)
			}
		}()
		require.Equal(t, ":\n\n", read(t, f))
		require.Equal(t, heartbeat, time.Since(began))

		w.fails = 2
		w.seen.Order = models.OrderPaid
		w.changed <- struct{}{}
		began = time.Now()
		require.Contains(t, read(t, f), "event: record\n")
		require.Equal(t, 2*lookAgain, time.Since(began), "a failed look is repeated soon")
	})
}

func TestAStreamEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *streams){
		"with the server": func(_ *testing.T, a *streams) { a.close() },
		"for a newer one": func(t *testing.T, a *streams) { t.Helper(); newFeed(t, a, "52") },
		"after its life":  func(*testing.T, *streams) { time.Sleep(streamLife) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newStreams(2, 1)
				defer a.close()
				f, w := newFeed(t, a, "52")
				read(t, f)
				end(t, a)
				for {
					text := make([]byte, 100)
					n, err := f.Read(text)
					if err != nil {
						require.ErrorIs(t, err, io.EOF)
						break
					}
					require.Equal(t, ":\n\n", string(text[:n]))
					require.Equal(t, "after its life", name, "it ends at once")
				}
				require.NoError(t, f.Close())
				require.NoError(t, f.Close())
				require.True(t, w.closed)
				require.Less(t, a.open, 2)
			})
		})
	}
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	a := newStreams(3, 2)
	var feeds []*stream
	for _, user := range []string{"52", "53", "54"} {
		f, _ := newFeed(t, a, user)
		feeds = append(feeds, f)
	}
	refused := func() {
		t.Helper()
		code, ok := models.RefusalCode(a.enter("55", &stream{}))
		require.True(t, ok)
		require.Equal(t, models.CodeUnavailable, code)
	}
	refused()
	require.NoError(t, feeds[0].Close())
	feed, _ := newFeed(t, a, "55")
	feeds = append(feeds, feed)
	refused()
	for _, f := range feeds {
		require.NoError(t, f.Close())
	}
	require.Zero(t, a.open)
	require.Empty(t, a.byUser)
	a.close()
	refused()
}
