package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQ is a private RabbitMQ broker, listening on the loopback interface only.
type RabbitMQ struct {
	*Service
	url, api string
}

// URL is what AMQP_URL has to be.
func (r *RabbitMQ) URL() string { return r.url }

// API is the base URL of the broker's management API with the user in it; empty unless the stack was asked for it.
func (r *RabbitMQ) API() string { return r.api }

// StartRabbitMQ starts a RabbitMQ in dir (which it may share with other services) and returns when it answers. Port 0
// takes a free one.
func StartRabbitMQ(ctx context.Context, dir string, port int) (*RabbitMQ, error) {
	builder, err := newBuilder(ctx, dir, io.Discard, "rabbitmq")
	if err != nil {
		return nil, err
	}
	if port, err = orFree(port); err != nil {
		return nil, err
	}
	rabbit := builder.rabbitmq(port, 0)
	return rabbit, rabbit.Start(ctx)
}

func (b *builder) rabbitmq(port, apiPort int) *RabbitMQ {
	if given := b.given["AMQP_URL"]; given != "" {
		return &RabbitMQ{Service: givenService("rabbitmq", probeAMQP(given)), url: given, api: givenAPI(given)}
	}
	broker := rabbitBroker{bin: b.tools.rabbitBin, layout: b.layout, port: port, apiPort: apiPort}
	rabbit := &RabbitMQ{
		Service: &Service{name: "rabbitmq", limit: 2 * time.Minute},
		url:     "amqp://guest:guest@" + loopback(port) + "/",
	}
	rabbit.probe = probeAMQP(rabbit.url)
	if apiPort != 0 {
		rabbit.api = "http://guest:guest@" + loopback(apiPort)
		rabbit.probe = both(rabbit.probe, probeHTTP(rabbit.api+"/api/overview"))
	}
	if b.tools.rabbitBin == "" {
		rabbit.server = b.container(rabbitContainer(port, apiPort))
		rabbit.prepare = func(context.Context) error { return broker.checkPorts() }
		return rabbit
	}
	rabbit.server = &process{
		name: "rabbitmq", layout: b.layout, stopSignal: syscall.SIGTERM,
		settings: fmt.Sprint(broker.bin, port, apiPort), launch: broker.launch,
	}
	rabbit.prepare, rabbit.release = broker.prepare, broker.epmd(0).stop
	rabbit.settle = func(context.Context) error { return b.layout.complete("rabbitmq") }
	return rabbit
}

func rabbitContainer(port, apiPort int) container {
	c := container{
		service: "rabbitmq", image: "rabbitmq:3.13-alpine", port: port, inner: 5672, volume: "/var/lib/rabbitmq",
		env: []string{"RABBITMQ_NODENAME=rabbit@localhost"},
	}
	if apiPort != 0 {
		c.apiPort, c.innerAPI = apiPort, 15672
		c.command = []string{"sh", "-c",
			"rabbitmq-plugins enable --offline rabbitmq_management && exec docker-entrypoint.sh rabbitmq-server"}
	}
	return c
}

// rabbitBroker is a data folder with a broker of the installed version.
//
// An Erlang node registers with a helper daemon, epmd, which the first node on a machine would start and leave behind
// for good. Ours has a private one, so that it neither meets a system RabbitMQ nor outlives the stack.
type rabbitBroker struct {
	bin           string
	layout        layout
	port, apiPort int
}

func (r rabbitBroker) path(name string) string { return r.layout.path("rabbitmq", name) }

func (r rabbitBroker) checkPorts() error {
	err := checkPort("rabbitmq", r.port)
	if r.apiPort != 0 {
		err = errors.Join(err, checkPort("rabbitmq HTTP", r.apiPort))
	}
	return err
}

