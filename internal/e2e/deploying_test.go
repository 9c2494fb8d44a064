package e2e

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"coursepay/activities"
	"coursepay/internal/buyer"
	"coursepay/internal/devstack"
	"coursepay/internal/devstack/devtest"
	"coursepay/internal/mq"
	"coursepay/internal/replay"
	"coursepay/models"
	"coursepay/workflows"
)

// story is the code of a PayOrderWorkflow.
type story = func(workflow.Context, workflows.PayOrderInput) (workflows.State, error)

// noteSale is what the changed story does beside the present one's steps.
func noteSale(context.Context) error { return nil }

const noteSaleActivity = "NoteSale"

// changed is the story with a step more, as somebody would write it who forgets about orders that are open.
func changed(ctx workflow.Context, in workflows.PayOrderInput) (workflows.State, error) {
	noted := workflow.ExecuteActivity(
		workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second}), noteSaleActivity)
	state, err := workflows.PayOrderWorkflow(ctx, in)
	if err != nil {
		return state, err
	}
	return state, noted.Get(ctx, nil)
}

// changedCarefully is the same change as docs/deploying.md wants it.
func changedCarefully(ctx workflow.Context, in workflows.PayOrderInput) (workflows.State, error) {
	if workflow.GetVersion(ctx, "note-sale", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return workflows.PayOrderWorkflow(ctx, in)
	}
	return changed(ctx, in)
}

// changedBack rolls the change back without stopping those who took its step.
func changedBack(ctx workflow.Context, in workflows.PayOrderInput) (workflows.State, error) {
	if workflow.GetVersion(ctx, "note-sale", workflow.DefaultVersion, 2) == 1 {
		return changed(ctx, in)
	}
	return workflows.PayOrderWorkflow(ctx, in)
}

// changedForGood is what is left of the change when no order goes the old way any more.
func changedForGood(ctx workflow.Context, in workflows.PayOrderInput) (workflows.State, error) {
	workflow.GetVersion(ctx, "note-sale", 1, 1)
	return changed(ctx, in)
}

// An order is open, and another one is parked, while a changed worker takes over. Both end as they began; an order that
// begins afterwards goes the new way.
func TestDeployingAChangeWhileOrdersAreOpen(t *testing.T) {
	t.Parallel()
	s := openDeployment(t)
	early, record := s.codeFor("early")
	stuck := s.stuck("stuck")
	s.settled(workflowOf(early))
	fits, err := replay.Folder(os.DirFS(s.fetchOpen()), codeWith(changedCarefully))
	require.NoError(t, err)
	require.Equal(t, 2, fits)

	s.deploy(changedCarefully)
	late, lateRecord := s.codeFor("late")
	s.lists(1, `TemporalChangeVersion="note-sale-1"`)
	s.lists(2, `ExecutionStatus="Running" AND WorkflowType="PayOrderWorkflow" AND TemporalChangeVersion IS NULL`)
	s.pay(record)
	s.pay(lateRecord)
	s.find("stuck")
	s.say(workflowOf(stuck), workflows.ActionRetry)
	for _, choice := range []buyer.Choice{early, stuck, late} {
		s.closed(workflowOf(choice))
	}
	s.eventually(3, `select count(*) from xc_course_tables`)
	const noted = "ActivityTaskScheduled " + noteSaleActivity
	require.Contains(t, deeds(s.history(workflowOf(late))), noted)
	require.NotContains(t, deeds(s.history(workflowOf(early))), noted)
	require.NotContains(t, deeds(s.history(workflowOf(stuck))), noted)
	s.lists(0, `ExecutionStatus="Running" AND WorkflowType="PayOrderWorkflow" AND TemporalChangeVersion IS NULL`)
	s.booksBalance()

	require.NoError(t, s.replay(late, changedBack))
	require.NoError(t, s.replay(early, changedBack))
	require.Error(t, s.replay(late, workflows.PayOrderWorkflow), "it took the new step")
	require.NoError(t, s.replay(late, changedForGood))
	require.Error(t, s.replay(early, changedForGood), "it had to end first")
}

// The same change without GetVersion: replaying the open order's history tells before it is deployed. Deployed all the
// same, it stops the order, though its payment is kept; rolling back lets it go on.
func TestDeployingAChangeThatStallsOpenOrders(t *testing.T) {
	t.Parallel()
	s := openDeployment(t)
	early, record := s.codeFor("early")
	s.settled(workflowOf(early))
	_, err := replay.Folder(os.DirFS(s.fetchOpen()), codeWith(changed))
	require.ErrorContains(t, err, workflowOf(early)+".json: [TMPRL1100]", "before it is deployed")

	s.deploy(changed)
	late, lateRecord := s.codeFor("late")
	s.pay(record)
	s.stalls(early)
	require.Equal(t, 1, s.count(`select count(*) from pay_notify where pay_no = $1 and verdict = 'accepted'`, record.PayNo))
	require.Zero(t, s.count(`select count(*) from xc_orders where status = '600002'`))

	s.rollBack()
	s.enrolled("early")
	s.closed(workflowOf(early))

	// What began on the changed worker is as strange to this one, until it begins anew.
	s.pay(lateRecord)
	s.stalls(late)
	s.runbook("Begin anew")
	s.enrolled("late")
	s.closed(workflowOf(late))
	require.Equal(t, 1, s.count(`select count(*) from xc_pay_record where user_id = 'late'`), "the same attempt")
	s.booksBalance()
}

