package devtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"coursepay/internal/devstack"
)

// NodeModules has npm install what package-lock.json in source pins, once for each such file, and gives the folder that
// holds node_modules. Several test processes may ask at once. `make test` installs npm.
func NodeModules(ctx context.Context, source string) (dir string, err error) {
	shared, err := devstack.SharedDir()
	if err != nil {
		return "", err
	}
	pinned, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pinned)
	dir = filepath.Join(shared, "node", hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	lock := flock.New(dir + ".lock")
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return "", fmt.Errorf("another test installs %s: %w", source, err)
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, npmCI(ctx, source, dir)
}

// npmCI gives the folder its name only when it is complete.
func npmCI(ctx context.Context, source, dir string) error {
	half := dir + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := os.MkdirAll(half, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(half, name), text, 0o600); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = half
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci (`make test` installs npm): %w\n%s", err, strings.TrimSpace(string(output)))
	}
	return os.Rename(half, dir)
}
