package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/joho/godotenv"
	"github.com/stretchr/testify/require"
)

func allParts() []Part {
	return []Part{NeedDatabase, NeedAMQP, NeedTemporal, NeedHTTP, NeedJWT, NeedAlipay}
}

// keys are the application's and Alipay's, made once.
var keys = sync.OnceValue(func() (k struct{ app, alipay, small *rsa.PrivateKey }) {
	k.app, k.alipay, k.small = newKey(2048), newKey(2048), newKey(1024)
	return k
})

func newKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func pemOf(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func publicPEM(public any) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	return pemOf("PUBLIC KEY", der, err)
}

func privatePEM(key *rsa.PrivateKey) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pemOf("PRIVATE KEY", der, err)
}

// certPEM is a certificate for key; who signed it plays no part.
func certPEM(key *rsa.PublicKey) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key, keys().alipay)
	return pemOf("CERTIFICATE", der, err)
}

// certificates is the good environment in certificate mode, changed.
func certificates(changes map[string]string) []string {
	all := map[string]string{
		"ALIPAY_PUBLIC_KEY": "", "ALIPAY_APP_CERT": certPEM(&keys().app.PublicKey),
		"ALIPAY_ROOT_CERT": certPEM(&keys().alipay.PublicKey), "ALIPAY_CERT": certPEM(&keys().alipay.PublicKey),
	}
	maps.Copy(all, changes)
	return with(all)
}

const secret32 = "0123456789-0123456789-0123456789"

// goodEnvironment is all that a development installation has to set.
func goodEnvironment() map[string]string {
	return map[string]string{
		"DATABASE_URL":       "postgres://u:db-password@db:5432/coursepay?sslmode=disable",
		"AMQP_URL":           "amqp://u:mq-password@mq:5672/shop",
		"PUBLIC_URL":         "http://10.0.0.1:8080",
		"JWT_SECRET":         secret32,
		"ALIPAY_GATEWAY":     "http://127.0.0.1:8090/gateway.do",
		"ALIPAY_APP_ID":      "2021001122334455",
		"ALIPAY_SELLER_ID":   "2088102176112233",
		"ALIPAY_PRIVATE_KEY": privatePEM(keys().app),
		"ALIPAY_PUBLIC_KEY":  publicPEM(&keys().alipay.PublicKey),
	}
}

// with changes the good environment; an empty value removes a variable.
func with(changes map[string]string) []string {
	all := goodEnvironment()
	maps.Copy(all, changes)
	return environ(all)
}

func production(changes map[string]string) []string {
	all := map[string]string{"APP_ENV": "production", "PUBLIC_URL": "https://pay.example.com", "ALIPAY_GATEWAY": ""}
	maps.Copy(all, changes)
	return with(all)
}

func environ(all map[string]string) []string {
	var lines []string
	for name, value := range all {
		if value != "" {
			lines = append(lines, name+"="+value)
		}
	}
	return lines
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := Load(with(nil), allParts()...)
	require.NoError(t, err)
	require.Equal(t, "development", c.AppEnv)
	require.Equal(t, slog.LevelInfo, c.LogLevel)
	require.Equal(t, "text", c.LogFormat)
	require.Empty(t, c.MetricsAddr)
	require.Equal(t, 20, c.DBMaxConns)
	require.Equal(t, 20, c.AlipayMaxQPS)
	require.Zero(t, c.CodesAtOnce)
	require.Equal(t, "127.0.0.1:7233", c.TemporalAddress)
	require.Equal(t, "default", c.TemporalNamespace)
	require.Equal(t, ":8080", c.HTTPAddr)
	require.Equal(t, 15*time.Minute, c.OrderExpiry)
	require.Equal(t, []time.Duration{5e9, 10e9, 15e9, 30e9, 60e9}, c.PollSchedule)
	require.Equal(t, "http://10.0.0.1:8080", c.PublicURL)
}

func TestAnEmptyVariableCountsAsMissing(t *testing.T) {
	t.Parallel()
	c, err := Load(append(with(nil), "HTTP_ADDR=", "JWT_PUBLIC_KEY=", "JWT_SECRET_FILE=", "LOG_FORMAT="), allParts()...)
	require.NoError(t, err)
	require.Equal(t, ":8080", c.HTTPAddr)
	_, err = Load([]string{"JWT_SECRET="}, NeedJWT)
	require.ErrorContains(t, err, "JWT_SECRET: is missing")
	_, err = Load([]string{"DATABASE_URL="}, NeedDatabase)
	require.ErrorContains(t, err, "DATABASE_URL: is missing")
}

