package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Stack is a running stack, and how its processes can be measured.
type Stack struct {
	APIURL, SandboxURL, PublicURL string
	DatabaseURL                   string
	TemporalAddress               string
	TemporalNamespace             string
	JWTSecret                     string

	// PIDs are the processes that run on this machine, by service: api, worker, sandbox, temporal, postgres, rabbitmq.
	PIDs map[string]int
	// OwnPostgres says that the stack started its Postgres itself, so that its tables may be filled with made-up orders.
	OwnPostgres bool
	// WorkerMetrics and TemporalMetrics are where these processes serve their metrics; found by the pid where empty.
	WorkerMetrics, TemporalMetrics string
}

// services are the processes of a stack, as its env file and the tables here name them.
var services = []string{"api", "worker", "temporal", "postgres", "rabbitmq", "sandbox"}

// StackFromEnv reads a stack's variables: those of its env file, of which the environment's own (override) go first. All
// that is missing is told at once.
func StackFromEnv(file map[string]string, override func(string) string) (Stack, error) {
	var missing []string
	get := func(name string) string {
		if value := override(name); value != "" {
			return value
		}
		return file[name]
	}
	need := func(name string) string {
		value := get(name)
		if value == "" {
			missing = append(missing, name)
		}
		return value
	}
	s := Stack{
		APIURL: strings.TrimSuffix(need("API_URL"), "/"), SandboxURL: strings.TrimSuffix(need("SANDBOX_URL"), "/"),
		PublicURL: need("PUBLIC_URL"), DatabaseURL: need("DATABASE_URL"), TemporalAddress: need("TEMPORAL_ADDRESS"),
		TemporalNamespace: need("TEMPORAL_NAMESPACE"), JWTSecret: need("JWT_SECRET"), PIDs: map[string]int{},
	}
	if len(missing) > 0 {
		return s, fmt.Errorf("not known: %s. Start the stack with `make up`, or set them", strings.Join(missing, ", "))
	}
	if get("APP_ENV") == "production" {
		return s, errors.New("this is a production stack (APP_ENV): the bench buys courses that nobody wants")
	}
	for _, service := range services {
		if pid, err := strconv.Atoi(file["PID_"+strings.ToUpper(service)]); err == nil {
			s.PIDs[service] = pid
		}
	}
	s.OwnPostgres = s.PIDs["postgres"] != 0 && s.DatabaseURL == file["DATABASE_URL"]
	return s, nil
}

// checkHosts refuses a stack on another machine: a load test there is an attack, unless its owner knows of it.
func (s Stack) checkHosts() error {
	var elsewhere []string
	for _, address := range []string{s.APIURL, s.SandboxURL, s.PublicURL, s.DatabaseURL, "tcp://" + s.TemporalAddress} {
		u, err := url.Parse(address)
		if err != nil {
			return errors.New("one of the stack's addresses is no URL")
		}
		if !loopback(u.Hostname()) {
			elsewhere = append(elsewhere, u.Host)
		}
	}
	if len(elsewhere) > 0 {
		return fmt.Errorf("%s: not this machine; --yes-load-this-host puts load on it all the same", strings.Join(elsewhere, ", "))
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkRows refuses to fill a database that is not the stack's own.
func (s Stack) checkRows() error {
	u, err := url.Parse(s.DatabaseURL)
	if err != nil || !s.OwnPostgres || !loopback(u.Hostname()) || u.Path != "/coursepay" {
		return errors.New("rows are made up in the stack's own database alone, which this is not")
	}
	return nil
}

// checkUp asks each part whether it answers, so that the first failure says what to do about it.
func (s Stack) checkUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for name, address := range map[string]string{"the API": s.APIURL + "/readyz", "the sandbox": s.SandboxURL + "/control/faults"} {
		if err := answersOK(ctx, address); err != nil {
			return fmt.Errorf("%s does not answer; `make up` starts the stack: %w", name, err)
		}
	}
	conn, err := pgx.Connect(ctx, s.DatabaseURL)
	if err != nil {
		return fmt.Errorf("the database does not answer; `make up` starts the stack: %w", err)
	}
	return conn.Close(ctx)
}

func answersOK(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP %d", address, response.StatusCode)
	}
	return nil
}

// findMetrics looks up where worker and Temporal serve their metrics, where nobody has said.
func (s Stack) findMetrics() Stack {
	if pid := s.PIDs["worker"]; s.WorkerMetrics == "" && pid != 0 {
		if ports := listeningPorts(pid); len(ports) == 1 { // a worker listens for nothing else
			s.WorkerMetrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[0])
		}
	}
	if pid := s.PIDs["temporal"]; s.TemporalMetrics == "" && pid != 0 {
		if port := argumentAfter(pid, "--metrics-port"); port != "" {
			s.TemporalMetrics = "http://127.0.0.1:" + port + "/metrics"
		} else if address := variableOf(pid, "PROMETHEUS_ENDPOINT"); address != "" {
			s.TemporalMetrics = "http://" + address + "/metrics"
		}
	}
	return s
}

// argumentAfter is the argument of a running process that follows a flag; empty when there is none.
func argumentAfter(pid int, flag string) string {
	return cutFrom(fmt.Sprintf("/proc/%d/cmdline", pid), "\x00"+flag+"\x00")
}

// variableOf is a variable that a running process was started with; empty when there is none.
func variableOf(pid int, name string) string {
	return cutFrom(fmt.Sprintf("/proc/%d/environ", pid), "\x00"+name+"=")
}

// cutFrom reads a list that has a zero byte after each entry, and returns what follows a mark in it, up to the next.
func cutFrom(path, mark string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	_, rest, found := strings.Cut("\x00"+string(text), mark)
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, "\x00")
	return value
}
