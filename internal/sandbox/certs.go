package sandbox

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5" //nolint:gosec // Alipay's serial numbers are made with it; nothing depends on its strength
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// certYears is how long the certificates of a key set are valid.
const certYears = 20

var (
	errCert     = errors.New("not a certificate of an RSA key in PEM")
	errCertKey  = errors.New("is not for the sandbox's private key")
	errCertRoot = errors.New("is not issued by the root certificates")
)

// certSN is the serial number that Alipay knows a certificate by: md5 of its issuer's name and its decimal serial.
func certSN(cert *x509.Certificate) string {
	sum := md5.Sum([]byte(cert.Issuer.String() + cert.SerialNumber.String())) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// rootSN joins the serial numbers of those root certificates that an RSA key has signed; Alipay's own file holds others
// too, and so does ours.
func rootSN(roots []*x509.Certificate) string {
	var sns []string
	for _, root := range roots {
		if signedByRSA(root) {
			sns = append(sns, certSN(root))
		}
	}
	return strings.Join(sns, "_")
}

// signedByRSA says whether the signature's OID is one of 1.2.840.113549.1.1.*.
func signedByRSA(cert *x509.Certificate) bool {
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA:
		return true
	default:
		return false
	}
}

// parseCerts reads one certificate after the other.
func parseCerts(text string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errCert
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errCert
	}
	return certs, nil
}

// parseRSACert reads the first certificate of text and its key.
func parseRSACert(text string) (*x509.Certificate, *rsa.PublicKey, error) {
	certs, err := parseCerts(text)
	if err != nil {
		return nil, nil, err
	}
	key, ok := certs[0].PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, nil, errCert
	}
	return certs[0], key, nil
}

// certificates is what the sandbox shows to apps in certificate mode.
type certificates struct {
	sn, rootSN string
	pem        string // the certificate for download
}

// understandCerts checks that clients will accept cert: it is for key, and one of roots has issued it.
func understandCerts(key *rsa.PublicKey, certText, rootText string) (certificates, error) {
	cert, certKey, err := parseRSACert(certText)
	if err != nil {
		return certificates{}, fmt.Errorf("alipay certificate: %w", err)
	}
	roots, err := parseCerts(rootText)
	if err != nil {
		return certificates{}, fmt.Errorf("alipay root certificate: %w", err)
	}
	if !certKey.Equal(key) {
		return certificates{}, fmt.Errorf("alipay certificate %w", errCertKey)
	}
	if !issuedBy(cert, roots) {
		return certificates{}, fmt.Errorf("alipay certificate %w", errCertRoot)
	}
	return certificates{sn: certSN(cert), rootSN: rootSN(roots), pem: certText}, nil
}

func issuedBy(cert *x509.Certificate, roots []*x509.Certificate) bool {
	return slices.ContainsFunc(roots, func(root *x509.Certificate) bool { return cert.CheckSignatureFrom(root) == nil })
}

// generateCerts writes the three certificates of a key set, unless those that are there still fit together and to the
// keys. The root's key signs them and is forgotten.
func generateCerts(dir string, app, alipay *rsa.PublicKey, force bool) error {
	if !force {
		fit, err := certsFit(dir, app, alipay)
		if fit || err != nil {
			return err
		}
	}
	made, err := makeCerts(app, alipay, time.Now())
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	for _, name := range []string{AlipayRootCertFile, AlipayCertFile, AppCertFile} {
		if err := replaceFile(filepath.Join(dir, name), made[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// certsFit says whether the certificates in dir can stay. A file that cannot be read is an error; one that is missing
// or is no certificate is made again.
func certsFit(dir string, app, alipay *rsa.PublicKey) (bool, error) {
	texts := map[string]string{}
	for _, name := range []string{AlipayRootCertFile, AlipayCertFile, AppCertFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read certificate: %w", err)
		}
		texts[name] = string(text)
	}
	roots, err := parseCerts(texts[AlipayRootCertFile])
	if err != nil {
		return false, nil //nolint:nilerr // it is made again
	}
	fits := func(name string, key *rsa.PublicKey) bool {
		cert, certKey, err := parseRSACert(texts[name])
		return err == nil && certKey.Equal(key) && issuedBy(cert, roots) && time.Now().Before(cert.NotAfter)
	}
	return fits(AppCertFile, app) && fits(AlipayCertFile, alipay), nil
}

// makeCerts gives the three files. As in Alipay's own, the root file holds two roots of RSA keys and one that is none,
// which clients have to leave out of the root's serial number.
func makeCerts(app, alipay *rsa.PublicKey, now time.Time) (map[string][]byte, error) {
	rootKey, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root, second, other := newCert("Sandbox Root R1", now), newCert("Sandbox Root R2", now), newCert("Sandbox Root E1", now)
	for _, ca := range []*x509.Certificate{root, second, other} {
		ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	}
	b := certBuilder{}
	b.add(AlipayRootCertFile, other, other, &otherKey.PublicKey, otherKey)
	b.add(AlipayRootCertFile, root, root, &rootKey.PublicKey, rootKey)
	b.add(AlipayRootCertFile, second, second, &rootKey.PublicKey, rootKey)
	b.add(AlipayCertFile, newCert("Sandbox Alipay", now), root, alipay, rootKey)
	b.add(AppCertFile, newCert("Sandbox Merchant App", now), root, app, rootKey)
	return b.files, b.err
}

// newCert is a certificate to be signed. Its name needs no escaping, which clients disagree about.
func newCert(commonName string, now time.Time) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand never fails on the platforms that Go supports
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Country: []string{"CN"}, Organization: []string{"Simulator"}, OrganizationalUnit: []string{"Sandbox"}, CommonName: commonName},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(certYears, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// certBuilder collects certificates by file until something fails.
type certBuilder struct {
	files map[string][]byte
	err   error
}

func (b *certBuilder) add(file string, cert, parent *x509.Certificate, key, signer any) {
	if b.err != nil {
		return
	}
	var der []byte
	if der, b.err = x509.CreateCertificate(rand.Reader, cert, parent, key, signer); b.err != nil {
		return
	}
	if b.files == nil {
		b.files = map[string][]byte{}
	}
	b.files[file] = append(b.files[file], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}

// certDownloadAnswer is alipay.open.app.alipaycert.download's: the file's bytes in base64.
type certDownloadAnswer struct {
	head
	Content string `json:"alipay_cert_content"`
}

// certDownload lets a client that meets an unknown alipay_cert_sn fetch the certificate.
func (s *Server) certDownload(_ context.Context, c call) (any, error) {
	var r struct {
		SN text `json:"alipay_cert_sn"`
	}
	if err := c.biz(&r); err != nil {
		return nil, err
	}
	if s.certs.sn == "" || string(r.SN) != s.certs.sn {
		return nil, invalidArgument("alipay-cert-sn", "支付宝公钥证书序列号错误")
	}
	return certDownloadAnswer{head: success, Content: base64.StdEncoding.EncodeToString([]byte(s.certs.pem))}, nil
}
