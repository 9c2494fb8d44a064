package buyer

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image/png"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// Scan reads a QR code out of the picture in a data URL.
func Scan(dataURL string) (string, error) {
	encoded, found := strings.CutPrefix(dataURL, "data:image/png;base64,")
	if !found {
		return "", errors.New("scan: not a PNG data URL")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("scan: %w", err)
	}
	picture, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		return "", fmt.Errorf("scan: %w", err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		return "", fmt.Errorf("scan: %w", err)
	}
	// The picture is drawn, not photographed. Looked for as in a photograph, one code in some hundreds is not found.
	drawn := map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true}
	text, err := qrcode.NewQRCodeReader().Decode(bitmap, drawn)
	if err != nil {
		return "", fmt.Errorf("scan: %w", err)
	}
	return text.GetText(), nil
}

// Phone is a browser without JavaScript: it opens pages and submits the forms on them.
type Phone struct{ http *http.Client }

// NewPhone is a phone with no memory of earlier pages.
func NewPhone() (*Phone, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &Phone{http: &http.Client{Jar: jar, Timeout: 30 * time.Second}}, nil
}

// Page is a page on the phone.
type Page struct {
	url *url.URL
	doc *goquery.Document
}

// Text is the trimmed text of the element that the CSS selector finds.
func (p *Page) Text(selector string) string {
	return strings.TrimSpace(p.doc.Find(selector).First().Text())
}

// Open opens a page.
func (p *Phone) Open(ctx context.Context, address string) (*Page, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return p.show(request)
}

// Submit sends the form with the given id and shows what comes back.
func (p *Phone) Submit(ctx context.Context, page *Page, formID string) (*Page, error) {
	form := page.doc.Find("form#" + formID)
	if form.Length() != 1 {
		return nil, fmt.Errorf("no form %q on %s", formID, page.url.Redacted())
	}
	action, err := page.url.Parse(form.AttrOr("action", ""))
	if err != nil {
		return nil, err
	}
	fields := url.Values{}
	form.Find("input[name]").Each(func(_ int, input *goquery.Selection) {
		fields.Set(input.AttrOr("name", ""), input.AttrOr("value", ""))
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, action.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return p.show(request)
}

func (p *Phone) show(request *http.Request) (*Page, error) {
	request.Header.Set("Accept", "text/html")
	response, err := p.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	doc, err := goquery.NewDocumentFromReader(response.Body)
	if err != nil {
		return nil, err
	}
	page := &Page{url: response.Request.URL, doc: doc}
	if response.StatusCode != http.StatusOK {
		return page, fmt.Errorf("%s: HTTP %d: %s", response.Request.URL.Path, response.StatusCode, page.Text("h1"))
	}
	return page, nil
}

// The ids of the forms on the way: our pay page's, and the sandbox cashier's.
const (
	formToCashier = "pay"
	formPay       = "pay"
)

// OpenCashier follows a scanned code to the cashier.
func (p *Phone) OpenCashier(ctx context.Context, scanned string) (*Page, error) {
	page, err := p.Open(ctx, scanned)
	if err != nil {
		return page, err
	}
	return p.Submit(ctx, page, formToCashier)
}

// Pay confirms the payment on the cashier's page (确认付款).
func (p *Phone) Pay(ctx context.Context, cashier *Page) (*Page, error) {
	return p.Submit(ctx, cashier, formPay)
}
