package nodeid

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

func database(t *testing.T) *sql.DB {
	t.Helper()
	admin, err := sql.Open("pgx", os.Getenv("NODEID_TEST_DSN"))
	require.NoError(t, err)
	defer admin.Close()
	name := fmt.Sprintf("n%d", rand.Uint64())
	_, err = admin.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	db, err := sql.Open("pgx", os.Getenv("NODEID_TEST_DSN")+name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, migrate(t.Context(), db))
	return db
}

func migrate(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `CREATE TABLE node_lease (
		node_id int PRIMARY KEY CHECK (node_id BETWEEN 0 AND 1023),
		holder text NOT NULL,
		expires_at timestamptz NOT NULL)`)
	return err
}
