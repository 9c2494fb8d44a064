package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// script answers the requests one after the other; the last answer goes on. It is no server, so that time can be the
// test's own.
type script struct {
	answers []answer
	asked   []*http.Request
}

type answer struct {
	status int
	after  string // Retry-After
	body   string
	stream io.ReadCloser
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked = append(s.asked, r)
	a := s.answers[min(len(s.asked), len(s.answers))-1]
	recorder := httptest.NewRecorder()
	if a.after != "" {
		recorder.Header().Set("Retry-After", a.after)
	}
	if a.stream != nil {
		recorder.Header().Set("Content-Type", "text/event-stream")
	}
	if a.status == 0 {
		return nil, errors.New("the network is down")
	}
	recorder.WriteHeader(a.status)
	_, _ = recorder.WriteString(a.body)
	response := recorder.Result()
	if a.stream != nil {
		response.Body = a.stream
	}
	return response, nil
}

func (s *script) client(tries int) *Client {
	return New(Config{URL: "http://pay.example", HTTP: &http.Client{Transport: s}, Tries: tries})
}

var (
	busy = answer{503, "2", `{"errMessage":"支付服务暂不可用，请稍后再试","code":"UNAVAILABLE"}`, nil}
	good = answer{200, "", `{"id":"1","payNo":"2","totalPrice":129.00,"createDate":"2026-03-01 18:30:00"}`, nil}
)

func TestARefusalIsTyped(t *testing.T) {
	t.Parallel()
	s := &script{answers: []answer{{409, "", `{"errMessage":"订单已支付","code":"ORDER_PAID"}`, nil}}}
	_, err := s.client(0).CancelOrder(t.Context(), "7")
	var refusal *Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, Error{Method: "POST", Path: "/orders/7/cancel", Status: 409, Code: CodeOrderPaid, ErrMessage: "订单已支付"}, *refusal)
	require.EqualError(t, err, "POST /orders/7/cancel: HTTP 409 ORDER_PAID: 订单已支付")
	require.Len(t, s.asked, 1)
}

func TestAProxysRefusalIsTypedToo(t *testing.T) {
	t.Parallel()
	s := &script{answers: []answer{{502, "", "<html>Bad Gateway</html>", nil}}}
	_, err := s.client(0).Courses(t.Context())
	var refusal *Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, Error{Method: "GET", Path: "/content/courses", Status: 502, ErrMessage: "Bad Gateway"}, *refusal)
}

func TestWhatIsSafeIsRepeatedWhileTheServiceIsNotAvailable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answers []answer
		tries   int
		call    func(*Client, context.Context) error
		asked   int
		waited  time.Duration
		status  int // of the error; 0: a success
	}{
		"until it is there again": {[]answer{busy, busy, good}, 0, payResult, 3, 4 * time.Second, 0},
		"at most so often":        {[]answer{busy}, 3, payResult, 3, 4 * time.Second, 503},
		"not at all":              {[]answer{busy}, 1, payResult, 1, 0, 503},
		"after a usual time":      {[]answer{{503, "", "", nil}, good}, 0, payResult, 2, time.Second, 0},
		"not after an hour":       {[]answer{{503, "3600", "", nil}, good}, 0, payResult, 1, 0, 503},
		"a code":                  {[]answer{busy, good}, 0, payCode1, 2, 2 * time.Second, 0},
		"a refund":                {[]answer{busy, good}, 0, refund1, 2, 2 * time.Second, 0},
		"but no decision":         {[]answer{busy, good}, 0, decide1, 1, 0, 503},
		"and no other error":      {[]answer{{500, "1", "", nil}, good}, 0, payResult, 1, 0, 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: test.answers}
				begin := time.Now()
				err := test.call(s.client(test.tries), t.Context())
				require.Equal(t, test.waited, time.Since(begin))
				require.Len(t, s.asked, test.asked)
				var refusal *Error
				if test.status == 0 {
					require.NoError(t, err)
				} else {
					require.ErrorAs(t, err, &refusal)
					require.Equal(t, test.status, refusal.Status)
				}
				for _, again := range s.asked[1:] {
					require.Equal(t, s.asked[0].Header.Get("Idempotency-Key"), again.Header.Get("Idempotency-Key"))
				}
			})
		})
	}
}

func payResult(c *Client, ctx context.Context) error { _, err := c.PayResult(ctx, "2"); return err }     //nolint:revive // fits the table
func decide1(c *Client, ctx context.Context) error   { _, err := c.Decide(ctx, Decision{}); return err } //nolint:revive // fits the table
func payCode1(c *Client, ctx context.Context) error { //nolint:revive // fits the table
	_, err := c.PayCode(ctx, PayCodeRequest{TotalPrice: "1.00"})
	return err
}

func refund1(c *Client, ctx context.Context) error { //nolint:revive // fits the table
	_, err := c.Refund(ctx, "1", RefundRequest{Reason: "x"})
	return err
}

func TestACodeIsAskedForUnderAKeyOnlyIfItMayBeRepeated(t *testing.T) {
	t.Parallel()
	s := &script{answers: []answer{good}}
	require.NoError(t, payCode1(s.client(1), t.Context()))
	require.Empty(t, s.asked[0].Header.Get("Idempotency-Key"))
	require.NoError(t, payCode1(s.client(2), t.Context()))
	require.NoError(t, payCode1(s.client(2), t.Context()))
	require.NotEmpty(t, s.asked[1].Header.Get("Idempotency-Key"))
	require.NotEqual(t, s.asked[1].Header.Get("Idempotency-Key"), s.asked[2].Header.Get("Idempotency-Key"))
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := &script{answers: []answer{busy}}
		err := payResult(s.client(0), ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var refusal *Error
		require.ErrorAs(t, err, &refusal, "what was waited for is told as well")
	})
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 10, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "2": 2 * time.Second, "-2": 0, "soon": 0, "99999999999999999999": 0,
		"Sun, 01 Mar 2026 10:30:07 GMT": 7 * time.Second, "Sun, 01 Mar 2026 10:29:00 GMT": 0,
	} {
		require.Equal(t, want, retryAfter(text, now), text)
	}
}

func TestPricesAndDatesAreExact(t *testing.T) {
	t.Parallel()
	record, err := (&script{answers: []answer{good}}).client(0).PayResult(t.Context(), "2")
	require.NoError(t, err)
	require.Equal(t, "129.00", record.TotalPrice.String())
	require.True(t, record.CreateDate.Time().Equal(time.Date(2026, 3, 1, 10, 30, 0, 0, time.UTC)))
	require.True(t, record.PaySuccessTime.Time().IsZero())
}

func TestATokenIsAskedForEachTime(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	s := &script{answers: []answer{good}}
	c := New(Config{URL: "http://pay.example", HTTP: &http.Client{Transport: s}, Token: func(context.Context) (string, error) {
		if n.Add(1) > 2 {
			return "", errors.New("logged out")
		}
		return fmt.Sprint("t", n.Load()), nil
	}})
	require.NoError(t, payResult(c, t.Context()))
	require.NoError(t, payResult(c, t.Context()))
	require.Equal(t, "Bearer t1", s.asked[0].Header.Get("Authorization"))
	require.Equal(t, "Bearer t2", s.asked[1].Header.Get("Authorization"))
	require.ErrorContains(t, payResult(c, t.Context()), "logged out")
}
