package devstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Ports are where the parts of a stack listen. 0 takes a free port, which the stack's folder remembers.
type Ports struct {
	API, Sandbox, Temporal, TemporalUI, Postgres, AMQP, AMQPAPI int
}

// DefaultPorts are those of a stack that people work with.
func DefaultPorts() Ports {
	return Ports{API: 8080, Sandbox: 8090, Temporal: 7233, TemporalUI: 8233, Postgres: 54329, AMQP: 56729}
}

// Options say what a stack is like. They are kept in its folder, so that later commands find the same stack.
type Options struct {
	// Dir is the stack's folder.
	Dir string `json:"-"`
	// Progress gets a line for each step; nil for none.
	Progress io.Writer `json:"-"`
	// Binary is coursepay. Empty: this very program.
	Binary string
	Ports  Ports
	// Env are variables that differ from the stack's own. DATABASE_URL, AMQP_URL or TEMPORAL_ADDRESS among them name a
	// service of somebody else, which is used and neither started nor stopped.
	Env map[string]string
	// AppEnv are variables of one of our processes alone, by its name (worker or api): DATABASE_URL and its like may lead
	// it to a proxy before the stack's own service.
	AppEnv map[string]map[string]string `json:",omitempty"`
	// Engine is the Temporal server: EngineDev, which empty means too, or EnginePostgres.
	Engine string `json:",omitempty"`
	// EngineSettings tune that server instead of the settings that we ship (deploy/compose/temporal), which nil means:
	// keys of its dynamic configuration, with values in YAML, and variables of its process, such as GOGC.
	EngineSettings map[string]string
	// ServicesOnly leaves out our own processes.
	ServicesOnly bool
	// ForTests is for the services that all tests share: Temporal keeps everything in memory, RabbitMQ has its
	// management API.
	ForTests bool
	// Leashed stops what this program starts when the program dies, however that happens: nothing is left behind.
	Leashed bool `json:"-"`
}

// passedOn are the variables that a stack takes over from the caller's shell.
var passedOn = []string{
	"DATABASE_URL", "AMQP_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "TEMPORAL_TLS",
	"TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
	"TEMPORAL_TLS_SERVER_NAME", "PUBLIC_URL", "METRICS_ADDR", "ORDER_EXPIRY", "POLL_SCHEDULE", "CODES_AT_ONCE", "APP_ENV", "LOG_LEVEL",
	"LOG_FORMAT", "DB_MAX_CONNS", "SANDBOX_NOTIFY_SCHEDULE",
}

// OptionsFromEnvironment are the options of a stack that people work with: the default ports, unless COURSEPAY_API_PORT
// and its like move them, and the services and settings that the environment gives.
func OptionsFromEnvironment(dir string) (Options, error) {
	options := Options{Dir: dir, Ports: DefaultPorts(), Env: map[string]string{}}
	for _, name := range passedOn {
		if value := os.Getenv(name); value != "" {
			options.Env[name] = value
		}
	}
	var faults []error
	for service, port := range options.Ports.byService() {
		faults = append(faults, portFromEnvironment(portVariables[service], port))
	}
	return options, errors.Join(faults...)
}

func portFromEnvironment(variable string, port *int) error {
	text := os.Getenv(variable)
	if variable == "" || text == "" {
		return nil
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || number > 65535 {
		return fmt.Errorf("%s is %q: want a port from 1 to 65535", variable, text)
	}
	*port = number
	return nil
}

// byService names the ports as portVariables does.
func (p *Ports) byService() map[string]*int {
	return map[string]*int{
		"api": &p.API, "sandbox": &p.Sandbox, "temporal": &p.Temporal, "temporal Web UI": &p.TemporalUI,
		"postgres": &p.Postgres, "rabbitmq": &p.AMQP, "rabbitmq HTTP": &p.AMQPAPI,
	}
}

const optionsFile = "stack.json"

// loadOptions reads what is known of the stack in this folder; nothing yet is fine.
func loadOptions(l layout) (Options, error) {
	text, err := os.ReadFile(l.path(optionsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Options{}, nil
	}
	if err != nil {
		return Options{}, err
	}
	var kept Options
	if err := json.Unmarshal(text, &kept); err != nil {
		return Options{}, fmt.Errorf("read %s: %w", l.path(optionsFile), err)
	}
	return kept, nil
}

func (o Options) save(l layout) error {
	text, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		return err
	}
	return writeFile(l.path(optionsFile), text, 0o600)
}

// complete fills in what is left to us: this program as the binary, and free ports or those used before.
func (o Options) complete(l layout, before Ports) (Options, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return o, err
		}
		o.Binary = self
	}
	var err error
	if o.Binary, err = filepath.Abs(o.Binary); err != nil {
		return o, err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return o, err
	}
	old := before.byService()
	for service, port := range o.Ports.byService() {
		if *port != 0 {
			continue
		}
		if *port, err = portAsBefore(l, service, *old[service]); err != nil {
			return o, err
		}
	}
	return o, nil
}

// portAsBefore keeps the port that was free when the stack was first started, unless a stranger has taken it since.
func portAsBefore(l layout, service string, port int) (int, error) {
	program, _, _ := strings.Cut(service, " ")
	running := (&process{name: program, layout: l}).pid() != 0
	if port != 0 && (running || portFree(port)) {
		return port, nil
	}
	return freePort()
}
