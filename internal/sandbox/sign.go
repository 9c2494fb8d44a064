package sandbox

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// canonical is Alipay's string to sign: the non-empty parameters except the named ones, sorted by key and joined as
// k=v&k=v with raw values. A request leaves out sign only; a notify and a return leave out sign and sign_type.
func canonical(params map[string]string, except ...string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if value := params[key]; value != "" && !slices.Contains(except, key) {
			pairs = append(pairs, key+"="+value)
		}
	}
	return strings.Join(pairs, "&")
}

// sign gives the RSA2 signature (SHA256withRSA, PKCS#1 v1.5) of text in base64.
func sign(key *rsa.PrivateKey, text []byte) (string, error) {
	digest := sha256.Sum256(text)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// verify says whether signature is the RSA2 signature of text. Its base64 is read strictly: otherwise the last letter
// could be another one, and line breaks could stand in it.
func verify(key *rsa.PublicKey, text []byte, signature string) bool {
	raw, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil || strings.ContainsAny(signature, "\r\n") {
		return false
	}
	digest := sha256.Sum256(text)
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], raw) == nil
}