func TestProductionAcceptsARealInstallation(t *testing.T) {
	t.Parallel()
	c, err := Load(production(nil), allParts()...)
	require.NoError(t, err)
	require.True(t, c.InProduction())
	require.Empty(t, c.AlipayGateway)
}

func TestACommandNeedsOnlyItsParts(t *testing.T) {
	t.Parallel()
	c, err := Load([]string{
		"DATABASE_URL=postgres://db/coursepay",
		"JWT_SECRET_FILE=/not/mounted/here",
		"AMQP_URL=nonsense",
	}, NeedDatabase)
	require.NoError(t, err)
	require.Equal(t, "postgres://db/coursepay", c.DatabaseURL)
	require.Empty(t, c.AMQPURL)

	_, err = Load(nil, NeedDatabase)
	require.EqualError(t, err, "DATABASE_URL: is missing (or DATABASE_URL_FILE): "+
		"expected a URL such as postgres://user:password@host:5432/coursepay")

	_, err = Load(nil)
	require.NoError(t, err)
}

func TestAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Load([]string{
		"APP_ENV=prod", "LOG_LEVEL=loud", "LOG_FORMAT=xml", "METRICS_ADDR=9090",
		"DATABASE_URL=mysql://x", "DB_MAX_CONNS=many", "TEMPORAL_ADDRESS=temporal", "HTTP_ADDR=:99999",
		"PUBLIC_URL=pay.example.com", "ORDER_EXPIRY=soon", "POLL_SCHEDULE=5s,,10s",
	}, allParts()...)
	require.Error(t, err)
	for _, name := range []string{
		"APP_ENV", "LOG_LEVEL", "LOG_FORMAT", "METRICS_ADDR", "DATABASE_URL", "DB_MAX_CONNS", "AMQP_URL",
		"TEMPORAL_ADDRESS", "HTTP_ADDR", "PUBLIC_URL", "JWT_SECRET", "ALIPAY_APP_ID", "ALIPAY_SELLER_ID",
		"ALIPAY_PRIVATE_KEY", "ALIPAY_PUBLIC_KEY", "ORDER_EXPIRY", "POLL_SCHEDULE",
	} {
		require.Regexp(t, `(?m)^`+name+`: .*expected .+`, err.Error())
	}
	require.Len(t, strings.Split(err.Error(), "\n"), 17, "one line each:\n%v", err)
}

