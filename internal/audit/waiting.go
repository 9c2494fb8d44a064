package audit

// waitingChecks: nothing is open for ever.
var waitingChecks = []Check{
	{
		Name:    "order-ended",
		Meaning: "An unpaid order is closed once nobody can pay it any more, unless it waits for an operator.",
		query: `
			select o.id, a.pay_no, format('unpaid, and its last attempt ran out at %s', coalesce(a.ended::text, 'no time: it has none'))
			from orders o
			left join (select order_id, max(pay_no) as pay_no, max(expire_date) as ended from attempts group by 1) a on a.order_id = o.id
			where o.status = '600001' and coalesce(a.ended, o.create_date) < @ripe
			  and not exists (select from ops_attention w where w.order_id = o.id and w.decide_date is null)`,
	},
	{
		Name:    "page-ended",
		Meaning: "An attempt whose pay page was opened is closed or paid once its time is over.",
		query: `
			select a.order_id, a.pay_no, format('opened at %s, ran out at %s, and Alipay was not asked a last time', a.open_date, a.expire_date)
			from attempts a
			where a.status = '601001' and a.open_date is not null and a.close_date is null and a.expire_date < @ripe`,
	},
	{
		Name:    "notify-settled",
		Meaning: "A payment that Alipay has told us is in the books, or waits for an operator.",
		query: `
			select a.order_id, n.pay_no, format('callback %s was accepted at %s, the attempt is %s', n.id, n.receive_date,
			    coalesce(a.status, 'not there'))
			from pay_notify n left join xc_pay_record a on a.pay_no = n.pay_no
			where n.verdict = 'accepted' and n.receive_date < @ripe and n.receive_date >= @since
			  and (a.id is null or a.status = '601001')
			  and not exists (select from excused e where e.pay_no = n.pay_no)
			  and not exists (select from xc_refund_record r where r.pay_no = n.pay_no)`,
	},
	{
		Name:    "outbox-drained",
		Meaning: "A message leaves the outbox.",
		query: `
			select o.id, o.paid_by, format('%s of %s, %s tries, the last failed: %s', m.message_type, m.create_date, m.execute_num,
			    coalesce(m.returnfailure_msg, 'no'))
			from mq_message m left join xc_orders o on o.out_business_id = m.business_key1
			where m.create_date < @ripe and m.create_date >= @since`,
	},
	{
		Name:    "refund-done",
		Meaning: "A refund is done within a day, unless it waits for an operator.",
		query: `
			select r.order_id, r.pay_no, format('refund %s of %s is pending since %s', r.request_no, r.amount, r.create_date)
			from xc_refund_record r
			where r.status = 'pending' and r.create_date < @ripe_refund and r.create_date >= @since
			  and not exists (select from ops_attention w where w.request_no = r.request_no and w.decide_date is null)`,
	},
	{
		Name:    "bill-agrees",
		Meaning: "What differs between Alipay's bill and the books is looked at by a person: see the workflow reconcile-bill.",
		Waits:   true,
		query: `
			select null::bigint as order_id, null::bigint as pay_no, format('bill of %s: %s, pay_no %s, trade_no %s, billed %s, booked %s. %s',
			    f.bill_date, f.kind, f.pay_no, f.trade_no, f.billed, f.booked, f.detail)
			from reconcile_finding f where f.resolve_date is null and f.create_date >= @since`,
	},
	{
		Name:    "operator-decides",
		Meaning: "What is parked waits for an operator: see GET /ops/attention.",
		Waits:   true,
		query: `
			select w.order_id, w.pay_no, format('%s: %s, since %s (%s)', w.amount, w.reason, w.create_date, w.workflow_id)
			from ops_attention w where w.decide_date is null and w.create_date >= @since`,
	},
}
