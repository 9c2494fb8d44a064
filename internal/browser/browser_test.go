package browser

import (
	"testing"

	"github.com/stretchr/testify/require"

	"coursepay/internal/buyer"
)

// TestPages runs every scenario on one stack: first those that need nothing but the shop, side by side; then those in which
// something fails; at last those in which time runs out.
func TestPages(t *testing.T) { //nolint:paralleltest // its parts are
	m := openMall(t)
	t.Run("shop", func(t *testing.T) { //nolint:paralleltest // its parts are
		m.together(t, map[string]func(*visit){
			"two devices":      buyOnTwoDevices,
			"views":            lookAround,
			"cancel":           cancelAndBuyAgain,
			"paid twice":       payTwice,
			"operator refunds": parkedAndRefunded,
			"operator retries": parkedAndRetried,
			"no stream":        payWithoutStream,
			"reload":           reloadWhilePaying,
			"English":          buyInEnglish,
			"keyboard":         buyByKeyboard,
			"strangers":        strangers,
			"picture":          takePicture,
		})
	})
	t.Run("notify lost", func(t *testing.T) { //nolint:paralleltest // the sandbox misbehaves for all
		m.faults(t, `{"notify":{"drop":1}}`)
		defer m.faults(t, `{}`)
		payWithNotifyLost(m.visit(t))
	})
	t.Run("refund hangs", func(t *testing.T) { //nolint:paralleltest // the sandbox misbehaves for all
		payTooLate(m.visit(t))
	})
	t.Run("API restarts", func(t *testing.T) { //nolint:paralleltest // for all
		restartWhilePaying(m.visit(t))
	})
	t.Run("time runs out", func(t *testing.T) { //nolint:paralleltest // its parts are
		m.hurry(t, "10s")
		m.together(t, map[string]func(*visit){
			"expired":             letCodeExpire,
			"expired at the till": letCodeExpireAtTheCashier,
		})
	})
}

// together runs scenarios side by side.
func (m *mall) together(t *testing.T, scenarios map[string]func(*visit)) {
	t.Helper()
	t.Run("all", func(t *testing.T) { //nolint:paralleltest // its parts are
		for name, scenario := range scenarios {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(m.visit(t))
			})
		}
	})
}

// A visitor picks a course on the desktop, logs in on the way, and pays with the phone. Nobody touches the desktop again
// before it shows that the money has come; the stream alone can have told it.
func buyOnTwoDevices(v *visit) {
	p := v.open(desktop)
	p.goTo("/")
	p.titled("选一门课，马上开始")
	p.see("1-courses")
	p.press("[data-testid=course-2] a")
	p.titled("Go 微服务实战")
	p.see("2-course")
	p.press("learn-now")
	p.visible("dialog [data-testid=login-xiaoming]")
	p.see("3-log-in")
	p.press("dialog [data-testid=login-xiaoming]")
	p.state("waiting")
	address := p.code()
	p.see("4-pay")
	p.block("!/orders/events*", "/orders/*")

	q := v.cashier(address)
	q.keep("5-cashier")
	q.pay()
	q.keep("6-paid")
	p.state("paid")
	p.block()
	p.says("pay-status", "课程已开通")
	p.says("pay-validity", "有效期至")
	p.says("pay-dialog", "支付成功")
	p.see("7-paid")
	p.press("go-learn")
	p.visible("my-course-2")
	p.see("8-my-courses")
	p.press("nav-orders")
	p.says("[data-testid^=order-] [data-testid=order-status]", "已支付")
	p.see("9-orders")

	q.tolerate("409 (Conflict)")
	q.goTo(address)
	q.says(`[data-code="PAYMENT_DONE"]`, "请不要再次付款")
	q.see("paid-already")
}

