package nodeid

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/bwmarrin/snowflake"
	"github.com/stretchr/testify/require"
)

// soon is how long a test waits for what renewals do; shortTTL makes them do it often.
const (
	soon     = 20 * time.Second
	tick     = 5 * time.Millisecond
	shortTTL = 300 * time.Millisecond
)

func acquire(t *testing.T, db *sql.DB, opts ...Option) *Node {
	t.Helper()
	n, err := Acquire(t.Context(), db, "test", append(opts, WithLogger(slog.New(slog.DiscardHandler)))...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.Close(context.WithoutCancel(t.Context())) })
	return n
}

func exec(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
}

// occupy leases all nodes from first on to somebody else, for an hour.
func occupy(t *testing.T, db *sql.DB, first int) {
	t.Helper()
	exec(t, db, `INSERT INTO node_lease SELECT n, 'occupier', now() + interval '1 hour'
		FROM generate_series($1::int, 1023) n`, first)
}

func expiry(t *testing.T, db *sql.DB, node int64) (at time.Time) {
	t.Helper()
	row := db.QueryRowContext(t.Context(), `SELECT expires_at FROM node_lease WHERE node_id = $1`, node)
	require.NoError(t, row.Scan(&at))
	return at
}

func nodeOf(id int64) int64 { return id >> snowflake.StepBits & 1023 }

func mints(n *Node) bool {
	_, err := n.Next()
	return err == nil
}

func TestParallelAcquirersGetDifferentNodes(t *testing.T) {
	t.Parallel()
	db := database(t)
	const acquirers, each = 24, 200
	nodes := make([]*Node, acquirers)
	errs := make([]error, acquirers)
	var group sync.WaitGroup
	for i := range acquirers {
		group.Go(func() { nodes[i], errs[i] = Acquire(t.Context(), db, "same name") })
	}
	group.Wait()

	leased, ids := map[int64]bool{}, map[int64]bool{}
	for i, n := range nodes {
		require.NoError(t, errs[i])
		leased[n.ID()] = true
		for range each {
			id, err := n.Next()
			require.NoError(t, err)
			require.Equal(t, n.ID(), nodeOf(id))
			ids[id] = true
		}
		require.NoError(t, n.Close(t.Context()))
	}
	require.Len(t, leased, acquirers)
	require.Len(t, ids, acquirers*each)
	for id := range leased {
		require.Less(t, id, int64(acquirers), "the lowest ones")
	}
}

func TestParallelNextMintsDifferentIDs(t *testing.T) {
	t.Parallel()
	n := acquire(t, database(t))
	const minters, each = 8, 2000
	minted := make([][]int64, minters)
	var group sync.WaitGroup
	for i := range minters {
		group.Go(func() {
			for range each {
				id, _ := n.Next() // 0 on an error, and so a repetition
				minted[i] = append(minted[i], id)
			}
		})
	}
	group.Wait()
	ids := map[int64]bool{}
	for _, list := range minted {
		for _, id := range list {
			require.Positive(t, id)
			ids[id] = true
		}
	}
	require.Len(t, ids, minters*each)
}

func TestNoFreeNode(t *testing.T) {
	t.Parallel()
	db := database(t)
	occupy(t, db, 0)
	_, err := Acquire(t.Context(), db, "test")
	require.ErrorIs(t, err, ErrNoFreeNode)

	exec(t, db, `DELETE FROM node_lease WHERE node_id = 700`)
	require.EqualValues(t, 700, acquire(t, db).ID())
}

