package models

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver that migrations run on
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrate brings the schema to the newest version. Replicas may call it at once: a Postgres advisory lock lets one work
// while the others wait.
func Migrate(ctx context.Context, databaseURL string) error {
	return withMigrations(databaseURL, func(p *goose.Provider) error {
		_, err := p.Up(ctx)
		return err
	})
}

// MigrateDown takes the schema back to the given version; 0 removes every table, with its data.
func MigrateDown(ctx context.Context, databaseURL string, version int64) error {
	return withMigrations(databaseURL, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, version)
		return err
	})
}

func withMigrations(databaseURL string, run func(*goose.Provider) error) error {
	db, err := sql.Open("pgx", databaseURL)
	if err != nil {
		return fmt.Errorf("migrations: open database: %w", err)
	}
	defer func() { _ = db.Close() }()
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if err := run(provider); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}
