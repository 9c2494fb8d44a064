package worker

import (
	"context"
	"errors"
	"time"

	"coursepay/activities"
	"coursepay/internal/alipay"
	"coursepay/models"
)

// Alipay is what the reconciler asks.
type Alipay struct{ *alipay.Client }

// subNoBillData is Alipay's word for a day without trades; BILL_NOT_EXIST may also mean "not yet".
const subNoBillData = "NO_BILL_DATA"

// DayBill gives the rows of a day's trade bill, as activities.Teller says.
func (a Alipay) DayBill(ctx context.Context, day time.Time) ([]models.BillRow, error) {
	bill, err := a.Bill(ctx, day)
	if failed, ok := errors.AsType[*alipay.Error](err); ok && failed.SubCode == subNoBillData {
		return nil, nil
	}
	switch {
	case errors.Is(err, alipay.ErrNoBill):
		return nil, activities.ErrBillNotReady
	case errors.Is(err, alipay.ErrBillAddress), errors.Is(err, alipay.ErrBillMalformed):
		return nil, models.Refuse(models.CodeBillRefused, "%v", err)
	case err != nil:
		return nil, err
	}
	rows := make([]models.BillRow, len(bill.Rows))
	for i, row := range bill.Rows {
		rows[i] = models.BillRow{
			Kind: models.BillKind(row.Kind), PayNo: row.PayNo, TradeNo: row.TradeNo, RequestNo: row.RequestNo, Amount: row.Amount,
		}
	}
	return rows, nil
}
