package models_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

// books is a store on a database of its own, with the demo catalogue and a clock that the test turns.
type books struct {
	*models.Store
	t   *testing.T
	db  *sql.DB
	now time.Time
}

var ids atomic.Int64

func openBooks(t *testing.T) *books {
	t.Helper()
	pool, err := models.Open(t.Context(), devtest.Database(t, models.Migrate), 20)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	b := &books{t: t, db: pool, now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
	b.Store, err = models.NewStore(pool, func() (int64, error) { return 1000 + ids.Add(1), nil }, func() time.Time { return b.now })
	require.NoError(t, err)
	require.NoError(t, b.SeedDemo(t.Context()))
	return b
}

// count runs a query that gives one number.
func (b *books) count(query string, args ...any) int {
	b.t.Helper()
	var n int
	require.NoError(b.t, b.db.QueryRowContext(context.Background(), query, args...).Scan(&n))
	return n
}

func (b *books) exec(query string, args ...any) error {
	_, err := b.db.ExecContext(context.Background(), query, args...)
	return err
}

// choose picks the demo's paid course 1 (¥1.00, 365 days).
func (b *books) choose(user string) models.ChooseCourse {
	b.t.Helper()
	chosen, _, err := b.ChooseCourse(b.t.Context(), user, 1)
	require.NoError(b.t, err)
	return chosen
}

func payRequest(c models.ChooseCourse, requestID string) models.PayRequest {
	return models.PayRequest{
		RequestID: requestID, UserID: c.UserID, OrderType: models.OrderCourse, OutBusinessID: c.ID.String(), TotalPrice: c.CoursePrice,
	}
}

func (b *books) attempt(c models.ChooseCourse, requestID string) models.PayRecord {
	b.t.Helper()
	attempt, err := b.CreateAttempt(b.t.Context(), payRequest(c, requestID), b.now.Add(15*time.Minute))
	require.NoError(b.t, err)
	require.Empty(b.t, attempt.Opened)
	return attempt.Record
}

func (b *books) payment(r models.PayRecord, trade string) models.Payment {
	return models.Payment{PayNo: r.PayNo, TradeNo: trade, Amount: r.TotalPrice, PaidAt: b.now}
}

func requireRefused(t *testing.T, err error, want models.Code) {
	t.Helper()
	code, refused := models.RefusalCode(err)
	require.True(t, refused, "%v", err)
	require.Equal(t, want, code)
}

// atOnce runs fn n times in parallel and returns the errors.
func atOnce(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = fn(i) })
	}
	group.Wait()
	return errs
}

func TestMigrationsGoDownAndUpAgain(t *testing.T) {
	t.Parallel()
	url := devtest.Database(t, models.Migrate)
	require.NoError(t, models.MigrateDown(t.Context(), url, 0))
	for _, err := range atOnce(4, func(int) error { return models.Migrate(t.Context(), url) }) {
		require.NoError(t, err, "replicas migrate at once")
	}
}

func TestFreeCourseIsEnrolledAtOnce(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	for _, err := range atOnce(10, func(int) error { _, _, err := b.ChooseCourse(t.Context(), "u", 4); return err }) {
		require.NoError(t, err)
	}
	chosen, status, err := b.ChooseCourse(t.Context(), "u", 4)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status)
	require.Equal(t, models.ChooseDone, chosen.Status)
	require.Equal(t, b.now.AddDate(0, 0, 365), chosen.ValidtimeEnd.UTC())
	require.Equal(t, 1, b.count(`select count(*) from xc_choose_course`))
	require.Equal(t, 1, b.count(`select count(*) from xc_course_tables`))

	b.now = b.now.AddDate(0, 0, 366)
	again, status, err := b.ChooseCourse(t.Context(), "u", 4)
	require.NoError(t, err)
	require.NotEqual(t, chosen.ID, again.ID, "it ran out, so it is chosen anew")
	require.Equal(t, models.LearnNormal, status)
	require.Equal(t, 1, b.count(`select count(*) from xc_course_tables`))
}

func TestOnePendingChoiceALearnerAndCourse(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	for _, err := range atOnce(20, func(int) error { _, _, err := b.ChooseCourse(t.Context(), "u", 1); return err }) {
		require.NoError(t, err)
	}
	require.Equal(t, 1, b.count(`select count(*) from xc_choose_course`))
	require.NotEqual(t, b.choose("u").ID, b.choose("v").ID)
}

