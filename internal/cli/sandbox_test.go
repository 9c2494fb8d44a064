package cli

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
)

// settings is what somebody gets who sets nothing but given.
func settings(given sandboxSettings) sandboxSettings {
	all := sandboxSettings{}
	for _, f := range sandboxFlags {
		all[f.name] = f.value
	}
	maps.Copy(all, given)
	return all
}

func TestSandboxSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, sandbox.GenerateKeys(dir, false))
	apps := filepath.Join(dir, "apps.json")
	require.NoError(t, os.WriteFile(apps, []byte(`[{"app_id":"1","seller_id":"11","public_key_file":"app-public.pem"},`+
		`{"app_id":"2","seller_id":"22","app_cert_file":"app-cert.crt"}]`), 0o600))
	own := filepath.Join(dir, sandbox.AlipayPrivateKeyFile)
	for name, c := range map[string]struct {
		given sandboxSettings
		apps  int
		certs bool
	}{
		"public key":  {sandboxSettings{"app-public-key-file": filepath.Join(dir, sandbox.AppPublicKeyFile)}, 1, false},
		"certificate": {sandboxSettings{"app-cert-file": filepath.Join(dir, sandbox.AppCertFile), "buyer-open-id": "true"}, 1, true},
		"apps file":   {sandboxSettings{"apps-file": apps, "refund-pause": "0"}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.given["private-key-file"] = own
			config, err := settings(c.given).config()
			require.NoError(t, err)
			require.Len(t, config.Apps, c.apps)
			require.Equal(t, c.certs, config.AlipayCert != "")
			require.Equal(t, c.given["buyer-open-id"] == "true", config.Apps[0].BuyerOpenID)
			require.Equal(t, c.given["refund-pause"] != "0", config.RefundPause == 3*time.Second)
			_, err = sandbox.New(config)
			require.NoError(t, err)
		})
	}
}

func TestSandboxSettingsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, sandbox.GenerateKeys(dir, false))
	for name, given := range map[string]sandboxSettings{
		"notify schedule": {"notify-schedule": "soon"},
		"refund pause":    {"refund-pause": "-1s"},
		"notify-close":    {"notify-close": "perhaps"},
		"buyer-open-id":   {"buyer-open-id": "perhaps"},
		"apps file":       {"apps-file": filepath.Join(dir, "none.json")},
	} {
		given["private-key-file"] = filepath.Join(dir, sandbox.AlipayPrivateKeyFile)
		if name != "apps file" {
			given["app-public-key-file"] = filepath.Join(dir, sandbox.AppPublicKeyFile)
		}
		_, err := settings(given).config()
		require.ErrorContains(t, err, name)
	}
}
