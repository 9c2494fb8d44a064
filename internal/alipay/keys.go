package alipay

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// minKeyBits is what Alipay demands for RSA2.
const minKeyBits = 2048

func parsePrivateKey(text string) (*rsa.PrivateKey, error) {
	der, kind, err := keyBytes(text)
	if err != nil {
		return nil, fmt.Errorf("PrivateKey: %w", err)
	}
	if kind != "" && kind != "RSA PRIVATE KEY" && kind != "PRIVATE KEY" {
		return nil, fault("PrivateKey", "unknown PEM type, want RSA PRIVATE KEY or PRIVATE KEY")
	}
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		parsed, pkcs8Err := x509.ParsePKCS8PrivateKey(der)
		pkcs8, isRSA := parsed.(*rsa.PrivateKey)
		if pkcs8Err != nil || !isRSA {
			return nil, fault("PrivateKey", "neither PKCS#1 nor PKCS#8 RSA")
		}
		key = pkcs8
	}
	if key.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("PrivateKey: %d bits, RSA2 needs %d", key.N.BitLen(), minKeyBits)
	}
	return key, nil
}

func parsePublicKey(field, text string) (*rsa.PublicKey, error) {
	der, kind, err := keyBytes(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	if kind != "" && kind != "PUBLIC KEY" {
		return nil, fault(field, "unknown PEM type, want PUBLIC KEY")
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fault(field, "not an RSA public key")
	}
	return rsaKey(field, parsed)
}

// rsaKey takes a public key that is fit for RSA2.
func rsaKey(field string, parsed any) (*rsa.PublicKey, error) {
	key, isRSA := parsed.(*rsa.PublicKey)
	if !isRSA {
		return nil, fault(field, "not an RSA public key")
	}
	if key.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("%s: %d bits, RSA2 needs %d", field, key.N.BitLen(), minKeyBits)
	}
	return key, nil
}

// parseCertificate takes the first certificate of a PEM file: those behind it are its issuers.
func parseCertificate(field, text string) (*x509.Certificate, error) {
	if err := required(field, text); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fault(field, "not a PEM of type CERTIFICATE")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fault(field, "not an X.509 certificate")
	}
	if _, err := rsaKey(field, cert.PublicKey); err != nil {
		return nil, err
	}
	return cert, nil
}

// keyBytes gives the DER of a key and its PEM type, which is empty for bare base64. Text after the block is refused: it
// is more likely a second key than a comment.
func keyBytes(text string) (der []byte, kind string, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, "", errors.New("missing")
	}
	if strings.HasPrefix(text, "-----") {
		block, rest := pem.Decode([]byte(text))
		if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
			return nil, "", errors.New("not one PEM block")
		}
		return block.Bytes, block.Type, nil
	}
	der, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, "", errors.New("neither PEM nor base64")
	}
	return der, "", nil
}