func TestUnknownAndOfflineCoursesCannotBeChosen(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	for _, id := range []models.ID{6, 99} {
		_, _, err := b.ChooseCourse(t.Context(), "u", id)
		requireRefused(t, err, models.CodeCourseNotFound)
	}
}

func TestPriceIsFollowedUntilAnOrderFixesIt(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	old := b.choose("u")
	require.NoError(t, b.exec(`update course_publish set price = 2.00 where id = 1`))
	requireRefused(t, b.CheckPayRequest(t.Context(), payRequest(old, "r")), models.CodePriceChanged)
	chosen := b.choose("u")
	require.Equal(t, old.ID, chosen.ID)
	require.Equal(t, models.Money(2_00), chosen.CoursePrice)
	b.attempt(chosen, "r")

	require.NoError(t, b.exec(`update course_publish set price = 3.00 where id = 1`))
	require.Equal(t, models.Money(2_00), b.choose("u").CoursePrice, "the order has fixed it")
	record := b.attempt(chosen, "r2")

	b.now = b.now.Add(15 * time.Minute)
	status, err := b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.Standing{OrderID: record.OrderID, Status: models.OrderClosed}, status)
	requireRefused(t, b.CheckPayRequest(t.Context(), payRequest(chosen, "r3")), models.CodePriceChanged)
	chosen = b.choose("u")
	require.Equal(t, models.Money(3_00), chosen.CoursePrice, "a closed order fixes nothing")
	again := b.attempt(chosen, "r3")
	require.Equal(t, record.OrderID, again.OrderID)
	require.Equal(t, models.Money(3_00), again.TotalPrice)
	require.Equal(t, 1, b.count(`select count(*) from xc_orders_goods g join xc_orders o on o.id = g.order_id where goods_price = 3 and total_price = 3`))

	b.now = b.now.Add(15 * time.Minute)
	_, err = b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.NoError(t, b.exec(`update course_publish set status = '203003' where id = 1`))
	requireRefused(t, b.CheckPayRequest(t.Context(), payRequest(chosen, "r4")), models.CodeCourseNotFound)
}

// meet lets first stop in the middle, at its insert into the table, and starts second; when that waits too, or is done,
// both go on.
func (b *books) meet(table string, first, second func() error) {
	b.t.Helper()
	ctx := b.t.Context()
	require.NoError(b.t, b.exec(`create function hold() returns trigger language plpgsql as
		$$ begin perform pg_advisory_xact_lock(77); return new; end $$;
		create trigger hold before insert on `+table+` for each row execute function hold()`))
	holder, err := b.db.Conn(ctx)
	require.NoError(b.t, err)
	defer func() { _ = holder.Close() }()
	_, err = holder.ExecContext(ctx, `select pg_advisory_lock(77)`)
	require.NoError(b.t, err)
	waiting := func(n int) bool {
		return b.count(`select count(distinct l.pid) from pg_locks l join pg_stat_activity a using (pid)
			where not l.granted and a.datname = current_database()`) == n
	}
	var group sync.WaitGroup
	var firstErr, secondErr error
	done := make(chan struct{})
	group.Go(func() { firstErr = first() })
	require.Eventually(b.t, func() bool { return waiting(1) }, 10*time.Second, 10*time.Millisecond)
	group.Go(func() { secondErr = second(); close(done) })
	require.Eventually(b.t, func() bool {
		select {
		case <-done:
			return true
		default:
			return waiting(2)
		}
	}, 10*time.Second, 10*time.Millisecond)
	_, err = holder.ExecContext(ctx, `select pg_advisory_unlock(77)`)
	require.NoError(b.t, err)
	group.Wait()
	require.NoError(b.t, firstErr)
	require.NoError(b.t, secondErr)
}

// The price changes, and the learner chooses again, while the order with the old price is being written: choice and
// order must not part.
func TestPriceChangesWhileTheOrderIsMade(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	b.meet("xc_orders", func() error {
		_, err := b.CreateAttempt(t.Context(), payRequest(chosen, "r"), b.now.Add(time.Minute))
		return err
	}, func() error {
		require.NoError(t, b.exec(`update course_publish set price = 2.00 where id = 1`))
		_, _, err := b.ChooseCourse(t.Context(), "u", 1)
		return err
	})
	require.Equal(t, 1, b.count(`select count(*) from xc_orders o join xc_choose_course c on c.id::text = o.out_business_id
		where o.total_price = c.course_price and o.total_price = 1`))
}