// The central promise: by the time that somebody else gets the node, its old holder mints no more.
func TestAnExpiredLeaseIsTakenOverAndItsHolderRefusesToMint(t *testing.T) {
	t.Parallel()
	db := database(t)
	occupy(t, db, 1)
	old := acquire(t, db, WithTTL(shortTTL))
	require.EqualValues(t, 0, old.ID())
	require.True(t, mints(old))
	old.stop() // like a process that was stopped, or cut off from Postgres: it renews no more
	<-old.done

	var heir *Node
	require.Eventually(t, func() bool {
		var err error
		heir, err = Acquire(t.Context(), db, "heir", WithGrace(0))
		return err == nil
	}, soon, tick)
	defer func() { require.NoError(t, heir.Close(t.Context())) }()
	require.EqualValues(t, 0, heir.ID())
	require.True(t, mints(heir))
	_, err := old.Next()
	require.ErrorIs(t, err, ErrLeaseLost)
}

func TestRenewalKeepsTheNode(t *testing.T) {
	t.Parallel()
	db := database(t)
	starting, started := context.WithCancel(t.Context())
	n, err := Acquire(starting, db, "test", WithTTL(shortTTL))
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close(t.Context())) }()
	started() // a deadline for the start does not end the renewals

	first := expiry(t, db, n.ID())
	require.Eventually(t, func() bool { return expiry(t, db, 0).After(first.Add(3 * shortTTL)) }, soon, tick)
	require.EqualValues(t, 0, n.ID())
	require.Eventually(t, func() bool { return mints(n) }, soon, tick)
}

func TestALostLeaseIsReplaced(t *testing.T) {
	t.Parallel()
	db := database(t)
	n := acquire(t, db, WithTTL(shortTTL))
	exec(t, db, `UPDATE node_lease SET holder = 'thief', expires_at = now() + interval '1 hour' WHERE node_id = 0`)
	require.Eventually(t, func() bool { return n.ID() == 1 && mints(n) }, soon, tick)
	id, err := n.Next()
	require.NoError(t, err)
	require.EqualValues(t, 1, nodeOf(id))

	require.NoError(t, n.Close(t.Context()))
	require.Greater(t, time.Until(expiry(t, db, 0)), time.Minute, "what is another's is not released")
}

func TestALostLeaseIsReplacedOnceANodeIsFree(t *testing.T) {
	t.Parallel()
	db := database(t)
	occupy(t, db, 1)
	n := acquire(t, db, WithTTL(shortTTL))
	exec(t, db, `UPDATE node_lease SET holder = 'thief', expires_at = now() + interval '1 hour' WHERE node_id = 0`)
	require.Eventually(t, func() bool { return !mints(n) }, soon, tick)
	exec(t, db, `DELETE FROM node_lease WHERE node_id = 9`)
	require.Eventually(t, func() bool { return n.ID() == 9 && mints(n) }, soon, tick)
}

// Two processes of one name are two holders: the name alone must not renew the other's lease.
func TestANamesakeIsAnotherHolder(t *testing.T) {
	t.Parallel()
	db := database(t)
	old := acquire(t, db)
	exec(t, db, `UPDATE node_lease SET expires_at = now() - interval '1 hour'`)
	heir := acquire(t, db)
	require.EqualValues(t, 0, heir.ID())
	require.NoError(t, old.renewOrReplace(t.Context()))
	require.EqualValues(t, 1, old.ID())
}

func TestAnOutageOfPostgresIsSurvived(t *testing.T) {
	t.Parallel()
	db := database(t)
	n := acquire(t, db, WithTTL(shortTTL))
	exec(t, db, `ALTER TABLE node_lease RENAME TO elsewhere`)
	require.Eventually(t, func() bool { return !mints(n) }, soon, tick)
	exec(t, db, `ALTER TABLE elsewhere RENAME TO node_lease`)
	require.Eventually(t, func() bool { return mints(n) }, soon, tick)
	require.EqualValues(t, 0, n.ID(), "nobody has taken it meanwhile")
}

