package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"coursepay/models"
)

// Error is the body of every answer that is not a success.
type Error struct {
	ErrMessage string      `json:"errMessage" doc:"What went wrong, for users" example:"订单已支付"`
	Code       models.Code `json:"code" doc:"What went wrong, for programs" example:"ORDER_PAID"`

	status int
}

func (e *Error) Error() string { return string(e.Code) }

// GetStatus is the HTTP status.
func (e *Error) GetStatus() int { return e.status }

// statuses gives each refusal its HTTP status. A code that is not here is a fault of ours: 500.
var statuses = map[models.Code]int{
	models.CodeUnauthorized:      http.StatusUnauthorized,
	models.CodeForbidden:         http.StatusForbidden,
	models.CodeInvalid:           http.StatusBadRequest,
	models.CodeNotFound:          http.StatusNotFound,
	models.CodeCourseNotFound:    http.StatusNotFound,
	models.CodeChooseNotFound:    http.StatusNotFound,
	models.CodePayRecordNotFound: http.StatusNotFound,
	models.CodeOrderTypeUnknown:  http.StatusBadRequest,
	models.CodePriceMismatch:     http.StatusBadRequest,
	models.CodeGoodsMismatch:     http.StatusBadRequest,
	models.CodePriceChanged:      http.StatusConflict,
	models.CodeOrderPaid:         http.StatusConflict,
	models.CodeOrderRefunded:     http.StatusConflict,
	models.CodeOrderNotPaid:      http.StatusConflict,
	models.CodeRefundTooMuch:     http.StatusConflict,
	models.CodeRefundDiffers:     http.StatusConflict,
	models.CodeMaterialNotFound:  http.StatusNotFound,
	models.CodeDecided:           http.StatusConflict,
	models.CodePaymentDone:       http.StatusConflict,
	models.CodePayCodeExpired:    http.StatusGone,
	models.CodeTooMany:           http.StatusTooManyRequests,
	models.CodeTooLarge:          http.StatusRequestEntityTooLarge,
	models.CodeUnavailable:       http.StatusServiceUnavailable,
	models.CodeInternal:          http.StatusInternalServerError,
}

func errorOf(code models.Code) *Error {
	status, known := statuses[code]
	if !known {
		code, status = models.CodeInternal, http.StatusInternalServerError
	}
	return &Error{ErrMessage: code.Message(), Code: code, status: status}
}

// Seconds after which a caller should ask again who was told that the service is not available, or busy. They differ, so
// that not all who were refused at one moment come back at one moment.
const (
	retrySoonest = 2
	retryLatest  = 5
)

func retryAfter() string {
	return strconv.Itoa(retrySoonest + rand.N(retryLatest-retrySoonest+1)) //nolint:gosec // a pause is no secret
}

// passes says that an error is over by itself: the answer then says when to ask again.
func passes(status int) bool {
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}

// told is an error's answer with everything that belongs to it.
func told(answer *Error) error {
	if !passes(answer.status) {
		return answer
	}
	return huma.ErrorWithHeaders(answer, http.Header{"Retry-After": {retryAfter()}})
}

// fail turns an error into an answer, once: a refusal is told as it is, anything else is logged and told as "try again".
func (s *Server) fail(ctx context.Context, doing string, err error) error {
	code, refused := models.RefusalCode(err)
	switch {
	case refused && code != models.CodeUnavailable:
		s.log.DebugContext(ctx, doing+" refused", "reason", err)
		return told(errorOf(code))
	case refused, errors.Is(err, context.DeadlineExceeded), models.Unreachable(err):
		s.log.WarnContext(ctx, doing+" is not available", "error", err)
		return told(errorOf(models.CodeUnavailable))
	default:
		s.log.ErrorContext(ctx, doing+" failed", "error", err)
		return errorOf(models.CodeInternal)
	}
}

// frameworkError gives the framework's own errors, such as a body that does not fit its schema, our shape.
func frameworkError(status int, _ string, errs ...error) huma.StatusError {
	code := models.CodeInternal
	switch {
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		code = models.CodeNotFound
	case status == http.StatusServiceUnavailable:
		code = models.CodeUnavailable
	case status == http.StatusRequestEntityTooLarge:
		code = models.CodeTooLarge
	case status == http.StatusUnauthorized:
		code = models.CodeUnauthorized
	case status == http.StatusForbidden:
		code = models.CodeForbidden
	case status >= 400 && status < 500:
		code = models.CodeInvalid
	}
	answer := errorOf(code)
	if places := faultyPlaces(errs); code == models.CodeInvalid && places != "" {
		answer.ErrMessage += "：" + places
	}
	return answer
}

// faultyPlaces names the fields that do not fit, such as "body.totalPrice".
func faultyPlaces(errs []error) string {
	var places []string
	for _, err := range errs {
		var detail *huma.ErrorDetail
		if errors.As(err, &detail) && detail.Location != "" && len(detail.Location) < 64 {
			places = append(places, detail.Location)
		}
	}
	return strings.Join(places, ", ")
}