// The learner chooses again while the payment is being settled: the course is not offered for sale once more.
func TestChoosingWhileThePaymentIsSettled(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r")
	var status models.LearnStatus
	b.meet("xc_course_tables", func() error {
		_, err := b.Settle(t.Context(), b.payment(record, "T"))
		return err
	}, func() (err error) {
		_, status, err = b.ChooseCourse(t.Context(), "u", 1)
		return err
	})
	require.Equal(t, models.LearnNormal, status)
	require.Equal(t, 1, b.count(`select count(*) from xc_choose_course`))
}

func TestCourseThatTheLearnerHasCannotBeBoughtAgain(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	other := models.ID(4711)
	require.NoError(t, b.exec(`insert into xc_choose_course select $1, course_id, course_name, user_id, company_id, order_type,
		create_date, course_price, valid_days, '701001', now(), now() + interval '9 years' from xc_choose_course`, int64(other)))
	require.NoError(t, b.exec(`insert into xc_course_tables select 1, id, user_id, course_id, company_id, course_name, order_type,
		create_date, validtime_start, validtime_end from xc_choose_course where id = $1`, int64(other)))
	requireRefused(t, b.CheckPayRequest(t.Context(), payRequest(chosen, "r")), models.CodeOrderPaid)
}

func TestPayRequestsThatDifferAreRefused(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	free, _, err := b.ChooseCourse(t.Context(), "u", 4)
	require.NoError(t, err)
	good := models.GoodsClaim{GoodsID: "1", GoodsType: "60201", GoodsPrice: 1_00}
	for name, tc := range map[string]struct {
		change func(*models.PayRequest)
		want   models.Code
	}{
		"another price":     {func(r *models.PayRequest) { r.TotalPrice = 1 }, models.CodePriceMismatch},
		"another user":      {func(r *models.PayRequest) { r.UserID = "v" }, models.CodeChooseNotFound},
		"unknown business":  {func(r *models.PayRequest) { r.OutBusinessID = "4711" }, models.CodeChooseNotFound},
		"no id":             {func(r *models.PayRequest) { r.OutBusinessID = "99999999999999999999" }, models.CodeChooseNotFound},
		"free course":       {func(r *models.PayRequest) { r.OutBusinessID = free.ID.String(); r.TotalPrice = 0 }, models.CodeChooseNotFound},
		"unknown type":      {func(r *models.PayRequest) { r.OrderType = "60299" }, models.CodeOrderTypeUnknown},
		"other goods":       {func(r *models.PayRequest) { r.Goods = []models.GoodsClaim{{"2", "60201", 1_00}} }, models.CodeGoodsMismatch},
		"other goods price": {func(r *models.PayRequest) { r.Goods = []models.GoodsClaim{{"1", "60201", 1}} }, models.CodeGoodsMismatch},
		"two goods":         {func(r *models.PayRequest) { r.Goods = []models.GoodsClaim{good, good} }, models.CodeGoodsMismatch},
	} {
		r := payRequest(chosen, "r")
		tc.change(&r)
		_, err := b.CreateAttempt(t.Context(), r, b.now.Add(time.Minute))
		code, _ := models.RefusalCode(err)
		require.Equal(t, tc.want, code, name)
	}
	require.Zero(t, b.count(`select count(*) from xc_orders`))
	require.Zero(t, b.count(`select count(*) from xc_pay_record`))

	r := payRequest(chosen, "r")
	r.Goods = []models.GoodsClaim{good}
	require.NoError(t, b.CheckPayRequest(t.Context(), r))
}

