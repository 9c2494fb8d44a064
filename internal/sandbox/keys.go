package sandbox

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File names of a key set, as GenerateKeys writes it.
const (
	AppPrivateKeyFile    = "app-private.pem"    // the merchant's, for its ALIPAY_PRIVATE_KEY
	AppPublicKeyFile     = "app-public.pem"     // the merchant's, for the sandbox
	AlipayPrivateKeyFile = "alipay-private.pem" // the sandbox's own: signs what Alipay would sign
	AlipayPublicKeyFile  = "alipay-public.pem"  // the sandbox's own, for the merchant's ALIPAY_PUBLIC_KEY

	// For certificate mode: the same keys in certificates.
	AppCertFile        = "app-cert.crt"         // the merchant's, for both sides: its ALIPAY_APP_CERT
	AlipayCertFile     = "alipay-cert.crt"      // the sandbox's own, for both sides: the merchant's ALIPAY_CERT
	AlipayRootCertFile = "alipay-root-cert.crt" // who issued them, for both sides: the merchant's ALIPAY_ROOT_CERT
)

const keyBits = 2048

// errKey hides the parser's words: they might quote the key.
var errKey = errors.New("not an RSA key in PEM or bare base64")

// GenerateKeys writes two RSA key pairs to dir: the merchant app's and the sandbox's own, private ones (PKCS#8) with
// mode 0600, and certificates for both. A pair whose private key is there already is kept, unless force is set; a missing
// public half is written again from its private one, and certificates that fit their keys no more are made again.
func GenerateKeys(dir string, force bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("key folder: %w", err)
	}
	app, err := generatePair(filepath.Join(dir, AppPrivateKeyFile), filepath.Join(dir, AppPublicKeyFile), force)
	if err != nil {
		return err
	}
	alipay, err := generatePair(filepath.Join(dir, AlipayPrivateKeyFile), filepath.Join(dir, AlipayPublicKeyFile), force)
	if err != nil {
		return err
	}
	return generateCerts(dir, app, alipay, force)
}

func generatePair(private, public string, force bool) (*rsa.PublicKey, error) {
	key, err := keptKey(private, force)
	if err != nil {
		return nil, err
	}
	if key == nil {
		if key, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
			return nil, fmt.Errorf("generate key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("encode key: %w", err)
		}
		if err := writePEM(private, "PRIVATE KEY", der, 0o600); err != nil {
			return nil, err
		}
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return &key.PublicKey, writePEM(public, "PUBLIC KEY", der, 0o644)
}

// keptKey reads the private key that is to stay, or nil when a new one is wanted.
func keptKey(path string, force bool) (*rsa.PrivateKey, error) {
	if force {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := parsePrivateKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// writePEM replaces path in one step, so that a reader never meets half a key.
func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return replaceFile(path, text, mode)
}

func parsePrivateKey(text string) (*rsa.PrivateKey, error) {
	der, err := keyBytes(text)
	if err != nil {
		return nil, err
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if rsaKey, ok := key.(*rsa.PrivateKey); ok {
			return rsaKey, nil
		}
	}
	return nil, errKey
}

func parsePublicKey(text string) (*rsa.PublicKey, error) {
	der, err := keyBytes(text)
	if err != nil {
		return nil, err
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		if rsaKey, ok := key.(*rsa.PublicKey); ok {
			return rsaKey, nil
		}
	}
	return nil, errKey
}

// keyBytes takes PEM or the bare base64 that Alipay's own tools hand out.
func keyBytes(text string) ([]byte, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return block.Bytes, nil
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil || len(der) == 0 {
		return nil, errKey
	}
	return der, nil
}
