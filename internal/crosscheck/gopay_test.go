package crosscheck

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-pay/gopay"
	gopayalipay "github.com/go-pay/gopay/alipay"
	"github.com/stretchr/testify/require"

	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

// gopayClient is github.com/go-pay/gopay.
type gopayClient struct {
	*gopayalipay.Client
	mode    mode
	gateway string
	methods map[string]func(context.Context, gopay.BodyMap) (any, error)
}

func newGopay(t *testing.T, w *world, gateway string) client {
	t.Helper()
	keys := sandboxtest.Keys()
	c, err := gopayalipay.NewClient(appID, sandboxtest.Bare(keys[sandbox.AppPrivateKeyFile]), false)
	require.NoError(t, err)
	c.SetLocation("Asia/Shanghai")
	c.GetHttpClient().SetTransport(rewrite(gateway))
	if w.mode == certificate {
		require.NoError(t, c.SetCertSnByContent(
			[]byte(keys[sandbox.AppCertFile]), []byte(keys[sandbox.AlipayRootCertFile]), []byte(keys[sandbox.AlipayCertFile])))
		c.AutoVerifySign([]byte(keys[sandbox.AlipayCertFile]))
	} else {
		c.AutoVerifySign([]byte(keys[sandbox.AlipayPublicKeyFile]))
	}
	return &gopayClient{c, w.mode, gateway, map[string]func(context.Context, gopay.BodyMap) (any, error){
		query: loose(c.TradeQuery), closeTrade: loose(c.TradeClose), refund: loose(c.TradeRefund),
		refundQuery: loose(c.TradeFastPayRefundQuery), precreate: loose(c.TradePrecreate), cancel: loose(c.TradeCancel),
		billURL: loose(c.DataBillDownloadUrlQuery),
	}}
}

// loose forgets an answer's type.
func loose[P, A any](typed func(context.Context, P) (A, error)) func(context.Context, P) (any, error) {
	return func(ctx context.Context, param P) (any, error) { return typed(ctx, param) }
}

// rewrite sends everything to one gateway: those of gopay are constants.
type rewrite string

func (gateway rewrite) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(string(gateway))
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.URL.Path, r.Host = to.Scheme, to.Host, to.Path, to.Host
	return http.DefaultTransport.RoundTrip(r)
}

func (c *gopayClient) ask(ctx context.Context, method string, biz map[string]any) (answer, error) {
	call, known := c.methods[method]
	if !known {
		return nil, errUnknownMethod
	}
	response, err := call(ctx, maps.Clone(biz))
	if _, refused := gopayalipay.IsBizError(err); err != nil && !refused {
		return nil, err
	}
	whole, err := asAnswer(response)
	if err != nil {
		return nil, err
	}
	node, found := whole[strings.ReplaceAll(method, ".", "_")+"_response"].(map[string]any)
	if !found {
		return nil, fmt.Errorf("no node for %s in %v", method, whole)
	}
	return node, nil
}

func (c *gopayClient) page(ctx context.Context, verb string, o order) (*http.Request, error) {
	params, err := c.RequestParam(gopay.BodyMap{
		"biz_content": gopay.BodyMap(o.biz()), "notify_url": o.NotifyURL, "return_url": o.ReturnURL,
	}, o.Method)
	if err != nil {
		return nil, err
	}
	return laidOut(ctx, verb, c.gateway, params)
}

func (c *gopayClient) verify(_ context.Context, form string) error {
	values, err := url.ParseQuery(form)
	if err != nil {
		return err
	}
	fields, err := gopayalipay.ParseNotifyByURLValues(values)
	if err != nil {
		return err
	}
	var genuine bool
	if c.mode == certificate {
		genuine, err = gopayalipay.VerifySignWithCert([]byte(sandboxtest.Keys()[sandbox.AlipayCertFile]), fields)
	} else {
		genuine, err = gopayalipay.VerifySign(sandboxtest.Bare(sandboxtest.Keys()[sandbox.AlipayPublicKeyFile]), fields)
	}
	if err == nil && !genuine {
		err = errors.New("gopay: not genuine")
	}
	return err
}