// A renewal that Postgres answers late counts from when it was sent.
func TestALeaseCountsFromBeforeItsRenewal(t *testing.T) {
	t.Parallel()
	db := database(t)
	n := acquire(t, db)
	blocker, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = blocker.Rollback() }()
	_, err = blocker.ExecContext(t.Context(), `SELECT FROM node_lease FOR UPDATE`)
	require.NoError(t, err)

	renewed := make(chan error, 1)
	go func() { renewed <- n.renewOrReplace(t.Context()) }()
	require.Eventually(t, func() bool {
		var waiting int
		row := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`)
		return row.Scan(&waiting) == nil && waiting == 1
	}, soon, tick)
	sent := time.Now()
	require.NoError(t, blocker.Rollback())
	require.NoError(t, <-renewed)
	require.True(t, n.held().until.Before(sent.Add(defaultTTL)))
}

func TestCloseFreesTheNode(t *testing.T) {
	t.Parallel()
	db := database(t)
	n := acquire(t, db)
	require.NoError(t, n.Close(t.Context()))
	require.NoError(t, n.Close(t.Context()))
	_, err := n.Next()
	require.ErrorIs(t, err, ErrLeaseLost)

	require.EqualValues(t, 1, acquire(t, db).ID(), "not within the grace period")
	require.EqualValues(t, 0, acquire(t, db, WithGrace(0)).ID())
}

func TestCloseSaysWhenItCouldNotRelease(t *testing.T) {
	t.Parallel()
	db := database(t)
	n := acquire(t, db)
	exec(t, db, `DROP TABLE node_lease`)
	require.Error(t, n.Close(t.Context()))
	require.False(t, mints(n), "closed all the same")
}

func TestGrace(t *testing.T) {
	t.Parallel()
	db := database(t)
	exec(t, db, `INSERT INTO node_lease VALUES
		(0, 'gone', now() - interval '30 minutes'), (1, 'gone', now() - interval '2 hours')`)
	require.EqualValues(t, 1, acquire(t, db, WithGrace(time.Hour)).ID())
	require.EqualValues(t, 0, acquire(t, db, WithGrace(time.Minute)).ID())
}

// Ids carry their minter's clock, so a lease ends by the later clock, and is taken over by the earlier one.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	db := database(t)
	leases := table{db: db, holder: "ahead", ttl: time.Minute}
	ahead := time.Now().Add(time.Hour)
	id, err := leases.take(t.Context(), ahead)
	require.NoError(t, err)
	require.WithinRange(t, expiry(t, db, id), ahead.Add(time.Minute-time.Millisecond), ahead.Add(time.Minute+time.Millisecond))
	later := ahead.Add(time.Hour)
	require.NoError(t, leases.renew(t.Context(), id, later))
	require.WithinRange(t, expiry(t, db, id), later.Add(time.Minute-time.Millisecond), later.Add(time.Minute+time.Millisecond))
	require.NoError(t, leases.release(t.Context(), id, later))
	require.WithinRange(t, expiry(t, db, id), later.Add(-time.Millisecond), later.Add(time.Millisecond))

	exec(t, db, `UPDATE node_lease SET expires_at = now() - interval '30 minutes'`)
	behind := table{db: db, holder: "behind", ttl: time.Minute}
	other, err := behind.take(t.Context(), time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.NotEqual(t, id, other)
	require.WithinDuration(t, time.Now().Add(time.Minute), expiry(t, db, other), soon)

	exec(t, db, `UPDATE node_lease SET expires_at = now() + interval '30 minutes'`)
	third, err := leases.take(t.Context(), ahead)
	require.NoError(t, err)
	require.NotContains(t, []int64{id, other}, third, "by Postgres' clock they are still leased")
}

// An id is stamped with the clock that clock() tells.
func TestClockIsTheStampsClock(t *testing.T) {
	t.Parallel()
	n := acquire(t, database(t))
	before := n.held().clock()
	id, err := n.Next()
	require.NoError(t, err)
	stamp := id>>22 + snowflake.Epoch
	require.WithinRange(t, time.UnixMilli(stamp), before, n.held().clock())
	require.WithinDuration(t, time.Now(), before, soon)
}
