package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

const secret = "a secret of the login service, long enough"

var now = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

var keys = sync.OnceValue(func() (k struct {
	rsa, small *rsa.PrivateKey
	ec, p384   *ecdsa.PrivateKey
}) {
	k.rsa, k.small = must(rsa.GenerateKey(rand.Reader, 2048)), must(rsa.GenerateKey(rand.Reader, 1024)) //nolint:gosec // weak on purpose: it is to be refused
	k.ec, k.p384 = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	return k
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func publicPEM(key crypto.Signer) string {
	der := must(x509.MarshalPKIXPublicKey(key.Public()))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func verifier(tb testing.TB, cfg Config) *Verifier {
	tb.Helper()
	cfg.Clock = clock
	v, err := NewVerifier(cfg)
	require.NoError(tb, err)
	return v
}

func sign(method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	return "Bearer " + must(jwt.NewWithClaims(method, claims).SignedString(key))
}

// signRaw signs a payload that need not be JSON at all.
func signRaw(payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(payload))
	signature := must(jwt.SigningMethodHS256.Sign(text, []byte(secret)))
	return "Bearer " + text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func good(changes jwt.MapClaims) jwt.MapClaims {
	all := jwt.MapClaims{"sub": "52", "exp": now.Add(time.Hour).Unix()}
	for name, value := range changes {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return all
}

func hs(changes jwt.MapClaims) string {
	return sign(jwt.SigningMethodHS256, []byte(secret), good(changes))
}

func TestAcceptedTokens(t *testing.T) {
	t.Parallel()
	v := verifier(t, Config{Secret: secret})
	original := jwt.MapClaims{
		"aud":         []string{"res1"},
		"user_name":   `{"cellphone":"1","id":"50","name":"学员","utype":"101001","permissions":[]}`,
		"scope":       []string{"all"},
		"authorities": []string{"p1"},
		"jti":         "f1",
		"client_id":   "WebApp",
		"sub":         nil,
	}
	tests := map[string]struct {
		header string
		want   User
	}{
		"the platform's own":    {hs(original), User{ID: "50"}},
		"plain sub":             {hs(nil), User{ID: "52"}},
		"user_name before sub":  {hs(jwt.MapClaims{"user_name": `{"id":"7"}`}), User{ID: "7"}},
		"user_name is null":     {signRaw(`{"user_name":null,"sub":"52","exp":4000000000}`), User{ID: "52"}},
		"numeric id":            {hs(jwt.MapClaims{"user_name": `{"id":9223372036854775807}`}), User{ID: "9223372036854775807"}},
		"numeric id, 20 digits": {hs(jwt.MapClaims{"user_name": `{"id":12345678901234567890}`}), User{ID: "12345678901234567890"}},
		"longest id":            {hs(jwt.MapClaims{"sub": strings.Repeat("学", 64)}), User{ID: strings.Repeat("学", 64)}},
		"ops":                   {hs(jwt.MapClaims{"authorities": []string{"p1", "ops"}}), User{ID: "52", Ops: true}},
		"no ops":                {hs(jwt.MapClaims{"authorities": []string{"OPS", "ops2", "xops"}}), User{ID: "52"}},
		"scheme's case":         {strings.Replace(hs(nil), "Bearer ", "bearer   ", 1), User{ID: "52"}},
		"expired within leeway": {hs(jwt.MapClaims{"exp": now.Add(-29 * time.Second).Unix()}), User{ID: "52"}},
		"nbf within leeway":     {hs(jwt.MapClaims{"nbf": now.Add(29 * time.Second).Unix()}), User{ID: "52"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, err := v.User(tt.header)
			require.NoError(t, err)
			require.Equal(t, tt.want, user)
		})
	}
}

func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	v := verifier(t, Config{Secret: secret})
	unsigned := must(jwt.NewWithClaims(jwt.SigningMethodNone, good(nil)).SignedString(jwt.UnsafeAllowNoneSignatureType))
	altered := func() string {
		parts, other := strings.Split(hs(nil), "."), strings.Split(hs(jwt.MapClaims{"sub": "1"}), ".")
		return parts[0] + "." + other[1] + "." + parts[2]
	}
	tests := map[string]struct {
		header string
		want   error
	}{
		"no header":              {"", ErrNoToken},
		"scheme alone":           {"Bearer", ErrNoToken},
		"empty token":            {"Bearer  ", ErrNoToken},
		"another scheme":         {"Basic dTpw", ErrNoToken},
		"token without scheme":   {strings.TrimPrefix(hs(nil), "Bearer "), ErrNoToken},
		"rubbish":                {"Bearer x", ErrInvalid},
		"two segments":           {"Bearer a.b", ErrInvalid},
		"expired":                {hs(jwt.MapClaims{"exp": now.Add(-31 * time.Second).Unix()}), ErrExpired},
		"expired and foreign":    {sign(jwt.SigningMethodHS256, []byte("x"), good(jwt.MapClaims{"exp": 1})), ErrInvalid},
		"no exp":                 {hs(jwt.MapClaims{"exp": nil}), ErrInvalid},
		"exp is text":            {hs(jwt.MapClaims{"exp": "tomorrow"}), ErrInvalid},
		"not valid yet":          {hs(jwt.MapClaims{"nbf": now.Add(31 * time.Second).Unix()}), ErrInvalid},
		"foreign key":            {sign(jwt.SigningMethodHS256, []byte("another"), good(nil)), ErrInvalid},
		"alg none":               {"Bearer " + unsigned, ErrInvalid},
		"HS384 with our secret":  {sign(jwt.SigningMethodHS384, []byte(secret), good(nil)), ErrInvalid},
		"RS256 with another key": {sign(jwt.SigningMethodRS256, keys().rsa, good(nil)), ErrInvalid},
		"altered payload":        {altered(), ErrInvalid},
		"signature cut":          {hs(nil)[:len(hs(nil))-4], ErrInvalid},
		"too long":               {hs(jwt.MapClaims{"jti": strings.Repeat("x", maxTokenBytes)}), ErrInvalid},
		"payload null":           {signRaw(`null`), ErrInvalid},
		"payload no JSON":        {signRaw(`{`), ErrInvalid},
		"nobody":                 {hs(jwt.MapClaims{"sub": nil}), ErrInvalid},
		"blank sub":              {hs(jwt.MapClaims{"sub": " "}), ErrInvalid},
		"sub with line break":    {hs(jwt.MapClaims{"sub": "1\n2"}), ErrInvalid},
		"sub with NUL":           {hs(jwt.MapClaims{"sub": "1\x00"}), ErrInvalid},
		"sub written backwards":  {hs(jwt.MapClaims{"sub": "1\u202e2"}), ErrInvalid},
		"huge sub":               {hs(jwt.MapClaims{"sub": strings.Repeat("1", 65)}), ErrInvalid},
		"huge numeric id":        {hs(jwt.MapClaims{"user_name": `{"id":` + strings.Repeat("1", 65) + `}`}), ErrInvalid},
		"id with exponent":       {hs(jwt.MapClaims{"user_name": `{"id":1e300}`}), ErrInvalid},
		"fractional id":          {hs(jwt.MapClaims{"user_name": `{"id":5.2}`}), ErrInvalid},
		"negative id":            {hs(jwt.MapClaims{"user_name": `{"id":-52}`}), ErrInvalid},
		"id is a list":           {hs(jwt.MapClaims{"user_name": `{"id":["52"]}`}), ErrInvalid},
		"id is null":             {hs(jwt.MapClaims{"user_name": `{"id":null}`}), ErrInvalid},
		"user_name without id":   {hs(jwt.MapClaims{"user_name": `{"name":"x"}`}), ErrInvalid},
		"user_name is no JSON":   {hs(jwt.MapClaims{"user_name": `t1`}), ErrInvalid},
		"user_name is an object": {hs(jwt.MapClaims{"user_name": map[string]string{"id": "52"}}), ErrInvalid},
		"authorities is text":    {hs(jwt.MapClaims{"authorities": "ops"}), ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user, err := v.User(tt.header)
			require.ErrorIs(t, err, tt.want)
			require.Zero(t, user)
		})
	}
}

func TestPublicKeys(t *testing.T) {
	t.Parallel()
	rs, es := keys().rsa, keys().ec
	byRSA := verifier(t, Config{PublicKeyPEM: publicPEM(rs)})
	byEC := verifier(t, Config{PublicKeyPEM: publicPEM(es)})
	rsToken := sign(jwt.SigningMethodRS256, rs, good(nil))
	esToken := sign(jwt.SigningMethodES256, es, good(nil))

	for v, token := range map[*Verifier]string{byRSA: rsToken, byEC: esToken} {
		user, err := v.User(token)
		require.NoError(t, err)
		require.Equal(t, User{ID: "52"}, user)
	}

	refused := map[string]struct {
		v      *Verifier
		header string
	}{
		"ES256 for RSA":               {byRSA, esToken},
		"RS256 for ECDSA":             {byEC, rsToken},
		"PS256 for RSA":               {byRSA, sign(jwt.SigningMethodPS256, rs, good(nil))},
		"RS512 for RSA":               {byRSA, sign(jwt.SigningMethodRS512, rs, good(nil))},
		"RSA public key as secret":    {byRSA, sign(jwt.SigningMethodHS256, []byte(publicPEM(rs)), good(nil))},
		"ECDSA public key as secret":  {byEC, sign(jwt.SigningMethodHS256, []byte(publicPEM(es)), good(nil))},
		"another RSA key":             {byRSA, sign(jwt.SigningMethodRS256, keys().small, good(nil))},
		"no signature for public key": {byRSA, rsToken[:strings.LastIndex(rsToken, ".")+1]},
	}
	for name, tt := range refused {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tt.v.User(tt.header)
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
}

func TestRefusedKeys(t *testing.T) {
	t.Parallel()
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(keys().rsa))}))
	for name, cfg := range map[string]Config{
		"none":        {},
		"both":        {Secret: secret, PublicKeyPEM: publicPEM(keys().rsa)},
		"no PEM":      {PublicKeyPEM: "canary"},
		"private key": {PublicKeyPEM: private},
		"RSA 1024":    {PublicKeyPEM: publicPEM(keys().small)},
		"P-384":       {PublicKeyPEM: publicPEM(keys().p384)},
	} {
		_, err := NewVerifier(cfg)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "canary")
	}
}

