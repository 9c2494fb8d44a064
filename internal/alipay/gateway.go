package alipay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-pay/gopay"
)

const (
	codeOK = "10000"
	// maxAnswer is far above any answer of the methods used here.
	maxAnswer = 1 << 20
	// maxMessage keeps the echo of our whole request, which isv.invalid-signature sends back, out of errors and logs.
	maxMessage = 64
)

// answer holds the fields that every method's answer shares.
type answer struct {
	Code       string `json:"code"`
	Msg        string `json:"msg"`
	SubCode    string `json:"sub_code"`
	SubMsg     string `json:"sub_msg"`
	OutTradeNo string `json:"out_trade_no"`
}

func (a answer) message() string {
	text := a.SubMsg
	if text == "" {
		text = a.Msg
	}
	return firstRunes(text, maxMessage)
}

// request is one question to the gateway.
type request struct {
	method string
	// payNo is the out_trade_no that the answer has to repeat; empty where the method knows none.
	payNo string
	// terse marks a method whose successful answer may say nothing at all, not even the number.
	terse bool
	biz   gopay.BodyMap
}

// about is a question about one of our pay numbers.
func about(method, payNo string) (request, error) {
	if !payNoText.MatchString(payNo) {
		return request{}, fmt.Errorf("%s: %q is not a pay number", method, firstRunes(payNo, maxMessage))
	}
	return request{method: method, payNo: payNo, biz: gopay.BodyMap{"out_trade_no": payNo}}, nil
}

// call waits for its turn, asks, and decodes a successful, verified answer into result. A verified refusal is an *Error
// with Alipay's codes; everything else is a Temporary *Error.
func (c *Client) call(ctx context.Context, r request, result any) error {
	if err := c.awaitTurn(ctx, r.method); err != nil {
		return err
	}
	return c.meter.measure(r.method, func() error {
		body, err := c.post(ctx, r.method, r.biz)
		if err != nil {
			return noAnswer(r.method, err)
		}
		return c.open(r, body, result)
	})
}

// post signs and sends one request and returns the body as received. gopay's own sender is not used: it hides the body,
// truncates silently, and knows only Alipay's gateways.
func (c *Client) post(ctx context.Context, method string, biz gopay.BodyMap) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	params, err := c.signer.RequestParam(gopay.BodyMap{"biz_content": biz}, method)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.gateway+"?charset=utf-8", strings.NewReader(params))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: %d", ErrGatewayStatus, resp.StatusCode)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformedAnswer, maxAnswer)
	}
	return body, nil
}

// open verifies a raw answer before it believes a word of it, errors included. The signature is over the raw bytes of
// the method's node, and those same bytes are what is decoded, so nothing can stand between the two.
func (c *Client) open(r request, body []byte, result any) error {
	e, err := splitAnswer(r.method, body)
	if err != nil {
		return noAnswer(r.method, err)
	}
	var a answer
	if err := json.Unmarshal(e.node, &a); err != nil || a.Code == "" {
		return noAnswer(r.method, fmt.Errorf("%w: no code", ErrMalformedAnswer))
	}
	if err := c.believe(r, e, a); err != nil {
		untrusted := noAnswer(r.method, err)
		untrusted.SubCode = firstRunes(a.SubCode, maxMessage)
		return untrusted
	}
	if a.Code != codeOK {
		return refusal(r.method, a)
	}
	if err := json.Unmarshal(e.node, result); err != nil {
		return noAnswer(r.method, fmt.Errorf("%w: %w", ErrMalformedAnswer, err))
	}
	return nil
}

// believe says why an answer must not be believed. An error answer may leave out the number that it is about; a
// successful one may not, unless the method is known for that.
func (c *Client) believe(r request, e envelope, a answer) error {
	if e.sign == "" && a.Code != codeOK {
		return ErrUnsignedAnswer
	}
	if err := c.trust.verifyAnswer(e.node, e.sign, e.certSN); err != nil {
		return fmt.Errorf("%w: %w", ErrForgedAnswer, err)
	}
	mayOmit := a.Code != codeOK || r.terse
	if a.OutTradeNo != r.payNo && (a.OutTradeNo != "" || !mayOmit) {
		return fmt.Errorf("%w: it is about another out_trade_no", ErrForgedAnswer)
	}
	return nil
}

// envelope is {"<method>_response":{…},"alipay_cert_sn":"…","sign":"…"}, the second only in certificate mode.
type envelope struct {
	node         json.RawMessage
	certSN, sign string
}

func splitAnswer(method string, body []byte) (e envelope, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return e, fmt.Errorf("%w: not JSON", ErrMalformedAnswer)
	}
	node, found := members[strings.ReplaceAll(method, ".", "_")+"_response"]
	if !found {
		node, found = members["error_response"]
	}
	if !found {
		return e, fmt.Errorf("%w: no node for the method", ErrMalformedAnswer)
	}
	e.node = node
	for name, text := range map[string]*string{"sign": &e.sign, "alipay_cert_sn": &e.certSN} {
		if raw, given := members[name]; given && json.Unmarshal(raw, text) != nil {
			return e, fmt.Errorf("%w: %s is not a string", ErrMalformedAnswer, name)
		}
	}
	return e, nil
}

func firstRunes(text string, limit int) string {
	runes := []rune(strings.ToValidUTF8(text, "?"))
	return string(runes[:min(limit, len(runes))])
}
