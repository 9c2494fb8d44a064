// Package models holds what coursepay knows: the tables of the XueCheng system with the constraints that it lacked,
// their codes, which status may follow which, and every transaction on them. It knows no other package of the project.
package models

import "time"

// Course is a row of course_publish, the content service's catalogue: the source of truth for a course's price.
type Course struct {
	ID            ID
	CompanyID     ID
	Name          string
	Charge        Charge
	Price         Money
	OriginalPrice *Money
	ValidDays     int
	Status        PublishStatus
	OnlineDate    *time.Time
	OfflineDate   *time.Time
}

// TableName is course_publish.
func (Course) TableName() string { return "course_publish" }

// ChooseCourse is a row of xc_choose_course: a learner's choice of a course, paid or free.
type ChooseCourse struct {
	ID             ID
	CourseID       ID
	CourseName     string
	UserID         string
	CompanyID      ID
	OrderType      ChooseType
	CreateDate     time.Time
	CoursePrice    Money
	ValidDays      int
	Status         ChooseStatus
	ValidtimeStart *time.Time
	ValidtimeEnd   *time.Time
	Remarks        *string
}

// TableName is xc_choose_course.
func (ChooseCourse) TableName() string { return "xc_choose_course" }

// CourseTable is a row of xc_course_tables: what a learner may study, and until when.
type CourseTable struct {
	ID             ID
	ChooseCourseID ID
	UserID         string
	CourseID       ID
	CompanyID      ID
	CourseName     string
	CourseType     ChooseType
	CreateDate     time.Time
	ValidtimeStart time.Time
	ValidtimeEnd   time.Time
	UpdateDate     *time.Time
	Remarks        *string
}

// TableName is xc_course_tables.
func (CourseTable) TableName() string { return "xc_course_tables" }

// Status is the learner's right to study at the given time.
func (t *CourseTable) Status(now time.Time) LearnStatus {
	switch {
	case t == nil:
		return LearnNone
	case t.ValidtimeEnd.After(now):
		return LearnNormal
	default:
		return LearnExpired
	}
}

// Order is a row of xc_orders.
type Order struct {
	ID            ID
	TotalPrice    Money
	CreateDate    time.Time
	Status        OrderStatus
	UserID        string
	OrderType     OrderType
	OrderName     string
	OrderDescrip  *string
	OrderDetail   *string // the goods as JSON, made from our tables
	OutBusinessID string
	PaidBy        *ID // the pay number of the attempt that paid it
}

// TableName is xc_orders.
func (Order) TableName() string { return "xc_orders" }

// OrderKey names an order as the business does: at most one order has it.
type OrderKey struct {
	OrderType     OrderType `json:"orderType"`
	OutBusinessID string    `json:"outBusinessId"`
}

// Key is the order's name.
func (o *Order) Key() OrderKey {
	return OrderKey{OrderType: o.OrderType, OutBusinessID: o.OutBusinessID}
}

// OrderGoods is a row of xc_orders_goods.
type OrderGoods struct {
	ID          ID
	OrderID     ID
	GoodsID     string
	GoodsType   string
	GoodsName   string
	GoodsPrice  Money
	GoodsDetail *string
}

// TableName is xc_orders_goods.
func (OrderGoods) TableName() string { return "xc_orders_goods" }

// PayRecord is a row of xc_pay_record: one attempt to pay an order. Its PayNo is Alipay's out_trade_no.
type PayRecord struct {
	ID             ID
	PayNo          ID
	OutPayNo       *string // Alipay's trade_no, once paid
	OutPayChannel  PayChannel
	OrderID        ID
	OrderName      string
	TotalPrice     Money
	Currency       string
	CreateDate     time.Time
	Status         PayStatus
	PaySuccessTime *time.Time
	UserID         string
	RequestID      string
	ExpireDate     time.Time  // Alipay's time_expire
	OpenDate       *time.Time // when the pay page was first handed out
	SupersedeDate  *time.Time // when we stopped to hand it out; a page that is open may still be paid
	CloseDate      *time.Time // when nobody could pay it any more
}

// TableName is xc_pay_record.
func (PayRecord) TableName() string { return "xc_pay_record" }

// Payable says whether a learner may still be sent to the cashier with this attempt.
func (p *PayRecord) Payable(now time.Time) bool {
	return p.Status == PayUnpaid && p.SupersedeDate == nil && p.CloseDate == nil && p.ExpireDate.After(now)
}

// Message is a row of mq_message: a settled result on its way to the broker.
type Message struct {
	ID           ID
	MessageType  string
	BusinessKey1 string // out_business_id
	BusinessKey2 string // order type
}

// TableName is mq_message.
func (Message) TableName() string { return "mq_message" }

// Verdict is what the callback door made of a notify.
type Verdict string

const (
	VerdictAccepted  Verdict = "accepted"  // genuine, and handed to the order's workflow
	VerdictDuplicate Verdict = "duplicate" // genuine, and already in the books
	VerdictIgnored   Verdict = "ignored"   // genuine, and nothing for us to do
	VerdictRefused   Verdict = "refused"   // not to be believed
	VerdictFailed    Verdict = "failed"    // genuine, but we could not take it: Alipay sends it again
)

// PayNotify is a row of pay_notify: a callback that knocked, with what was made of it.
type PayNotify struct {
	ReceiveDate time.Time
	PayNo       *ID // as claimed
	NotifyID    *string
	Verdict     Verdict
	Reason      string
	RemoteAddr  string
	Raw         []byte // cut at a cap by the caller
	RawSize     int64  // bytes received
}

// TableName is pay_notify.
func (PayNotify) TableName() string { return "pay_notify" }

// Audit is a row of order_audit: one thing that happened to an order.
type Audit struct {
	ID         int64 `gorm:"->"`
	OrderID    ID
	PayNo      *ID
	CreateDate time.Time
	Event      string
	FromStatus *string
	ToStatus   *string
	Note       string
}

// TableName is order_audit.
func (Audit) TableName() string { return "order_audit" }
