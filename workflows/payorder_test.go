package workflows_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"coursepay/activities"
	"coursepay/models"
	"coursepay/workflows"
)

const (
	orderID = models.ID(100)
	payNo   = models.ID(200)
)

var (
	steps   *activities.Activities
	request = models.PayRequest{RequestID: "r", UserID: "52", TotalPrice: 1_00}
	code    = models.PayCode{PayNo: payNo, OrderID: orderID, QRCode: "data:"}
	key     = models.OrderKey{OrderType: models.OrderCourse, OutBusinessID: "7"}
	payment = models.Payment{PayNo: payNo, TradeNo: "T1", Amount: 1_00}
)

// story is one PayOrderWorkflow with time that skips and activities that answer as told.
type story struct {
	*testsuite.TestWorkflowEnvironment
	t    *testing.T
	left []models.Attention // what an earlier run had parked
}

func newStory(t *testing.T) *story {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	env := suite.NewTestWorkflowEnvironment()
	env.RegisterActivity(activities.New(nil, activities.Config{}))
	env.RegisterWorkflow(workflows.RefundWorkflow)
	env.SetTestTimeout(20 * time.Second)
	s := &story{TestWorkflowEnvironment: env, t: t}
	env.OnActivity(steps.ParkedPayments, mock.Anything, mock.Anything).
		Return(func(context.Context, string) ([]models.Attention, error) { return s.left, nil }).Maybe()
	return s
}

func (s *story) run() {
	s.ExecuteWorkflow(workflows.PayOrderWorkflow, workflows.PayOrderInput{OrderType: models.OrderCourse, OutBusinessID: "7", UserID: "52"})
	require.True(s.t, s.IsWorkflowCompleted())
	require.NoError(s.t, s.GetWorkflowError())
	s.AssertExpectations(s.t)
}

// reply is what became of an update.
type reply struct {
	code models.PayCode
	err  error
}

func (s *story) ask(at time.Duration, name string, arg any) *reply {
	got := &reply{err: errors.New("no answer")}
	s.RegisterDelayedCallback(func() {
		s.UpdateWorkflow(name, name+strconv.Itoa(int(at)), &testsuite.TestUpdateCallback{
			OnAccept: func() {},
			OnReject: func(err error) { got.err = err },
			OnComplete: func(result any, err error) {
				got.err = err
				if c, ok := result.(models.PayCode); ok {
					got.code = c
				}
			},
		}, arg)
	}, at)
	return got
}

func (s *story) signal(at time.Duration, name string, arg any) {
	s.RegisterDelayedCallback(func() { s.SignalWorkflow(name, arg) }, at)
}

func (s *story) state() workflows.State {
	var state workflows.State
	value, err := s.QueryWorkflow(workflows.QueryState)
	require.NoError(s.t, err)
	require.NoError(s.t, value.Get(&state))
	return state
}

// watchFor lets the watch answer after a while; nil means that the time to pay is over.
func (s *story) watchFor(after time.Duration, found *models.Payment) {
	s.OnActivity(steps.WatchPayment, mock.Anything, orderID).Return(found, nil).After(after)
}

func (s *story) offers() {
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).Return(code, nil)
}

func (s *story) settlesOnce() {
	s.OnActivity(steps.Settle, mock.Anything, payment).Return(models.Settlement{OrderID: orderID, Status: models.OrderPaid}, nil).Once()
}

// parks lets a payment be parked once, and decided about.
func (s *story) parks(payNo models.ID) {
	s.OnActivity(steps.Park, mock.Anything, mock.MatchedBy(func(a models.Attention) bool { return a.PayNo == payNo })).
		Return(orderID, nil).Once()
	s.OnActivity(steps.Decide, mock.Anything, mock.MatchedBy(func(d activities.Decision) bool { return d.PayNo == payNo })).
		Return(nil).Maybe()
}

// looks lets the story look where its order stands.
func (s *story) looks(now models.Standing) {
	now.OrderID = orderID
	s.OnActivity(steps.CloseOrder, mock.Anything, key).Return(now, nil).Once()
}