func TestFaults(t *testing.T) {
	t.Parallel()
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ecPublic := publicPEM(&ecKey.PublicKey)
	appPublic := publicPEM(&keys().app.PublicKey)
	tests := map[string]struct {
		env  []string
		want string // "" when it is right
	}{
		"postgres by socket":         {with(map[string]string{"DATABASE_URL": "postgres:///c?host=/run/postgresql"}), ""},
		"postgres without host":      {with(map[string]string{"DATABASE_URL": "postgres:///c"}), "DATABASE_URL: expected"},
		"no connections":             {with(map[string]string{"DB_MAX_CONNS": "0"}), "DB_MAX_CONNS: expected"},
		"amqps":                      {with(map[string]string{"AMQP_URL": "amqps://mq/"}), ""},
		"amqp over http":             {with(map[string]string{"AMQP_URL": "http://mq/"}), "AMQP_URL: expected"},
		"codes at once":              {with(map[string]string{"CODES_AT_ONCE": "200"}), ""},
		"codes below zero":           {with(map[string]string{"CODES_AT_ONCE": "-1"}), "CODES_AT_ONCE: expected"},
		"too many codes":             {with(map[string]string{"CODES_AT_ONCE": "10001"}), "CODES_AT_ONCE: expected"},
		"any free port":              {with(map[string]string{"HTTP_ADDR": "127.0.0.1:0"}), ""},
		"temporal without host":      {with(map[string]string{"TEMPORAL_ADDRESS": ":7233"}), "TEMPORAL_ADDRESS: expected"},
		"public URL with a path":     {with(map[string]string{"PUBLIC_URL": "https://a.example/api"}), ""},
		"public URL, trailing slash": {with(map[string]string{"PUBLIC_URL": "https://a.example/"}), "PUBLIC_URL: expected"},
		"public URL, query":          {with(map[string]string{"PUBLIC_URL": "https://a.example?a=b"}), "PUBLIC_URL: expected"},
		"public URL, fragment":       {with(map[string]string{"PUBLIC_URL": "https://a.example#a"}), "PUBLIC_URL: expected"},
		"public URL, password":       {with(map[string]string{"PUBLIC_URL": "https://u:p@a.example"}), "PUBLIC_URL: expected"},
		"public URL, no host":        {with(map[string]string{"PUBLIC_URL": "https://:443"}), "PUBLIC_URL: expected"},
		"public URL, other scheme":   {with(map[string]string{"PUBLIC_URL": "ftp://a.example"}), "PUBLIC_URL: expected"},
		"production without https":   {production(map[string]string{"PUBLIC_URL": "http://a.example"}), "PUBLIC_URL: expected https"},

		"two JWT keys":               {with(map[string]string{"JWT_PUBLIC_KEY": ecPublic}), "JWT_SECRET: is given beside JWT_PUBLIC_KEY"},
		"JWT public key":             {with(map[string]string{"JWT_SECRET": "", "JWT_PUBLIC_KEY": ecPublic}), ""},
		"JWT key is no key":          {with(map[string]string{"JWT_SECRET": "", "JWT_PUBLIC_KEY": "x"}), "JWT_PUBLIC_KEY: expected"},
		"JWT key is private":         {with(map[string]string{"JWT_SECRET": "", "JWT_PUBLIC_KEY": privatePEM(keys().app)}), "JWT_PUBLIC_KEY: expected"},
		"short secret, development":  {with(map[string]string{"JWT_SECRET": "short"}), ""},
		"short secret, production":   {production(map[string]string{"JWT_SECRET": secret32[1:]}), "JWT_SECRET: expected at least 32 bytes"},
		"public key in production":   {production(map[string]string{"JWT_SECRET": "", "JWT_PUBLIC_KEY": ecPublic}), ""},
		"gateway in production":      {production(map[string]string{"ALIPAY_GATEWAY": "http://x/gateway.do"}), "ALIPAY_GATEWAY: is refused"},
		"no gateway in development":  {with(map[string]string{"ALIPAY_GATEWAY": ""}), "ALIPAY_GATEWAY: is missing"},
		"gateway of no scheme":       {with(map[string]string{"ALIPAY_GATEWAY": "localhost/gateway.do"}), "ALIPAY_GATEWAY: expected"},
		"sandbox app in production":  {production(map[string]string{"ALIPAY_APP_ID": "9021000112233445"}), "ALIPAY_APP_ID: belongs to Alipay's sandbox"},
		"simulator in production":    {production(map[string]string{"SANDBOX_URL": "http://x"}), "SANDBOX_URL: belongs to the simulator"},
		"simulator key, production":  {production(map[string]string{"SANDBOX_PRIVATE_KEY_FILE": "k.pem"}), "SANDBOX_PRIVATE_KEY_FILE: belongs to the simulator"},
		"app id is no number":        {with(map[string]string{"ALIPAY_APP_ID": "app"}), "ALIPAY_APP_ID: expected"},
		"seller id is no number":     {with(map[string]string{"ALIPAY_SELLER_ID": "a@b.c"}), "ALIPAY_SELLER_ID: expected"},
		"private key, PKCS#1 base64": {with(map[string]string{"ALIPAY_PRIVATE_KEY": base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PrivateKey(keys().app))}), ""},
		"private key, too small":     {with(map[string]string{"ALIPAY_PRIVATE_KEY": privatePEM(keys().small)}), "ALIPAY_PRIVATE_KEY: expected"},
		"private key is public":      {with(map[string]string{"ALIPAY_PRIVATE_KEY": appPublic}), "ALIPAY_PRIVATE_KEY: expected"},
		"public key, too small":      {with(map[string]string{"ALIPAY_PUBLIC_KEY": publicPEM(&keys().small.PublicKey)}), "ALIPAY_PUBLIC_KEY: expected"},
		"public key is elliptic":     {with(map[string]string{"ALIPAY_PUBLIC_KEY": ecPublic}), "ALIPAY_PUBLIC_KEY: expected"},
		"public key is our own":      {with(map[string]string{"ALIPAY_PUBLIC_KEY": appPublic}), "ALIPAY_PUBLIC_KEY: expected"},
		"next public key":            {with(map[string]string{"ALIPAY_PUBLIC_KEY_NEXT": publicPEM(&newKey(2048).PublicKey)}), ""},
		"next public key is our own": {with(map[string]string{"ALIPAY_PUBLIC_KEY_NEXT": appPublic}), "ALIPAY_PUBLIC_KEY_NEXT: expected"},
		"next public key alone":      {with(map[string]string{"ALIPAY_PUBLIC_KEY": "", "ALIPAY_PUBLIC_KEY_NEXT": publicPEM(&keys().alipay.PublicKey)}), "ALIPAY_PUBLIC_KEY: is missing"},
		"certificate mode":           {certificates(nil), ""},
		"both modes":                 {certificates(map[string]string{"ALIPAY_PUBLIC_KEY": publicPEM(&keys().alipay.PublicKey)}), "ALIPAY_PUBLIC_KEY: is given beside ALIPAY_APP_CERT"},
		"key beside one certificate": {with(map[string]string{"ALIPAY_CERT": certPEM(&keys().alipay.PublicKey)}), "ALIPAY_PUBLIC_KEY: is given beside ALIPAY_CERT"},
		"next key beside certs":      {certificates(map[string]string{"ALIPAY_PUBLIC_KEY_NEXT": publicPEM(&keys().alipay.PublicKey)}), "ALIPAY_PUBLIC_KEY_NEXT: is given beside ALIPAY_APP_CERT"},
		"no root certificate":        {certificates(map[string]string{"ALIPAY_ROOT_CERT": ""}), "ALIPAY_ROOT_CERT: is missing (or ALIPAY_ROOT_CERT_FILE): expected"},
		"no certificate of Alipay's": {certificates(map[string]string{"ALIPAY_CERT": "", "ALIPAY_CERT_NEXT": certPEM(&keys().alipay.PublicKey)}), "ALIPAY_CERT: is missing"},
		"next certificate":           {certificates(map[string]string{"ALIPAY_CERT_NEXT": certPEM(&newKey(2048).PublicKey)}), ""},
		"another app's certificate":  {certificates(map[string]string{"ALIPAY_APP_CERT": certPEM(&keys().alipay.PublicKey)}), "ALIPAY_APP_CERT: expected"},
		"our certificate as theirs":  {certificates(map[string]string{"ALIPAY_CERT": certPEM(&keys().app.PublicKey)}), "ALIPAY_CERT: expected"},
		"a key for a certificate":    {certificates(map[string]string{"ALIPAY_CERT": publicPEM(&keys().alipay.PublicKey)}), "ALIPAY_CERT: expected"},
		"certificate, small key":     {certificates(map[string]string{"ALIPAY_CERT": certPEM(&keys().small.PublicKey)}), "ALIPAY_CERT: expected"},
		"rubbish for a root":         {certificates(map[string]string{"ALIPAY_ROOT_CERT": "x"}), "ALIPAY_ROOT_CERT: expected"},
		"an unreadable root before":  {certificates(map[string]string{"ALIPAY_ROOT_CERT": pemOf("CERTIFICATE", []byte("SM2"), nil) + certPEM(&keys().alipay.PublicKey)}), ""},
		"no calls per second":        {with(map[string]string{"ALIPAY_MAX_QPS": "0"}), "ALIPAY_MAX_QPS: expected"},

		"expiry of 10s, development": {with(map[string]string{"ORDER_EXPIRY": "10s"}), ""},
		"expiry of 9s, development":  {with(map[string]string{"ORDER_EXPIRY": "9s"}), "ORDER_EXPIRY: expected"},
		"expiry of 5m, production":   {production(map[string]string{"ORDER_EXPIRY": "5m"}), ""},
		"expiry of 4m, production":   {production(map[string]string{"ORDER_EXPIRY": "4m59s"}), "ORDER_EXPIRY: expected"},
		"expiry of 16 days":          {with(map[string]string{"ORDER_EXPIRY": "384h"}), "ORDER_EXPIRY: expected"},
		"polls with spaces":          {with(map[string]string{"POLL_SCHEDULE": "1s, 2s"}), ""},
		"poll at once":               {with(map[string]string{"POLL_SCHEDULE": "0s,2s"}), "POLL_SCHEDULE: expected"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(tt.env, allParts()...)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "\n", "one mistake, one fault")
		})
	}
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}

	for name, value := range goodEnvironment() {
		c, err := Load(with(map[string]string{name: "", name + "_FILE": file("secret", value+"\r\n")}), allParts()...)
		if strings.HasSuffix(name, "_URL") && name != "PUBLIC_URL" || strings.HasSuffix(name, "_KEY") || name == "JWT_SECRET" {
			require.NoError(t, err)
			want, err := Load(with(map[string]string{name: strings.TrimSpace(value)}), allParts()...)
			require.NoError(t, err)
			require.EqualExportedValues(t, want, c)
			continue
		}
		require.ErrorContains(t, err, name+": is missing", "no secret, so no file")
	}

	_, err := Load(with(map[string]string{"JWT_SECRET_FILE": file("secret", "other")}), NeedJWT)
	require.EqualError(t, err, "JWT_SECRET: is given twice: set either it or JWT_SECRET_FILE")
	_, err = Load([]string{"JWT_SECRET_FILE=" + file("secret", "\n")}, NeedJWT)
	require.EqualError(t, err, "JWT_SECRET: JWT_SECRET_FILE names an empty file")
	_, err = Load([]string{"JWT_SECRET_FILE=/nowhere/at-all"}, NeedJWT)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Load(production(map[string]string{"JWT_SECRET": "", "JWT_SECRET_FILE": file(".coursepay/jwt", secret32)}), NeedJWT)
	require.ErrorContains(t, err, "JWT_SECRET: JWT_SECRET_FILE names a file of the development stack")
}

