package client

import (
	"encoding/json"
	"net/url"
	"time"
)

// The codes that decide something, out of XueCheng's tables.
const (
	OrderTypeCourse   = "60201" // of an order
	OrderTypeMaterial = "60202"

	OrderUnpaid   = "600001" // Order.Status
	OrderPaid     = "600002"
	OrderClosed   = "600003"
	OrderRefunded = "600004"
	OrderFinished = "600005"

	PayUnpaid   = "601001" // PayRecord.Status
	PayPaid     = "601002"
	PayRefunded = "601003"

	ChargeFree = "201000" // Course.Charge
	ChargePaid = "201001"

	ChoiceFree = "700001" // ChooseCourse.OrderType, Enrolment.CourseType
	ChoicePaid = "700002"

	Chosen          = "701001" // ChooseCourse.Status, ChooseMaterial.Status
	WaitsForPayment = "701002"

	MayStudy  = "702001" // LearnStatus
	NotBought = "702002"
	RanOut    = "702003"

	RefundPending = "pending" // Refund.Status
	RefundDone    = "refunded"
	RefundClosed  = "closed" // by an operator

	ActionRetry  = "retry" // Decision.Action
	ActionRefund = "refund"
	ActionClose  = "close"
)

// Date is a date as the API writes it: yyyy-MM-dd HH:mm:ss in China's time. It is empty where there is none.
type Date string

// china has had no summer time since 1991.
var china = time.FixedZone("Asia/Shanghai", 8*60*60)

// Time is the moment, or the zero time if there is none.
func (d Date) Time() time.Time {
	moment, err := time.ParseInLocation(time.DateTime, string(d), china)
	if err != nil {
		return time.Time{}
	}
	return moment
}

// Course is a published course.
type Course struct {
	ID            string      `json:"id"`
	CompanyID     string      `json:"companyId"`
	Name          string      `json:"name"`
	Charge        string      `json:"charge"` // ChargeFree, ChargePaid
	Price         json.Number `json:"price"`
	OriginalPrice json.Number `json:"originalPrice"`
	ValidDays     int         `json:"validDays"` // from the payment on
}

// ChooseCourse is a learner's choice of a course, with what the learner may do now.
type ChooseCourse struct {
	ID             string      `json:"id"`
	CourseID       string      `json:"courseId"`
	CourseName     string      `json:"courseName"`
	UserID         string      `json:"userId"`
	CompanyID      string      `json:"companyId"`
	OrderType      string      `json:"orderType"` // ChoiceFree, ChoicePaid
	CreateDate     Date        `json:"createDate"`
	ValidDays      int         `json:"validDays"`
	CoursePrice    json.Number `json:"coursePrice"`
	Status         string      `json:"status"` // Chosen, WaitsForPayment
	ValidtimeStart Date        `json:"validtimeStart"`
	ValidtimeEnd   Date        `json:"validtimeEnd"`
	Remarks        string      `json:"remarks"`
	LearnStatus    string      `json:"learnStatus"` // MayStudy, NotBought, RanOut
}

// PayCode is the request for a code to pay the choice with.
func (c ChooseCourse) PayCode() PayCodeRequest {
	return payCode(OrderTypeCourse, c.ID, c.CourseName, c.CoursePrice, c.CourseID)
}

// Enrolment is what the learner has of a course.
type Enrolment struct {
	ID             string `json:"id"`
	ChooseCourseID string `json:"chooseCourseId"`
	UserID         string `json:"userId"`
	CourseID       string `json:"courseId"`
	CompanyID      string `json:"companyId"`
	CourseName     string `json:"courseName"`
	CourseType     string `json:"courseType"` // ChoiceFree, ChoicePaid
	CreateDate     Date   `json:"createDate"`
	ValidtimeStart Date   `json:"validtimeStart"`
	ValidtimeEnd   Date   `json:"validtimeEnd"`
	UpdateDate     Date   `json:"updateDate"`
	Remarks        string `json:"remarks"`
	LearnStatus    string `json:"learnStatus"` // MayStudy, NotBought, RanOut
}

// Page picks a part of a list. The first page is 1; the API's own defaults stand in for zeros.
type Page struct{ Page, Size int }

func (p Page) query() url.Values { return filled("page", number(p.Page), "size", number(p.Size)) }

// CourseTableQuery picks some of a learner's courses; what is empty does not restrict.
type CourseTableQuery struct {
	Page, Size  int
	CourseType  string // ChoiceFree, ChoicePaid
	SortType    string // "1" by study time, "2" by the time of joining
	ExpiresType string // "1" running out within 30 days, "2" run out
}

// CoursePage is one page of a learner's courses.
type CoursePage struct {
	Items    []Enrolment `json:"items"`
	Counts   int64       `json:"counts,string"` // on all pages
	Page     int         `json:"page,string"`
	PageSize int         `json:"pageSize,string"`
}

