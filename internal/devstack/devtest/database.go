package devtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"coursepay/internal/devstack"
)

// Database returns the URL of a fresh database that migrate has been run on, dropped when the test ends. migrate runs
// once for all tests (as long as the migrations in models/ do not change); each database is a clone of the result. It
// has to close its connections before it returns. Nil: an empty database.
func Database(t testing.TB, migrate func(ctx context.Context, databaseURL string) error) string {
	t.Helper()
	server := services(t).Postgres.URL()
	template, err := templates.get(t.Context(), server, migrate)
	if err != nil {
		t.Fatalf("make the template database: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text()[:16])
	if err := clone(t.Context(), server, name, template); err != nil {
		t.Fatalf("make a database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext(t)
		defer cancel()
		if err := execute(ctx, server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return withDatabase(server, name)
}

// templateCache remembers in this process which templates are there.
type templateCache struct {
	mu   sync.Mutex
	made map[string]bool
}

var templates = templateCache{made: map[string]bool{}}

const emptyTemplate = "template0"

func (c *templateCache) get(ctx context.Context, server string, migrate func(context.Context, string) error) (string, error) {
	if migrate == nil {
		return emptyTemplate, nil
	}
	key, err := migrationsKey(migrate)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := "template_" + key
	if c.made[name] {
		return name, nil
	}
	if err := makeTemplate(ctx, server, name, migrate); err != nil {
		return "", err
	}
	c.made[name] = true
	return name, nil
}

// makeTemplate migrates an empty database and gives it its name only then: a name means a finished template.
func makeTemplate(ctx context.Context, server, name string, migrate func(context.Context, string) error) error {
	dir, err := devstack.SharedDir()
	if err != nil {
		return err
	}
	lock := flock.New(filepath.Join(dir, "template.lock"))
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return err
	}
	defer func() { _ = lock.Unlock() }()
	there, err := databaseExists(ctx, server, name)
	if err != nil || there {
		return err
	}
	half := name + "_half"
	if err := execute(ctx, server, "DROP DATABASE IF EXISTS "+half+" WITH (FORCE)"); err != nil {
		return err
	}
	if err := clone(ctx, server, half, emptyTemplate); err != nil {
		return err
	}
	if err := migrate(ctx, withDatabase(server, half)); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return whileInUse(ctx, func() error {
		return execute(ctx, server, "ALTER DATABASE "+half+" RENAME TO "+name)
	})
}

func clone(ctx context.Context, server, name, template string) error {
	return whileInUse(ctx, func() error {
		return execute(ctx, server, "CREATE DATABASE "+name+" TEMPLATE "+template)
	})
}

// whileInUse tries again while a connection to the template is not quite gone yet.
func whileInUse(ctx context.Context, statement func() error) error {
	const objectInUse = "55006"
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := statement()
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != objectInUse {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func databaseExists(ctx context.Context, server, name string) (there bool, err error) {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return false, err
	}
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there)
	return there, errors.Join(err, conn.Close(ctx))
}

func execute(ctx context.Context, server, statement string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

func withDatabase(server, name string) string {
	address, err := url.Parse(server)
	if err != nil {
		return server
	}
	address.Path = "/" + name
	return address.String()
}

// migrationsKey changes with the function and with everything in models/ that is no test.
func migrationsKey(migrate func(context.Context, string) error) (string, error) {
	root, err := devstack.ModuleRoot()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, _ = fmt.Fprintln(hash, runtime.FuncForPC(reflect.ValueOf(migrate).Pointer()).Name())
	err = filepath.WalkDir(filepath.Join(root, "models"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		_, _ = fmt.Fprintln(hash, path, len(text))
		_, _ = hash.Write(text)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil))[:16], err
}