// refusesOnce lets the books refuse the payment once.
func (s *story) refusesOnce(code models.Code) {
	s.OnActivity(steps.Settle, mock.Anything, payment).Return(models.Settlement{},
		temporal.NewNonRetryableApplicationError(code.Message(), string(code), nil)).Once()
	s.parks(payment.PayNo)
}

func TestPaidOnceHoweverOftenAlipayTells(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(time.Hour, nil)
	s.settlesOnce()
	got := s.ask(0, workflows.UpdateRequestPayment, request)
	for i := range 50 {
		s.signal(time.Duration(i)*time.Millisecond+time.Second, workflows.SignalPaymentNotified, payment)
	}
	s.run()
	require.NoError(t, got.err)
	require.Equal(t, code.PayNo, got.code.PayNo)
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestLostCallbackIsFoundByWatching(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(10*time.Second, &payment)
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestUnpaidOrderIsClosed(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(15*time.Minute, nil)
	s.OnActivity(steps.CloseOrder, mock.Anything, key).Return(models.Standing{OrderID: orderID, Status: models.OrderClosed}, nil).Once()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.run()
	require.Equal(t, models.OrderClosed, s.state().OrderStatus)
}

func TestOrderThatCannotBeClosedYetIsWatchedOn(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.OnActivity(steps.WatchPayment, mock.Anything, orderID).Return(nil, nil).After(15 * time.Minute).Once()
	s.OnActivity(steps.CloseOrder, mock.Anything, key).Return(models.Standing{OrderID: orderID, Status: models.OrderUnpaid, Payable: true}, nil).Once()
	s.OnActivity(steps.WatchPayment, mock.Anything, orderID).Return(&payment, nil).After(time.Minute).Once()
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestNewCodeForAnOrderThatIsBeingClosed(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(15*time.Minute, nil)
	s.OnActivity(steps.CloseOrder, mock.Anything, key).Return(models.Standing{OrderID: orderID, Status: models.OrderClosed}, nil).After(2 * time.Second)
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	again := s.ask(15*time.Minute+time.Second, workflows.UpdateRequestPayment, request)
	s.signal(20*time.Minute, workflows.SignalPaymentNotified, payment)
	s.run()
	require.NoError(t, again.err)
	require.Equal(t, models.OrderPaid, s.state().OrderStatus, "the story went on for the new code")
}

func TestOlderOpenedAttemptIsClosedAtAlipayFirst(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).Return(models.PayCode{Opened: []models.ID{199}}, nil).Once()
	closed := false
	s.OnActivity(steps.CloseAttempt, mock.Anything, models.ID(199)).
		Return(func(context.Context, models.ID) (activities.Closing, error) {
			closed = true
			return activities.Closing{Closed: true}, nil
		}).Once()
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).
		Return(func(context.Context, models.PayRequest) (models.PayCode, error) {
			require.True(t, closed)
			return code, nil
		}).Once()
	s.watchFor(time.Hour, nil)
	s.settlesOnce()
	got := s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(time.Minute, workflows.SignalPaymentNotified, payment)
	s.run()
	require.NoError(t, got.err)
}

func TestOlderAttemptTurnsOutPaid(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).Return(models.PayCode{Opened: []models.ID{payNo}}, nil).Once()
	s.OnActivity(steps.CloseAttempt, mock.Anything, payNo).Return(activities.Closing{Payment: &payment}, nil).Once()
	s.settlesOnce()
	got := s.ask(0, workflows.UpdateRequestPayment, request)
	s.run()
	requireRefused(t, got.err, models.CodeOrderPaid)
}

