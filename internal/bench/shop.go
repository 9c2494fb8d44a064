package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/PuerkitoBio/goquery"

	"coursepay/internal/auth"
	"coursepay/internal/buyer"
	"coursepay/models"
	"coursepay/workflows"
)

// patience is how long one order, or one pass, may take before the bench gives up.
const patience = time.Minute

// passed is one order that was paid, or one pass of the skeleton.
type passed struct {
	workflowID string
	creation   time.Duration // from asking for a code to its answer
	settling   time.Duration // from the signal (of the skeleton), or the callback (of an order), to the step done
	click      time.Duration // from the buyer's confirmation to the learner's page; 0 where no page was open

	payNo string
	heard time.Time // when the enrolment's commit was heard of
}

// shop buys courses over HTTP as a learner's browser and phone do: choose, ask for a code, follow it to Alipay's
// cashier, confirm, and wait to be enrolled. It keeps its connections open, as a browser does.
type shop struct {
	stack   Stack
	ear     *ear
	http    *http.Client
	courses []course // that cost something
	run     string
	refused atomic.Int64 // how often a learner was told to come back later
	say     func(format string, args ...any)
}

// tryAgain is how long a learner waits who was told that the service is busy; it asks for no more than that.
const tryAgain = time.Second

// busyError is an answer that asks to come back later.
type busyError struct {
	text  string
	after time.Duration // when, as it says itself; 0 when it does not say
}

func (e *busyError) Error() string { return e.text }

func openShop(ctx context.Context, stack Stack, e *ear, connections int, run string, say func(string, ...any)) (*shop, error) {
	s := &shop{stack: stack, ear: e, run: run, say: say, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 2*connections + 8, IdleConnTimeout: 20 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var all []course
	if err := s.call(ctx, http.MethodGet, "/content/courses", "", nil, &all); err != nil {
		return nil, fmt.Errorf("list the courses: %w", err)
	}
	for _, c := range all {
		if c.Charge == string(models.ChargePaid) {
			s.courses = append(s.courses, c)
		}
	}
	if len(s.courses) == 0 {
		return nil, errors.New("no course is for sale; `coursepay seed` puts the demo catalogue in")
	}
	return s, nil
}

func (s *shop) close() { s.http.CloseIdleConnections() }

// course, choice and record are what the bench reads of the API's answers.
type (
	course struct{ ID, Charge string }
	choice struct {
		ID, CourseID, CourseName string
		CoursePrice              json.Number
	}
	record struct{ PayNo, OrderID, Status, QRCode string }
)

// visit is a learner's visit to the shop. Each has a learner of its own.
type visit struct {
	user, token string
	course      course
	choice      choice
	record      record
}

// enter brings a new learner, who wants the course that is his number's turn.
func (s *shop) enter(name string, number int) (visit, error) {
	user := "bench-" + s.run + "-" + name
	token, err := auth.Issue([]byte(s.stack.JWTSecret), auth.User{ID: user}, time.Hour, time.Now())
	return visit{user: user, token: token, course: s.courses[number%len(s.courses)]}, err
}

// ask chooses the course and asks for a code. It returns how long the code took.
func (s *shop) ask(ctx context.Context, v *visit) (time.Duration, error) {
	if err := s.patiently(ctx, func() error { return s.choose(ctx, v) }); err != nil {
		return 0, err
	}
	began := time.Now()
	err := s.patiently(ctx, func() error { return s.requestCode(ctx, v) })
	return time.Since(began), err
}

// patiently asks again as long as it is told to come back later.
func (s *shop) patiently(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if busy, ok := errors.AsType[*busyError](err); !ok || sleep(ctx, tryAgain) != nil {
			return err
		} else if s.refused.Add(1) == 1 {
			s.say("a learner is told to come back later: %v", busy)
		}
	}
}

func (s *shop) choose(ctx context.Context, v *visit) error {
	return s.call(ctx, http.MethodPost, "/learning/choosecourse/"+v.course.ID, v.token, nil, &v.choice)
}

func (s *shop) requestCode(ctx context.Context, v *visit) error {
	detail, err := json.Marshal([]map[string]any{{
		"goodsId": v.choice.CourseID, "goodsType": "60201", "goodsName": v.choice.CourseName, "goodsPrice": v.choice.CoursePrice,
	}})
	if err != nil {
		return err
	}
	body := map[string]any{
		"totalPrice": v.choice.CoursePrice, "orderType": "60201", "orderName": v.choice.CourseName, "orderDescrip": "",
		"orderDetail": string(detail), "outBusinessId": v.choice.ID,
	}
	return s.call(ctx, http.MethodPost, "/orders/generatepaycode", v.token, body, &v.record)
}

