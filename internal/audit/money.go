package audit

// cameIn is the money of attempt a: what was asked, unless the books refused what came; then what came. It needs a left
// join of parked as k.
const cameIn = `case when a.status = '601002' then a.total_price else coalesce(k.amount, a.total_price) end`

// moneyChecks: what came in has bought something, or goes back, to the fen and once.
var moneyChecks = []Check{
	{
		Name:    "money-placed",
		Meaning: "A payment has bought its order, or refunds cover all of it.",
		query: `
			select a.order_id, a.pay_no, format('%s came in at %s and bought nothing; refunds cover %s of it',
			    a.total_price, a.pay_success_time, coalesce(b.dealt, 0))
			from attempts a join orders o on o.id = a.order_id left join back b on b.pay_no = a.pay_no
			where a.status = '601002' and o.paid_by is distinct from a.pay_no and coalesce(b.dealt, 0) < a.total_price
			  and not exists (select from excused e where e.pay_no = a.pay_no)
			  and greatest(a.pay_success_time, (select max(t.create_date) from order_audit t
			      where t.order_id = a.order_id and t.pay_no = a.pay_no)) < @ripe`,
	},
	{
		Name:    "refund-within-payment",
		Meaning: "Refunds of an attempt, done and on their way, are not more than came in.",
		query: `
			select a.order_id, a.pay_no, format('%s is given back or on its way, %s came in', b.owed, ` + cameIn + `)
			from attempts a join back b on b.pay_no = a.pay_no left join parked k on k.pay_no = a.pay_no
			where b.owed > ` + cameIn,
	},
	{
		Name:    "refund-adds-up",
		Meaning: "An attempt is 601003 exactly when the refunds that were done add up to what came in.",
		query: `
			select a.order_id, a.pay_no, format('attempt is %s, %s of %s is given back', a.status, coalesce(b.done, 0), ` + cameIn + `)
			from attempts a left join back b on b.pay_no = a.pay_no left join parked k on k.pay_no = a.pay_no
			where (a.status = '601003') <> (coalesce(b.done, 0) >= ` + cameIn + `)`,
	},
	{
		Name:    "refund-of-a-payment",
		Meaning: "A refund belongs to an attempt of its own order that was paid, or that the books refused.",
		query: `
			select a.order_id, a.pay_no, format('refund %s (%s, %s) is of order %s, the attempt is %s',
			    r.request_no, r.origin, r.status, r.order_id, a.status)
			from xc_refund_record r join attempts a on a.pay_no = r.pay_no
			where a.order_id <> r.order_id or (a.status = '601001' and r.origin <> 'refused' and r.status <> 'closed')`,
	},
	{
		Name:    "refund-of-the-right-payment",
		Meaning: "No story gives back, as paid twice or not for sale, the payment that bought the order.",
		query: `
			select o.id, r.pay_no, format('refund %s (%s, %s) is about the payment that bought the order', r.request_no, r.origin, r.status)
			from xc_refund_record r join orders o on o.id = r.order_id
			where o.paid_by = r.pay_no and r.origin in ('paid_twice', 'not_for_sale') and r.status <> 'closed'`,
	},
	{
		Name:    "trade-number",
		Meaning: "A payment has Alipay's trade number and a time; no two have the same number, nothing unpaid has one.",
		query: `
			select order_id, pay_no, format('attempt is %s with trade number %s, paid at %s', status,
			    coalesce(nullif(out_pay_no, ''), 'none'), coalesce(pay_success_time::text, 'no time'))
			from attempts
			where (status = '601001') <> (coalesce(out_pay_no, '') = '') or (status = '601001') <> (pay_success_time is null)
			union all
			select a.order_id, a.pay_no, format('trade number %s has paid another attempt too', a.out_pay_no)
			from attempts a
			where a.out_pay_no in (select out_pay_no from xc_pay_record where out_pay_no <> '' group by 1 having count(*) > 1)`,
	},
	{
		Name:    "paid-amount",
		Meaning: "The attempt that bought an order asked for the order's price.",
		query: `
			select o.id, p.pay_no, format('the order costs %s, the attempt that bought it was for %s', o.total_price, p.total_price)
			from orders o join xc_pay_record p on p.pay_no = o.paid_by and p.order_id = o.id
			where p.total_price <> o.total_price`,
	},
	{
		Name:    "goods-amount",
		Meaning: "An order's goods add up to its price.",
		query: `
			select o.id, o.paid_by, format('the order costs %s, its goods %s', o.total_price, coalesce(g.price, 0))
			from orders o left join (select order_id, sum(goods_price) as price from xc_orders_goods group by 1) g on g.order_id = o.id
			where o.total_price <> coalesce(g.price, 0)`,
	},
}