func TestOtherOpenAttemptsAreClosedOnceTheOrderIsPaid(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.Settle, mock.Anything, payment).
		Return(models.Settlement{OrderID: orderID, Status: models.OrderPaid, Opened: []models.ID{201, 202}}, nil).Once()
	s.OnActivity(steps.CloseAttempt, mock.Anything, models.ID(201)).Return(activities.Closing{Closed: true}, nil).Once()
	s.OnActivity(steps.CloseAttempt, mock.Anything, models.ID(202)).Return(activities.Closing{}, nil).Once()
	s.watchFor(15*time.Minute, nil) // 202 is watched until its time is over
	s.OnActivity(steps.CloseOrder, mock.Anything, key).Return(models.Standing{OrderID: orderID, Status: models.OrderPaid}, nil).Once()
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestSamePaymentAgainWhileItIsBeingSettled(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.Settle, mock.Anything, payment).Return(models.Settlement{OrderID: orderID, Status: models.OrderPaid}, nil).After(5 * time.Second).Once()
	for at := range 4 {
		s.signal(time.Duration(at)*time.Second, workflows.SignalPaymentNotified, payment)
	}
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestPaymentFoundByAskingWhileItsCallbackIsBeingSettled(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(12*time.Second, &payment)
	s.OnActivity(steps.Settle, mock.Anything, payment).Return(models.Settlement{OrderID: orderID, Status: models.OrderPaid}, nil).After(5 * time.Second).Once()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(10*time.Second, workflows.SignalPaymentNotified, payment)
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestRefusedRequestEndsTheStory(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).
		Return(models.PayCode{}, temporal.NewNonRetryableApplicationError("订单已支付", string(models.CodeOrderPaid), errors.New("inside"))).Once()
	got := s.ask(0, workflows.UpdateRequestPayment, request)
	s.run()
	requireRefused(t, got.err, models.CodeOrderPaid)
	require.NotContains(t, got.err.Error(), "inside")
}

func TestBooksThatDoNotAnswerAreNoRefusal(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).Return(models.PayCode{}, errors.New("connection refused"))
	got := s.ask(0, workflows.UpdateRequestPayment, request)
	s.run()
	var failure *temporal.ApplicationError
	require.ErrorAs(t, got.err, &failure)
	require.False(t, failure.NonRetryable())
	require.NotContains(t, got.err.Error(), "connection")
}

func TestCallbackAfterTheStoryEnded(t *testing.T) {
	s := newStory(t)
	s.settlesOnce()
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.run()
	require.Equal(t, orderID, s.state().OrderID)
}

func TestNobodySpeaks(t *testing.T) {
	newStory(t).run()
}

func TestFinalErrorWaitsForAnOperator(t *testing.T) {
	s := newStory(t)
	s.refusesOnce(models.CodeChooseNotFound)
	s.settlesOnce()
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.RegisterDelayedCallback(func() {
		require.Equal(t, "选课记录不存在", s.state().NeedsHelp)
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: "shout"})
	}, time.Hour)
	s.RegisterDelayedCallback(func() {
		require.NotEmpty(t, s.state().NeedsHelp, "an unknown action decides nothing")
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: workflows.ActionRetry, Note: "mended"})
	}, 2*time.Hour)
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
	require.Empty(t, s.state().NeedsHelp)
}

func TestDecisionOfYesterdayDecidesNothingToday(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(3*time.Hour, nil)
	s.refusesOnce(models.CodeAmountDiffers)
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(time.Minute, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose})
	s.signal(time.Hour, workflows.SignalPaymentNotified, payment)
	s.RegisterDelayedCallback(func() { require.NotEmpty(t, s.state().NeedsHelp) }, time.Hour+time.Minute)
	s.signal(2*time.Hour, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionRetry})
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestOperatorGivesUpAPaymentOfAnUnpaidOrder(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.OnActivity(steps.WatchPayment, mock.Anything, orderID).Return(&payment, nil).After(10 * time.Second).Once()
	s.refusesOnce(models.CodeAmountDiffers)
	s.OnActivity(steps.WatchPayment, mock.Anything, orderID).Return(nil, nil).After(time.Second).Once()
	s.OnActivity(steps.CloseOrder, mock.Anything, key).Return(models.Standing{OrderID: orderID, Status: models.OrderClosed}, nil)
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(time.Hour, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose})
	s.run()
	require.Equal(t, models.OrderClosed, s.state().OrderStatus)
}

