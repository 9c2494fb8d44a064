package alipay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-pay/gopay"
)

const (
	methodBillURL = "alipay.data.dataservice.bill.downloadurl.query"
	// methodBillFile is no method of Alipay's; it names the download in errors and metrics.
	methodBillFile = "bill.download"
	// maxBillArchive is far above a day of any shop: 24,000 trades are about 1 MB.
	maxBillArchive = 16 << 20
	billTimeout    = 2 * time.Minute
	dayLayout      = "2006-01-02"
)

var (
	// ErrNoBill: Alipay has no bill for that day, or not yet; one is ready at about 09:00 of the next day. A day
	// without any trade has none either. The *Error beneath has the sub code: BILL_NOT_EXIST or NO_BILL_DATA.
	ErrNoBill = errors.New("alipay: no bill for that day")
	// ErrBillAddress: the bill is offered at an address that is not Alipay's.
	ErrBillAddress = errors.New("alipay: the bill's address is not Alipay's")
)

// BillURL asks where the trade bill of a day lies (alipay.data.dataservice.bill.downloadurl.query). The day is the one
// that date falls on in China, and has to be over. The address works for 30 s and is a secret: who knows it has the
// bill. Errors are *Error, ErrNoBill around one, or plain for a day that is not over.
func (c *Client) BillURL(ctx context.Context, date time.Time) (string, error) {
	day := date.In(beijing).Format(dayLayout)
	if day >= time.Now().In(beijing).Format(dayLayout) {
		return "", fmt.Errorf("%s: %s is not over yet", methodBillURL, day)
	}
	var found struct {
		URL string `json:"bill_download_url"`
	}
	ask := request{method: methodBillURL, biz: gopay.BodyMap{"bill_type": "trade", "bill_date": day}}
	err := c.call(ctx, ask, &found)
	switch {
	case refusedWith(err, "BILL_NOT_EXIST", "NO_BILL_DATA"):
		return "", fmt.Errorf("%w: %w", ErrNoBill, err)
	case err != nil:
		return "", err
	}
	address, err := c.billAddress(found.URL)
	if err != nil {
		return "", noAnswer(methodBillURL, err)
	}
	return address, nil
}

// Bill fetches and reads the trade bill of a day, as BillURL finds it. Further errors: ErrBillMalformed in an *Error.
func (c *Client) Bill(ctx context.Context, date time.Time) (Bill, error) {
	address, err := c.BillURL(ctx, date)
	if err != nil {
		return Bill{}, err
	}
	var archive []byte
	err = c.meter.measure(methodBillFile, func() (err error) {
		if archive, err = c.download(ctx, address); err != nil {
			return noAnswer(methodBillFile, err)
		}
		return nil
	})
	if err != nil {
		return Bill{}, err
	}
	bill, err := ParseBill(archive)
	if err != nil {
		return Bill{}, noAnswer(methodBillFile, err)
	}
	return bill, nil
}

// billAddress lets through what is Alipay's, over TLS: Alipay still says http, and answers on https. The gateway's own
// host is right too, for a simulator, and outside production Alipay's sandbox.
func (c *Client) billAddress(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return "", ErrBillAddress
	}
	if u.Scheme+"://"+u.Host == gatewayOrigin(c.gateway) {
		return u.String(), nil
	}
	host := strings.ToLower(u.Hostname())
	ours := strings.HasSuffix(host, ".alipay.com") || (!c.cfg.Production && strings.HasSuffix(host, ".alipaydev.com"))
	if !ours || u.Port() != "" {
		return "", ErrBillAddress
	}
	u.Scheme = "https"
	return u.String(), nil
}

func gatewayOrigin(gateway string) string {
	u, err := url.Parse(gateway)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// download keeps the address out of its errors.
func (c *Client) download(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, billTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, ErrBillAddress
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %d", ErrGatewayStatus, resp.StatusCode)
	}
	archive, err := io.ReadAll(io.LimitReader(resp.Body, maxBillArchive+1))
	switch {
	case err != nil:
		return nil, err
	case len(archive) > maxBillArchive:
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrBillMalformed, maxBillArchive)
	}
	return archive, nil
}

func withoutURL(err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return failed.Err
	}
	return err
}
