package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// appEntry is one app in an apps file. File names count from the apps file's folder.
type appEntry struct {
	ID            string `json:"app_id"`
	SellerID      string `json:"seller_id"`
	PublicKeyFile string `json:"public_key_file"`
	AppCertFile   string `json:"app_cert_file"`
	BuyerOpenID   bool   `json:"buyer_open_id"`
}

// ReadApps reads a JSON array of apps: app_id, seller_id, either public_key_file or app_cert_file, and buyer_open_id. It is
// strict, and reports every file that cannot be read.
func ReadApps(path string) ([]App, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("apps file: %w", err)
	}
	var entries []appEntry
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&entries); err != nil {
		return nil, fmt.Errorf("apps file %s: %w", path, err)
	}
	var apps []App
	var errs []error
	for _, e := range entries {
		a := App{ID: e.ID, SellerID: e.SellerID, BuyerOpenID: e.BuyerOpenID}
		var keyErr, certErr error
		a.PublicKey, keyErr = readBeside(path, e.PublicKeyFile)
		a.AppCert, certErr = readBeside(path, e.AppCertFile)
		apps, errs = append(apps, a), append(errs, keyErr, certErr)
	}
	return apps, errors.Join(errs...)
}

// readBeside reads a file that is named in the one at path; no name is no text.
func readBeside(path, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(path), name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("apps file: %w", err)
	}
	return string(text), nil
}
