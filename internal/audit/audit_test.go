package audit_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/audit"
	"coursepay/models"
)

func TestCleanShop(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	report := s.audit()
	require.Empty(t, faults(report))
	require.Zero(t, report.Faults)
	require.Equal(t, 2, report.Waiting, "a payment and a refund are parked")
	require.Len(t, report.Results, len(audit.Checks()))
}

// plant is a fault in an otherwise clean shop: statements in which {order}, {pay} and {business} are those of a learner.
type plant struct {
	name  string
	who   string
	sql   string
	finds []string // the checks that must find it, and nobody else; the first names the order
	shop  bool     // it is about no order
}

const addRefund = `insert into xc_refund_record values (1, 'X', {order}, {pay}, 0.80, '', 'operator', '', 'pending', now())`

var plants = []plant{
	{
		name: "a second payment is kept", who: "being refunded", finds: []string{"money-placed"},
		sql: `delete from xc_refund_record where pay_no = {pay}`,
	},
	{
		name: "too much is to go back", who: "refunded in part", finds: []string{"refund-within-payment"},
		sql: addRefund,
	},
	{
		name: "more than came in is back", who: "refused and given back", finds: []string{"refund-within-payment"},
		sql: `update xc_refund_record set amount = 1 where pay_no = {pay}`,
	},
	{
		name: "a whole refund left the payment paid", who: "paid twice", finds: []string{"refund-adds-up"},
		sql: `update xc_pay_record set status = '601002' where pay_no = {pay}`,
	},
	{
		name: "a payment is refunded by half", who: "too late", finds: []string{"refund-adds-up"},
		sql: `update xc_refund_record set amount = 0.50 where pay_no = {pay}`,
	},
	{
		name: "a refund of nothing", who: "undecided", finds: []string{"refund-of-a-payment"},
		sql: addRefund,
	},
	{
		name: "a refund of another order", who: "refunded in part", finds: []string{"refund-of-a-payment"},
		sql: `update xc_refund_record set order_id = (select min(id) from xc_orders) where pay_no = {pay}`,
	},
	{
		name: "the wrong one of two payments goes back", who: "refunded in part", finds: []string{"refund-of-the-right-payment"},
		sql: `update xc_refund_record set origin = 'paid_twice' where pay_no = {pay}`,
	},
	{
		name: "paid without a trade", who: "paid", finds: []string{"trade-number"},
		sql: `alter table xc_pay_record drop constraint xc_pay_record_paid_is_proved;
			update xc_pay_record set out_pay_no = null where pay_no = {pay}`,
	},
	{
		name: "one trade for two payments", who: "paid", finds: []string{"trade-number"},
		sql: `alter table xc_pay_record drop constraint xc_pay_record_out_pay_no;
			update xc_pay_record set out_pay_no = (select max(out_pay_no) from xc_pay_record) where pay_no = {pay}`,
	},
	{
		name: "paid by less than the price", who: "paid", finds: []string{"paid-amount"},
		sql: `update xc_pay_record set total_price = 0.99 where pay_no = {pay}`,
	},
	{
		name: "goods worth more than the order", who: "cancelled", finds: []string{"goods-amount"},
		sql: `update xc_orders_goods set goods_price = 1.01 where order_id = {order}`,
	},
	{
		name: "paid by nobody knows what", who: "paid", finds: []string{"paid-by-an-attempt", "money-placed"},
		sql: `update xc_orders set paid_by = 4711 where id = {order}`,
	},
	{
		name: "closed and paid", who: "expired", finds: []string{"unpaid-by-nobody"},
		sql: `update xc_orders set paid_by = {pay} where id = {order}`,
	},
	{
		name: "all money back, and the order still paid", who: "paid", finds: []string{"refunded-with-its-payment"},
		sql: addRefund + `; update xc_refund_record set amount = 1, status = 'refunded', refund_date = now() where pay_no = {pay};
			update xc_pay_record set status = '601003' where pay_no = {pay}`,
	},
	{
		name: "an attempt of another learner", who: "paid", finds: []string{"attempt-of-the-owner"},
		sql: `update xc_pay_record set user_id = 'x' where pay_no = {pay}`,
	},
	{
		name: "two codes at once", who: "undecided", finds: []string{"one-payable-attempt"},
		sql: `insert into xc_pay_record select 1, 1, null, out_pay_channel, order_id, order_name, total_price, currency, create_date,
			status, null, user_id, 'x', expire_date from xc_pay_record where pay_no = {pay}`,
	},
	{
		name: "a cancelled order's code lives on", who: "cancelled", finds: []string{"unopened-attempts-closed"},
		sql: `update xc_pay_record set close_date = null where pay_no = {pay}`,
	},
	{
		name: "a gap in the trail", who: "paid", finds: []string{"steps-forward"},
		sql: `update order_audit set from_status = '600003' where order_id = {order} and to_status = '600002'`,
	},
	{
		name: "a step that is not allowed", who: "refunded", finds: []string{"steps-forward"},
		sql: `update order_audit set to_status = '600003' where order_id = {order} and to_status = '600002';
			update order_audit set from_status = '600003' where order_id = {order} and to_status = '600004'`,
	},
	{
		name: "a status that nobody noted", who: "paid", finds: []string{"status-noted"},
		sql: `delete from order_audit where order_id = {order}`,
	},
	{
		name: "an order of an unknown type", who: "cancelled", finds: []string{"known-type"},
		sql: `update xc_orders set order_type = '60299' where id = {order}`,
	},
	{
		name: "paid and not enrolled", who: "paid", finds: []string{"course-delivered"},
		sql: `delete from xc_course_tables where choose_course_id = {business}`,
	},
	{
		name: "enrolled for too short", who: "paid late", finds: []string{"course-delivered"},
		sql: `update xc_course_tables set validtime_end = validtime_end - interval '1 day' where choose_course_id = {business}`,
	},
	{
		name: "renewed and not extended", who: "renewed", finds: []string{"course-delivered"},
		sql: `update xc_course_tables t set choose_course_id = c.id, validtime_start = c.validtime_start, validtime_end = c.validtime_end
			from xc_choose_course c where t.choose_course_id = {business} and c.user_id = t.user_id and c.id <> {business}`,
	},
	{
		name: "paid, enrolled and still to be paid", who: "paid", finds: []string{"course-delivered", "course-paid"},
		sql: `update xc_choose_course set status = '701002' where id = {business}`,
	},
	{
		name: "validity that begins at choosing", who: "paid", finds: []string{"course-validity"},
		sql: `update xc_choose_course set validtime_start = validtime_start - interval '1 hour',
			validtime_end = validtime_end - interval '1 hour' where id = {business}`,
	},
	{
		name: "chosen without paying", who: "cancelled", finds: []string{"course-paid"},
		sql: `update xc_choose_course set status = '701001', validtime_start = now(), validtime_end = now() + interval '1 day' where id = {business}`,
	},
	{
		name: "enrolled without paying", who: "undecided", finds: []string{"course-paid"}, shop: true,
		sql: `insert into xc_course_tables select 1, id, user_id, course_id, company_id, course_name, order_type, now(), now(),
			now() + interval '1 day' from xc_choose_course where id = {business}`,
	},
	{
		name: "refunded and still enrolled", who: "refunded", finds: []string{"course-revoked"},
		sql: `insert into xc_course_tables select 1, id, user_id, course_id, company_id, course_name, order_type, now(), now(),
			now() + interval '1 day' from xc_choose_course where id = {business}`,
	},
	{
		name: "a material paid and not granted", who: "material", finds: []string{"material-delivered"},
		sql: `delete from xc_material_rights where choose_material_id = {business}`,
	},
	{
		name: "a material chosen without an order", who: "material", finds: []string{"material-paid"}, shop: true,
		sql: `insert into xc_choose_material select 1, material_id, material_name, 'x', company_id, material_price, status, create_date
			from xc_choose_material where id = {business}`,
	},
	{
		name: "a material granted to somebody else", who: "material", finds: []string{"material-delivered", "material-paid"}, shop: true,
		sql: `update xc_material_rights set user_id = 'x' where choose_material_id = {business}`,
	},
	{
		name: "a material refunded and still granted", who: "material refunded", finds: []string{"material-revoked"},
		sql: `insert into xc_material_rights select 1, id, user_id, material_id, material_name, now() from xc_choose_material where id = {business}`,
	},
	{
		name: "enrolled twice", who: "paid", finds: []string{"one-of-each"}, shop: true,
		sql: `alter table xc_course_tables drop constraint xc_course_tables_one_per_course;
			alter table xc_course_tables drop constraint xc_course_tables_choose_course_id_key;
			insert into xc_course_tables select 1, choose_course_id, user_id, course_id, company_id, course_name, course_type, create_date,
			validtime_start, validtime_end from xc_course_tables where choose_course_id = {business}`,
	},
	{
		name: "granted twice", who: "material", finds: []string{"one-of-each"}, shop: true,
		sql: `alter table xc_material_rights drop constraint xc_material_rights_one_per_material;
			alter table xc_material_rights drop constraint xc_material_rights_choose_material_id_key;
			insert into xc_material_rights select 1, choose_material_id, user_id, material_id, material_name, create_date
			from xc_material_rights where choose_material_id = {business}`,
	},
	{
		name: "the bus does not hear of a payment", who: "paid", finds: []string{"payment-told-once"},
		sql: `delete from mq_message_history where business_key1 = '{business}'`,
	},
	{
		name: "the bus hears of a payment twice", who: "paid", finds: []string{"payment-told-once"},
		sql: `insert into mq_message (id, message_type, business_key1, business_key2) values (1, 'payresult_notify', '{business}', '60201')`,
	},
	{
		name: "the bus hears of a payment that was none", who: "expired", finds: []string{"payment-told-once"},
		sql: `insert into mq_message (id, message_type, business_key1, business_key2) values (1, 'payresult_notify', '{business}', '60201')`,
	},
	{
		name: "the bus does not hear of a refund", who: "refunded in parts", finds: []string{"refund-told-once"},
		sql: `delete from mq_message_history where business_key1 = '{business}' and message_type = 'refund_notify'`,
	},
	{
		name: "an order is never closed", who: "undecided", finds: []string{"order-ended"},
		sql: `update xc_pay_record set open_date = null, expire_date = create_date where pay_no = {pay}`,
	},
	{
		name: "a page is forgotten", who: "expired", finds: []string{"page-ended"},
		sql: `update xc_pay_record set close_date = null where pay_no = {pay}`,
	},
	{
		name: "a callback is forgotten", who: "expired", finds: []string{"notify-settled"},
		sql: `insert into pay_notify (receive_date, pay_no, verdict, remote_addr, raw, raw_size) values ('2026-01-01', {pay}, 'accepted', '', '', 0)`,
	},
	{
		name: "a message is stuck", who: "paid", finds: []string{"outbox-drained"},
		sql: `insert into mq_message select * from mq_message_history where business_key1 = '{business}';
			delete from mq_message_history where business_key1 = '{business}';
			update mq_message set create_date = '2026-01-01'`,
	},
	{
		name: "a refund is stuck", who: "being refunded", finds: []string{"refund-done"},
		sql: `update xc_refund_record set create_date = create_date - interval '2 days' where pay_no = {pay}`,
	},
}

