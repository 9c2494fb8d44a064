package alipay_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
)

func TestNewTakesKeysAsTheyAreHandedAround(t *testing.T) {
	t.Parallel()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(keys().app)
	require.NoError(t, err)
	pkcs1 := x509.MarshalPKCS1PrivateKey(keys().app)
	bare := base64.StdEncoding.EncodeToString
	privates := map[string]string{
		"PKCS#1 PEM":          privatePEM(keys().app),
		"PKCS#8 PEM":          string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		"PKCS#1 bare":         bare(pkcs1),
		"PKCS#8 bare":         bare(pkcs8),
		"bare, broken in two": "\n" + bare(pkcs8)[:100] + "\r\n  " + bare(pkcs8)[100:] + "\n",
	}
	for name, key := range privates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newClient(t, func(c *alipay.Config) { c.PrivateKey = key })
		})
	}
	newClient(t, func(c *alipay.Config) { c.AlipayPublicKey = bare(publicDER(&keys().alipay.PublicKey)) })
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // to see it refused
	require.NoError(t, err)
	tests := map[string]struct {
		change func(*alipay.Config)
		want   string
	}{
		"no app":                      {func(c *alipay.Config) { c.AppID = " " }, "AppID"},
		"no seller":                   {func(c *alipay.Config) { c.SellerID = "" }, "SellerID"},
		"no private key":              {func(c *alipay.Config) { c.PrivateKey = "" }, "PrivateKey: missing"},
		"private key is rubbish":      {func(c *alipay.Config) { c.PrivateKey = "MIIrubbish!" }, "PrivateKey"},
		"private key cut short":       {func(c *alipay.Config) { c.PrivateKey = c.PrivateKey[:800] }, "PrivateKey"},
		"private key too short":       {func(c *alipay.Config) { c.PrivateKey = privatePEM(short) }, "1024 bits"},
		"public key of unknown type":  {publicKey(publicPEM(&keys().alipay.PublicKey, "ALIPAY PUBLIC KEY")), "unknown PEM type"},
		"public key named PKCS#1":     {publicKey(publicPEM(&keys().alipay.PublicKey, "RSA PUBLIC KEY")), "unknown PEM type"},
		"public key is rubbish":       {publicKey("-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----"), "AlipayPublicKey"},
		"two public keys":             {publicKey(config().AlipayPublicKey + config().AlipayPublicKey), "not one PEM block"},
		"the app's own public key":    {publicKey(publicPEM(&keys().app.PublicKey, "PUBLIC KEY")), "the app's own public key"},
		"a private key as the public": {publicKey(privatePEM(keys().alipay)), "AlipayPublicKey"},
		"simulator in production": {func(c *alipay.Config) {
			c.Production, c.Gateway = true, "http://127.0.0.1:8090/gateway.do"
		}, "production"},
		"Alipay's sandbox in production": {func(c *alipay.Config) {
			c.Production, c.Gateway = true, "https://openapi-sandbox.dl.alipaydev.com/gateway.do"
		}, "production"},
		"gateway without a scheme": {func(c *alipay.Config) { c.Gateway = "127.0.0.1:8090" }, "Gateway"},
		"relative notify URL":      {func(c *alipay.Config) { c.NotifyURL = "/orders/paynotify" }, "NotifyURL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			test.change(&cfg)
			_, err := alipay.New(cfg)
			require.ErrorContains(t, err, test.want)
			requireNoKey(t, err.Error(), cfg)
		})
	}
}

func publicKey(text string) func(*alipay.Config) {
	return func(c *alipay.Config) { c.AlipayPublicKey = text }
}

func TestNewReportsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := alipay.New(alipay.Config{Gateway: "nowhere", NotifyURL: "x", ReturnURL: "y"})
	for _, field := range []string{"AppID", "SellerID", "PrivateKey", "AlipayPublicKey", "Gateway", "NotifyURL", "ReturnURL"} {
		require.ErrorContains(t, err, field)
	}
}

func TestLogsContainNoKey(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	client := newClient(t, func(c *alipay.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	require.Contains(t, log.String(), appID)
	requireNoKey(t, log.String(), config())
	_, err := client.ParseNotify([]byte("sign=x&sign_type=RSA2"))
	requireNoKey(t, err.Error(), config())
}

// requireNoKey looks for any 16 characters of either key.
func requireNoKey(t *testing.T, text string, cfg alipay.Config) {
	t.Helper()
	for _, key := range []string{cfg.PrivateKey, cfg.AlipayPublicKey} {
		for line := range strings.FieldsSeq(key) {
			for ; len(line) >= 16 && !strings.HasPrefix(line, "-"); line = line[1:] {
				require.NotContains(t, text, line[:16])
			}
		}
	}
}