func TestOneOrderWhateverIsAsked(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	first := b.attempt(chosen, "r1")
	require.Equal(t, first.PayNo, b.attempt(chosen, "r1").PayNo, "a repeat finds the same")
	second := b.attempt(chosen, "r2")
	require.NotEqual(t, first.PayNo, second.PayNo)
	require.Equal(t, first.OrderID, second.OrderID)
	require.Equal(t, 1, b.count(`select count(*) from xc_orders`))
	require.Equal(t, 1, b.count(`select count(*) from xc_orders_goods`))
	require.Equal(t, 1, b.count(`select count(*) from xc_pay_record where close_date is null`), "one is payable")

	_, err := b.OpenAttempt(t.Context(), first.PayNo)
	requireRefused(t, err, models.CodePayCodeExpired)
	_, err = b.OpenAttempt(t.Context(), second.PayNo)
	require.NoError(t, err)
	third, err := b.CreateAttempt(t.Context(), payRequest(chosen, "r3"), b.now.Add(time.Minute))
	require.NoError(t, err)
	require.Equal(t, []models.ID{second.PayNo}, third.Opened, "only Alipay can close what was opened")
	require.Equal(t, 2, b.count(`select count(*) from xc_pay_record`))

	require.NoError(t, b.SupersedeAttempt(t.Context(), second.PayNo), "Alipay does not know it yet")
	_, err = b.OpenAttempt(t.Context(), second.PayNo)
	requireRefused(t, err, models.CodePayCodeExpired)
	last := b.attempt(chosen, "r3")
	live, err := b.LiveAttempts(t.Context(), first.OrderID)
	require.NoError(t, err)
	require.Len(t, live, 2, "its page may be open: it is still watched")
	done, err := b.Settle(t.Context(), b.payment(last, "T"))
	require.NoError(t, err)
	require.Equal(t, []models.ID{second.PayNo}, done.Opened)
}

func TestRepeatOfARequestThatIsOver(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	record := b.attempt(chosen, "r1")
	b.now = b.now.Add(15 * time.Minute)
	_, err := b.CreateAttempt(t.Context(), payRequest(chosen, "r1"), b.now.Add(time.Minute))
	requireRefused(t, err, models.CodePayCodeExpired)
	_, err = b.Settle(t.Context(), b.payment(record, "T"))
	require.NoError(t, err)
	_, err = b.CreateAttempt(t.Context(), payRequest(chosen, "r1"), b.now.Add(time.Minute))
	requireRefused(t, err, models.CodeOrderPaid)
}

func TestOpeningWhatCannotBePaid(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r")
	_, err := b.OpenAttempt(t.Context(), 4711)
	requireRefused(t, err, models.CodePayRecordNotFound)
	b.now = b.now.Add(15 * time.Minute)
	_, err = b.OpenAttempt(t.Context(), record.PayNo)
	requireRefused(t, err, models.CodePayCodeExpired)
	_, err = b.Settle(t.Context(), b.payment(record, "T"))
	require.NoError(t, err)
	_, err = b.OpenAttempt(t.Context(), record.PayNo)
	requireRefused(t, err, models.CodePaymentDone)
}

func TestSettlingIsOneStepHoweverOften(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	record := b.attempt(chosen, "r")
	_, err := b.OpenAttempt(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.NoError(t, b.SupersedeAttempt(t.Context(), record.PayNo))
	unopened := b.attempt(chosen, "r0")
	b.now = b.now.Add(10 * time.Minute)
	for _, err := range atOnce(20, func(int) error {
		done, err := b.Settle(t.Context(), b.payment(record, "T1"))
		if err == nil && (done.GiveBack != "" || done.OrderID != record.OrderID) {
			err = fmt.Errorf("%+v", done)
		}
		return err
	}) {
		require.NoError(t, err)
	}
	require.Equal(t, 1, b.count(`select count(*) from xc_orders where status = '600002'`))
	require.Equal(t, 1, b.count(`select count(*) from xc_pay_record where status = '601002' and out_pay_no = 'T1'`))
	require.Equal(t, 1, b.count(`select count(*) from xc_choose_course where status = '701001'`))
	require.Equal(t, 1, b.count(`select count(*) from mq_message`))
	require.Equal(t, 1, b.count(`select count(*) from order_audit where event = 'paid'`))
	row, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status)
	require.Equal(t, b.now, row.ValidtimeStart.UTC(), "validity starts at the payment")
	require.Equal(t, b.now.AddDate(0, 0, 365), row.ValidtimeEnd.UTC())
	require.Equal(t, 1, b.count(`select count(*) from xc_pay_record where pay_no = $1 and close_date is not null`, unopened.PayNo))
	requireRefused(t, b.CheckPayRequest(t.Context(), payRequest(chosen, "r9")), models.CodeOrderPaid)
}

