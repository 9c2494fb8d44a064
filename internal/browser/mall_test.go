// Package browser tests the pages as people use them: headless Chromium on a real stack, desktops and phones as browsers of
// their own. Each scenario leaves its pictures in .coursepay/screenshots. A page may never complain in the console, throw, or
// talk to anybody but us and the cashier, and whatever it shows passes axe-core.
package browser

import (
	"context"
	"database/sql"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"coursepay/internal/auth"
	"coursepay/internal/buyer"
	"coursepay/internal/devstack"
	"coursepay/internal/devstack/devtest"
)

// mall is the stack and the browser that all scenarios share.
type mall struct {
	stack   *devstack.Stack
	env     map[string]string
	db      *sql.DB
	browser context.Context
	dir     string
	api     string
}

func openMall(t *testing.T) *mall {
	t.Helper()
	m := &mall{stack: devtest.Stack(t, map[string]string{"SANDBOX_NOTIFY_SCHEDULE": strings.TrimSuffix(strings.Repeat("500ms,", 60), ",")})}
	var err error
	m.env, err = m.stack.Env()
	require.NoError(t, err)
	m.api = m.env["API_URL"]
	m.db, err = sql.Open("pgx", m.env["DATABASE_URL"])
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.db.Close() })
	root, err := devstack.ModuleRoot()
	require.NoError(t, err)
	m.dir = filepath.Join(root, ".coursepay", "screenshots")
	m.browser = startChromium(t)
	return m
}

// visit is one scenario.
type visit struct {
	*mall

	t        *testing.T
	pictures string // the folder of its pictures
}

func (m *mall) visit(t *testing.T) *visit {
	t.Helper()
	v := &visit{m, t, filepath.Join(m.dir, filepath.Base(t.Name()))}
	require.NoError(t, os.RemoveAll(v.pictures))
	require.NoError(t, os.MkdirAll(v.pictures, 0o755))
	return v
}

// own are the origins that a page may talk to.
func (m *mall) own() []string { return []string{m.api, m.env["SANDBOX_URL"]} }

func (v *visit) token(user string, ops bool) string {
	v.t.Helper()
	token, err := auth.Issue([]byte(v.env["JWT_SECRET"]), auth.User{ID: user, Ops: ops}, time.Hour, time.Now())
	require.NoError(v.t, err)
	return token
}

func (v *visit) exec(statement string, values ...any) {
	v.t.Helper()
	_, err := v.db.ExecContext(v.t.Context(), statement, values...)
	require.NoError(v.t, err)
}

func (v *visit) count(query string, values ...any) (n int) {
	v.t.Helper()
	require.NoError(v.t, v.db.QueryRowContext(v.t.Context(), query, values...).Scan(&n))
	return n
}

// faults tells the sandbox how to misbehave.
func (m *mall) faults(t *testing.T, faults string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPut, m.env["SANDBOX_URL"]+"/control/faults", strings.NewReader(faults))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Less(t, response.StatusCode, 300)
}

// hurry puts a worker in the other's place whose codes can be paid for a short time only.
func (m *mall) hurry(t *testing.T, expiry string) {
	t.Helper()
	require.NoError(t, m.stack.Service("worker").Stop(t.Context()))
	env := maps.Clone(m.env)
	maps.DeleteFunc(env, func(name, _ string) bool { return strings.HasPrefix(name, "PID_") })
	env["ORDER_EXPIRY"] = expiry
	dir := t.TempDir()
	_, err := devstack.StartApp(t.Context(), dir, devstack.AppSpec{
		Name: "hasty", Binary: devtest.Binary(t), Args: []string{"worker"}, Env: env,
		Ready: func(context.Context, int) error { return nil }, // who asks for a code waits for it
	})
	t.Cleanup(func() { require.NoError(t, devstack.Down(context.WithoutCancel(t.Context()), dir)) })
	require.NoError(t, err)
}

// wants has a learner, on a desktop, ask for the code of a course, and gives the tab that shows it.
func (v *visit) wants(user, course string) *tab {
	v.t.Helper()
	p := v.open(desktop)
	p.be(user, false)
	p.goTo("/#/course/" + course)
	p.press("learn-now")
	p.state("waiting")
	return p
}

// state waits until the popup is in a state.
func (p *tab) state(state string) {
	p.t.Helper()
	p.until(`document.querySelector('.pay')?.dataset.state === ` + quote(state))
}

// code is what the code in the popup says.
func (p *tab) code() string {
	p.t.Helper()
	p.until(`document.querySelector('[data-testid=qrcode]')?.complete`)
	address, err := buyer.Scan(get[string](p, `document.querySelector('[data-testid=qrcode]').src`))
	require.NoError(p.t, err)
	return address
}

// payNo is the pay number that a code's address has.
func payNo(address string) string {
	_, number, _ := strings.Cut(address, "payNo=")
	return number
}

// scan opens a code's address on a phone.
func (v *visit) scan(address string) *tab {
	v.t.Helper()
	p := v.open(phone)
	p.goTo(address)
	return p
}

// cashier scans a code that can be paid.
func (v *visit) cashier(address string) *tab {
	v.t.Helper()
	p := v.scan(address)
	p.visible("#pay button")
	return p
}

func (p *tab) pay() {
	p.t.Helper()
	p.press("#pay button")
	p.visible("#paid")
}
