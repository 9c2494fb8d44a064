// Package buyer is a learner at a desk and a phone in a hand, over HTTP and pictures alone: what the demo and the
// end-to-end tests buy courses with.
package buyer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Learner calls the API as the XueCheng front end does.
type Learner struct {
	api   string
	token string
	http  *http.Client
}

// NewLearner is the learner whom the token names; api is the API's base URL.
func NewLearner(api, token string) *Learner {
	return &Learner{api: strings.TrimSuffix(api, "/"), token: token, http: &http.Client{Timeout: 30 * time.Second}}
}

// Course is a course on offer. Price is kept as it was written.
type Course struct {
	ID, Name string
	Charge   string
	Price    json.Number
}

// Choice is a chosen course.
type Choice struct {
	ID, CourseID, CourseName string
	CoursePrice              json.Number
	Status, LearnStatus      string
}

// PayRecord is a pay record; QRCode is a data URL.
type PayRecord struct {
	ID, PayNo, OutPayNo, OrderID, OrderName string
	TotalPrice                              json.Number
	Status, PaySuccessTime, QRCode          string
}

// Enrolment is what the learner may do with a course.
type Enrolment struct {
	ChooseCourseID, LearnStatus, ValidtimeStart, ValidtimeEnd string
}

// Refusal is an answer that is not a success.
type Refusal struct {
	Status     int
	ErrMessage string
	Code       string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("HTTP %d %s: %s", r.Status, r.Code, r.ErrMessage)
}

// Courses lists what is on offer.
func (l *Learner) Courses(ctx context.Context) ([]Course, error) {
	var courses []Course
	return courses, l.call(ctx, http.MethodGet, "/content/courses", nil, &courses)
}

// Choose chooses a course (马上学习).
func (l *Learner) Choose(ctx context.Context, courseID string) (Choice, error) {
	var choice Choice
	return choice, l.call(ctx, http.MethodPost, "/learning/choosecourse/"+courseID, nil, &choice)
}

// LearnStatus asks what the learner may do with a course.
func (l *Learner) LearnStatus(ctx context.Context, courseID string) (Enrolment, error) {
	var e Enrolment
	return e, l.call(ctx, http.MethodPost, "/learning/choosecourse/learnstatus/"+courseID, nil, &e)
}

// RequestCode asks for a QR code to pay a choice with (支付宝支付), with the body that the front end sends.
func (l *Learner) RequestCode(ctx context.Context, c Choice) (PayRecord, error) {
	detail, err := json.Marshal([]map[string]any{{
		"goodsId": c.CourseID, "goodsType": "60201", "goodsName": c.CourseName, "goodsPrice": c.CoursePrice,
	}})
	if err != nil {
		return PayRecord{}, err
	}
	var record PayRecord
	return record, l.call(ctx, http.MethodPost, "/orders/generatepaycode", map[string]any{
		"totalPrice": c.CoursePrice, "orderType": "60201", "orderName": c.CourseName, "orderDescrip": "",
		"orderDetail": string(detail), "outBusinessId": c.ID,
	}, &record)
}

// PayResult asks how a payment stands (支付完成).
func (l *Learner) PayResult(ctx context.Context, payNo string) (PayRecord, error) {
	var record PayRecord
	return record, l.call(ctx, http.MethodGet, "/orders/payresult?payNo="+payNo, nil, &record)
}

func (l *Learner) call(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, l.api+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+l.token)
	if body == nil {
		request.Body, request.ContentLength = http.NoBody, 0
	} else {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := l.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		refusal := &Refusal{Status: response.StatusCode}
		if err := json.Unmarshal(answer, refusal); err != nil {
			return fmt.Errorf("%s %s: HTTP %d, and the body is no error of ours: %.200q", method, path, response.StatusCode, answer)
		}
		return fmt.Errorf("%s %s: %w", method, path, refusal)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}