func TestPaymentsThatDoNotFitTheBooks(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r")
	wrong := b.payment(record, "T")
	wrong.Amount--
	_, err := b.Settle(t.Context(), wrong)
	requireRefused(t, err, models.CodeAmountDiffers)
	_, err = b.Settle(t.Context(), models.Payment{PayNo: 4711, TradeNo: "T", Amount: 1_00, PaidAt: b.now})
	requireRefused(t, err, models.CodePayRecordNotFound)
	require.Zero(t, b.count(`select count(*) from xc_orders where status <> '600001'`))
	_, err = b.Settle(t.Context(), b.payment(record, "T"))
	require.NoError(t, err)
	_, err = b.Settle(t.Context(), b.payment(record, "T2"))
	requireRefused(t, err, models.CodeTradeDiffers)
}

func TestSecondPaymentIsNotedAndHandsOverNothing(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	first := b.attempt(chosen, "r1")
	second := b.attempt(chosen, "r2")
	_, err := b.Settle(t.Context(), b.payment(second, "T2"))
	require.NoError(t, err)
	for range 2 {
		done, err := b.Settle(t.Context(), b.payment(first, "T1"))
		require.NoError(t, err)
		require.Equal(t, models.RefundPaidTwice, done.GiveBack)
	}
	done, err := b.Settle(t.Context(), b.payment(second, "T2"))
	require.NoError(t, err)
	require.Empty(t, done.GiveBack)
	require.Equal(t, 1, b.count(`select count(*) from mq_message`))
	require.Equal(t, 1, b.count(`select count(*) from order_audit where event = 'paid_twice'`))
}

func TestClosingAndReopeningAnOrder(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	record := b.attempt(chosen, "r1")
	status, err := b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.Standing{OrderID: record.OrderID, Status: models.OrderUnpaid, Payable: true}, status, "there is time left")
	b.now = b.now.Add(15 * time.Minute)
	status, err = b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.Standing{OrderID: record.OrderID, Status: models.OrderClosed}, status)
	_, err = b.OpenAttempt(t.Context(), record.PayNo)
	requireRefused(t, err, models.CodePayCodeExpired)

	again := b.attempt(chosen, "r2")
	require.Equal(t, record.OrderID, again.OrderID)
	require.Equal(t, 1, b.count(`select count(*) from xc_orders where status = '600001'`))
	_, err = b.OpenAttempt(t.Context(), again.PayNo)
	require.NoError(t, err)
	b.now = b.now.Add(time.Hour)
	status, err = b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.Standing{OrderID: record.OrderID, Status: models.OrderUnpaid, Payable: true}, status, "an opened attempt stands in the way")

	_, err = b.Settle(t.Context(), b.payment(again, "T"))
	require.NoError(t, err)
	status, err = b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.Standing{OrderID: record.OrderID, Status: models.OrderPaid}, status, "a paid order is never closed")
}

func TestPaymentAfterTheOrderWasClosed(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.attempt(b.choose("u"), "r1")
	b.now = b.now.Add(15 * time.Minute)
	_, err := b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	_, err = b.Settle(t.Context(), b.payment(record, "T"))
	require.NoError(t, err)
	_, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status)
}

func TestRenewalAfterTheCourseRanOut(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	_, err := b.Settle(t.Context(), b.payment(b.attempt(b.choose("u"), "r1"), "T1"))
	require.NoError(t, err)
	b.now = b.now.AddDate(2, 0, 0)
	_, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnExpired, status)
	_, err = b.Settle(t.Context(), b.payment(b.attempt(b.choose("u"), "r2"), "T2"))
	require.NoError(t, err)
	row, status, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, models.LearnNormal, status)
	require.Equal(t, b.now, row.ValidtimeStart.UTC())
	require.Equal(t, b.now.AddDate(0, 0, 365), row.ValidtimeEnd.UTC())
}

