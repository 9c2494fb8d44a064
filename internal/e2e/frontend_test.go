package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"coursepay/internal/buyer"
)

// xuechengToken is a token as the original's log-in service issues it.
func xuechengToken(t *testing.T, user string) string {
	t.Helper()
	name, err := json.Marshal(map[string]any{"id": user, "username": "stu1", "nickname": "同学", "permissions": []string{}, "utype": "101001"})
	require.NoError(t, err)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"aud": []string{"xuecheng-plus"}, "user_name": string(name), "scope": []string{"all"}, "authorities": []string{"p1"},
		"client_id": "XcWebApp", "jti": "4711", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(jwtSecret))
	require.NoError(t, err)
	return token
}

// The front end's whole click sequence runs in its own language; the phone is ours.
func TestTheFrontEndsClicks(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	require.NoError(t, err, "this test runs JavaScript; `make test` installs Node.js on Debian and Ubuntu")
	s := openShop(t, options{})
	for _, click := range []struct{ name, base, user, course string }{
		{"without a proxy's prefix", "", "52", "2"},
		{"with it", "/api", "53", "3"},
		{"a price of one fen, and quotes in the name", "/api", "54", "5"},
	} {
		t.Run(click.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), node, filepath.Join("testdata", "frontend.mjs"), s.api, click.base, click.course)
			cmd.Env = append(os.Environ(), "JWT="+xuechengToken(t, click.user), "NO_PROXY=127.0.0.1", "NODE_OPTIONS=", "TZ=Asia/Shanghai")
			var complaints bytes.Buffer
			cmd.Stderr = &complaints
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			paid := serveClicks(t, bufio.NewScanner(stdout))
			require.NoError(t, cmd.Wait(), complaints.String())
			require.Equal(t, 1, s.count(`select count(*) from xc_pay_record where pay_no = $1 and status = '601002' and user_id = $2`, paid, click.user))
			require.Equal(t, 1, s.count(`select count(*) from xc_course_tables where course_id = $1 and user_id = $2`, click.course, click.user))
		})
	}
}

// serveClicks pays what is shown, and gives the pay number that the front end has seen paid.
func serveClicks(t *testing.T, lines *bufio.Scanner) (paid string) {
	t.Helper()
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Scan, Paid string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line), lines.Text())
		if line.Scan != "" {
			scanAndPay(t, line.Scan)
		}
		paid = line.Paid
	}
	require.NoError(t, lines.Err())
	return paid
}

func scanAndPay(t *testing.T, picture string) {
	t.Helper()
	address, err := buyer.Scan(picture)
	require.NoError(t, err)
	phone, err := buyer.NewPhone()
	require.NoError(t, err)
	cashier, err := phone.OpenCashier(t.Context(), address)
	require.NoError(t, err)
	_, err = phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
}

// Whatever is refused, the front end shows the errMessage of.
func TestErrorsThatTheFrontEndShows(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	s.pay(record)
	s.enrolled("52")
	_, superseded := s.codeFor("54")
	s.codeFor("54") // takes its place
	const login, jsonType = "请登录后继续选课", "application/json"
	mine, theirs := s.token("52"), s.token("53")
	for _, test := range []struct {
		method, path, token, body string
		status                    int
		message                   string
	}{
		{"POST", "/learning/choosecourse/2", "", "", 401, login},
		{"POST", "/learning/choosecourse/learnstatus/2", "", "", 401, login},
		{"GET", "/learning/mycoursetable?page=1&size=4", "", "", 401, login},
		{"POST", "/orders/generatepaycode", "", payCodeBody(129, "60201", choice.ID), 401, login},
		{"GET", "/orders/payresult?payNo=" + record.PayNo, "", "", 401, login},
		{"POST", "/learning/choosecourse/6", mine, "", 404, "课程不存在或未发布"},
		{"POST", "/learning/choosecourse/learnstatus/x", mine, "", 400, "请求参数有误：path.id"},
		{"GET", "/learning/mycoursetable?page=0", mine, "", 400, "请求参数有误：query.page"},
		{"POST", "/orders/generatepaycode", mine, payCodeBody(129, "60201", choice.ID), 409, "订单已支付"},
		{"POST", "/orders/generatepaycode", theirs, payCodeBody(129, "60201", choice.ID), 404, "选课记录不存在"},
		{"POST", "/orders/generatepaycode", mine, "{}", 400, "请求参数有误：body, body, body"},
		{"GET", "/orders/payresult?payNo=4711", mine, "", 404, "支付记录不存在"},
		{"GET", "/orders/payresult?payNo=" + record.PayNo, theirs, "", 404, "支付记录不存在"},
		{"GET", "/orders/requestpay?payNo=4711", "", "", 404, "支付记录不存在"},
		{"GET", "/orders/requestpay?payNo=" + record.PayNo, "", "", 409, "支付已经成功，无需重复支付"},
		{"GET", "/orders/requestpay?payNo=" + superseded.PayNo, "", "", 410, "请重新点击获取二维码"},
	} {
		for _, prefix := range []string{"", "/api"} {
			status, text := s.call(test.method, prefix+test.path, test.token, jsonType, test.body)
			require.Equal(t, test.status, status, "%s %s: %s", test.method, test.path, text)
			var body map[string]any
			require.NoError(t, json.Unmarshal([]byte(text), &body), text)
			require.Equal(t, test.message, body["errMessage"], "%s %s", test.method, test.path)
			require.IsType(t, "", body["code"])
			require.Len(t, body, 2, "nothing else: %s", text)
		}
	}
}

// What is no JSON: the phone's page, and the word to Alipay.
func TestPlainAnswersOfTheOriginal(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	for user, prefix := range map[string]string{"52": "", "53": "/api"} {
		_, record := s.codeFor(user)
		status, page, header := s.callFull("GET", prefix+"/orders/requestpay?payNo="+record.PayNo, "", "", "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "text/html;charset=UTF-8", header.Get("Content-Type"))
		require.Contains(t, page, "<form")
		require.Contains(t, page, record.PayNo)
		for _, door := range []string{"/orders/receivenotify", "/orders/paynotify"} {
			form := s.genuine(paidNotify(record.PayNo))
			for sent, want := range map[string]string{form: "success", form + "x": "fail", "": "fail"} {
				status, word, header := s.callFull("POST", prefix+door, "", "application/x-www-form-urlencoded", sent)
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, want, word)
				require.Contains(t, header.Get("Content-Type"), "text/plain")
			}
		}
	}
}
