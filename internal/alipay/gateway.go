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

// call asks the gateway about payNo and decodes a successful, verified answer into result. A verified refusal is an
// *Error with Alipay's codes; everything else is a Temporary *Error.
func (c *Client) call(ctx context.Context, method, payNo string, result any) error {
	if !payNoText.MatchString(payNo) {
		return fmt.Errorf("%s: %q is not a pay number", method, payNo)
	}
	body, err := c.post(ctx, method, gopay.BodyMap{"out_trade_no": payNo})
	if err != nil {
		return noAnswer(method, err)
	}
	return c.open(method, payNo, body, result)
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
func (c *Client) open(method, payNo string, body []byte, result any) error {
	node, sign, err := splitAnswer(method, body)
	if err != nil {
		return noAnswer(method, err)
	}
	var a answer
	if err := json.Unmarshal(node, &a); err != nil || a.Code == "" {
		return noAnswer(method, fmt.Errorf("%w: no code", ErrMalformedAnswer))
	}
	if err := c.believe(node, sign, a, payNo); err != nil {
		untrusted := noAnswer(method, err)
		untrusted.SubCode = firstRunes(a.SubCode, maxMessage)
		return untrusted
	}
	if a.Code != codeOK {
		return refusal(method, a)
	}
	if err := json.Unmarshal(node, result); err != nil {
		return noAnswer(method, fmt.Errorf("%w: %w", ErrMalformedAnswer, err))
	}
	return nil
}

// believe says why an answer must not be believed. An error answer may leave out the number that it is about; a
// successful one may not.
func (c *Client) believe(node []byte, sign string, a answer, payNo string) error {
	if sign == "" && a.Code != codeOK {
		return ErrUnsignedAnswer
	}
	if err := c.verify(node, sign); err != nil {
		return fmt.Errorf("%w: %w", ErrForgedAnswer, err)
	}
	if a.OutTradeNo != payNo && (a.Code == codeOK || a.OutTradeNo != "") {
		return fmt.Errorf("%w: it is about another out_trade_no", ErrForgedAnswer)
	}
	return nil
}

// splitAnswer takes the raw node and the signature out of {"<method>_response":{…},"sign":"…"}. Certificate mode's
// alipay_cert_sn is a third member, ignored as long as one key is configured.
func splitAnswer(method string, body []byte) (node json.RawMessage, sign string, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, "", fmt.Errorf("%w: not JSON", ErrMalformedAnswer)
	}
	node, found := members[strings.ReplaceAll(method, ".", "_")+"_response"]
	if !found {
		node, found = members["error_response"]
	}
	if !found {
		return nil, "", fmt.Errorf("%w: no node for the method", ErrMalformedAnswer)
	}
	if raw, signed := members["sign"]; signed {
		if err := json.Unmarshal(raw, &sign); err != nil {
			return nil, "", fmt.Errorf("%w: sign is not a string", ErrMalformedAnswer)
		}
	}
	return node, sign, nil
}

func firstRunes(text string, limit int) string {
	runes := []rune(strings.ToValidUTF8(text, "?"))
	return string(runes[:min(limit, len(runes))])
}