func TestPlantedFaults(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	restore := s.keep()
	for _, p := range plants {
		t.Run(p.finds[0]+": "+p.name, func(t *testing.T) {
			defer restore()
			record := s.orders[p.who]
			require.NotZero(t, record.PayNo, p.who)
			order, err := s.Order(t.Context(), record.OrderID)
			require.NoError(t, err)
			s.exec(strings.NewReplacer("{order}", order.ID.String(), "{pay}", record.PayNo.String(), "{business}", order.OutBusinessID).
				Replace(p.sql))
			report := s.audit()
			found := faults(report)
			require.ElementsMatch(t, p.finds, slices.Collect(maps.Keys(found)), "%v", found)
			require.Positive(t, report.Faults)
			if !p.shop {
				about := func(f audit.Finding) bool { return f.OrderID == order.ID }
				require.True(t, slices.ContainsFunc(found[p.finds[0]], about), "%v", found)
			}
		})
	}
}

func TestEveryCheckHasAPlantedFault(t *testing.T) {
	t.Parallel()
	planted := map[string]bool{}
	for _, p := range plants {
		planted[p.finds[0]] = true
	}
	for _, check := range audit.Checks() {
		require.NotEmpty(t, check.Meaning, check.Name)
		require.True(t, planted[check.Name] || check.Waits, check.Name)
	}
}