func TestAGoodPaymentIsSettledWhileABadOneIsParked(t *testing.T) {
	good := models.Payment{PayNo: 201, TradeNo: "T2", Amount: 1_00}
	s := newStory(t)
	s.refusesOnce(models.CodeAmountDiffers)
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).Return(models.PayCode{PayNo: good.PayNo, OrderID: orderID}, nil)
	s.watchFor(30*24*time.Hour, nil)
	s.OnActivity(steps.Settle, mock.Anything, good).Return(models.Settlement{OrderID: orderID, Status: models.OrderPaid}, nil).Once()
	s.looks(models.Standing{Status: models.OrderPaid})
	s.signal(0, workflows.SignalPaymentNotified, payment)
	got := s.ask(time.Minute, workflows.UpdateRequestPayment, request)
	s.signal(2*time.Minute, workflows.SignalPaymentNotified, good)
	s.RegisterDelayedCallback(func() {
		require.NoError(t, got.err)
		require.Equal(t, models.OrderPaid, s.state().OrderStatus)
		require.NotEmpty(t, s.state().NeedsHelp)
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose, PayNo: 4711})
	}, time.Hour)
	decided := false
	s.RegisterDelayedCallback(func() {
		decided = true
		require.NotEmpty(t, s.state().NeedsHelp, "that was about another payment")
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose, PayNo: payNo})
	}, 2*time.Hour)
	s.run()
	require.True(t, decided)
	require.Empty(t, s.state().NeedsHelp)
}

// Requests hang while Alipay is slow; the payment of somebody who was told "success" must not wait for all of them.
func TestRequestsDoNotHoldUpASettling(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).
		Return(models.PayCode{OrderID: orderID, Opened: []models.ID{199}}, nil)
	s.OnActivity(steps.CloseAttempt, mock.Anything, models.ID(199)).
		Return(activities.Closing{}, temporal.NewNonRetryableApplicationError("slow", "Slow", nil)).After(7 * time.Second)
	s.watchFor(time.Hour, nil)
	s.OnActivity(steps.CloseOrder, mock.Anything, key).Return(models.Standing{OrderID: orderID, Status: models.OrderPaid}, nil).Maybe()
	settled := false
	s.OnActivity(steps.Settle, mock.Anything, payment).
		Return(func(context.Context, models.Payment) (models.Settlement, error) {
			settled = true
			return models.Settlement{OrderID: orderID, Status: models.OrderPaid}, nil
		}).Once()
	for at := range 5 {
		s.ask(time.Duration(at)*3*time.Second, workflows.UpdateRequestPayment, request)
	}
	s.signal(2*time.Second, workflows.SignalPaymentNotified, payment)
	looked := false
	s.RegisterDelayedCallback(func() {
		looked = true
		require.True(t, settled)
	}, 10*time.Second)
	s.run()
	require.True(t, looked)
}

func TestRequestThatWaitedTooLongMakesNoCode(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(time.Hour, nil)
	s.OnActivity(steps.CloseOrder, mock.Anything, key).Return(models.Standing{OrderID: orderID, Status: models.OrderPaid}, nil).Maybe()
	s.OnActivity(steps.Settle, mock.Anything, payment).Return(models.Settlement{OrderID: orderID, Status: models.OrderPaid}, nil).After(time.Minute).Once()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(time.Second, workflows.SignalPaymentNotified, payment)
	late := s.ask(2*time.Second, workflows.UpdateRequestPayment, request)
	s.run()
	failure, ok := errors.AsType[*temporal.ApplicationError](late.err)
	require.True(t, ok, "%v", late.err)
	require.Equal(t, string(models.CodeUnavailable), failure.Type())
}

