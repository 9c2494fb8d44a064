package api

import (
	"context"
	"errors"
	"html/template"
	"maps"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"coursepay/internal/alipay"
	"coursepay/models"
)

// notPayable is what a phone shows for a code that cannot be paid.
var notPayable = template.Must(template.ParseFS(web, "web/notpayable.html"))

// requestPay is where a scanned code leads: a page that sends the phone on to Alipay's cashier. No login: the one who
// pays need not be the one who learns.
func (s *Server) requestPay(c *fiber.Ctx) error {
	if c.Method() == fiber.MethodHead { // asks about the page, and opens nothing
		return c.SendStatus(fiber.StatusOK)
	}
	ctx := c.UserContext()
	payNo, err := models.ParseID(c.Query("payNo"))
	if err != nil {
		return s.refusePhone(c, models.Refuse(models.CodePayRecordNotFound, "payNo %q", c.Query("payNo")))
	}
	before := s.now().Truncate(time.Microsecond) // as exact as the books
	record, err := s.store.OpenAttempt(ctx, payNo)
	if err != nil {
		return s.refusePhone(c, err)
	}
	if !record.OpenDate.Before(before) { // for the first time; from then on the watch looks often by itself
		s.wakeWatch(ctx, record)
	}
	page, err := s.alipay.WapPayForm(alipay.WapPay{
		PayNo: record.PayNo.String(), Subject: record.OrderName, Amount: record.TotalPrice, ExpireAt: record.ExpireDate,
	})
	if err != nil {
		return s.refusePhone(c, err)
	}
	// The form posts to Alipay, which sends the phone on to other hosts: form-action cannot name them.
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	return sendHTML(c, page)
}

// wakeWatch lets the order's workflow look for the payment that may now come.
func (s *Server) wakeWatch(ctx context.Context, record models.PayRecord) {
	order, err := s.store.Order(ctx, record.OrderID)
	if err != nil {
		s.log.WarnContext(ctx, "watch not told of an opened page", "orderId", record.OrderID, "payNo", record.PayNo, "error", err)
		return
	}
	s.lookSoon(ctx, order)
}

// refusePhone answers people with a page and programs with the usual error.
func (s *Server) refusePhone(c *fiber.Ctx, err error) error {
	var told huma.StatusError
	if !errors.As(s.fail(c.UserContext(), "open the pay page", err), &told) {
		told = errorOf(models.CodeInternal)
	}
	if !strings.Contains(c.Get(fiber.HeaderAccept), fiber.MIMETextHTML) {
		return s.sendError(c, told)
	}
	var page strings.Builder
	var body *Error
	if !errors.As(told, &body) {
		body = errorOf(models.CodeInternal)
	}
	if err := notPayable.Execute(&page, body); err != nil {
		return err
	}
	setPageHeaders(c)
	return sendHTML(c.Status(told.GetStatus()), page.String())
}

func sendHTML(c *fiber.Ctx, page string) error {
	c.Set(fiber.HeaderContentType, "text/html;charset=UTF-8")
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.SendString(page)
}

func requestPayOperation() *huma.Operation {
	return &huma.Operation{
		OperationID: "requestpay", Method: fiber.MethodGet, Path: "/orders/requestpay", Summary: "Where a scanned code leads",
		Description: "A page that sends the phone on to Alipay's cashier. No login.",
		Parameters:  []*huma.Param{{Name: "payNo", In: "query", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}},
		Metadata:    map[string]any{byHand: true},
		Responses:   withAnswer(phoneRefusals(), &huma.Response{Description: "An auto-submitting form", Content: htmlPage()}),
	}
}

// phoneRefusals are pages for people, who accept HTML, and the usual errors for programs.
func phoneRefusals() map[string]*huma.Response {
	refusals := refusalResponses(404, 409, 410, 500, 503)
	for _, refusal := range refusals {
		maps.Copy(refusal.Content, htmlPage())
	}
	return refusals
}

func htmlPage() map[string]*huma.MediaType {
	return map[string]*huma.MediaType{fiber.MIMETextHTML: {Schema: &huma.Schema{Type: huma.TypeString}}}
}
