package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"coursepay/internal/devstack/devtest"
	"coursepay/worker"
	"coursepay/workflows"
)

func dial(t *testing.T) client.Client {
	t.Helper()
	address, namespace := devtest.Temporal(t)
	c, err := client.Dial(client.Options{HostPort: address, Namespace: namespace})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// Red: a schedule that is there already counted as a failure; its settings never looked at; its pause undone.
func TestSchedulesAreMadeOnceAndKeptUpToDate(t *testing.T) {
	t.Parallel()
	c := dial(t)
	sweep := c.ScheduleClient().GetHandle(t.Context(), worker.SweepSchedule)
	bill := c.ScheduleClient().GetHandle(t.Context(), worker.BillSchedule)
	t.Cleanup(func() { _, _ = sweep.Delete(context.Background()), bill.Delete(context.Background()) })
	ensure := func(s worker.Schedules) {
		t.Helper()
		require.NoError(t, worker.EnsureSchedules(t.Context(), c, "q", s))
	}
	describe := func(h client.ScheduleHandle) *client.ScheduleDescription {
		t.Helper()
		d, err := h.Describe(t.Context())
		require.NoError(t, err)
		return d
	}

	ensure(worker.Schedules{Off: true})
	_, err := sweep.Describe(t.Context())
	require.Error(t, err)

	ensure(worker.Schedules{})
	first := describe(sweep)
	require.Equal(t, 10*time.Minute, first.Schedule.Spec.Intervals[0].Every)
	require.Equal(t, enums.SCHEDULE_OVERLAP_POLICY_SKIP, first.Schedule.Policy.Overlap)
	require.Equal(t, 10*time.Minute, first.Schedule.Policy.CatchupWindow)
	daily := describe(bill)
	require.Equal(t, 24*time.Hour, daily.Schedule.Policy.CatchupWindow)
	for _, at := range daily.Info.NextActionTimes {
		require.Equal(t, "10:00:00", at.In(time.FixedZone("China", 8*60*60)).Format(time.TimeOnly))
	}
	require.Equal(t, workflows.ReconcileInput{Bill: true}, input(t, daily))

	require.NoError(t, sweep.Pause(t.Context(), client.SchedulePauseOptions{Note: "we are looking into something"}))
	paused := describe(sweep)
	ensure(worker.Schedules{})
	require.Equal(t, paused.Info.LastUpdateAt, describe(sweep).Info.LastUpdateAt, "nothing to change")
	ensure(worker.Schedules{SweepEvery: time.Hour})
	changed := describe(sweep)
	require.Equal(t, time.Hour, changed.Schedule.Spec.Intervals[0].Every)
	require.Equal(t, time.Hour, changed.Schedule.Policy.CatchupWindow)
	require.True(t, changed.Schedule.State.Paused)
	require.Equal(t, "we are looking into something", changed.Schedule.State.Note)
	require.Equal(t, workflows.ReconcileInput{Sweep: true}, input(t, changed))
}

func input(t *testing.T, d *client.ScheduleDescription) (in workflows.ReconcileInput) {
	t.Helper()
	action := d.Schedule.Action.(*client.ScheduleWorkflowAction)
	require.Equal(t, workflows.Reconcile, action.Workflow)
	require.Len(t, action.Args, 1)
	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(action.Args[0].(*commonpb.Payload), &in))
	return in
}