// The views that no other scenario shows.
func lookAround(v *visit) {
	p := v.open(desktop)
	p.be("views", false)
	p.goTo("/#/mine")
	p.visible("empty")
	p.see("1-nothing-yet")
	p.view("#/course/4", "Linux 基础（免费）")
	p.press("learn-now")
	p.visible("enrolled-dialog")
	p.see("2-enrolled")
	p.press("go-learn")
	p.visible("my-course-4")
	p.view("#/", "选一门课，马上开始")
	p.press("buy-material-101")
	address := p.code()
	v.cashier(address).pay()
	p.toFront()
	p.state("paid")
	p.says("pay-status", "资料已可下载")
	p.press("go-learn")
	p.visible("my-material-101")
	p.see("3-materials")
	p.tolerate("404 (Not Found)")
	p.view("#/course/999", "出了点问题")
	p.see("4-failed")

	q := v.open(phone)
	q.tolerate("404 (Not Found)")
	q.goTo("/orders/requestpay?payNo=4711")
	q.visible(`[data-code="PAY_RECORD_NOT_FOUND"]`)
	q.see("no-such-code")
}

// An order is kept, cancelled, and its code cannot be paid any more; then it is bought again.
func cancelAndBuyAgain(v *visit) {
	p := v.wants("cancels", "3")
	old := p.code()
	p.press("pay-later")
	p.says("toast", "订单已保留")
	p.press("nav-orders")
	p.says("order-status", "待支付")
	p.see("1-unpaid")
	p.press("cancel-order")
	p.visible("cancel-yes")
	p.see("2-cancel")
	p.press("cancel-yes")
	p.says("order-status", "已关闭")
	p.see("3-cancelled")

	q := v.open(phone)
	q.tolerate("410 (Gone)")
	q.goTo(old)
	q.says(`[data-code="PAY_CODE_EXPIRED"]`, "重新获取二维码")
	q.see("old-code")

	p.press("pay-again")
	p.state("waiting")
	require.NotEqual(v.t, old, p.code())
	v.cashier(p.code()).pay()
	p.toFront()
	p.state("paid")
}

// Two phones have a page of the same order open, and both pay. The second payment goes back by itself; then an operator
// gives a part of the first back, too.
func payTwice(v *visit) {
	p := v.wants("twice", "2")
	first := v.cashier(p.code())
	p.toFront()
	p.press("pay-later")
	p.press("nav-orders")
	p.press("pay-order")
	p.state("waiting")
	second := v.cashier(p.code())
	second.pay()
	p.toFront()
	p.state("paid")
	first.pay()

	o := v.open(desktop)
	o.be("operator", true)
	o.goTo("/ops#/search")
	o.write("q", "twice")
	o.press("search")
	o.visible("[data-testid=results] a")
	o.see("1-search")
	o.press("[data-testid=results] a")
	o.says("timeline", "退款成功 · ¥129.00")
	o.see("2-story")
	o.press("refund")
	o.visible("amount")
	o.see("3-refund")
	get[string](o, `document.querySelector('[data-testid=amount]').value = ''`)
	o.write("amount", "29.5")
	o.press("submit")
	o.says("refund-dialog", "请填写说明")
	o.write("reason", "部分退款")
	o.press("submit")
	o.says("timeline", "退款成功 · ¥29.50")
	o.says("overview", "已退 ¥29.50")

	p.toFront()
	p.press("pay-close")
	p.goTo("/#/orders")
	p.do(reload)
	p.says("refunded", "已退 ¥29.50")
	p.see("4-orders")
}

// park has a learner pay what the books refuse: the choice is gone, kept aside.
func (v *visit) park(user string) (p *tab, number string) {
	v.t.Helper()
	p = v.wants(user, "3")
	number = payNo(p.code())
	q := v.cashier(p.code())
	v.exec(`create table if not exists kept_choices as select * from xc_choose_course where false`)
	v.exec(`insert into kept_choices select * from xc_choose_course where user_id = $1`, user)
	v.exec(`delete from xc_choose_course where user_id = $1`, user)
	q.pay()
	return p, number
}

// decide goes to the case on the operators' page and decides, with a reason.
func (p *tab) decide(number, action string) {
	p.t.Helper()
	card := `[data-testid="case-` + number + `"]`
	p.visible(card)
	p.see("1-attention")
	p.press(card + " [data-testid=decide-" + action + "]")
	p.press("submit")
	p.says("decide-dialog", "请填写说明")
	p.see("2-decide")
	p.write("note", "选课记录已核对")
	p.press("submit")
	p.gone(card)
	p.visible("title")
}

