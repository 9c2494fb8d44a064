package models_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coursepay/models"
)

func TestParseMoneyIsExactAndStrict(t *testing.T) {
	t.Parallel()
	for text, fen := range map[string]models.Money{
		"1": 100, "1.0": 100, "1.00": 100, "0": 0, "0.01": 1, "0.53": 53, "0.52": 52, "49.9": 4990, "100000000": models.MaxMoney,
	} {
		got, err := models.ParseMoney(text)
		require.NoError(t, err, text)
		require.Equal(t, fen, got, text)
	}
	for _, text := range []string{
		"", "1e0", "0.999", "-1", "+1", " 1", "1 ", "1.", ".5", "01", "0x1", "1,00", "NaN", "100000000.01", "999999999", "１",
	} {
		_, err := models.ParseMoney(text)
		require.ErrorIs(t, err, models.ErrMoney, text)
	}
}

func FuzzParseMoney(f *testing.F) {
	for _, text := range []string{"0", "1.00", "49.9", "1e0", "-1", "100000000.01", "0x1", "１"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := models.ParseMoney(text)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, m, models.Money(0))
		require.LessOrEqual(t, m, models.MaxMoney)
		again, err := models.ParseMoney(m.String())
		require.NoError(t, err)
		require.Equal(t, m, again)
		require.True(t, strings.HasPrefix(m.String(), text), "what was read is what was written, but for missing decimals")
	})
}

func TestMoneyInJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(models.Money(4990))
	require.NoError(t, err)
	require.Equal(t, "49.90", string(text))
	for _, same := range []string{`49.9`, `49.90`, `"49.9"`} {
		var m models.Money
		require.NoError(t, json.Unmarshal([]byte(same), &m), same)
		require.Equal(t, models.Money(4990), m)
	}
	for _, bad := range []string{`4.99e1`, `null`, `true`, `"`, `-49.9`, `49.901`} {
		var m models.Money
		require.Error(t, json.Unmarshal([]byte(bad), &m), bad)
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	id, err := models.ParseID("9223372036854775807")
	require.NoError(t, err)
	require.Equal(t, "9223372036854775807", id.String())
	for _, text := range []string{"", "0", "-1", "+1", "01", "9223372036854775808", "99999999999999999999", "1.0", "abc", " 1"} {
		_, err := models.ParseID(text)
		require.ErrorIs(t, err, models.ErrID, text)
	}
}
