package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

// The instrument itself: a short run ends well, and what is then broken behind the shop's back is found, by the audit and
// from the buyer's side. Red: a check that finds nothing whatever happens.
func TestChaosFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	r, err := open(t.Context(), Options{
		Orders: 12, Seed: 4, Length: 12 * time.Second, Expiry: 12 * time.Second, Patience: 4 * time.Minute, Dir: t.TempDir(),
		Binary: devtest.Binary(t), Progress: t.Output(),
	})
	t.Cleanup(func() {
		if r != nil {
			require.NoError(t, r.close(true))
		}
	})
	require.NoError(t, err)
	require.NoError(t, r.disturb(t.Context()))
	settled, err := r.calmDown(t.Context())
	require.NoError(t, err)
	report, err := r.judge(t.Context(), settled)
	require.NoError(t, err)
	require.Empty(t, report.Findings)
	require.False(t, report.Failed())
	require.Len(t, r.plan.Customers, 12)
	require.NotEmpty(t, report.Faults)
	require.Positive(t, report.Endings["order 600002 paid"])

	robbed := r.rob(t)
	report, err = r.judge(t.Context(), settled)
	require.NoError(t, err)
	require.True(t, report.Failed())
	checks := map[string]string{}
	for _, f := range report.Findings {
		checks[f.Check] = f.User
	}
	require.Contains(t, checks, "audit course-delivered")
	require.Equal(t, robbed, checks["paid-for-nothing"])
	var told bytes.Buffer
	require.NoError(t, report.Print(&told))
	require.NotEmpty(t, report.Stories)
	require.Contains(t, told.String(), "the story of order "+report.Stories[0].OrderID, "the folder may be gone when somebody reads this")
	require.Contains(t, told.String(), "WorkflowExecutionStarted")
	require.Regexp(t, `(?m)^  attempts +\{"`, told.String())
	require.Contains(t, told.String(), "again: coursepay chaos --orders 12 --seed 4 --minutes 0.2 --replicas 2")
}

// rob takes a course that was paid from its learner.
func (r *run) rob(t *testing.T) (user string) {
	t.Helper()
	require.NoError(t, r.db.QueryRowContext(t.Context(), `
		delete from xc_course_tables where id = (
		    select t.id from xc_course_tables t join xc_orders o on o.out_business_id = t.choose_course_id::text
		    where o.status = '600002' limit 1
		) returning user_id`).Scan(&user))
	return user
}

// A run that is interrupted ends what it has started.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	dir := t.TempDir()
	_, err := Run(ctx, Options{
		Orders: 1, Seed: 1, Length: time.Hour, Dir: dir, Binary: devtest.Binary(t), Progress: interruptWhen("orders", interrupt),
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, processesIn(t, dir))
}

// interrupting calls interrupt once a text has been written to it.
type interrupting struct {
	text string
	do   func()
}

func interruptWhen(text string, do func()) *interrupting { return &interrupting{text, do} }

func (i *interrupting) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(i.text)) {
		i.do()
	}
	return len(p), nil
}

func TestPlanFollowsTheSeed(t *testing.T) {
	t.Parallel()
	asJSON := func(p Plan) string {
		text, err := json.Marshal(p)
		require.NoError(t, err)
		return string(text)
	}
	first := NewPlan(1, 50, 3*time.Minute, 2)
	require.Equal(t, asJSON(first), asJSON(NewPlan(1, 50, 3*time.Minute, 2)))
	require.NotEqual(t, asJSON(first), asJSON(NewPlan(2, 50, 3*time.Minute, 2)))
}

// Given time, everything that can go wrong does, and every customer's deed is seen.
func TestPlanHasEverything(t *testing.T) {
	t.Parallel()
	plan := NewPlan(1, 300, 10*time.Minute, 1)
	for _, want := range newDeck() {
		require.True(t, slices.ContainsFunc(plan.Steps, func(s Step) bool { return s.Kind == want.Kind && s.Target == want.Target }), "%v", want)
	}
	for _, deed := range deeds {
		require.True(t, slices.ContainsFunc(plan.Customers, func(c Customer) bool { return c.Does == deed }), deed)
	}
	for _, step := range plan.Steps {
		require.Positive(t, step.For)
		require.LessOrEqual(t, step.At+step.For, 10*time.Minute)
	}
	for _, fault := range misplays {
		require.Contains(t, faultOf, fault)
	}
}

