package browser

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack"
)

// violation is a rule of axe-core that a page breaks, with the first places where it does.
type violation struct {
	ID, Help string
	Where    []string
}

const runAxe = `axe.run({resultTypes: ['violations']}).then(({violations}) => violations.map((v) => ({
	id: v.id, help: v.help, where: v.nodes.slice(0, 4).map((n) => n.target.join(' ') + ': ' + n.failureSummary),
})))`

// see keeps a picture of a view on each screen that it may be looked at on, in the light and in the dark, and holds it
// against all rules of axe-core (nothing is exempt); nothing may stick out at the side.
func (p *tab) see(name string) {
	p.t.Helper()
	screens := []screen{desktop, phone}
	if p.screen.touch {
		screens = []screen{phone}
	}
	usual := p.screen
	for _, s := range screens {
		for _, dark := range []bool{false, true} {
			p.screen = s
			p.show(s, dark)
			full := name
			if dark {
				full += "-dark"
			}
			p.keep(full)
			p.accessible(full)
		}
	}
	p.screen = usual
	p.show(usual, false)
}

func (p *tab) accessible(name string) {
	p.t.Helper()
	script, err := axe()
	require.NoError(p.t, err)
	if !get[bool](p, `'axe' in window`) {
		get[bool](p, script+"\n;true")
	}
	for _, broken := range get[[]violation](p, runAxe) {
		p.t.Errorf("%s on the %s: axe-core %s: %s\n%s", name, p.screen.name, broken.ID, broken.Help, strings.Join(broken.Where, "\n"))
	}
	if wide := get[int](p, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
		p.t.Errorf("%s on the %s: %d pixels stick out at the side", name, p.screen.name, wide)
	}
}

// axe is the script of axe-core, which npm installs once for each node/package-lock.json.
var axe = sync.OnceValues(func() (string, error) {
	shared, err := devstack.SharedDir()
	if err != nil {
		return "", err
	}
	lockText, err := os.ReadFile(filepath.Join("node", "package-lock.json"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lockText)
	dir := filepath.Join(shared, "node", hex.EncodeToString(sum[:8]))
	if err := installOnce(dir); err != nil {
		return "", err
	}
	script, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	return string(script), err
})

func installOnce(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	lock := flock.New(dir + ".lock")
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return fmt.Errorf("another test installs axe-core: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	return npmCI(ctx, dir)
}

// npmCI gives the folder its name only when it is complete.
func npmCI(ctx context.Context, dir string) error {
	half := dir + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if err := os.CopyFS(half, os.DirFS("node")); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = half
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci (`make test` installs npm): %w\n%s", err, strings.TrimSpace(string(output)))
	}
	return os.Rename(half, dir)
}