func TestOpenPagesAreWatchedAfterASecondPayment(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.Settle, mock.Anything, payment).
		Return(models.Settlement{OrderID: orderID, GiveBack: models.RefundPaidTwice, Opened: []models.ID{202}}, nil).Once()
	s.givesBackOnce(payment, models.RefundPaidTwice)
	s.looks(models.Standing{Status: models.OrderPaid, Payable: true})
	s.watchFor(15*time.Minute, nil)
	s.looks(models.Standing{Status: models.OrderPaid})
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.run()
}

func TestAttemptsThatAnEarlierRunLeftBehindAreWatched(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).
		Return(models.PayCode{OrderID: orderID, Opened: []models.ID{payNo}}, nil).Once()
	s.OnActivity(steps.CloseAttempt, mock.Anything, payNo).Return(activities.Closing{}, errors.New("Alipay is down"))
	s.watchFor(time.Minute, &payment)
	s.settlesOnce()
	got := s.ask(0, workflows.UpdateRequestPayment, request)
	s.run()
	require.Error(t, got.err)
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestSecondPaymentGoesBackByItself(t *testing.T) {
	second := models.Payment{PayNo: 201, TradeNo: "T2", Amount: 1_00}
	s := newStory(t)
	s.settlesOnce()
	s.OnActivity(steps.Settle, mock.Anything, second).
		Return(models.Settlement{OrderID: orderID, GiveBack: models.RefundPaidTwice}, nil).Once()
	s.givesBackOnce(second, models.RefundPaidTwice)
	s.looks(models.Standing{Status: models.OrderPaid})
	for range 3 {
		s.signal(0, workflows.SignalPaymentNotified, payment)
		s.signal(0, workflows.SignalPaymentNotified, second)
	}
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
	require.Empty(t, s.state().NeedsHelp)
}

// givesBackOnce expects the refund of one whole payment, from the first note to the books.
func (s *story) givesBackOnce(p models.Payment, why models.RefundOrigin) {
	no := models.StoryRefundNo(p.PayNo)
	refund := models.Refund{RequestNo: no, OrderID: orderID, PayNo: p.PayNo, Amount: p.Amount, Status: models.RefundPending}
	s.OnActivity(steps.OpenRefund, mock.Anything, mock.MatchedBy(func(r models.RefundRequest) bool {
		return r.RequestNo == no && r.OrderID == orderID && r.PayNo == p.PayNo && r.Amount == p.Amount && r.Origin == why && r.Reason != ""
	})).Return(refund, nil)
	back := models.TradeRefund{RequestNo: no, Refunded: true, Amount: p.Amount}
	s.OnActivity(steps.SendRefund, mock.Anything, refund).Return(back, nil).Once()
	refund.Status = models.RefundDone
	s.OnActivity(steps.BookRefund, mock.Anything, no, back).Return(refund, nil).Once()
}

func TestLatePaymentThatBuysNothingGoesBackAndTheOrderStaysClosed(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.Settle, mock.Anything, payment).
		Return(models.Settlement{OrderID: orderID, GiveBack: models.RefundNotForSale}, nil).Once()
	s.givesBackOnce(payment, models.RefundNotForSale)
	s.looks(models.Standing{Status: models.OrderClosed})
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.run()
	require.Equal(t, models.OrderClosed, s.state().OrderStatus)
}

func TestPaymentThatWasGivenBackBeforeIsNotGivenBackAgain(t *testing.T) {
	for _, status := range []models.RefundStatus{models.RefundDone, models.RefundClosed} {
		s := newStory(t)
		s.OnActivity(steps.Settle, mock.Anything, payment).
			Return(models.Settlement{OrderID: orderID, GiveBack: models.RefundPaidTwice}, nil).Once()
		s.OnActivity(steps.OpenRefund, mock.Anything, mock.Anything).Return(models.Refund{Status: status}, nil).Once()
		s.looks(models.Standing{Status: models.OrderPaid})
		s.signal(0, workflows.SignalPaymentNotified, payment)
		s.run()
	}
}

