package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"coursepay/client"
)

// A learner buys a course: chooses it, gets a code, and waits for the payment.
func Example() {
	service := httptest.NewServer(aService())
	defer service.Close()
	ctx := context.Background()
	learner := client.New(client.Config{URL: service.URL + "/api", Token: client.StaticToken("the learner's JWT")})

	choice, err := learner.ChooseCourse(ctx, "2")
	if err != nil {
		fmt.Println(err)
		return
	}
	code, err := learner.PayCode(ctx, choice.PayCode())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("《%s》, ¥%s: scan %.22s…\n", choice.CourseName, code.TotalPrice, code.QRCode)
	for record, err := range learner.Events(ctx, code.PayNo) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("status", record.Status)
		if record.Status == client.PayPaid {
			break
		}
	}
	if now, err := learner.LearnStatus(ctx, "2"); err == nil && now.LearnStatus == client.MayStudy {
		fmt.Println("learn until", now.ValidtimeEnd)
	}
	// Output:
	// 《Go》, ¥129.00: scan data:image/png;base64,…
	// status 601001
	// status 601002
	// learn until 2026-08-28 18:30:00
}

// A refusal says what is wrong, to programs and to users.
func ExampleError() {
	service := httptest.NewServer(aService())
	defer service.Close()
	learner := client.New(client.Config{URL: service.URL + "/api", Token: client.StaticToken("the learner's JWT")})

	_, err := learner.CancelOrder(context.Background(), "7")
	if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Code == client.CodeOrderPaid {
		fmt.Println(refusal.Status, refusal.ErrMessage)
	}
	// Output:
	// 409 订单已支付
}

// aService answers as coursepay does.
func aService() http.Handler {
	service := http.NewServeMux()
	answer := func(pattern, kind, body string) {
		service.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(body))
		})
	}
	answer("POST /api/learning/choosecourse/2", "application/json", `{"id":"11","courseId":"2","courseName":"Go","coursePrice":129.00}`)
	answer("POST /api/orders/generatepaycode", "application/json", `{"payNo":"12","totalPrice":129.00,"qrcode":"data:image/png;base64,iVBO"}`)
	answer("GET /api/orders/events", "text/event-stream", "event: record\nid: a\ndata: {\"status\":\"601001\"}\n\n"+
		"event: record\nid: b\ndata: {\"status\":\"601002\"}\n\n")
	answer("POST /api/learning/choosecourse/learnstatus/2", "application/json", `{"learnStatus":"702001","validtimeEnd":"2026-08-28 18:30:00"}`)
	service.HandleFunc("POST /api/orders/7/cancel", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"errMessage":"订单已支付","code":"ORDER_PAID"}`))
	})
	return service
}
