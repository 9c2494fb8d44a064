package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"coursepay/internal/auth"
	"coursepay/internal/events"
	"coursepay/models"
)

// What streams of events may cost, and how they are kept alive (docs/adr/0011-events.md).
const (
	streamsAtMost = 8192 // open streams of one process
	streamsEach   = 16   // of them, one user's

	heartbeat    = 15 * time.Second // without an event, after which a comment is sent
	streamLife   = time.Hour        // after which a stream ends; EventSource then opens another
	writeWithin  = 10 * time.Second // for a client to take what is sent to it
	lookWithin   = 3 * time.Second  // for the books to be read
	lookAgain    = 2 * time.Second  // after the books could not be read
	comeBack     = time.Second      // before a client opens another stream; spread, so that not all come at once
	comeBackLate = 3 * time.Second
)

// tokenCookie is where the XueCheng front end keeps its token. A browser's EventSource cannot set headers, but sends it.
const tokenCookie = "jwt"

// payEvents streams a pay record: as it is now, and on each change.
func (s *Server) payEvents(c *fiber.Ctx) error {
	user, err := s.viewer(c)
	if err != nil {
		s.log.DebugContext(c.UserContext(), "token refused", "reason", err)
		return s.sendError(c, errorOf(models.CodeUnauthorized))
	}
	payNo, err := models.ParseID(c.Query("payNo"))
	if err != nil {
		return s.sendError(c, errorOf(models.CodeInvalid))
	}
	feed, err := s.openStream(c.UserContext(), user, payNo, c.Context().Conn())
	if err != nil {
		var told huma.StatusError
		if !errors.As(s.fail(c.UserContext(), "open a stream of events", err), &told) {
			told = errorOf(models.CodeInternal)
		}
		return s.sendError(c, told)
	}
	c.Set(fiber.HeaderContentType, "text/event-stream")
	c.Set(fiber.HeaderCacheControl, "no-store, no-transform")
	c.Set("X-Accel-Buffering", "no") // a proxy shall not collect what is sent
	c.Context().SetConnectionClose() // its deadlines are the stream's
	c.Context().SetBodyStream(feed, -1)
	return nil
}

// viewer is who asks for a stream: by the Authorization header, or, where there is none, by the cookie. A cookie is good
// enough for reading: other sites' pages can make a browser send it, but not read the answer.
func (s *Server) viewer(c *fiber.Ctx) (auth.User, error) {
	header := c.Get(fiber.HeaderAuthorization)
	if cookie := c.Cookies(tokenCookie); header == "" && cookie != "" {
		header = "Bearer " + cookie
	}
	return s.tokens.User(header)
}

