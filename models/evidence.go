package models

import "context"

// KeepNotify files a callback as evidence, whatever its verdict.
func (s *Store) KeepNotify(ctx context.Context, n PayNotify) error {
	n.Reason = cut(n.Reason, 255)
	return s.db.WithContext(ctx).Create(&n).Error
}

// PaymentDone says whether this trade has paid the attempt, and the message about it has been delivered: there is
// nothing left to do about it.
func (s *Store) PaymentDone(ctx context.Context, record PayRecord, tradeNo string) (bool, error) {
	if record.OutPayNo == nil || *record.OutPayNo != tradeNo {
		return false, nil
	}
	left, err := s.UndeliveredMessages(ctx, record.OrderID)
	return len(left) == 0, err
}
