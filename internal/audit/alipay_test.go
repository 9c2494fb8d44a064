package audit_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
	"coursepay/internal/audit"
	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
	"coursepay/models"
)

// market is a shop whose buyers pay at a sandbox.
type market struct {
	*shop
	url    string
	client *alipay.Client
}

func newMarket(t *testing.T) *market {
	t.Helper()
	const appID, sellerID = "9021000100000001", "2088721000000001"
	m, keys := &market{shop: openShop(t)}, sandboxtest.Keys()
	m.now = time.Now().Add(-time.Hour).Truncate(time.Second) // a request's timestamp is the real time, and is looked at
	server, err := sandbox.New(sandbox.Config{
		Apps:       []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: keys[sandbox.AppPublicKeyFile]}},
		PrivateKey: keys[sandbox.AlipayPrivateKeyFile],
		Clock:      func() time.Time { return m.now },
	})
	require.NoError(t, err)
	web := httptest.NewServer(server.Handler())
	t.Cleanup(func() { web.Close(); require.NoError(t, server.Close()) })
	m.url = web.URL
	m.client, err = alipay.New(alipay.Config{
		AppID: appID, SellerID: sellerID, PrivateKey: keys[sandbox.AppPrivateKeyFile],
		AlipayPublicKey: keys[sandbox.AlipayPublicKeyFile], Gateway: web.URL, MaxQPS: 1000,
	})
	require.NoError(t, err)
	return m
}

func (m *market) post(address string, form url.Values) {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	m.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(r)
	m.must(err)
	m.must(answer.Body.Close())
	require.Equal(m.t, http.StatusOK, answer.StatusCode, address)
}

// shows opens the attempt's pay page, as a phone does.
func (m *market) shows(r models.PayRecord, amount models.Money) models.PayRecord {
	m.t.Helper()
	page, err := m.client.WapPayForm(alipay.WapPay{PayNo: r.PayNo.String(), Subject: "x", Amount: amount, ExpireAt: r.ExpireDate})
	m.must(err)
	document, err := goquery.NewDocumentFromReader(strings.NewReader(page))
	m.must(err)
	form := url.Values{}
	document.Find("form input").Each(func(_ int, in *goquery.Selection) { form.Set(in.AttrOr("name", ""), in.AttrOr("value", "")) })
	m.post(document.Find("form").AttrOr("action", ""), form)
	return r
}

// takes lets the buyer pay at Alipay, and gives the attempt with Alipay's trade number.
func (m *market) takes(r models.PayRecord) models.Payment {
	m.t.Helper()
	m.post(m.url+"/control/trades/"+r.PayNo.String()+"/pay", nil)
	trade, err := m.client.QueryTrade(m.t.Context(), r.PayNo.String())
	m.must(err)
	require.True(m.t, trade.Status.Paid())
	return models.Payment{PayNo: r.PayNo, TradeNo: trade.TradeNo, Amount: r.TotalPrice, PaidAt: trade.PaidAt}
}

// sells is the whole way to a paid order.
func (m *market) sells(who string) models.PayRecord {
	m.t.Helper()
	record := m.opened(who, course)
	_, err := m.Settle(m.t.Context(), m.takes(m.shows(record, record.TotalPrice)))
	m.must(err)
	return record
}

func (m *market) givesBack(r models.PayRecord, no string, amount models.Money) models.TradeRefund {
	m.t.Helper()
	back, err := m.client.Refund(m.t.Context(), models.TradeRefundRequest{PayNo: r.PayNo.String(), RequestNo: no, Amount: amount})
	m.must(err)
	require.True(m.t, back.Refunded)
	return back
}

func (m *market) refunds(r models.PayRecord, no string, amount models.Money) {
	m.t.Helper()
	m.opensRefund(r, no, amount, models.RefundByOperator, nil)
	_, err := m.BookRefund(m.t.Context(), no, m.givesBack(r, no, amount))
	m.must(err)
}

func (m *market) ask(o *audit.Options) { o.Alipay = m.client }

