package browser

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
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

// axe is the script of axe-core.
var axe = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir, err := devtest.NodeModules(ctx, "node")
	if err != nil {
		return "", err
	}
	script, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	return string(script), err
})
