package models

import (
	"errors"
	"fmt"
)

// Code names a refusal for programs; it is the "code" of an error's body.
type Code string

// The refusals that a user can meet. What each is called in public stands in one place: messages.
const (
	CodeUnauthorized      Code = "UNAUTHORIZED"
	CodeForbidden         Code = "FORBIDDEN"
	CodeInvalid           Code = "INVALID_REQUEST"
	CodeNotFound          Code = "NOT_FOUND"
	CodeCourseNotFound    Code = "COURSE_NOT_FOUND"
	CodeChooseNotFound    Code = "CHOOSE_COURSE_NOT_FOUND"
	CodePayRecordNotFound Code = "PAY_RECORD_NOT_FOUND"
	CodeOrderTypeUnknown  Code = "ORDER_TYPE_UNKNOWN"
	CodePriceMismatch     Code = "PRICE_MISMATCH"
	CodePriceChanged      Code = "PRICE_CHANGED"
	CodeGoodsMismatch     Code = "GOODS_MISMATCH"
	CodeOrderPaid         Code = "ORDER_PAID"
	CodeOrderRefunded     Code = "ORDER_REFUNDED"
	CodeOrderNotPaid      Code = "ORDER_NOT_PAID"
	CodeRefundTooMuch     Code = "REFUND_TOO_MUCH"
	CodeRefundDiffers     Code = "REFUND_DIFFERS"
	CodeMaterialNotFound  Code = "MATERIAL_NOT_FOUND"
	CodeDecided           Code = "ALREADY_DECIDED"
	CodePaymentDone       Code = "PAYMENT_DONE"
	CodePayCodeExpired    Code = "PAY_CODE_EXPIRED"
	CodeTooMany           Code = "TOO_MANY_REQUESTS"
	CodeTooLarge          Code = "BODY_TOO_LARGE"
	CodeUnavailable       Code = "UNAVAILABLE"
	CodeInternal          Code = "INTERNAL"

	// Met by the workflow alone: a payment that does not fit the books waits for an operator.
	CodeAmountDiffers Code = "AMOUNT_DIFFERS"
	CodeTradeDiffers  Code = "TRADE_DIFFERS"
	// Met by a refund's workflow alone: Alipay will not give the money back.
	CodeRefundRefused Code = "REFUND_REFUSED"
	// Met by reconciliation alone: what is offered as Alipay's bill is not one.
	CodeBillRefused Code = "BILL_REFUSED"
)

var messages = map[Code]string{
	CodeUnauthorized:      "请登录后继续选课",
	CodeForbidden:         "没有操作权限",
	CodeInvalid:           "请求参数有误",
	CodeNotFound:          "请求的内容不存在",
	CodeCourseNotFound:    "课程不存在或未发布",
	CodeChooseNotFound:    "选课记录不存在",
	CodePayRecordNotFound: "支付记录不存在",
	CodeOrderTypeUnknown:  "不支持的订单类型",
	CodePriceMismatch:     "订单金额与商品价格不一致",
	CodePriceChanged:      "价格已变化，请重新选择",
	CodeGoodsMismatch:     "订单明细与所选课程不一致",
	CodeOrderPaid:         "订单已支付",
	CodeOrderRefunded:     "订单已退款，请重新选课",
	CodeOrderNotPaid:      "订单未支付，不能退款",
	CodeRefundTooMuch:     "退款金额超过可退金额",
	CodeRefundDiffers:     "同一退款请求号的内容不一致",
	CodeMaterialNotFound:  "学习资料不存在或未发布",
	CodeDecided:           "已有处理结果，请刷新查看",
	CodePaymentDone:       "支付已经成功，无需重复支付",
	CodePayCodeExpired:    "请重新点击获取二维码",
	CodeTooMany:           "操作过于频繁，请稍后再试",
	CodeTooLarge:          "请求内容过大",
	CodeUnavailable:       "支付服务暂不可用，请稍后再试",
	CodeInternal:          "执行过程异常，请重试",
	CodeAmountDiffers:     "支付金额与订单金额不一致",
	CodeRefundRefused:     "支付宝拒绝退款",
	CodeBillRefused:       "账单不可信，未采用",
	CodeTradeDiffers:      "支付记录已由另一笔交易支付",
}

// Message is what a user reads.
func (c Code) Message() string { return messages[c] }

// Refusal is a final, understood "no": repeating the same request gives the same answer. Anything else that goes wrong
// is an ordinary error and may pass by itself.
type Refusal struct {
	Code   Code
	Detail string // for logs and operators; never shown to a user
}

// Refuse makes a refusal; the detail is formatted as by fmt.Sprintf.
func Refuse(code Code, detail string, args ...any) error {
	return &Refusal{Code: code, Detail: fmt.Sprintf(detail, args...)}
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return string(r.Code)
	}
	return string(r.Code) + ": " + r.Detail
}

// RefusalCode finds the refusal in an error's chain.
func RefusalCode(err error) (Code, bool) {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Code, true
	}
	return "", false
}