// A type of order that is added later must not be forgotten.
func TestEveryTypeOfOrderIsSoldInTheCleanShop(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for orderType := range models.Queues() {
		var paid int
		err := s.db.QueryRowContext(t.Context(), `select count(*) from xc_orders where order_type = $1 and status = '600002'`, orderType).Scan(&paid)
		require.NoError(t, err)
		require.Positive(t, paid, orderType)
	}
}

func TestWhatTheNextStepWillFinishIsNoFaultYet(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	first := s.superseded("u", course)
	s.paid(s.opened("u", course))
	s.wait(time.Hour)
	s.must(s.CloseAttempt(t.Context(), first.PayNo))
	_, err := s.Settle(t.Context(), models.Payment{
		PayNo: first.PayNo, TradeNo: "T1", Amount: first.TotalPrice, PaidAt: s.now.Add(-30 * time.Minute), // heard of late
	})
	s.must(err)
	s.wait(time.Minute)
	require.Empty(t, faults(s.audit()), "its refund is about to be opened")
	require.Contains(t, faults(s.audit(func(o *audit.Options) { o.Grace = 30 * time.Second })), "money-placed")
	s.wait(2 * time.Minute)
	require.Contains(t, faults(s.audit()), "money-placed")
}

func TestACourseThatRanOutMayLeaveTheTable(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.paid(s.opened("u", short))
	s.deliver()
	s.exec(`delete from xc_course_tables`)
	require.Contains(t, faults(s.audit()), "course-delivered")
	s.wait(8 * 24 * time.Hour)
	require.Empty(t, faults(s.audit()))
}

