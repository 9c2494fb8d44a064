package config

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"coursepay/internal/auth"
)

const (
	minRSABits             = 2048
	minSecretBytes         = 32 // RFC 7518, 3.2: no shorter than the hash
	maxOrderExpiry         = 15 * 24 * time.Hour
	minOrderExpiry         = 5 * time.Minute // Alipay, wap pay
	minOrderExpirySandbox  = 10 * time.Second
	alipaySandboxAppPrefix = "9021" // app ids of Alipay's own sandbox
	devStackFolder         = ".coursepay"
)

// rule checks one variable's value, which is not empty.
type rule func(c *Config, value string) bool

// rules hold the checks that a value passes or fails by itself; the field's expect tag says what it should have been.
func rules() map[string]rule {
	return map[string]rule{
		"APP_ENV":                oneOf(Development, Test, Production),
		"LOG_FORMAT":             oneOf("text", "json"),
		"METRICS_ADDR":           listenAddress,
		"DATABASE_URL":           postgresURL,
		"DB_MAX_CONNS":           func(c *Config, _ string) bool { return c.DBMaxConns >= 2 && c.DBMaxConns <= 1000 },
		"AMQP_URL":               urlWith("amqp", "amqps"),
		"TEMPORAL_ADDRESS":       dialAddress,
		"TEMPORAL_UI_URL":        baseURL,
		"HTTP_ADDR":              listenAddress,
		"PUBLIC_URL":             baseURL,
		"CODES_AT_ONCE":          func(c *Config, _ string) bool { return c.CodesAtOnce >= 0 && c.CodesAtOnce <= 10_000 },
		"JWT_PUBLIC_KEY":         jwtPublicKey,
		"ALIPAY_GATEWAY":         urlWith("http", "https"),
		"ALIPAY_APP_ID":          matches(`^[0-9]{1,32}$`),
		"ALIPAY_SELLER_ID":       matches(`^[0-9]{1,28}$`),
		"ALIPAY_PRIVATE_KEY":     func(_ *Config, value string) bool { return rsaPrivateKey(value) != nil },
		"ALIPAY_PUBLIC_KEY":      alipayPublicKey,
		"ALIPAY_PUBLIC_KEY_NEXT": alipayPublicKey,
		"ALIPAY_APP_CERT":        alipayAppCert,
		"ALIPAY_ROOT_CERT":       alipayRootCert,
		"ALIPAY_CERT":            alipayCert,
		"ALIPAY_CERT_NEXT":       alipayCert,
		"ALIPAY_MAX_QPS":         func(c *Config, _ string) bool { return c.AlipayMaxQPS >= 1 && c.AlipayMaxQPS <= 1000 },
		"ORDER_EXPIRY":           orderExpiry,
		"POLL_SCHEDULE":          pollSchedule,
	}
}

// check runs the rules, then what is required, then what holds between variables and in production.
func (l *loader) check(parts []Part) {
	rules := rules()
	for _, v := range variables() {
		value, given := l.needed[v.name]
		if rule := rules[v.name]; given && rule != nil && !rule(&l.config, value) {
			l.fault(v.name, "expected %s", v.expect)
		}
	}
	for _, v := range variables() {
		if v.required && v.usedBy(parts) {
			l.require(v)
		}
	}
	if slices.Contains(parts, NeedJWT) {
		l.checkJWT()
	}
	if slices.Contains(parts, NeedAlipay) {
		l.checkAlipayMode()
	}
	if slices.Contains(parts, NeedAlipay) && !l.faulty["APP_ENV"] {
		l.checkGateway()
	}
	if l.config.InProduction() {
		l.checkProduction()
	}
}

func (l *loader) require(v variable) {
	if _, ok := l.needed[v.name]; ok {
		return
	}
	where := ""
	if v.secret != noSecret {
		where = " (or " + v.fileName() + ")"
	}
	l.fault(v.name, "is missing%s: expected %s", where, v.expect)
}

