package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"coursepay/models"
	"coursepay/workflows"
)

var (
	wanted  = models.RefundRequest{OrderID: orderID, PayNo: payNo, RequestNo: "n", Amount: 30, Reason: "r", Origin: models.RefundByOperator}
	pending = models.Refund{RequestNo: "n", OrderID: orderID, PayNo: payNo, Amount: 30, Status: models.RefundPending}
	back    = models.TradeRefund{RequestNo: "n", Refunded: true, Amount: 30}
)

func (s *story) runRefund() models.Refund {
	s.ExecuteWorkflow(workflows.RefundWorkflow, wanted)
	require.True(s.t, s.IsWorkflowCompleted())
	require.NoError(s.t, s.GetWorkflowError())
	s.AssertExpectations(s.t)
	var refund models.Refund
	require.NoError(s.t, s.GetWorkflowResult(&refund))
	return refund
}

func (s *story) opensRefund() {
	s.OnActivity(steps.OpenRefund, mock.Anything, wanted).Return(pending, nil).Once()
}

func (s *story) booksRefund() {
	done := pending
	done.Status = models.RefundDone
	s.OnActivity(steps.BookRefund, mock.Anything, "n", back).Return(done, nil).Once()
}

func (s *story) alipayRefusesOnce() {
	s.OnActivity(steps.SendRefund, mock.Anything, pending).Return(models.TradeRefund{},
		temporal.NewNonRetryableApplicationError("支付宝拒绝退款: 卖家余额不足", string(models.CodeRefundRefused), nil)).Once()
}

func (s *story) refundState() (state workflows.RefundState) {
	value, err := s.QueryWorkflow(workflows.QueryState)
	require.NoError(s.t, err)
	require.NoError(s.t, value.Get(&state))
	return state
}

func TestRefund(t *testing.T) {
	s := newStory(t)
	s.opensRefund()
	s.OnActivity(steps.SendRefund, mock.Anything, pending).Return(back, nil).Once()
	s.booksRefund()
	asked := s.askRefund(0, wanted)
	other := wanted
	other.Amount++
	differs := s.askRefund(0, other)
	require.Equal(t, models.RefundDone, s.runRefund().Status)
	requireRefused(t, differs.err, models.CodeRefundDiffers)
	require.NoError(t, asked.err)
	require.Equal(t, "n", asked.refund.RequestNo)
}

type refundReply struct {
	refund models.Refund
	err    error
}

func (s *story) askRefund(at time.Duration, asked models.RefundRequest) *refundReply {
	got := &refundReply{}
	s.RegisterDelayedCallback(func() {
		s.UpdateWorkflow(workflows.UpdateRequestRefund, "ask"+asked.Amount.String(), &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { got.err = err },
			OnComplete: func(result any, err error) {
				got.refund, _ = result.(models.Refund)
				got.err = err
			},
		}, asked)
	}, at)
	return got
}

func TestRefundThatTheBooksRefuse(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.OpenRefund, mock.Anything, wanted).Return(models.Refund{},
		temporal.NewNonRetryableApplicationError("退款金额超过可退金额", string(models.CodeRefundTooMuch), nil)).Once()
	asked := s.askRefund(0, wanted)
	require.Empty(t, s.runRefund().Status)
	requireRefused(t, asked.err, models.CodeRefundTooMuch)
}

func TestRefundThatAlipayRefusesWaitsForAnOperator(t *testing.T) {
	s := newStory(t)
	s.opensRefund()
	s.alipayRefusesOnce()
	s.parks(payNo)
	s.OnActivity(steps.SendRefund, mock.Anything, pending).Return(back, nil).Once()
	s.booksRefund()
	s.signal(0, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose}) // of before, about something else
	s.RegisterDelayedCallback(func() {
		require.Contains(t, s.refundState().NeedsHelp, "余额不足")
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: "shout"})
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: workflows.ActionRetry, Note: "account filled up"})
	}, time.Hour)
	require.Equal(t, models.RefundDone, s.runRefund().Status)
	require.Empty(t, s.refundState().NeedsHelp)
}

func TestOperatorGivesUpARefund(t *testing.T) {
	s := newStory(t)
	s.opensRefund()
	s.alipayRefusesOnce()
	s.parks(payNo)
	closed := pending
	closed.Status = models.RefundClosed
	s.OnActivity(steps.CloseRefund, mock.Anything, pending, "paid in cash").Return(closed, nil).Once()
	s.signal(time.Hour, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose, Note: "paid in cash"})
	require.Equal(t, models.RefundClosed, s.runRefund().Status)
}

func TestRefundThatIsDoneIsNotSentAgain(t *testing.T) {
	s := newStory(t)
	done := pending
	done.Status = models.RefundDone
	s.OnActivity(steps.OpenRefund, mock.Anything, wanted).Return(done, nil).Once()
	require.Equal(t, models.RefundDone, s.runRefund().Status)
}
