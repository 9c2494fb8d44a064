package chaos

import (
	"bytes"
	"context"
	"encoding/json"
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
	require.Contains(t, told.String(), "again: coursepay chaos --orders 12 --seed 4 --minutes 0.2")
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
	first := NewPlan(1, 50, 3*time.Minute)
	require.Equal(t, asJSON(first), asJSON(NewPlan(1, 50, 3*time.Minute)))
	require.NotEqual(t, asJSON(first), asJSON(NewPlan(2, 50, 3*time.Minute)))
}

// Given time, everything that can go wrong does, and every customer's deed is seen.
func TestPlanHasEverything(t *testing.T) {
	t.Parallel()
	plan := NewPlan(1, 300, 10*time.Minute)
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
