package sandbox_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gopayalipay "github.com/go-pay/gopay/alipay"
	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

// inCertificateMode declares the app with its certificate.
func inCertificateMode(c *sandbox.Config) {
	keys := sandboxtest.Keys()
	c.Apps = []sandbox.App{{ID: appID, SellerID: sellerID, AppCert: keys[sandbox.AppCertFile]}}
	c.AlipayCert, c.AlipayRootCert = keys[sandbox.AlipayCertFile], keys[sandbox.AlipayRootCertFile]
}

// newCertWorld has clients that are in certificate mode too.
func newCertWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, inCertificateMode)
	keys := sandboxtest.Keys()
	w.gopay = newGopay(t, w.url)
	w.gopay.AutoVerifySign([]byte(keys[sandbox.AlipayCertFile]))
	require.NoError(t, w.gopay.SetCertSnByContent(
		[]byte(keys[sandbox.AppCertFile]), []byte(keys[sandbox.AlipayRootCertFile]), []byte(keys[sandbox.AlipayCertFile])))
	w.strict = newStrict(t, w.url)
	require.NoError(t, w.strict.LoadAppCertPublicKey(keys[sandbox.AppCertFile]))
	require.NoError(t, w.strict.LoadAliPayRootCert(keys[sandbox.AlipayRootCertFile]))
	require.NoError(t, w.strict.LoadAlipayCertPublicKey(keys[sandbox.AlipayCertFile]))
	return w
}

func TestCertificateModeWithBothClients(t *testing.T) {
	t.Parallel()
	w := newCertWorld(t)
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", w.query("T1").SubCode)
	b := w.open(w.order("T1"))
	b.submit("pay")
	require.EqualValues(t, "TRADE_SUCCESS", w.query("T1").TradeStatus)
	answer, err := w.gopay.TradeQuery(t.Context(), bodyMap("out_trade_no", "T1"))
	require.NoError(t, err)
	require.Equal(t, "TRADE_SUCCESS", answer.Response.TradeStatus)
	require.Equal(t, w.gopay.AliPayPublicCertSN, answer.AlipayCertSn)

	notify := w.merchant.wait(t, 1)[0]
	bm, err := gopayalipay.ParseNotifyByURLValues(notify.form)
	require.NoError(t, err)
	ok, err := gopayalipay.VerifySignWithCert([]byte(sandboxtest.Keys()[sandbox.AlipayCertFile]), bm)
	require.NoError(t, err)
	require.True(t, ok)
	_, err = w.strict.DecodeNotification(t.Context(), notify.form)
	require.NoError(t, err)

	w.faults(`{"gateway":{"tampered":1}}`)
	_, err = w.gopay.TradeQuery(t.Context(), bodyMap("out_trade_no", "T1"))
	require.Error(t, err)
	_, err = w.strict.TradeQuery(t.Context(), smartwalle.TradeQuery{OutTradeNo: "T1"})
	require.Error(t, err)
}

func TestCertificateModeAnswerIsInOrder(t *testing.T) {
	t.Parallel()
	w := newCertWorld(t)
	answer := w.call(t, map[string]string{
		"method": "alipay.trade.query", "biz_content": `{"out_trade_no":"T1"}`,
		"app_cert_sn": w.gopay.AppCertSN, "alipay_root_cert_sn": w.gopay.AliPayRootCertSN,
	})
	require.Equal(t, "ACQ.TRADE_NOT_EXIST", answer.body.SubCode)
	require.Equal(t, `{"`+answer.name+`":`+string(answer.node)+`,"alipay_cert_sn":"`+w.gopay.AliPayPublicCertSN+
		`","sign":"`+answer.sign+`"}`, answer.text)
	require.Equal(t, 1, strings.Count(w.gopay.AliPayRootCertSN, "_"), "two RSA roots; the third is left out")
}

