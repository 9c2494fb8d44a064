package alipay

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// The self-test must notice a client that believes what anyone but Alipay has signed. New's other checks are left out
// here, as a fault in them is what it is for.
func TestSelfTestNoticesMisplacedTrust(t *testing.T) {
	t.Parallel()
	app, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	signer, err := newSigner("app", app, false)
	require.NoError(t, err)
	gullible := &Client{cfg: Config{AppID: "app", SellerID: "seller"}, signer: signer, trust: trust{keys: []alipayKey{{key: &app.PublicKey}}}}
	require.ErrorContains(t, gullible.selfTest(app), "forged answer was accepted")
}

// The same in certificate mode, and for each key of an overlap.
func TestSelfTestNoticesMisplacedTrustInOneCertificate(t *testing.T) {
	t.Parallel()
	app, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	theirs, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	signer, err := newSigner("app", app, false)
	require.NoError(t, err)
	signer.AppCertSN, signer.AliPayRootCertSN = "ours", "root"
	gullible := &Client{cfg: Config{AppID: "app", SellerID: "seller"}, signer: signer, trust: trust{
		appCertSN: "ours", rootCertSN: "root",
		keys: []alipayKey{{"one", &theirs.PublicKey}, {"two", &app.PublicKey}},
	}}
	require.ErrorContains(t, gullible.selfTest(app), "forged answer was accepted")
	gullible.trust.keys = gullible.trust.keys[:1]
	require.NoError(t, gullible.selfTest(app))
	signer.AppCertSN = ""
	require.ErrorContains(t, gullible.selfTest(app), "do not name our certificates")
}

func TestSelfTestNoticesLocalTime(t *testing.T) {
	t.Parallel()
	app, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	signer, err := newSigner("app", app, false)
	require.NoError(t, err)
	signer.SetLocation("America/New_York")
	require.ErrorContains(t, (&Client{signer: signer}).selfTest(app), "GMT+8")
}

// With one call an hour the second one is not sent, and does not wait for what it cannot live to see.
func TestOwnLimit(t *testing.T) {
	t.Parallel()
	measured, err := newMeter(nil)
	require.NoError(t, err)
	c := &Client{cfg: Config{Timeout: time.Minute}, limiter: rate.NewLimiter(rate.Every(time.Hour), 1), meter: measured}
	require.NoError(t, c.awaitTurn(t.Context(), methodQuery))
	err = c.call(t.Context(), request{method: methodQuery}, nil)
	require.ErrorIs(t, err, ErrOwnLimit)
	failed, ok := errors.AsType[*Error](err)
	require.True(t, ok)
	require.Equal(t, KindThrottled, failed.Kind)
	require.True(t, failed.Temporary())

	require.InDelta(t, 20, float64(newLimiter(0).Limit()), 0)
	require.InDelta(t, 7, float64(newLimiter(7).Limit()), 0)
	require.Equal(t, 1, newLimiter(7).Burst(), "a burst would be more than that in its first second")
}

func TestBillAddressInProduction(t *testing.T) {
	t.Parallel()
	c := &Client{cfg: Config{Production: true}, gateway: productionGateway}
	for address, ok := range map[string]bool{
		"http://dwbillcenter.alipay.com/x": true, "https://dwbillcenter.alipaydev.com/x": false, "http://127.0.0.1:8090/x": false,
	} {
		_, err := c.billAddress(address)
		require.Equal(t, ok, err == nil, address)
	}
}
