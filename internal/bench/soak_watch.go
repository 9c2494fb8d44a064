package bench

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/api/workflowservice/v1"
)

// watch samples what a stack's processes hold. Each sample adds a value to every series.
type watch struct {
	b       *bench
	ports   map[int]string // the services, by the ports that they listen on
	at      []float64      // seconds
	order   []string       // the series, as they came up
	values  map[string]*Series
	leftOut []string
}

// isOurs are the processes whose growth is a fault of ours.
var isOurs = map[string]bool{"api": true, "worker": true}

func newWatch(b *bench) (*watch, error) {
	w := &watch{b: b, ports: map[int]string{}, values: map[string]*Series{}}
	for service, address := range map[string]string{
		"api": b.Stack.APIURL, "sandbox": b.Stack.SandboxURL, "postgres": b.Stack.DatabaseURL, "temporal": "tcp://" + b.Stack.TemporalAddress,
	} {
		u, err := url.Parse(address)
		if err != nil {
			return nil, fmt.Errorf("the address of %s is no URL", service)
		}
		if port, err := strconv.Atoi(u.Port()); err == nil {
			w.ports[port] = service
		}
	}
	for service, pid := range b.Stack.PIDs {
		for _, port := range listeningPorts(pid) {
			w.ports[port] = service
		}
	}
	for _, service := range services {
		if b.Stack.PIDs[service] == 0 {
			w.leftOut = append(w.leftOut, "memory, files and connections of "+service+": it is not a process of this stack")
		}
	}
	w.leftOut = append(w.leftOut, "the workflow cache of the worker: the SDK tells nobody its size; it holds as many as there are running stories at most")
	return w, nil
}

func (w *watch) add(name string, q quantity, ours bool, value float64) {
	s, known := w.values[name]
	if !known {
		s = &Series{Name: name, Quantity: q, Ours: ours, Values: make([]float64, len(w.at)-1)}
		w.values[name] = s
		w.order = append(w.order, name)
	}
	for len(s.Values) < len(w.at)-1 { // it was not there the last times: a connection, for instance
		s.Values = append(s.Values, 0)
	}
	s.Values = append(s.Values, value)
}

// look takes one sample.
func (w *watch) look(ctx context.Context, at time.Duration) error {
	w.at = append(w.at, at.Seconds())
	if err := w.runtimes(ctx); err != nil {
		return err
	}
	if err := w.processes(); err != nil {
		return err
	}
	if err := w.backends(ctx); err != nil {
		return err
	}
	return w.load(ctx)
}

// runtimes asks the Go runtimes, where there are metrics.
func (w *watch) runtimes(ctx context.Context) error {
	for _, service := range services {
		address := w.b.gauges.metrics[service]
		if address == "" {
			continue
		}
		metrics, err := readMetrics(ctx, address)
		if err != nil {
			return fmt.Errorf("read metrics of %s: %w", service, err)
		}
		for _, m := range []struct {
			metric string
			is     quantity
		}{{"go_goroutines", goroutines}, {"go_memstats_next_gc_bytes", heap}} {
			if value := sum(metrics, m.metric, nil); value > 0 {
				w.add(service+" "+string(m.is), m.is, isOurs[service], value)
			}
		}
	}
	return nil
}

// processes looks at what the operating system knows of them.
func (w *watch) processes() error {
	stats := readStats()
	for _, service := range services {
		pid := w.b.Stack.PIDs[service]
		if pid == 0 {
			continue
		}
		if _, runs := stats[pid]; !runs {
			return fmt.Errorf("%s has ended meanwhile", service)
		}
		bytes, open := 0.0, 0
		for member := range stats {
			if descends(stats, member, pid) {
				bytes += anonymous(member)
				open += openFiles(member)
			}
		}
		w.add(service+" memory", memory, isOurs[service], bytes)
		if service != "postgres" { // opens its tables' files as it needs them, up to a limit
			w.add(service+" files", files, isOurs[service], float64(open))
		}
		if isOurs[service] {
			w.connections(service, pid)
		}
	}
	return nil
}

// connections counts a process's TCP connections by who is at the other end.
func (w *watch) connections(service string, pid int) {
	count := map[string]int{}
	for _, s := range sockets(pid) {
		switch peer, known := w.ports[s.remote]; {
		case w.ports[s.local] == service:
			count[service+" ← connections"]++
		case known:
			count[service+" → "+peer+" connections"]++
		default:
			count[service+" → others connections"]++
		}
	}
	for _, name := range byValue(asFloats(count)) {
		w.add(name, connections, true, float64(count[name]))
	}
}

// backends asks Postgres who is connected to our database, and who does nothing in an open transaction.
func (w *watch) backends(ctx context.Context) error {
	var all, idle float64
	err := w.b.gauges.db.QueryRow(ctx, `select count(*), count(*) filter (where state like 'idle in transaction%')
		from pg_stat_activity where datname = current_database()`).Scan(&all, &idle)
	if err != nil {
		return fmt.Errorf("count Postgres' connections: %w", err)
	}
	w.add("postgres connections", connections, true, all)
	w.add("postgres idle in transaction", connections, true, idle)
	return nil
}

// load is what is under way: if that grows, so may everything else.
func (w *watch) load(ctx context.Context) error {
	answer, err := w.b.engine.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: `ExecutionStatus="Running"`})
	if err != nil {
		return fmt.Errorf("count running stories: %w", err)
	}
	w.add("running stories", stories, true, float64(answer.GetCount()))
	return nil
}

// series are all that were seen, judged.
func (w *watch) series(warmUp time.Duration) []Series {
	var all []Series
	for _, name := range w.order {
		s := *w.values[name]
		for len(s.Values) < len(w.at) {
			s.Values = append(s.Values, 0)
		}
		all = append(all, judgeSeries(s, w.at, warmUp))
	}
	slices.SortStableFunc(all, func(a, b Series) int { // ours first
		switch {
		case a.Ours && !b.Ours:
			return -1
		case b.Ours && !a.Ours:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

// anonymous is how many bytes of memory are a process's alone and in use: not its program, not what it shares with others
// (Postgres' buffers). 0 if it has just ended.
func anonymous(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "RssAnon:"); found {
			kilobytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				return 0
			}
			return kilobytes * 1024
		}
	}
	return 0
}

func openFiles(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries)
}

// socket is a TCP connection of a process, half closed ones too.
type socket struct{ local, remote int }

func sockets(pid int) []socket {
	own := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if link, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil {
			own[link] = true
		}
	}
	var found []socket
	for _, table := range []string{"tcp", "tcp6"} {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		for line := range strings.Lines(string(text)) {
			if s, inode, ok := parseSocket(line); ok && own["socket:["+inode+"]"] {
				found = append(found, s)
			}
		}
	}
	return found
}

// parseSocket reads a line of /proc/net/tcp, unless it is about a listening socket.
func parseSocket(line string) (s socket, inode string, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] == tcpListen {
		return s, "", false
	}
	local, err := portOf(fields[1])
	if err != nil {
		return s, "", false
	}
	remote, err := portOf(fields[2])
	return socket{local, remote}, fields[9], err == nil
}

func portOf(address string) (int, error) {
	_, hex, _ := strings.Cut(address, ":")
	port, err := strconv.ParseUint(hex, 16, 16)
	return int(port), err
}
