package crosscheck

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	smartwalle "github.com/smartwalle/alipay/v3"
	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

// smartwalleClient is github.com/smartwalle/alipay, the strictest of the three.
type smartwalleClient struct {
	*smartwalle.Client
	gateway string
	methods map[string]func(context.Context, []byte) (any, error)
}

func newSmartwalle(t *testing.T, w *world, gateway string) client {
	t.Helper()
	keys := sandboxtest.Keys()
	c, err := smartwalle.New(appID, sandboxtest.Bare(keys[sandbox.AppPrivateKeyFile]), false,
		smartwalle.WithSandboxGateway(gateway), smartwalle.WithTimeLocation(time.FixedZone("", 8*60*60)))
	require.NoError(t, err)
	if w.mode == certificate {
		require.NoError(t, c.LoadAppCertPublicKey(keys[sandbox.AppCertFile]))
		require.NoError(t, c.LoadAliPayRootCert(keys[sandbox.AlipayRootCertFile]))
		require.NoError(t, c.LoadAlipayCertPublicKey(keys[sandbox.AlipayCertFile]))
	} else {
		require.NoError(t, c.LoadAliPayPublicKey(keys[sandbox.AlipayPublicKeyFile]))
	}
	return &smartwalleClient{c, gateway, map[string]func(context.Context, []byte) (any, error){
		query: fromJSON(c.TradeQuery), closeTrade: fromJSON(c.TradeClose), refund: fromJSON(c.TradeRefund),
		refundQuery: fromJSON(c.TradeFastPayRefundQuery), precreate: fromJSON(c.TradePreCreate), cancel: fromJSON(c.TradeCancel),
		billURL: fromJSON(c.BillDownloadURLQuery), certDownload: fromJSON(c.CertDownload),
	}}
}

// fromJSON fills a method's own parameter type from biz_content.
func fromJSON[P, A any](typed func(context.Context, P) (A, error)) func(context.Context, []byte) (any, error) {
	return func(ctx context.Context, biz []byte) (any, error) {
		var param P
		if err := json.Unmarshal(biz, &param); err != nil {
			return nil, err
		}
		return typed(ctx, param)
	}
}

func (c *smartwalleClient) ask(ctx context.Context, method string, biz map[string]any) (answer, error) {
	call, known := c.methods[method]
	if !known {
		return nil, errUnknownMethod
	}
	text, err := json.Marshal(biz)
	if err != nil {
		return nil, err
	}
	response, err := call(ctx, text)
	if err != nil {
		return nil, err
	}
	return asAnswer(response)
}

func (c *smartwalleClient) page(ctx context.Context, verb string, o order) (*http.Request, error) {
	text, err := json.Marshal(o.biz())
	if err != nil {
		return nil, err
	}
	var param smartwalle.Param
	if o.Method == wapPay {
		var wap smartwalle.TradeWapPay
		err = json.Unmarshal(text, &wap)
		wap.NotifyURL, wap.ReturnURL = o.NotifyURL, o.ReturnURL
		param = wap
	} else {
		var page smartwalle.TradePagePay
		err = json.Unmarshal(text, &page)
		page.NotifyURL, page.ReturnURL = o.NotifyURL, o.ReturnURL
		param = page
	}
	if err != nil {
		return nil, err
	}
	params, err := c.EncodeParam(param)
	if err != nil {
		return nil, err
	}
	return laidOut(ctx, verb, c.gateway, params)
}

func (c *smartwalleClient) verify(ctx context.Context, form string) error {
	values, err := url.ParseQuery(form)
	if err != nil {
		return err
	}
	_, err = c.DecodeNotification(ctx, values)
	return err
}