// trades is what happens at a market where all is well.
func (m *market) trades() {
	m.attempt("never opened", course)
	m.opened("never scanned", course)
	waiting := m.opened("logged in", course)
	m.post(m.url+"/control/trades/"+m.shows(waiting, waiting.TotalPrice).PayNo.String()+"/login", nil)
	m.sells("paid")
	m.refunds(m.sells("refunded"), "W", 100)
	m.refunds(m.sells("refunded in part"), "H", 30)
	given := m.sells("given up")
	m.opensRefund(given, "G", 50, models.RefundByOperator, nil)
	_, err := m.CloseRefund(m.t.Context(), "G", "")
	m.must(err)
	odd := m.opened("parked", course)
	m.takes(m.shows(odd, 99))
	m.park(odd, 99, nil)
	m.deliver()
}

func TestAlipayAndTheBooksAgree(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	m.trades()
	m.wait(5 * time.Minute)
	told, all := 0, 0
	report := m.audit(m.ask, func(o *audit.Options) { o.Progress = func(done, of int) { told, all = done, of } })
	require.Empty(t, faults(report))
	require.Empty(t, report.Unanswered)
	require.Len(t, report.Results, len(audit.Checks())+len(audit.AlipayChecks()))
	require.Equal(t, 7, told, "nobody asks about what was never opened")
	require.Equal(t, 7, all)
}

func TestFaultsThatOnlyAlipayKnowsOf(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		finds   string
		happens func(m *market) models.PayRecord
	}{
		"a payment that we never heard of": {"alipay-money-booked", func(m *market) models.PayRecord {
			record := m.opened("u", course)
			m.takes(m.shows(record, record.TotalPrice))
			return record
		}},
		"a payment that we never heard of, and its page is closed": {"alipay-money-booked", func(m *market) models.PayRecord {
			record := m.opened("u", course)
			m.takes(m.shows(record, record.TotalPrice))
			m.must(m.CloseAttempt(m.t.Context(), record.PayNo))
			return record
		}},
		"a payment that was taken and given back behind our back": {"alipay-money-booked", func(m *market) models.PayRecord {
			record := m.opened("u", course)
			m.takes(m.shows(record, record.TotalPrice))
			m.givesBack(record, "B", 100)
			return record
		}},
		"a payment that nobody made": {"alipay-has-the-money", func(m *market) models.PayRecord {
			return m.paid(m.opened("u", course))
		}},
		"a payment that the buyer only looked at": {"alipay-has-the-money", func(m *market) models.PayRecord {
			record := m.opened("u", course)
			m.post(m.url+"/control/trades/"+m.shows(record, record.TotalPrice).PayNo.String()+"/login", nil)
			return m.paid(record)
		}},
		"a payment by another trade": {"alipay-same-trade", func(m *market) models.PayRecord {
			record := m.sells("u")
			m.exec(`update xc_pay_record set out_pay_no = 'T'`)
			return record
		}},
		"a payment of less": {"alipay-same-trade", func(m *market) models.PayRecord {
			record := m.opened("u", course)
			_, err := m.Settle(m.t.Context(), m.takes(m.shows(record, 99)))
			m.must(err)
			return record
		}},
		"a refund that Alipay never did": {"alipay-did-the-refund", func(m *market) models.PayRecord {
			record := m.sells("u")
			m.refunded(record, "N", 30, models.RefundByOperator)
			return record
		}},
		"a whole refund that Alipay never did": {"alipay-did-the-refund", func(m *market) models.PayRecord {
			record := m.sells("u")
			m.refunded(record, "N", 100, models.RefundByOperator)
			return record
		}},
		"a refund of another amount": {"alipay-did-the-refund", func(m *market) models.PayRecord {
			record := m.sells("u")
			m.refunds(record, "N", 30)
			m.exec(`update xc_refund_record set amount = 0.31`)
			return record
		}},
		"a refund that was never booked": {"alipay-refund-booked", func(m *market) models.PayRecord {
			record := m.sells("u")
			m.opensRefund(record, "N", 30, models.RefundByOperator, nil)
			m.givesBack(record, "N", 30)
			return record
		}},
		"a refund that was given up, and came about": {"alipay-refund-booked", func(m *market) models.PayRecord {
			record := m.sells("u")
			m.opensRefund(record, "N", 30, models.RefundByOperator, nil)
			_, err := m.CloseRefund(m.t.Context(), "N", "")
			m.must(err)
			m.givesBack(record, "N", 30)
			return record
		}},
		"a refund that was made by hand": {"alipay-refund-booked", func(m *market) models.PayRecord {
			record := m.sells("u")
			m.givesBack(record, "by-hand", 100)
			return record
		}},
	} {
		t.Run(tc.finds+": "+name, func(t *testing.T) {
			t.Parallel()
			m := newMarket(t)
			record := tc.happens(m)
			m.deliver()
			m.wait(5 * time.Minute)
			require.Empty(t, faults(m.audit()), "the books alone do not show it")
			report := m.audit(m.ask)
			require.Empty(t, report.Unanswered)
			found := faults(report)
			require.Equal(t, []string{tc.finds}, slices.Collect(maps.Keys(found)), "%v", found)
			require.Len(t, found[tc.finds], 1)
			require.Equal(t, record.PayNo, found[tc.finds][0].PayNo)
			require.Equal(t, record.OrderID, found[tc.finds][0].OrderID)
		})
	}
}

