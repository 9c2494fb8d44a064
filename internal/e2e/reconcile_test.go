package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/text/encoding/simplifiedchinese"

	"coursepay/activities"
	"coursepay/internal/alipay"
	"coursepay/internal/buyer"
	"coursepay/models"
	"coursepay/worker"
	"coursepay/workflows"
)

func (s *shop) reconciler(gateway *alipay.Client, log *slog.Logger) *activities.Reconciler {
	return activities.NewReconciler(s.store, activities.ReconcilerConfig{
		Alipay: worker.Alipay{Client: gateway}, Stories: worker.Stories{Temporal: s.engine, TaskQueue: workflows.TaskQueue},
		Now: time.Now, Logger: log,
	})
}

// reconcile runs reconciliation as `coursepay reconcile` does.
func (s *shop) reconcile(in workflows.ReconcileInput) (done workflows.Reconciled, run client.WorkflowRun, err error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	run, err = s.engine.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: workflows.TaskQueue}, workflows.Reconcile, in)
	require.NoError(s.t, err)
	err = run.Get(ctx, &done)
	return done, run, err
}

func (s *shop) sweep() activities.Swept {
	s.t.Helper()
	done, _, err := s.reconcile(workflows.ReconcileInput{Sweep: true})
	require.NoError(s.t, err)
	return *done.Sweep
}

// loseStory ends an order's workflow as an accident would: nobody watches the order any more.
func (s *shop) loseStory(choice buyer.Choice) {
	s.t.Helper()
	require.NoError(s.t, s.engine.TerminateWorkflow(s.t.Context(), workflows.PayOrderID(models.OrderCourse, choice.ID), "", "lost"))
}

// timePasses lets everything that has happened so far be a day older.
func (s *shop) timePasses() {
	s.exec(`update xc_orders set create_date = create_date - interval '1 day'`)
	s.exec(`update xc_pay_record set create_date = create_date - interval '1 day', expire_date = expire_date - interval '1 day',
		open_date = open_date - interval '1 day', close_date = close_date - interval '1 day'`)
	s.exec(`update mq_message set create_date = create_date - interval '1 day'`)
	s.exec(`update xc_refund_record set create_date = create_date - interval '1 day'`)
}

// No notify comes, nobody polls, the order's own workflow is gone: our books alone show that something is open. Red:
// attempts that were opened not asked about.
func TestLostNotifyIsFoundBySweeping(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	s.faults(`{"notify":{"drop":1}}`)
	choice, record := s.codeFor("52")
	phone, cashier := s.open(record)
	s.loseStory(choice)
	_, err := phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
	require.Zero(t, s.sweep(), "the usual ways still have time")
	s.timePasses()
	require.Equal(t, activities.Swept{Payments: 1, Woken: 1}, s.sweep())
	s.enrolled("52")
	s.settledOnce(record.PayNo)
	s.events(choice)
	s.timePasses()
	require.Zero(t, s.sweep(), "nothing is left")
}

// The books have the payment, and the worker died for good before the message left. Red: the outbox passed
// over.
func TestStrandedMessageIsFoundBySweeping(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, record := s.codeFor("52")
	s.loseStory(choice)
	payNo, err := models.ParseID(record.PayNo)
	require.NoError(t, err)
	_, err = s.store.Settle(t.Context(), models.Payment{PayNo: payNo, TradeNo: "T1", Amount: 129_00, PaidAt: time.Now()})
	require.NoError(t, err)
	s.timePasses()
	require.Equal(t, activities.Swept{Resumed: 1}, s.sweep())
	s.enrolled("52")
	s.settledOnce(record.PayNo)
}

// Nobody paid, and nobody was there to close the order. Red: unpaid orders passed over; look-again not
// heard by the story.
func TestForgottenOrderIsClosedBySweeping(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{poll: []time.Duration{50 * time.Millisecond}})
	choice, _ := s.codeFor("52")
	s.loseStory(choice)
	openedChoice, opened := s.codeFor("53")
	s.open(opened)
	s.loseStory(openedChoice)
	s.timePasses()
	require.Equal(t, activities.Swept{Woken: 2}, s.sweep())
	s.eventually(2, `select count(*) from xc_orders where status = '600003'`)
	s.eventually(0, `select count(*) from xc_pay_record where close_date is null`)
	s.events(choice)
	s.events(openedChoice)
	require.Zero(t, s.sweep())
}

