package endings

import (
	"context"
	"database/sql"
	"flag"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"coursepay/internal/audit"
	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // thousands of small worlds: time matters more than memory
	os.Exit(m.Run())
}

// run is one run of all that was chosen.
type run struct {
	db     *sql.DB
	want   map[circumstances][]sequence
	played atomic.Int64
	table  table
}

// TestEndings plays every sequence of up to three events that can occur, or of up to ENDINGS_LENGTH; in other circumstances
// than the plain ones a share of the longer ones, or with ENDINGS=all each of them. One of them again, with all that
// happened:
//
//	ENDINGS_SHOW=1 go test ./internal/endings -v -run 'TestEndings/plain/^notify,cancel$'
func TestEndings(t *testing.T) {
	t.Parallel()
	db, err := models.Open(t.Context(), devtest.Database(t, models.Migrate), 16)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	r := &run{db: db, want: map[circumstances][]sequence{}, table: table{rows: map[string]string{}}}
	all, began := 0, time.Now()
	for _, how := range allCircumstances {
		r.want[how] = choose(t, how)
		all += len(r.want[how])
	}
	t.Cleanup(func() { // when the last of the parallel ones has been played
		t.Logf("%d sequences played in %s", r.played.Load(), time.Since(began).Round(time.Second))
		r.finish(t, all)
	})
	for _, how := range allCircumstances {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			r.playAll(t, how)
		})
	}
}

// playAll plays what was chosen for these circumstances, one after the other.
func (r *run) playAll(t *testing.T, how circumstances) {
	w := newTown(t, r.db)
	for _, seq := range r.want[how] {
		t.Run(seq.String(), func(t *testing.T) {
			p := w.play(t, how, seq)
			b := p.read()
			r.played.Add(1)
			r.table.add(how, seq, b)
			faults := p.wrong(b)
			if len(faults) > 0 || os.Getenv("ENDINGS_SHOW") != "" {
				t.Logf("%s: %s\n\n%s\n", how, seq, p.d)
			}
			if len(faults) > 0 {
				t.Errorf("wrong:\n  %s", strings.Join(faults, "\n  "))
			}
		})
	}
}

// finish checks that everything was played, and what only the whole shows: the audit agrees, and the document is current.
func (r *run) finish(t *testing.T, want int) {
	if filtered() {
		return
	}
	assert.EqualValues(t, want, r.played.Load())
	report, err := audit.Run(context.WithoutCancel(t.Context()), r.db, audit.Options{Now: time.Now().Add(48 * time.Hour)})
	if err != nil {
		t.Error(err)
	}
	for _, result := range report.Results {
		assert.True(t, result.Waits || result.Count == 0, "audit: %+v", result)
	}
	if longest, _ := length(t); longest >= longestInTable {
		r.table.isCurrent(t)
	}
}

// filtered says that only some of the sequences were asked for.
func filtered() bool { return strings.Contains(flag.Lookup("test.run").Value.String(), "/") }

// length is how many events sequences have at most, and whether they are all played in all circumstances.
func length(t *testing.T) (longest int, everywhere bool) {
	t.Helper()
	everywhere = os.Getenv("ENDINGS") == "all"
	given := os.Getenv("ENDINGS_LENGTH")
	if given == "" {
		return 3, everywhere
	}
	longest, err := strconv.Atoi(given)
	require.NoError(t, err)
	return longest, everywhere
}

// choose are the sequences that a run plays in these circumstances.
func choose(t *testing.T, how circumstances) (chosen []sequence) {
	t.Helper()
	longest, everywhere := length(t)
	for length := range longest + 1 {
		for seq := range sequences(length) {
			if how.matter(seq) && (everywhere || usual(how, seq)) {
				chosen = append(chosen, seq)
			}
		}
	}
	return chosen
}

// usual says whether every run plays the sequence: in plain circumstances all that are chosen, in others those that are
// short, and of the longer ones a sixth, so that each is met somewhere.
func usual(how circumstances, seq sequence) bool {
	return how == plain || len(seq) <= longestInTable || seq.dice("usual "+string(how))%6 == 0
}