// buy lets a learner buy a course. With watched, his page is open while he pays.
func (s *shop) buy(ctx context.Context, name string, number int, watched bool) (passed, error) {
	_, done, err := s.purchase(ctx, name, number, watched)
	return done, err
}

// purchase is buy that also returns the visit.
func (s *shop) purchase(ctx context.Context, name string, number int, watched bool) (v visit, done passed, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if v, err = s.enter(name, number); err != nil {
		return v, done, err
	}
	if done.creation, err = s.ask(ctx, &v); err != nil {
		return v, done, err
	}
	done.payNo, done.workflowID = v.record.PayNo, workflows.PayOrderID(models.OrderCourse, v.choice.ID)
	if number == 0 {
		if err := s.checkCode(v.record); err != nil {
			return v, done, err
		}
	}
	if err := s.openCashier(ctx, v.record.PayNo); err != nil {
		return v, done, err
	}
	err = s.pay(ctx, v, watched, &done)
	return v, done, err
}

var errUnheard = errors.New("paid, and no enrolment heard of")

func (s *shop) pay(ctx context.Context, v visit, watched bool, done *passed) error {
	var learner *page
	if watched {
		var err error
		if learner, err = s.openPage(ctx, v.token, v.record.PayNo); err != nil {
			return err
		}
		defer learner.leave()
	}
	heard := s.ear.expect(v.record.PayNo)
	confirmed := time.Now()
	if err := s.send(ctx, http.MethodPost, s.stack.SandboxURL+"/control/trades/"+v.record.PayNo+"/pay", nil); err != nil {
		return err
	}
	var err error
	if done.heard, err = s.ear.await(ctx, heard); err != nil {
		return fmt.Errorf("pay record %s: %w: %w", v.record.PayNo, errUnheard, err)
	}
	if learner != nil {
		shown, err := learner.await(ctx)
		if err != nil {
			return fmt.Errorf("pay record %s: the page was not told: %w", v.record.PayNo, err)
		}
		done.click = shown.Sub(confirmed)
	}
	return nil
}

// codeLink is what the QR code of an attempt says.
func (s *shop) codeLink(payNo string) string {
	return s.stack.PublicURL + "/orders/requestpay?payNo=" + payNo
}

// checkCode reads the picture as a phone does. The bench does so once a round only: it is the phones that do this work,
// and they are not on this machine.
func (s *shop) checkCode(r record) error {
	link, err := buyer.Scan(r.QRCode)
	if err == nil && link != s.codeLink(r.PayNo) {
		err = fmt.Errorf("the code of %s says %s", r.PayNo, link)
	}
	return err
}

// openCashier follows a code to our pay page and submits its signed form to Alipay, which leads to the cashier.
func (s *shop) openCashier(ctx context.Context, payNo string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.codeLink(payNo), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/html")
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	doc, err := goquery.NewDocumentFromReader(response.Body)
	if err != nil {
		return fmt.Errorf("GET /orders/requestpay: %w", err)
	}
	form := doc.Find("form#pay")
	if response.StatusCode != http.StatusOK || form.Length() != 1 {
		return fmt.Errorf("GET /orders/requestpay: HTTP %d, and no form to pay with", response.StatusCode)
	}
	fields := url.Values{}
	form.Find("input[name]").Each(func(_ int, input *goquery.Selection) {
		fields.Set(input.AttrOr("name", ""), input.AttrOr("value", ""))
	})
	return s.send(ctx, http.MethodPost, form.AttrOr("action", ""), fields)
}

// send posts a form, or nothing, and wants a success or a redirection.
func (s *shop) send(ctx context.Context, method, address string, form url.Values) error {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, _, answer, err := s.do(request)
	if err == nil && status >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: HTTP %d: %.200q", method, request.URL.Path, status, answer)
	}
	return err
}

// call asks the API for JSON.
func (s *shop) call(ctx context.Context, method, path, token string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, s.stack.APIURL+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Content-Type", "application/json")
	status, header, answer, err := s.do(request)
	if err != nil {
		return err
	}
	switch status {
	case http.StatusOK:
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		seconds, _ := strconv.Atoi(header.Get("Retry-After")) // no number: it does not say
		return &busyError{fmt.Sprintf("%s %s: HTTP %d: %.200q", method, path, status, answer), time.Duration(seconds) * time.Second}
	default:
		return fmt.Errorf("%s %s: HTTP %d: %.200q", method, path, status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

func (s *shop) do(request *http.Request) (status int, header http.Header, answer []byte, err error) {
	response, err := s.http.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, response.Header, answer, err
}
