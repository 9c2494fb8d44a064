package crosscheck

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// telling is what Alipay tells of one trade: its notifies, and what the buyer's browser brings back.
type telling struct{ name, form string }

// decisive are the fields whose change would mean something, as far as a telling has them.
var decisive = []string{
	"app_id", "seller_id", "out_trade_no", "trade_no", "trade_status", "total_amount", "refund_fee", "out_biz_no", "subject",
	"notify_id", "timestamp", "sign",
}

// TestTellings has every client judge notifies and returns: genuine ones, and ones with one byte changed.
func TestTellings(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		w := newWorld(t, mode, `{}`)
		for _, v := range values {
			t.Run(string(mode)+"/"+v.name, func(t *testing.T) {
				t.Parallel()
				told := tellAll(t, w, v)
				for _, k := range kinds {
					for _, n := range told {
						if k.ours && n.name == "return" {
							continue // it proves nothing, so our client does not look at it
						}
						t.Run(k.name+"/"+n.name, func(t *testing.T) { judge(t, w, k, v, n) })
					}
				}
			})
		}
	}
}

// tellAll takes a trade through its life.
func tellAll(t *testing.T, w *world, v value) []telling {
	t.Helper()
	s := scene{t, w, newNumber(), v}
	s.paid()
	told := []telling{{"payment", w.door.next(t, s.number)}, {"return", w.returned(t, s.number)}}
	w.prepare(t, refund, s.biz("refund_amount", "8.80", "out_request_no", v.text))
	told = append(told, telling{"partial refund", w.door.next(t, s.number)})
	w.prepare(t, refund, s.biz("refund_amount", "80.00", "out_request_no", "rest"))
	told = append(told, telling{"full refund", w.door.next(t, s.number)})
	unpaid := scene{t, w, newNumber(), v}
	unpaid.waiting()
	w.prepare(t, closeTrade, unpaid.biz())
	return append(told, telling{"close", w.door.next(t, unpaid.number)})
}

func judge(t *testing.T, w *world, k kind, v value, n telling) {
	t.Helper()
	c := k.make(t, w, w.gateway())
	require.NoError(t, c.verify(t.Context(), n.form), "%s", n.form)
	fields := mustParse(t, n.form)
	if n.name != "return" {
		require.Equal(t, []string{v.subject(), v.text, v.text},
			[]string{fields.Get("subject"), fields.Get("body"), fields.Get("passback_params")})
	}
	// The first of Node's two functions decodes values once more; who has a % in them has to take the second.
	if node, ok := c.(*nodeClient); ok && !strings.Contains(n.form, "%25") {
		require.NoError(t, node.check(t.Context(), "checkNotifySign", n.form))
	}
	for _, field := range decisive {
		if fields.Has(field) {
			changed := mustParse(t, n.form)
			changeField(changed, field)
			require.Error(t, c.verify(t.Context(), changed.Encode()), "changed %s", field)
		}
	}
	for _, field := range []string{"sign", "subject", "out_trade_no"} {
		less := mustParse(t, n.form)
		if less.Has(field) {
			less.Del(field)
			require.Error(t, c.verify(t.Context(), less.Encode()), "without %s", field)
		}
	}
}