// An operator gives a payment back that the books refuse, and the learner's popup says so.
func parkedAndRefunded(v *visit) {
	p, number := v.park("refunded")
	o := v.open(desktop)
	o.goTo("/ops")
	o.press("login-operator")
	o.decide(number, "refund")
	p.toFront()
	p.state("givenBack")
	p.see("3-given-back")
	o.view("#/search?q="+number, "查订单")
	o.press("[data-testid=results] a")
	o.says("timeline", "operator: 选课记录已核对")
	o.says("timeline", "退款成功 · ¥49.90")
}

// A payment that comes when the order is closed and the price has changed buys nothing: the page says that it goes back,
// though Alipay takes its time, and then that it is back. Red: every paid record shown as a success.
func payTooLate(v *visit) {
	p := v.wants("late", "3")
	q := v.cashier(p.code())
	v.exec(`update xc_orders set status = '600003' where user_id = 'late'`)
	v.exec(`update course_publish set price = price + 1 where id = 3`)
	defer v.exec(`update course_publish set price = price - 1 where id = 3`)
	v.faults(v.t, `{"gateway":{"http5xx":1}}`)
	defer v.faults(v.t, `{}`)
	q.pay()
	p.toFront()
	p.state("goesBack")
	p.see("1-goes-back")
	v.faults(v.t, `{}`)
	p.state("givenBack")
	p.press("pay-close")
	require.NotContains(v.t, get[string](p, `document.body.innerText`), "订单已保留")
}

// An operator mends the cause and lets it be tried again, and the learner has the course.
func parkedAndRetried(v *visit) {
	p, number := v.park("retried")
	o := v.open(desktop)
	o.be("operator", true)
	o.goTo("/ops")
	v.exec(`insert into xc_choose_course select * from kept_choices where user_id = 'retried'`)
	o.decide(number, "retry")
	p.toFront()
	p.state("paid")
}

// Something between the browser and us swallows streams: the page asks instead.
func payWithoutStream(v *visit) {
	p := v.open(desktop)
	p.block("/orders/events*")
	p.be("no-stream", false)
	p.goTo("/#/course/3")
	p.press("learn-now")
	v.cashier(p.code()).pay()
	p.toFront()
	p.state("paid")
}

// A page that is loaded anew while its popup is open shows the same code again.
func reloadWhilePaying(v *visit) {
	p := v.wants("reloads", "3")
	address := p.code()
	p.do(reload)
	p.state("waiting")
	require.Equal(v.t, address, p.code())
	v.cashier(address).pay()
	p.toFront()
	p.state("paid")
}

// Nothing is left in Chinese for those who read English, but the courses' own names; and it stays so.
func buyInEnglish(v *visit) {
	p := v.open(desktop)
	p.be("reads-english", false)
	p.goTo("/#/course/2")
	p.press("language")
	p.says("learn-now", "Start learning")
	p.press("learn-now")
	p.state("waiting")
	p.english("Pay with Alipay")
	p.see("1-pay")
	v.cashier(p.code()).pay()
	p.toFront()
	p.state("paid")
	p.english("Payment received")
	p.press("go-learn")
	p.visible("my-course-2")
	p.english("My courses")
	p.see("2-my-courses")
	p.do(reload)
	p.titled("My courses")
	p.view("#/orders", "My orders")
	p.english("Paid")
	p.view("#/", "Choose a course and begin")
	p.english("Valid for 180 days")
}

// english: the page says this, and nothing in Chinese but what courses, materials and users are called.
func (p *tab) english(part string) {
	p.t.Helper()
	p.says("html[lang]", part)
	require.Equal(p.t, "en", get[string](p, `document.documentElement.lang`))
	left := get[[]string](p, `(() => {
		const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		const names = 'h1, h2 a, b, .goods, .cover, .user, [lang|=zh]';
		const left = [];
		while (walker.nextNode()) {
			const at = walker.currentNode;
			if (/\p{Script=Han}/u.test(at.data) && !at.parentElement.closest(names + ', .brand span')) left.push(at.data);
		}
		return left;
	})()`)
	require.Empty(p.t, left)
}