// The books have a refund that no workflow carries out. Red: refunds passed over.
func TestForgottenRefundIsCarriedOutBySweeping(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.codeFor("52")
	s.pay(record)
	s.enrolled("52")
	payNo, err := models.ParseID(record.PayNo)
	require.NoError(t, err)
	paid, err := s.store.PayRecord(t.Context(), payNo)
	require.NoError(t, err)
	_, err = s.store.OpenRefund(t.Context(), models.RefundRequest{
		OrderID: paid.OrderID, PayNo: payNo, RequestNo: "R1", Amount: 29_00, Reason: "sorry", Origin: models.RefundByOperator,
	})
	require.NoError(t, err)
	s.timePasses()
	require.Equal(t, activities.Swept{Refunds: 1}, s.sweep())
	s.eventually(1, `select count(*) from xc_refund_record where status = 'refunded'`)
	s.settledOnce(record.PayNo)
	require.Zero(t, s.sweep())
}

// turning is a clock that a test turns while others read it.
type turning struct{ ahead atomic.Int64 }

func (c *turning) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Nothing tells of the payment but yesterday's bill. Red: rows of unpaid attempts passed over.
func TestLostNotifyIsFoundInTheBill(t *testing.T) {
	t.Parallel()
	var clock turning
	s := openShop(t, options{alipayTime: clock.now})
	s.faults(`{"notify":{"drop":1}}`)
	choice, record := s.codeFor("52")
	clock.ahead.Store(int64(-24*time.Hour + 5*time.Second)) // as far back as Alipay takes our requests' timestamps
	phone, cashier := s.open(record)
	s.loseStory(choice)
	_, err := phone.Pay(t.Context(), cashier)
	require.NoError(t, err)
	bill := workflows.ReconcileInput{Bill: true, Date: clock.now().In(models.China).Format(models.BillDayLayout)}
	clock.ahead.Store(int64(12 * time.Hour)) // certainly after the hour at which it is ready

	done, _, err := s.reconcile(bill)
	require.NoError(t, err)
	require.Equal(t, activities.BillReport{Date: bill.Date, Rows: 1, Payments: 1}, *done.Bill)
	s.enrolled("52")
	s.settledOnce(record.PayNo)
	done, _, err = s.reconcile(bill)
	require.NoError(t, err)
	require.Equal(t, activities.BillReport{Date: bill.Date, Rows: 1}, *done.Bill, "in the books now")
	s.settledOnce(record.PayNo)
}