func TestSinceLeavesOutWhatIsOld(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.paid(s.opened("old", course))
	s.cancelled(s.attempt("asks again", course))
	s.deliver()
	s.wait(48 * time.Hour)
	s.paid(s.opened("asks again", course))
	s.deliver()
	day := func(o *audit.Options) { o.Since = 24 * time.Hour }
	require.Empty(t, faults(s.audit(day)))
	s.exec(`delete from mq_message_history`)
	require.Len(t, faults(s.audit())["payment-told-once"], 2)
	found := faults(s.audit(day))["payment-told-once"]
	require.Len(t, found, 1)
	require.Equal(t, s.orders["asks again"].OrderID, found[0].OrderID)
}

func TestReportForPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var out bytes.Buffer
	require.NoError(t, s.audit().Print(&out))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Regexp(t, `^ok +money-placed +0 +A payment`, lines[0])
	require.Regexp(t, `^\d+ checks: nothing is off; 2 wait for an operator$`, lines[len(lines)-1])
	require.Contains(t, out.String(), "odd, since", "it says what waits")

	s.exec(`delete from xc_course_tables`)
	report := s.audit(func(o *audit.Options) { o.Limit = 2 })
	out.Reset()
	require.NoError(t, report.Print(&out))
	require.Regexp(t, `FAULT +course-delivered +\d+`, out.String())
	require.Regexp(t, `order \d+ attempt \d+: choice \d+ is valid until .*, the course table says nothing`, out.String())
	require.Contains(t, out.String(), "more\n", "all are counted")
	require.Regexp(t, `\d+ FAULTS; 2 wait for an operator\n$`, out.String())

	text, err := json.Marshal(report)
	require.NoError(t, err)
	var read struct {
		Faults  int
		Results []struct {
			Check    string
			Count    int
			Findings []struct{ OrderID, PayNo, Detail string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &read))
	require.Equal(t, report.Faults, read.Faults)
	i := slices.IndexFunc(report.Results, func(r audit.Result) bool { return r.Check == "course-delivered" })
	require.Greater(t, read.Results[i].Count, 2)
	require.Len(t, read.Results[i].Findings, 2)
	require.NotEmpty(t, read.Results[i].Findings[0].OrderID)
}
