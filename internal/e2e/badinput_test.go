package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"coursepay/internal/auth"
)

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	mine := s.token("52")
	expired, err := auth.Issue([]byte(jwtSecret), auth.User{ID: "52"}, time.Minute, time.Now().Add(-time.Hour))
	require.NoError(t, err)
	foreign, err := auth.Issue([]byte("the secret of somebody else, also long"), auth.User{ID: "52"}, time.Hour, time.Now())
	require.NoError(t, err)
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": "52", "exp": time.Now().Add(time.Hour).Unix()}).
		SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	const login = "请登录后继续选课"
	generate := "/orders/generatepaycode"
	for _, tc := range []struct {
		name, method, path, token, body string
		status                          int
		code, message                   string
	}{
		{"no token", "POST", "/learning/choosecourse/2", "", "", 401, "UNAUTHORIZED", login},
		{"expired token", "POST", "/learning/choosecourse/2", expired, "", 401, "UNAUTHORIZED", login},
		{"foreign token", "POST", generate, foreign, payCodeBody(129, "60201", choice.ID), 401, "UNAUTHORIZED", login},
		{"unsigned token", "POST", generate, unsigned, payCodeBody(129, "60201", choice.ID), 401, "UNAUTHORIZED", login},
		{"not a token", "GET", "/orders/payresult?payNo=" + record.PayNo, "x", "", 401, "UNAUTHORIZED", login},
		{"unknown course", "POST", "/learning/choosecourse/4711", mine, "", 404, "COURSE_NOT_FOUND", ""},
		{"offline course", "POST", "/learning/choosecourse/6", mine, "", 404, "COURSE_NOT_FOUND", ""},
		{"course beyond 64 bits", "POST", "/learning/choosecourse/99999999999999999999", mine, "", 400, "INVALID_REQUEST", ""},
		{"course just beyond 63 bits", "POST", "/learning/choosecourse/9223372036854775808", mine, "", 400, "INVALID_REQUEST", ""},
		{"course in letters", "POST", "/learning/choosecourse/abc", mine, "", 400, "INVALID_REQUEST", ""},
		{"another's choice", "POST", generate, s.token("53"), payCodeBody(129, "60201", choice.ID), 404, "CHOOSE_COURSE_NOT_FOUND", ""},
		{"unknown choice", "POST", generate, mine, payCodeBody(129, "60201", "4711"), 404, "CHOOSE_COURSE_NOT_FOUND", ""},
		{"choice beyond 64 bits", "POST", generate, mine, payCodeBody(129, "60201", "99999999999999999999"), 404, "CHOOSE_COURSE_NOT_FOUND", ""},
		{"changed price", "POST", generate, mine, payCodeBody(0.01, "60201", choice.ID), 400, "PRICE_MISMATCH", ""},
		{"a fen less", "POST", generate, mine, payCodeBody(128.99, "60201", choice.ID), 400, "PRICE_MISMATCH", ""},
		{"three decimals", "POST", generate, mine, payCodeBody(128.999, "60201", choice.ID), 400, "INVALID_REQUEST", ""},
		{"exponent", "POST", generate, mine, payCodeBody("1.29e2", "60201", choice.ID), 400, "INVALID_REQUEST", ""},
		{"negative", "POST", generate, mine, payCodeBody(-129, "60201", choice.ID), 400, "INVALID_REQUEST", ""},
		{"price is an object", "POST", generate, mine, payCodeBody(map[string]int{}, "60201", choice.ID), 400, "INVALID_REQUEST", ""},
		{"unknown order type", "POST", generate, mine, payCodeBody(129, "60299", choice.ID), 400, "ORDER_TYPE_UNKNOWN", ""},
		{"no business", "POST", generate, mine, payCodeBody(129, "60201", ""), 400, "INVALID_REQUEST", ""},
		{"malformed JSON", "POST", generate, mine, `{"totalPrice":`, 400, "INVALID_REQUEST", ""},
		{"empty body", "POST", generate, mine, ``, 400, "INVALID_REQUEST", ""},
		{"malformed detail", "POST", generate, mine, strings.Replace(payCodeBody(129, "60201", choice.ID), `"orderDetail":""`, `"orderDetail":"[{"`, 1), 400, "INVALID_REQUEST", ""},
		{"other goods", "POST", generate, mine, strings.Replace(payCodeBody(129, "60201", choice.ID), `"orderDetail":""`,
			`"orderDetail":"[{\"goodsId\":\"1\",\"goodsType\":\"60201\",\"goodsPrice\":129}]"`, 1), 400, "GOODS_MISMATCH", ""},
		{"NUL", "POST", generate, mine, strings.Replace(payCodeBody(129, "60201", choice.ID), `"orderName":"x"`, `"orderDescrip":"a\u0000b"`, 1), 400, "INVALID_REQUEST", ""},
		{"body too large", "POST", generate, mine, `{"orderName":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "BODY_TOO_LARGE", ""},
		{"unknown pay record", "GET", "/orders/payresult?payNo=4711", mine, "", 404, "PAY_RECORD_NOT_FOUND", "支付记录不存在"},
		{"another's pay record", "GET", "/orders/payresult?payNo=" + record.PayNo, s.token("53"), "", 404, "PAY_RECORD_NOT_FOUND", "支付记录不存在"},
		{"pay record beyond 64 bits", "GET", "/orders/payresult?payNo=99999999999999999999", mine, "", 400, "INVALID_REQUEST", ""},
		{"no pay record", "GET", "/orders/payresult", mine, "", 400, "INVALID_REQUEST", ""},
		{"unknown code scanned", "GET", "/orders/requestpay?payNo=4711", "", "", 404, "PAY_RECORD_NOT_FOUND", "支付记录不存在"},
		{"nonsense scanned", "GET", "/orders/requestpay?payNo=%27", "", "", 404, "PAY_RECORD_NOT_FOUND", "支付记录不存在"},
		{"page zero", "GET", "/learning/mycoursetable?page=0", mine, "", 400, "INVALID_REQUEST", ""},
		{"unknown sort", "GET", "/learning/mycoursetable?sortType=9", mine, "", 400, "INVALID_REQUEST", ""},
		{"no such path", "GET", "/nothing", mine, "", 404, "NOT_FOUND", ""},
	} {
		for _, prefix := range []string{"", "/api"} {
			status, text := s.call(tc.method, prefix+tc.path, tc.token, "application/json", tc.body)
			require.Equal(t, tc.status, status, "%s: %s", tc.name, text)
			code, message := errorBody(t, text)
			require.Equal(t, tc.code, code, tc.name)
			require.NotEmpty(t, message, tc.name)
			if tc.message != "" {
				require.Equal(t, tc.message, message, tc.name)
			}
		}
	}
	require.Equal(t, 1, s.count(`select count(*) from xc_orders`), "nothing was made by it")
	require.Equal(t, 1, s.count(`select count(*) from xc_pay_record`))
}

func TestPaidMeansPaid(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	s.pay(record)
	s.enrolled("52")
	status, text := s.call(http.MethodPost, "/orders/generatepaycode", s.token("52"), "application/json", payCodeBody(129, "60201", choice.ID))
	require.Equal(t, http.StatusConflict, status)
	code, message := errorBody(t, text)
	require.Equal(t, "ORDER_PAID", code)
	require.Equal(t, "订单已支付", message)
	status, text = s.call(http.MethodGet, "/orders/requestpay?payNo="+record.PayNo, "", "", "")
	require.Equal(t, http.StatusConflict, status)
	code, message = errorBody(t, text)
	require.Equal(t, "PAYMENT_DONE", code)
	require.Equal(t, "支付已经成功，无需重复支付", message)
}

func TestEngineWithoutAWorkerSaysTryAgain(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{idle: true})
	choice, err := s.learner("52").Choose(t.Context(), course)
	require.NoError(t, err)
	status, text, header := s.callFull(http.MethodPost, "/orders/generatepaycode", s.token("52"), "application/json",
		payCodeBody(129, "60201", choice.ID))
	require.Equal(t, http.StatusServiceUnavailable, status, text)
	code, _ := errorBody(t, text)
	require.Equal(t, "UNAVAILABLE", code)
	require.NotEmpty(t, header.Get("Retry-After"))

	s.quit = s.work()
	t.Cleanup(func() { s.quit() })
	record, err := s.learner("52").RequestCode(t.Context(), choice)
	require.NoError(t, err, "the repeat is taken")
	s.pay(record)
	s.enrolled("52")
	require.Equal(t, 1, s.count(`select count(*) from xc_orders`))
}