// Material is a published learning material (学习资料).
type Material struct {
	ID        string      `json:"id"`
	CompanyID string      `json:"companyId"`
	Name      string      `json:"name"`
	Price     json.Number `json:"price"`
}

// ChooseMaterial is a learner's choice of a material.
type ChooseMaterial struct {
	ID            string      `json:"id"`
	MaterialID    string      `json:"materialId"`
	MaterialName  string      `json:"materialName"`
	UserID        string      `json:"userId"`
	CompanyID     string      `json:"companyId"`
	CreateDate    Date        `json:"createDate"`
	MaterialPrice json.Number `json:"materialPrice"`
	Status        string      `json:"status"` // Chosen, WaitsForPayment
	Remarks       string      `json:"remarks"`
}

// PayCode is the request for a code to pay the choice with.
func (c ChooseMaterial) PayCode() PayCodeRequest {
	return payCode(OrderTypeMaterial, c.ID, c.MaterialName, c.MaterialPrice, c.MaterialID)
}

// MaterialRight is a material that the learner may download.
type MaterialRight struct {
	ID               string `json:"id"`
	ChooseMaterialID string `json:"chooseMaterialId"`
	UserID           string `json:"userId"`
	MaterialID       string `json:"materialId"`
	MaterialName     string `json:"materialName"`
	CreateDate       Date   `json:"createDate"` // when it was paid for
}

// MaterialPage is one page of a learner's materials.
type MaterialPage struct {
	Items    []MaterialRight `json:"items"`
	Counts   int64           `json:"counts,string"` // on all pages
	Page     int             `json:"page,string"`
	PageSize int             `json:"pageSize,string"`
}

// PayCodeRequest asks for a code. ChooseCourse.PayCode and ChooseMaterial.PayCode make it.
type PayCodeRequest struct {
	TotalPrice    json.Number `json:"totalPrice"` // must be the price of what is bought
	OrderType     string      `json:"orderType"`  // OrderTypeCourse, OrderTypeMaterial
	OrderName     string      `json:"orderName,omitempty"`
	OrderDescrip  string      `json:"orderDescrip,omitempty"`
	OrderDetail   string      `json:"orderDetail,omitempty"` // the goods, as JSON; compared with the catalogue
	OutBusinessID string      `json:"outBusinessId"`         // the choice's id

	// IdempotencyKey names the request, so that a repeat finds the same pay record. When it is
	// empty, one is made up for as long as this client itself repeats the request.
	IdempotencyKey string `json:"-"`
}

func payCode(orderType, choiceID, name string, price json.Number, goodsID string) PayCodeRequest {
	detail, _ := json.Marshal([]map[string]any{{
		"goodsId": goodsID, "goodsType": orderType, "goodsName": name, "goodsPrice": price,
	}})
	return PayCodeRequest{
		TotalPrice: price, OrderType: orderType, OrderName: name, OrderDetail: string(detail), OutBusinessID: choiceID,
	}
}

// PayRecord is one attempt to pay an order.
type PayRecord struct {
	ID             string      `json:"id"`
	PayNo          string      `json:"payNo"`         // Alipay's out_trade_no
	OutPayNo       string      `json:"outPayNo"`      // Alipay's trade_no, once paid
	OutPayChannel  string      `json:"outPayChannel"` // 603002 Alipay
	OrderID        string      `json:"orderId"`
	OrderName      string      `json:"orderName"`
	TotalPrice     json.Number `json:"totalPrice"`
	Currency       string      `json:"currency"`
	CreateDate     Date        `json:"createDate"`
	ExpireDate     Date        `json:"expireDate"` // until when it can be paid
	Status         string      `json:"status"`     // PayUnpaid, PayPaid, PayRefunded
	PaySuccessTime Date        `json:"paySuccessTime"`
	UserID         string      `json:"userId"`
	QRCode         string      `json:"qrcode"` // data:image/png;base64, 200×200; of PayCode alone
}

// OrderQuery picks some of a learner's orders; an empty Status does not restrict.
type OrderQuery struct {
	Page, Size int
	Status     string // OrderUnpaid …
}

// Order is what a learner has bought, or is about to.
type Order struct {
	ID            string      `json:"id"`
	TotalPrice    json.Number `json:"totalPrice"`
	CreateDate    Date        `json:"createDate"`
	Status        string      `json:"status"` // OrderUnpaid …
	UserID        string      `json:"userId"`
	OrderType     string      `json:"orderType"` // OrderTypeCourse, OrderTypeMaterial
	OrderName     string      `json:"orderName"`
	OrderDescrip  string      `json:"orderDescrip"`
	OrderDetail   string      `json:"orderDetail"` // the goods, as JSON
	OutBusinessID string      `json:"outBusinessId"`
	PayNo         string      `json:"payNo"`      // the attempt that paid it, or else the newest one
	ExpireDate    Date        `json:"expireDate"` // until when that attempt can be paid
	RefundedTotal json.Number `json:"refundedTotal"`
}

