package activities

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/skip2/go-qrcode"
)

const (
	qrPixels  = 200
	qrLongest = 512 // bytes; well inside what a code of this size can be scanned at
)

// qrCode draws text as a PNG data URL, 200×200. The library panics on content that it cannot place, so that is bounded
// and caught.
func qrCode(text string) (dataURL string, err error) {
	if len(text) > qrLongest {
		return "", fmt.Errorf("draw QR code: %d bytes are too long", len(text))
	}
	defer func() {
		if recover() != nil {
			err = errors.New("draw QR code: the library panicked")
		}
	}()
	png, err := qrcode.Encode(text, qrcode.Medium, qrPixels)
	if err != nil {
		return "", fmt.Errorf("draw QR code: %w", err)
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(png), nil
}
