package crosscheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	line    *line
	methods map[string]func(context.Context, gopay.BodyMap) (any, error)
}

func newGopay(t *testing.T, w *world, gateway string) client {
	t.Helper()
	return newGopayClient(t, w, gateway)
}

// newGopayGBK is a gopay whose user has taken on what SetCharset leaves to him: that the business content is in GBK.
func newGopayGBK(t *testing.T, w *world, gateway string) client {
	t.Helper()
	c := newGopayClient(t, w, gateway)
	c.SetCharset("GBK")
	c.line.inGBK = true
	return gopayGBK{c}
}

func newGopayClient(t *testing.T, w *world, gateway string) *gopayClient {
	t.Helper()
	keys := sandboxtest.Keys()
	c, err := gopayalipay.NewClient(appID, sandboxtest.Bare(keys[sandbox.AppPrivateKeyFile]), false)
	require.NoError(t, err)
	c.SetLocation("Asia/Shanghai")
	to := &line{gateway: gateway}
	c.GetHttpClient().SetTransport(to)
	if w.mode == certificate {
		require.NoError(t, c.SetCertSnByContent(
			[]byte(keys[sandbox.AppCertFile]), []byte(keys[sandbox.AlipayRootCertFile]), []byte(keys[sandbox.AlipayCertFile])))
		c.AutoVerifySign([]byte(keys[sandbox.AlipayCertFile]))
	} else {
		c.AutoVerifySign([]byte(keys[sandbox.AlipayPublicKeyFile]))
	}
	return &gopayClient{c, w.mode, to, map[string]func(context.Context, gopay.BodyMap) (any, error){
		query: loose(c.TradeQuery), closeTrade: loose(c.TradeClose), refund: loose(c.TradeRefund),
		refundQuery: loose(c.TradeFastPayRefundQuery), precreate: loose(c.TradePrecreate), cancel: loose(c.TradeCancel),
		billURL: loose(c.DataBillDownloadUrlQuery), certDownload: loose(c.PublicCertDownload),
	}}
}

// loose forgets an answer's type.
func loose[P, A any](typed func(context.Context, P) (A, error)) func(context.Context, P) (any, error) {
	return func(ctx context.Context, param P) (any, error) { return typed(ctx, param) }
}

// line sends everything to one gateway, since those of gopay are constants, and keeps what came back last.
type line struct {
	gateway string
	inGBK   bool
	answer  string
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(l.gateway)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.URL.Path, r.Host = to.Scheme, to.Host, to.Path, to.Host
	if l.inGBK { // the constant says utf-8 whatever the client has been told
		r.URL.RawQuery = "charset=GBK"
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	l.answer, response.Body = string(body), io.NopCloser(bytes.NewReader(body))
	return response, err
}

func (c *gopayClient) ask(ctx context.Context, method string, biz map[string]any) (answer, error) {
	response, err := c.call(ctx, method, maps.Clone(biz))
	if err != nil {
		return nil, err
	}
	whole, err := asAnswer(response)
	if err != nil {
		return nil, err
	}
	return nodeOf(method, whole)
}

// call gives what gopay returns, with Alipay's refusals among it.
func (c *gopayClient) call(ctx context.Context, method string, biz gopay.BodyMap) (any, error) {
	call, known := c.methods[method]
	if !known {
		return nil, errUnknownMethod
	}
	response, err := call(ctx, biz)
	if _, refused := gopayalipay.IsBizError(err); err != nil && !refused {
		return nil, err
	}
	return response, nil
}

func nodeOf(method string, whole answer) (answer, error) {
	node, found := whole[strings.ReplaceAll(method, ".", "_")+"_response"].(map[string]any)
	if !found {
		return nil, fmt.Errorf("no node for %s in %v", method, whole)
	}
	return node, nil
}

func (c *gopayClient) page(ctx context.Context, verb string, o order) (*http.Request, error) {
	return c.open(ctx, verb, o, gopay.BodyMap(o.biz()))
}

func (c *gopayClient) open(ctx context.Context, verb string, o order, biz any) (*http.Request, error) {
	params, err := c.RequestParam(gopay.BodyMap{
		"biz_content": biz, "notify_url": o.NotifyURL, "return_url": o.ReturnURL,
	}, o.Method)
	if err != nil {
		return nil, err
	}
	return laidOut(ctx, verb, c.line.gateway, params)
}

// gopayGBK hands its gopay texts in GBK, and reads in GBK what that has found to be genuine.
type gopayGBK struct{ *gopayClient }

func (c gopayGBK) ask(ctx context.Context, method string, biz map[string]any) (answer, error) {
	recoded := gopay.BodyMap{}
	for key, value := range biz {
		text, err := gbkJSON(value)
		if err != nil {
			return nil, err
		}
		recoded[key] = text
	}
	if _, err := c.call(ctx, method, recoded); err != nil {
		return nil, err
	}
	var whole answer
	if err := json.Unmarshal([]byte(fromGBK(c.line.answer)), &whole); err != nil {
		return nil, err
	}
	return nodeOf(method, whole)
}

func (c gopayGBK) page(ctx context.Context, verb string, o order) (*http.Request, error) {
	text, err := gbkJSON(o.biz())
	if err != nil {
		return nil, err
	}
	return c.open(ctx, verb, o, string(text))
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
