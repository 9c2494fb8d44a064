package client

import (
	"context"
	"net/http"
	"net/url"
)

// Courses lists the courses on offer. No log-in.
func (c *Client) Courses(ctx context.Context) ([]Course, error) {
	return get[[]Course](ctx, c, nil, "/content/courses")
}

// Course is one of them. No log-in.
func (c *Client) Course(ctx context.Context, id string) (Course, error) {
	return get[Course](ctx, c, nil, "/content/courses/"+url.PathEscape(id))
}

// Materials lists the learning materials on offer. No log-in.
func (c *Client) Materials(ctx context.Context) ([]Material, error) {
	return get[[]Material](ctx, c, nil, "/content/materials")
}

// ChooseCourse chooses a course (马上学习). A free one is enrolled at once, a paid one waits for its payment. A repeat finds
// the same choice.
func (c *Client) ChooseCourse(ctx context.Context, courseID string) (ChooseCourse, error) {
	return post[ChooseCourse](ctx, c, "/learning/choosecourse/"+url.PathEscape(courseID))
}

// LearnStatus tells what the learner may do with a course. Without an enrolment only LearnStatus is filled.
func (c *Client) LearnStatus(ctx context.Context, courseID string) (Enrolment, error) {
	return post[Enrolment](ctx, c, "/learning/choosecourse/learnstatus/"+url.PathEscape(courseID))
}

// MyCourses lists the learner's courses (我的课程).
func (c *Client) MyCourses(ctx context.Context, q CourseTableQuery) (CoursePage, error) {
	return get[CoursePage](ctx, c, filled(
		"page", number(q.Page), "size", number(q.Size), "courseType", q.CourseType, "sortType", q.SortType, "expiresType", q.ExpiresType,
	), "/learning/mycoursetable")
}

// ChooseMaterial chooses a learning material, which then waits for its payment. A repeat finds the same choice.
func (c *Client) ChooseMaterial(ctx context.Context, materialID string) (ChooseMaterial, error) {
	return post[ChooseMaterial](ctx, c, "/learning/choosematerial/"+url.PathEscape(materialID))
}

// MyMaterials lists the materials that the learner may download, the latest first.
func (c *Client) MyMaterials(ctx context.Context, p Page) (MaterialPage, error) {
	return get[MaterialPage](ctx, c, p.query(), "/learning/mymaterials")
}

// PayCode gets a QR code to pay with (支付宝支付). Each call makes a new pay record and closes the older ones, but under the
// same IdempotencyKey it finds the same.
func (c *Client) PayCode(ctx context.Context, r PayCodeRequest) (record PayRecord, err error) {
	return record, c.ask(ctx, question{
		method: http.MethodPost, path: "/orders/generatepaycode", key: c.keyFor(r.IdempotencyKey), body: r,
	}, &record)
}

// PayResult tells how a payment stands, after asking Alipay if need be (支付完成).
func (c *Client) PayResult(ctx context.Context, payNo string) (PayRecord, error) {
	return get[PayRecord](ctx, c, filled("payNo", payNo), "/orders/payresult")
}

// MyOrders lists the learner's orders, newest first.
func (c *Client) MyOrders(ctx context.Context, q OrderQuery) (OrderPage, error) {
	return get[OrderPage](ctx, c, filled("page", number(q.Page), "size", number(q.Size), "status", q.Status), "/orders/my")
}

// Order is one of them.
func (c *Client) Order(ctx context.Context, id string) (Order, error) {
	return get[Order](ctx, c, nil, "/orders/"+url.PathEscape(id))
}

// CancelOrder cancels an unpaid order. One that is closed already stays closed; one that turns out to be paid is refused
// with CodeOrderPaid.
func (c *Client) CancelOrder(ctx context.Context, id string) (Order, error) {
	return post[Order](ctx, c, "/orders/"+url.PathEscape(id)+"/cancel")
}