func TestOperatorGivesAParkedPaymentBack(t *testing.T) {
	s := newStory(t)
	s.refusesOnce(models.CodeChooseNotFound)
	s.givesBackOnce(payment, models.RefundRefused)
	s.looks(models.Standing{Status: models.OrderClosed})
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.signal(time.Hour, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionRefund, Note: "the course is gone"})
	s.run()
	require.Equal(t, models.OrderClosed, s.state().OrderStatus)
	require.Empty(t, s.state().NeedsHelp)
}

func TestRefundThatTheBooksRefuseIsParkedAgain(t *testing.T) {
	s := newStory(t)
	s.refusesOnce(models.CodeTradeDiffers)
	s.OnActivity(steps.OpenRefund, mock.Anything, mock.Anything).Return(models.Refund{},
		temporal.NewNonRetryableApplicationError("另一笔交易", string(models.CodeTradeDiffers), nil)).Once()
	s.parks(payNo)
	s.looks(models.Standing{Status: models.OrderPaid})
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.signal(time.Hour, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionRefund})
	s.RegisterDelayedCallback(func() {
		require.Equal(t, "另一笔交易", s.state().NeedsHelp)
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose})
	}, 2*time.Hour)
	s.run()
}

// What an operator types wrong must not hold up the payment of somebody else.
func TestSignalThatNobodyUnderstandsHoldsUpNothing(t *testing.T) {
	for _, wrong := range []any{"retry", 7, []string{"retry"}, map[string]any{"action": "retry", "payNo": 200}, map[string]any{"payNo": "x"}} {
		s := newStory(t)
		s.offers()
		s.watchFor(3*time.Hour, nil)
		s.settlesOnce()
		s.ask(0, workflows.UpdateRequestPayment, request)
		s.signal(time.Minute, workflows.SignalOperator, wrong)
		s.signal(time.Minute, workflows.SignalPaymentNotified, "T1")
		s.signal(2*time.Minute, workflows.SignalPaymentNotified, payment)
		s.run()
		require.Equal(t, models.OrderPaid, s.state().OrderStatus, wrong)
	}
}

func TestWatchThatBeginsWhileAPaymentIsParkedIsHeard(t *testing.T) {
	odd := models.Payment{PayNo: 199, TradeNo: "T0", Amount: 2}
	s := newStory(t)
	s.OnActivity(steps.Settle, mock.Anything, odd).Return(models.Settlement{},
		temporal.NewNonRetryableApplicationError("odd", string(models.CodeAmountDiffers), nil)).Once()
	s.parks(odd.PayNo)
	s.offers()
	s.watchFor(10*time.Second, &payment)
	s.settlesOnce()
	s.looks(models.Standing{Status: models.OrderPaid})
	s.signal(0, workflows.SignalPaymentNotified, odd)
	s.ask(time.Minute, workflows.UpdateRequestPayment, request)
	s.RegisterDelayedCallback(func() {
		require.Equal(t, models.OrderPaid, s.state().OrderStatus)
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose})
	}, time.Hour)
	s.run()
}

// The same command sent twice, and nobody named: with two payments parked it could hit both.
func TestDecisionThatCouldMeanTwoPaymentsDecidesNothing(t *testing.T) {
	s := newStory(t)
	for i, p := range []models.Payment{{PayNo: 198, TradeNo: "T8", Amount: 2}, {PayNo: 199, TradeNo: "T9", Amount: 2}} {
		s.OnActivity(steps.Settle, mock.Anything, p).Return(models.Settlement{},
			temporal.NewNonRetryableApplicationError("odd", string(models.CodeAmountDiffers), nil)).Once()
		s.parks(p.PayNo)
		s.looks(models.Standing{Status: models.OrderClosed})
		s.signal(0, workflows.SignalPaymentNotified, p)
		s.signal(time.Minute, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionRefund})
		s.signal(time.Duration(2+i)*time.Hour, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose, PayNo: p.PayNo})
	}
	s.run()
	require.Empty(t, s.state().NeedsHelp)
}

