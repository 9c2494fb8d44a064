package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/activities"
	"coursepay/models"
	"coursepay/workflows"
)

func TestBillDateIsOver(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 16, 30, 0, 0, time.UTC) // half past midnight in China
	for date, good := range map[string]bool{
		"": true, "2026-11-22": true, "2026-11-01": true, "2026-11-23": false, "2026-12-01": false, "22.11.2026": false, "yesterday": false,
	} {
		require.Equal(t, good, checkBillDate(date, now) == nil, date)
	}
}

func TestReconcileRefusesADateBeforeItConnects(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	require.Equal(t, 2, Run(t.Context(), []string{"reconcile", "--date", "2999-01-01"}, &out, &errs))
	require.Contains(t, errs.String(), "not over")
}

func TestReconcilePrintsWhatItFound(t *testing.T) {
	t.Parallel()
	amount := models.Money(5)
	done := workflows.Reconciled{
		Sweep: &activities.Swept{Payments: 1},
		Bill: &activities.BillReport{
			Date: "2026-11-22", Rows: 7, Count: 2,
			Findings: []models.Finding{{Kind: models.FindingUnknownTrade, PayNo: "4711", Billed: &amount}},
		},
	}
	var text, asJSON strings.Builder
	require.ErrorIs(t, printReconciled(&text, done, false), errFindings)
	require.Equal(t, 1, exitCode(notChecked(errFindings)), "not the code of what could not be done")
	for _, part := range []string{"sweep: 1 payments found", "bill 2026-11-22: 7 rows", "unknown_trade", "4711", "bill 0.05", "books -", "and 1 more"} {
		require.Contains(t, text.String(), part)
	}
	require.ErrorIs(t, printReconciled(&asJSON, done, true), errFindings)
	var back workflows.Reconciled
	require.NoError(t, json.Unmarshal([]byte(asJSON.String()), &back))
	require.Equal(t, done, back)
	require.NoError(t, printReconciled(&text, workflows.Reconciled{Sweep: &activities.Swept{}}, false))
}
