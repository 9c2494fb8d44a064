package audit_test

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/audit"
	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

// shop is a database in which every ending of an order has happened once, each to a learner of its own. Its clock begins
// in the past, since Postgres dates the outbox by its own.
type shop struct {
	*models.Store
	t      *testing.T
	db     *sql.DB
	now    time.Time
	id     int64
	orders map[string]models.PayRecord // by the learner: the attempt that matters
}

const (
	course   = models.ID(1)   // ¥1.00, 365 days
	short    = models.ID(5)   // ¥0.01, 7 days
	material = models.ID(102) // ¥9.90
)

func openShop(t *testing.T) *shop {
	t.Helper()
	pool, err := models.Open(t.Context(), devtest.Database(t, models.Migrate), 4)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	s := &shop{
		t: t, db: pool, now: time.Now().Add(-60 * 24 * time.Hour).Truncate(time.Second), id: 1000,
		orders: map[string]models.PayRecord{},
	}
	s.Store, err = models.NewStore(pool, func() (int64, error) { s.id++; return s.id, nil }, func() time.Time { return s.now })
	require.NoError(t, err)
	require.NoError(t, s.SeedDemo(t.Context()))
	return s
}

// endings are the stories, by the learner whom they happen to.
var endings = map[string]func(*shop, string){
	"never scanned": func(s *shop, who string) {
		record := s.attempt(who, course)
		s.wait(16 * time.Minute)
		s.closed(record)
	},
	"expired": func(s *shop, who string) {
		record := s.opened(who, course)
		s.wait(16 * time.Minute)
		s.must(s.CloseAttempt(s.t.Context(), record.PayNo))
		s.closed(record)
	},
	"cancelled": func(s *shop, who string) { s.cancelled(s.attempt(who, course)) },
	"paid":      func(s *shop, who string) { s.paid(s.opened(who, course)) },
	"material":  func(s *shop, who string) { s.paid(s.opened(who, material)) },
	"material refunded": func(s *shop, who string) {
		record := s.paid(s.opened(who, material))
		s.refunded(record, "M", record.TotalPrice, models.RefundByOperator)
	},
	"paid late": func(s *shop, who string) {
		record := s.opened(who, course)
		s.cancelled(record)
		s.paid(record)
	},
	"paid twice": func(s *shop, who string) {
		first := s.superseded(who, course)
		s.paid(s.opened(who, course))
		s.bringsMoneyFor(first, models.RefundPaidTwice)
		s.refunded(first, models.StoryRefundNo(first.PayNo), first.TotalPrice, models.RefundPaidTwice)
		s.orders[who] = first
	},
	"too late": func(s *shop, who string) {
		record := s.opened(who, course)
		s.cancelled(record)
		s.exec(`update course_publish set status = '203003' where id = $1`, course)
		s.bringsMoneyFor(record, models.RefundNotForSale)
		s.exec(`update course_publish set status = '203002' where id = $1`, course)
		s.refunded(record, models.StoryRefundNo(record.PayNo), record.TotalPrice, models.RefundNotForSale)
	},
	"refunded": func(s *shop, who string) {
		record := s.paid(s.opened(who, course))
		s.refunded(record, "F", record.TotalPrice, models.RefundByOperator)
	},
	"refunded in parts": func(s *shop, who string) {
		record := s.paid(s.opened(who, course))
		s.refunded(record, "P1", 40, models.RefundByOperator)
		s.refunded(record, "P2", 60, models.RefundByOperator)
	},
	"refunded in part": func(s *shop, who string) {
		s.refunded(s.paid(s.opened(who, course)), "H", 30, models.RefundByOperator)
	},
	"refund given up": func(s *shop, who string) {
		record := s.paid(s.opened(who, course))
		s.opensRefund(record, "G", 50, models.RefundByOperator, nil)
		_, err := s.CloseRefund(s.t.Context(), "G", "by hand")
		s.must(err)
	},
	"refund parked": func(s *shop, who string) {
		record := s.paid(s.opened(who, course))
		s.opensRefund(record, "K", 50, models.RefundByOperator, nil)
		no := "K"
		s.park(record, 50, &no)
	},
	"parked": func(s *shop, who string) {
		record := s.opened(who, course)
		s.told(record)
		s.park(record, 99, nil)
	},
	"paid twice, and dealt with by hand": func(s *shop, who string) {
		first := s.superseded(who, course)
		s.paid(s.opened(who, course))
		s.bringsMoneyFor(first, models.RefundPaidTwice)
		s.park(first, first.TotalPrice, nil)
		s.must(s.Decide(s.t.Context(), "w"+first.PayNo.String(), first.PayNo, "close", "by hand"))
	},
	"parked for good": func(s *shop, who string) {
		record := s.opened(who, course)
		s.told(record)
		s.park(record, 99, nil)
		s.must(s.Decide(s.t.Context(), "w"+record.PayNo.String(), record.PayNo, "close", "by hand"))
		s.wait(16 * time.Minute)
		s.closed(record)
	},
	"refused and given back": func(s *shop, who string) {
		record := s.opened(who, course)
		s.told(record)
		s.park(record, 99, nil)
		s.must(s.Decide(s.t.Context(), "w"+record.PayNo.String(), record.PayNo, "refund", ""))
		money := models.Payment{PayNo: record.PayNo, TradeNo: "T" + record.PayNo.String(), Amount: 99, PaidAt: s.now}
		s.opensRefund(record, models.StoryRefundNo(record.PayNo), 99, models.RefundRefused, &money)
		s.booksRefund(record, models.StoryRefundNo(record.PayNo))
		s.wait(16 * time.Minute)
		s.closed(record)
	},
	"asked again": func(s *shop, who string) {
		s.cancelled(s.opened(who, course))
		s.must(s.CloseAttempt(s.t.Context(), s.orders[who].PayNo))
		s.paid(s.opened(who, course))
	},
	"renewed": func(s *shop, who string) {
		s.paid(s.opened(who, short))
		s.wait(8 * 24 * time.Hour)
		s.paid(s.opened(who, short))
	},
	"renewal refunded": func(s *shop, who string) {
		s.paid(s.opened(who, short))
		s.wait(8 * 24 * time.Hour)
		record := s.paid(s.opened(who, short))
		s.refunded(record, "N", record.TotalPrice, models.RefundByOperator)
	},
	"refunded and bought again": func(s *shop, who string) {
		record := s.paid(s.opened(who, course))
		s.refunded(record, "A", record.TotalPrice, models.RefundByOperator)
		s.paid(s.opened(who, course))
	},
	"free": func(s *shop, who string) {
		_, _, err := s.ChooseCourse(s.t.Context(), who, 4)
		s.must(err)
	},
}

