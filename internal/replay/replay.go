// Package replay runs the present workflows over recorded histories. A worker does the same with every order that is
// open when it starts: it runs the workflow's code from the beginning, and what the code does has to be what the
// history says. If it is not, the order stalls until code comes that does fit. So this is to be known before a worker
// is deployed, not after: docs/deploying.md.
package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"coursepay/workflows"
)

// ErrNoHistories says that a folder holds no history.
var ErrNoHistories = errors.New("no histories (*.json) here")

// Workflows is what is replayed: for each workflow type, its present code.
func Workflows() map[string]any {
	return map[string]any{
		workflows.PayOrder:  workflows.PayOrderWorkflow,
		workflows.Refund:    workflows.RefundWorkflow,
		workflows.Reconcile: workflows.ReconcileWorkflow,
	}
}

// Folder replays every history of a folder with this code, and returns how many there are. A history is a JSON file as
// `temporal workflow show --output json` writes it. The error names each one that does not fit, and why.
func Folder(histories fs.FS, code map[string]any) (int, error) {
	names, err := fs.Glob(histories, "*.json")
	if err != nil {
		return 0, err
	}
	if len(names) == 0 {
		return 0, ErrNoHistories
	}
	replayer := worker.NewWorkflowReplayer()
	for name, fn := range code {
		replayer.RegisterWorkflowWithOptions(fn, workflow.RegisterOptions{Name: name})
	}
	var faults []error
	for _, name := range names {
		if err := file(replayer, histories, name); err != nil {
			faults = append(faults, fmt.Errorf("%s: %s", name, brief(err)))
		}
	}
	return len(names), errors.Join(faults...)
}

// shortest is how many events a history has when a worker has taken it up. There is nothing to replay in less.
const shortest = 3

func file(replayer worker.WorkflowReplayer, histories fs.FS, name string) error {
	history, err := Read(histories, name)
	if err != nil {
		return err
	}
	if len(history.GetEvents()) < shortest {
		return nil
	}
	quiet := log.NewStructuredLogger(slog.New(slog.DiscardHandler)) // the error says it all
	started := history.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes()
	return replayer.ReplayWorkflowHistoryWithOptions(quiet, history, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()},
	})
}

// brief leaves out the event's contents, which Temporal's errors spell out.
func brief(err error) string {
	text, _, _ := strings.Cut(err.Error(), ", Version:")
	text, _, _ = strings.Cut(text, ", EventGroupMarkers:")
	text, _, _ = strings.Cut(text, ", Details:")
	return text
}

// Read reads one history.
func Read(histories fs.FS, name string) (*historypb.History, error) {
	text, err := fs.ReadFile(histories, name)
	if err != nil {
		return nil, err
	}
	history, err := client.HistoryFromJSON(bytes.NewReader(text), client.HistoryJSONOptions{})
	if err != nil {
		return nil, fmt.Errorf("this is no history: %w", err)
	}
	if len(history.GetEvents()) == 0 || history.GetEvents()[0].GetWorkflowExecutionStartedEventAttributes() == nil {
		return nil, errors.New("this is no history: it does not begin with a start")
	}
	return history, nil
}
