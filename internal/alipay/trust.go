package alipay

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	gopay "github.com/go-pay/gopay/alipay"
)

var (
	errBadSignature = errors.New("signature does not verify with Alipay's public key")
	errUnknownCert  = errors.New("alipay_cert_sn names none of the configured certificates")
)

// alipayKey is a key of Alipay's, with the serial of its certificate in certificate mode.
type alipayKey struct {
	certSN string
	key    *rsa.PublicKey
}

// trust is whom we believe. Alipay has one key at a time, and two while it changes over.
type trust struct {
	keys []alipayKey
	// appCertSN and rootCertSN name our certificates in each request of certificate mode, and are empty without it.
	appCertSN, rootCertSN string
}

func (t trust) certificates() bool { return t.appCertSN != "" }

// newTrust reads the keys of exactly one mode, reporting all faults at once.
func newTrust(cfg Config, private *rsa.PrivateKey) (trust, error) {
	public := cfg.AlipayPublicKey != "" || cfg.AlipayPublicKeyNext != ""
	certs := cfg.AppCert != "" || cfg.RootCert != "" || cfg.AlipayCert != "" || cfg.AlipayCertNext != ""
	var t trust
	var err error
	switch {
	case public && certs:
		return t, fault("AlipayPublicKey", "given beside certificates: an application uses exactly one of the modes")
	case certs:
		t, err = certificateTrust(cfg, private)
	default:
		t, err = publicKeyTrust(cfg)
	}
	return t, errors.Join(err, notOurOwn(private, t.keys))
}

func publicKeyTrust(cfg Config) (t trust, err error) {
	key, err := parsePublicKey("AlipayPublicKey", cfg.AlipayPublicKey)
	t.keys = append(t.keys, alipayKey{key: key})
	if cfg.AlipayPublicKeyNext == "" {
		return t, err
	}
	next, nextErr := parsePublicKey("AlipayPublicKeyNext", cfg.AlipayPublicKeyNext)
	t.keys = append(t.keys, alipayKey{key: next})
	return t, errors.Join(err, nextErr)
}

// certificateTrust takes Alipay's certificate as it is: what was configured is trusted, as a bare key would be. Its
// chain is not followed, since the issuers in Alipay's own files are not marked as such and no X.509 library accepts them.
func certificateTrust(cfg Config, private *rsa.PrivateKey) (t trust, err error) {
	app, appErr := parseCertificate("AppCert", cfg.AppCert)
	if appErr == nil {
		t.appCertSN, appErr = gopay.GetCertSN([]byte(cfg.AppCert))
	}
	if appErr == nil && private != nil && !private.PublicKey.Equal(app.PublicKey) {
		appErr = fault("AppCert", "belongs to another key than PrivateKey")
	}
	t.rootCertSN, err = gopay.GetRootCertSN([]byte(cfg.RootCert))
	if err != nil {
		err = fault("RootCert", "no certificate that is signed with RSA in it")
	}
	err = errors.Join(appErr, err, t.addCertificate("AlipayCert", cfg.AlipayCert))
	if cfg.AlipayCertNext != "" {
		err = errors.Join(err, t.addCertificate("AlipayCertNext", cfg.AlipayCertNext))
	}
	return t, err
}

func (t *trust) addCertificate(field, text string) error {
	cert, err := parseCertificate(field, text)
	if err != nil {
		return err
	}
	sn, err := gopay.GetCertSN([]byte(text))
	if err != nil {
		return fault(field, "has no serial number")
	}
	key, err := rsaKey(field, cert.PublicKey)
	t.keys = append(t.keys, alipayKey{certSN: sn, key: key})
	return err
}

// notOurOwn catches the commonest slip in the open platform's console: copying the application's public key where
// Alipay's belongs. Whoever verifies with that key believes everything that we ourselves have signed.
func notOurOwn(private *rsa.PrivateKey, keys []alipayKey) error {
	ours := func(k alipayKey) bool { return k.key != nil && private.PublicKey.Equal(k.key) }
	if private != nil && slices.ContainsFunc(keys, ours) {
		return fault("AlipayPublicKey or AlipayCert", "that is the app's own public key, not Alipay's")
	}
	return nil
}

// verifyAnswer checks the signature of an answer. In certificate mode the answer says which of Alipay's certificates it
// was signed with, and that has to be one we were given.
func (t trust) verifyAnswer(content []byte, sign, certSN string) error {
	if !t.certificates() {
		return t.verify(content, sign)
	}
	i := slices.IndexFunc(t.keys, func(k alipayKey) bool { return k.certSN == certSN })
	if certSN == "" || i < 0 {
		return errUnknownCert
	}
	return trust{keys: t.keys[i : i+1]}.verify(content, sign)
}

// verify checks an RSA2 signature of Alipay's (SHA256withRSA, PKCS#1 v1.5) over content: the one place where trust is
// decided, for answers and notifies alike. The base64 is read strictly, since a lenient reader would accept a good
// signature with rubbish behind it.
func (t trust) verify(content []byte, sign string) error {
	signature, err := base64.StdEncoding.Strict().DecodeString(sign)
	if err != nil || strings.ContainsAny(sign, "\r\n") {
		return errors.New("signature is not base64")
	}
	digest := sha256.Sum256(content)
	for _, k := range t.keys {
		if rsa.VerifyPKCS1v15(k.key, crypto.SHA256, digest[:], signature) == nil {
			return nil
		}
	}
	return errBadSignature
}

// expiryNotice is how long before its end a certificate is worth a warning: time enough to order and install another.
const expiryNotice = 30 * 24 * time.Hour

// warnOfExpiry only warns: a payment must not fail over a date on which Alipay itself has not acted yet.
func warnOfExpiry(log *slog.Logger, cfg Config, now time.Time) {
	for field, text := range map[string]string{
		"AppCert": cfg.AppCert, "AlipayCert": cfg.AlipayCert, "AlipayCertNext": cfg.AlipayCertNext,
	} {
		cert, err := parseCertificate(field, text)
		if err == nil && now.Add(expiryNotice).After(cert.NotAfter) {
			log.Warn("alipay certificate ends soon or has ended", "certificate", field, "not_after", cert.NotAfter.In(beijing))
		}
	}
}

// mode is for the log.
func (t trust) mode() string {
	if t.certificates() {
		return fmt.Sprintf("certificate, %d of Alipay's", len(t.keys))
	}
	return fmt.Sprintf("public key, %d of Alipay's", len(t.keys))
}
