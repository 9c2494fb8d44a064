package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// maxRequest bounds a gateway request's body.
const maxRequest = 1 << 20

// maxClockSkew is how far a request's timestamp may be from our clock. Alipay names no figure.
const maxClockSkew = 24 * time.Hour

// method is one entry of the gateway's table: either an API, which answers JSON, or a page, which gives the address to
// send the browser to.
type method struct {
	api  func(context.Context, call) (any, error)
	page func(context.Context, call) (location string, err error)
}

func (s *Server) methodTable() map[string]method {
	return map[string]method{
		"alipay.trade.wap.pay":              {page: s.openPage},
		"alipay.trade.page.pay":             {page: s.openPage},
		"alipay.trade.query":                {api: s.tradeQuery},
		"alipay.trade.close":                {api: s.tradeClose},
		"alipay.trade.refund":               {api: s.tradeRefund},
		"alipay.trade.fastpay.refund.query": {api: s.refundQuery},
		"alipay.trade.cancel":               {api: s.tradeCancel},
		precreate:                           {api: s.tradePrecreate},

		"alipay.data.dataservice.bill.downloadurl.query": {api: s.billAddress},

		"alipay.open.app.alipaycert.download": {api: s.certDownload},
	}
}

// call is a verified request.
type call struct {
	app    app
	method string
	params map[string]string // all of them, in UTF-8
	base   string            // the sandbox's address as the client knows it, for links that must be absolute
}

// biz reads biz_content into v.
func (c call) biz(v any) error {
	if err := json.Unmarshal([]byte(c.params["biz_content"]), v); err != nil {
		return &publicError{"40002", "Invalid Arguments", "isv.illegal-json", "biz_content不是合法的JSON"}
	}
	return nil
}

// publicError is an answer of the gateway itself rather than of a method (Alipay, public error codes).
type publicError struct {
	Code, Msg, SubCode, SubMsg string
}

func (e *publicError) Error() string { return e.SubCode + ": " + e.SubMsg }

func missing(name, what string) error {
	return &publicError{"40001", "Missing Required Arguments", "isv.missing-" + name, "缺少" + what + "参数"}
}

func invalidArgument(name, why string) error {
	return &publicError{"40002", "Invalid Arguments", "isv.invalid-" + name, why}
}

// head is what every answer begins with.
type head struct {
	Code    string `json:"code"`
	Msg     string `json:"msg"`
	SubCode string `json:"sub_code,omitempty"`
	SubMsg  string `json:"sub_msg,omitempty"`
}

var success = head{Code: "10000", Msg: "Success"}

func failed(r *refusal) head { return head{"40004", "Business Failed", r.Code, r.Text} }

var methodName = regexp.MustCompile(`^[a-z]+(\.[a-z]+)+$`)

