package replay_test

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"

	"coursepay/internal/replay"
	coursepay "coursepay/worker"
)

const kept = "testdata/histories"

// Every ending that there has been is still told as it was. HISTORIES names another folder, for instance with histories
// of orders that are open in production.
func TestReplay(t *testing.T) {
	t.Parallel()
	folder := kept
	if other := os.Getenv("HISTORIES"); other != "" {
		folder = other
	}
	n, err := replay.Folder(os.DirFS(folder), replay.Workflows())
	require.NoError(t, err, "orders that are open would stall under this code: what changes the commands of a workflow goes "+
		"behind workflow.GetVersion, see docs/deploying.md")
	t.Logf("%d histories", n)
}

var variant = regexp.MustCompile(`(\.[0-9]+)?\.json$`)

func TestEveryEndingIsKept(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir(kept)
	require.NoError(t, err)
	there := map[string]bool{}
	for _, f := range files {
		there[variant.ReplaceAllString(f.Name(), "")] = true
	}
	require.ElementsMatch(t, replay.Endings, slices.Collect(maps.Keys(there)),
		"UPDATE=1 go test ./internal/e2e -run TestHistories saves what is missing")
}

var machine = regexp.MustCompile(`[0-9]+@|/(root|home|work|usr|tmp|go)/|stackTrace|data:image|BEGIN [A-Z ]*KEY`)

func TestHistoriesTellNothingOfTheMachine(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir(kept)
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(kept + "/" + f.Name())
		require.NoError(t, err)
		require.NotRegexp(t, machine, string(text), f.Name())
		require.NotContains(t, string(text), `"`+host, f.Name())
	}
}

func TestWhatIsNoHistoryIsSaid(t *testing.T) {
	t.Parallel()
	_, err := replay.Folder(fstest.MapFS{}, replay.Workflows())
	require.ErrorIs(t, err, replay.ErrNoHistories)
	for name, text := range map[string]string{
		"empty.json": "", "none.json": `{"events":[]}`, "other.json": `[1]`,
		"headless.json": `{"events":[{"eventId":"1","eventType":"EVENT_TYPE_WORKFLOW_TASK_SCHEDULED"}]}`,
	} {
		_, err := replay.Folder(fstest.MapFS{name: {Data: []byte(text)}}, replay.Workflows())
		require.ErrorContains(t, err, name)
	}

	begun := `{"events":[{"eventId":"1","eventType":"EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
		"workflowExecutionStartedEventAttributes":{"workflowType":{"name":"PayOrderWorkflow"}}}]}`
	_, err = replay.Folder(fstest.MapFS{"begun.json": {Data: []byte(begun)}}, replay.Workflows())
	require.NoError(t, err, "no worker has seen it yet")
}

// What a worker runs and what is replayed are the same.
func TestEveryWorkflowIsReplayed(t *testing.T) {
	t.Parallel()
	var registered registry
	coursepay.Register(&registered, nil, nil)
	require.ElementsMatch(t, registered.names, slices.Collect(maps.Keys(replay.Workflows())))
}

// registry notes the workflows that are registered.
type registry struct {
	worker.Registry
	names []string
}

func (r *registry) RegisterWorkflow(fn any) { r.names = append(r.names, functionName(fn)) }
func (r *registry) RegisterActivity(any)    {}

func functionName(fn any) string {
	name := runtime.FuncForPC(reflect.ValueOf(fn).Pointer()).Name()
	return name[strings.LastIndex(name, ".")+1:]
}
