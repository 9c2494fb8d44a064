package audit

// goodsChecks: who paid has it, who has it paid, who got the money back has it no more.
var goodsChecks = []Check{
	{
		Name:    "course-delivered",
		Meaning: "A paid course is chosen (701001), and in the learner's course table for all the time that was paid.",
		query: `
			select o.id, o.paid_by, case
			    when c.id is null then format('there is no choice %s', o.out_business_id)
			    when c.user_id <> o.user_id then format('choice %s is %s''s, the order %s''s', c.id, c.user_id, o.user_id)
			    when c.status <> '701001' then format('choice %s is %s', c.id, c.status)
			    else format('choice %s is valid until %s, the course table says %s', c.id, c.validtime_end,
			        coalesce(t.validtime_end::text, 'nothing')) end
			from orders o
			left join xc_choose_course c on c.id::text = o.out_business_id and c.order_type = '700002'
			left join xc_course_tables t on t.user_id = c.user_id and t.course_id = c.course_id
			where o.order_type = '60201' and o.status in ('600002', '600005')
			  and (c.id is null or c.user_id <> o.user_id or c.status <> '701001'
			      or (c.validtime_end > @now and (t.id is null or t.validtime_end < c.validtime_end)))`,
	},
	{
		Name:    "course-validity",
		Meaning: "A paid course is valid from the payment on, for its days.",
		query: `
			select o.id, o.paid_by, format('paid at %s, valid from %s to %s, %s days', p.pay_success_time,
			    c.validtime_start, c.validtime_end, c.valid_days)
			from orders o
			join xc_pay_record p on p.pay_no = o.paid_by
			join xc_choose_course c on c.id::text = o.out_business_id
			where o.order_type = '60201' and c.status = '701001'
			  and (c.validtime_start <> p.pay_success_time
			      or c.validtime_end <> c.validtime_start + c.valid_days * interval '24 hours')`,
	},
	{
		Name:    "course-paid",
		Meaning: "A course that costs something is chosen (701001), and in a course table, only when its order was paid.",
		query: `
			select o.id, o.paid_by, format('choice %s is %s, its order %s', c.id, c.status, coalesce(o.status, 'is not there'))
			from xc_choose_course c left join xc_orders o on o.out_business_id = c.id::text and o.order_type = '60201'
			where c.order_type = '700002' and c.status = '701001' and c.create_date >= @since
			  and (o.id is null or o.status not in ('600002', '600004', '600005'))
			union all
			select null as order_id, null as pay_no, format('row %s of the course table, of %s: its choice %s', t.id, t.user_id,
			    coalesce(c.status || ' is ' || c.user_id || '''s', 'is not there'))
			from xc_course_tables t left join xc_choose_course c on c.id = t.choose_course_id
			where t.create_date >= @since
			  and (c.id is null or c.status <> '701001' or c.user_id <> t.user_id or c.course_id <> t.course_id)`,
	},
	{
		Name:    "course-revoked",
		Meaning: "A refunded order's choice gives no course any more.",
		query: `
			select o.id, o.paid_by, format('%s still has row %s of the course table', t.user_id, t.id)
			from orders o join xc_course_tables t on t.choose_course_id::text = o.out_business_id
			where o.order_type = '60201' and o.status = '600004'`,
	},
	{
		Name:    "material-delivered",
		Meaning: "A paid material is chosen (701001), and its buyer may download it.",
		query: `
			select o.id, o.paid_by, case
			    when c.id is null then format('there is no choice %s', o.out_business_id)
			    when c.user_id <> o.user_id then format('choice %s is %s''s, the order %s''s', c.id, c.user_id, o.user_id)
			    when c.status <> '701001' then format('choice %s is %s', c.id, c.status)
			    else format('no right to material %s', c.material_id) end
			from orders o
			left join xc_choose_material c on c.id::text = o.out_business_id
			left join xc_material_rights t on t.user_id = c.user_id and t.material_id = c.material_id
			where o.order_type = '60202' and o.status in ('600002', '600005')
			  and (c.id is null or c.user_id <> o.user_id or c.status <> '701001' or t.id is null)`,
	},
	{
		Name:    "material-paid",
		Meaning: "A material is chosen (701001), and may be downloaded, only when its order was paid.",
		query: `
			select o.id, o.paid_by, format('choice %s is %s, its order %s', c.id, c.status, coalesce(o.status, 'is not there'))
			from xc_choose_material c left join xc_orders o on o.out_business_id = c.id::text and o.order_type = '60202'
			where c.status = '701001' and c.create_date >= @since
			  and (o.id is null or o.status not in ('600002', '600004', '600005'))
			union all
			select null as order_id, null as pay_no, format('right %s of %s: its choice %s', t.id, t.user_id,
			    coalesce(c.status || ' is ' || c.user_id || '''s', 'is not there'))
			from xc_material_rights t left join xc_choose_material c on c.id = t.choose_material_id
			where t.create_date >= @since
			  and (c.id is null or c.status <> '701001' or c.user_id <> t.user_id or c.material_id <> t.material_id)`,
	},
	{
		Name:    "material-revoked",
		Meaning: "A refunded order's choice gives no material any more.",
		query: `
			select o.id, o.paid_by, format('%s still has right %s', t.user_id, t.id)
			from orders o join xc_material_rights t on t.choose_material_id::text = o.out_business_id
			where o.order_type = '60202' and o.status = '600004'`,
	},
	{
		Name:    "one-of-each",
		Meaning: "One order a choice, one row of the course table a learner and course, one right a learner and material.",
		query: `
			select max(id), null::bigint, format('%s orders for %s', count(*), out_business_id)
			from xc_orders group by out_business_id having count(*) > 1
			union all
			select null as order_id, null as pay_no, format('%s has course %s %s times', user_id, course_id, count(*))
			from xc_course_tables group by user_id, course_id having count(*) > 1
			union all
			select null as order_id, null as pay_no, format('choice %s gives a course %s times', choose_course_id, count(*))
			from xc_course_tables group by choose_course_id having count(*) > 1
			union all
			select null as order_id, null as pay_no, format('%s has material %s %s times', user_id, material_id, count(*))
			from xc_material_rights group by user_id, material_id having count(*) > 1`,
	},
}

// messageChecks: the bus hears of everything, once.
var messageChecks = []Check{
	{
		Name:    "payment-told-once",
		Meaning: "A paid order has exactly one payresult_notify, delivered or in the outbox; no other order has one.",
		query:   toldOnce("payresult_notify", "'600002', '600004', '600005'"),
	},
	{
		Name:    "refund-told-once",
		Meaning: "A refunded order has exactly one refund_notify, delivered or in the outbox; no other order has one.",
		query:   toldOnce("refund_notify", "'600004'"),
	},
}

// toldOnce finds orders of these statuses that have not one message of that type, and others that have one.
func toldOnce(message, statuses string) string {
	return `
		select o.id, o.paid_by, format('order is %s, messages: %s', o.status, coalesce(m.count, 0))
		from orders o left join (
		    select business_key1, business_key2, count(*) from told where message_type = '` + message + `' group by 1, 2
		) m on m.business_key1 = o.out_business_id and m.business_key2 = o.order_type
		where coalesce(m.count, 0) <> (o.status in (` + statuses + `))::int`
}