// gateway is /gateway.do.
func (s *Server) gateway(w http.ResponseWriter, r *http.Request) {
	params, err := readParams(w, r)
	name := params["method"]
	m, known := s.methods[name]
	var plan answerPlan
	if known && m.api != nil {
		plan = s.drawAnswer()
	}
	if !s.beforeAnswer(w, r, plan) {
		return
	}
	var c call
	if err == nil {
		c, err = s.authenticate(params)
		c.base = s.baseURL(r)
	}
	if known && m.page != nil {
		s.servePage(w, r, m, c, err)
		return
	}
	var body any
	if err == nil {
		body, err = execute(r.Context(), m, c, plan)
	}
	if err != nil {
		body = errorBody(err)
	}
	if err := s.answer(w, params, body, plan); err != nil {
		s.log.ErrorContext(r.Context(), "no answer", "method", name, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request, m method, c call, err error) {
	var location string
	if err == nil {
		location, err = m.page(r.Context(), c)
	}
	if err != nil {
		s.pageError(gbkPage{w}, http.StatusOK, err)
		return
	}
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// execute runs an API method, unless a fault keeps it from running or from answering.
func execute(ctx context.Context, m method, c call, plan answerPlan) (any, error) {
	if plan.systemError && plan.coin {
		return nil, systemError(plan)
	}
	body, err := m.api(ctx, c)
	if plan.systemError {
		return nil, systemError(plan)
	}
	if plan.executedThenTimeout && err == nil {
		hang(ctx)
	}
	return body, err
}

// systemError is one of the two answers that mean "unknown". The coin decides which, and whether the deed was done.
func systemError(plan answerPlan) error {
	if plan.coin {
		return &publicError{"20000", "Service Currently Unavailable", "isp.unknow-error", "系统繁忙"}
	}
	return &refusal{"ACQ.SYSTEM_ERROR", "系统错误"}
}

func errorBody(err error) head {
	if public, ok := errors.AsType[*publicError](err); ok {
		return head{public.Code, public.Msg, public.SubCode, public.SubMsg}
	}
	if business, ok := errors.AsType[*refusal](err); ok {
		return failed(business)
	}
	return head{"20000", "Service Currently Unavailable", "isp.unknow-error", "系统繁忙"}
}

// readParams merges query and body, as each client divides them in its own way. A parameter may come twice with the
// same value; on error what was read is returned too.
func readParams(w http.ResponseWriter, r *http.Request) (map[string]string, error) {
	params := map[string]string{}
	err := mergeParams(params, r.URL.RawQuery)
	body, readErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if readErr != nil {
		return params, invalidArgument("parameter", "请求体过大或不完整")
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); len(body) > 0 &&
		media != "application/x-www-form-urlencoded" {
		return params, invalidArgument("parameter", "请求体须为application/x-www-form-urlencoded")
	}
	return params, errors.Join(err, mergeParams(params, string(body)))
}

func mergeParams(params map[string]string, encoded string) error {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return invalidArgument("parameter", "参数编码错误")
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		for _, value := range values[key] {
			if before, again := params[key]; again && !sameParam(key, before, value) {
				return invalidArgument("parameter", "参数"+key+"重复且取值不同")
			}
			params[key] = value
		}
	}
	return nil
}

// sameParam lets a client spell the charset in the address unlike the one it signed, which comes later and stays.
func sameParam(key, before, value string) bool {
	return before == value || key == "charset" && strings.EqualFold(before, value)
}

// authenticate checks a request in the gateway's order: the app, then the signature, then everything else.
func (s *Server) authenticate(params map[string]string) (call, error) {
	if params["app_id"] == "" {
		return call{}, missing("app-id", "APPID")
	}
	a, known := s.apps[params["app_id"]]
	if !known {
		return call{}, invalidArgument("app-id", "无效的AppID参数")
	}
	if err := s.checkMode(a, params); err != nil {
		return call{}, err
	}
	if err := checkSignature(a, params); err != nil {
		return call{}, err
	}
	utf8Params, err := decodeParams(params)
	if err != nil {
		return call{}, err
	}
	return call{app: a, method: params["method"], params: utf8Params}, s.checkCommon(params)
}

// baseURL is Config.PublicURL, or else where the request came to.
func (s *Server) baseURL(r *http.Request) string {
	switch {
	case s.url != "":
		return s.url
	case r.TLS != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// checkMode makes sure that the request is in its app's mode: the serial numbers tell which certificates the client has.
func (s *Server) checkMode(a app, params map[string]string) error {
	own, root := params["app_cert_sn"], params["alipay_root_cert_sn"]
	bad := func(code, why string) error { return &publicError{"40002", "Invalid Arguments", "isv." + code, why} }
	switch {
	case a.certSN == "" && own == "" && root == "":
		return nil
	case own == "":
		return bad("missing-app-cert-sn", "缺少应用公钥证书序列号")
	case own != a.certSN:
		return bad("app-cert-not-exist", "应用公钥证书不存在")
	case root == "":
		return bad("missing-alipay-root-cert-sn", "缺少支付宝根证书序列号")
	case root != s.certs.rootSN:
		return bad("invalid-alipay-root-cert-sn", "无效支付宝根证书序列号")
	}
	return nil
}

func checkSignature(a app, params map[string]string) error {
	switch {
	case params["sign_type"] == "":
		return missing("signature-type", "签名类型")
	case params["sign_type"] != "RSA2":
		return invalidArgument("signature-type", "无效的签名类型，仅支持RSA2")
	case params["sign"] == "":
		return missing("signature", "签名")
	}
	text := canonical(params, "sign")
	if !verify(a.key, []byte(text), params["sign"]) {
		return invalidArgument("signature",
			"验签出错，建议检查签名字符串或签名私钥与应用公钥是否匹配，网关生成的验签字符串为："+strings.ToValidUTF8(text, "?"))
	}
	return nil
}

func (s *Server) checkCommon(params map[string]string) error {
	switch {
	case params["method"] == "":
		return missing("method", "方法名")
	case params["timestamp"] == "":
		return missing("timestamp", "时间戳")
	case params["version"] == "":
		return missing("version", "版本")
	case params["version"] != "1.0":
		return invalidArgument("parameter", "版本参数无效")
	case params["format"] != "" && !strings.EqualFold(params["format"], "json"):
		return invalidArgument("format", "无效的数据格式")
	}
	if _, known := s.methods[params["method"]]; !known {
		return invalidArgument("method", "不存在的方法名")
	}
	at, err := time.ParseInLocation(timeLayout, params["timestamp"], beijing)
	if err != nil || at.Sub(s.clock()).Abs() > maxClockSkew {
		return invalidArgument("timestamp", "非法的时间戳参数")
	}
	return nil
}

func isGBK(charset string) bool { return strings.EqualFold(charset, "GBK") }

// decodeParams brings a request's parameters into UTF-8; its signature was made over the bytes as they came.
func decodeParams(params map[string]string) (map[string]string, error) {
	switch {
	case params["charset"] == "" || strings.EqualFold(params["charset"], "utf-8"):
		return params, nil
	case !isGBK(params["charset"]):
		return nil, invalidArgument("charset", "字符集错误")
	}
	decoded := make(map[string]string, len(params))
	for key, value := range params {
		text, err := simplifiedchinese.GBK.NewDecoder().String(value)
		if err != nil {
			return nil, invalidArgument("charset", "字符集错误")
		}
		decoded[key] = text
	}
	return decoded, nil
}

// answer writes body as Alipay does: {"<method>_response":{…},"sign":"…"}, compact, slashes escaped, and the
// signature over the node's bytes as they stand there. An unknown app gets no signature.
func (s *Server) answer(w http.ResponseWriter, params map[string]string, body any, plan answerPlan) error {
	node, err := s.node(params, body)
	if err != nil {
		return err
	}
	signature, err := sign(s.key, node)
	if err != nil {
		return err
	}
	if plan.tampered {
		node = tamper(node)
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, `{"%s":%s`, nodeName(params["method"]), node)
	if a, known := s.apps[params["app_id"]]; known && !plan.unsigned {
		if a.certSN != "" {
			fmt.Fprintf(&text, `,"alipay_cert_sn":"%s"`, s.certs.sn)
		}
		fmt.Fprintf(&text, `,"sign":"%s"`, signature)
	}
	text.WriteByte('}')
	w.Header().Set("Content-Type", "text/html;charset="+answerCharset(params))
	_, _ = w.Write(text.Bytes()) // the client has gone: nobody to tell
	return nil
}

func (s *Server) node(params map[string]string, body any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	node := strings.ReplaceAll(strings.TrimSpace(text.String()), "/", `\/`)
	if !isGBK(params["charset"]) {
		return []byte(node), nil
	}
	recoded, err := gbkBytes(node)
	return []byte(recoded), err
}

func answerCharset(params map[string]string) string {
	if isGBK(params["charset"]) {
		return "GBK"
	}
	return "utf-8"
}

// nodeName is the key of the answer; a request without a proper method has none of its own.
func nodeName(method string) string {
	if !methodName.MatchString(method) {
		return "error_response"
	}
	return strings.ReplaceAll(method, ".", "_") + "_response"
}

// tamper turns an answer into what a thief would like it to say.
func tamper(node []byte) []byte {
	for _, swap := range [][2]string{
		{`"trade_status":"TRADE_SUCCESS"`, `"trade_status":"TRADE_CLOSED"`},
		{`"trade_status":"WAIT_BUYER_PAY"`, `"trade_status":"TRADE_SUCCESS"`},
		{`"trade_status":"TRADE_CLOSED"`, `"trade_status":"TRADE_SUCCESS"`},
		{`"code":"40004"`, `"code":"10000"`},
		{`"code":"10000"`, `"code":"10000","tampered":"Y"`},
	} {
		if bytes.Contains(node, []byte(swap[0])) {
			return bytes.Replace(node, []byte(swap[0]), []byte(swap[1]), 1)
		}
	}
	return append([]byte(`{"tampered":"Y",`), node[1:]...)
}

func (s *Server) drawAnswer() (plan answerPlan) {
	s.store.view(func(st *store) {
		st.drawn["gateway"]++
		plan = st.faults.planAnswer(st.drawn["gateway"])
	})
	return plan
}

// hang never answers: it waits until the client or the server gives up, and then cuts the connection.
func hang(ctx context.Context) {
	<-ctx.Done()
	panic(http.ErrAbortHandler)
}

// beforeAnswer plays the faults that strike before anything is done; false means that the request is over.
func (s *Server) beforeAnswer(w http.ResponseWriter, r *http.Request, plan answerPlan) bool {
	if plan.slow > 0 && !sleep(r.Context(), plan.slow, nil) {
		return false
	}
	switch {
	case plan.hang:
		hang(r.Context())
	case plan.http5xx && plan.coin:
		http.Error(w, "502 Bad Gateway", http.StatusBadGateway)
		return false
	case plan.http5xx:
		http.Error(w, "503 Service Unavailable", http.StatusServiceUnavailable)
		return false
	}
	return true
}
