package endings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"coursepay/models"
	"coursepay/workflows"
)

// engine does what Temporal's server does for the API: it starts stories, and hands messages to those that run. All of a
// sequence's stories live in one environment, so that they share one time, which skips.
type engine struct {
	*testsuite.TestWorkflowEnvironment
	d *diary

	mu      sync.Mutex
	running []string // ids of the stories that run
	failed  []string // what stories failed with: none may
	asked   int      // updates so far
}

func newEngine(d *diary, start time.Time, do interceptor.WorkerInterceptor) *engine {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(silence{})
	e := &engine{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), d: d}
	e.SetStartTime(start)
	e.SetTestTimeout(2 * time.Minute)
	e.SetDetachedChildWait(false)
	e.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Hour, Interceptors: []interceptor.WorkerInterceptor{do}})
	e.RegisterWorkflowWithOptions(workflows.PayOrderWorkflow, workflow.RegisterOptions{Name: workflows.PayOrder})
	e.RegisterWorkflow(workflows.RefundWorkflow)
	e.SetOnChildWorkflowStartedListener(func(info *workflow.Info, _ workflow.Context, _ converter.EncodedValues) {
		e.began(info.WorkflowExecution.ID)
	})
	e.SetOnChildWorkflowCompletedListener(func(info *workflow.Info, _ converter.EncodedValue, err error) {
		e.ended(info.WorkflowExecution.ID, err)
	})
	return e
}

func (e *engine) began(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.d.note("  story begins: %s", id)
	e.running = append(e.running, id)
}

func (e *engine) ended(id string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.d.note("  story ends: %s", id)
	e.running = slices.DeleteFunc(e.running, func(other string) bool { return other == id })
	if err != nil {
		e.failed = append(e.failed, fmt.Sprintf("%s: %v", id, err))
	}
}

// runs says whether the story runs.
func (e *engine) runs(id string) bool { return slices.Contains(e.stories(), id) }

// stories lists those that run.
func (e *engine) stories() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.running)
}

// start starts a story that does not run.
func (e *engine) start(ctx workflow.Context, id, story string, in any) {
	if e.runs(id) {
		return
	}
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: id, ParentClosePolicy: abandon})
	if err := workflow.ExecuteChildWorkflow(ctx, story, in).GetChildWorkflowExecution().Get(ctx, nil); err != nil {
		e.ended(id, err)
	}
}

// signalWithStart starts the story where it does not run, and tells it something.
func (e *engine) signalWithStart(ctx workflow.Context, in workflows.PayOrderInput, name string, arg any) {
	id := workflows.PayOrderID(in.OrderType, in.OutBusinessID)
	e.start(ctx, id, workflows.PayOrder, in)
	if err := e.SignalWorkflowByID(id, name, arg); err != nil {
		e.ended(id, err)
	}
}

// errNoAnswer is what the API makes of a story that does not answer in time.
var errNoAnswer = errors.New("no answer")

// update asks a story and waits for its answer as long as the API does.
func (e *engine) update(ctx workflow.Context, id, name string, args ...any) (any, error) {
	e.asked++
	call := "answer-" + strconv.Itoa(e.asked)
	var answer any
	err := errNoAnswer
	done := func(result any, failed error) {
		answer, err = result, failed
		e.SignalWorkflow(call, nil) // wakes the world
	}
	refused := e.UpdateWorkflowByID(id, name, call, &testsuite.TestUpdateCallback{
		OnAccept: func() {}, OnReject: func(failed error) { done(nil, failed) }, OnComplete: done,
	}, args...)
	if refused != nil {
		return nil, refused
	}
	waiting := workflow.NewSelector(ctx)
	waiting.AddReceive(workflow.GetSignalChannel(ctx, call), func(workflow.ReceiveChannel, bool) {})
	waiting.AddFuture(workflow.NewTimer(ctx, 10*time.Second), func(workflow.Future) {})
	waiting.Select(ctx)
	return answer, err
}

// silence is a logger.
type silence struct{}

func (silence) Debug(string, ...any) {}
func (silence) Info(string, ...any)  {}
func (silence) Warn(string, ...any)  {}
func (silence) Error(string, ...any) {}

// mishaps is the worker that dies: it stands between the engine and the activities.
type mishaps struct {
	interceptor.WorkerInterceptorBase
	d *diary

	mu    sync.Mutex
	armed []mishap // what strikes the next steps
	steps int      // so far
}

// mishap is how a worker dies.
type mishap int

const (
	answerLost    mishap = iota // the step is done, and nobody hears of it
	notDone                     // the worker dies before it has done anything
	diesAtPublish               // the message is out, and the worker dies before it has noted that
	kindsOfMishap               // how many there are
	noMishap      mishap = -1
	endless       mishap = -2 // the stories go round in circles: they are stopped, and found running at the end
)

