package alipay_test

import (
	"crypto/rsa"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/simplifiedchinese"

	"coursepay/internal/alipay"
	"coursepay/models"
)

// fields is a payment notify as Alipay sends it, unsigned.
func fields() map[string]string {
	return map[string]string{
		"notify_time": "2026-03-01 09:30:07", "notify_type": "trade_status_sync", "notify_id": "2026030100222",
		"app_id": appID, "auth_app_id": appID, "charset": "utf-8", "version": "1.0",
		"trade_no": "2026030122001", "out_trade_no": payNo, "buyer_id": "2088622", "buyer_logon_id": "abc***@sandbox.com",
		"seller_id": sellerID, "trade_status": "TRADE_SUCCESS", "total_amount": "20.10", "receipt_amount": "20.10",
		"subject": "Java 编程思想", "gmt_create": "2026-03-01 09:30:00", "gmt_payment": "2026-03-01 09:30:05",
		"fund_bill_list": `[{"amount":"20.10","fundChannel":"ALIPAYACCOUNT"}]`,
	}
}

func with(pairs ...string) map[string]string {
	f := fields()
	for pair := range slices.Chunk(pairs, 2) {
		f[pair[0]] = pair[1]
	}
	return f
}

func without(name string) map[string]string {
	f := fields()
	delete(f, name)
	return f
}

// post signs fields as Alipay does, with the given key, and encodes them as a form.
func post(f map[string]string, key *rsa.PrivateKey) url.Values {
	form := url.Values{"sign": {sign(key, content(f))}, "sign_type": {"RSA2"}}
	for name, value := range f {
		form.Set(name, value)
	}
	return form
}

func genuine(f map[string]string) []byte { return []byte(post(f, keys().alipay).Encode()) }

func altered(name string, values ...string) []byte {
	form := post(fields(), keys().alipay)
	form[name] = values
	return []byte(form.Encode())
}

func TestParseNotifyPayment(t *testing.T) {
	t.Parallel()
	n, err := newClient(t).ParseNotify(genuine(fields()))
	require.NoError(t, err)
	require.WithinDuration(t, time.Date(2026, 3, 1, 1, 30, 5, 0, time.UTC), n.PaidAt, 0)
	n.PaidAt = time.Time{}
	require.Equal(t, alipay.Notify{
		NotifyID: "2026030100222", NotifyType: "trade_status_sync", AppID: appID, SellerID: sellerID,
		PayNo: payNo, TradeNo: "2026030122001", Status: models.TradeSuccess, Amount: 2010,
	}, n)
	require.True(t, n.IsPayment())
	require.False(t, n.IsRefund())
}

func TestParseNotifyKinds(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	tests := map[string]struct {
		fields          map[string]string
		payment, refund bool
	}{
		"finished first": {with("trade_status", "TRADE_FINISHED"), true, false},
		"closed":         {with("trade_status", "TRADE_CLOSED", "gmt_close", "2026-03-01 10:00:00"), false, false},
		"created":        {with("trade_status", "WAIT_BUYER_PAY"), false, false},
		"partial refund": {with("refund_fee", "5.00", "gmt_refund", "2026-03-02 10:00:00.321", "out_biz_no", "r1"), false, true},
		"full refund":    {with("trade_status", "TRADE_CLOSED", "refund_fee", "20.10"), false, true},
		"nothing back":   {with("refund_fee", "0.00"), true, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := client.ParseNotify(genuine(test.fields))
			require.NoError(t, err)
			require.Equal(t, test.payment, n.IsPayment())
			require.Equal(t, test.refund, n.IsRefund())
		})
	}
}

// Genuine notifies that a careless reader stumbles over.
func TestParseNotifyAcceptsOddButGenuine(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	gbk, err := simplifiedchinese.GBK.NewEncoder().String("Java 编程思想")
	require.NoError(t, err)
	gb18030, err := simplifiedchinese.GB18030.NewEncoder().String("学习🎓")
	require.NoError(t, err)
	emptySigned := with("body", "")
	emptyUnsigned := post(fields(), keys().alipay)
	emptyUnsigned.Set("body", "")
	tests := map[string][]byte{
		"percent":                   genuine(with("subject", "100% %41")),
		"plus":                      genuine(with("subject", "C++ a+b")),
		"trailing space":            genuine(with("subject", "课程 ")),
		"emoji":                     genuine(with("subject", "学习🎓")),
		"ampersand in a free text":  genuine(with("body", "a&b=c")),
		"unknown field":             genuine(with("brand_new", "x")),
		"GBK":                       genuine(with("charset", "GBK", "subject", gbk)),
		"GB18030":                   genuine(with("charset", "gb18030", "subject", gb18030)),
		"empty value, signed":       genuine(emptySigned),
		"empty value, not signed":   []byte(emptyUnsigned.Encode()),
		"amount without decimals":   genuine(with("total_amount", "20")),
		"amount with one decimal":   genuine(with("total_amount", "20.1")),
		"lower-case percent codes":  []byte(strings.ReplaceAll(string(genuine(fields())), "%2F", "%2f")),
		"passback, encoded as told": genuine(with("passback_params", "a%3D1%26b%3D2")),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := client.ParseNotify(raw)
			require.NoError(t, err)
			require.Equal(t, payNo, n.PayNo)
			require.True(t, n.IsPayment())
		})
	}
}

