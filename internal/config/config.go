// Package config reads the configuration from the environment, and from nowhere else.
//
// Every field of Config says in its tags which variable it comes from (env), what it is when the variable is missing or
// empty (envDefault), which parts of the program use it (part; none: all), whether those cannot do without it (required),
// what a right value looks like (expect), and whether it is a secret: a key, or a URL with a password in it. A secret may
// stand in a file instead, named by the variable with _FILE behind it.
package config

import (
	"log/slog"
	"net/url"
	"reflect"
	"time"
)

// Part is a part of the program that a command uses, and thereby a group of variables that it needs.
type Part string

// The parts. A command asks for those it uses: variables of the others are neither needed, nor read, nor checked, and
// their fields hold the defaults.
const (
	NeedDatabase Part = "database"
	NeedAMQP     Part = "amqp"
	NeedTemporal Part = "temporal"
	NeedHTTP     Part = "http"
	NeedJWT      Part = "jwt"
	NeedAlipay   Part = "alipay"
)

// The values of APP_ENV.
const (
	Development = "development"
	Test        = "test"
	Production  = "production"
)

// Config is the whole configuration. Load fills and checks it. Printing or logging it masks the secrets.
type Config struct {
	// AppEnv is development, test or production. Production insists on https and strong secrets, and refuses every
	// simulator.
	AppEnv string `env:"APP_ENV" envDefault:"development" expect:"development, test or production"`
	// LogLevel is the least level that is logged.
	LogLevel slog.Level `env:"LOG_LEVEL" envDefault:"info" expect:"debug, info, warn or error"`
	// LogFormat is text for people or json for machines.
	LogFormat string `env:"LOG_FORMAT" envDefault:"text" expect:"text or json"`
	// MetricsAddr is where Prometheus metrics are served. Empty: they are not served on an address of their own.
	MetricsAddr string `env:"METRICS_ADDR" expect:"[host]:port, such as :9090"`

	// DatabaseURL is Postgres' URL.
	DatabaseURL string `env:"DATABASE_URL" part:"database" required:"true" secret:"url" expect:"a URL such as postgres://user:password@host:5432/coursepay"`
	// DBMaxConns is how many connections to Postgres one process opens at most. Postgres itself allows 100 in all.
	DBMaxConns int `env:"DB_MAX_CONNS" envDefault:"20" part:"database" expect:"a whole number from 2 to 1000"`

	// AMQPURL is RabbitMQ's URL.
	AMQPURL string `env:"AMQP_URL" part:"amqp" required:"true" secret:"url" expect:"a URL such as amqp://user:password@host:5672/"`

	// TemporalAddress is the Temporal server's gRPC endpoint. TLS and API key come from the SDK's own variables.
	TemporalAddress string `env:"TEMPORAL_ADDRESS" envDefault:"127.0.0.1:7233" part:"temporal" expect:"host:port, such as 127.0.0.1:7233"`
	// TemporalNamespace is the namespace on that server.
	TemporalNamespace string `env:"TEMPORAL_NAMESPACE" envDefault:"default" part:"temporal" expect:"a namespace's name"`

	// TemporalUIURL is where operators reach Temporal's Web UI: the ops interfaces link there. Empty: no links.
	TemporalUIURL string `env:"TEMPORAL_UI_URL" part:"http" expect:"an absolute http(s) URL without trailing slash or query, such as https://temporal.example.com"`

	// HTTPAddr is where the API listens.
	HTTPAddr string `env:"HTTP_ADDR" envDefault:":8080" part:"http" expect:"[host]:port, such as :8080"`
	// PublicURL is how phones and Alipay reach the API: it stands in QR codes and in the notify URL. It has neither a
	// trailing slash nor a query, so that a path is simply appended.
	PublicURL string `env:"PUBLIC_URL" part:"http,alipay" required:"true" expect:"an absolute http(s) URL without trailing slash, query, fragment or password, such as https://pay.example.com"`

	// CodesAtOnce is how many purchases one process of the API begins at once: learners who choose a course or ask for a
	// code. Some more wait for their turn, the others are told to come back later.
	CodesAtOnce int `env:"CODES_AT_ONCE" envDefault:"0" part:"http" expect:"a whole number from 1 to 10000, or 0 for 8 on each processor"`

	// JWTSecret checks (and signs) the callers' tokens with HS256. Either it or JWTPublicKey is given.
	JWTSecret string `env:"JWT_SECRET" part:"jwt" secret:"key" expect:"a secret that the token's issuer uses with HS256"`
	// JWTPublicKey checks tokens that somebody else signs: PEM, RSA (RS256) or ECDSA on P-256 (ES256).
	JWTPublicKey string `env:"JWT_PUBLIC_KEY" part:"jwt" secret:"key" expect:"a PEM of an RSA public key of at least 2048 bits, or of an ECDSA public key on P-256"`

	// AlipayGateway is the gateway.do of a simulator or of Alipay's sandbox. Needed outside production, so that no
	// developer's machine ever talks to the real one by default; refused in production, which knows only the real one.
	AlipayGateway string `env:"ALIPAY_GATEWAY" part:"alipay" expect:"an absolute http(s) URL such as http://127.0.0.1:8090/gateway.do"`
	// AlipayAppID is our application at Alipay (app_id).
	AlipayAppID string `env:"ALIPAY_APP_ID" part:"alipay" required:"true" expect:"the app_id, 1 to 32 digits"`
	// AlipaySellerID is the account that is paid (seller_id).
	AlipaySellerID string `env:"ALIPAY_SELLER_ID" part:"alipay" required:"true" expect:"the seller_id, 1 to 28 digits (a real one: 2088 and 12 digits)"`
	// AlipayPrivateKey is the application's RSA2 private key, PEM or bare base64.
	AlipayPrivateKey string `env:"ALIPAY_PRIVATE_KEY" part:"alipay" required:"true" secret:"key" expect:"an RSA private key of at least 2048 bits (PKCS#1 or PKCS#8, as PEM or bare base64)"`
	// AlipayPublicKey is Alipay's public key (not the application's), PEM or bare base64. Either it or the three
	// certificates are given: an application at Alipay uses one mode. AlipayPublicKeyNext is believed beside it while
	// Alipay changes its key, and empty otherwise.
	AlipayPublicKey     string `env:"ALIPAY_PUBLIC_KEY" part:"alipay" secret:"key" expect:"Alipay's RSA public key of at least 2048 bits (as PEM or bare base64), not the application's own"`
	AlipayPublicKeyNext string `env:"ALIPAY_PUBLIC_KEY_NEXT" part:"alipay" secret:"key" expect:"Alipay's next RSA public key of at least 2048 bits (as PEM or bare base64), not the application's own"`
	// AlipayAppCert, AlipayRootCert and AlipayCert are certificate mode's files as Alipay hands them out, PEM. AlipayCertNext
	// is to AlipayCert what AlipayPublicKeyNext is to AlipayPublicKey.
	AlipayAppCert  string `env:"ALIPAY_APP_CERT" part:"alipay" secret:"key" expect:"the PEM of the application's certificate (appCertPublicKey_….crt), made for ALIPAY_PRIVATE_KEY"`
	AlipayRootCert string `env:"ALIPAY_ROOT_CERT" part:"alipay" secret:"key" expect:"the PEM of Alipay's root certificates (alipayRootCert.crt)"`
	AlipayCert     string `env:"ALIPAY_CERT" part:"alipay" secret:"key" expect:"the PEM of Alipay's certificate (alipayCertPublicKey_RSA2.crt)"`
	AlipayCertNext string `env:"ALIPAY_CERT_NEXT" part:"alipay" secret:"key" expect:"the PEM of Alipay's next certificate"`
	// AlipayMaxQPS is how many calls per second one process sends to Alipay. Alipay limits the application as a whole, so
	// replicas share its allowance between them.
	AlipayMaxQPS int `env:"ALIPAY_MAX_QPS" envDefault:"20" part:"alipay" expect:"a whole number from 1 to 1000"`

	// OrderExpiry is how long an order can be paid. Alipay's phone page takes 5 minutes to 15 days; outside production
	// 10 seconds are enough.
	OrderExpiry time.Duration `env:"ORDER_EXPIRY" envDefault:"15m" part:"temporal,alipay" expect:"a duration such as 15m, from 5m (10s outside production) to 360h"`
	// PollSchedule is how long to wait before each query of an opened payment; the last one repeats.
	PollSchedule []time.Duration `env:"POLL_SCHEDULE" envDefault:"5s,10s,15s,30s,60s" part:"temporal,alipay" expect:"positive durations with commas between them, such as 5s,10s,15s"`
}

// InProduction says that APP_ENV is production.
func (c Config) InProduction() bool { return c.AppEnv == Production }

// LogValue masks the secrets: of a URL it shows where it leads to, of any other secret only that it is set.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	value := reflect.ValueOf(c)
	for _, v := range variables() {
		field := value.FieldByIndex(v.index)
		if v.secret == noSecret {
			attrs = append(attrs, slog.Any(v.name, field.Interface()))
			continue
		}
		attrs = append(attrs, slog.String(v.name, masked(v.secret, field.String())))
	}
	return slog.GroupValue(attrs...)
}

// String is LogValue for fmt: a %v or %+v must not show secrets either.
func (c Config) String() string { return c.LogValue().String() }

// GoString is the same for %#v.
func (c Config) GoString() string { return c.String() }

func masked(kind secrecy, value string) string {
	if value == "" {
		return ""
	}
	if u, err := url.Parse(value); kind == secretURL && err == nil {
		return u.Scheme + "://***@" + u.Host + u.EscapedPath()
	}
	return "***"
}