func TestWhatHappenedAtAlipayAMomentAgoIsNoFaultYet(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	record := m.opened("u", course)
	m.takes(m.shows(record, record.TotalPrice))
	refunded := m.sells("v")
	m.opensRefund(refunded, "N", 100, models.RefundByOperator, nil)
	m.givesBack(refunded, "N", 100)
	m.deliver()
	m.wait(time.Minute)
	require.Empty(t, faults(m.audit(m.ask)))
	m.wait(2 * time.Minute)
	require.Len(t, faults(m.audit(m.ask)), 2)
}

// changing is an Alipay at which something happens while it is asked.
type changing struct {
	audit.Alipay
	once func()
}

func (c *changing) QueryTrade(ctx context.Context, payNo string) (models.Trade, error) {
	if c.once != nil {
		c.once()
		c.once = nil
	}
	return c.Alipay.QueryTrade(ctx, payNo)
}

func TestWhatIsBookedWhileAlipayIsAskedIsNoFault(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	record := m.opened("u", course)
	payment := m.takes(m.shows(record, record.TotalPrice))
	m.wait(5 * time.Minute)
	settles := func() {
		_, err := m.Settle(t.Context(), payment)
		m.must(err)
	}
	require.Empty(t, faults(m.audit(func(o *audit.Options) { o.Alipay = &changing{m.client, settles} })))
}

// silent is an Alipay that gives no answers about some attempts.
type silent struct {
	audit.Alipay
	about map[string]bool
	asked int
}

type noAnswer struct{ error }

func (noAnswer) Temporary() bool { return true }

func (s *silent) QueryTrade(ctx context.Context, payNo string) (models.Trade, error) {
	s.asked++
	if s.about[payNo] {
		return models.Trade{}, noAnswer{errors.New("no answer")}
	}
	return s.Alipay.QueryTrade(ctx, payNo)
}

func TestSilenceIsNotTakenForAnAnswer(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	m.trades()
	quiet := m.orders["paid"].PayNo
	one := &silent{m.client, map[string]bool{quiet.String(): true}, 0}
	report := m.audit(func(o *audit.Options) { o.Alipay = one })
	require.Zero(t, report.Faults)
	require.Len(t, report.Unanswered, 1)
	require.Equal(t, quiet, report.Unanswered[0].PayNo)
	require.Contains(t, report.Verdict(), "NOT CHECKED: 1")
	require.Equal(t, 9, one.asked, "asked three times, and about the six others")

	all := &silent{m.client, map[string]bool{}, 0}
	for _, record := range m.orders {
		all.about[record.PayNo.String()] = true
	}
	_, err := audit.Run(t.Context(), m.db, audit.Options{Now: m.now, Alipay: all})
	require.ErrorContains(t, err, "alipay gives no answers")
	require.Equal(t, 9, all.asked, "nobody asks a million times in vain")
}