// OrderPage is one page of orders.
type OrderPage struct {
	Items    []Order `json:"items"`
	Counts   int64   `json:"counts,string"` // on all pages
	Page     int     `json:"page,string"`
	PageSize int     `json:"pageSize,string"`
}

// RefundRequest asks for money to go back.
type RefundRequest struct {
	Amount json.Number `json:"amount,omitempty"` // yuan; empty: all that is left
	Reason string      `json:"reason"`           // told to the buyer
	PayNo  string      `json:"payNo,omitempty"`  // the payment to give back; empty: the one that paid the order

	// IdempotencyKey names the refund, so that a repeat finds the same.
	IdempotencyKey string `json:"-"`
}

// Refund is money that goes back, or has gone back.
type Refund struct {
	ID           string      `json:"id"`
	OutRequestNo string      `json:"outRequestNo"` // Alipay's out_request_no
	OrderID      string      `json:"orderId"`
	PayNo        string      `json:"payNo"`
	Amount       json.Number `json:"amount"`
	Reason       string      `json:"reason"`
	Origin       string      `json:"origin"`      // operator, paid_twice, not_for_sale, refused
	RequestUser  string      `json:"requestUser"` // the operator who asked for it
	Status       string      `json:"status"`      // RefundPending, RefundDone, RefundClosed
	CreateDate   Date        `json:"createDate"`
	RefundDate   Date        `json:"refundDate"`
	Note         string      `json:"note"`
}

// Attention is something that waits for an operator, or has waited.
type Attention struct {
	WorkflowID   string      `json:"workflowId"`
	WorkflowLink string      `json:"workflowLink"` // in Temporal's Web UI
	OrderID      string      `json:"orderId"`      // empty where the payment names no order
	PayNo        string      `json:"payNo"`
	OutRequestNo string      `json:"outRequestNo"` // the refund that is parked; empty for a payment
	TradeNo      string      `json:"tradeNo"`
	Amount       json.Number `json:"amount"`
	Reason       string      `json:"reason"`
	Since        Date        `json:"since"`
	Actions      []string    `json:"actions"` // what can be decided
	DecideDate   Date        `json:"decideDate"`
	Decision     string      `json:"decision"`
	Note         string      `json:"note"`
}

// Decide is the decision about it. The note says why; it is kept with the operator's id.
func (a Attention) Decide(action, note string) Decision {
	return Decision{WorkflowID: a.WorkflowID, PayNo: a.PayNo, Action: action, Note: note}
}

// Decision is what an operator decides. Attention.Decide makes it.
type Decision struct {
	WorkflowID string `json:"workflowId"`
	PayNo      string `json:"payNo"`
	Action     string `json:"action"` // ActionRetry, ActionRefund, ActionClose
	Note       string `json:"note"`
}

// OrderStory is everything that is known of one order.
type OrderStory struct {
	Order        Order        `json:"order"`
	WorkflowID   string       `json:"workflowId"`
	WorkflowLink string       `json:"workflowLink"` // in Temporal's Web UI
	Attempts     []Attempt    `json:"attempts"`
	Refunds      []Refund     `json:"refunds"`
	Callbacks    []Callback   `json:"callbacks"`
	Messages     []BusMessage `json:"messages"`
	Attention    []Attention  `json:"attention"`
	Audit        []AuditEntry `json:"audit"`
}

// Attempt is a pay record with its own life beside its status.
type Attempt struct {
	PayRecord

	OpenDate      Date `json:"openDate"`      // when the pay page was first handed out
	SupersedeDate Date `json:"supersedeDate"` // since when it is not handed out any more
	CloseDate     Date `json:"closeDate"`     // since when nobody can pay it
}

// Callback is a notify that knocked, with what was made of it.
type Callback struct {
	At       Date   `json:"at"`
	PayNo    string `json:"payNo"`
	NotifyID string `json:"notifyId"`
	Verdict  string `json:"verdict"` // accepted, duplicate, ignored, refused, failed
	Reason   string `json:"reason"`
	From     string `json:"from"` // the caller's address
}

// BusMessage is a message about the order on its way to the message bus, or delivered.
type BusMessage struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Delivered bool   `json:"delivered"`
	At        Date   `json:"at"`
	Tries     int    `json:"tries"`
	Failure   string `json:"failure"` // of the last try that failed
}

// AuditEntry is one thing that happened to an order.
type AuditEntry struct {
	At         Date   `json:"at"`
	Event      string `json:"event"`
	PayNo      string `json:"payNo"`
	FromStatus string `json:"fromStatus"`
	ToStatus   string `json:"toStatus"`
	Note       string `json:"note"`
}