func TestAnAppUsesOneMode(t *testing.T) {
	t.Parallel()
	certs, plain := newCertWorld(t), newWorld(t)
	app, root := certs.gopay.AppCertSN, certs.gopay.AliPayRootCertSN
	for name, c := range map[string]struct {
		w         *world
		app, root string
		code      string
	}{
		"nothing sent":           {certs, "-", "-", "isv.missing-app-cert-sn"},
		"no root":                {certs, app, "-", "isv.missing-alipay-root-cert-sn"},
		"other app certificate":  {certs, root, root, "isv.app-cert-not-exist"},
		"other root":             {certs, app, app, "isv.invalid-alipay-root-cert-sn"},
		"half of the root":       {certs, app, strings.Split(root, "_")[0], "isv.invalid-alipay-root-cert-sn"},
		"public-key app":         {plain, app, root, "isv.app-cert-not-exist"},
		"public-key app, a root": {plain, "-", root, "isv.missing-app-cert-sn"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := c.w.call(t, map[string]string{
				"method": "alipay.trade.query", "biz_content": `{"out_trade_no":"T1"}`, "app_cert_sn": c.app, "alipay_root_cert_sn": c.root,
			})
			require.Equal(t, "40002", answer.body.Code)
			require.Equal(t, c.code, answer.body.SubCode)
			require.NotEmpty(t, answer.sign)
		})
	}
}

func TestAlipayCertificateCanBeDownloaded(t *testing.T) {
	t.Parallel()
	w := newCertWorld(t)
	answer, err := w.strict.CertDownload(t.Context(), smartwalle.CertDownload{AliPayCertSN: w.gopay.AliPayPublicCertSN})
	require.NoError(t, err)
	text, err := base64.StdEncoding.DecodeString(answer.AliPayCertContent)
	require.NoError(t, err)
	require.Equal(t, sandboxtest.Keys()[sandbox.AlipayCertFile], string(text))
	other, err := w.strict.CertDownload(t.Context(), smartwalle.CertDownload{AliPayCertSN: "1"})
	require.NoError(t, err)
	require.Equal(t, "isv.invalid-alipay-cert-sn", other.SubCode)
}

func TestCertificatesAreKeptWhileTheyFit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFiles := []string{sandbox.AppCertFile, sandbox.AlipayCertFile, sandbox.AlipayRootCertFile}
	generate := func() string {
		require.NoError(t, sandbox.GenerateKeys(dir, false))
		var all strings.Builder
		for _, name := range certFiles {
			text, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			all.Write(text)
		}
		return all.String()
	}
	first := generate()
	require.Equal(t, first, generate())
	for _, name := range certFiles {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
		before, now := first, generate()
		require.NotEqual(t, before, now, name)
		require.Equal(t, now, generate(), name)
		first = now
	}
	require.NoError(t, os.Remove(filepath.Join(dir, sandbox.AppPrivateKeyFile)))
	require.NotEqual(t, first, generate(), "the app's certificate was for another key")
	requireChain(t, dir)
}

// requireChain has the standard library verify both certificates as a client would.
func requireChain(t *testing.T, dir string) {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(dir, sandbox.AlipayRootCertFile))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(root))
	for _, name := range []string{sandbox.AppCertFile, sandbox.AlipayCertFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		_, err = cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		require.NoError(t, err)
	}
}

func TestCertificatesAreCheckedAtStart(t *testing.T) {
	t.Parallel()
	keys, other := sandboxtest.Keys(), t.TempDir()
	require.NoError(t, sandbox.GenerateKeys(other, false))
	otherRoot, err := os.ReadFile(filepath.Join(other, sandbox.AlipayRootCertFile))
	require.NoError(t, err)
	for part, spoil := range map[string]func(*sandbox.Config){
		"give it one of them":                func(c *sandbox.Config) { c.Apps[0].PublicKey = keys[sandbox.AppPublicKeyFile] },
		"certificate of app":                 func(c *sandbox.Config) { c.Apps[0].AppCert = keys[sandbox.AppPublicKeyFile] },
		"alipay certificate: not":            func(c *sandbox.Config) { c.AlipayCert = "" },
		"alipay root certificate: not":       func(c *sandbox.Config) { c.AlipayRootCert = "" },
		"is not for the sandbox's private":   func(c *sandbox.Config) { c.AlipayCert = keys[sandbox.AppCertFile] },
		"is not issued by the root certific": func(c *sandbox.Config) { c.AlipayRootCert = string(otherRoot) },
	} {
		config := sandbox.Config{PrivateKey: keys[sandbox.AlipayPrivateKeyFile]}
		inCertificateMode(&config)
		spoil(&config)
		_, err := sandbox.New(config)
		require.ErrorContains(t, err, part)
	}
}
