package alipay_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	gopay "github.com/go-pay/gopay/alipay"
	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
)

// certPEM is a certificate for key that the key of issuer has signed.
func certPEM(t *testing.T, serial int64, key *rsa.PublicKey, issuer *rsa.PrivateKey, end time.Time) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "who", Country: []string{"CN"}},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: end,
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "Test CA", Organization: []string{"Test"}, Country: []string{"CN"}}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, issuer)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func validCert(t *testing.T, serial int64, key *rsa.PublicKey) string {
	t.Helper()
	return certPEM(t, serial, key, keys().stranger, time.Now().AddDate(1, 0, 0))
}

func serialOf(t *testing.T, cert string) string {
	t.Helper()
	sn, err := gopay.GetCertSN([]byte(cert))
	require.NoError(t, err)
	return sn
}

// certificates puts a client into certificate mode.
func certificates(t *testing.T) func(*alipay.Config) {
	t.Helper()
	app, root, theirs := validCert(t, 1, &keys().app.PublicKey), validCert(t, 2, &keys().stranger.PublicKey), validCert(t, 3, &keys().alipay.PublicKey)
	return func(c *alipay.Config) {
		c.AlipayPublicKey = ""
		c.AppCert, c.RootCert, c.AlipayCert = app, root, theirs
	}
}

// certAnswer is an answer of certificate mode.
func certAnswer(node, certSN string, key *rsa.PrivateKey) string {
	return fmt.Sprintf(`{"alipay_trade_query_response":%s,"alipay_cert_sn":"%s","sign":"%s"}`, node, certSN, sign(key, node))
}

func TestCertificateModeNamesItsCertificates(t *testing.T) {
	t.Parallel()
	cfg := config()
	certificates(t)(&cfg)
	page, err := newClient(t, func(c *alipay.Config) { *c = cfg }).WapPayForm(wapPay("课程"))
	require.NoError(t, err)
	params, _, _ := submit(t, page)
	require.Equal(t, serialOf(t, cfg.AppCert), params.Get("app_cert_sn"))
	require.Equal(t, serialOf(t, cfg.RootCert), params.Get("alipay_root_cert_sn"))

	page, err = newClient(t).WapPayForm(wapPay("课程"))
	require.NoError(t, err)
	params, _, _ = submit(t, page)
	require.False(t, params.Has("app_cert_sn") || params.Has("alipay_root_cert_sn"), "public-key mode")
}

// Alipay's own root file holds certificates that Go cannot read, and such as no serial is wanted of.
func TestRootCertificatesThatDoNotCount(t *testing.T) {
	t.Parallel()
	change := certificates(t)
	unreadable := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("SM2")}))
	second := validCert(t, 4, &keys().stranger.PublicKey)
	var roots string
	client := newClient(t, change, func(c *alipay.Config) {
		roots = serialOf(t, c.RootCert) + "_" + serialOf(t, second)
		c.RootCert = unreadable + c.RootCert + second
	})
	page, err := client.WapPayForm(wapPay("课程"))
	require.NoError(t, err)
	params, _, _ := submit(t, page)
	require.Equal(t, roots, params.Get("alipay_root_cert_sn"))
}

