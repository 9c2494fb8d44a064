package crosscheck

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"

	"coursepay/internal/alipay"
	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
	"coursepay/models"
)

// ourClient is internal/alipay. It tells what happened in types of its own, which are put back into Alipay's words here.
type ourClient struct {
	client *alipay.Client
	config alipay.Config
}

// newOurs makes one for each gateway: it spends some time on trying to fool itself.
func newOurs(t *testing.T, w *world, gateway string) client {
	t.Helper()
	if made, ok := w.ours.Load(gateway); ok {
		return made.(client)
	}
	keys := sandboxtest.Keys()
	config := alipay.Config{
		AppID: appID, SellerID: sellerID, PrivateKey: keys[sandbox.AppPrivateKeyFile], Gateway: gateway, MaxQPS: 100_000,
	}
	if w.mode == certificate {
		config.AppCert, config.RootCert = keys[sandbox.AppCertFile], keys[sandbox.AlipayRootCertFile]
		config.AlipayCert = keys[sandbox.AlipayCertFile]
	} else {
		config.AlipayPublicKey = keys[sandbox.AlipayPublicKeyFile]
	}
	c, err := alipay.New(config)
	require.NoError(t, err)
	made, _ := w.ours.LoadOrStore(gateway, &ourClient{c, config})
	return made.(client)
}

func (c *ourClient) ask(ctx context.Context, method string, biz map[string]any) (answer, error) {
	call, known := map[string]func(context.Context, func(string) string) (answer, error){
		query: c.query, closeTrade: c.close, refund: c.refund, refundQuery: c.refundQuery, billURL: c.bill,
	}[method]
	if !known {
		return nil, errUnknownMethod
	}
	a, err := call(ctx, answer(biz).text)
	if refused, ok := errors.AsType[*alipay.Error](err); ok && !refused.Temporary() {
		return answer{"code": refused.Code, "sub_code": refused.SubCode}, nil
	}
	return a, err
}

func (c *ourClient) query(ctx context.Context, biz func(string) string) (answer, error) {
	trade, err := c.client.QueryTrade(ctx, biz("out_trade_no"))
	if err == nil && trade.Status == models.TradeNotExist {
		return answer{"code": "40004", "sub_code": "ACQ.TRADE_NOT_EXIST", "out_trade_no": trade.PayNo}, nil
	}
	return answer{
		"code": "10000", "out_trade_no": trade.PayNo, "trade_status": string(trade.Status), "total_amount": trade.Amount.String(),
	}, err
}

func (c *ourClient) close(ctx context.Context, biz func(string) string) (answer, error) {
	outcome, err := c.client.CloseTrade(ctx, biz("out_trade_no"))
	if err == nil && outcome == models.CloseNotWaiting {
		return answer{"code": "40004", "sub_code": "ACQ.TRADE_STATUS_ERROR"}, nil
	}
	return answer{"code": "10000", "out_trade_no": biz("out_trade_no")}, err
}

func (c *ourClient) refund(ctx context.Context, biz func(string) string) (answer, error) {
	amount, err := models.ParseMoney(biz("refund_amount"))
	if err != nil {
		return nil, err
	}
	done, err := c.client.Refund(ctx, models.TradeRefundRequest{
		PayNo: biz("out_trade_no"), RequestNo: biz("out_request_no"), Amount: amount, Reason: biz("refund_reason"),
	})
	change := map[bool]string{true: "Y", false: "N"}[done.Refunded]
	return answer{
		"code": "10000", "out_trade_no": done.PayNo, "fund_change": change, "refund_fee": done.TotalRefunded.String(),
	}, err
}

func (c *ourClient) refundQuery(ctx context.Context, biz func(string) string) (answer, error) {
	found, err := c.client.QueryRefund(ctx, biz("out_trade_no"), biz("out_request_no"))
	a := answer{"code": "10000", "out_request_no": found.RequestNo}
	if found.Refunded {
		a["refund_status"], a["refund_amount"] = "REFUND_SUCCESS", found.Amount.String()
	}
	return a, err
}

func (c *ourClient) bill(ctx context.Context, biz func(string) string) (answer, error) {
	day, err := time.ParseInLocation("2006-01-02", biz("bill_date"), time.FixedZone("GMT+8", 8*60*60))
	if err != nil {
		return nil, err
	}
	address, err := c.client.BillURL(ctx, day)
	if err == nil {
		_, err = c.client.Bill(ctx, day)
	}
	return answer{"code": "10000", "bill_download_url": address}, err
}

// page submits the form that the learner's browser gets.
func (c *ourClient) page(ctx context.Context, _ string, o order) (*http.Request, error) {
	config := c.config
	config.NotifyURL, config.ReturnURL = o.NotifyURL, o.ReturnURL
	ours, err := alipay.New(config)
	if err != nil {
		return nil, err
	}
	amount, err := models.ParseMoney(o.Amount)
	if err != nil {
		return nil, err
	}
	page, err := ours.WapPayForm(alipay.WapPay{
		PayNo: o.Number, Subject: o.Subject, Amount: amount, ExpireAt: o.Expires, QuitURL: o.QuitURL,
	})
	if err != nil {
		return nil, err
	}
	return submit(ctx, page)
}

// submit is what a browser makes of a page with one form.
func submit(ctx context.Context, page string) (*http.Request, error) {
	document, err := goquery.NewDocumentFromReader(strings.NewReader(page))
	if err != nil {
		return nil, err
	}
	form, fields := document.Find("form"), url.Values{}
	form.Find("input").Each(func(_ int, input *goquery.Selection) {
		fields.Set(input.AttrOr("name", ""), input.AttrOr("value", ""))
	})
	return browserRequest(ctx, http.MethodPost, form.AttrOr("action", ""), fields.Encode())
}

func (c *ourClient) verify(_ context.Context, form string) error {
	_, err := c.client.ParseNotify([]byte(form))
	return err
}
