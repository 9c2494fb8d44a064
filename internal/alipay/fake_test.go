package alipay_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // to see it refused
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
)

const (
	appID    = "9021000100000001"
	sellerID = "2088100000000001"
	payNo    = "1700000000000000001"
)

// keys are made once, and the same in every process: a fuzzing worker must be able to judge what its parent signed.
var keys = sync.OnceValue(func() (k struct{ app, alipay, next, stranger *rsa.PrivateKey }) {
	k.app, k.alipay, k.stranger, k.next = fixedKey(1), fixedKey(2), fixedKey(3), fixedKey(4)
	return k
})

// fixedKey is an RSA key of 2048 bits that anybody can work out from its seed.
func fixedKey(seed byte) *rsa.PrivateKey {
	random := mathrand.NewChaCha8([32]byte{seed})
	p, q, one, e := fixedPrime(random), fixedPrime(random), big.NewInt(1), big.NewInt(65537)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: int(e.Int64())},
		D:         new(big.Int).ModInverse(e, phi),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	return key
}

func fixedPrime(random io.Reader) *big.Int {
	bytes := make([]byte, 128)
	for {
		_, _ = io.ReadFull(random, bytes)
		bytes[0] |= 0xc0
		bytes[127] |= 1
		if p := new(big.Int).SetBytes(bytes); p.ProbablyPrime(10) {
			return p
		}
	}
}

func config() alipay.Config {
	return alipay.Config{
		AppID: appID, SellerID: sellerID,
		PrivateKey:      privatePEM(keys().app),
		AlipayPublicKey: publicPEM(&keys().alipay.PublicKey, "PUBLIC KEY"),
		NotifyURL:       "https://pay.example.com/orders/paynotify",
		ReturnURL:       "https://pay.example.com/?a=1&b=2",
		Timeout:         5 * time.Second,
	}
}

func newClient(tb testing.TB, change ...func(*alipay.Config)) *alipay.Client {
	tb.Helper()
	cfg := config()
	for _, f := range change {
		f(&cfg)
	}
	client, err := alipay.New(cfg)
	require.NoError(tb, err)
	return client
}

// gateway serves one handler as gateway.do, after checking what any gateway would: our signature.
func gateway(
	t *testing.T, answer func(method string, biz map[string]string) string, change ...func(*alipay.Config),
) *alipay.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if !signedByApp(r.Form) {
			http.Error(w, "bad request signature", http.StatusTeapot)
			return
		}
		var biz map[string]string
		_ = json.Unmarshal([]byte(r.Form.Get("biz_content")), &biz)
		w.Header().Set("Content-Type", "text/html;charset=utf-8")
		_, _ = fmt.Fprint(w, answer(r.Form.Get("method"), biz))
	}))
	t.Cleanup(server.Close)
	return newClient(t, append(change, func(c *alipay.Config) { c.Gateway = server.URL })...)
}

// signedByApp is the gateway's check: every parameter but sign, sorted, raw.
func signedByApp(form url.Values) bool {
	fields := map[string]string{}
	for key, values := range form {
		if key != "sign" && values[0] != "" {
			fields[key] = values[0]
		}
	}
	signature, err := base64.StdEncoding.DecodeString(form.Get("sign"))
	digest := sha256.Sum256([]byte(content(fields)))
	return err == nil && rsa.VerifyPKCS1v15(&keys().app.PublicKey, crypto.SHA256, digest[:], signature) == nil
}

func content(fields map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		pairs = append(pairs, key+"="+fields[key])
	}
	return strings.Join(pairs, "&")
}

func sign(key *rsa.PrivateKey, text string) string {
	digest := sha256.Sum256([]byte(text))
	return signDigest(key, crypto.SHA256, digest[:])
}

func signSHA1(key *rsa.PrivateKey, text string) string {
	digest := sha1.Sum([]byte(text)) //nolint:gosec // to see it refused
	return signDigest(key, crypto.SHA1, digest[:])
}

func signDigest(key *rsa.PrivateKey, hash crypto.Hash, digest []byte) string {
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, hash, digest)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(signature)
}

// signed wraps a node as Alipay does.
func signed(method, node string) string {
	return envelope(method, node, sign(keys().alipay, node))
}

func envelope(method, node, signature string) string {
	return fmt.Sprintf(`{"%s_response":%s,"sign":"%s"}`, strings.ReplaceAll(method, ".", "_"), node, signature)
}

func refused(code, subCode string) string {
	return fmt.Sprintf(`{"code":"%s","msg":"Business Failed","sub_code":"%s","sub_msg":"交易不存在","out_trade_no":"%s"}`,
		code, subCode, payNo)
}

func privatePEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func publicPEM(key *rsa.PublicKey, kind string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: publicDER(key)}))
}

func publicDER(key *rsa.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return der
}
