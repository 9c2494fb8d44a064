package events

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

const waitAtMost = 30 * time.Second

// world is a database with one learner's order (id 1) and two attempts to pay it (2 and 3), and another order (10) with
// an attempt (11).
type world struct {
	t   *testing.T
	url string
	db  *sql.DB
	*models.Store

	looks atomic.Int64 // at records
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, url: devtest.Database(t, models.Migrate)}
	var err error
	w.db, err = models.Open(t.Context(), w.url, 5)
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.Store, err = models.NewStore(w.db, func() (int64, error) { return 0, nil }, time.Now)
	require.NoError(t, err)
	for order, attempts := range map[int][]int{1: {2, 3}, 10: {11}} {
		w.exec(`insert into xc_orders (id, total_price, create_date, status, user_id, order_type, order_name, out_business_id)
			values ($1, 1, now(), '600001', '52', '60201', 'x', $1::bigint::text)`, order)
		for _, payNo := range attempts {
			w.exec(`insert into xc_pay_record (id, pay_no, out_pay_channel, order_id, order_name, total_price, create_date, status,
				user_id, request_id, expire_date) values ($1, $1, '603002', $2, 'x', 1, now(), '601001', '52', $1::bigint::text, now())`,
				payNo, order)
		}
	}
	return w
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	_, err := w.db.ExecContext(w.t.Context(), statement, args...)
	require.NoError(w.t, err)
}

// PayRecord counts who looks.
func (w *world) PayRecord(ctx context.Context, payNo models.ID) (models.PayRecord, error) {
	w.looks.Add(1)
	return w.Store.PayRecord(ctx, payNo)
}

// hub listens to the database at the address, and is heard to do so.
func (w *world) hub(address string, p pace) *Hub {
	w.t.Helper()
	h, err := open(Config{DatabaseURL: address, Books: w, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil))}, p)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, h.Close(context.Background())) })
	w.listens(h)
	return h
}

func (w *world) listens(h *Hub) {
	w.t.Helper()
	require.Eventually(w.t, h.listening.Load, waitAtMost, time.Millisecond)
}

// told waits until the watch is told to look again.
func told(t *testing.T, w *Watch) {
	t.Helper()
	select {
	case <-w.Changed():
	case <-time.After(waitAtMost):
		t.Fatal("nobody told")
	}
}

func quiet(t *testing.T, w *Watch) {
	t.Helper()
	select {
	case <-w.Changed():
		t.Fatal("told of something that it cannot see")
	default:
	}
}

// settled waits until everything that was committed before has been heard, by the word of another number after it.
func (w *world) settled(mark *Watch) {
	w.t.Helper()
	w.exec(`update xc_pay_record set expire_date = expire_date + interval '1 second' where pay_no = 11`)
	told(w.t, mark)
}

func watch(t *testing.T, h *Hub, payNo models.ID) *Watch {
	t.Helper()
	w := h.Watch(payNo)
	t.Cleanup(w.Close)
	return w
}

func TestWhatAViewerSeesIsTold(t *testing.T) {
	t.Parallel()
	const paid = `update xc_pay_record set status = '601002', out_pay_no = 't', pay_success_time = now() where pay_no = 2`
	for name, c := range map[string]struct {
		change string
		told   []models.ID
	}{
		"paid":                    {paid, []models.ID{2}},
		"paid, and the order too": {paid + `; update xc_orders set status = '600002', paid_by = 2 where id = 1`, []models.ID{2, 3}},
		"order closed":            {`update xc_orders set status = '600003' where id = 1`, []models.ID{2, 3}},
		"price":                   {`update xc_pay_record set total_price = 2 where pay_no = 3`, []models.ID{3}},
		"validity":                {`update xc_pay_record set expire_date = now() where pay_no = 3`, []models.ID{3}},
		"page opened":             {`update xc_pay_record set open_date = now() where pay_no = 2`, nil},
		"no longer handed out":    {`update xc_pay_record set supersede_date = now(), close_date = now() where pay_no = 2`, nil},
		"the same again":          {`update xc_pay_record set status = status; update xc_orders set status = status`, nil},
		"the order's description": {`update xc_orders set order_descrip = 'y', total_price = 2 where id = 1`, nil},
		"rolled back":             {`do $$ begin begin update xc_orders set status = '600003'; raise 'no'; exception when others then null; end; end $$`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := w.hub(w.url, usualPace)
			watches := map[models.ID]*Watch{2: watch(t, h, 2), 3: watch(t, h, 3)}
			mark := watch(t, h, 11)
			w.settled(mark) // what the start told is over: the next word is about the change
			for _, each := range watches {
				drain(each)
			}
			w.exec(c.change)
			w.settled(mark)
			for _, payNo := range c.told {
				told(t, watches[payNo])
				delete(watches, payNo)
			}
			for _, each := range watches {
				quiet(t, each)
			}
		})
	}
}

func drain(w *Watch) {
	select {
	case <-w.Changed():
	default:
	}
}

func TestOneConnectionListens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub(w.url, usualPace)
	for range 100 {
		watch(t, h, 2)
	}
	require.Equal(t, 1, w.listeners())
	require.NoError(t, h.Close(t.Context()))
	require.Eventually(t, func() bool { return w.listeners() == 0 }, waitAtMost, 10*time.Millisecond)
}

