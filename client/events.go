package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// deadAfter is how long a stream may be silent. The API sends something every 15 s.
const deadAfter = 45 * time.Second

// Events tells a pay record as it is now, and again on every change. It connects anew when the stream ends, as it does
// once an hour, when the service restarts and when the network breaks; what was told before is not told again. Nothing
// that still matters is missed, but a status that lasted only a moment may be.
//
// It goes on until the caller leaves the loop, the context ends, or the API refuses for good, such as for somebody else's
// record; the last two are told as an error, after which nothing follows.
func (c *Client) Events(ctx context.Context, payNo string) iter.Seq2[PayRecord, error] {
	return func(yield func(PayRecord, error) bool) {
		f := &follower{client: c, payNo: payNo, pause: usualPause, tell: func(r PayRecord) bool { return yield(r, nil) }}
		for {
			err := f.connect(ctx)
			if errors.Is(err, errLeft) {
				return
			}
			pause, again := f.again(err)
			if again {
				err = wait(ctx, pause)
			}
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(PayRecord{}, err)
				return
			}
		}
	}
}

var (
	errLeft   = errors.New("the caller has left the loop")
	errStream = errors.New("no stream of events")
)

// follower reads one stream after the other.
type follower struct {
	client *Client
	payNo  string
	tell   func(PayRecord) bool

	last  string        // the id of the event that was told last
	pause time.Duration // before another stream is opened
}

// again says whether another stream may do better, and when.
func (f *follower) again(err error) (time.Duration, bool) {
	refusal, refused := errors.AsType[*Error](err)
	switch {
	case !refused:
		return f.pause, !errors.Is(err, errStream)
	case refusal.Status < 500 && refusal.Status != http.StatusTooManyRequests:
		return 0, false
	default:
		return min(max(refusal.RetryAfter, f.pause), longestPause), true
	}
}

// connect reads one stream to its end.
func (f *follower) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(f.client.silence, cancel)
	defer watchdog.Stop()
	q := question{method: http.MethodGet, path: "/orders/events", query: filled("payNo", f.payNo)}
	request, err := f.client.request(ctx, q)
	if err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	request.Header.Set("Accept", "text/event-stream")
	if f.last != "" {
		request.Header.Set("Last-Event-ID", f.last)
	}
	response, err := f.client.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, largestBody))
		return refusal(q, response, body)
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("%s %s: %w but %q", q.method, q.path, errStream, kind)
	}
	return f.read(response.Body, func() { watchdog.Reset(f.client.silence) })
}

// message is an event that is being read.
type message struct {
	id, name string
	data     []string
}

// read tells the stream's records; alive is called whenever something has come.
func (f *follower) read(stream io.Reader, alive func()) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, largestBody)
	m := message{id: f.last}
	for lines.Scan() {
		alive()
		if lines.Text() == "" {
			if err := f.take(m); err != nil {
				return err
			}
			m = message{id: m.id}
			continue
		}
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			m.id = value
		case "event":
			m.name = value
		case "data":
			m.data = append(m.data, value)
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				f.pause = min(time.Duration(ms)*time.Millisecond, longestPause)
			}
		}
	}
	return lines.Err()
}

// take tells a record, unless it has been told.
func (f *follower) take(m message) error {
	if m.name != "record" || len(m.data) == 0 || (m.id != "" && m.id == f.last) {
		return nil
	}
	var record PayRecord
	if err := json.Unmarshal([]byte(strings.Join(m.data, "\n")), &record); err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	f.last = m.id
	if !f.tell(record) {
		return errLeft
	}
	return nil
}