func (l *loader) checkJWT() {
	secret, key := l.needed["JWT_SECRET"], l.needed["JWT_PUBLIC_KEY"]
	switch {
	case secret != "" && key != "":
		l.fault("JWT_SECRET", "is given beside JWT_PUBLIC_KEY: exactly one of them decides how tokens are checked")
	case secret == "" && key == "" && !l.faulty["JWT_PUBLIC_KEY"]:
		l.fault("JWT_SECRET", "is missing (or JWT_PUBLIC_KEY, each also with _FILE): "+
			"expected the secret or the public key that tokens are checked with")
	}
}

// checkAlipayMode wants exactly one of the two modes, whole.
func (l *loader) checkAlipayMode() {
	certs := []string{"ALIPAY_APP_CERT", "ALIPAY_ROOT_CERT", "ALIPAY_CERT"}
	switch key, cert := l.anyGiven("ALIPAY_PUBLIC_KEY", "ALIPAY_PUBLIC_KEY_NEXT"), l.anyGiven(append(certs, "ALIPAY_CERT_NEXT")...); {
	case key != "" && cert != "":
		l.fault(key, "is given beside %s: an application uses either Alipay's public key or certificates", cert)
	case cert != "":
		for _, v := range variables() {
			if slices.Contains(certs, v.name) {
				l.require(v)
			}
		}
	case l.needed["ALIPAY_PUBLIC_KEY"] == "":
		l.fault("ALIPAY_PUBLIC_KEY", "is missing (or ALIPAY_PUBLIC_KEY_FILE): expected Alipay's RSA public key, "+
			"or else the certificates ALIPAY_APP_CERT, ALIPAY_ROOT_CERT and ALIPAY_CERT")
	}
}

// anyGiven is the first of names that was given, rightly or not.
func (l *loader) anyGiven(names ...string) string {
	for _, name := range names {
		if _, given := l.needed[name]; given || l.faulty[name] {
			return name
		}
	}
	return ""
}

func (l *loader) checkGateway() {
	_, given := l.needed["ALIPAY_GATEWAY"]
	switch production := l.config.InProduction(); {
	case production && given:
		l.fault("ALIPAY_GATEWAY", "is refused when APP_ENV is production: the gateway is Alipay's own, remove it")
	case !production && !given:
		l.fault("ALIPAY_GATEWAY", "is missing: outside production expected the gateway of a simulator, "+
			"such as http://127.0.0.1:8090/gateway.do")
	}
}

// checkProduction keeps what is good enough for a developer's machine away from real money.
func (l *loader) checkProduction() {
	if public, ok := l.needed["PUBLIC_URL"]; ok && !strings.HasPrefix(public, "https://") {
		l.fault("PUBLIC_URL", "expected https when APP_ENV is production")
	}
	if secret, ok := l.needed["JWT_SECRET"]; ok && len(secret) < minSecretBytes {
		l.fault("JWT_SECRET", "expected at least %d bytes when APP_ENV is production", minSecretBytes)
	}
	if strings.HasPrefix(l.needed["ALIPAY_APP_ID"], alipaySandboxAppPrefix) {
		l.fault("ALIPAY_APP_ID", "belongs to Alipay's sandbox, which is refused when APP_ENV is production")
	}
	for _, v := range variables() {
		_, used := l.needed[v.name]
		inStack := slices.Contains(strings.Split(filepath.ToSlash(l.given[v.fileName()]), "/"), devStackFolder)
		if used && v.secret != noSecret && inStack {
			l.fault(v.name, "%s names a file of the development stack (%s/), refused when APP_ENV is production",
				v.fileName(), devStackFolder)
		}
	}
	for _, name := range []string{"SANDBOX_URL", "SANDBOX_PRIVATE_KEY_FILE"} {
		if l.given[name] != "" {
			l.fault(name, "belongs to the simulator, which is refused when APP_ENV is production: remove it")
		}
	}
}

func oneOf(values ...string) rule {
	return func(_ *Config, value string) bool { return slices.Contains(values, value) }
}

func matches(pattern string) rule {
	re := regexp.MustCompile(pattern)
	return func(_ *Config, value string) bool { return re.MatchString(value) }
}

func listenAddress(_ *Config, value string) bool {
	_, port, err := net.SplitHostPort(value)
	return err == nil && isPort(port)
}

