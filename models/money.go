package models

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"

	"github.com/shopspring/decimal"
)

// Money is an amount of yuan, kept as whole fen so that sums and comparisons are exact.
// In Postgres it is numeric(12,2), in JSON a number with two decimals.
type Money int64

// MaxMoney is Alipay's largest total_amount: 100 000 000 yuan.
const MaxMoney Money = 100_000_000_00

// ErrMoney is returned for text that is not a plain, non-negative amount of yuan with at most two decimals.
var ErrMoney = errors.New("not an amount of money")

var moneyText = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?$`)

// ParseMoney reads yuan such as "1", "1.0" or "1.00", which are equal. Signs, exponents, spaces, leading zeros and
// more than two decimals are refused with ErrMoney: an amount that needs guessing is not an amount.
func ParseMoney(text string) (Money, error) {
	if !moneyText.MatchString(text) {
		return 0, ErrMoney
	}
	yuan, err := decimal.NewFromString(text)
	if err != nil {
		return 0, ErrMoney
	}
	m := Money(yuan.Shift(2).IntPart())
	if m > MaxMoney {
		return 0, ErrMoney
	}
	return m, nil
}

// String gives yuan with two decimals, the form that Alipay and Postgres take.
func (m Money) String() string { return decimal.New(int64(m), -2).StringFixed(2) }

// MarshalJSON writes a JSON number with two decimals.
func (m Money) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON takes a JSON number or a string, by the rules of ParseMoney.
func (m *Money) UnmarshalJSON(text []byte) error {
	if n := len(text); n >= 2 && text[0] == '"' && text[n-1] == '"' {
		text = text[1 : n-1]
	}
	parsed, err := ParseMoney(string(text))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}

// Scan reads a numeric column.
func (m *Money) Scan(src any) error {
	var text string
	switch v := src.(type) {
	case string:
		text = v
	case []byte:
		text = string(v)
	default:
		return fmt.Errorf("money from %T: %w", src, ErrMoney)
	}
	parsed, err := ParseMoney(text)
	if err != nil {
		return fmt.Errorf("money from %q: %w", text, err)
	}
	*m = parsed
	return nil
}

// Value writes a numeric column.
func (m Money) Value() (driver.Value, error) { return m.String(), nil }
