package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The original's front end reads these fields, and these types, by these names.
func TestShapesThatTheFrontEndKnows(t *testing.T) {
	t.Parallel()
	for name, prefix := range map[string]string{"plain": "", "behind the proxy": "/api"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testShapes(t, prefix)
		})
	}
}

func testShapes(t *testing.T, prefix string) {
	t.Helper()
	s := openShop(t, options{})
	mine := s.token("52")
	get := func(method, path, body string) map[string]any {
		t.Helper()
		status, text := s.call(method, prefix+path, mine, "application/json", body)
		require.Equal(t, http.StatusOK, status, text)
		var fields map[string]any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		require.NoError(t, decoder.Decode(&fields), text)
		return fields
	}
	require.Equal(t, map[string]any{"learnStatus": "702002"}, get("POST", "/learning/choosecourse/learnstatus/2", ""))

	choice := get("POST", "/learning/choosecourse/2", "")
	requireShape(t, choice, map[string]string{
		"id": id, "courseId": "^2$", "courseName": "Go", "userId": "^52$", "companyId": id, "orderType": "^700002$",
		"createDate": date, "validDays": "^180$", "coursePrice": `^129\.00$`, "status": "^701002$", "learnStatus": "^702002$",
	})

	detail := `[{"goodsId":2,"goodsType":"60201","goodsName":"Go 微服务实战","goodsPrice":129,"goodsDetail":""}]`
	body, err := json.Marshal(map[string]any{
		"totalPrice": 129, "orderType": "60201", "orderName": "Go 微服务实战", "orderDescrip": "说明 \"quoted\" & <more>",
		"orderDetail": detail, "outBusinessId": choice["id"], "somethingNew": 1,
	})
	require.NoError(t, err)
	record := get("POST", "/orders/generatepaycode", string(body))
	requireShape(t, record, map[string]string{
		"id": id, "payNo": id, "outPayChannel": "^603002$", "orderId": id, "orderName": "^Go", "totalPrice": `^129\.00$`,
		"currency": "^CNY$", "createDate": date, "expireDate": date, "status": "^601001$", "userId": "^52$",
		"qrcode": `^data:image/png;base64,[A-Za-z0-9+/=]+$`,
	})
	payNo, _ := record["payNo"].(string)
	notify := paidNotify(payNo)
	paid := time.Now().In(time.FixedZone("GMT+8", 8*60*60)).Truncate(time.Second)
	notify["gmt_payment"] = paid.Format(time.DateTime)
	require.Equal(t, "success", s.knock(s.genuine(notify)))
	s.enrolled("52")

	requireShape(t, get("GET", "/orders/payresult?payNo="+payNo, ""), map[string]string{
		"id": id, "payNo": id, "outPayNo": payNo + "$", "outPayChannel": "^603002$", "orderId": id, "orderName": "^Go",
		"totalPrice": `^129\.00$`, "currency": "^CNY$", "createDate": date, "expireDate": date, "status": "^601002$",
		"paySuccessTime": "^" + paid.Format(time.DateTime) + "$", "userId": "^52$",
	})
	enrolment := map[string]string{
		"id": id, "chooseCourseId": id, "userId": "^52$", "courseId": "^2$", "companyId": id, "courseName": "^Go",
		"courseType": "^700002$", "createDate": date, "validtimeStart": "^" + paid.Format(time.DateTime) + "$",
		"validtimeEnd": "^" + paid.AddDate(0, 0, 180).Format(time.DateTime) + "$", "learnStatus": "^702001$",
	}
	requireShape(t, get("POST", "/learning/choosecourse/learnstatus/2", ""), enrolment)
	page := get("GET", "/learning/mycoursetable?page=1&size=10&courseType=&sortType=1&expiresType=", "")
	requireShape(t, page, map[string]string{"items": "", "counts": "^1$", "page": "^1$", "pageSize": "^10$"})
	items, _ := page["items"].([]any)
	require.Len(t, items, 1)
	item, _ := items[0].(map[string]any)
	requireShape(t, item, enrolment)
	require.Equal(t, []any{}, get("GET", "/learning/mycoursetable?page=2", "")["items"], "an empty page is an empty list")
}

const (
	id   = `^[1-9][0-9]*$`
	date = `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`
)

// requireShape wants exactly these fields. Each has a pattern that it matches: prices and days are numbers, all others are
// strings, ids and counts too.
func requireShape(t *testing.T, got map[string]any, want map[string]string) {
	t.Helper()
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
	for name, pattern := range want {
		text, ok := got[name].(string)
		if isNumber := slices.Contains([]string{"coursePrice", "totalPrice", "validDays"}, name); isNumber {
			var number json.Number
			number, ok = got[name].(json.Number)
			text = number.String()
		}
		if pattern != "" {
			require.True(t, ok, "%s is a %T", name, got[name])
			require.Regexp(t, pattern, text, name)
		}
	}
}

func TestAnswersAreForTheCallerAlone(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	for _, path := range []string{"/content/courses", "/orders/my", "/ops/attention", "/nothing/here"} {
		_, _, header := s.callFull(http.MethodGet, path, s.token("52"), "", "")
		require.Equal(t, "no-store", header.Get("Cache-Control"), path)
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), path)
	}
	for _, path := range []string{"/api/api/orders/my", "/ORDERS/MY", "/API/orders/my"} {
		status, _ := s.call(http.MethodGet, path, s.token("52"), "", "")
		require.Equal(t, http.StatusNotFound, status, path)
	}
}

// A link that is only asked about, as chat programs do, opens no pay page.
func TestHeadOpensNothing(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	status, _ := s.call(http.MethodHead, "/orders/requestpay?payNo="+record.PayNo, "", "", "")
	require.Equal(t, http.StatusOK, status)
	require.Zero(t, s.count(`select count(*) from xc_pay_record where open_date is not null`))
}

func TestPhoneGetsAPageItCanRead(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.api+"/orders/requestpay?payNo=4711", nil)
	require.NoError(t, err)
	request.Header.Set("Accept", "text/html,application/xhtml+xml")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	require.Equal(t, "text/html;charset=UTF-8", response.Header.Get("Content-Type"))
}