// deployment is a shop whose worker is replaced.
type deployment struct {
	*stage
	began time.Time // when the last worker was deployed
}

func openDeployment(t *testing.T) *deployment {
	return &deployment{stage: &stage{openShop(t, options{}), &archive{}}}
}

func codeWith(told story) map[string]any {
	code := replay.Workflows()
	code[workflows.PayOrder] = told
	return code
}

// replay replays an order's history with a story.
func (s *deployment) replay(choice buyer.Choice, told story) error {
	history := scrubbed(s.t, s.history(workflowOf(choice)))
	_, err := replay.Folder(fstest.MapFS{"order.json": {Data: history}}, codeWith(told))
	return err
}

// deploy stops the worker and starts one with another story.
func (s *deployment) deploy(told story) {
	s.t.Helper()
	s.quit()
	s.began = time.Now()
	log := slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	publisher, err := mq.NewPublisher(s.amqp, slices.Sorted(maps.Values(models.Queues())), log)
	require.NoError(s.t, err)
	_, gateway := s.doorParts(log)
	w := sdkworker.New(s.engine, workflows.TaskQueue, sdkworker.Options{WorkerStopTimeout: 10 * time.Second})
	w.RegisterWorkflowWithOptions(told, workflow.RegisterOptions{Name: workflows.PayOrder})
	w.RegisterWorkflow(workflows.RefundWorkflow)
	w.RegisterActivityWithOptions(noteSale, activity.RegisterOptions{Name: noteSaleActivity})
	w.RegisterActivity(activities.New(s.store, activities.Config{
		Gateway: gateway, PublicURL: s.api, OrderExpiry: 15 * time.Minute, PollSchedule: []time.Duration{time.Hour},
		Now: time.Now, Logger: log,
		Publish: func(ctx context.Context, id string, body []byte) error {
			return publisher.Publish(ctx, mq.Message{ID: id, Body: body})
		},
	}))
	require.NoError(s.t, w.Start())
	s.quit = func() {
		w.Stop()
		_ = publisher.Close()
	}
}

// rollBack stops the worker and starts the present one.
func (s *deployment) rollBack() {
	s.quit()
	s.quit = s.work()
}

// stalls waits until an order's workflow has met a worker whose code does not fit its history.
func (s *deployment) stalls(choice buyer.Choice) {
	s.t.Helper()
	require.True(s.t, waitFor(func() bool {
		for _, e := range s.history(workflowOf(choice)).GetEvents() {
			if e.GetWorkflowTaskFailedEventAttributes().GetCause() == enums.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR {
				return true
			}
		}
		return false
	}), "the order goes on")
}

// fetchOpen fetches the histories of everything that is open, as docs/deploying.md says, and returns the folder.
func (s *deployment) fetchOpen() string {
	s.t.Helper()
	return filepath.Join(s.runbook("Fetch the histories"), "histories")
}

// lists waits until that many workflows answer the query: what can be listed is a moment late.
func (s *deployment) lists(want int, query string) {
	s.t.Helper()
	var got int64
	require.True(s.t, waitFor(func() bool {
		answer, err := s.engine.CountWorkflow(s.t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		require.NoError(s.t, err)
		got = answer.GetCount()
		return got == int64(want)
	}), "%s: got %d, want %d", query, got, want)
}

// runbook runs the commands under that heading of docs/deploying.md in an empty folder, and returns it.
func (s *deployment) runbook(heading string) string {
	s.t.Helper()
	page, err := os.ReadFile("../../docs/deploying.md")
	require.NoError(s.t, err)
	_, section, found := strings.Cut(string(page), "\n### "+heading+"\n")
	require.True(s.t, found, heading)
	_, section, _ = strings.Cut(section, "```sh\n")
	commands, _, _ := strings.Cut(section, "```")

	tool, err := devstack.EnsureTool(s.t.Context(), devstack.TemporalCLI, s.t.Output())
	require.NoError(s.t, err)
	address, _ := devtest.Temporal(s.t)
	folder := s.t.TempDir()
	bin := filepath.Join(folder, "bin")
	require.NoError(s.t, os.Mkdir(bin, 0o755))
	require.NoError(s.t, os.Symlink(tool, filepath.Join(bin, "temporal")))
	run := exec.CommandContext(s.t.Context(), "sh", "-e", "-c", commands)
	run.Dir = folder
	run.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+address, "TEMPORAL_NAMESPACE="+s.namespace,
		"DEPLOYED="+s.began.UTC().Format(time.RFC3339Nano), "PATH="+bin+":"+os.Getenv("PATH"))
	output, err := run.CombinedOutput()
	require.NoError(s.t, err, string(output))
	s.t.Logf("%s: %s", heading, output)
	return folder
}
