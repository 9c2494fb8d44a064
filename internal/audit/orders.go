package audit

// orderChecks: where an order stands fits its attempts, and how it came there.
var orderChecks = []Check{
	{
		Name:    "paid-by-an-attempt",
		Meaning: "An order that was paid names the attempt of its own that did it, and that is paid.",
		query: `
			select o.id, o.paid_by, format('order is %s, and no paid attempt of its own is the one that paid it', o.status)
			from orders o left join xc_pay_record p on p.pay_no = o.paid_by and p.order_id = o.id and p.status <> '601001'
			where o.status in ('600002', '600004', '600005') and p.id is null`,
	},
	{
		Name:    "unpaid-by-nobody",
		Meaning: "An order that was not paid names no attempt that paid it.",
		query: `
			select id, paid_by, format('order is %s and yet paid', status) from orders
			where status in ('600001', '600003') and paid_by is not null`,
	},
	{
		Name:    "refunded-with-its-payment",
		Meaning: "An order is 600004 exactly when the attempt that paid it is 601003.",
		query: `
			select o.id, p.pay_no, format('order is %s, the attempt that paid it %s', o.status, p.status)
			from orders o join xc_pay_record p on p.pay_no = o.paid_by and p.order_id = o.id
			where (o.status = '600004') <> (p.status = '601003')`,
	},
	{
		Name:    "attempt-of-the-owner",
		Meaning: "An attempt is its order's owner's, in CNY.",
		query: `
			select a.order_id, a.pay_no, format('the attempt is %s''s in %s, the order %s''s', a.user_id, a.currency, o.user_id)
			from attempts a join orders o on o.id = a.order_id
			where a.user_id <> o.user_id or a.currency <> 'CNY'`,
	},
	{
		Name:    "one-payable-attempt",
		Meaning: "At most one attempt of an order is handed out to be paid.",
		query: `
			select order_id, max(pay_no), format('%s attempts can be paid', count(*)) from attempts
			where status = '601001' and supersede_date is null and close_date is null and expire_date > @now
			group by order_id having count(*) > 1`,
	},
	{
		Name:    "unopened-attempts-closed",
		Meaning: "An order that is not waiting for money has closed the attempts that nobody had opened.",
		query: `
			select a.order_id, a.pay_no, format('order is %s, and an attempt that nobody opened is not closed', o.status)
			from attempts a join orders o on o.id = a.order_id
			where o.status <> '600001' and a.status = '601001' and a.open_date is null and a.close_date is null`,
	},
	{
		Name:    "steps-forward",
		Meaning: "An order took only steps that are allowed, each from where the one before had led.",
		query: `
			select order_id, pay_no, format('%s: from %s to %s, when the order was %s', event, from_status, to_status, stood)
			from (
			    select *, lag(to_status, 1, '600001') over (partition by order_id order by id) as stood
			    from order_audit where to_status is not null and order_id in (select id from orders)
			) step
			where from_status is distinct from stood or not (from_status || '>' || to_status = any (@steps))`,
	},
	{
		Name:    "status-noted",
		Meaning: "An order stands where its trail in order_audit ends.",
		query: `
			select o.id, o.paid_by, format('order is %s, its trail ends at %s', o.status, coalesce(t.to_status, '600001'))
			from orders o left join (
			    select distinct on (order_id) order_id, to_status from order_audit
			    where to_status is not null and order_id in (select id from orders) order by order_id, id desc
			) t on t.order_id = o.id
			where o.status <> coalesce(t.to_status, '600001')`,
	},
	{
		Name:    "known-type",
		Meaning: "An order is of a type whose goods this audit can find.",
		query:   `select id, paid_by, format('order type %s', order_type) from orders where order_type <> all (@types)`,
	},
}
