package alipay

import (
	"errors"
	"slices"
	"strings"
)

// Why there is no answer to believe. Each comes wrapped in an *Error that is Temporary.
var (
	// ErrForgedAnswer: what came back claims to be Alipay's and is not, or answers another question.
	ErrForgedAnswer = errors.New("alipay: forged answer")
	// ErrUnsignedAnswer: a business error without a signature. Alipay itself sends these only before it knows the
	// application (isv.invalid-app-id and its like); nothing irreversible may rest on one.
	ErrUnsignedAnswer = errors.New("alipay: unsigned answer")
	// ErrMalformedAnswer: not the JSON that the method promises.
	ErrMalformedAnswer = errors.New("alipay: malformed answer")
	// ErrGatewayStatus: an HTTP status other than 200.
	ErrGatewayStatus = errors.New("alipay: gateway answered with another status than 200")
)

// Kind says what an error leaves behind at Alipay and so what to do next.
type Kind string

const (
	// KindFinal means that Alipay has refused, and will refuse the same request again.
	KindFinal Kind = "final"
	// KindUnknown means that the call may or may not have taken effect. Query and close: try again. Refund: the same
	// out_request_no and the same amount again, or ask QueryRefund; never a new number.
	KindUnknown Kind = "unknown"
	// KindThrottled means refused for being too many. Try again later, and slower.
	KindThrottled Kind = "throttled"
)

// Error is every failure of a call to the gateway: Alipay's own words, or the reason why there are none.
type Error struct {
	Method  string // alipay.trade.query, …
	Code    string // Alipay's code, such as 40004; empty when there is no answer to believe
	SubCode string // Alipay's sub_code, such as ACQ.SYSTEM_ERROR
	Msg     string // Alipay's sub_msg, else msg, shortened
	Kind    Kind
	cause   error
}

func (e *Error) Error() string {
	parts := []string{e.Method + ":"}
	if e.cause != nil {
		parts = append(parts, e.cause.Error())
	}
	parts = append(parts, e.Code, e.SubCode, e.Msg, "("+string(e.Kind)+")")
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), " ")
}

// Unwrap gives the transport's error, or one of the package's Err… values.
func (e *Error) Unwrap() error { return e.cause }

// Temporary says that the outcome is unknown or the call was throttled: repeat it, do not conclude from it.
func (e *Error) Temporary() bool { return e.Kind != KindFinal }

// noAnswer is an error for everything that kept a believable answer from us.
func noAnswer(method string, cause error) *Error {
	return &Error{Method: method, Kind: KindUnknown, cause: cause}
}

// refusal is an error for a business answer whose signature was verified.
func refusal(method string, a answer) *Error {
	return &Error{Method: method, Code: a.Code, SubCode: a.SubCode, Msg: a.message(), Kind: classify(a.Code, a.SubCode)}
}

// classify is Alipay's retry rule: 20000, SYSTEM_ERROR and the bill's UNKNOW_ERROR mean unknown, 40005 means slow down, every other 4xxxx and an
// invalid token (20001) is final. A code that nobody has told us of proves nothing, so it is unknown.
func classify(code, subCode string) Kind {
	switch {
	case code == "40005" || subCode == "isv.app-call-limited":
		return KindThrottled
	case strings.HasSuffix(subCode, "SYSTEM_ERROR") || subCode == "UNKNOW_ERROR" || strings.HasPrefix(subCode, "isp."):
		return KindUnknown
	case code == "20001" || (len(code) == 5 && code[0] == '4'):
		return KindFinal
	default:
		return KindUnknown
	}
}
