package api

import (
	"bytes"
	"encoding/json"
	"time"
	_ "time/tzdata" // dates are told in China's time wherever the service runs

	"github.com/danielgtaylor/huma/v2"

	"coursepay/models"
)

// shanghai is the time zone of every date in the API.
var shanghai = mustLoad("Asia/Shanghai")

func mustLoad(zone string) *time.Location {
	location, err := time.LoadLocation(zone)
	if err != nil {
		panic(err) // the zone is compiled in
	}
	return location
}

// Date is told as yyyy-MM-dd HH:mm:ss in Asia/Shanghai.
type Date time.Time

// MarshalJSON writes the date.
func (d Date) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Time(d).In(shanghai).Format(time.DateTime))
}

// Schema describes the date.
func (Date) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`, Description: "yyyy-MM-dd HH:mm:ss, Asia/Shanghai", Examples: []any{"2026-03-01 18:30:00"}}
}

func dateOf(t time.Time) Date { return Date(t) }

func maybeDate(t *time.Time) *Date {
	if t == nil {
		return nil
	}
	d := Date(*t)
	return &d
}

// Price is an amount of yuan, told as a number with two decimals.
type Price models.Money

// MarshalJSON writes the number.
func (p Price) MarshalJSON() ([]byte, error) { return models.Money(p).MarshalJSON() }

// Schema describes the price.
func (Price) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Description: "Yuan with two decimals", Examples: []any{49.9}}
}

// AskedPrice is an amount of yuan in a request: a number, or a string by the same strict rules: no sign, no exponent, at
// most two decimals.
type AskedPrice models.Money

// UnmarshalJSON reads the number or string.
func (p *AskedPrice) UnmarshalJSON(text []byte) error { return (*models.Money)(p).UnmarshalJSON(text) }

// Schema describes the price.
func (AskedPrice) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "Yuan, with at most two decimals",
		AnyOf:       []*huma.Schema{{Type: huma.TypeNumber}, {Type: huma.TypeString}},
		Examples:    []any{49.9},
	}
}

// Course is a published course.
type Course struct {
	ID            string        `json:"id"`
	CompanyID     string        `json:"companyId"`
	Name          string        `json:"name"`
	Charge        models.Charge `json:"charge" doc:"201000 free, 201001 paid"`
	Price         Price         `json:"price"`
	OriginalPrice *Price        `json:"originalPrice,omitempty"`
	ValidDays     int           `json:"validDays"`
}

func viewCourse(c models.Course) Course {
	return Course{
		ID: c.ID.String(), CompanyID: c.CompanyID.String(), Name: c.Name, Charge: c.Charge, Price: Price(c.Price),
		OriginalPrice: (*Price)(c.OriginalPrice), ValidDays: c.ValidDays,
	}
}

// ChooseCourse is a learner's choice of a course, with what the learner may do now.
type ChooseCourse struct {
	ID             string              `json:"id"`
	CourseID       string              `json:"courseId"`
	CourseName     string              `json:"courseName"`
	UserID         string              `json:"userId"`
	CompanyID      string              `json:"companyId"`
	OrderType      models.ChooseType   `json:"orderType" doc:"700001 free, 700002 paid"`
	CreateDate     Date                `json:"createDate"`
	ValidDays      int                 `json:"validDays"`
	CoursePrice    Price               `json:"coursePrice"`
	Status         models.ChooseStatus `json:"status" doc:"701001 chosen, 701002 waits for the payment"`
	ValidtimeStart *Date               `json:"validtimeStart,omitempty"`
	ValidtimeEnd   *Date               `json:"validtimeEnd,omitempty"`
	Remarks        *string             `json:"remarks,omitempty"`
	LearnStatus    models.LearnStatus  `json:"learnStatus" doc:"702001 may study, 702002 not bought, 702003 ran out"`
}

func viewChoice(c models.ChooseCourse, status models.LearnStatus) ChooseCourse {
	return ChooseCourse{
		ID: c.ID.String(), CourseID: c.CourseID.String(), CourseName: c.CourseName, UserID: c.UserID,
		CompanyID: c.CompanyID.String(), OrderType: c.OrderType, CreateDate: dateOf(c.CreateDate), ValidDays: c.ValidDays,
		CoursePrice: Price(c.CoursePrice), Status: c.Status, ValidtimeStart: maybeDate(c.ValidtimeStart),
		ValidtimeEnd: maybeDate(c.ValidtimeEnd), Remarks: c.Remarks, LearnStatus: status,
	}
}

// Enrolment is a row of the course table. Without one, only LearnStatus is told.
type Enrolment struct {
	ID             string             `json:"id,omitempty"`
	ChooseCourseID string             `json:"chooseCourseId,omitempty"`
	UserID         string             `json:"userId,omitempty"`
	CourseID       string             `json:"courseId,omitempty"`
	CompanyID      string             `json:"companyId,omitempty"`
	CourseName     string             `json:"courseName,omitempty"`
	CourseType     models.ChooseType  `json:"courseType,omitempty"`
	CreateDate     *Date              `json:"createDate,omitempty"`
	ValidtimeStart *Date              `json:"validtimeStart,omitempty"`
	ValidtimeEnd   *Date              `json:"validtimeEnd,omitempty"`
	UpdateDate     *Date              `json:"updateDate,omitempty"`
	Remarks        *string            `json:"remarks,omitempty"`
	LearnStatus    models.LearnStatus `json:"learnStatus" doc:"702001 may study, 702002 not bought, 702003 ran out"`
}

func viewEnrolment(t *models.CourseTable, status models.LearnStatus) Enrolment {
	if t == nil {
		return Enrolment{LearnStatus: status}
	}
	return Enrolment{
		ID: t.ID.String(), ChooseCourseID: t.ChooseCourseID.String(), UserID: t.UserID, CourseID: t.CourseID.String(),
		CompanyID: t.CompanyID.String(), CourseName: t.CourseName, CourseType: t.CourseType,
		CreateDate: maybeDate(&t.CreateDate), ValidtimeStart: maybeDate(&t.ValidtimeStart),
		ValidtimeEnd: maybeDate(&t.ValidtimeEnd), UpdateDate: maybeDate(t.UpdateDate), Remarks: t.Remarks,
		LearnStatus: status,
	}
}

// CoursePage is one page of a learner's courses. Counts are strings, as the original's 64-bit numbers are.
type CoursePage struct {
	Items    []Enrolment `json:"items"`
	Counts   string      `json:"counts"`
	Page     string      `json:"page"`
	PageSize string      `json:"pageSize"`
}

// PayRecord is one attempt to pay an order.
type PayRecord struct {
	ID             string            `json:"id"`
	PayNo          string            `json:"payNo" doc:"Alipay's out_trade_no"`
	OutPayNo       *string           `json:"outPayNo,omitempty" doc:"Alipay's trade_no, once paid"`
	OutPayChannel  models.PayChannel `json:"outPayChannel" doc:"603002 Alipay"`
	OrderID        string            `json:"orderId"`
	OrderName      string            `json:"orderName"`
	TotalPrice     Price             `json:"totalPrice"`
	Currency       string            `json:"currency" example:"CNY"`
	CreateDate     Date              `json:"createDate"`
	ExpireDate     Date              `json:"expireDate" doc:"Until when it can be paid"`
	Status         models.PayStatus  `json:"status" doc:"601001 unpaid, 601002 paid, 601003 refunded"`
	PaySuccessTime *Date             `json:"paySuccessTime,omitempty"`
	UserID         string            `json:"userId"`
	QRCode         string            `json:"qrcode,omitempty" doc:"data:image/png;base64, 200×200"`
}

func viewPayRecord(r models.PayRecord) PayRecord {
	return PayRecord{
		ID: r.ID.String(), PayNo: r.PayNo.String(), OutPayNo: r.OutPayNo, OutPayChannel: r.OutPayChannel,
		OrderID: r.OrderID.String(), OrderName: r.OrderName, TotalPrice: Price(r.TotalPrice), Currency: r.Currency,
		CreateDate: dateOf(r.CreateDate), ExpireDate: dateOf(r.ExpireDate), Status: r.Status,
		PaySuccessTime: maybeDate(r.PaySuccessTime), UserID: r.UserID,
	}
}

func viewPayCode(c models.PayCode) PayRecord {
	return PayRecord{
		ID: c.ID.String(), PayNo: c.PayNo.String(), OutPayChannel: c.PayChannel, OrderID: c.OrderID.String(),
		OrderName: c.OrderName, TotalPrice: Price(c.TotalPrice), Currency: c.Currency, CreateDate: dateOf(c.CreateDate),
		ExpireDate: dateOf(c.ExpireDate), Status: c.Status, UserID: c.UserID, QRCode: c.QRCode,
	}
}

// flexible is a string that JavaScript may have sent as a number.
type flexible string

func (f *flexible) UnmarshalJSON(text []byte) error {
	if !bytes.HasPrefix(text, []byte(`"`)) {
		*f = flexible(text)
		return nil
	}
	return json.Unmarshal(text, (*string)(f))
}