// Without a mouse: log in, choose, pay on the same device, and go on to the course.
func buyByKeyboard(v *visit) {
	p := v.open(desktop)
	p.goTo("/")
	p.visible("course-1")
	p.enter("login-ada")
	p.says("user", "Ada")
	p.enter("[data-testid=course-1] a")
	p.titled("Java 编程思想")
	p.enter("learn-now")
	p.state("waiting")
	p.tabTo("open-here")
	p.keep("1-focus")
	p.enter("open-here")
	q := p.opened()
	q.enter("#pay button")
	q.visible("#paid")
	p.toFront()
	p.state("paid")
	p.enter("go-learn")
	p.visible("my-course-1")
	require.Equal(v.t, "我的课程", get[string](p, `document.activeElement.innerText`), "the focus is on the new view's title")
}

// The operators' page shows learners nothing.
func strangers(v *visit) {
	p := v.open(desktop)
	p.goTo("/ops")
	p.visible("login")
	p.see("1-log-in")
	p.press("login-xiaohong")
	p.visible("no-right")
	p.see("2-no-right")
}

// The callback never comes: the worker's question to Alipay finds the payment.
func payWithNotifyLost(v *visit) {
	p := v.wants("lost", "3")
	address := p.code()
	v.cashier(address).pay()
	p.toFront()
	p.state("paid")
	require.Zero(v.t, v.count(`select count(*) from pay_notify where pay_no = $1`, payNo(address)), "the callback was lost")
}

// The API goes away while the popup is open, and comes back.
func restartWhilePaying(v *visit) {
	p := v.wants("restarts", "3")
	address := p.code()
	p.tolerate("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "503 (Service Unavailable)")
	require.NoError(v.t, v.stack.Service("api").Kill())
	p.says("banner", "连接中断")
	require.True(v.t, get[bool](p, `document.getElementById('banner').matches(':popover-open')`), "the popup does not cover it")
	p.see("1-away")
	require.NoError(v.t, v.stack.Service("api").Start(v.t.Context()))
	p.until(`document.getElementById('banner').hidden`)
	p.state("waiting")
	v.cashier(address).pay()
	p.toFront()
	p.state("paid")
}

// Nobody scans the code in time: the page offers a new one.
func letCodeExpire(v *visit) {
	p := v.wants("expires", "3")
	old := p.code()
	p.state("expired")
	p.says("pay-status", "二维码已过期")
	p.see("1-expired")
	p.press("new-code")
	p.newCode(old)

	q := v.open(phone)
	q.tolerate("410 (Gone)")
	q.goTo(old)
	q.says(`[data-code="PAY_CODE_EXPIRED"]`, "重新获取二维码")
}

// newCode waits until the popup has taken another code than the old one.
func (p *tab) newCode(old string) {
	p.t.Helper()
	p.until(`!(sessionStorage.getItem('paying') ?? ` + quote(old) + `).includes(` + quote(payNo(old)) + `)`)
}

// The code expires while the phone is on the cashier's page: the cashier refuses, the old code says what to do, and the
// desktop offers another.
func letCodeExpireAtTheCashier(v *visit) {
	p := v.wants("slow", "3")
	q := v.open(phone)
	q.tolerate("410 (Gone)", "400 (Bad Request)", "409 (Conflict)", "403 (Forbidden)")
	var address string
	for reached := false; !reached; { // the code may have run out before a busy machine comes to the cashier
		address = p.given()
		q.goTo(address)
		q.until(`document.querySelector('#pay button, [data-code]')`)
		if reached = get[bool](q, `document.querySelector('#pay') !== null`); !reached {
			p.press("new-code")
			p.newCode(address)
		}
	}
	p.toFront()
	p.state("expired")
	q.press("#pay button")
	q.visible("#error")
	q.keep("1-too-late")
	q.goTo(address)
	q.says(`[data-code="PAY_CODE_EXPIRED"]`, "再扫一次")
	q.see("2-old-code")
	p.press("new-code")
	p.newCode(address)
}

// given is the address of the code that the popup took last, expired or not.
func (p *tab) given() string {
	p.t.Helper()
	address, err := buyer.Scan(get[string](p, `JSON.parse(sessionStorage.getItem('paying')).record.qrcode`))
	require.NoError(p.t, err)
	return address
}
