package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// patience is for whatever a browser waits for: far more than it takes, since the machine may be busy.
const patience = 30 * time.Second

// startChromium starts the one browser of all scenarios, without a window, its own user data and any talk to its maker.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Fatalf("%v: these tests drive Debian's chromium; `make test` installs it", err)
	}
	flags := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), flags...)
	browser, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		closeBrowser()
		stop()
	})
	require.NoError(t, chromedp.Do(browser))
	return browser
}

// screen is what a page is looked at on.
type screen struct {
	name          string
	width, height int64
	touch         bool
}

var (
	desktop = screen{"desktop", 1280, 800, false}
	phone   = screen{"phone", 390, 844, true}
)

// tab is a tab that notes whatever a page should not do.
type tab struct {
	t      *testing.T
	visit  *visit
	ctx    context.Context
	screen screen

	mu        sync.Mutex
	faults    []string
	tolerated []string // parts of Chrome's own words about what a scenario does on purpose
}

// newTab opens a tab; by default in the same browser context as its parent.
func (v *visit) newTab(parent context.Context, s screen, options ...chromedp.ContextOption) *tab {
	v.t.Helper()
	p := &tab{t: v.t, visit: v, screen: s}
	var leave context.CancelFunc
	p.ctx, leave = chromedp.NewContext(parent, append(options, chromedp.WithListener(p.hear))...)
	v.t.Cleanup(func() {
		if v.t.Failed() {
			p.keep("failed")
		}
		leave()
		for _, fault := range p.faults {
			v.t.Errorf("%s: %s", s.name, fault)
		}
	})
	require.NoError(v.t, chromedp.Do(p.ctx)) // without a deadline: the tab lives as long as what it is first run with
	p.call(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		return err
	})
	p.show(s, false)
	return p
}

// open opens a tab on a device of its own: nothing is shared with the other tabs, as if it were another browser.
func (v *visit) open(s screen) *tab {
	v.t.Helper()
	return v.newTab(v.browser, s, chromedp.WithNewBrowserContext())
}

// hear notes exceptions, complaints in the console (refused by the Content-Security-Policy, not found, …) and requests to
// anybody but us and the cashier.
func (p *tab) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text, _ := json.Marshal(e.ExceptionDetails)
		p.note("exception: " + string(text))
	case *runtime.EventConsoleAPICalled:
		text, _ := json.Marshal(e.Args)
		p.note(fmt.Sprintf("console.%s: %s", e.Type, text))
	case *log.EventEntryAdded:
		if e.Entry.Level != log.EntryLevelVerbose {
			p.note(fmt.Sprintf("%s: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		if at, err := url.Parse(e.Request.URL); err != nil || !slices.Contains(p.visit.own(), at.Scheme+"://"+at.Host) {
			p.note("request to a stranger: " + e.Request.URL)
		}
	}
}

func (p *tab) note(fault string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if strings.Contains(fault, "request to a stranger: data:") || strings.Contains(fault, "request to a stranger: about:") {
		return
	}
	for _, part := range p.tolerated {
		if strings.Contains(fault, part) {
			return
		}
	}
	p.faults = append(p.faults, fault)
}

// tolerate lets Chrome say, from now on, what has one of these parts.
func (p *tab) tolerate(parts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tolerated = append(p.tolerated, parts...)
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, steps...))
}