func TestCertificateModeAnswers(t *testing.T) {
	t.Parallel()
	change := certificates(t)
	cfg := config()
	change(&cfg)
	known := serialOf(t, cfg.AlipayCert)
	next := validCert(t, 5, &keys().next.PublicKey)
	paid := paidNode(payNo)
	tests := map[string]struct {
		body    string
		overlap bool
		want    error
	}{
		"genuine":                       {certAnswer(paid, known, keys().alipay), false, nil},
		"genuine, during an overlap":    {certAnswer(paid, known, keys().alipay), true, nil},
		"new, during an overlap":        {certAnswer(paid, serialOf(t, next), keys().next), true, nil},
		"new, before the overlap":       {certAnswer(paid, serialOf(t, next), keys().next), false, alipay.ErrForgedAnswer},
		"new key under the old serial":  {certAnswer(paid, known, keys().next), true, alipay.ErrForgedAnswer},
		"unknown serial":                {certAnswer(paid, strings.Repeat("0", 32), keys().alipay), true, alipay.ErrForgedAnswer},
		"the app certificate's serial":  {certAnswer(paid, serialOf(t, cfg.AppCert), keys().app), true, alipay.ErrForgedAnswer},
		"no serial":                     {signed(query, paid), true, alipay.ErrForgedAnswer},
		"empty serial":                  {certAnswer(paid, "", keys().alipay), true, alipay.ErrForgedAnswer},
		"serial is not a string":        {strings.Replace(certAnswer(paid, known, keys().alipay), `"`+known+`"`, "{}", 1), true, alipay.ErrMalformedAnswer},
		"signed by a stranger":          {certAnswer(paid, known, keys().stranger), true, alipay.ErrForgedAnswer},
		"signed by the app":             {certAnswer(paid, known, keys().app), true, alipay.ErrForgedAnswer},
		"tampered":                      {strings.Replace(certAnswer(paid, known, keys().alipay), "20.10", "0.01", 1), true, alipay.ErrForgedAnswer},
		"not exist, unsigned, a serial": {`{"alipay_trade_query_response":` + refused("40004", "ACQ.TRADE_NOT_EXIST") + `,"alipay_cert_sn":"` + known + `"}`, true, alipay.ErrUnsignedAnswer},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(string, map[string]string) string { return test.body }, change, func(c *alipay.Config) {
				if test.overlap {
					c.AlipayCertNext = next
				}
			})
			_, err := client.QueryTrade(t.Context(), payNo)
			require.ErrorIs(t, err, test.want)
			if test.want != nil {
				requireKind(t, err, alipay.KindUnknown)
			}
		})
	}
}

func TestCertificateModeNotifies(t *testing.T) {
	t.Parallel()
	client := newClient(t, certificates(t))
	_, err := client.ParseNotify(genuine(fields()))
	require.NoError(t, err)
	_, err = client.ParseNotify(genuine(with("alipay_cert_sn", "abc")))
	require.NoError(t, err, "the serial takes part in the signature")
	_, err = client.ParseNotify(altered("alipay_cert_sn", "abc"))
	require.NoError(t, err, "the serial stands beside what is signed")
	_, err = client.ParseNotify([]byte(post(fields(), keys().app).Encode()))
	require.ErrorIs(t, err, alipay.ErrNotifySignature)
	_, err = newClient(t).ParseNotify(altered("alipay_cert_sn", "abc"))
	require.ErrorIs(t, err, alipay.ErrNotifySignature, "public-key mode knows no serials")
}

// While Alipay changes over, what either key has signed is genuine; before and afterwards one of them only.
func TestTwoPublicKeysDuringAnOverlap(t *testing.T) {
	t.Parallel()
	paid := paidNode(payNo)
	next := func(c *alipay.Config) { c.AlipayPublicKeyNext = publicPEM(&keys().next.PublicKey, "PUBLIC KEY") }
	alone := func(c *alipay.Config) { c.AlipayPublicKey = publicPEM(&keys().next.PublicKey, "PUBLIC KEY") }
	tests := map[string]struct {
		key    *rsa.PrivateKey
		change func(*alipay.Config)
		ok     bool
	}{
		"old key, overlap":        {keys().alipay, next, true},
		"new key, overlap":        {keys().next, next, true},
		"new key, before":         {keys().next, func(*alipay.Config) {}, false},
		"old key, after":          {keys().alipay, alone, false},
		"new key, after":          {keys().next, alone, true},
		"a stranger, overlap":     {keys().stranger, next, false},
		"the app itself, overlap": {keys().app, next, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := gateway(t, func(string, map[string]string) string {
				return envelope(query, paid, sign(test.key, paid))
			}, test.change)
			_, answerErr := client.QueryTrade(t.Context(), payNo)
			_, notifyErr := client.ParseNotify([]byte(post(fields(), test.key).Encode()))
			if test.ok {
				require.NoError(t, answerErr)
				require.NoError(t, notifyErr)
				return
			}
			require.ErrorIs(t, answerErr, alipay.ErrForgedAnswer)
			require.ErrorIs(t, notifyErr, alipay.ErrNotifySignature)
		})
	}
}