// middles are stories that have not come to their end.
var middles = map[string]func(*shop, string){
	"undecided": func(s *shop, who string) { s.opened(who, course) },
	"being given back": func(s *shop, who string) {
		record := s.opened(who, course)
		s.told(record)
		s.park(record, 99, nil)
		s.must(s.Decide(s.t.Context(), "w"+record.PayNo.String(), record.PayNo, "refund", ""))
		money := models.Payment{PayNo: record.PayNo, TradeNo: "T" + record.PayNo.String(), Amount: 99, PaidAt: s.now}
		s.opensRefund(record, models.StoryRefundNo(record.PayNo), 99, models.RefundRefused, &money)
	},
	"being refunded": func(s *shop, who string) {
		first := s.superseded(who, course)
		s.paid(s.opened(who, course))
		s.bringsMoneyFor(first, models.RefundPaidTwice)
		s.opensRefund(first, models.StoryRefundNo(first.PayNo), first.TotalPrice, models.RefundPaidTwice, nil)
		s.orders[who] = first
	},
}

// newShop lets every ending happen, and then every middle.
func newShop(t *testing.T) *shop {
	t.Helper()
	s := openShop(t)
	for _, who := range slices.Sorted(maps.Keys(endings)) {
		endings[who](s, who)
		s.wait(time.Minute)
	}
	s.wait(time.Hour)
	for _, who := range slices.Sorted(maps.Keys(middles)) {
		middles[who](s, who)
	}
	s.wait(5 * time.Minute)
	s.deliver()
	return s
}

func (s *shop) must(err error) {
	s.t.Helper()
	require.NoError(s.t, err)
}

func (s *shop) exec(statement string, args ...any) {
	s.t.Helper()
	_, err := s.db.ExecContext(context.Background(), statement, args...)
	require.NoError(s.t, err, statement)
}

func (s *shop) wait(d time.Duration) { s.now = s.now.Add(d) }

// choose picks a course, or a material, and says how it is asked for.
func (s *shop) choose(who string, what models.ID) models.PayRequest {
	s.t.Helper()
	r := models.PayRequest{RequestID: "r" + strconv.FormatInt(s.id, 10), UserID: who, OrderType: models.OrderCourse}
	if what >= 100 {
		chosen, err := s.ChooseMaterial(s.t.Context(), who, what)
		s.must(err)
		r.OrderType, r.OutBusinessID, r.TotalPrice = models.OrderMaterial, chosen.ID.String(), chosen.MaterialPrice
		return r
	}
	chosen, _, err := s.ChooseCourse(s.t.Context(), who, what)
	s.must(err)
	r.OutBusinessID, r.TotalPrice = chosen.ID.String(), chosen.CoursePrice
	return r
}

func (s *shop) attempt(who string, what models.ID) models.PayRecord {
	s.t.Helper()
	attempt, err := s.CreateAttempt(s.t.Context(), s.choose(who, what), s.now.Add(15*time.Minute))
	s.must(err)
	require.Empty(s.t, attempt.Opened)
	s.orders[who] = attempt.Record
	return attempt.Record
}

func (s *shop) opened(who string, what models.ID) models.PayRecord {
	s.t.Helper()
	record, err := s.OpenAttempt(s.t.Context(), s.attempt(who, what).PayNo)
	s.must(err)
	return record
}

func (s *shop) superseded(who string, what models.ID) models.PayRecord {
	s.t.Helper()
	record := s.opened(who, what)
	s.must(s.SupersedeAttempt(s.t.Context(), record.PayNo))
	return record
}

