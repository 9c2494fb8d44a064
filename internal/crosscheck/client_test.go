package crosscheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	wapPay      = "alipay.trade.wap.pay"
	pagePay     = "alipay.trade.page.pay"
	query       = "alipay.trade.query"
	closeTrade  = "alipay.trade.close"
	refund      = "alipay.trade.refund"
	refundQuery = "alipay.trade.fastpay.refund.query"
	precreate   = "alipay.trade.precreate"
	cancel      = "alipay.trade.cancel"
	billURL     = "alipay.data.dataservice.bill.downloadurl.query"
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

// kind is one of the clients and what it is not able to do.
type kind struct {
	name string
	make func(t *testing.T, w *world, gateway string) client
	// trustsUnsignedErrors: an error answer is handed out before anybody looks at its signature (facts: gopay).
	trustsUnsignedErrors bool
	// ours: it takes nothing but pay numbers, and has not every method.
	ours bool
}

var kinds = []kind{
	{name: "gopay", make: newGopay, trustsUnsignedErrors: true},
	{name: "smartwalle", make: newSmartwalle},
	{name: "node", make: newNode},
	{name: "ours", make: newOurs, ours: true},
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