func TestParseNotifyRefusesForgeries(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	alipayKey := keys().alipay
	rsa1 := post(fields(), alipayKey)
	rsa1.Set("sign_type", "RSA")
	rsa1.Set("sign", signSHA1(alipayKey, content(fields())))
	sha1AsRSA2 := post(fields(), alipayKey)
	sha1AsRSA2.Set("sign", signSHA1(alipayKey, content(fields())))
	withSignType := with("sign_type", "RSA2")
	good := post(fields(), alipayKey).Get("sign")
	tests := map[string]struct {
		raw  []byte
		want error
	}{
		"a stranger's key":          {[]byte(post(fields(), keys().stranger).Encode()), alipay.ErrNotifySignature},
		"the app's own key":         {[]byte(post(fields(), keys().app).Encode()), alipay.ErrNotifySignature},
		"amount altered":            {altered("total_amount", "0.01"), alipay.ErrNotifySignature},
		"number altered":            {altered("out_trade_no", "999"), alipay.ErrNotifySignature},
		"field added":               {altered("brand_new", "x"), alipay.ErrNotifySignature},
		"field dropped":             {altered("receipt_amount"), alipay.ErrNotifySignature},
		"trimmed":                   {[]byte(strings.Replace(string(genuine(with("subject", "x "))), "x+", "x", 1)), alipay.ErrNotifySignature},
		"sign_type signed too":      {[]byte(signedOver(withSignType).Encode()), alipay.ErrNotifySignature},
		"RSA with SHA-1":            {[]byte(rsa1.Encode()), alipay.ErrNotifySignType},
		"SHA-1 called RSA2":         {[]byte(sha1AsRSA2.Encode()), alipay.ErrNotifySignature},
		"sign_type in lower case":   {altered("sign_type", "rsa2"), alipay.ErrNotifySignType},
		"sign_type missing":         {altered("sign_type"), alipay.ErrNotifySignType},
		"sign missing":              {altered("sign"), alipay.ErrNotifySignature},
		"sign empty":                {altered("sign", ""), alipay.ErrNotifySignature},
		"sign not base64":           {altered("sign", "***"), alipay.ErrNotifySignature},
		"sign with rubbish behind":  {altered("sign", good+"!"), alipay.ErrNotifySignature},
		"sign with line breaks":     {altered("sign", good[:10]+"\n"+good[10:]), alipay.ErrNotifySignature},
		"sign cut short":            {altered("sign", good[:40]), alipay.ErrNotifySignature},
		"repeated key":              {altered("total_amount", "20.10", "0.01"), alipay.ErrNotifyMalformed},
		"repeated key, same value":  {altered("app_id", appID, appID), alipay.ErrNotifyMalformed},
		"charset unknown":           {altered("charset", "utf-7"), alipay.ErrNotifyMalformed},
		"broken percent code":       {[]byte("out_trade_no=1&subject=100%&sign=x"), alipay.ErrNotifyMalformed},
		"semicolons":                {[]byte("a=1;b=2"), alipay.ErrNotifyMalformed},
		"JSON":                      {[]byte(`{"out_trade_no":"1"}`), alipay.ErrNotifySignType},
		"empty":                     {nil, alipay.ErrNotifyMalformed},
		"ten megabytes":             {[]byte("a=" + strings.Repeat("x", 10<<20)), alipay.ErrNotifyMalformed},
		"a hundred thousand fields": {[]byte(strings.Repeat("a=&", 80_000)), alipay.ErrNotifyMalformed},
		"refund hidden in a field":  {hidden("receipt_amount", "refund_fee", with("refund_fee", "5.00")), alipay.ErrNotifyMalformed},
		"status hidden in a key":    {[]byte("a%3Db%26trade_status=TRADE_SUCCESS"), alipay.ErrNotifyMalformed},
		"genuine, without a number": {genuine(without("out_trade_no")), alipay.ErrNotifyMalformed},
		"genuine, without a status": {genuine(without("trade_status")), alipay.ErrNotifyMalformed},
		"genuine, date unreadable":  {genuine(with("gmt_payment", "yesterday")), alipay.ErrNotifyMalformed},
		"genuine, strange number":   {genuine(with("out_trade_no", "1' or '1")), alipay.ErrNotifyMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := client.ParseNotify(test.raw)
			require.ErrorIs(t, err, test.want)
			require.Zero(t, n, "an unverified notify came back as if it could be trusted")
			require.Less(t, len(err.Error()), 200)
			require.NotContains(t, err.Error(), "sandbox.com", "personal data")
			requireNoKey(t, err.Error(), config())
		})
	}
}

