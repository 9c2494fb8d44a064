package devstack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// identity names one process for all time: a pid comes back after a while, a pid with its start time and the machine's
// boot does not. A stale pid file therefore never leads to a stranger.
type identity struct {
	pid   int
	start string // in clock ticks after the boot
	boot  string
}

// identify reads who has this pid now.
func identify(pid int) (identity, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return identity{}, fmt.Errorf("read the boot id: %w", err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return identity{}, fmt.Errorf("read the state of process %d: %w", pid, err)
	}
	return parseIdentity(append(boot, stat...))
}

// parseIdentity reads a boot id and, on the next line, /proc/<pid>/stat.
func parseIdentity(text []byte) (identity, error) {
	boot, stat, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	fields, err := statFields(stat)
	if err != nil {
		return identity{}, err
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || pid <= 1 {
		return identity{}, fmt.Errorf("%q is no pid of ours", fields[0])
	}
	return identity{pid: pid, start: fields[statStart], boot: string(boot)}, nil
}

// Where /proc/<pid>/stat has what, once the program's name is taken out (see proc(5)).
const (
	statState  = 1
	statParent = 2
	statStart  = 20
)

var errNoStat = errors.New("not the contents of /proc/<pid>/stat")

// statFields cuts the program's name out, which may itself contain blanks and parentheses.
func statFields(stat []byte) ([]string, error) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return nil, errNoStat
	}
	fields := append(strings.Fields(string(stat[:open])), strings.Fields(string(stat[end+1:]))...)
	if len(fields) <= statStart {
		return nil, errNoStat
	}
	return fields, nil
}

// alive says whether this very process still runs. A zombie does not.
func (id identity) alive() bool {
	if id.pid == 0 {
		return false
	}
	now, err := identify(id.pid)
	return err == nil && now == id && !zombie(id.pid)
}

// zombie says whether the process has ended, though nobody has asked for its exit code yet. Its first thread may have that
// state while others still hold files and ports.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	fields, err := statFields(stat)
	if err != nil || fields[statState] == "X" {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return fields[statState] == "Z" && (err != nil || len(threads) <= 1)
}

// signal sends a signal to this very process: the handle is taken first and the identity checked then, so that the pid
// cannot change hands in between. A process that is gone is no error.
func (id identity) signal(sig syscall.Signal) error {
	handle, err := os.FindProcess(id.pid)
	if err != nil {
		return fmt.Errorf("find process %d: %w", id.pid, err)
	}
	defer func() { _ = handle.Release() }()
	if !id.alive() {
		return nil
	}
	if err := handle.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to process %d: %w", sig, id.pid, err)
	}
	return nil
}

// descendants lists the children of a process, their children, and so on.
func descendants(pid int) []identity {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if parent, err := parentOf(child); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var found []identity
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		if id, err := identify(queue[0]); err == nil {
			found = append(found, id)
		}
		queue = append(queue, children[queue[0]]...)
	}
	return found
}

func parentOf(pid int) (int, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields, err := statFields(stat)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(fields[statParent])
}

// processesIn lists the processes that have dir as their working directory, as far as we may see that.
func processesIn(dir string) []identity {
	var found []identity
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if where, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd")); err != nil || where != dir {
			continue
		}
		if id, err := identify(pid); err == nil {
			found = append(found, id)
		}
	}
	return found
}
