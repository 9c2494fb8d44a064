package nodeid

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// table is node_lease as one holder sees it. The clock that its methods take is the holder's, see the package's doc.
type table struct {
	db     *sql.DB
	holder string
	ttl    time.Duration
	grace  time.Duration
}

// Takers stand in line (for their transaction's few milliseconds), so that each sees the rows of those before it.
const lineUp = `SELECT pg_advisory_xact_lock(hashtext('node_lease'))`

// now() is when the transaction began: waiting in line makes it earlier, never later, which errs on the safe side. The
// lease itself is counted from after the wait.
const takeLowest = `
	INSERT INTO node_lease (node_id, holder, expires_at)
	SELECT candidate, $1, greatest(clock_timestamp(), $2::timestamptz) + $3 * interval '1 microsecond'
	FROM generate_series(0, 1023) AS candidate
	WHERE NOT EXISTS (
		SELECT FROM node_lease
		WHERE node_id = candidate
		AND expires_at + $4 * interval '1 microsecond' >= least(now(), $2::timestamptz))
	ORDER BY candidate
	LIMIT 1
	ON CONFLICT (node_id) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
	RETURNING node_id`

// take leases the lowest node that is free, or fails with ErrNoFreeNode.
func (t table) take(ctx context.Context, clock time.Time) (int64, error) {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, lineUp); err != nil {
		return 0, fmt.Errorf("wait for other takers: %w", err)
	}
	var id int64
	err = tx.QueryRowContext(ctx, takeLowest, t.holder, clock, t.ttl.Microseconds(), t.grace.Microseconds()).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNoFreeNode
	}
	if err != nil {
		return 0, err
	}
	return id, tx.Commit()
}

const setExpiry = `
	UPDATE node_lease
	SET expires_at = greatest(now(), $3::timestamptz) + $4 * interval '1 microsecond'
	WHERE node_id = $1 AND holder = $2`

// renew counts the lease from now again, or fails with ErrLeaseLost when somebody else has the node. A lease that has
// ended and was not taken over is still ours to renew.
func (t table) renew(ctx context.Context, id int64, clock time.Time) error {
	result, err := t.db.ExecContext(ctx, setExpiry, id, t.holder, clock, t.ttl.Microseconds())
	if err != nil {
		return err
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if rows == 0 {
		return ErrLeaseLost
	}
	return nil
}

// release ends the lease now. The row stays: until the grace period is over it keeps others off the node.
func (t table) release(ctx context.Context, id int64, clock time.Time) error {
	_, err := t.db.ExecContext(ctx, setExpiry, id, t.holder, clock, int64(0))
	return err
}
