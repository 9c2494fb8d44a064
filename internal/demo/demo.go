// Package demo buys a course on a running stack as a learner would, and believes nothing but what it reads back from
// Postgres and RabbitMQ.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"coursepay/internal/auth"
	"coursepay/internal/buyer"
)

// Env says where the stack is.
type Env struct {
	APIURL      string
	DatabaseURL string
	AMQPURL     string
	JWTSecret   string
	// CourseID is the course to buy; the demo catalogue's 2 when empty.
	CourseID string
	// Patience is how long each step may take to be seen; 15 s when zero.
	Patience time.Duration
}

// Run buys one course for a learner made up for the purpose and prints a timeline. The error names the first step that
// was not seen to happen.
func Run(ctx context.Context, env Env, out io.Writer) error {
	if env.CourseID == "" {
		env.CourseID = "2"
	}
	if env.Patience == 0 {
		env.Patience = 15 * time.Second
	}
	w, err := newWitness(ctx, env)
	if err != nil {
		return err
	}
	defer w.close()
	d := &purchase{env: env, witness: w, out: out, start: time.Now(), user: fmt.Sprintf("demo-%d", time.Now().UnixMilli())}
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"选课 choose a course", d.choose},
		{"生成二维码 get a QR code", d.requestCode},
		{"扫码 scan it, open the cashier", d.scan},
		{"确认付款 pay", d.pay},
		{"支付宝通知 Alipay's signed callback", d.seeNotify},
		{"订单已支付 the order in Postgres", d.seeOrder},
		{"支付结果 ask as the front end does", d.askResult},
		{"消息 the message on RabbitMQ", d.seeMessage},
		{"课程表 the course-table row in Postgres", d.seeCourseTable},
		{"可以学习 may the learner study?", d.askLearnStatus},
	} {
		if err := d.tell(ctx, step.name, step.do); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\n%s bought %s in %.1f s.\n", d.user, d.choice.CourseName, time.Since(d.start).Seconds())
	return nil
}

// purchase is one run of the demo.
type purchase struct {
	env     Env
	witness *witness
	out     io.Writer
	start   time.Time
	user    string

	learner *buyer.Learner
	phone   *buyer.Phone
	choice  buyer.Choice
	record  buyer.PayRecord
	cashier *buyer.Page
}

func (d *purchase) tell(ctx context.Context, name string, do func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, d.env.Patience)
	defer cancel()
	seen, err := do(ctx)
	at := time.Since(d.start).Seconds()
	if err != nil {
		fmt.Fprintf(d.out, "%7.3f s  ✗ %s\n\n", at, name)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s: not seen within %s: %w", name, d.env.Patience, err)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(d.out, "%7.3f s  ✓ %s\n             %s\n", at, name, strings.ReplaceAll(seen, "\n", "\n             "))
	return nil
}

func (d *purchase) choose(ctx context.Context) (string, error) {
	token, err := auth.Issue([]byte(d.env.JWTSecret), auth.User{ID: d.user}, time.Hour, time.Now())
	if err != nil {
		return "", err
	}
	d.learner = buyer.NewLearner(d.env.APIURL, token)
	before, err := d.learner.LearnStatus(ctx, d.env.CourseID)
	if err != nil {
		return "", err
	}
	if before.LearnStatus != notBought {
		return "", fmt.Errorf("learnStatus is %s before the purchase, not %s", before.LearnStatus, notBought)
	}
	if d.choice, err = d.learner.Choose(ctx, d.env.CourseID); err != nil {
		return "", err
	}
	return fmt.Sprintf("learner %s, 《%s》, ¥%s, choose-course %s", d.user, d.choice.CourseName, d.choice.CoursePrice, d.choice.ID), nil
}

func (d *purchase) requestCode(ctx context.Context) (_ string, err error) {
	if d.record, err = d.learner.RequestCode(ctx, d.choice); err != nil {
		return "", err
	}
	return fmt.Sprintf("order %s, payNo %s, status %s", d.record.OrderID, d.record.PayNo, d.record.Status), nil
}

func (d *purchase) scan(ctx context.Context) (string, error) {
	address, err := buyer.Scan(d.record.QRCode)
	if err != nil {
		return "", err
	}
	if d.phone, err = buyer.NewPhone(); err != nil {
		return "", err
	}
	if d.cashier, err = d.phone.OpenCashier(ctx, address); err != nil {
		return "", err
	}
	return fmt.Sprintf("the code says %s\nthe cashier asks %s for 《%s》", address, d.cashier.Text("#amount"), d.cashier.Text("#subject")), nil
}

func (d *purchase) pay(ctx context.Context) (string, error) {
	page, err := d.phone.Pay(ctx, d.cashier)
	if err != nil {
		return "", err
	}
	return "the phone shows: " + page.Text("#paid .subject") + " " + page.Text("#amount"), nil
}

func (d *purchase) seeNotify(ctx context.Context) (string, error) {
	return d.witness.acceptedNotify(ctx, d.record.PayNo)
}

func (d *purchase) seeOrder(ctx context.Context) (string, error) {
	return d.witness.paidOrder(ctx, d.record.OrderID, d.record.PayNo)
}

func (d *purchase) askResult(ctx context.Context) (string, error) {
	record, err := d.learner.PayResult(ctx, d.record.PayNo)
	if err != nil {
		return "", err
	}
	if record.Status != paid {
		return "", fmt.Errorf("payresult says %s, not %s", record.Status, paid)
	}
	return fmt.Sprintf("payresult: status %s, trade %s, paid %s", record.Status, record.OutPayNo, record.PaySuccessTime), nil
}

func (d *purchase) seeMessage(ctx context.Context) (string, error) {
	return d.witness.message(ctx, d.choice.ID)
}

func (d *purchase) seeCourseTable(ctx context.Context) (string, error) {
	return d.witness.courseTable(ctx, d.user, d.env.CourseID, d.choice.ID)
}

func (d *purchase) askLearnStatus(ctx context.Context) (string, error) {
	now, err := d.learner.LearnStatus(ctx, d.env.CourseID)
	if err != nil {
		return "", err
	}
	if now.LearnStatus != mayStudy {
		return "", fmt.Errorf("learnStatus is %s, not %s", now.LearnStatus, mayStudy)
	}
	return fmt.Sprintf("learnStatus %s, until %s", now.LearnStatus, now.ValidtimeEnd), nil
}
