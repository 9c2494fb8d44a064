package alipay

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// minKeyBits is what Alipay demands for RSA2.
const minKeyBits = 2048

var errBadSignature = errors.New("signature does not verify with Alipay's public key")

// verify checks an RSA2 signature of Alipay's (SHA256withRSA, PKCS#1 v1.5) over content: the one place where trust is
// decided, for answers and notifies alike. The base64 is read strictly, since a lenient reader would accept a good
// signature with rubbish behind it.
func (c *Client) verify(content []byte, sign string) error {
	signature, err := base64.StdEncoding.Strict().DecodeString(sign)
	if err != nil || strings.ContainsAny(sign, "\r\n") {
		return errors.New("signature is not base64")
	}
	digest := sha256.Sum256(content)
	if rsa.VerifyPKCS1v15(c.alipayKey, crypto.SHA256, digest[:], signature) != nil {
		return errBadSignature
	}
	return nil
}

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
		rsaKey, isRSA := parsed.(*rsa.PrivateKey)
		if pkcs8Err != nil || !isRSA {
			return nil, fault("PrivateKey", "neither PKCS#1 nor PKCS#8 RSA")
		}
		key = rsaKey
	}
	if key.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("PrivateKey: %d bits, RSA2 needs %d", key.N.BitLen(), minKeyBits)
	}
	return key, nil
}

func parsePublicKey(text string) (*rsa.PublicKey, error) {
	der, kind, err := keyBytes(text)
	if err != nil {
		return nil, fmt.Errorf("AlipayPublicKey: %w", err)
	}
	if kind != "" && kind != "PUBLIC KEY" {
		return nil, fault("AlipayPublicKey", "unknown PEM type, want PUBLIC KEY")
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	key, isRSA := parsed.(*rsa.PublicKey)
	if err != nil || !isRSA {
		return nil, fault("AlipayPublicKey", "not an RSA public key")
	}
	if key.N.BitLen() < minKeyBits {
		return nil, fmt.Errorf("AlipayPublicKey: %d bits, RSA2 needs %d", key.N.BitLen(), minKeyBits)
	}
	return key, nil
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

// sameKeyPair catches the commonest slip in the open platform's console: copying the application's public key where
// Alipay's belongs. Whoever verifies with that key believes everything that we ourselves have signed.
func sameKeyPair(private *rsa.PrivateKey, public *rsa.PublicKey) error {
	if private != nil && public != nil && private.PublicKey.Equal(public) {
		return fault("AlipayPublicKey", "that is the app's own public key, not Alipay's")
	}
	return nil
}
