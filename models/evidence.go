package models

import "context"

// KeepNotify files a callback as evidence, whatever its verdict.
func (s *Store) KeepNotify(ctx context.Context, n PayNotify) error {
	n.Reason = cut(n.Reason, 255)
	return s.db.WithContext(ctx).Create(&n).Error
}