func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	canary := "c4n4ry"
	faults := map[string]string{
		"DATABASE_URL": "postgres://u:%zz" + canary + "@db", "AMQP_URL": "amqp://" + canary + ":x y@",
		"JWT_SECRET": canary, "JWT_PUBLIC_KEY": canary, "ALIPAY_PRIVATE_KEY": canary, "ALIPAY_PUBLIC_KEY": canary,
		"ALIPAY_APP_CERT_FILE": canary, "APP_ENV": "production",
	}
	_, err := Load(with(faults), allParts()...)
	require.Error(t, err)
	require.NotContains(t, err.Error(), canary)

	c, err := Load(with(map[string]string{
		"JWT_SECRET":   "https://" + canary,
		"DATABASE_URL": "postgres://" + canary + ":" + canary + "@db:5432/coursepay?password=" + canary,
	}), allParts()...)
	require.NoError(t, err)
	c.AlipayPrivateKey = canary
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("start", "config", c)
	require.True(t, json.Valid(logged.Bytes()))
	printed := fmt.Sprint(c) + fmt.Sprintf("%v %+v %#v %s", c, &c, c, c) + logged.String()
	require.NotContains(t, printed, canary)
	require.Contains(t, printed, "postgres://***@db:5432/coursepay", "where it leads to helps an operator")
	require.Contains(t, printed, "15m0s")
}