// A payment that an operator has dealt with by hand is told again while a new code is out: that one stays.
func TestPaymentThatWasDealtWithByHandEndsNothing(t *testing.T) {
	second := models.Payment{PayNo: 201, TradeNo: "T2", Amount: 1_00}
	s := newStory(t)
	s.OnActivity(steps.Settle, mock.Anything, payment).
		Return(models.Settlement{OrderID: orderID, Status: models.OrderUnpaid, ByHand: true}, nil).Once()
	s.looks(models.Standing{Status: models.OrderUnpaid, Payable: true})
	s.watchFor(time.Hour, nil)
	s.OnActivity(steps.Settle, mock.Anything, second).Return(models.Settlement{OrderID: orderID, Status: models.OrderPaid}, nil).Once()
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.signal(time.Minute, workflows.SignalPaymentNotified, second)
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

// An operator's command arrives while the books are just refusing a payment that nobody has seen yet.
func TestDecisionOfBeforeThePaymentWasParkedDecidesNothing(t *testing.T) {
	s := newStory(t)
	s.OnActivity(steps.Settle, mock.Anything, payment).Return(models.Settlement{},
		temporal.NewNonRetryableApplicationError("odd", string(models.CodeAmountDiffers), nil)).After(2 * time.Second).Once()
	s.parks(payNo)
	s.looks(models.Standing{Status: models.OrderClosed})
	s.signal(0, workflows.SignalPaymentNotified, payment)
	s.signal(time.Second, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose})
	waited := false
	s.RegisterDelayedCallback(func() {
		waited = true
		require.NotEmpty(t, s.state().NeedsHelp)
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose})
	}, time.Hour)
	s.run()
	require.True(t, waited)
}

// The story waits for an operator when a request finds a page that an earlier run had left open.
func TestPagesLeftOpenAreWatchedWhileAPaymentIsParked(t *testing.T) {
	odd := models.Payment{PayNo: 199, TradeNo: "T0", Amount: 2}
	s := newStory(t)
	s.OnActivity(steps.Settle, mock.Anything, odd).Return(models.Settlement{},
		temporal.NewNonRetryableApplicationError("odd", string(models.CodeAmountDiffers), nil)).Once()
	s.parks(odd.PayNo)
	s.OnActivity(steps.CreateAttempt, mock.Anything, mock.Anything).
		Return(models.PayCode{OrderID: orderID, Opened: []models.ID{payNo}}, nil).Once()
	s.OnActivity(steps.CloseAttempt, mock.Anything, payNo).Return(activities.Closing{}, errors.New("Alipay is down"))
	s.watchFor(time.Minute, &payment)
	s.settlesOnce()
	s.looks(models.Standing{Status: models.OrderPaid})
	s.signal(0, workflows.SignalPaymentNotified, odd)
	s.ask(time.Minute, workflows.UpdateRequestPayment, request)
	waited := false
	s.RegisterDelayedCallback(func() {
		waited = true
		require.Equal(t, models.OrderPaid, s.state().OrderStatus)
		s.SignalWorkflow(workflows.SignalOperator, workflows.Operator{Action: workflows.ActionClose})
	}, time.Hour)
	s.run()
	require.True(t, waited)
}

// A story that was ended by hand while a payment was parked: the decision starts it again, and finds the payment.
func TestDecisionAboutWhatAnEarlierRunHadParked(t *testing.T) {
	s := newStory(t)
	order := orderID
	s.left = []models.Attention{{OrderID: &order, PayNo: payNo, TradeNo: payment.TradeNo, Amount: payment.Amount, Reason: "odd"}}
	s.OnActivity(steps.Decide, mock.Anything, mock.Anything).Return(nil).Once()
	s.givesBackOnce(payment, models.RefundRefused)
	s.looks(models.Standing{Status: models.OrderClosed})
	s.signal(0, workflows.SignalOperator, workflows.Operator{Action: workflows.ActionRefund})
	s.run()
	require.Equal(t, models.OrderClosed, s.state().OrderStatus)
}

