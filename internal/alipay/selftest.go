package alipay

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-pay/gopay"
)

// selfTest runs forgeries through the very code that will judge real answers and notifies. A verification that is
// switched off looks the same as one that works until the day somebody forges; better not to start at all.
func (c *Client) selfTest(appKey *rsa.PrivateKey) error {
	if err := c.selfTestSigner(); err != nil {
		return err
	}
	const node = `{"code":"10000","msg":"Success","out_trade_no":"selftest","trade_status":"TRADE_SUCCESS"}`
	notify := url.Values{
		"app_id": {c.cfg.AppID}, "seller_id": {c.cfg.SellerID}, "charset": {"utf-8"}, "out_trade_no": {"selftest"},
		"trade_status": {"TRADE_SUCCESS"}, "total_amount": {"0.01"}, "sign_type": {"RSA2"},
	}
	ownAnswer, err := signWith(appKey, node)
	if err != nil {
		return err
	}
	ownNotify, err := signWith(appKey, contentOf(notify))
	if err != nil {
		return err
	}
	zeros := base64.StdEncoding.EncodeToString(make([]byte, appKey.Size()))
	for _, sign := range []string{"", zeros, ownAnswer} {
		for _, certSN := range c.trust.claims() {
			body := fmt.Sprintf(`{"alipay_trade_query_response":%s,"alipay_cert_sn":"%s","sign":"%s"}`, node, certSN, sign)
			r := request{method: methodQuery, payNo: "selftest"}
			if err := c.open(r, []byte(body), &struct{}{}); !errors.Is(err, ErrForgedAnswer) {
				return errors.New("a forged answer was accepted")
			}
		}
	}
	for _, sign := range []string{"", zeros, ownNotify} {
		notify.Set("sign", sign)
		if _, err := c.ParseNotify([]byte(notify.Encode())); !errors.Is(err, ErrNotifySignature) {
			return errors.New("a forged notify was accepted")
		}
	}
	return nil
}

// claims are the certificates that a forger may say he signed with: each that we know, an unknown one, and none.
func (t trust) claims() []string {
	claims := []string{"", "00000000000000000000000000000000"}
	for _, k := range t.keys {
		claims = append(claims, k.certSN)
	}
	return claims
}

// selfTestSigner notices a time zone that gopay failed to load: it only logs that and then signs local time, which
// Alipay refuses.
func (c *Client) selfTestSigner() error {
	signed, err := c.signer.RequestParam(gopay.BodyMap{"biz_content": "{}"}, methodQuery)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	params, err := url.ParseQuery(signed)
	if err != nil || params.Get("sign") == "" || params.Get("sign_type") != "RSA2" {
		return errors.New("requests are not signed with RSA2")
	}
	if params.Get("app_cert_sn") != c.trust.appCertSN || params.Get("alipay_root_cert_sn") != c.trust.rootCertSN {
		return errors.New("requests do not name our certificates")
	}
	stamp, err := parseDate(params.Get("timestamp"))
	if err != nil || time.Since(stamp).Abs() > time.Minute {
		return errors.New("request timestamps are not in GMT+8")
	}
	return nil
}

func contentOf(form url.Values) string {
	fields := gopay.BodyMap{}
	for key := range form {
		if !strings.HasPrefix(key, "sign") {
			fields.Set(key, form.Get(key))
		}
	}
	return fields.EncodeAliPaySignParams()
}

func signWith(key *rsa.PrivateKey, content string) (string, error) {
	digest := sha256.Sum256([]byte(content))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign with the application's key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}
