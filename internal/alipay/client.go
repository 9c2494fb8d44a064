// Package alipay talks to Alipay: it makes the signed pay page of a phone, queries, closes and refunds trades, fetches
// the daily bill, and decides whether an asynchronous notify is genuine.
//
// It is the only importer of gopay, which lays out and signs the parameters of a request. Sending and believing are
// done here, because gopay hands out error answers before it looks at their signature and stops verifying without a
// word when it does not know a key's PEM type. Here nothing that Alipay has not signed is ever an answer: it comes back
// as an *Error whose Temporary method says true.
package alipay

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	_ "time/tzdata" // gopay looks the zone up by name and, where it is missing, quietly signs local time

	gopay "github.com/go-pay/gopay/alipay"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

const (
	productionGateway = "https://openapi.alipay.com/gateway.do"
	sandboxGateway    = "https://openapi-sandbox.dl.alipaydev.com/gateway.do"
	defaultTimeout    = 10 * time.Second
)

// Config is everything that a Client needs. Nothing is read from the environment.
type Config struct {
	// AppID is our application's id at Alipay, SellerID the account (PID, 2088…) that is paid. Both are compared with
	// every notify, so neither may be empty.
	AppID, SellerID string
	// PrivateKey is the application's RSA key, PEM or bare base64, PKCS#1 or PKCS#8, 2048 bits or more.
	PrivateKey string
	// AlipayPublicKey is Alipay's key, not the application's: PEM "PUBLIC KEY" or bare base64. AlipayPublicKeyNext, which
	// may be empty, is believed as well, while Alipay changes over from one key to the other. Both belong to public-key
	// mode; an application uses either that or certificate mode.
	AlipayPublicKey, AlipayPublicKeyNext string
	// AppCert, RootCert and AlipayCert are the PEM contents of certificate mode's three files (appCertPublicKey,
	// alipayRootCert and alipayCertPublicKey_RSA2). AlipayCertNext is to AlipayCert what AlipayPublicKeyNext is to
	// AlipayPublicKey.
	AppCert, RootCert, AlipayCert, AlipayCertNext string
	// Gateway is the URL of gateway.do; the path may be left out. Empty means Alipay's own: production or sandbox, as
	// Production says. In production nothing else is accepted.
	Gateway    string
	Production bool
	// NotifyURL is where Alipay posts its notifies, ReturnURL where the buyer's browser goes after paying. Each may be
	// empty, else it is absolute.
	NotifyURL, ReturnURL string
	// Timeout bounds one call, connecting included, and before it the wait for MaxQPS. Zero means 10 s.
	Timeout time.Duration
	// MaxQPS is how many calls per second this client sends at most, evenly spaced; others wait. Alipay limits an
	// application as a whole, so replicas share its allowance by configuration. Zero means 20.
	MaxQPS int
	// Logger may be nil.
	Logger *slog.Logger
	// Metrics takes coursepay_alipay_requests_total and coursepay_alipay_request_seconds. Nil: they are not published.
	Metrics prometheus.Registerer
}

// Client is safe for concurrent use.
type Client struct {
	cfg     Config
	gateway string
	signer  *gopay.Client
	trust   trust
	http    *http.Client
	limiter *rate.Limiter
	meter   meter
	log     *slog.Logger
}

// New checks the configuration, reporting all faults at once, and then proves to itself that it rejects forged answers
// and forged notifies. Its errors name fields and never contain key text.
func New(cfg Config) (*Client, error) {
	private, privateErr := parsePrivateKey(cfg.PrivateKey)
	trusted, trustErr := newTrust(cfg, private)
	gateway, gatewayErr := gatewayURL(cfg)
	err := errors.Join(
		required("AppID", cfg.AppID), required("SellerID", cfg.SellerID),
		privateErr, trustErr, gatewayErr,
		absoluteURL("NotifyURL", cfg.NotifyURL), absoluteURL("ReturnURL", cfg.ReturnURL),
	)
	if err != nil {
		return nil, fmt.Errorf("alipay configuration: %w", err)
	}
	signer, err := newSigner(cfg.AppID, private, cfg.Production)
	if err != nil {
		return nil, err
	}
	signer.AppCertSN, signer.AliPayRootCertSN = trusted.appCertSN, trusted.rootCertSN
	measured, err := newMeter(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, gateway: gateway, signer: signer, trust: trusted,
		http: newHTTPClient(), limiter: newLimiter(cfg.MaxQPS), meter: measured, log: cfg.Logger,
	}
	// The key is parsed: its text need not lie about in a long-lived value that someone may print.
	c.cfg.PrivateKey = ""
	if c.cfg.Timeout <= 0 {
		c.cfg.Timeout = defaultTimeout
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := c.selfTest(private); err != nil {
		return nil, fmt.Errorf("alipay self-test: %w", err)
	}
	warnOfExpiry(c.log, cfg, time.Now())
	c.log.Info("alipay client ready", "app_id", cfg.AppID, "gateway", gateway, "production", cfg.Production, "mode", trusted.mode())
	return c, nil
}

// newSigner gives gopay the key in the one form that it always understands. Its own error would contain the key.
func newSigner(appID string, key *rsa.PrivateKey, production bool) (*gopay.Client, error) {
	bare := base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PrivateKey(key))
	signer, err := gopay.NewClient(appID, bare, production)
	if err != nil {
		return nil, errors.New("alipay: gopay refuses the application's private key")
	}
	signer.SetLocation("Asia/Shanghai")
	return signer, nil
}

// newHTTPClient never follows a redirect: the gateway sends none, and a signed request is for the gateway alone.
func newHTTPClient() *http.Client {
	return &http.Client{
		Transport: http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

func gatewayURL(cfg Config) (string, error) {
	switch {
	case cfg.Production && cfg.Gateway != "" && cfg.Gateway != productionGateway:
		return "", fault("Gateway", "only Alipay's own gateway may be used in production")
	case cfg.Production:
		return productionGateway, nil
	case cfg.Gateway == "":
		return sandboxGateway, nil
	}
	if err := absoluteURL("Gateway", cfg.Gateway); err != nil {
		return "", err
	}
	u, err := url.Parse(cfg.Gateway)
	if err != nil || u.RawQuery != "" || u.User != nil {
		return "", fault("Gateway", "a URL without query and user is needed")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/gateway.do"
	}
	return u.String(), nil
}

// fault is an error about one field of a struct, named as it is in Go.
func fault(field, text string) error { return errors.New(field + ": " + text) }

func required(field, value string) error {
	if strings.TrimSpace(value) == "" {
		return fault(field, "missing")
	}
	return nil
}

func absoluteURL(field, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fault(field, "not an absolute http(s) URL")
	}
	return nil
}
