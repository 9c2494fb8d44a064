package alipay

import (
	"context"
	"fmt"
	"regexp"

	"coursepay/models"
)

const (
	methodRefund      = "alipay.trade.refund"
	methodRefundQuery = "alipay.trade.fastpay.refund.query"
	maxReason         = 256 // characters, Alipay's limit
)

// requestNoText is ours; Alipay only limits the length of an out_request_no.
var requestNoText = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Refund gives money back (alipay.trade.refund). An answer of success is not yet a refund, see models.TradeRefund.
//
// Errors are *Error, unless the request is wrong by itself. After a Temporary one repeat the very same request, number
// and amount, or ask QueryRefund after at least 10 s; another number could pay twice. A final refusal of a repeat says
// nothing about the first try, so ask QueryRefund before believing it. ACQ.SELLER_BALANCE_NOT_ENOUGH is final until
// somebody fills up the account. Leave 3 s between refunds of one trade.
func (c *Client) Refund(ctx context.Context, r models.TradeRefundRequest) (models.TradeRefund, error) {
	ask, err := refundCall(r)
	if err != nil {
		return models.TradeRefund{}, err
	}
	var done struct {
		TradeNo      string `json:"trade_no"`
		FundChange   string `json:"fund_change"`
		RefundFee    string `json:"refund_fee"`
		GmtRefundPay string `json:"gmt_refund_pay"`
	}
	if err := c.call(ctx, ask, &done); err != nil {
		return models.TradeRefund{}, err
	}
	refund := models.TradeRefund{PayNo: r.PayNo, RequestNo: r.RequestNo, TradeNo: done.TradeNo, Refunded: done.FundChange == "Y"}
	refund.TotalRefunded, err = models.ParseMoney(done.RefundFee)
	if err != nil || (refund.Refunded && refund.TotalRefunded < r.Amount) {
		return models.TradeRefund{}, noAnswer(methodRefund, fmt.Errorf("%w: refund_fee", ErrMalformedAnswer))
	}
	if refund.At, err = parseDate(done.GmtRefundPay); err != nil {
		return models.TradeRefund{}, noAnswer(methodRefund, fmt.Errorf("%w: gmt_refund_pay", ErrMalformedAnswer))
	}
	if refund.Refunded {
		refund.Amount = r.Amount
	}
	return refund, nil
}

func refundCall(r models.TradeRefundRequest) (request, error) {
	ask, err := aboutRefund(methodRefund, r.PayNo, r.RequestNo)
	if err != nil {
		return request{}, err
	}
	if r.Amount <= 0 || r.Amount > models.MaxMoney {
		return request{}, fmt.Errorf("%s: %w", methodRefund, fault("Amount", "out of Alipay's range"))
	}
	ask.biz.Set("refund_amount", r.Amount.String())
	if reason := firstRunes(oneLine(r.Reason), maxReason); reason != "" {
		ask.biz.Set("refund_reason", reason)
	}
	return ask, nil
}

func aboutRefund(method, payNo, requestNo string) (request, error) {
	ask, err := about(method, payNo)
	if err != nil {
		return request{}, err
	}
	if !requestNoText.MatchString(requestNo) {
		return request{}, fmt.Errorf("%s: %w", method, fault("RequestNo", "up to 64 letters, digits, underscores or hyphens"))
	}
	ask.biz.Set("out_request_no", requestNo)
	return ask, nil
}

// QueryRefund asks what became of a refund (alipay.trade.fastpay.refund.query). For a request that Alipay does not know,
// or has not carried out, Refunded is false and there is no error. Errors are *Error, unless a number cannot be one.
func (c *Client) QueryRefund(ctx context.Context, payNo, requestNo string) (models.TradeRefund, error) {
	ask, err := aboutRefund(methodRefundQuery, payNo, requestNo)
	if err != nil {
		return models.TradeRefund{}, err
	}
	ask.terse = true // an unknown request number is answered with the bare code
	ask.biz.Set("query_options", []string{"gmt_refund_pay"})
	var found struct {
		OutTradeNo   string `json:"out_trade_no"`
		OutRequestNo string `json:"out_request_no"`
		TradeNo      string `json:"trade_no"`
		RefundAmount string `json:"refund_amount"`
		RefundStatus string `json:"refund_status"`
		GmtRefundPay string `json:"gmt_refund_pay"`
	}
	if err := c.call(ctx, ask, &found); err != nil {
		return models.TradeRefund{}, err
	}
	refund := models.TradeRefund{PayNo: payNo, RequestNo: requestNo, TradeNo: found.TradeNo}
	if found.RefundStatus != "REFUND_SUCCESS" {
		return refund, nil
	}
	if found.OutTradeNo != payNo || found.OutRequestNo != requestNo {
		return models.TradeRefund{}, noAnswer(methodRefundQuery, fmt.Errorf("%w: it is about another refund", ErrForgedAnswer))
	}
	refund.Refunded = true
	if refund.Amount, err = models.ParseMoney(found.RefundAmount); err != nil || refund.Amount == 0 {
		return models.TradeRefund{}, noAnswer(methodRefundQuery, fmt.Errorf("%w: refund_amount", ErrMalformedAnswer))
	}
	if refund.At, err = parseDate(found.GmtRefundPay); err != nil {
		return models.TradeRefund{}, noAnswer(methodRefundQuery, fmt.Errorf("%w: gmt_refund_pay", ErrMalformedAnswer))
	}
	return refund, nil
}
