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
	s := openShop(t, options{})
	mine := s.token("52")
	get := func(method, path, body string) map[string]any {
		t.Helper()
		status, text := s.call(method, "/api"+path, mine, "application/json", body)
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
	require.IsType(t, "", choice["id"], "64-bit ids are strings")
	require.IsType(t, json.Number(""), choice["coursePrice"], "prices are numbers")

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

// requireShape wants exactly these fields, each of which matches its pattern.
func requireShape(t *testing.T, got map[string]any, want map[string]string) {
	t.Helper()
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))
	for name, pattern := range want {
		text, ok := got[name].(string)
		if number, isNumber := got[name].(json.Number); isNumber {
			text, ok = number.String(), true
		}
		if ok {
			require.Regexp(t, pattern, text, name)
		}
	}
}

func TestDescriptionListsEveryPath(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	status, text := s.call(http.MethodGet, "/openapi.json", "", "", "")
	require.Equal(t, http.StatusOK, status)
	var described struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(text), &described))
	require.True(t, strings.HasPrefix(described.OpenAPI, "3.1"))
	var paths []string
	for path, methods := range described.Paths {
		for method := range methods {
			paths = append(paths, strings.ToUpper(method)+" "+path)
		}
	}
	require.ElementsMatch(t, []string{
		"GET /content/materials", "POST /learning/choosematerial/{id}", "GET /learning/mymaterials",
		"GET /content/courses", "GET /content/courses/{id}", "POST /learning/choosecourse/{id}",
		"POST /learning/choosecourse/learnstatus/{id}", "GET /learning/mycoursetable", "POST /orders/generatepaycode",
		"GET /orders/requestpay", "GET /orders/payresult", "GET /orders/events", "POST /orders/receivenotify", "POST /orders/paynotify",
		"GET /orders/my", "GET /orders/{id}", "POST /orders/{id}/cancel", "POST /orders/{id}/refunds", "GET /orders/{id}/refunds",
		"GET /ops/attention", "GET /ops/orders/{id}", "GET /ops/orders", "POST /ops/decisions", "GET /demo/users", "POST /demo/login",
	}, paths)
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