// A gateway whose answers are signed, but that offers what is not Alipay's bill. Each file says that the learner has
// paid. Red, one by one: any address taken; the archive's size, the names in it, the size of its text not looked at; the
// bill believed without Alipay's signed answer.
func TestHoleBillURL(t *testing.T) {
	t.Parallel()
	var offer, claim atomic.Value
	var s *shop
	s = openShop(t, options{front: func(alipay http.Handler) http.Handler {
		return billFront(alipay, func(base string) string {
			return s.billAnswer(strings.ReplaceAll(offer.Load().(string), "HERE", base))
		}, func() []byte { return claim.Load().([]byte) })
	}})
	var fetched atomic.Int64
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_, _ = w.Write(claim.Load().([]byte))
	}))
	t.Cleanup(stranger.Close)
	_, record := s.codeFor("52")
	day := time.Now().In(models.China).AddDate(0, 0, -1).Format(models.BillDayLayout)
	row := fmt.Sprintf("2026112222001\t,%s\t,交易,课程,%s 10:00:00,%s 10:00:01,%s,%s,\r\n", record.PayNo, day, day, price, price)
	good := billZip("2088_业务明细.csv", billText(row, 0), zip.Deflate)

	host := strings.TrimPrefix(stranger.URL, "http://")
	for name, bill := range map[string]struct {
		offer string
		file  []byte
	}{
		"foreign host":         {stranger.URL + "/bill", good},
		"hidden foreign host":  {"http://dwbillcenter.alipay.com@" + host + "/bill", good},
		"Alipay's as a prefix": {"http://dwbillcenter.alipay.com.evil.example/bill", good},
		"another scheme":       {"file:///etc/passwd", good},
		"too large":            {"HERE/offered", billZip("2088_业务明细.csv", billText(row, 17<<20), zip.Store)},
		"zip slip":             {"HERE/offered", billZip("../../tmp/2088_业务明细.csv", billText(row, 0), zip.Deflate)},
		"zip bomb":             {"HERE/offered", billZip("2088_业务明细.csv", billText(row, 40<<20), zip.Deflate)},
		"no bill":              {"HERE/offered", []byte("<html>系统繁忙</html>")},
	} {
		s.exec(`delete from reconcile_finding`)
		offer.Store(bill.offer)
		claim.Store(bill.file)
		_, run, err := s.reconcile(workflows.ReconcileInput{Bill: true, Date: day})
		refusal, ok := errors.AsType[*temporal.ApplicationError](err)
		require.True(t, ok, "%s: %v", name, err)
		require.Equal(t, string(models.CodeBillRefused), refusal.Type(), name)
		s.untouched()
		require.Zero(t, fetched.Load(), name)
		require.Equal(t, 1, s.count(`select count(*) from reconcile_finding where kind = 'bill_refused'`), name)
		require.True(t, s.needsOperator(run), name)
	}

	offer.Store("HERE/offered")
	claim.Store(good)
	done, run, err := s.reconcile(workflows.ReconcileInput{Bill: true, Date: day})
	require.NoError(t, err)
	require.Len(t, done.Bill.Findings, 1, "the refused bill is no finding any more")
	require.Equal(t, models.FindingNotProved, done.Bill.Findings[0].Kind)
	require.True(t, s.needsOperator(run))
	s.untouched()
}

func (s *shop) needsOperator(run client.WorkflowRun) (needs bool) {
	s.t.Helper()
	d, err := s.engine.DescribeWorkflow(s.t.Context(), run.GetID(), run.GetRunID())
	require.NoError(s.t, err)
	needs, _ = d.TypedSearchAttributes.GetBool(workflows.AttrNeedsOperator)
	return needs
}

// billFront stands before a gateway and answers for it where the bill is concerned.
func billFront(alipay http.Handler, answer func(base string) string, file func() []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/offered" {
			_, _ = w.Write(file())
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		form, _ := url.ParseQuery(string(body))
		if form.Get("method") == "alipay.data.dataservice.bill.downloadurl.query" {
			_, _ = io.WriteString(w, answer("http://"+r.Host))
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		alipay.ServeHTTP(w, r)
	})
}

// billAnswer is what Alipay's gateway would say, with its signature.
func (s *shop) billAnswer(offer string) string {
	node := `{"code":"10000","msg":"Success","bill_download_url":"` + offer + `"}`
	block, _ := pem.Decode([]byte(s.key("alipay-private")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(s.t, err)
	sum := sha256.Sum256([]byte(node))
	sign, err := rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	require.NoError(s.t, err)
	return `{"alipay_data_dataservice_bill_downloadurl_query_response":` + node +
		`,"sign":"` + base64.StdEncoding.EncodeToString(sign) + `"}`
}

// billText is the detail file of a bill, filled up with comments to at least that many bytes.
func billText(rows string, size int) string {
	filler := "#" + strings.Repeat(" ", 30<<10) + "\r\n"
	return "#支付宝业务明细查询\r\n#账号：[20880156]\r\n" + strings.Repeat(filler, (size+len(filler)-1)/len(filler)) +
		"支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,订单金额（元）,商家实收（元）,退款批次号/请求号\r\n" + rows +
		"#-----业务明细列表结束-----\r\n"
}

func billZip(name, text string, method uint16) []byte {
	encode := simplifiedchinese.GBK.NewEncoder()
	gbkName, nameErr := encode.String(name)
	gbkText, textErr := encode.String(text)
	var file bytes.Buffer
	archive := zip.NewWriter(&file)
	entry, err := archive.CreateHeader(&zip.FileHeader{Name: gbkName, NonUTF8: true, Method: method})
	if err == nil {
		_, err = io.WriteString(entry, gbkText)
	}
	for _, err := range []error{nameErr, textErr, err, archive.Close()} {
		if err != nil {
			panic(err)
		}
	}
	return file.Bytes()
}