func dialAddress(_ *Config, value string) bool {
	host, port, err := net.SplitHostPort(value)
	return err == nil && host != "" && isPort(port) && port != "0"
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

func urlWith(schemes ...string) rule {
	return func(_ *Config, value string) bool {
		u, err := url.Parse(value)
		return err == nil && slices.Contains(schemes, u.Scheme) && u.Hostname() != ""
	}
}

// postgresURL may name a socket's folder instead of a host: postgres:///coursepay?host=/run/postgresql.
func postgresURL(_ *Config, value string) bool {
	u, err := url.Parse(value)
	return err == nil && slices.Contains([]string{"postgres", "postgresql"}, u.Scheme) &&
		(u.Hostname() != "" || u.Query().Get("host") != "")
}

func baseURL(c *Config, value string) bool {
	u, err := url.Parse(value)
	return urlWith("http", "https")(c, value) && err == nil && u.User == nil &&
		!strings.HasSuffix(value, "/") && !strings.ContainsAny(value, "?#")
}

func jwtPublicKey(_ *Config, value string) bool {
	_, err := auth.NewVerifier(auth.Config{PublicKeyPEM: value})
	return err == nil
}

func orderExpiry(c *Config, _ string) bool {
	least := minOrderExpirySandbox
	if c.InProduction() {
		least = minOrderExpiry
	}
	return c.OrderExpiry >= least && c.OrderExpiry <= maxOrderExpiry
}

func pollSchedule(c *Config, _ string) bool {
	return !slices.ContainsFunc(c.PollSchedule, func(d time.Duration) bool { return d <= 0 })
}

// alipayPublicKey refuses the application's own public key too: with it, nothing of Alipay's would ever verify.
func alipayPublicKey(c *Config, value string) bool {
	key := rsaPublicKey(value)
	if key == nil {
		return false
	}
	own := rsaPrivateKey(c.AlipayPrivateKey)
	return own == nil || !own.PublicKey.Equal(key)
}

// alipayAppCert is the application's, so it is made for its private key.
func alipayAppCert(c *Config, value string) bool {
	key, own := certificateKey(value), rsaPrivateKey(c.AlipayPrivateKey)
	return key != nil && (own == nil || own.PublicKey.Equal(key))
}

// alipayCert is Alipay's and not the application's own.
func alipayCert(c *Config, value string) bool {
	key, own := certificateKey(value), rsaPrivateKey(c.AlipayPrivateKey)
	return key != nil && (own == nil || !own.PublicKey.Equal(key))
}

// alipayRootCert has a certificate of an RSA key among several, some of which Go cannot read (SM2).
func alipayRootCert(_ *Config, value string) bool {
	for block, rest := pem.Decode([]byte(value)); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.PublicKeyAlgorithm == x509.RSA {
			return true
		}
	}
	return false
}

// certificateKey is the key of the first certificate of a PEM; those behind it are its issuers. It is nil for what is no
// certificate of an RSA key, or of too small a one.
func certificateKey(text string) *rsa.PublicKey {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return strongEnough(cert.PublicKey)
}

// der decodes a key's PEM or, as Alipay's key tool hands it out, its bare base64.
func der(text string) []byte {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return block.Bytes
	}
	bytes, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil
	}
	return bytes
}

// rsaPrivateKey is nil for what is no RSA key, or too small a one.
func rsaPrivateKey(text string) *rsa.PrivateKey {
	bytes := der(text)
	key, err := x509.ParsePKCS1PrivateKey(bytes)
	if err != nil {
		parsed, _ := x509.ParsePKCS8PrivateKey(bytes)
		key, _ = parsed.(*rsa.PrivateKey)
	}
	if key == nil || key.N.BitLen() < minRSABits {
		return nil
	}
	return key
}

// rsaPublicKey is nil for what is no RSA key, or too small a one.
func rsaPublicKey(text string) *rsa.PublicKey {
	parsed, err := x509.ParsePKIXPublicKey(der(text))
	if err != nil {
		return nil
	}
	return strongEnough(parsed)
}

func strongEnough(public any) *rsa.PublicKey {
	key, ok := public.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits {
		return nil
	}
	return key
}
