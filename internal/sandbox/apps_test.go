package sandbox_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

func writeApps(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{sandbox.AppPublicKeyFile, sandbox.AppCertFile} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(sandboxtest.Keys()[name]), 0o600))
	}
	path := filepath.Join(dir, "apps.json")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestAppsFile(t *testing.T) {
	t.Parallel()
	apps, err := sandbox.ReadApps(writeApps(t, `[
		{"app_id":"`+appID+`","seller_id":"1","public_key_file":"app-public.pem"},
		{"app_id":"2","seller_id":"2","app_cert_file":"app-cert.crt","buyer_open_id":true}
	]`))
	require.NoError(t, err)
	require.Equal(t, []sandbox.App{
		{ID: appID, SellerID: "1", PublicKey: sandboxtest.Keys()[sandbox.AppPublicKeyFile]},
		{ID: "2", SellerID: "2", AppCert: sandboxtest.Keys()[sandbox.AppCertFile], BuyerOpenID: true},
	}, apps)

	w := newWorld(t, func(c *sandbox.Config) { // both modes at one sandbox
		inCertificateMode(c)
		c.Apps = apps
	})
	_, err = w.gopay.TradeQuery(t.Context(), bodyMap("out_trade_no", "T1"))
	requireBizError(t, err, "40004", "ACQ.TRADE_NOT_EXIST")
	answer := w.call(t, map[string]string{"app_id": "2", "method": "alipay.trade.query", "biz_content": `{"out_trade_no":"T1"}`})
	require.Equal(t, "isv.missing-app-cert-sn", answer.body.SubCode)
}

func TestAppsFileIsStrict(t *testing.T) {
	t.Parallel()
	_, err := sandbox.ReadApps(writeApps(t, `[{"app_id":"1","pubic_key_file":"x"}]`))
	require.ErrorContains(t, err, "pubic_key_file")
	_, err = sandbox.ReadApps(writeApps(t, `[{"public_key_file":"here.pem"},{"app_cert_file":"there.crt"}]`))
	require.ErrorContains(t, err, "here.pem")
	require.ErrorContains(t, err, "there.crt")
	_, err = sandbox.ReadApps("nowhere.json")
	require.ErrorContains(t, err, "nowhere.json")
}