func TestSubscriberFulfilsWhatIsPaidAndMendsWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	record := b.attempt(chosen, "r")
	fulfilled, err := b.Fulfil(t.Context(), models.OrderCourse, chosen.ID.String())
	require.NoError(t, err)
	require.False(t, fulfilled, "nobody has paid")
	require.Zero(t, b.count(`select count(*) from xc_course_tables`))
	_, err = b.Settle(t.Context(), b.payment(record, "T"))
	require.NoError(t, err)
	paidAt := b.now
	require.NoError(t, b.exec(`delete from xc_course_tables`))
	b.now = b.now.AddDate(0, 0, 3)
	for _, err := range atOnce(10, func(int) error { _, err := b.Fulfil(t.Context(), models.OrderCourse, chosen.ID.String()); return err }) {
		require.NoError(t, err)
	}
	row, _, err := b.Enrolment(t.Context(), "u", 1)
	require.NoError(t, err)
	require.Equal(t, paidAt.AddDate(0, 0, 365), row.ValidtimeEnd.UTC(), "mended, and not extended")
	_, err = b.Fulfil(t.Context(), models.OrderCourse, "4711")
	requireRefused(t, err, models.CodeNotFound)
	require.NoError(t, b.exec(`update xc_orders set status = '600004'`))
	require.NoError(t, b.exec(`delete from xc_course_tables`))
	fulfilled, err = b.Fulfil(t.Context(), models.OrderCourse, chosen.ID.String())
	require.NoError(t, err)
	require.False(t, fulfilled, "a refunded order is not fulfilled again")
}

func TestOutboxMovesToHistoryOnce(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	done, err := b.Settle(t.Context(), b.payment(b.attempt(chosen, "r"), "T"))
	require.NoError(t, err)
	messages, err := b.UndeliveredMessages(t.Context(), done.OrderID)
	require.NoError(t, err)
	require.Len(t, messages, 1)
	body, err := messages[0].Body()
	require.NoError(t, err)
	require.JSONEq(t, `{"id":`+messages[0].ID.String()+`,"messageType":"payresult_notify","businessKey1":"`+chosen.ID.String()+`","businessKey2":"60201"}`, string(body))
	require.NoError(t, b.MessageFailed(t.Context(), messages[0].ID, "broker is down"))
	require.Equal(t, 1, b.count(`select execute_num from mq_message where returnfailure_msg = 'broker is down'`))
	for range 2 {
		require.NoError(t, b.MessageDelivered(t.Context(), messages[0].ID))
	}
	require.Zero(t, b.count(`select count(*) from mq_message`))
	require.Equal(t, 1, b.count(`select count(*) from mq_message_history where state = '1' and id = $1`, int64(messages[0].ID)))
	messages, err = b.UndeliveredMessages(t.Context(), done.OrderID)
	require.NoError(t, err)
	require.Empty(t, messages)
}

func TestCourseTablePages(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	for _, id := range []models.ID{1, 2, 3, 5} {
		b.now = b.now.Add(time.Hour)
		chosen, _, err := b.ChooseCourse(t.Context(), "u", id)
		require.NoError(t, err)
		_, err = b.Settle(t.Context(), b.payment(b.attempt(chosen, "r"), "T"+id.String()))
		require.NoError(t, err)
	}
	_, _, err := b.ChooseCourse(t.Context(), "u", 4)
	require.NoError(t, err)
	_, _, err = b.ChooseCourse(t.Context(), "v", 4)
	require.NoError(t, err)
	b.now = b.now.AddDate(0, 0, 8) // course 5 (7 days) has run out, course 3 (30 days) soon will
	page := func(q models.CourseTableQuery) string {
		q.UserID, q.Page, q.Size = "u", max(q.Page, 1), max(q.Size, 10)
		if q.Page > 1 {
			q.Size = 2
		}
		rows, total, err := b.CourseTables(t.Context(), q)
		require.NoError(t, err)
		text := strconv.FormatInt(total, 10) + ":"
		for _, r := range rows {
			text += " " + r.CourseID.String()
		}
		return text
	}
	require.Equal(t, "5: 4 5 3 2 1", page(models.CourseTableQuery{}))
	require.Equal(t, "5: 3 2", page(models.CourseTableQuery{Page: 2}))
	require.Equal(t, "1: 4", page(models.CourseTableQuery{CourseType: models.ChooseFree}))
	require.Equal(t, "1: 3", page(models.CourseTableQuery{Expiry: models.ExpiresSoon}))
	require.Equal(t, "1: 5", page(models.CourseTableQuery{Expiry: models.ExpiresPast}))
	require.NoError(t, b.exec(`update xc_course_tables set update_date = $1 where course_id = 1`, b.now))
	require.Equal(t, "5: 1 4 5 3 2", page(models.CourseTableQuery{Sort: models.SortByStudy}))
}

