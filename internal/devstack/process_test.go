package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// helperDir makes this test binary a program that starts a sleeper in that folder and then hangs.
const helperDir, helperLeashed = "DEVSTACK_TEST_DIR", "DEVSTACK_TEST_LEASHED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		helper(dir)
	}
	os.Exit(m.Run())
}

func helper(dir string) {
	layout, err := newLayout(dir)
	layout.leashed = os.Getenv(helperLeashed) != ""
	if err == nil {
		err = sleeper(layout).start(context.Background())
	}
	fmt.Println("started", err)
	select {}
}

func testLayout(t *testing.T) layout {
	t.Helper()
	layout, err := newLayout(t.TempDir())
	require.NoError(t, err)
	return layout
}

// sleeper is a process with a child of its own.
func sleeper(l layout) *process {
	return &process{
		name: "sleeper", layout: l, stopSignal: syscall.SIGTERM, settings: "1",
		launch: func(context.Context) (launch, error) {
			script := `trap 'kill $child; exit' TERM; sleep 600 & child=$!; echo "$child" > "$0"; wait`
			return launch{command: []string{"/bin/sh", "-c", script, l.path("child")}, env: []string{"PATH=" + os.Getenv("PATH")}}, nil
		},
	}
}

func startSleeper(t *testing.T, l layout) (*process, identity) {
	t.Helper()
	p := sleeper(l)
	require.NoError(t, p.start(t.Context()))
	t.Cleanup(func() { _ = p.kill() })
	return p, childOf(t, l)
}

func childOf(t *testing.T, l layout) identity {
	t.Helper()
	var child identity
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(l.path("child"))
		if err != nil {
			return false
		}
		var pid int
		_, _ = fmt.Sscan(string(text), &pid)
		child, err = identify(pid)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	return child
}

func TestALaterCommandFindsTheProcessAgain(t *testing.T) {
	t.Parallel()
	layout := testLayout(t)
	started, _ := startSleeper(t, layout)
	found := sleeper(layout)
	require.NotZero(t, found.pid())
	require.Equal(t, started.pid(), found.pid())
	require.True(t, found.asWanted())
	found.settings = "2"
	require.False(t, found.asWanted(), "with other settings it has to be started anew")

	require.NoError(t, found.stop(t.Context()))
	require.Zero(t, started.pid())
	require.NoFileExists(t, layout.run("sleeper.pid"))
	require.NoError(t, found.stop(t.Context()), "stopping what does not run is fine")
}

func TestKillTakesTheChildrenToo(t *testing.T) {
	t.Parallel()
	p, child := startSleeper(t, testLayout(t))
	require.NoError(t, p.kill())
	require.Zero(t, p.pid())
	require.False(t, child.alive())
}

func TestAProcessThatIgnoresTheSignalIsKilledInTheEnd(t *testing.T) {
	t.Parallel()
	p, child := startSleeper(t, testLayout(t))
	p.stopSignal = syscall.SIGWINCH // ignored
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, p.stop(ctx))
	require.Zero(t, p.pid())
	require.False(t, child.alive())
}

// A pid file may outlive its process, and the pid may by then be somebody else's.
func TestAStalePidFileNeverHitsAStranger(t *testing.T) {
	t.Parallel()
	stranger := exec.CommandContext(t.Context(), "sleep", "600")
	require.NoError(t, stranger.Start())
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	id, err := identify(stranger.Process.Pid)
	require.NoError(t, err)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id.pid))
	require.NoError(t, err)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)

	for name, text := range map[string]string{
		"other start": string(boot) + strings.Replace(string(stat), " "+id.start+" ", " 1 ", 1),
		"other boot":  "00000000-0000-0000-0000-000000000000\n" + string(stat),
		"bare pid":    fmt.Sprint(id.pid),
		"garbage":     "\x00\xff",
		"empty":       "",
		"init":        string(boot) + strings.Replace(string(stat), fmt.Sprint(id.pid), "1", 1),
		"every one":   string(boot) + strings.Replace(string(stat), fmt.Sprint(id.pid), "-1", 1),
	} {
		t.Run(name, func(t *testing.T) {
			p := sleeper(testLayout(t))
			require.NoError(t, os.WriteFile(p.pidFile(), []byte(text), 0o600))
			require.Zero(t, p.pid())
			require.NoError(t, p.kill())
			require.NoError(t, p.stop(t.Context()))
			require.True(t, id.alive(), "the stranger was hit")
		})
	}
}

func TestAProcessOutlivesItsStarterUnlessLeashed(t *testing.T) {
	t.Parallel()
	for name, leashed := range map[string]bool{"outlives": false, "leashed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			layout := testLayout(t)
			starter := exec.CommandContext(t.Context(), os.Args[0])
			starter.Env = append(os.Environ(), helperDir+"="+layout.root)
			if leashed {
				starter.Env = append(starter.Env, helperLeashed+"=yes")
			}
			output, err := starter.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, starter.Start())
			line := make([]byte, 64)
			n, err := output.Read(line)
			require.NoError(t, err)
			require.Equal(t, "started <nil>\n", string(line[:n]))
			p := sleeper(layout)
			t.Cleanup(func() { _ = p.kill() })
			id := p.current()
			require.True(t, id.alive())

			require.NoError(t, starter.Process.Kill())
			_ = starter.Wait()
			if !leashed {
				require.True(t, id.alive())
				return
			}
			require.Eventually(t, func() bool { return !id.alive() }, 10*time.Second, 10*time.Millisecond)
		})
	}
}

func TestParseIdentityReadsOddProgramNames(t *testing.T) {
	t.Parallel()
	id, err := parseIdentity([]byte("boot\n42 (a) b (c)) S 1 42 42 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0\n"))
	require.NoError(t, err)
	require.Equal(t, identity{pid: 42, start: "777", boot: "boot"}, id)
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return path
}

func TestAnAppThatExitsShowsTheEndOfItsLog(t *testing.T) {
	t.Parallel()
	_, err := StartApp(t.Context(), t.TempDir(), AppSpec{
		Name: "api", Binary: script(t, "echo cannot reach the moon; exit 3"), Ready: ReadyURL("http://127.0.0.1:1/"),
	})
	require.ErrorIs(t, err, errExited)
	require.ErrorContains(t, err, "api is not ready")
	require.ErrorContains(t, err, "cannot reach the moon")
}

func TestAnAppRunsAnewOnlyWhenItsBinaryOrSettingsChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spec := AppSpec{
		Name: "worker", Binary: script(t, "exec sleep 600"), Env: map[string]string{"A": "1"},
		Ready: func(context.Context, int) error { return nil },
	}
	start := func() int {
		app, err := StartApp(t.Context(), dir, spec)
		require.NoError(t, err)
		t.Cleanup(func() { _ = app.Kill() })
		return app.PID()
	}
	first := start()
	require.Equal(t, first, start())
	spec.Env = map[string]string{"A": "2"}
	second := start()
	require.NotEqual(t, first, second)
	require.NoError(t, os.WriteFile(spec.Binary, []byte("#!/bin/sh\nexec sleep 601\n"), 0o755))
	require.NotEqual(t, second, start())
}
