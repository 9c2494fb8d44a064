package models

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
)

// ID is a snowflake id. In JSON it is a string, because JavaScript's numbers lose the last digits of 64 bits.
type ID int64

// ErrID is returned for text that is not a positive decimal number of at most 63 bits.
var ErrID = errors.New("not an id")

var idText = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)

// ParseID reads an id as it stands in a URL or in JSON.
func ParseID(text string) (ID, error) {
	if !idText.MatchString(text) {
		return 0, ErrID
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, ErrID
	}
	return ID(n), nil
}

// String is the id in decimal.
func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// MarshalText makes the id a JSON string; no id is the empty string.
func (id ID) MarshalText() ([]byte, error) {
	if id == 0 {
		return []byte{}, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*id = 0
		return nil
	}
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// UnmarshalJSON takes a string, and a bare number too: people who type an id by hand leave out the quotes.
func (id *ID) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	return id.UnmarshalText(bytes.Trim(text, `"`))
}
