package devstack

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"
)

// SearchAttributes are those that our workflows set, by name, with their Temporal types.
var SearchAttributes = map[string]string{
	"OrderId": "Keyword", "PayNo": "Keyword", "UserId": "Keyword", "OrderStatus": "Keyword", "NeedsOperator": "Bool",
}

// Temporal is a private Temporal development server, listening on the loopback interface only.
type Temporal struct {
	*Service
	address, ui string
}

// Address is what TEMPORAL_ADDRESS has to be. The namespace is "default".
func (t *Temporal) Address() string { return t.address }

// UIURL is the Web UI's address; empty when there is none, or when it is not ours.
func (t *Temporal) UIURL() string { return t.ui }

// StartTemporal starts a Temporal server with its Web UI in dir (which it may share with other services) and returns
// when it answers. Port 0 takes a free one. Workflows survive its restart.
func StartTemporal(ctx context.Context, dir string, port, uiPort int) (*Temporal, error) {
	builder, err := newBuilder(ctx, dir, io.Discard, "temporal")
	if err != nil {
		return nil, err
	}
	if port, err = orFree(port); err != nil {
		return nil, err
	}
	if uiPort, err = orFree(uiPort); err != nil {
		return nil, err
	}
	settings, err := Options{}.engineSettings()
	if err != nil {
		return nil, err
	}
	temporal := builder.temporal(port, uiPort, false, settings)
	return temporal, temporal.Start(ctx)
}

// temporal builds the service. A forgetful one keeps everything in memory and has no Web UI: quicker, for tests.
func (b *builder) temporal(port, uiPort int, forgetful bool, tuning engineSettings) *Temporal {
	if given := b.given["TEMPORAL_ADDRESS"]; given != "" {
		temporal := &Temporal{address: given}
		temporal.Service = givenService("temporal", temporal.answers)
		return temporal
	}
	dev := temporalServer{binary: b.tools.temporal, layout: b.layout, port: port, uiPort: uiPort, forgetful: forgetful, tuning: tuning}
	temporal := &Temporal{
		Service: &Service{
			name: "temporal", limit: time.Minute, prepare: dev.prepare,
			settle: func(context.Context) error { return b.layout.complete("temporal") },
			server: &process{
				name: "temporal", layout: b.layout, stopSignal: syscall.SIGTERM,
				settings: fmt.Sprint(dev.binary, port, uiPort, forgetful, tuning), launch: dev.launch,
			},
		},
		address: loopback(port),
	}
	temporal.probe = temporal.answers
	if !forgetful {
		temporal.ui = "http://" + loopback(uiPort)
	}
	return temporal
}

type temporalServer struct {
	binary       string
	layout       layout
	port, uiPort int
	forgetful    bool
	tuning       engineSettings
}

func (t temporalServer) prepare(context.Context) error {
	if err := checkPort("temporal", t.port); err != nil {
		return err
	}
	if !t.forgetful {
		if err := checkPort("temporal Web UI", t.uiPort); err != nil {
			return err
		}
	}
	return t.layout.fresh("temporal")
}

func (t temporalServer) launch(context.Context) (launch, error) {
	metricsPort, err := freePort()
	if err != nil {
		return launch{}, err
	}
	command := []string{
		t.binary, "server", "start-dev", "--ip", "127.0.0.1", "--port", fmt.Sprint(t.port),
		"--metrics-port", fmt.Sprint(metricsPort), "--log-level", "warn", "--disable-config-file",
	}
	tuning, err := t.tuning.flags()
	if err != nil {
		return launch{}, err
	}
	command = append(command, tuning...)
	for name, kind := range SearchAttributes {
		command = append(command, "--search-attribute", name+"="+kind)
	}
	if t.forgetful {
		command = append(command, "--headless")
	} else {
		command = append(command, "--ui-port", fmt.Sprint(t.uiPort), "--db-filename", t.layout.path("temporal", "temporal.db"))
		// A log to write to, synced at each commit, in place of a journal to be made and removed: nearly twice the speed, and
		// what was committed is as safe.
		command = append(command, "--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL")
	}
	home := t.layout.path("temporal")
	env := append(t.tuning.runtimeEnv(), "PATH="+os.Getenv("PATH"), "HOME="+home)
	return launch{command: command, dir: home, env: env}, nil
}

// Dial connects to the server. For one that the environment names, TLS and API key come from the SDK's own variables.
func (t *Temporal) Dial(ctx context.Context, namespace string) (client.Client, error) {
	var options client.Options
	if t.Given() {
		var err error
		if options, err = envconfig.LoadDefaultClientOptions(); err != nil {
			return nil, err
		}
	}
	options.HostPort, options.Namespace = t.address, namespace
	options.Logger = log.NewStructuredLogger(slog.New(slog.DiscardHandler))
	return client.DialContext(ctx, options)
}

// answers asks for the namespace that everything runs in: a new server answers before it has made that.
func (t *Temporal) answers(ctx context.Context) error {
	c, err := t.Dial(ctx, "default")
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: "default"})
	return err
}
