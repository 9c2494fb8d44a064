// Package buyer is a learner at a desk and a phone in a hand, over HTTP and pictures alone: what the demo and the
// end-to-end tests buy courses with.
package buyer

import (
	"context"

	"coursepay/client"
)

// What a learner sees is what the API's client tells.
type (
	// Choice is a chosen course.
	Choice = client.ChooseCourse
	// PayRecord is a pay record; QRCode is a data URL.
	PayRecord = client.PayRecord
	// Enrolment is what the learner may do with a course.
	Enrolment = client.Enrolment
	// Refusal is an answer that is not a success.
	Refusal = client.Error
)

// Learner calls the API as the XueCheng front end does: once, so that whatever is refused shows.
type Learner struct{ *client.Client }

// NewLearner is the learner whom the token names; api is the API's base URL.
func NewLearner(api, token string) *Learner {
	return &Learner{client.New(client.Config{URL: api, Token: client.StaticToken(token), Tries: 1})}
}

// Choose chooses a course (马上学习).
func (l *Learner) Choose(ctx context.Context, courseID string) (Choice, error) {
	return l.ChooseCourse(ctx, courseID)
}

// RequestCode asks for a QR code to pay a choice with (支付宝支付), with the body that the front end sends.
func (l *Learner) RequestCode(ctx context.Context, c Choice) (PayRecord, error) {
	return l.PayCode(ctx, c.PayCode())
}
