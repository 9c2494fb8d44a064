package crosscheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	wapPay       = "alipay.trade.wap.pay"
	pagePay      = "alipay.trade.page.pay"
	query        = "alipay.trade.query"
	closeTrade   = "alipay.trade.close"
	refund       = "alipay.trade.refund"
	refundQuery  = "alipay.trade.fastpay.refund.query"
	precreate    = "alipay.trade.precreate"
	cancel       = "alipay.trade.cancel"
	billURL      = "alipay.data.dataservice.bill.downloadurl.query"
	certDownload = "alipay.open.app.alipaycert.download"
)

// client is somebody's idea of how to talk to Alipay.
type client interface {
	// ask sends a request and gives its answer, as the client hands it to its user: code, sub_code and the method's own
	// fields. The error says that there was no answer, or that the client does not believe it.
	ask(ctx context.Context, method string, biz map[string]any) (answer, error)
	// page gives what the buyer's browser sends to open a pay page, by GET or by POST.
	page(ctx context.Context, verb string, o order) (*http.Request, error)
	// verify says why form, a notify's body or a return's query, is not Alipay's.
	verify(ctx context.Context, form string) error
}

// answer is an answer's fields.
type answer map[string]any

func (a answer) text(field string) string {
	text, _ := a[field].(string)
	return text
}

// asAnswer reads what a client returns through JSON, which all of their types know.
func asAnswer(from any) (a answer, err error) {
	text, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	return a, json.Unmarshal(text, &a)
}

var errUnknownMethod = errors.New("the client has no such method")

// kind is one of the clients, and where it is unlike the others.
type kind struct {
	name string
	make func(t *testing.T, w *world, gateway string) client
	// lacks are the methods that it does not have.
	lacks []string
	// formless: it does not send format.
	formless bool
	// credulous says which questions it takes a forged or unsigned answer to; nil: none.
	credulous func(question) bool
	// ours: the numbers it sends have to look like numbers, it opens pages by POST only, and no return impresses it.
	ours bool
	// rawEntities: the form that it makes leaves the & of an entity as it is, so a browser sends what was not signed.
	rawEntities bool
	// inGBK: its requests say charset=GBK, so that is what it is answered in.
	inGBK bool
	// deaf: it reads GBK as UTF-8 and so believes nothing with Chinese in it, as every refusal has. It sends ASCII only.
	deaf bool
}

// kinds in UTF-8; they are also the ones who judge notifies.
var kinds = []kind{
	{name: "gopay", make: newGopay, credulous: gopayBelieves},
	{name: "smartwalle", make: newSmartwalle, credulous: func(q question) bool { return q.method.name == certDownload }},
	{name: "node", make: newNode, formless: true, rawEntities: true},
	{name: "ours", make: newOurs, ours: true, lacks: []string{pagePay, precreate, cancel, certDownload}},
}

// gbkKinds are the clients that have a setting for it. Our own and smartwalle say UTF-8, always.
var gbkKinds = []kind{
	{name: "gopay in GBK", make: newGopayGBK, credulous: gopayBelieves, inGBK: true},
	{name: "node in GBK", make: newNodeGBK, formless: true, rawEntities: true, inGBK: true, deaf: true},
}

var allKinds = slices.Concat(kinds, gbkKinds)

// gopayBelieves: an error answer is handed out before anybody looks at its signature, and a certificate without.
func gopayBelieves(q question) bool {
	return q.method.name == certDownload || q.outcome.fails && q.outcome.lie == unsigned
}

// sends says whether the client is to send v.
func (k kind) sends(v value, success bool) bool {
	cells := inEveryCell
	if k.inGBK {
		cells = forGBK
	}
	return (success || slices.Contains(cells, v)) && (!k.deaf || isASCII(v.text))
}

// hears is what is left of a text that the gateway sends to the client.
func (k kind) hears(text string) string {
	if k.inGBK {
		return throughGBK(text)
	}
	return text
}

// request makes a browser's request out of an address and a form, which may be empty.
func browserRequest(ctx context.Context, verb, address, form string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, verb, address, strings.NewReader(form))
	if err == nil && form != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return request, err
}

// laidOut sends signed parameters in the address or in the body.
func laidOut(ctx context.Context, verb, gateway, params string) (*http.Request, error) {
	switch verb {
	case http.MethodGet:
		return browserRequest(ctx, verb, gateway+"?"+params, "")
	case http.MethodPost:
		return browserRequest(ctx, verb, gateway, params)
	}
	return nil, fmt.Errorf("no pay page by %s", verb)
}