func TestIssue(t *testing.T) {
	t.Parallel()
	v := verifier(t, Config{Secret: secret})
	for _, want := range []User{{ID: "52"}, {ID: `a"b\学`, Ops: true}} {
		token, err := Issue([]byte(secret), want, time.Hour, now)
		require.NoError(t, err)
		got, err := v.User("Bearer " + token)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// The platform's other services read these tokens too, by the original's shape.
func TestIssueInThePlatformsShape(t *testing.T) {
	t.Parallel()
	token, err := Issue([]byte(secret), User{ID: "52", Ops: true}, time.Hour, now)
	require.NoError(t, err)
	payload := must(base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1]))
	var claims map[string]any
	require.NoError(t, json.Unmarshal(payload, &claims))
	require.JSONEq(t, `{"id":"52"}`, claims["user_name"].(string))
	require.Equal(t, "52", claims["sub"])
	require.Equal(t, []any{"ops"}, claims["authorities"])
	require.InDelta(t, now.Add(time.Hour).Unix(), claims["exp"], 0)
	require.NotEmpty(t, claims["jti"])

	other, err := Issue([]byte(secret), User{ID: "52"}, time.Hour, now)
	require.NoError(t, err)
	require.Contains(t, string(must(base64.RawURLEncoding.DecodeString(strings.Split(other, ".")[1]))), `"authorities":[]`)
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	_, err := Issue(nil, User{ID: "52"}, time.Hour, now)
	require.Error(t, err)
	for _, id := range []string{"", "1\n", "\xff", strings.Repeat("1", 65)} {
		_, err := Issue([]byte(secret), User{ID: id}, time.Hour, now)
		require.Error(t, err, "%q", id)
	}
}

