package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/api"
	"coursepay/internal/auth"
	"coursepay/internal/events"
)

// changes listens for an API of the shop.
func (s *shop) changes(log *slog.Logger) *events.Hub {
	s.t.Helper()
	hub, err := events.Open(events.Config{DatabaseURL: s.dbURL, Books: s.store, Logger: log})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, hub.Close(context.Background())) })
	return hub
}

// replica serves a second API, of this and of nothing but reading, at an address ("127.0.0.1:0": anywhere).
func (s *shop) replica(address string) (url string, stop func()) {
	s.t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", address)
	require.NoError(s.t, err)
	return "http://" + listener.Addr().String(), s.serveReplica(listener)
}

func (s *shop) serveReplica(listener net.Listener) (stop func()) {
	s.t.Helper()
	log := slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	tokens, err := auth.NewVerifier(auth.Config{Secret: jwtSecret})
	require.NoError(s.t, err)
	server := api.New(api.Config{
		Store: s.store, Temporal: s.engine, Tokens: tokens, Events: s.changes(log), Now: time.Now, Logger: log,
	})
	stop = background(s.t, func(ctx context.Context) error { return server.Serve(ctx, listener) })
	s.t.Cleanup(stop)
	return stop
}

// pipes are connections that hold nothing: what the other end does not read has not been written.
type pipes struct {
	conns chan net.Conn
	ended context.Context
	end   context.CancelFunc
}

func newPipes() *pipes {
	ctx, end := context.WithCancel(context.Background())
	return &pipes{make(chan net.Conn), ctx, end}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.ended.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.end(); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(t *testing.T) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close() })
	p.conns <- far
	return near
}

// viewer reads a stream of events, as a browser's EventSource does.
type viewer struct {
	t     *testing.T
	body  io.ReadCloser
	lines *bufio.Reader
}

type event struct {
	retry, id, name string
	record          map[string]any
}

// view opens a stream; headers are pairs.
func (s *shop) view(api, payNo string, headers ...string) *viewer {
	s.t.Helper()
	response := s.askEvents(api, payNo, headers...) //nolint:bodyclose // askEvents closes it when the test ends
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	require.Equal(s.t, "text/event-stream", response.Header.Get("Content-Type"))
	require.Contains(s.t, response.Header.Get("Cache-Control"), "no-store")
	return &viewer{s.t, response.Body, bufio.NewReader(response.Body)}
}

func (s *shop) askEvents(api, payNo string, headers ...string) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, api+"/orders/events?payNo="+payNo, nil)
	require.NoError(s.t, err)
	request.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := s.web.Do(request)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func (s *shop) bearer(user string) []string {
	return []string{"Authorization", "Bearer " + s.token(user)}
}

// next reads the next event; comments are passed over.
func (v *viewer) next() event {
	v.t.Helper()
	e, err := readEvent(v.lines)
	require.NoError(v.t, err)
	return e
}

func readEvent(lines *bufio.Reader) (e event, err error) {
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "retry":
			e.retry = value
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.record); err != nil {
				return e, err
			}
		case "":
			if e.record != nil {
				return e, nil
			}
		}
	}
}

// until reads on until the record has the status.
func (v *viewer) until(status string) event {
	v.t.Helper()
	for {
		if e := v.next(); e.record["status"] == status {
			return e
		}
	}
}

func (s *shop) payResult(user, payNo string) map[string]any {
	s.t.Helper()
	status, text := s.call(http.MethodGet, "/orders/payresult?payNo="+payNo, s.token(user), "", "")
	require.Equal(s.t, http.StatusOK, status, text)
	var record map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(text), &record))
	return record
}

func TestAPaymentArrivesWithoutAsking(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	elsewhere, _ := s.replica("127.0.0.1:0")
	streams := []*viewer{
		s.view(s.api, record.PayNo, s.bearer("52")...),
		s.view(s.api+"/api", record.PayNo, "Cookie", "theme=dark; jwt="+s.token("52")),
		s.view(elsewhere, record.PayNo, s.bearer("52")...),
	}
	unpaid := s.payResult("52", record.PayNo)
	unpaid["orderStatus"] = "600001"
	var first event
	for _, v := range streams {
		first = v.next()
		require.Equal(t, "record", first.name)
		require.Regexp(t, `^[12]\d{3}$`, first.retry)
		require.Equal(t, unpaid, first.record)
		require.Equal(t, "601001", first.record["status"])
	}
	s.pay(record)
	var paid event
	for _, v := range streams {
		paid = v.until("601002")
		require.NotEqual(t, first.id, paid.id)
	}
	bought := s.payResult("52", record.PayNo)
	bought["orderStatus"] = "600002"
	require.Equal(t, bought, paid.record)
	for _, last := range []string{first.id, paid.id, "what others say"} {
		again := s.view(s.api, record.PayNo, append(s.bearer("52"), "Last-Event-ID", last)...).next()
		require.Equal(t, paid.id, again.id, "who comes back sees how it stands")
		require.Equal(t, paid.record, again.record)
	}
}