func TestNewRefusesCertificates(t *testing.T) {
	t.Parallel()
	change := certificates(t)
	short, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // to see it refused
	require.NoError(t, err)
	own := publicPEM(&keys().app.PublicKey, "PUBLIC KEY")
	tests := map[string]struct {
		change func(*alipay.Config)
		want   string
	}{
		"both modes":                 {func(c *alipay.Config) { c.AlipayPublicKey = config().AlipayPublicKey }, "exactly one of the modes"},
		"next key of the other":      {func(c *alipay.Config) { c.AlipayPublicKeyNext = config().AlipayPublicKey }, "exactly one of the modes"},
		"no app certificate":         {func(c *alipay.Config) { c.AppCert = "" }, "AppCert: missing"},
		"no root certificate":        {func(c *alipay.Config) { c.RootCert = "" }, "RootCert"},
		"no certificate of Alipay":   {func(c *alipay.Config) { c.AlipayCert = "" }, "AlipayCert: missing"},
		"next certificate alone":     {func(c *alipay.Config) { c.AlipayCertNext, c.AlipayCert = c.AlipayCert, "" }, "AlipayCert: missing"},
		"another app's certificate":  {func(c *alipay.Config) { c.AppCert = validCert(t, 9, &keys().next.PublicKey) }, "AppCert: belongs to another key"},
		"the app's as Alipay's":      {func(c *alipay.Config) { c.AlipayCert = c.AppCert }, "the app's own public key"},
		"the app's as Alipay's next": {func(c *alipay.Config) { c.AlipayCertNext = c.AppCert }, "the app's own public key"},
		"a key for a certificate":    {func(c *alipay.Config) { c.AlipayCert = config().AlipayPublicKey }, "AlipayCert: not a PEM of type CERTIFICATE"},
		"rubbish":                    {func(c *alipay.Config) { c.AppCert = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" }, "AppCert: not an X.509"},
		"rubbish for a root":         {func(c *alipay.Config) { c.RootCert = "rubbish" }, "RootCert"},
		"too short a key":            {func(c *alipay.Config) { c.AlipayCert = validCert(t, 9, &short.PublicKey) }, "AlipayCert: 1024 bits"},
		"own key as the next": {func(c *alipay.Config) {
			*c = config()
			c.AlipayPublicKeyNext = own
		}, "the app's own public key"},
		"next key is rubbish": {func(c *alipay.Config) {
			*c = config()
			c.AlipayPublicKeyNext = "x"
		}, "AlipayPublicKeyNext"},
		"next key alone": {func(c *alipay.Config) {
			*c = config()
			c.AlipayPublicKeyNext, c.AlipayPublicKey = c.AlipayPublicKey, ""
		}, "AlipayPublicKey: missing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			change(&cfg)
			test.change(&cfg)
			_, err := alipay.New(cfg)
			require.ErrorContains(t, err, test.want)
			requireNoKey(t, err.Error(), cfg)
		})
	}
}

func TestWarnsOfCertificatesThatEnd(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	newClient(t, certificates(t), func(c *alipay.Config) { c.Logger = logger })
	require.NotContains(t, log.String(), "level=WARN")
	newClient(t, certificates(t), func(c *alipay.Config) {
		c.Logger = logger
		c.AlipayCert = certPEM(t, 3, &keys().alipay.PublicKey, keys().stranger, time.Now().AddDate(0, 0, 20))
	})
	require.Contains(t, log.String(), "certificate=AlipayCert ")
	require.NotContains(t, log.String(), "certificate=AppCert")
	requireNoKey(t, log.String(), config())
}