// prepare writes the broker's files and starts its epmd.
func (r rabbitBroker) prepare(ctx context.Context) error {
	if err := errors.Join(r.checkPorts(), r.layout.fresh("rabbitmq")); err != nil {
		return err
	}
	epmdPort, err := freePort()
	if err != nil {
		return err
	}
	files := map[string]string{
		"rabbitmq.conf":   fmt.Sprintf("listeners.tcp.1 = %s\nlog.console.level = warning\n", loopback(r.port)),
		"advanced.config": "[].\n",
		"plugins":         "[].\n",
		"environment.sh":  "# instead of the system's rabbitmq-env.conf\n",
		"epmd-port":       fmt.Sprint(epmdPort),
	}
	if r.apiPort != 0 {
		files["plugins"] = "[rabbitmq_management].\n"
		files["advanced.config"] = fmt.Sprintf("[{rabbitmq_management, [{tcp_config, [{ip, \"127.0.0.1\"}, {port, %d}]}]}].\n", r.apiPort)
	}
	for name, text := range files {
		if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	daemon := r.epmd(epmdPort)
	if err := daemon.stop(ctx); err != nil { // one that a killed broker left behind
		return err
	}
	return daemon.start(ctx)
}

func (r rabbitBroker) epmd(port int) *process {
	return &process{
		name: "epmd", layout: r.layout, stopSignal: syscall.SIGTERM,
		launch: func(context.Context) (launch, error) {
			binary, err := exec.LookPath("epmd")
			if err != nil {
				return launch{}, fmt.Errorf("epmd, which belongs to Erlang, is missing: %w", err)
			}
			return launch{command: []string{binary, "-port", fmt.Sprint(port), "-address", "127.0.0.1"}, dir: "/"}, nil
		},
	}
}

func (r rabbitBroker) launch(context.Context) (launch, error) {
	node, err := r.node()
	if err != nil {
		return launch{}, err
	}
	distPort, err := freePort()
	if err != nil {
		return launch{}, err
	}
	epmdPort, err := os.ReadFile(r.path("epmd-port"))
	if err != nil {
		return launch{}, err
	}
	return launch{
		command: []string{filepath.Join(r.bin, "rabbitmq-server")},
		dir:     r.layout.path("rabbitmq"),
		env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + r.layout.path("rabbitmq"), "LC_ALL=C.UTF-8",
			// Makes the script become the broker instead of staying its parent: the pid is the broker's own.
			"RUNNING_UNDER_SYSTEMD=true",
			"ERL_EPMD_PORT=" + string(epmdPort),
			"RABBITMQ_NODENAME=" + node,
			fmt.Sprintf("RABBITMQ_DIST_PORT=%d", distPort),
			"RABBITMQ_MNESIA_BASE=" + r.path("mnesia"),
			"RABBITMQ_LOG_BASE=" + r.path("log"),
			"RABBITMQ_LOGS=-",
			"RABBITMQ_PID_FILE=" + r.path("pid"),
			"RABBITMQ_CONFIG_FILE=" + r.path("rabbitmq.conf"),
			"RABBITMQ_ADVANCED_CONFIG_FILE=" + r.path("advanced.config"),
			"RABBITMQ_ENABLED_PLUGINS_FILE=" + r.path("plugins"),
			"RABBITMQ_CONF_ENV_FILE=" + r.path("environment.sh"),
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		},
	}, nil
}

// node is the Erlang node's name. The data belong to it, so it is chosen once and kept with them.
func (r rabbitBroker) node() (string, error) {
	kept, err := os.ReadFile(r.path("node"))
	if err == nil && len(kept) > 0 {
		return string(kept), nil
	}
	name := "coursepay-" + strings.ToLower(rand.Text()[:8]) + "@localhost"
	return name, writeFile(r.path("node"), []byte(name), 0o644)
}

func probeAMQP(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		deadline, _ := ctx.Deadline()
		conn, err := amqp.DialConfig(address, amqp.Config{Dial: amqp.DefaultDial(time.Until(deadline))})
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

func probeHTTP(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s answers %s", request.URL.Redacted(), answer.Status)
		}
		return nil
	}
}

func both(first, second func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := first(ctx); err != nil {
			return err
		}
		return second(ctx)
	}
}

// givenAPI is where the management API of a broker that is not ours should be.
func givenAPI(amqpURL string) string {
	if set := os.Getenv("COURSEPAY_AMQP_API_URL"); set != "" {
		return strings.TrimSuffix(set, "/")
	}
	address, err := url.Parse(amqpURL)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: "http", User: address.User, Host: address.Hostname() + ":15672"}).String()
}
