package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Error is an answer that is not a success.
type Error struct {
	// Method and Path are what was asked.
	Method, Path string
	// Status is the HTTP status.
	Status int
	// Code is for programs: one of the constants CodeUnauthorized and so on. Empty when somebody else answered, such as a
	// proxy on the way.
	Code string `json:"code"`
	// ErrMessage is for users, in Chinese.
	ErrMessage string `json:"errMessage"`
	// RetryAfter is when the service wants to be asked again; 0 when it does not say.
	RetryAfter time.Duration `json:"-"`
}

// Error says it in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("%s %s: HTTP %d %s: %s", e.Method, e.Path, e.Status, e.Code, e.ErrMessage)
}

// The codes of an Error.
const (
	CodeUnauthorized      = "UNAUTHORIZED"            // 401: no token, or none that is good
	CodeForbidden         = "FORBIDDEN"               // 403: for operators only
	CodeInvalid           = "INVALID_REQUEST"         // 400
	CodeNotFound          = "NOT_FOUND"               // 404, also for what is somebody else's
	CodeCourseNotFound    = "COURSE_NOT_FOUND"        // 404
	CodeMaterialNotFound  = "MATERIAL_NOT_FOUND"      // 404
	CodeChooseNotFound    = "CHOOSE_COURSE_NOT_FOUND" // 404
	CodePayRecordNotFound = "PAY_RECORD_NOT_FOUND"    // 404
	CodeOrderTypeUnknown  = "ORDER_TYPE_UNKNOWN"      // 400
	CodePriceMismatch     = "PRICE_MISMATCH"          // 400: not the price of what is bought
	CodeGoodsMismatch     = "GOODS_MISMATCH"          // 400: orderDetail names something else
	CodePriceChanged      = "PRICE_CHANGED"           // 409: choose again
	CodeOrderPaid         = "ORDER_PAID"              // 409
	CodeOrderRefunded     = "ORDER_REFUNDED"          // 409: choose again
	CodeOrderNotPaid      = "ORDER_NOT_PAID"          // 409: nothing to give back
	CodeRefundTooMuch     = "REFUND_TOO_MUCH"         // 409
	CodeRefundDiffers     = "REFUND_DIFFERS"          // 409: the key names another refund
	CodeDecided           = "ALREADY_DECIDED"         // 409
	CodePaymentDone       = "PAYMENT_DONE"            // 409: the code is paid
	CodePayCodeExpired    = "PAY_CODE_EXPIRED"        // 410: ask for a new code
	CodeTooMany           = "TOO_MANY_REQUESTS"       // 429
	CodeTooLarge          = "BODY_TOO_LARGE"          // 413
	CodeUnavailable       = "UNAVAILABLE"             // 503: the same request later
	CodeInternal          = "INTERNAL"                // 500
)

func refusal(q question, response *http.Response, body []byte) *Error {
	e := &Error{RetryAfter: retryAfter(response.Header.Get("Retry-After"), time.Now())}
	if json.Unmarshal(body, e) != nil { // somebody else's words
		e.Code, e.ErrMessage = "", http.StatusText(response.StatusCode)
	}
	e.Method, e.Path, e.Status = q.method, q.path, response.StatusCode
	return e
}

// retryAfter reads seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}
