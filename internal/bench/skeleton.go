package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	ours "coursepay/worker"
)

// The skeleton is what Temporal alone can do on this machine: a workflow with the messages and activities of a promptly
// paid order (an update that comes with the start, one local activity, a timer of 15 minutes, a signal, one regular
// activity), none of which does anything.
const (
	skeletonQueue  = "coursepay-bench-skeleton"
	skeletonUpdate = "request"
	skeletonSignal = "paid"
	skeletonTimer  = 15 * time.Minute
)

func skeletonStory(ctx workflow.Context) error {
	asked := false
	err := workflow.SetUpdateHandler(ctx, skeletonUpdate, func(ctx workflow.Context) error {
		defer func() { asked = true }()
		ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: 8 * time.Second})
		return workflow.ExecuteLocalActivity(ctx, doNothing).Get(ctx, nil)
	})
	if err != nil {
		return err
	}
	if err := workflow.Await(ctx, func() bool { return asked }); err != nil {
		return err
	}
	waiting, stopWaiting := workflow.WithCancel(ctx)
	news := workflow.NewSelector(ctx)
	news.AddFuture(workflow.NewTimer(waiting, skeletonTimer), func(workflow.Future) {})
	news.AddReceive(workflow.GetSignalChannel(ctx, skeletonSignal), func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil) })
	news.Select(ctx)
	stopWaiting()
	step := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 30 * time.Second})
	return workflow.ExecuteActivity(step, "settle").Get(step, nil)
}

func doNothing(context.Context) error { return nil }

// skeleton runs passes of the bare workflow, with a worker of its own in this process.
type skeleton struct {
	client client.Client
	worker worker.Worker
	run    string

	mu   sync.Mutex
	done map[string]chan time.Time // by workflow id
}

// newSkeleton starts the worker. caller and forWorker are two connections, as the API and our worker have.
func newSkeleton(caller, forWorker client.Client, run string) (*skeleton, error) {
	s := &skeleton{client: caller, run: run, done: map[string]chan time.Time{}}
	s.worker = worker.New(forWorker, skeletonQueue, ours.Options())
	s.worker.RegisterWorkflowWithOptions(skeletonStory, workflow.RegisterOptions{Name: "BenchSkeleton"})
	s.worker.RegisterActivityWithOptions(s.settle, activity.RegisterOptions{Name: "settle"})
	if err := s.worker.Start(); err != nil {
		return nil, fmt.Errorf("start the skeleton's worker: %w", err)
	}
	return s, nil
}

// settle notes when the step after the signal has run.
func (s *skeleton) settle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := activity.GetInfo(ctx).WorkflowExecution.ID
	if done, waiting := s.done[id]; waiting {
		delete(s.done, id)
		done <- time.Now()
	}
	return nil
}

// pass is one trip through the skeleton.
func (s *skeleton) pass(ctx context.Context, name string) (passed, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id := "bench-skeleton-" + s.run + "-" + name
	done := make(chan time.Time, 1)
	s.mu.Lock()
	s.done[id] = done
	s.mu.Unlock()
	began := time.Now()
	if err := s.request(ctx, id); err != nil {
		return passed{}, fmt.Errorf("skeleton: start and update: %w", err)
	}
	answered := time.Now()
	if err := s.client.SignalWorkflow(ctx, id, "", skeletonSignal, nil); err != nil {
		return passed{}, fmt.Errorf("skeleton: signal: %w", err)
	}
	select {
	case settled := <-done:
		return passed{workflowID: id, creation: answered.Sub(began), settling: settled.Sub(answered)}, nil
	case <-ctx.Done():
		return passed{}, fmt.Errorf("skeleton: %s is not done after %s: %w", id, patience, ctx.Err())
	}
}

func (s *skeleton) request(ctx context.Context, id string) error {
	start := s.client.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
		ID: id, TaskQueue: skeletonQueue, WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
	}, "BenchSkeleton")
	update, err := s.client.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: start,
		UpdateOptions: client.UpdateWorkflowOptions{
			UpdateID: uuid.NewString(), UpdateName: skeletonUpdate, WaitForStage: client.WorkflowUpdateStageCompleted,
		},
	})
	if err != nil {
		return err
	}
	return update.Get(ctx, nil)
}

func (s *skeleton) close() { s.worker.Stop() }
