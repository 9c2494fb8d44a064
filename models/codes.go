package models

// Status codes of the XueCheng tables, kept as they are there. A comment says who acts next.

// OrderStatus is xc_orders.status.
type OrderStatus string

const (
	OrderUnpaid   OrderStatus = "600001" // the learner pays, or the workflow closes it at its expiry
	OrderPaid     OrderStatus = "600002" // the workflow delivers the result; later an operator may refund
	OrderClosed   OrderStatus = "600003" // nobody, until the learner asks for a new code or a late payment comes in
	OrderRefunded OrderStatus = "600004" // nobody
	OrderFinished OrderStatus = "600005" // nobody
)

// PayStatus is xc_pay_record.status.
type PayStatus string

const (
	PayUnpaid   PayStatus = "601001" // the learner pays, or the attempt is superseded or expires
	PayPaid     PayStatus = "601002" // the workflow settles the order
	PayRefunded PayStatus = "601003" // nobody
)

// OrderType says what is bought, and so what out_business_id points at.
type OrderType string

const (
	OrderCourse   OrderType = "60201" // 购买课程: out_business_id is a choose-course's id
	OrderMaterial OrderType = "60202" // 学习资料: out_business_id is a choose-material's id
)

// PayChannel is xc_pay_record.out_pay_channel.
type PayChannel string

const (
	ChannelWeChat PayChannel = "603001"
	ChannelAlipay PayChannel = "603002"
)

// ChooseType (选课类型) is xc_choose_course.order_type and xc_course_tables.course_type.
type ChooseType string

const (
	ChooseFree ChooseType = "700001"
	ChoosePaid ChooseType = "700002"
)

// ChooseStatus (选课状态) is xc_choose_course.status.
type ChooseStatus string

const (
	ChooseDone    ChooseStatus = "701001" // nobody
	ChoosePending ChooseStatus = "701002" // the learner pays
)

// LearnStatus (学习资格) is computed from the course table, never stored.
type LearnStatus string

const (
	LearnNormal  LearnStatus = "702001" // the learner studies
	LearnNone    LearnStatus = "702002" // the learner chooses the course, or pays for it
	LearnExpired LearnStatus = "702003" // the learner buys the course again
)

// Charge (收费) is course_publish.charge.
type Charge string

const (
	ChargeFree Charge = "201000"
	ChargePaid Charge = "201001"
)

// PublishStatus (发布状态) is course_publish.status.
type PublishStatus string

const (
	PublishDraft   PublishStatus = "203001"
	PublishOnline  PublishStatus = "203002" // learners may choose the course
	PublishOffline PublishStatus = "203003"
)

// What mq_message.message_type tells.
const (
	MessagePayResult = "payresult_notify" // a payment was settled
	MessageRefund    = "refund_notify"    // all of an order's money has gone back
)

// labels are the codes as users read them. No two groups share a code.
var labels = map[string]string{
	string(OrderUnpaid): "未支付", string(OrderPaid): "已支付", string(OrderClosed): "已关闭", string(OrderRefunded): "已退款",
	string(OrderFinished): "已完成",
	string(PayUnpaid):     "未支付", string(PayPaid): "已支付", string(PayRefunded): "已退款",
	string(OrderCourse): "购买课程", string(OrderMaterial): "学习资料",
	string(ChannelWeChat): "微信支付", string(ChannelAlipay): "支付宝",
	string(ChooseFree): "免费课程", string(ChoosePaid): "收费课程",
	string(ChooseDone): "选课成功", string(ChoosePending): "待支付",
	string(LearnNormal): "正常学习", string(LearnNone): "没有选课或选课后没有支付", string(LearnExpired): "已过期需要申请续期或重新支付",
	string(ChargeFree): "免费", string(ChargePaid): "收费",
	string(PublishDraft): "未发布", string(PublishOnline): "已发布", string(PublishOffline): "下线",
}

// Label is a code as users read it, such as 已支付 for 600002; empty for a code that is none.
func Label[C ~string](code C) string { return labels[string(code)] }
