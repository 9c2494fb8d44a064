package activities

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image/png"
	"sync"

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
	code, err := qrcode.New(text, qrcode.Medium)
	if err != nil {
		return "", fmt.Errorf("draw QR code: %w", err)
	}
	var picture bytes.Buffer
	if err := packer.Encode(&picture, code.Image(qrPixels)); err != nil {
		return "", fmt.Errorf("pack QR code: %w", err)
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(picture.Bytes()), nil
}

// packer makes PNGs. Black and white squares pack well at any level, and a compressor is a megabyte of memory: kept for
// the next picture.
var packer = png.Encoder{CompressionLevel: png.BestSpeed, BufferPool: &buffers{}}

// buffers keeps compressors between pictures.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() *png.EncoderBuffer {
	buffer, _ := b.pool.Get().(*png.EncoderBuffer)
	return buffer // nil makes a new one
}

func (b *buffers) Put(buffer *png.EncoderBuffer) { b.pool.Put(buffer) }