// The example is the reference of all variables: it knows each one, no other, and shows the true defaults.
func TestExampleDocumentsEveryVariable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../.env.example")
	require.NoError(t, err)
	shown := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#? ?([A-Z][A-Z0-9_]*)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		require.NotContains(t, shown, m[1], "twice in the example")
		shown[m[1]] = m[2]
	}
	defaults := defaultsByVariable()
	for _, v := range variables() {
		value, plain := shown[v.name]
		_, file := shown[v.fileName()]
		require.True(t, plain || file && v.secret != noSecret, "%s is not in the example", v.name)
		if def := defaults[v.name]; def != "" {
			require.Equal(t, def, value, "default of %s", v.name)
		}
		delete(shown, v.name)
		if v.secret != noSecret {
			delete(shown, v.fileName())
		}
	}
	require.Empty(t, shown, "in the example, but unknown to the program")
}

// What is not commented out in the example is a configuration that starts, once its key files exist.
func TestExampleLoads(t *testing.T) {
	t.Parallel()
	example, err := godotenv.Read("../../.env.example")
	require.NoError(t, err)
	good := goodEnvironment()
	for _, name := range []string{"ALIPAY_PRIVATE_KEY", "ALIPAY_PUBLIC_KEY"} {
		require.Contains(t, example, name+"_FILE")
		delete(example, name+"_FILE")
		example[name] = good[name]
	}
	_, err = Load(environ(example), allParts()...)
	require.NoError(t, err)
}

func TestEveryFieldSaysWhatItExpects(t *testing.T) {
	t.Parallel()
	for _, v := range variables() {
		require.NotEmpty(t, v.name)
		require.NotEmpty(t, v.expect, v.name)
	}
	for name := range rules() {
		require.Contains(t, variableNames(), name, "a rule for no variable")
	}
}

func variableNames() (names []string) {
	for _, v := range variables() {
		names = append(names, v.name)
	}
	return names
}

func defaultsByVariable() map[string]string {
	all := map[string]string{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		all[f.Tag.Get("env")] = f.Tag.Get("envDefault")
	}
	return all
}
