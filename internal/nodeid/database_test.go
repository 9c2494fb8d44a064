package nodeid

import (
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
	"coursepay/models"
)

// database is a migrated database of the test's own.
func database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", devtest.Database(t, models.Migrate))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(10) // the server is shared with other packages' tests
	return db
}
