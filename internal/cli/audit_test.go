package cli

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/audit"
	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

// paidOrder is a database with one paid order, whose message is delivered.
func paidOrder(t *testing.T) (url string, db *sql.DB) {
	t.Helper()
	url = devtest.Database(t, models.Migrate)
	db, err := models.Open(t.Context(), url, 2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	id := int64(1000)
	store, err := models.NewStore(db, func() (int64, error) { id++; return id, nil }, time.Now)
	require.NoError(t, err)
	require.NoError(t, store.SeedDemo(t.Context()))
	chosen, _, err := store.ChooseCourse(t.Context(), "u", 1)
	require.NoError(t, err)
	attempt, err := store.CreateAttempt(t.Context(), models.PayRequest{
		RequestID: "r", UserID: "u", OrderType: models.OrderCourse, OutBusinessID: chosen.ID.String(), TotalPrice: chosen.CoursePrice,
	}, time.Now().Add(time.Minute))
	require.NoError(t, err)
	_, err = store.Settle(t.Context(), models.Payment{
		PayNo: attempt.Record.PayNo, TradeNo: "T", Amount: chosen.CoursePrice, PaidAt: time.Now(),
	})
	require.NoError(t, err)
	return url, db
}

func runAuditCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = Run(t.Context(), append([]string{"audit"}, args...), &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestAuditTellsByItsExitCode(t *testing.T) {
	url, db := paidOrder(t)
	t.Setenv("DATABASE_URL", url)
	code, out, errOut := runAuditCommand(t)
	require.Zero(t, code, errOut)
	require.Regexp(t, `\d+ checks: nothing is off\n$`, out)
	require.Empty(t, errOut)

	_, err := db.ExecContext(t.Context(), `delete from xc_course_tables`)
	require.NoError(t, err)
	code, out, errOut = runAuditCommand(t)
	require.Equal(t, 1, code)
	require.Contains(t, out, "FAULT  course-delivered")
	require.Equal(t, "coursepay: audit: faults found: 1\n", errOut)

	code, out, _ = runAuditCommand(t, "--json", "--since", "1h")
	require.Equal(t, 1, code)
	var report audit.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, 1, report.Faults)

	for _, args := range [][]string{{"--grace", "0s"}, {"--since", "yesterday"}, {"--unknown"}, {"everything"}, {"--alipay"}} {
		code, out, errOut = runAuditCommand(t, args...)
		require.Equal(t, 2, code, "%v: %s", args, errOut)
		require.NotEmpty(t, errOut)
		require.Empty(t, out)
	}
}

func TestAuditThatCannotLook(t *testing.T) {
	t.Setenv("DATABASE_URL", devtest.Database(t, nil))
	code, out, errOut := runAuditCommand(t)
	require.Equal(t, 2, code, "there are no tables")
	require.Contains(t, errOut, "check ")
	require.Empty(t, out)

	t.Setenv("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	code, _, _ = runAuditCommand(t)
	require.Equal(t, 2, code)
	t.Setenv("DATABASE_URL", "")
	code, _, _ = runAuditCommand(t)
	require.Equal(t, 2, code)
}