// ask evaluates an expression in the page.
func ask[T any](p *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// get is ask for what is there.
func get[T any](p *tab, expression string) T {
	p.t.Helper()
	answer, err := ask[T](p, expression)
	require.NoError(p.t, err, expression)
	return answer
}

// until waits until an expression is true. A page that is being replaced answers nothing, and is asked again.
func (p *tab) until(expression string) {
	p.t.Helper()
	var err error
	var holds bool
	if !waitFor(func() bool {
		holds, err = ask[bool](p, "Boolean("+expression+")")
		return err == nil && holds
	}) {
		text, _ := ask[string](p, "location.href + '\\n' + document.body.innerText")
		p.t.Fatalf("%s: never true (%v): %s\n%s\n%s", p.screen.name, err, expression, text, strings.Join(p.faults, "\n"))
	}
}

func waitFor(condition func() bool) bool {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// id selects by data-testid; what begins with another sign is a selector already.
func id(name string) string {
	if strings.ContainsAny(name, "#.[ ") {
		return name
	}
	return `[data-testid="` + name + `"]`
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

func (p *tab) visible(name string) {
	p.t.Helper()
	p.until(`document.querySelector(` + quote(id(name)) + `)?.checkVisibility()`)
}

func (p *tab) gone(name string) {
	p.t.Helper()
	p.until(`!document.querySelector(` + quote(id(name)) + `)`)
}

// says waits until an element's text has the part.
func (p *tab) says(name, part string) {
	p.t.Helper()
	p.until(`document.querySelector(` + quote(id(name)) + `)?.innerText.includes(` + quote(part) + `)`)
}

// where finds the middle of an element that can be pressed: nothing covers it, and neither it nor the view is busy.
const where = `(() => {
	const e = document.querySelector(%s);
	if (!e || e.closest('[aria-disabled=true], :disabled, main[aria-busy]')) return null;
	e.scrollIntoView({block: 'center'});
	const box = e.getClientRects()[0];
	if (!box) return null;
	const point = {x: box.left + box.width / 2, y: box.top + box.height / 2};
	return e.contains(document.elementFromPoint(point.x, point.y)) ? point : null;
})()`

// press clicks or taps an element, where a mouse or finger would.
func (p *tab) press(name string) {
	p.t.Helper()
	var at *struct{ X, Y float64 }
	var err error
	if !waitFor(func() bool {
		at, err = ask[*struct{ X, Y float64 }](p, fmt.Sprintf(where, quote(id(name))))
		return err == nil && at != nil
	}) {
		p.until(`false && "cannot be pressed: ` + name + `"`)
	}
	if p.screen.touch {
		p.do(chromedp.TapXY(at.X, at.Y))
	} else {
		p.do(chromedp.MouseClickXY(at.X, at.Y))
	}
}

// write presses a field and types.
func (p *tab) write(name, text string) {
	p.t.Helper()
	p.press(name)
	p.do(chromedp.KeyEvent(text))
	p.until(`document.querySelector(` + quote(id(name)) + `).value.endsWith(` + quote(text) + `)`)
}

// tabTo presses the tabulator until an element has the focus.
func (p *tab) tabTo(name string) {
	p.t.Helper()
	for range 60 {
		p.do(chromedp.KeyEvent(kb.Tab))
		if get[bool](p, `document.activeElement?.matches(`+quote(id(name))+`)`) {
			return
		}
	}
	p.t.Fatalf("the tabulator never reaches %s", name)
}

// enter goes to an element by tabulator and presses Enter.
func (p *tab) enter(name string) {
	p.t.Helper()
	p.visible(name)
	p.tabTo(name)
	p.do(chromedp.KeyEvent(kb.Enter))
}

func (p *tab) goTo(address string) {
	p.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = p.visit.api + address
	}
	p.do(chromedp.Navigate(address))
}

// view goes to a view of the page that is open, and waits until it is there.
func (p *tab) view(hash, title string) {
	p.t.Helper()
	get[string](p, `location.hash = `+quote(hash))
	p.titled(title)
}

func (p *tab) titled(title string) {
	p.t.Helper()
	p.until(`!document.querySelector('main[aria-busy]') && document.querySelector('main h1')?.innerText === ` + quote(title))
}

// be is a learner who has logged in on the platform before.
func (p *tab) be(user string, ops bool) {
	p.t.Helper()
	cookie := network.SetCookieParams{Name: "jwt", Value: p.visit.token(user, ops), URL: p.visit.api}
	p.call(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, network.SetCookie, cookie)
		return err
	})
}

// block lets no request to these addresses of the API through, but those to addresses that are given with a "!" before.
func (p *tab) block(paths ...string) {
	p.t.Helper()
	patterns := make([]*network.BlockPattern, len(paths))
	for i, path := range paths {
		path, through := strings.CutPrefix(path, "!")
		patterns[i] = &network.BlockPattern{URLPattern: p.visit.api + path, Block: !through}
	}
	p.call(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: patterns})
		return err
	})
	p.tolerate("ERR_BLOCKED_BY_CLIENT")
}

func (p *tab) call(send func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	require.NoError(p.t, send(ctx))
}

// toFront makes this the tab that its user looks at.
func (p *tab) toFront() {
	p.t.Helper()
	p.call(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, page.BringToFront, struct{}{})
		return err
	})
}

// opened is the tab that this one has opened.
func (p *tab) opened() *tab {
	p.t.Helper()
	self := chromedp.FromContext(p.ctx)
	var found target.ID
	require.True(p.t, waitFor(func() bool {
		all, err := chromedp.Targets(p.ctx)
		require.NoError(p.t, err)
		i := slices.IndexFunc(all, func(other *target.Info) bool {
			return other.Type == "page" && other.BrowserContextID == self.BrowserContextID && other.TargetID != self.Target.TargetID
		})
		if i >= 0 {
			found = all[i].TargetID
		}
		return i >= 0
	}), "no tab was opened")
	return p.visit.newTab(p.ctx, p.screen, chromedp.WithTargetID(found))
}

// show makes the tab look at the page on a screen, in the light or the dark, with nothing moving.
func (p *tab) show(s screen, dark bool) {
	p.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	var options []chromedp.EmulateViewportOption
	if s.touch {
		options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	p.do(chromedp.EmulateViewport(s.width, s.height, options...))
	p.call(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		return err
	})
}

// keep writes a picture of what the tab shows to .coursepay/screenshots.
func (p *tab) keep(name string) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(p.visit.pictures, name+"-"+p.screen.name+".png"), picture, 0o600)
	}
	if err != nil {
		p.t.Logf("no picture of %s: %v", name, err)
	}
}

var reload = chromedp.Reload()
