// Package sandboxtest is what tests of the sandbox, and tests against it, have in common.
package sandboxtest

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"coursepay/internal/sandbox"
)

// Keys gives the texts of a key set by their file names. There is one set for the whole run: generating RSA keys is slow.
var Keys = sync.OnceValue(func() map[string]string {
	dir, err := os.MkdirTemp("", "sandbox-keys")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := sandbox.GenerateKeys(dir, false); err != nil {
		panic(err)
	}
	keys := map[string]string{}
	for _, name := range []string{
		sandbox.AppPrivateKeyFile, sandbox.AppPublicKeyFile, sandbox.AlipayPrivateKeyFile, sandbox.AlipayPublicKeyFile,
		sandbox.AppCertFile, sandbox.AlipayCertFile, sandbox.AlipayRootCertFile,
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			panic(err)
		}
		keys[name] = string(text)
	}
	return keys
})

// Bare strips the PEM armour, which the Go clients do not want.
func Bare(pem string) string {
	var lines []string
	for line := range strings.Lines(pem) {
		if !strings.HasPrefix(line, "-----") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "")
}