func (s *story) cancelsOnce(became activities.Cancellation) {
	s.OnActivity(steps.CancelOrder, mock.Anything, key).Return(became, nil).Once()
}

func TestCancelledOrder(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(15*time.Minute, nil)
	s.cancelsOnce(activities.Cancellation{Standing: models.Standing{OrderID: orderID, Status: models.OrderClosed}})
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(time.Minute, workflows.SignalCancelOrder, nil)
	s.run()
	require.Equal(t, models.OrderClosed, s.state().OrderStatus)
}

func TestCancellingAnOrderWhoseStoryHadEnded(t *testing.T) {
	s := newStory(t)
	s.cancelsOnce(activities.Cancellation{Standing: models.Standing{OrderID: orderID, Status: models.OrderClosed}})
	s.signal(0, workflows.SignalCancelOrder, nil)
	s.run()
	require.Equal(t, orderID, s.state().OrderID)
	require.Equal(t, models.OrderClosed, s.state().OrderStatus)
}

func TestCancellingFindsThePayment(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(time.Hour, nil)
	s.cancelsOnce(activities.Cancellation{Payment: &payment})
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(time.Minute, workflows.SignalCancelOrder, nil)
	s.signal(time.Minute+time.Second, workflows.SignalPaymentNotified, payment)
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

// The page of a cancelled order may be open still, and then be paid.
func TestCancelledOrderIsWatchedWhileAPageIsOpen(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(10*time.Minute, &payment)
	s.cancelsOnce(activities.Cancellation{Standing: models.Standing{OrderID: orderID, Status: models.OrderClosed, Payable: true}})
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(time.Minute, workflows.SignalCancelOrder, nil)
	s.run()
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestNewCodeAfterCancelling(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(time.Hour, nil)
	s.cancelsOnce(activities.Cancellation{Standing: models.Standing{OrderID: orderID, Status: models.OrderClosed, Payable: true}})
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.signal(time.Minute, workflows.SignalCancelOrder, nil)
	again := s.ask(2*time.Minute, workflows.UpdateRequestPayment, request)
	s.signal(3*time.Minute, workflows.SignalPaymentNotified, payment)
	s.run()
	require.NoError(t, again.err)
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func TestStoryThatIsToldToLookAgain(t *testing.T) {
	s := newStory(t)
	s.looks(models.Standing{Status: models.OrderUnpaid, Payable: true})
	s.watchFor(time.Minute, nil)
	s.looks(models.Standing{Status: models.OrderClosed})
	s.signal(0, workflows.SignalLookAgain, nil)
	s.run()
	require.Equal(t, models.OrderClosed, s.state().OrderStatus)
}

func TestCheckFindsThePayment(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(time.Hour, nil)
	s.OnActivity(steps.AskAlipay, mock.Anything, payNo).
		Return(models.Trade{TradeNo: "T1", Status: models.TradeFinished, Amount: 1_00}, nil).Once()
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	checked := s.ask(time.Minute, workflows.UpdateCheckPayment, payNo)
	s.run()
	require.NoError(t, checked.err)
}

func TestCancellingTheWorkflowLosesNoPayment(t *testing.T) {
	s := newStory(t)
	s.offers()
	s.watchFor(time.Hour, nil)
	s.settlesOnce()
	s.ask(0, workflows.UpdateRequestPayment, request)
	s.RegisterDelayedCallback(s.CancelWorkflow, time.Minute)
	again := s.ask(90*time.Second, workflows.UpdateRequestPayment, request)
	s.signal(2*time.Minute, workflows.SignalPaymentNotified, payment)
	s.run()
	require.NoError(t, again.err)
	require.Equal(t, models.OrderPaid, s.state().OrderStatus)
}

func requireRefused(t *testing.T, err error, want models.Code) {
	t.Helper()
	var refusal *temporal.ApplicationError
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, string(want), refusal.Type())
	require.True(t, refusal.NonRetryable())
}
