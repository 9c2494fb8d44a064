package crosscheck

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// telling is what Alipay tells of one trade: its notifies, and what the buyer's browser brings back.
type telling struct{ name, form string }

// decisive are fields that no telling lacks, and none is believed without. Every field is changed; these are taken out.
var decisive = []string{"app_id", "seller_id", "out_trade_no", "trade_no", "total_amount", "charset", "sign"}

// TestTellings has every client judge notifies and returns: genuine ones, and ones with one byte or one field changed.
// Alipay tells in the charset of the request that opened the page.
func TestTellings(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		w := newWorld(t, mode, `{}`)
		for _, charset := range []string{"utf-8", "GBK"} {
			for _, v := range append(values, trailing) {
				t.Run(strings.Join([]string{string(mode), charset, v.name}, "/"), func(t *testing.T) {
					t.Parallel()
					told := tellAll(t, w, charset, v)
					for _, k := range kinds {
						for _, n := range told {
							if k.ours && n.name == "return" {
								continue // it proves nothing, so our client does not look at it
							}
							t.Run(k.name+"/"+n.name, func(t *testing.T) { judge(t, w, k, charset, v, n) })
						}
					}
				})
			}
		}
	}
}

// tellAll takes a trade through its life.
func tellAll(t *testing.T, w *world, charset string, v value) []telling {
	t.Helper()
	merchant := newSmartwalle(t, w, w.gateway())
	if charset == "GBK" {
		merchant = newGopayGBK(t, w, w.gateway())
	}
	number := newNumber()
	w.openBy(t, merchant, w.order(number, v))
	w.buyer(t, number, "pay")
	told := []telling{{"payment", w.door.next(t, number)}, {"return", w.returned(t, number)}}
	for _, r := range []struct{ name, requestNo, amount string }{{"partial refund", v.text, "8.80"}, {"full refund", "rest", "80.00"}} {
		w.prepare(t, refund, map[string]any{"out_trade_no": number, "refund_amount": r.amount, "out_request_no": r.requestNo})
		told = append(told, telling{r.name, w.door.next(t, number)})
	}
	unpaid := newNumber()
	w.openBy(t, merchant, w.order(unpaid, v))
	w.buyer(t, unpaid, "login")
	w.prepare(t, closeTrade, map[string]any{"out_trade_no": unpaid})
	return append(told, telling{"close", w.door.next(t, unpaid)})
}

func judge(t *testing.T, w *world, k kind, charset string, v value, n telling) {
	t.Helper()
	c := k.make(t, w, w.gateway())
	requireTold(t, charset, v, n)
	if charset == "GBK" && k.name == "node" && n.name != "return" && !isASCII(throughGBK(v.text)) {
		require.Error(t, c.verify(t.Context(), n.form), "it has learnt to read GBK")
		return
	}
	require.NoError(t, c.verify(t.Context(), n.form), "%s", n.form)
	// The first of Node's two functions decodes values once more; who has a % in them has to take the second.
	if node, ok := c.(*nodeClient); ok && !strings.Contains(n.form, "%25") {
		require.NoError(t, node.check(t.Context(), "checkNotifySign", n.form))
	}
	forge := func(what string, f func(url.Values)) {
		forged := mustParse(t, n.form)
		f(forged)
		require.NotEqual(t, n.form, forged.Encode(), what)
		require.Error(t, c.verify(t.Context(), forged.Encode()), what)
	}
	for field := range mustParse(t, n.form) {
		if field != "sign_type" { // which is not signed: what it says is the client's own affair
			forge("changed "+field, func(form url.Values) { changeField(form, field) })
		}
	}
	for _, field := range decisive {
		forge("without "+field, func(form url.Values) { form.Del(field) })
	}
	forge("with a field more", func(form url.Values) { form.Set("one_more", "1") })
}

// requireTold makes sure that the merchant's texts come back as far as the charset has them.
func requireTold(t *testing.T, charset string, v value, n telling) {
	t.Helper()
	fields := mustParse(t, n.form)
	require.Equal(t, charset, fields.Get("charset"))
	if n.name == "return" {
		return
	}
	want := []string{v.subject(), v.text, v.text}
	got := []string{fields.Get("subject"), fields.Get("body"), fields.Get("passback_params")}
	if n.name == "partial refund" {
		want, got = append(want, v.text), append(got, fields.Get("out_biz_no"))
	}
	if charset == "GBK" {
		for i := range want {
			want[i], got[i] = throughGBK(want[i]), fromGBK(got[i])
		}
	}
	require.Equal(t, want, got)
}
