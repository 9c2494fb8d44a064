package client

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func stream(lines ...string) answer {
	return answer{200, "", "", io.NopCloser(strings.NewReader(strings.Join(lines, "\n") + "\n"))}
}

const (
	first  = "event: record\nid: a\ndata: {\"payNo\":\"2\",\"status\":\"601001\"}\n"
	second = "event: record\r\nid:b\r\ndata: {\"payNo\":\"2\",\r\ndata: \"status\":\"601002\"}\r\n\r"
)

// follow reads events until the status is PayPaid, or an error.
func follow(ctx context.Context, c *Client) (statuses []string, err error) {
	for record, err := range c.Events(ctx, "2") {
		if err != nil {
			return statuses, err
		}
		statuses = append(statuses, record.Status)
		if record.Status == PayPaid {
			break
		}
	}
	return statuses, nil
}

func TestEventsGoOnAfterAnInterruption(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{
			busy,                                 // 2 s
			stream("retry: 1500", ": hi", first), // 1.5 s
			{status: 0},                          // 1.5 s
			stream(first, "event: weather\ndata: rain\n", second, first),
		}}
		begin := time.Now()
		statuses, err := follow(t.Context(), s.client(0))
		require.NoError(t, err)
		require.Equal(t, []string{PayUnpaid, PayPaid}, statuses, "what was told is not told again")
		require.Equal(t, 5*time.Second, time.Since(begin))
		require.Len(t, s.asked, 4)
		require.Empty(t, s.asked[1].Header.Get("Last-Event-ID"))
		require.Equal(t, "a", s.asked[3].Header.Get("Last-Event-ID"))
		require.Equal(t, "text/event-stream", s.asked[3].Header.Get("Accept"))
	})
}

func TestEventsEndWithARefusal(t *testing.T) {
	t.Parallel()
	s := &script{answers: []answer{{404, "", `{"errMessage":"支付记录不存在","code":"PAY_RECORD_NOT_FOUND"}`, nil}}}
	_, err := follow(t.Context(), s.client(0))
	var refusal *Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, CodePayRecordNotFound, refusal.Code)
	require.Len(t, s.asked, 1)
}

func TestEventsEndWhereThereAreNone(t *testing.T) {
	t.Parallel()
	for _, answers := range [][]answer{{{200, "", "<html>", nil}}, {stream("event: record", "data: {", "")}} {
		_, err := follow(t.Context(), (&script{answers: answers}).client(0))
		require.ErrorIs(t, err, errStream)
	}
	_, err := follow(t.Context(), New(Config{URL: "http://[bad"}))
	require.ErrorIs(t, err, errStream)
}

func TestEventsEndWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := follow(ctx, (&script{answers: []answer{{status: 0}}}).client(0))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A stream whose other end has gone without a word is given up.
func TestASilentStreamIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dead, end := io.Pipe()
		s := &script{}
		s.answers = []answer{{200, "", "", dead}, stream(second)}
		c := s.client(0)
		c.http.Transport = closeWithRequest{s, end}
		begin := time.Now()
		statuses, err := follow(t.Context(), c)
		require.NoError(t, err)
		require.Equal(t, []string{PayPaid}, statuses)
		require.Equal(t, deadAfter+usualPause, time.Since(begin))
	})
}

// closeWithRequest breaks the pipe when the request is given up, as a connection does.
type closeWithRequest struct {
	*script
	end *io.PipeWriter
}

func (c closeWithRequest) RoundTrip(r *http.Request) (*http.Response, error) {
	context.AfterFunc(r.Context(), func() { _ = c.end.CloseWithError(r.Context().Err()) })
	return c.script.RoundTrip(r)
}