// signedOver signs every field given, sign_type included, as requests do and notifies do not.
func signedOver(f map[string]string) url.Values {
	form := url.Values{"sign": {sign(keys().alipay, content(f))}}
	for name, value := range f {
		form.Set(name, value)
	}
	return form
}

// hidden moves a field of a genuine notify into the value of the one that precedes it in the signed text, which leaves
// that text, and so the signature, as it was.
func hidden(into, field string, f map[string]string) []byte {
	f = maps.Clone(f)
	for name := range f {
		if name > into && name < field {
			delete(f, name)
		}
	}
	form := post(f, keys().alipay)
	form.Set(into, f[into]+"&"+field+"="+f[field])
	form.Del(field)
	return []byte(form.Encode())
}

// What Alipay did sign, but not for us, comes back for the files.
func TestParseNotifyOfOthersIsEvidence(t *testing.T) {
	t.Parallel()
	client := newClient(t)
	tests := map[string]struct {
		fields map[string]string
		want   error
	}{
		"another app":           {with("app_id", "2021000000000009"), alipay.ErrNotifyApp},
		"no app":                {without("app_id"), alipay.ErrNotifyApp},
		"another seller":        {with("seller_id", "2088999999999999"), alipay.ErrNotifySeller},
		"no seller":             {without("seller_id"), alipay.ErrNotifySeller},
		"no amount":             {without("total_amount"), alipay.ErrNotifyAmount},
		"amount zero":           {with("total_amount", "0.00"), alipay.ErrNotifyAmount},
		"amount with exponent":  {with("total_amount", "1e0"), alipay.ErrNotifyAmount},
		"amount in thousandths": {with("total_amount", "0.999"), alipay.ErrNotifyAmount},
		"amount negative":       {with("total_amount", "-1"), alipay.ErrNotifyAmount},
		"amount with space":     {with("total_amount", "20.10 "), alipay.ErrNotifyAmount},
		"refund fee not a fee":  {with("refund_fee", "1e0"), alipay.ErrNotifyAmount},
		"other app, bad amount": {with("app_id", "1", "total_amount", "x"), alipay.ErrNotifyApp},
		"full-width digits":     {with("total_amount", "２０"), alipay.ErrNotifyAmount},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, err := client.ParseNotify(genuine(test.fields))
			require.ErrorIs(t, err, test.want)
			require.Equal(t, payNo, n.PayNo)
			require.Equal(t, "2026030122001", n.TradeNo)
		})
	}
}

func TestClaimedPayNo(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"out_trade_no=123&sign=x":       "123",
		"a=%zz&out_trade_no=123":        "123",
		"out_trade_no=1&out_trade_no=2": "",
		"out_trade_no=%27;drop":         "",
		"out_trade_no=":                 "",
		"":                              "",
		"out_trade_no=1&a=" + strings.Repeat("x", 1<<20): "",
	} {
		require.Equal(t, want, alipay.ClaimedPayNo([]byte(raw)))
	}
	require.Equal(t, payNo, alipay.ClaimedPayNo(altered("total_amount", "0.01")))
}

// Whatever a stranger posts: no panic, one of the named errors, and only what Alipay signed comes back.
func FuzzParseNotify(f *testing.F) {
	for _, seed := range [][]byte{
		genuine(fields()), genuine(with("app_id", "1")), genuine(with("charset", "GBK", "subject", "\xb1\xe0")),
		altered("total_amount", "1", "2"), altered("sign", "%"), altered("sign_type", "RSA"),
		[]byte("a=%zz"), []byte("=&=&&"), []byte("out_trade_no=1&sign_type=RSA2&sign=AAAA"), {0xff, 0, '='},
		genuine(with("body", "")), genuine(with("subject", "100% C++ 🎓 a\\/b&c=d")), genuine(with("alipay_cert_sn", "abc")),
		genuine(with("refund_fee", "5.00", "gmt_refund", "2026-03-02 10:00:00.321", "out_biz_no", "r1", "total_amount", "20.1")),
		hidden("receipt_amount", "refund_fee", with("refund_fee", "5.00")), genuine(with("total_amount", "1e0")),
		genuine(with("gmt_payment", "yesterday")), []byte("a=1;b=2"), []byte("a%3Db%26trade_status=TRADE_SUCCESS"),
	} {
		f.Add(seed)
	}
	client := newClient(f)
	known := []error{
		alipay.ErrNotifyMalformed, alipay.ErrNotifySignType, alipay.ErrNotifySignature,
		alipay.ErrNotifyApp, alipay.ErrNotifySeller, alipay.ErrNotifyAmount,
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		alipay.ClaimedPayNo(raw)
		n, err := client.ParseNotify(raw)
		if err == nil {
			// Any mutation that still passes must be another spelling of the genuine form.
			require.Equal(t, payNo, n.PayNo)
			require.Equal(t, models.Money(2010), n.Amount)
			return
		}
		named := 0
		for _, candidate := range known {
			if errors.Is(err, candidate) {
				named++
			}
		}
		require.Equal(t, 1, named, "%v", err)
	})
}