func (w *world) listeners() (n int) {
	w.t.Helper()
	require.NoError(w.t, w.db.QueryRowContext(w.t.Context(),
		`select count(*) from pg_stat_activity where application_name = $1 and datname = current_database()`, applicationName).Scan(&n))
	return n
}

func TestEverybodyLooksAgainAfterTheConnectionBroke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub(w.url, pace{answerWithin: 5 * time.Second, quietFor: 10 * time.Second, deafLook: time.Hour})
	one, other := watch(t, h, 2), watch(t, h, 11)
	w.settled(other)
	drain(one)
	for range 3 {
		w.exec(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and datname = current_database()`, applicationName)
		told(t, one)
		told(t, other)
	}
	w.exec(`update xc_orders set status = '600003' where id = 1`)
	told(t, one)
	quiet(t, other)
}

func TestAConnectionThatDiesWithoutAWordIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := newLine(t, w.url)
	h := w.hub(line.url, pace{answerWithin: 200 * time.Millisecond, quietFor: 50 * time.Millisecond, deafLook: 20 * time.Millisecond})
	one := watch(t, h, 2)
	line.cut.Store(true)
	require.Eventually(t, func() bool { return !h.listening.Load() }, waitAtMost, time.Millisecond)
	drain(one)
	for range 3 {
		told(t, one) // by nobody but the hub itself
	}
	line.cut.Store(false)
	w.listens(h)
}

// line is a way to Postgres that can be cut without either end noticing.
type line struct {
	url string
	cut atomic.Bool
}

func newLine(t *testing.T, database string) *line {
	t.Helper()
	address, err := url.Parse(database)
	require.NoError(t, err)
	server := address.Host
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address.Host = listener.Addr().String()
	l := &line{url: address.String()}
	var running sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); running.Wait() })
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			running.Go(func() { l.carry(far, near) })
			running.Go(func() { l.carry(near, far) })
		}
	})
	return l
}

// carry drops what is sent while the line is cut.
func (l *line) carry(to, from net.Conn) {
	defer func() { _ = to.Close() }()
	_, _ = io.Copy(writerFunc(func(text []byte) (int, error) {
		if l.cut.Load() {
			return len(text), nil
		}
		return to.Write(text)
	}), from)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(text []byte) (int, error) { return f(text) }

func TestALookIsSharedAndNeverOlderThanItsReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub(w.url, usualPace)
	mark := watch(t, h, 11)
	var watches []*Watch
	for range 50 {
		watches = append(watches, watch(t, h, 2))
	}
	w.settled(mark)
	for _, each := range watches {
		drain(each)
	}
	w.exec(`update xc_orders set status = '600003' where id = 1`)
	w.exec(`update xc_orders set status = '600001' where id = 1`)
	w.exec(`update xc_orders set status = '600003' where id = 1`)
	w.settled(mark)
	before := w.looks.Load()
	var looking sync.WaitGroup
	for _, each := range watches {
		looking.Go(func() {
			told(t, each)
			seen, err := each.Look(t.Context())
			if err != nil || seen.Order != models.OrderClosed || seen.Record.PayNo != 2 {
				t.Errorf("saw %+v, %v", seen, err)
			}
		})
	}
	looking.Wait()
	require.EqualValues(t, 1, w.looks.Load()-before, "one look for all")
	for _, each := range watches {
		quiet(t, each) // three changes were one word
	}

	w.exec(`update xc_orders set status = '600001' where id = 1`)
	told(t, watches[0])
	seen, err := watches[0].Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, models.OrderUnpaid, seen.Order)

	newcomer := watch(t, h, 2)
	before = w.looks.Load()
	_, err = newcomer.Look(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, w.looks.Load()-before, "who comes new sees what is there now")
}

func TestNobodyIsHeldUpByWhoDoesNotLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub(w.url, usualPace)
	slow, quick := watch(t, h, 2), watch(t, h, 2)
	for range 20 {
		w.exec(`update xc_pay_record set expire_date = expire_date + interval '1 second' where pay_no = 2`)
		told(t, quick)
	}
	told(t, slow)
	quiet(t, slow)
}

func TestAFailedLookIsNotRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub(w.url, usualPace)
	one := watch(t, h, 2)
	ended, end := context.WithCancel(t.Context())
	end()
	_, err := one.Look(ended)
	require.ErrorIs(t, err, context.Canceled)
	seen, err := one.Look(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, seen.Record.PayNo)
	_, err = watch(t, h, 4711).Look(t.Context())
	code, refused := models.RefusalCode(err)
	require.True(t, refused)
	require.Equal(t, models.CodePayRecordNotFound, code)
}

func TestNothingIsKeptOfThoseWhoLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.hub(w.url, usualPace)
	one, other := h.Watch(2), h.Watch(2)
	one.Close()
	one.Close()
	again := h.Watch(2)
	other.Close()
	other.Close()
	require.Len(t, h.topics, 1, "somebody watches")
	again.Close()
	require.Empty(t, h.topics)
}

func TestAnAddressThatCannotBeReadIsSaid(t *testing.T) {
	t.Parallel()
	_, err := Open(Config{DatabaseURL: "postgres://user:secret@host:nonsense/db"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}
