package activities

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"

	"coursepay/models"
)

// retryableOrFinal is the one place that decides which errors end a step. Final is what the books refuse
// (models.Refusal): the same request would be refused again, so a user is told, or an operator is asked. Everything
// else is tried again without end, even what only a change of configuration can mend, such as Alipay not knowing our
// app: the step waits in sight of the operators and goes on by itself afterwards.
func retryableOrFinal(err error) error {
	if err == nil {
		return nil
	}
	if code, refused := models.RefusalCode(err); refused {
		return temporal.NewNonRetryableApplicationError(code.Message(), string(code), errors.New(err.Error()))
	}
	return err
}

// refusedForGood says whether Alipay itself has said no, signed and for good. It ends a refund's asking: everything else
// asks again without end.
func refusedForGood(err error) bool {
	var answer interface {
		error
		Temporary() bool
	}
	return errors.As(err, &answer) && !answer.Temporary()
}

// refundRefused is the end of asking Alipay for a refund; its text is for operators.
func refundRefused(why string) error {
	return temporal.NewNonRetryableApplicationError(
		models.CodeRefundRefused.Message()+": "+why, string(models.CodeRefundRefused), nil)
}

// lookAgainIn makes a retry of an activity that found nothing yet.
func lookAgainIn(delay time.Duration, why string) error {
	return temporal.NewApplicationErrorWithOptions(why, "Waiting", temporal.ApplicationErrorOptions{
		NextRetryDelay: delay, Category: temporal.ApplicationErrorCategoryBenign,
	})
}
