package devstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// launch is how a process is started.
type launch struct {
	command []string
	env     []string // the whole environment
	dir     string   // working directory, empty: ours
	account *account // nil: ourselves
}

// process is a program that outlives the command which started it. Its pid file lets a later command find it again.
type process struct {
	name       string
	layout     layout
	stopSignal syscall.Signal
	// settings is what a running process must agree with: another value means that it has to be started anew.
	settings string
	// launch is asked at each start, since free ports and the like are chosen then.
	launch func(ctx context.Context) (launch, error)
}

// pidPrelude lets the child itself write who it is before it becomes the program, so that there is never a process
// without a pid file, even when we are killed right after the fork.
const pidPrelude = `cat /proc/sys/kernel/random/boot_id /proc/$$/stat >&3 && exec 3>&- && exec "$@"`

func (p *process) pidFile() string      { return p.layout.run(p.name + ".pid") }
func (p *process) settingsFile() string { return p.layout.run(p.name + ".settings") }
func (p *process) logFile() string      { return p.layout.log(p.name) }

// current is the process as the pid file knows it, whether it still runs or not.
func (p *process) current() identity {
	text, err := os.ReadFile(p.pidFile())
	if err != nil {
		return identity{}
	}
	id, err := parseIdentity(text)
	if err != nil {
		return identity{}
	}
	return id
}

func (p *process) pid() int {
	if id := p.current(); id.alive() {
		return id.pid
	}
	return 0
}

// asWanted says whether it runs with the settings that it should have.
func (p *process) asWanted() bool {
	settings, err := os.ReadFile(p.settingsFile())
	return err == nil && p.pid() != 0 && string(settings) == digest(p.settings)
}

func (p *process) start(ctx context.Context) error {
	how, err := p.launch(ctx)
	if err != nil {
		return err
	}
	if err := p.spawn(ctx, how); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return writeFile(p.settingsFile(), []byte(digest(p.settings)), 0o600)
}

func (p *process) spawn(ctx context.Context, how launch) error {
	logFile, err := openLog(p.logFile())
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }()
	pidFile, err := os.OpenFile(p.pidFile(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = pidFile.Close() }()

	// Not CommandContext: it has to outlive us.
	cmd := exec.Command("/bin/sh", append([]string{"-c", pidPrelude, p.name}, how.command...)...) //nolint:noctx // outlives us
	cmd.Env, cmd.Dir = how.env, how.dir
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = logFile, logFile, []*os.File{pidFile}
	cmd.SysProcAttr = how.account.attributes()
	cmd.SysProcAttr.Setsid = true
	if p.layout.leashed {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := startAndReap(cmd); err != nil {
		return err
	}
	return p.awaitPidFile(ctx, cmd.Process.Pid)
}

// startAndReap starts a child and waits for its end in the background, so that a dead one does not stay a zombie while we
// live. Both happen on one thread that is kept until then, since Linux counts the thread as the parent whose death
// Pdeathsig is about.
func startAndReap(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	return <-started
}

// awaitPidFile returns once the child has written who it is, or has failed to.
func (p *process) awaitPidFile(ctx context.Context, pid int) error {
	child, _ := identify(pid) // gone already? Whoever waits for it to be ready will say so
	return eventually(ctx, func(context.Context) error {
		if p.current() != child && child.alive() {
			return fmt.Errorf("%s has not written its pid file", p.name)
		}
		return nil
	})
}

// stop ends it cleanly, or by force once ctx ends.
func (p *process) stop(ctx context.Context) error {
	id := p.current()
	if !id.alive() {
		return p.forget()
	}
	if err := id.signal(p.stopSignal); err != nil {
		return err
	}
	if err := awaitGone(ctx, id); err != nil {
		if err := p.kill(); err != nil {
			return fmt.Errorf("kill %s, which does not stop: %w", p.name, err)
		}
	}
	return p.forget()
}

// kill ends it and everything that it started as a crash would, and returns when they are gone.
func (p *process) kill() error {
	id := p.current()
	if !id.alive() {
		return nil
	}
	family := append([]identity{id}, descendants(id.pid)...)
	var faults []error
	for _, member := range family {
		faults = append(faults, member.signal(syscall.SIGKILL))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(append(faults, awaitGone(ctx, family...))...)
}

func awaitGone(ctx context.Context, family ...identity) error {
	return eventually(ctx, func(context.Context) error {
		for _, member := range family {
			if member.alive() {
				return fmt.Errorf("process %d still runs", member.pid)
			}
		}
		return nil
	})
}

func (p *process) forget() error {
	return errors.Join(removeFile(p.pidFile()), removeFile(p.settingsFile()))
}

// lastWords is the end of its log.
func (p *process) lastWords(context.Context) string { return tail(p.logFile(), 15) }

// openLog opens a log for appending; an old one that has grown large makes room.
func openLog(path string) (*os.File, error) {
	const large = 16 << 20
	if info, err := os.Stat(path); err == nil && info.Size() > large {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
}

// tail is the last lines of a file, as far as it can be read.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// writeFile replaces a file whole: a reader sees the old contents or the new, never half.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Chmod(mode), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(err, removeFile(temporary.Name()))
	}
	return nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
