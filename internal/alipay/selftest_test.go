package alipay

import (
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/stretchr/testify/require"
)

// The self-test must notice a client that believes what anyone but Alipay has signed. New's other checks are left out
// here, as a fault in them is what it is for.
func TestSelfTestNoticesMisplacedTrust(t *testing.T) {
	t.Parallel()
	app, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	signer, err := newSigner("app", app, false)
	require.NoError(t, err)
	gullible := &Client{cfg: Config{AppID: "app", SellerID: "seller"}, signer: signer, alipayKey: &app.PublicKey}
	require.ErrorContains(t, gullible.selfTest(app), "forged answer was accepted")
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
