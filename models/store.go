package models

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

// Store runs the transactions on the tables. It is safe for concurrent use.
type Store struct {
	db    *gorm.DB
	newID func() (int64, error)
	now   func() time.Time
}

// Open connects to Postgres with at most maxConns connections. The caller closes the pool.
func Open(ctx context.Context, databaseURL string, maxConns int) (*sql.DB, error) {
	pool, err := sql.Open("pgx", databaseURL)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(maxConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	return pool, nil
}

// NewStore works on the pool with ids from newID (snowflakes) and the time from now.
func NewStore(pool *sql.DB, newID func() (int64, error), now func() time.Time) (*Store, error) {
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{
		SkipDefaultTransaction: true, // a single statement is atomic by itself
		Logger:                 logger.Discard,
		NowFunc:                now,
	})
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return &Store{db: db, newID: newID, now: now}, nil
}

// Ping asks Postgres whether it answers.
func (s *Store) Ping(ctx context.Context) error { return s.db.WithContext(ctx).Exec("select 1").Error }

// inTx runs fn in one transaction. Data that Postgres cannot take, such as text with a NUL, is refused: trying again
// would not help.
func (s *Store) inTx(ctx context.Context, fn func(tx *gorm.DB) error) error {
	err := s.db.WithContext(ctx).Transaction(fn)
	var fault *pgconn.PgError
	if errors.As(err, &fault) && strings.HasPrefix(fault.Code, dataException) {
		return Refuse(CodeInvalid, "Postgres says %s: %s", fault.Code, fault.Message)
	}
	return err
}

// Unreachable says that Postgres did not answer, or could not work: the same request may succeed in a moment.
func Unreachable(err error) bool {
	var refused *pgconn.ConnectError
	var network net.Error
	var fault *pgconn.PgError
	switch {
	case errors.As(err, &refused): // whatever Postgres said: it was not about the request
		return true
	case errors.As(err, &fault):
		return slices.Contains([]string{"08", "40", "53", "57"}, fault.Code[:min(2, len(fault.Code))]) // connection, rolled back, resources, operator
	case errors.As(err, &network), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, errNoID),
		pgconn.SafeToRetry(err): // nothing was sent: in a transaction, when its connection has gone before
		return true
	}
	return false
}

const (
	dataException   = "22"    // SQLSTATE class
	uniqueViolation = "23505" // SQLSTATE
)

// violates says whether err is a breach of the named unique constraint.
func violates(err error, constraint string) bool {
	var fault *pgconn.PgError
	return errors.As(err, &fault) && fault.Code == uniqueViolation && fault.ConstraintName == constraint
}

// errNoID is a lease of ids that has run out, as when Postgres could not be reached for long; another one is on its way.
var errNoID = errors.New("mint id")

func (s *Store) mintID() (ID, error) {
	n, err := s.newID()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoID, err)
	}
	return ID(n), nil
}

// first finds the one row that the query describes; a missing row is the given refusal.
func first[T any](query *gorm.DB, missing Code) (T, error) {
	var row T
	err := query.Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return row, Refuse(missing, "no such row")
	}
	return row, err
}

// maybe finds the one row that the query describes, or nil.
func maybe[T any](query *gorm.DB) (*T, error) {
	var rows []T
	if err := query.Limit(1).Find(&rows).Error; err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

// locked makes queries wait for, and then hold, the rows that they read.
func locked(tx *gorm.DB) *gorm.DB {
	return tx.Clauses(clause.Locking{Strength: "UPDATE"}).Session(&gorm.Session{})
}

func audit(tx *gorm.DB, entries ...Audit) error { return tx.Create(entries).Error }
