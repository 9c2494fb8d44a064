package sandbox_test

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

func TestGenerateKeysKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "keys")
	require.NoError(t, sandbox.GenerateKeys(dir, false))
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(text)
	}
	for name, mode := range map[string]os.FileMode{
		sandbox.AppPrivateKeyFile: 0o600, sandbox.AlipayPrivateKeyFile: 0o600,
		sandbox.AppPublicKeyFile: 0o644, sandbox.AlipayPublicKeyFile: 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
	private, public := read(sandbox.AppPrivateKeyFile), read(sandbox.AppPublicKeyFile)
	require.NotEqual(t, private, read(sandbox.AlipayPrivateKeyFile))

	require.NoError(t, os.Remove(filepath.Join(dir, sandbox.AppPublicKeyFile)))
	require.NoError(t, sandbox.GenerateKeys(dir, false))
	require.Equal(t, private, read(sandbox.AppPrivateKeyFile))
	require.Equal(t, public, read(sandbox.AppPublicKeyFile))
	require.NoError(t, sandbox.GenerateKeys(dir, true))
	require.NotEqual(t, private, read(sandbox.AppPrivateKeyFile))

	require.NoError(t, os.WriteFile(filepath.Join(dir, sandbox.AppPrivateKeyFile), []byte("secret rubbish"), 0o600))
	err := sandbox.GenerateKeys(dir, false)
	require.ErrorContains(t, err, sandbox.AppPrivateKeyFile)
	require.NotContains(t, err.Error(), "secret rubbish")
}

func TestKeyForms(t *testing.T) {
	t.Parallel()
	keys := sandboxtest.Keys()
	block, _ := pem.Decode([]byte(keys[sandbox.AlipayPrivateKeyFile]))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	pkcs1 := x509.MarshalPKCS1PrivateKey(rsaKey(t, key))
	for name, c := range map[string]struct {
		public, private string
		fault           string
	}{
		"PKCS#8 PEM":  {keys[sandbox.AppPublicKeyFile], keys[sandbox.AlipayPrivateKeyFile], ""},
		"bare base64": {sandboxtest.Bare(keys[sandbox.AppPublicKeyFile]), sandboxtest.Bare(keys[sandbox.AlipayPrivateKeyFile]), ""},
		"PKCS#1 PEM":  {keys[sandbox.AppPublicKeyFile], string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: pkcs1})), ""},
		"swapped":     {keys[sandbox.AlipayPrivateKeyFile], keys[sandbox.AppPublicKeyFile], "not an RSA key"},
		"none":        {"", "", "not an RSA key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := sandbox.New(sandbox.Config{
				Apps: []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: c.public}}, PrivateKey: c.private,
			})
			if c.fault == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.fault)
		})
	}
}

func TestConfigFaultsAreReportedTogether(t *testing.T) {
	t.Parallel()
	app := sandbox.App{ID: "1", PublicKey: "x"}
	_, err := sandbox.New(sandbox.Config{Apps: []sandbox.App{app, app}})
	for _, part := range []string{"public key of app", "seller id", "twice", "private key"} {
		require.ErrorContains(t, err, part)
	}
	_, err = sandbox.New(sandbox.Config{})
	require.ErrorContains(t, err, "no app")
}

func TestServeEndsThoughARequestHangs(t *testing.T) {
	t.Parallel()
	keys := sandboxtest.Keys()
	server, err := sandbox.New(sandbox.Config{
		Apps:       []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: keys[sandbox.AppPublicKeyFile]}},
		PrivateKey: keys[sandbox.AlipayPrivateKeyFile], StateFile: filepath.Join(t.TempDir(), "state"),
	})
	require.NoError(t, err)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()

	w := &world{t: t, clock: &clock{}, merchant: newMerchant(t), url: "http://" + listener.Addr().String()}
	w.gopay, w.strict = gopayClient(t, w.url), strictClient(t, w.url)
	arrived := make(chan struct{})
	w.merchant.answers(func(http.ResponseWriter, int) {
		close(arrived)
		<-t.Context().Done() // never answers
	})
	w.paid("T1")
	<-arrived
	w.faults(`{"gateway":{"hang":1}}`)
	reading, failed := make(chan struct{}), make(chan error, 1)
	go func() { failed <- hangingRequest(w.url, func() { close(reading) }) }()
	<-reading
	stop()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("still serving")
	}
	require.Error(t, <-failed)
}

// hangingRequest asks the gateway and calls reading once the gateway reads the body.
func hangingRequest(base string, reading func()) error {
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got100Continue: reading})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/gateway.do?method=alipay.trade.query", strings.NewReader("a=b"))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Expect", "100-continue")
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r)
	if err == nil {
		err = response.Body.Close()
	}
	return err
}

// BenchmarkPayAmong10000 shows that a payment costs the same with 10 000 trades on the books.
func BenchmarkPayAmong10000(b *testing.B) {
	for _, before := range []int{0, 10_000} {
		b.Run(fmt.Sprint(before), func(b *testing.B) { benchmarkPay(b, before) })
	}
}

func benchmarkPay(b *testing.B, before int) {
	b.Helper()
	keys := sandboxtest.Keys()
	server, err := sandbox.New(sandbox.Config{
		Apps:       []sandbox.App{{ID: appID, SellerID: sellerID, PublicKey: keys[sandbox.AppPublicKeyFile]}},
		PrivateKey: keys[sandbox.AlipayPrivateKeyFile], StateFile: filepath.Join(b.TempDir(), "state"),
	})
	require.NoError(b, err)
	client, err := smartwalle.New(appID, sandboxtest.Bare(keys[sandbox.AppPrivateKeyFile]), false, smartwalle.WithTimeLocation(time.FixedZone("", 8*60*60)))
	require.NoError(b, err)
	handler := server.Handler()
	buy := func(i int) {
		number := fmt.Sprintf("T%d", i)
		values, err := client.URLValues(smartwalle.TradeWapPay{Trade: smartwalle.Trade{
			OutTradeNo: number, Subject: "x", TotalAmount: "1", ProductCode: "QUICK_WAP_WAY", NotifyURL: "http://127.0.0.1:1",
		}})
		require.NoError(b, err)
		for _, r := range []*http.Request{
			httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/gateway.do?"+values.Encode(), nil),
			httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/control/trades/"+number+"/pay", nil),
		} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			require.Less(b, w.Code, 400, w.Body.String())
		}
	}
	for i := range before {
		buy(i)
	}
	b.ResetTimer()
	for i := range b.N {
		buy(before + i)
	}
}

func rsaKey(t *testing.T, key any) *rsa.PrivateKey {
	t.Helper()
	private, ok := key.(*rsa.PrivateKey)
	require.True(t, ok)
	return private
}