func (s *shop) settle(r models.PayRecord) models.Settlement {
	s.t.Helper()
	done, err := s.Settle(s.t.Context(), models.Payment{
		PayNo: r.PayNo, TradeNo: "T" + r.PayNo.String(), Amount: r.TotalPrice, PaidAt: s.now,
	})
	s.must(err)
	return done
}

func (s *shop) paid(r models.PayRecord) models.PayRecord {
	s.t.Helper()
	require.Empty(s.t, s.settle(r).GiveBack)
	s.told(r)
	return r
}

// told is Alipay's callback.
func (s *shop) told(r models.PayRecord) {
	s.t.Helper()
	s.must(s.KeepNotify(s.t.Context(), models.PayNotify{
		ReceiveDate: s.now, PayNo: &r.PayNo, Verdict: models.VerdictAccepted, RemoteAddr: "::1", Raw: []byte("x"), RawSize: 1,
	}))
}

func (s *shop) bringsMoneyFor(r models.PayRecord, giveBack models.RefundOrigin) {
	s.t.Helper()
	require.Equal(s.t, giveBack, s.settle(r).GiveBack)
}

func (s *shop) closed(r models.PayRecord) {
	s.t.Helper()
	now, err := s.CloseOrder(s.t.Context(), r.OrderID)
	s.must(err)
	require.Equal(s.t, models.OrderClosed, now.Status)
}

func (s *shop) cancelled(r models.PayRecord) {
	s.t.Helper()
	now, err := s.CancelOrder(s.t.Context(), r.OrderID)
	s.must(err)
	require.Equal(s.t, models.OrderClosed, now.Status)
}

func (s *shop) opensRefund(r models.PayRecord, no string, amount models.Money, why models.RefundOrigin, money *models.Payment) {
	s.t.Helper()
	_, err := s.OpenRefund(s.t.Context(), models.RefundRequest{
		OrderID: r.OrderID, PayNo: r.PayNo, RequestNo: no, Amount: amount, Origin: why, Payment: money,
	})
	s.must(err)
}

func (s *shop) booksRefund(r models.PayRecord, no string) {
	s.t.Helper()
	_, err := s.BookRefund(s.t.Context(), no, models.TradeRefund{TradeNo: "T" + r.PayNo.String(), Refunded: true, At: s.now})
	s.must(err)
}

func (s *shop) refunded(r models.PayRecord, no string, amount models.Money, why models.RefundOrigin) {
	s.t.Helper()
	s.opensRefund(r, no, amount, why, nil)
	s.booksRefund(r, no)
}

func (s *shop) park(r models.PayRecord, amount models.Money, requestNo *string) {
	s.t.Helper()
	_, err := s.Park(s.t.Context(), models.Attention{
		WorkflowID: "w" + r.PayNo.String(), PayNo: r.PayNo, RequestNo: requestNo, TradeNo: "T" + r.PayNo.String(), Amount: amount, Reason: "odd",
	})
	s.must(err)
}

// deliver empties the outbox.
func (s *shop) deliver() {
	s.t.Helper()
	rows, err := s.db.QueryContext(s.t.Context(), `select id from mq_message`)
	s.must(err)
	defer func() { _ = rows.Close() }()
	var waiting []models.ID
	for rows.Next() {
		var id models.ID
		s.must(rows.Scan(&id))
		waiting = append(waiting, id)
	}
	s.must(rows.Err())
	for _, id := range waiting {
		s.must(s.MessageDelivered(s.t.Context(), id))
	}
}

// tables are all that a shop consists of; a table stands behind those that it refers to.
var tables = []string{
	"course_publish", "learning_material", "xc_choose_course", "xc_choose_material", "xc_course_tables", "xc_material_rights",
	"xc_orders", "xc_orders_goods", "xc_pay_record", "xc_refund_record", "mq_message", "mq_message_history", "pay_notify",
	"order_audit", "ops_attention",
}

// keep copies the shop as it is now, and gives the way back: quicker than another shop.
func (s *shop) keep() (restore func()) {
	s.t.Helper()
	s.exec(`create schema kept`)
	for _, table := range tables {
		s.exec(`create table kept.` + table + ` as table ` + table)
	}
	var back strings.Builder
	for _, table := range slices.Backward(tables) {
		back.WriteString("delete from " + table + ";")
	}
	for _, table := range tables {
		back.WriteString("insert into " + table + " overriding system value select * from kept." + table + ";")
	}
	return func() { s.exec(back.String()) }
}

func (s *shop) audit(change ...func(*audit.Options)) audit.Report {
	s.t.Helper()
	options := audit.Options{Now: s.now}
	for _, f := range change {
		f(&options)
	}
	report, err := audit.Run(s.t.Context(), s.db, options)
	s.must(err)
	return report
}

// faults are the checks that found something off, with what they found.
func faults(r audit.Report) map[string][]audit.Finding {
	found := map[string][]audit.Finding{}
	for _, result := range r.Results {
		if result.Count > 0 && !result.Waits {
			found[result.Check] = result.Findings
		}
	}
	return found
}