func TestOnlyTheOwnerMayWatch(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	s.manyRecords(1, 1)
	const payNo = "1000001"
	token, stranger := s.token("u0"), s.token("53")
	for name, c := range map[string]struct {
		payNo   string
		headers []string
		status  int
		code    string
	}{
		"nobody":                 {payNo, nil, 401, "UNAUTHORIZED"},
		"a stranger":             {payNo, []string{"Authorization", "Bearer " + stranger}, 404, "PAY_RECORD_NOT_FOUND"},
		"a stranger's cookie":    {payNo, []string{"Cookie", "jwt=" + stranger}, 404, "PAY_RECORD_NOT_FOUND"},
		"a forged cookie":        {payNo, []string{"Cookie", "jwt=" + token + "x"}, 401, "UNAUTHORIZED"},
		"another cookie":         {payNo, []string{"Cookie", "token=" + token}, 401, "UNAUTHORIZED"},
		"header before cookie":   {payNo, []string{"Authorization", "Bearer x", "Cookie", "jwt=" + token}, 401, "UNAUTHORIZED"},
		"a token in the address": {payNo + "&jwt=" + token + "&token=" + token, nil, 401, "UNAUTHORIZED"},
		"no such record":         {"4711", []string{"Cookie", "jwt=" + token}, 404, "PAY_RECORD_NOT_FOUND"},
		"no number":              {"x", []string{"Cookie", "jwt=" + token}, 400, "INVALID_REQUEST"},
		"none":                   {"", []string{"Cookie", "jwt=" + token}, 400, "INVALID_REQUEST"},
	} {
		response := s.askEvents(s.api, c.payNo, c.headers...) //nolint:bodyclose // askEvents closes it when the test ends
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, c.status, response.StatusCode, name)
		code, _ := errorBody(t, string(text))
		require.Equal(t, c.code, code, name)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.api+"/orders/payresult?payNo="+payNo, nil)
	require.NoError(t, err)
	request.Header.Set("Cookie", "jwt="+token)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusUnauthorized, response.StatusCode, "the cookie is good for streams alone")
}

func TestAStreamEndsInGoodOrderWhenTheAPIRestarts(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	s.manyRecords(1, 1)
	address, stop := s.replica("127.0.0.1:0")
	before := s.view(address, "1000001", s.bearer("u0")...)
	first := before.next()
	stop() // waits for what is in hand
	_, err := readEvent(before.lines)
	require.ErrorIs(t, err, io.EOF, "not a broken connection")
	s.closeOrder("1000001")
	s.replica(strings.TrimPrefix(address, "http://"))
	after := s.view(address, "1000001", append(s.bearer("u0"), "Last-Event-ID", first.id)...)
	require.NotEqual(t, first.id, after.next().id)
}

func TestALostListenerIsMadeGood(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	s.manyRecords(1, 1)
	stream := s.view(s.api, "1000001", s.bearer("u0")...)
	first := stream.next()
	_, err := s.db.ExecContext(t.Context(), `with gone as (select pg_terminate_backend(pid) from pg_stat_activity
		where application_name = 'coursepay events' and datname = current_database()) select count(*) from gone`)
	require.NoError(t, err)
	s.closeOrder("1000001")
	require.NotEqual(t, first.id, stream.next().id)
}

func TestTheNewestStreamsOfAUserStay(t *testing.T) {
	t.Parallel()
	const each = 16
	s := openShop(t, options{idle: true})
	s.manyRecords(1, 1)
	var streams []*viewer
	for range each + 2 {
		stream := s.view(s.api, "1000001", s.bearer("u0")...)
		stream.next()
		streams = append(streams, stream)
	}
	for _, old := range streams[:2] {
		_, err := readEvent(old.lines)
		require.ErrorIs(t, err, io.EOF)
	}
	s.closeOrder("1000001")
	for _, stream := range streams[2:] {
		stream.next()
	}
}

// manyRecords puts orders with one unpaid attempt each into the books: pay numbers from 1000001 on, `each` a user, of
// users u0, u1, ….
func (s *shop) manyRecords(count, each int) {
	s.t.Helper()
	_, err := s.db.ExecContext(s.t.Context(), fmt.Sprintf(`
		insert into xc_orders (id, total_price, create_date, status, user_id, order_type, order_name, out_business_id)
		select 2000000 + i, 129, now(), '600001', 'u' || (i - 1) / %d, '60201', 'Go', 'many-' || i from generate_series(1, %d) i`, each, count))
	require.NoError(s.t, err)
	_, err = s.db.ExecContext(s.t.Context(), `
		insert into xc_pay_record (id, pay_no, out_pay_channel, order_id, order_name, total_price, create_date, status, user_id, request_id, expire_date)
		select id + 1000000, id - 1000000, '603002', id, order_name, total_price, create_date, '601001', user_id, 'r', create_date + interval '15 minutes'
		from xc_orders where out_business_id like 'many-%'`)
	require.NoError(s.t, err)
}

