package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of times in /proc, the same on every Linux.
const ticksPerSecond = 100

// Where /proc/<pid>/stat has what, behind the program's name (see proc(5)).
const (
	statParent   = 1
	statUserTime = 11
	statTimes    = 4 // own user and system time, and those of children that have ended
)

// cpuSeconds is the processor time that each service has used, with its children; a service that does not run here is
// left out.
func cpuSeconds(pids map[string]int) map[string]float64 {
	stats := readStats()
	used := map[string]float64{}
	for service, pid := range pids {
		if ticks, found := treeTicks(stats, pid); found {
			used[service] = float64(ticks) / ticksPerSecond
		}
	}
	return used
}

// stat is one process's parent and times.
type stat struct {
	parent int
	ticks  int64
}

func readStats() map[int]stat {
	found := map[int]stat{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue // it has just ended
		}
		if s, ok := parseStat(string(text)); ok {
			found[pid] = s
		}
	}
	return found
}

func parseStat(text string) (s stat, ok bool) {
	end := strings.LastIndexByte(text, ')') // the name before may hold blanks and parentheses
	if end < 0 {
		return s, false
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < statUserTime+statTimes {
		return s, false
	}
	var err error
	if s.parent, err = strconv.Atoi(fields[statParent]); err != nil {
		return s, false
	}
	for _, field := range fields[statUserTime : statUserTime+statTimes] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return s, false
		}
		s.ticks += ticks
	}
	return s, true
}

// treeTicks adds up a process and everything below it.
func treeTicks(stats map[int]stat, root int) (ticks int64, found bool) {
	if _, found = stats[root]; !found {
		return 0, false
	}
	for pid, s := range stats {
		if descends(stats, pid, root) {
			ticks += s.ticks
		}
	}
	return ticks, true
}

func descends(stats map[int]stat, pid, root int) bool {
	for range 32 { // generations; parents may change while we read
		if pid == root {
			return true
		}
		parent, found := stats[pid]
		if !found {
			return false
		}
		pid = parent.parent
	}
	return false
}

const tcpListen = "0A" // the state of a listening socket in /proc/net/tcp

// listeningPorts are the TCP ports that a process listens on, as far as we may see its files.
func listeningPorts(pid int) []int {
	sockets := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if link, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil && strings.HasPrefix(link, "socket:[") {
			sockets[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] = true
		}
	}
	var ports []int
	for _, table := range []string{"tcp", "tcp6"} {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		for line := range strings.Lines(string(text)) {
			if port, inode, ok := parseListener(line); ok && sockets[inode] {
				ports = append(ports, port)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// parseListener reads a line of /proc/net/tcp, if it is about a listening socket.
func parseListener(line string) (port int, inode string, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != tcpListen {
		return 0, "", false
	}
	_, hex, _ := strings.Cut(fields[1], ":")
	number, err := strconv.ParseUint(hex, 16, 16)
	return int(number), fields[9], err == nil
}

// ownCPU is the processor time in seconds that this process has used.
func ownCPU() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