const (
	startToClose    = 30 * time.Second // when Temporal notices that a worker has died
	longestUnlooked = 15 * time.Second // see lookSooner
	mostSteps       = 500              // of a sequence; its stories need some 40
)

func (m *mishaps) arm(how mishap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = append(m.armed, how)
}

// take takes the next mishap, if there is one, for the step that begins.
func (m *mishaps) take() mishap {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps++
	if m.steps > mostSteps {
		return endless
	}
	if len(m.armed) == 0 {
		return noMishap
	}
	how := m.armed[0]
	m.armed = m.armed[1:]
	return how
}

// mishapKey is where a step's context holds its mishap.
type mishapKey struct{}

// atPublish says whether the worker dies now that its message is out.
func atPublish(ctx context.Context) error {
	if ctx.Value(mishapKey{}) == diesAtPublish {
		return errDied
	}
	return nil
}

var errDied = errors.New("the worker died")

// death is what Temporal makes of it.
func death(local bool) error {
	if local {
		return errDied // the workflow task is run again at once, elsewhere
	}
	return temporal.NewApplicationErrorWithOptions(errDied.Error(), "Died", temporal.ApplicationErrorOptions{NextRetryDelay: startToClose})
}

// step runs one activity, with or without a mishap.
func (m *mishaps) step(ctx context.Context, run func(context.Context) (any, error)) (any, error) {
	info, how := activity.GetInfo(ctx), m.take()
	name := info.ActivityType.Name
	if how == endless {
		return nil, temporal.NewApplicationErrorWithOptions("goes round in circles", "Endless", temporal.ApplicationErrorOptions{NextRetryDelay: 1000 * time.Hour})
	}
	if how == notDone && name != workflows.WatchActivity {
		m.d.note("  %s dies before it has done anything", name)
		return nil, death(info.IsLocalActivity)
	}
	result, err := run(context.WithValue(ctx, mishapKey{}, how))
	if name == workflows.WatchActivity && err != nil {
		if how != noMishap {
			m.arm(how) // a look that found nothing has no answer to lose
		}
		return nil, lookSooner(err)
	}
	m.d.note("  %s: %s", name, outcome(result, err))
	if how != noMishap {
		m.d.note("  %s dies, and nobody hears of what it did", name)
		return nil, death(info.IsLocalActivity)
	}
	return result, err
}

// lookSooner stands for the API, which resets the watch when a page is opened: here the watch never sleeps for long.
func lookSooner(err error) error {
	waiting, ok := errors.AsType[*temporal.ApplicationError](err)
	if !ok || waiting.NextRetryDelay() <= longestUnlooked {
		return err
	}
	return temporal.NewApplicationErrorWithOptions(waiting.Message(), waiting.Type(), temporal.ApplicationErrorOptions{NextRetryDelay: longestUnlooked})
}

// outcome is what a step came to, in one line.
func outcome(result any, err error) string {
	if err != nil {
		return "failed: " + err.Error()
	}
	if local, ok := result.(*common.Payloads); ok {
		result = strings.Join(converter.GetDefaultDataConverter().ToStrings(local), ", ")
	}
	if payment, ok := result.(*models.Payment); ok && payment != nil {
		result = *payment
	}
	text := fmt.Sprintf("%+v", result)
	if before, _, code := strings.Cut(text, `,"qrcode"`); code {
		return before
	}
	return text
}

func (m *mishaps) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &inbound{ActivityInboundInterceptorBase: interceptor.ActivityInboundInterceptorBase{Next: next}, m: m}
}

type inbound struct {
	interceptor.ActivityInboundInterceptorBase
	m *mishaps
}

func (i *inbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	return i.m.step(ctx, func(ctx context.Context) (any, error) { return i.Next.ExecuteActivity(ctx, in) })
}

func (m *mishaps) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &patience{interceptor.WorkflowInboundInterceptorBase{Next: next}}
}

// patience undoes a limit of the test environment: it ends retries after ten, where a server has no end.
type patience struct {
	interceptor.WorkflowInboundInterceptorBase
}

func (p *patience) Init(out interceptor.WorkflowOutboundInterceptor) error {
	return p.Next.Init(&patientCalls{interceptor.WorkflowOutboundInterceptorBase{Next: out}})
}

type patientCalls struct {
	interceptor.WorkflowOutboundInterceptorBase
}

func (p *patientCalls) ExecuteActivity(ctx workflow.Context, name string, args ...any) workflow.Future {
	var policy temporal.RetryPolicy
	if given := workflow.GetActivityOptions(ctx).RetryPolicy; given != nil {
		policy = *given
	}
	policy.MaximumAttempts = 1_000_000
	return p.Next.ExecuteActivity(workflow.WithRetryPolicy(ctx, policy), name, args...)
}