func (s *shop) closeOrder(payNo string) {
	s.t.Helper()
	_, err := s.db.ExecContext(s.t.Context(),
		`update xc_orders set status = '600003' where id = (select order_id from xc_pay_record where pay_no = $1)`, payNo)
	require.NoError(s.t, err)
}

func TestASlowReaderHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	s.manyRecords(1, 1)
	door := newPipes()
	s.serveReplica(door)
	slow, quick := s.openEvents(door.dial(t), "1000001", "u0"), s.openEvents(door.dial(t), "1000001", "u0")
	first, err := readEvent(slow)
	require.NoError(t, err)
	_, err = readEvent(quick)
	require.NoError(t, err)
	ids := []string{first.id}
	for _, status := range []string{"600003", "600001", "600003", "600001", "600003"} {
		_, err := s.db.ExecContext(t.Context(), `update xc_orders set status = $1 where out_business_id = 'many-1'`, status)
		require.NoError(t, err)
		e, err := readEvent(quick)
		require.NoError(t, err)
		require.NotEqual(t, ids[len(ids)-1], e.id)
		ids = append(ids, e.id)
	}
	stale, err := readEvent(slow) // on its way since the first change
	require.NoError(t, err)
	require.Equal(t, ids[1], stale.id)
}

// openEvents opens a stream on a connection that nobody reads unless the test does, and without a goroutine.
func (s *shop) openEvents(conn net.Conn, payNo, user string) *bufio.Reader {
	s.t.Helper()
	_, err := fmt.Fprintf(conn, "GET /orders/events?payNo=%s HTTP/1.1\r\nHost: x\r\nCookie: jwt=%s\r\n\r\n", payNo, s.token(user))
	require.NoError(s.t, err)
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 1024), nil) //nolint:bodyclose // it goes on, and ends with the connection
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	return bufio.NewReaderSize(response.Body, 1024)
}

// dialEvents opens a stream on a connection of its own.
func (s *shop) dialEvents(payNo, user string) (*bufio.Reader, *net.TCPConn) {
	s.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.api, "http://"))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return s.openEvents(conn, payNo, user), conn.(*net.TCPConn)
}

// An API has five thousand streams open. A few of them are paid, and hear of it although nobody else reads. When they
// are gone, nothing is left of them.
func TestFiveThousandStreams(t *testing.T) { //nolint:paralleltest // it counts the goroutines of the process
	const many, each, buyers = 5000, 16, 3
	allowFiles(t, 2*many+1000)
	s := openShop(t, options{})
	s.manyRecords(many, each)
	goroutines, memory := inUse()

	streams := make([]*bufio.Reader, many)
	conns := make([]*net.TCPConn, many)
	for i := range many {
		streams[i], conns[i] = s.dialEvents(fmt.Sprint(1000001+i), fmt.Sprintf("u%d", i/each))
		e, err := readEvent(streams[i])
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(1000001+i), e.record["payNo"])
	}
	open, _ := inUse()
	require.Greater(t, open-goroutines, many-1, "all of them are open")
	require.Less(t, open-goroutines, many+many/10, "a stream costs one goroutine: its connection's")
	require.Equal(t, 1, s.count(`select count(*) from pg_stat_activity where application_name = 'coursepay events' and datname = current_database()`))

	for i := range buyers {
		user := fmt.Sprintf("buyer%d", i)
		_, record := s.codeFor(user)
		stream := s.view(s.api, record.PayNo, s.bearer(user)...)
		require.Equal(t, "601001", stream.next().record["status"])
		s.pay(record)
		stream.until("601002")
		require.NoError(t, stream.body.Close())
	}
	for _, i := range []int{0, many / 2, many - 1} {
		s.closeOrder(fmt.Sprint(1000001 + i))
		_, err := readEvent(streams[i])
		require.NoError(t, err)
	}

	for _, conn := range conns {
		require.NoError(t, conn.SetLinger(0))
		require.NoError(t, conn.Close())
	}
	clear(streams)
	clear(conns)
	http.DefaultClient.CloseIdleConnections()
	var left int
	var kept uint64
	require.Eventually(t, func() bool {
		left, kept = inUse()
		return left-goroutines < 100 && kept < memory+32<<20
	}, 2*time.Minute, time.Second)
	t.Logf("goroutines: %d before, %d with %d streams, %d after; heap: %d MiB before, %d MiB after",
		goroutines, open, many, left, memory>>20, kept>>20)
}

// inUse counts goroutines and what the heap still needs.
func inUse() (goroutines int, heap uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

// allowFiles lets this process have so many files open.
func allowFiles(t *testing.T, need uint64) {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur >= need {
		return
	}
	higher := syscall.Rlimit{Cur: need, Max: max(need, limit.Max)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &higher); err != nil {
		t.Skipf("both ends of all streams need %d open files; %d of at most %d are allowed here, and raising that says: %v",
			need, limit.Cur, limit.Max, err)
	}
}