// openStream makes a stream that has the record as it is to tell, if it is the user's own.
func (s *Server) openStream(ctx context.Context, user auth.User, payNo models.ID, conn net.Conn) (*stream, error) {
	if s.events == nil {
		return nil, models.Refuse(models.CodeUnavailable, "nobody listens for changes")
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	watch := s.events.Watch(payNo)
	seen, err := watch.Look(ctx)
	if err == nil && seen.Record.UserID != user.ID {
		err = models.Refuse(models.CodePayRecordNotFound, "belongs to another user")
	}
	if err != nil {
		watch.Close()
		return nil, err
	}
	feed := &stream{watch: watch, conn: conn, log: s.log}
	if err := s.streams.enter(user.ID, feed); err != nil {
		watch.Close()
		return nil, err
	}
	pause := comeBack + rand.N(comeBackLate-comeBack) //nolint:gosec // a pause is no secret
	fmt.Fprintf(&feed.unsent, "retry: %d\n", pause.Milliseconds())
	feed.tell(seen)
	return feed, nil
}

// watched is what a stream follows: an events.Watch.
type watched interface {
	Changed() <-chan struct{}
	Look(context.Context) (events.Snapshot, error)
	Close()
}

// stream is the body of an answer that goes on. The server reads it on the connection's own goroutine, and what it reads
// it sends at once; so a stream costs no goroutine of its own, and a slow reader holds up nobody else. It knows nothing of
// the request, which is over by then.
type stream struct {
	watch watched
	conn  net.Conn
	log   *slog.Logger
	leave func() // gives the place back

	ctx  context.Context // ends with the stream's life, the server's, or when a newer one takes its place
	stop context.CancelFunc

	unsent bytes.Buffer
	told   string    // the id of the latest event
	beatAt time.Time // when a comment is due
	owed   bool      // a look failed
}

// Read waits for something to tell. Its only error is io.EOF: a stream always ends in good order.
func (f *stream) Read(into []byte) (int, error) {
	for f.unsent.Len() == 0 {
		if !f.wait() {
			return 0, io.EOF
		}
	}
	f.beatAt = time.Now().Add(heartbeat)
	_ = f.conn.SetWriteDeadline(time.Now().Add(writeWithin)) // fails on a connection that is gone, as sending will
	return f.unsent.Read(into)
}

// Close ends the stream. The server calls it when all is sent, or when the client has gone.
func (f *stream) Close() error {
	f.stop()
	f.watch.Close()
	f.leave()
	return nil
}

// wait waits for a change or for the time to say something else. It returns false when the stream is over.
func (f *stream) wait() bool {
	pause := time.Until(f.beatAt)
	if f.owed {
		pause = min(pause, lookAgain)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-f.ctx.Done():
		return false
	case <-f.watch.Changed():
		f.look()
	case <-timer.C:
		if f.owed {
			f.look()
		}
		if f.unsent.Len() == 0 && !time.Now().Before(f.beatAt) {
			f.unsent.WriteString(":\n\n")
		}
	}
	return true
}

func (f *stream) look() {
	ctx, cancel := context.WithTimeout(f.ctx, lookWithin)
	defer cancel()
	seen, err := f.watch.Look(ctx)
	f.owed = err != nil
	if err != nil {
		f.log.DebugContext(ctx, "a stream of events could not look", "error", err)
		return
	}
	f.tell(seen)
}

// payEvent is a pay record and how its order stands: one that is paid may have bought nothing, and is on its way back.
type payEvent struct {
	PayRecord
	OrderStatus models.OrderStatus `json:"orderStatus"`
}

// tell makes an event of what is seen, if it differs from what was told before. Its id is the same on every replica.
func (f *stream) tell(seen events.Snapshot) {
	text, err := json.Marshal(payEvent{viewPayRecord(seen.Record), seen.Order})
	if err != nil {
		f.log.ErrorContext(f.ctx, "a pay record cannot be told", "payNo", seen.Record.PayNo, "error", err)
		return
	}
	sum := sha256.Sum256(text)
	id := fmt.Sprintf("%x", sum[:8])
	if id == f.told {
		return
	}
	f.told = id
	fmt.Fprintf(&f.unsent, "event: record\nid: %s\ndata: %s\n\n", id, text)
}

// streams are the open streams of this process.
type streams struct {
	ctx  context.Context // ends when no stream may go on
	stop context.CancelFunc

	most, each int

	mu     sync.Mutex
	open   int
	byUser map[string][]*stream // the oldest first
}

func newStreams(most, each int) *streams {
	ctx, stop := context.WithCancel(context.Background())
	return &streams{ctx: ctx, stop: stop, most: most, each: each, byUser: map[string][]*stream{}}
}

// close ends all streams; no more are let in.
func (a *streams) close() { a.stop() }

// enter lets a stream in. One too many of a user's ends the oldest of them, which may well be one whose client is gone;
// one too many of all is refused.
func (a *streams) enter(user string, f *stream) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil || a.open >= a.most {
		return models.Refuse(models.CodeUnavailable, "%d streams are open", a.open)
	}
	f.ctx, f.stop = context.WithTimeout(a.ctx, streamLife-rand.N(streamLife/10)) //nolint:gosec // no secret either
	f.leave = sync.OnceFunc(func() { a.left(user, f) })
	a.open++
	if own := a.byUser[user]; len(own) >= a.each {
		own[0].stop()
		a.byUser[user] = slices.Delete(own, 0, 1)
	}
	a.byUser[user] = append(a.byUser[user], f)
	return nil
}

func (a *streams) left(user string, f *stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	own := slices.DeleteFunc(a.byUser[user], func(other *stream) bool { return other == f })
	a.byUser[user] = own
	if len(own) == 0 {
		delete(a.byUser, user)
	}
}

// describePayEvents adds the stream to the API's description.
func describePayEvents(api huma.API) {
	api.OpenAPI().Components.SecuritySchemes["cookie"] = &huma.SecurityScheme{
		Type: "apiKey", In: "cookie", Name: tokenCookie, Description: "The same JWT, for a browser's EventSource, which cannot set headers. Good for GET /orders/events alone.",
	}
	api.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "payevents", Method: fiber.MethodGet, Path: "/orders/events", Summary: "A pay record, now and on every change",
		Description: "Server-sent events for a browser's EventSource. Each event is called record; its data is the pay record, as " +
			"payresult tells it (without asking Alipay), with orderStatus beside it: a record may be paid (601002) and its order " +
			"not, and then the money goes back. The first comes at once, also after a reconnection: nothing is missed that " +
			"still matters, so Last-Event-ID may be sent and changes nothing. A further one comes when the record looks different, " +
			"or when its order's status has changed; its id differs then. Comments keep the connection alive. The stream ends after " +
			"an hour, when the service restarts, or when the same user opens too many; EventSource reconnects by itself. " +
			"503: too many streams are open, or the books do not answer; ask payresult instead.",
		Security: []map[string][]string{{"bearer": {}}, {"cookie": {}}},
		Parameters: []*huma.Param{{
			Name: "payNo", In: "query", Required: true, Description: "The pay record's payNo",
			Schema: &huma.Schema{Type: huma.TypeString, Pattern: "^[1-9][0-9]{0,18}$"},
		}},
		Metadata: map[string]any{byHand: true},
		Responses: withAnswer(refusalResponses(400, 401, 404, 500, 503), &huma.Response{
			Description: "Events", Content: map[string]*huma.MediaType{"text/event-stream": {
				Schema:  &huma.Schema{Type: huma.TypeString},
				Example: "event: record\nid: 6b86b273ff34fce1\ndata: {\"payNo\":\"1936271839214141440\",\"status\":\"601001\"}\n\n",
			}},
		}),
	})
}
