package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"coursepay/workflows"
)

// The ids of the schedules, as operators know them.
const (
	SweepSchedule = "reconcile-sweep"
	BillSchedule  = "reconcile-bill"
)

// Schedules says when reconciliation runs by itself. The zero value is the usual: a sweep every ten minutes, and
// yesterday's bill at 10:00 in China.
type Schedules struct {
	Off        bool
	SweepEvery time.Duration // 0 is ten minutes
}

// memoVersion names a schedule's settings in its memo, so that a worker with other ones knows to change it.
const memoVersion = "coursepay-schedule"

// schedule is one that the worker keeps.
type schedule struct {
	id      string
	summary string
	spec    client.ScheduleSpec
	// caughtUp is how late a run may start that was missed while Temporal was down.
	caughtUp time.Duration
	input    workflows.ReconcileInput
}

func (s Schedules) all() []schedule {
	every := s.SweepEvery
	if every == 0 {
		every = 10 * time.Minute
	}
	return []schedule{
		{
			id: SweepSchedule, summary: "清扫 · sweep", caughtUp: every, input: workflows.ReconcileInput{Sweep: true},
			spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: every}}},
		},
		{
			// A bill is ready at about 9 in China, which is 8 hours ahead of UTC all year.
			id: BillSchedule, summary: "对账 · yesterday's bill", caughtUp: 24 * time.Hour, input: workflows.ReconcileInput{Bill: true},
			spec: client.ScheduleSpec{Calendars: []client.ScheduleCalendarSpec{{Hour: []client.ScheduleRange{{Start: 2}}}}},
		},
	}
}

// keepSchedules makes the schedules, or brings them up to date, and tries until it has worked or ctx ends: orders are
// worked on meanwhile.
func keepSchedules(ctx context.Context, cfg Config) {
	pause := time.Second
	for {
		err := EnsureSchedules(ctx, cfg.Temporal, cfg.TaskQueue, cfg.Schedules)
		if err == nil || ctx.Err() != nil {
			return
		}
		cfg.Logger.WarnContext(ctx, "reconciliation is not scheduled yet", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, time.Minute)
		}
	}
}

// EnsureSchedules makes the schedules where they are missing, and changes those whose settings are others. A schedule
// that an operator has paused stays paused. Several workers may do so at once.
func EnsureSchedules(ctx context.Context, c client.Client, taskQueue string, s Schedules) error {
	if s.Off {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, wanted := range s.all() {
		if err := wanted.ensure(ctx, c.ScheduleClient(), taskQueue); err != nil {
			return fmt.Errorf("schedule %s: %w", wanted.id, err)
		}
	}
	return nil
}

func (s schedule) ensure(ctx context.Context, schedules client.ScheduleClient, taskQueue string) error {
	action := s.action(taskQueue)
	_, err := schedules.Create(ctx, client.ScheduleOptions{
		ID: s.id, Spec: s.spec, Action: action, Overlap: enums.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: s.caughtUp,
	})
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return err
	}
	return schedules.GetHandle(ctx, s.id).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			is := in.Description.Schedule
			if version(is.Action) == s.version(taskQueue) {
				return nil, temporal.ErrSkipScheduleUpdate
			}
			is.Spec, is.Action = &s.spec, action
			is.Policy = &client.SchedulePolicies{Overlap: enums.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: s.caughtUp}
			return &client.ScheduleUpdate{Schedule: &is}, nil
		},
	})
}

func (s schedule) action(taskQueue string) *client.ScheduleWorkflowAction {
	return &client.ScheduleWorkflowAction{
		ID: s.id, Workflow: workflows.Reconcile, Args: []any{s.input}, TaskQueue: taskQueue, StaticSummary: s.summary,
		Memo: map[string]any{memoVersion: s.version(taskQueue)},
	}
}

// version tells settings apart.
func (s schedule) version(taskQueue string) string {
	return fmt.Sprintf("%+v %s %+v %s", s.spec, s.caughtUp, s.input, taskQueue)
}

// version reads it back from a schedule at the server; empty if it is not ours.
func version(action client.ScheduleAction) (text string) {
	start, ok := action.(*client.ScheduleWorkflowAction)
	if !ok {
		return ""
	}
	payload, ok := start.Memo[memoVersion].(*commonpb.Payload)
	if !ok || converter.GetDefaultDataConverter().FromPayload(payload, &text) != nil {
		return ""
	}
	return text
}