// FuzzUser feeds what strangers send (a header) and what a careless issuer signs (a payload): no panic, only the named
// errors, none of them quoting the token, and never a user whose id is unusable.
func FuzzUser(f *testing.F) {
	for _, header := range []string{"", "Bearer ", "Bearer a.b.c", hs(nil), signRaw(`null`), signRaw(`{"exp":1e999}`)} {
		f.Add(header, "")
	}
	for _, payload := range []string{
		`null`, `[]`, `{}`, `{"exp":1e300,"sub":"1"}`, `{"exp":4000000000,"user_name":"{\"id\":52}"}`,
		`{"exp":4000000000,"user_name":"{\"id\":null}"}`, `{"exp":4000000000,"sub":"\u0000"}`, `{"exp":-1,"nbf":1e19}`,
	} {
		f.Add("", payload)
	}
	v := verifier(f, Config{Secret: secret})
	f.Fuzz(func(t *testing.T, header, payload string) {
		for _, h := range []string{header, signRaw(payload)} {
			user, err := v.User(h)
			if err == nil {
				require.True(t, validUserID(user.ID), "%q", user.ID)
				continue
			}
			require.Zero(t, user)
			require.True(t, errors.Is(err, ErrNoToken) || errors.Is(err, ErrExpired) || errors.Is(err, ErrInvalid), "%v", err)
			if _, token, _ := strings.Cut(h, " "); len(token) > 40 {
				require.NotContains(t, err.Error(), token)
			}
		}
	})
}
