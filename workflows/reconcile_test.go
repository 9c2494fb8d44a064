package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"coursepay/activities"
	"coursepay/models"
	"coursepay/workflows"
)

var reconciling *activities.Reconciler

// round is one ReconcileWorkflow with time that skips, at half past midnight in China.
type round struct {
	*testsuite.TestWorkflowEnvironment
	t     *testing.T
	needs bool // an operator
}

func newRound(t *testing.T) *round {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	r := &round{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), t: t}
	r.RegisterActivity(activities.NewReconciler(nil, activities.ReconcilerConfig{}))
	r.SetStartTime(time.Date(2026, 11, 22, 16, 30, 0, 0, time.UTC))
	r.OnUpsertTypedSearchAttributes(mock.Anything).Run(func(args mock.Arguments) {
		attributes := args.Get(0).(temporal.SearchAttributes)
		r.needs, _ = attributes.GetBool(workflows.AttrNeedsOperator)
	}).Return(nil).Maybe()
	return r
}

func (r *round) run(in workflows.ReconcileInput) (workflows.Reconciled, error) {
	r.t.Helper()
	r.ExecuteWorkflow(workflows.ReconcileWorkflow, in)
	require.True(r.t, r.IsWorkflowCompleted())
	r.AssertExpectations(r.t)
	if err := r.GetWorkflowError(); err != nil {
		return workflows.Reconciled{}, err
	}
	var done workflows.Reconciled
	require.NoError(r.t, r.GetWorkflowResult(&done))
	return done, nil
}

func TestReconciliationSweepsAndCompares(t *testing.T) {
	r := newRound(t)
	r.OnActivity(reconciling.Sweep, mock.Anything).Return(activities.Swept{Payments: 1}, nil).Once()
	r.OnActivity(reconciling.CompareBill, mock.Anything, "2026-11-22").Return(activities.BillReport{Rows: 3}, nil).Once()
	done, err := r.run(workflows.ReconcileInput{Sweep: true, Bill: true})
	require.NoError(t, err)
	require.Equal(t, 1, done.Sweep.Payments)
	require.Equal(t, 3, done.Bill.Rows)
	require.False(t, r.needs)
}

func TestEachPartRunsAlone(t *testing.T) {
	r := newRound(t)
	r.OnActivity(reconciling.Sweep, mock.Anything).Return(activities.Swept{}, nil).Once()
	done, err := r.run(workflows.ReconcileInput{Sweep: true})
	require.NoError(t, err)
	require.Nil(t, done.Bill)
}

// A run that is made up for after a breakdown is about the day that it was meant for. Red: the day before now.
func TestRunThatIsCaughtUpComparesTheDayItWasMeantFor(t *testing.T) {
	r := newRound(t)
	meant := temporal.NewSearchAttributeKeyTime("TemporalScheduledStartTime")
	require.NoError(t, r.SetTypedSearchAttributesOnStart(temporal.NewSearchAttributes(
		meant.ValueSet(time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)))))
	r.OnActivity(reconciling.CompareBill, mock.Anything, "2026-11-20").Return(activities.BillReport{}, nil).Once()
	_, err := r.run(workflows.ReconcileInput{Bill: true})
	require.NoError(t, err)
}

func TestBillThatIsNotReadyIsWaitedFor(t *testing.T) {
	r := newRound(t)
	notYet := temporal.NewApplicationErrorWithOptions("not yet", "Waiting", temporal.ApplicationErrorOptions{NextRetryDelay: 10 * time.Minute})
	r.OnActivity(reconciling.CompareBill, mock.Anything, "2026-11-22").Return(activities.BillReport{}, notYet).Times(5)
	r.OnActivity(reconciling.CompareBill, mock.Anything, "2026-11-22").Return(activities.BillReport{Rows: 1}, nil).Once()
	done, err := r.run(workflows.ReconcileInput{Bill: true})
	require.NoError(t, err)
	require.Equal(t, 1, done.Bill.Rows)
}

// Red: NeedsOperator not set.
func TestFindingsAskForAnOperator(t *testing.T) {
	r := newRound(t)
	found := []models.Finding{{Kind: models.FindingUnknownTrade, PayNo: "X1"}}
	r.OnActivity(reconciling.CompareBill, mock.Anything, "2026-11-01").
		Return(activities.BillReport{Count: 1, Findings: found}, nil).Once()
	done, err := r.run(workflows.ReconcileInput{Bill: true, Date: "2026-11-01"})
	require.NoError(t, err)
	require.Equal(t, found, done.Bill.Findings)
	require.True(t, r.needs)
}

func TestRefusedBillAsksForAnOperator(t *testing.T) {
	r := newRound(t)
	refused := temporal.NewNonRetryableApplicationError("no bill", string(models.CodeBillRefused), nil)
	r.OnActivity(reconciling.CompareBill, mock.Anything, mock.Anything).Return(activities.BillReport{}, refused).Once()
	_, err := r.run(workflows.ReconcileInput{Bill: true})
	require.Error(t, err)
	require.True(t, r.needs)
}
