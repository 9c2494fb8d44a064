package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"coursepay/internal/devstack"
)

// disk is a small disk of its own that Postgres has its data on, so that it can be full without the machine's being so.
type disk struct{ data string }

// diskSize leaves room for the books of a long run, and for the log of what was written before them.
const diskSize = "768m"

// errNoDisk says that this process may not mount anything that would be sure to go with it.
var errNoDisk = errors.New("a full disk takes root, and mounts of one's own: left out")

// giveDisk moves Postgres, which is not running then, to a disk in memory. It is mounted where only this process and those
// that it starts see it: it cannot be left behind.
func giveDisk(ctx context.Context, stack *devstack.Stack, dir string) (*disk, error) {
	data := filepath.Join(dir, "postgres", "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); !ownMounts() || err != nil { // a container has them elsewhere
		return nil, errNoDisk
	}
	if err := stack.Postgres.Stop(ctx); err != nil {
		return nil, err
	}
	if err := os.Rename(data, data+".disk"); err != nil {
		return nil, err
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "mode=0700,size="+diskSize); err != nil {
		return nil, errors.Join(fmt.Errorf("mount a small disk: %w", err), os.Remove(data), os.Rename(data+".disk", data))
	}
	d := &disk{data}
	if err := copyAll(ctx, data+".disk", data); err != nil {
		return d, err
	}
	return d, os.RemoveAll(data + ".disk")
}

// fill takes all the room that there is until ctx ends.
func (d *disk) fill(ctx context.Context) error {
	ballast, err := os.Create(filepath.Join(d.data, "ballast"))
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for len(block) > 0 && ctx.Err() == nil {
		if _, err := ballast.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	<-ctx.Done()
	return errors.Join(ballast.Close(), os.Remove(ballast.Name()))
}

// giveBack ends the disk, and keeps what was on it if it is still wanted.
func (d *disk) giveBack(ctx context.Context, keep bool) error {
	if keep {
		if err := copyAll(ctx, d.data, d.data+".disk"); err != nil {
			return err
		}
	}
	return syscall.Unmount(d.data, syscall.MNT_DETACH)
}

func copyAll(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", from+"/.", to).CombinedOutput(); err != nil { //nolint:gosec // our own folders
		return fmt.Errorf("copy Postgres' data: %w: %s", err, out)
	}
	return nil
}

// ownMounts says whether this process has mounts of its own, apart from the machine's.
func ownMounts() bool {
	mine, err := os.Readlink("/proc/self/ns/mnt")
	given := os.Getenv(mountsVariable)
	return err == nil && given != "" && given != mine
}

// mountsVariable tells a program that was started with mounts of its own which mounts the machine has.
const mountsVariable = "COURSEPAY_CHAOS_MOUNTS"

// WithOwnMounts is this very program with the same arguments, to be run with mounts of its own: what it mounts goes when it
// ends. It is nil where that cannot be: without root, or when this is that program already.
func WithOwnMounts(ctx context.Context) *exec.Cmd {
	mounts, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil || os.Geteuid() != 0 || os.Getenv(mountsVariable) != "" || !mayMount() {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...) //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), mountsVariable+"="+mounts)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// mayMount tries whether a program of this user's may have mounts of its own: in many containers, not even root's may.
func mayMount() bool {
	cmd := exec.Command("true") //nolint:noctx // it ends at once
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd.Run() == nil
}
