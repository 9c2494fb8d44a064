package alipay

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"coursepay/models"
)

const (
	methodQuery = "alipay.trade.query"
	methodClose = "alipay.trade.close"
	subNotExist = "ACQ.TRADE_NOT_EXIST"
)

// notWaiting are the answers of alipay.trade.close for a trade that is past WAIT_BUYER_PAY, paid ones included.
var notWaiting = []string{"ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID", "ACQ.REASON_ILLEGAL_STATUS"}

// payNoText is Alipay's rule for out_trade_no.
var payNoText = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// beijing is the zone of every date that Alipay sends or takes. China has had no summer time since 1991.
var beijing = time.FixedZone("GMT+8", 8*60*60)

// dateLayout also reads a fraction of a second, which some notifies carry.
const dateLayout = "2006-01-02 15:04:05"

// QueryTrade asks Alipay for the state of a pay number (alipay.trade.query). A trade that does not exist yet is no
// error: Status is models.TradeNotExist. Errors are *Error, unless payNo cannot be a pay number.
func (c *Client) QueryTrade(ctx context.Context, payNo string) (models.Trade, error) {
	r, err := about(methodQuery, payNo)
	if err != nil {
		return models.Trade{}, err
	}
	var found struct {
		TradeNo     string `json:"trade_no"`
		TradeStatus string `json:"trade_status"`
		TotalAmount string `json:"total_amount"`
		SendPayDate string `json:"send_pay_date"`
	}
	err = c.call(ctx, r, &found)
	if refusedWith(err, subNotExist) {
		return models.Trade{PayNo: payNo, Status: models.TradeNotExist}, nil
	}
	if err != nil {
		return models.Trade{}, err
	}
	trade := models.Trade{PayNo: payNo, TradeNo: found.TradeNo, Status: models.TradeStatus(found.TradeStatus)}
	trade.Amount, err = models.ParseMoney(found.TotalAmount)
	if err != nil || trade.TradeNo == "" || !known(trade.Status) {
		return models.Trade{}, noAnswer(methodQuery, fmt.Errorf("%w: number, status or amount", ErrMalformedAnswer))
	}
	if trade.PaidAt, err = parseDate(found.SendPayDate); err != nil {
		return models.Trade{}, noAnswer(methodQuery, fmt.Errorf("%w: send_pay_date", ErrMalformedAnswer))
	}
	return trade, nil
}

// CloseTrade closes an unpaid trade (alipay.trade.close). That Alipay knows no such trade, or that it cannot be closed
// any more, are outcomes and not errors; neither of them says that nobody has paid or will. Errors are *Error, unless
// payNo cannot be a pay number.
func (c *Client) CloseTrade(ctx context.Context, payNo string) (models.CloseOutcome, error) {
	r, err := about(methodClose, payNo)
	if err != nil {
		return "", err
	}
	err = c.call(ctx, r, &struct{}{})
	switch {
	case err == nil:
		return models.CloseDone, nil
	case refusedWith(err, subNotExist):
		return models.CloseNotExist, nil
	case refusedWith(err, notWaiting...):
		return models.CloseNotWaiting, nil
	default:
		return "", err
	}
}

// refusedWith is true for a verified refusal only: an unsigned one is Temporary, whatever sub_code it claims.
func refusedWith(err error, subCodes ...string) bool {
	refused, ok := errors.AsType[*Error](err)
	return ok && !refused.Temporary() && slices.Contains(subCodes, refused.SubCode)
}

func known(s models.TradeStatus) bool {
	return s == models.TradeWaitBuyerPay || s == models.TradeClosed || s.Paid()
}

// parseDate reads Alipay's "yyyy-MM-dd HH:mm:ss"; empty text is the zero time.
func parseDate(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.ParseInLocation(dateLayout, text, beijing)
}
