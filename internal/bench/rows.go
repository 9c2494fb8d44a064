package bench

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const (
	// firstMadeUp is the first id of a made-up order: far below every snowflake of our time.
	firstMadeUp = int64(1_000_000_000_000_000)
	// idsEach is how many ids one made-up order has for its rows.
	idsEach = 8
	// fillStep is how many orders one transaction makes.
	fillStep = 50_000
)

// made are the statements that make the orders from $1 to $2, counted from firstMadeUp, each with all rows that a promptly
// paid order leaves. They lie 40 to 220 days back: before anything that reconciliation looks at again.
var made = []string{`
create temp table made on commit drop as
select base, base + 1 as choose_id, base + 2 as goods_id, base + 3 as record_id, base + 4 as pay_no, base + 5 as row_id,
    base + 6 as message_id, 'filled-' || n as user_id, c.id as course_id, c.name, c.price, c.company_id, c.valid_days,
    now() - interval '40 days' - (n * 7919 % 15552000) * interval '1 second' as at
from generate_series($1::bigint, $2::bigint) as n
    cross join lateral (select $3::bigint + n * $4::bigint as base) as ids
    join (select row_number() over (order by id) - 1 as turn, count(*) over () as turns, * from course_publish
          where status = '203002' and charge = '201001') as c on c.turn = n % c.turns`, `
insert into xc_choose_course (id, course_id, course_name, user_id, company_id, order_type, create_date, course_price,
    valid_days, status, validtime_start, validtime_end)
select choose_id, course_id, name, user_id, company_id, '700002', at, price, valid_days, '701001', at + interval '40 seconds',
    at + interval '40 seconds' + valid_days * interval '1 day' from made`, `
insert into xc_course_tables (id, choose_course_id, user_id, course_id, company_id, course_name, course_type, create_date,
    validtime_start, validtime_end)
select row_id, choose_id, user_id, course_id, company_id, name, '700002', at + interval '40 seconds',
    at + interval '40 seconds', at + interval '40 seconds' + valid_days * interval '1 day' from made`, `
insert into xc_orders (id, total_price, create_date, status, user_id, order_type, order_name, order_descrip, order_detail,
    out_business_id, paid_by)
select base, price, at, '600002', user_id, '60201', name, '', format('[{"goodsId":"%s","goodsType":"60201"}]', course_id),
    choose_id::text, pay_no from made`, `
insert into xc_orders_goods (id, order_id, goods_id, goods_type, goods_name, goods_price)
select goods_id, base, course_id::text, '60201', name, price from made`, `
insert into xc_pay_record (id, pay_no, out_pay_no, out_pay_channel, order_id, order_name, total_price, create_date, status,
    pay_success_time, user_id, request_id, expire_date, open_date, close_date)
select record_id, pay_no, 'filled' || pay_no, '603002', base, name, price, at, '601002', at + interval '40 seconds', user_id,
    gen_random_uuid()::text, at + interval '15 minutes', at + interval '10 seconds', at + interval '40 seconds' from made`, `
insert into mq_message_history (id, message_type, business_key1, business_key2, execute_num, state, returnsuccess_date,
    execute_date, create_date)
select message_id, 'payresult_notify', choose_id::text, '60201', 1, '1', at + interval '40 seconds',
    at + interval '40 seconds', at + interval '40 seconds' from made`, `
insert into pay_notify (receive_date, pay_no, notify_id, verdict, reason, remote_addr, raw, raw_size)
select at + interval '40 seconds', pay_no, 'filled-' || pay_no, 'accepted', 'TRADE_SUCCESS', '127.0.0.1',
    convert_to(repeat('x', 1146), 'UTF8'), 1146 from made`, `
insert into order_audit (order_id, pay_no, create_date, event, from_status, to_status)
select base, pay_no, at + step.after, step.event, step.was, step.became from made cross join (values
    (interval '0', 'attempt_created', null, null), (interval '40 seconds', 'paid', '600001', '600002')) as step (after, event, was, became)`,
}

// fill makes up paid orders until there are so many.
func (b *bench) fill(ctx context.Context, want int) error {
	conn, err := pgx.Connect(ctx, b.Stack.DatabaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var have, next int
	err = conn.QueryRow(ctx, `
		select count(*) filter (where status = '600002'),
		    coalesce((max(id) filter (where id < $1::bigint * 100) - $1) / $2::bigint + 1, 0) from xc_orders`,
		firstMadeUp, int64(idsEach)).Scan(&have, &next)
	if err != nil {
		return err
	}
	if have > want {
		return fmt.Errorf("there are %d paid orders already; `rm -r .coursepay/postgres` after `make down` begins anew", have)
	}
	for have < want {
		n := min(fillStep, want-have)
		if err := makeUp(ctx, conn, next, n); err != nil {
			return err
		}
		have, next = have+n, next+n
		b.say("%d of %d paid orders are in the tables", have, want)
	}
	_, err = conn.Exec(ctx, "vacuum (analyze)") // as autovacuum would, before long
	return err
}

func makeUp(ctx context.Context, conn *pgx.Conn, from, n int) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Each row's references are right by construction; looking every one up would take most of the time.
		if _, err := tx.Exec(ctx, "set local session_replication_role = replica"); err != nil {
			return err
		}
		for i, statement := range made {
			var args []any
			if i == 0 {
				args = []any{from, from + n - 1, firstMadeUp, int64(idsEach)}
			}
			if _, err := tx.Exec(ctx, statement, args...); err != nil {
				return fmt.Errorf("%.60q: %w", statement, err)
			}
		}
		return nil
	})
}