// With several replicas each of them is hit, and only what is there.
func TestPlanHitsEveryReplica(t *testing.T) {
	t.Parallel()
	there := append(linksOf(2), append(misplays, "api", "api2", "worker", "worker2", "rabbitmq", "postgres", "temporal", "sandbox", everything, fullData, fullLog)...)
	hit := map[string]bool{}
	for _, step := range NewPlan(1, 1, 30*time.Minute, 2).Steps {
		require.Contains(t, there, step.Target)
		hit[step.Target] = true
	}
	for _, target := range there {
		require.True(t, hit[target], target)
	}
	for _, step := range NewPlan(1, 1, 30*time.Minute, 1).Steps {
		require.NotContains(t, step.Target, "2")
	}
}

func TestBalancerGoesToTheReplicaThatIsUp(t *testing.T) {
	t.Parallel()
	b, err := openBalancer(t.Context())
	require.NoError(t, err)
	defer b.close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func() (string, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url(), strings.NewReader("hello"))
		require.NoError(t, err)
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		return string(answer), err
	}
	_, err = ask()
	require.Error(t, err, "no replica yet")
	replica := func(name string) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprint(w, string(text), " ", name)
		}))
		t.Cleanup(server.Close)
		return server
	}
	one, two := replica("one"), replica("two")
	b.backends.Store(&[]string{one.Listener.Addr().String(), two.Listener.Addr().String()})
	answers := map[string]int{}
	for range 4 {
		answer, err := ask()
		require.NoError(t, err)
		answers[answer]++
	}
	require.Equal(t, map[string]int{"hello one": 2, "hello two": 2}, answers)
	one.Close()
	for range 4 {
		answer, err := ask()
		require.NoError(t, err)
		require.Equal(t, "hello two", answer)
	}
}

// What is printed of a story has bounds, however long the story.
func TestStoryIsPrintedWithinBounds(t *testing.T) {
	t.Parallel()
	s := Story{OrderID: "7", Log: []string{strings.Repeat("长", 10_000)}}
	var list []string
	for i := range 1000 {
		list, s.Events = append(list, fmt.Sprintf(`{"n":%d,"note":"%s"}`, i, strings.Repeat("x", 1000))), append(s.Events, fmt.Sprint("event ", i))
	}
	s.Told = json.RawMessage(`{"audit":[` + strings.Join(list, ",") + `],"order":{"id":"7"}}`)
	var told bytes.Buffer
	s.print(&told)
	require.Less(t, told.Len(), 10_000)
	require.Contains(t, told.String(), `{"id":"7"}`)
	require.Contains(t, told.String(), `{"n":999`, "the latest")
	require.Contains(t, told.String(), "event 999")
	require.NotContains(t, told.String(), `{"n":0,`)
}

func TestFair(t *testing.T) {
	t.Parallel()
	course := Customer{User: "u", Type: models.OrderCourse, Goods: "2"}
	one, two := trade{PayNo: "1", Total: "129.00"}, trade{PayNo: "2", Total: "129.00"}
	for name, c := range map[string]struct {
		has  bool
		paid []trade
		want string
	}{
		"paid and has it":        {true, []trade{one}, ""},
		"neither":                {false, nil, ""},
		"paid and has it not":    {false, []trade{one}, "paid-for-nothing"},
		"has it and paid not":    {true, nil, "has-it-unpaid"},
		"has it, and paid twice": {true, []trade{one, two}, "paid-twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings := fair(course, c.has, c.paid)
			if c.want == "" {
				require.Empty(t, findings)
				return
			}
			require.Len(t, findings, 1)
			require.Equal(t, c.want, findings[0].Check)
		})
	}
}

// processesIn lists the processes whose command line or working folder lies in dir.
func processesIn(t *testing.T, dir string) (found []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range lines {
		line, err := os.ReadFile(path)
		work, _ := os.Readlink(filepath.Join(filepath.Dir(path), "cwd"))
		if err == nil && (bytes.Contains(line, []byte(dir)) || strings.HasPrefix(work, dir)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