// What the original's tables let happen, ours refuse, whatever the code above them does.
func TestTablesRefuseWhatMustNotBe(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.choose("u")
	record := b.attempt(chosen, "r")
	for name, statement := range map[string]string{
		"second pending choice":  `insert into xc_choose_course select 1, course_id, course_name, user_id, company_id, order_type, create_date, course_price, valid_days, status from xc_choose_course`,
		"second order":           `insert into xc_orders select 1, total_price, create_date, status, user_id, order_type, order_name, null, null, out_business_id from xc_orders`,
		"negative order":         `update xc_orders set total_price = -1`,
		"unknown order status":   `update xc_orders set status = '601002'`,
		"unknown pay status":     `update xc_pay_record set status = '600002'`,
		"paid without a trade":   `update xc_pay_record set status = '601002'`,
		"pay number of nothing":  `update xc_pay_record set order_id = 4711`,
		"free attempt":           `update xc_pay_record set total_price = 0`,
		"chosen without an end":  `update xc_choose_course set status = '701001'`,
		"free course at a price": `update course_publish set charge = '201000' where id = 1`,
		"choice of no course":    `update xc_choose_course set course_id = 4711`,
	} {
		require.Error(t, b.exec(statement), name)
	}
	_, err := b.Settle(t.Context(), b.payment(record, "T"))
	require.NoError(t, err)
	require.Error(t, b.exec(`insert into xc_course_tables select 1, 1, user_id, course_id, company_id, course_name, course_type, create_date, validtime_start, validtime_end from xc_course_tables`), "second row a learner and course")
	other := b.attempt(b.choose("v"), "r")
	_, err = b.Settle(t.Context(), b.payment(other, "T"))
	requireRefused(t, err, models.CodeTradeDiffers)
	r := payRequest(b.choose("w"), "r")
	r.OrderDescrip = "a\x00b"
	_, err = b.CreateAttempt(t.Context(), r, b.now.Add(time.Minute))
	requireRefused(t, err, models.CodeInvalid)
}

func TestBooksOutOfReachAreNoFaultOfTheRequest(t *testing.T) {
	t.Parallel()
	nobody, err := models.Open(t.Context(), "postgres://x:y@127.0.0.1:1/z", 2)
	require.Nil(t, nobody)
	require.True(t, models.Unreachable(err), "%v", err)
	for _, code := range []string{"57P01", "53100", "08006", "40P01"} {
		require.True(t, models.Unreachable(fmt.Errorf("settle: %w", &pgconn.PgError{Code: code})), code)
	}
	for _, code := range []string{"23505", "22P02", "42P01", ""} {
		require.False(t, models.Unreachable(&pgconn.PgError{Code: code}), code)
	}
	require.False(t, models.Unreachable(models.Refuse(models.CodeInvalid, "x")))
	// Red: a Postgres that says why it takes nobody in (here: no such database) taken for one that refuses the request.
	elsewhere, err := url.Parse(devtest.Database(t, nil))
	require.NoError(t, err)
	elsewhere.Path = "/nowhere"
	_, err = models.Open(t.Context(), elsewhere.String(), 1)
	require.True(t, models.Unreachable(err), "%v", err)
}

// Red: the end of a transaction whose connection is gone taken for a fault of ours.
func TestConnectionThatGoesInATransactionIsOutOfReach(t *testing.T) {
	t.Parallel()
	pool, err := models.Open(t.Context(), devtest.Database(t, models.Migrate), 1)
	require.NoError(t, err)
	defer func() { _ = pool.Close() }()
	tx, err := pool.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "select pg_terminate_backend(pg_backend_pid())")
	require.True(t, models.Unreachable(err), "%v", err)
	err = tx.Commit()
	require.Error(t, err)
	require.True(t, models.Unreachable(err), "%v", err)

	noLease, err := models.NewStore(pool, func() (int64, error) { return 0, errors.New("the lease is lost") }, time.Now)
	require.NoError(t, err)
	require.NoError(t, noLease.SeedDemo(t.Context()))
	_, _, err = noLease.ChooseCourse(t.Context(), "52", 2)
	require.Error(t, err)
	require.True(t, models.Unreachable(err), "%v", err)
}
