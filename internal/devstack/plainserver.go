package devstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/durationpb"

	compose "coursepay/deploy/compose/temporal"
)

// retention is how long closed workflows can be looked at, as docker-compose.yml has it.
const retention = 72 * time.Hour

// plainServer is Temporal's server over Postgres, set up as docker-compose.yml does it.
type plainServer struct {
	program, sqlTool string
	layout           layout
	port             int
	postgres         *url.URL
	settings         engineSettings
}

// plainTemporal builds the service. Postgres has to run before it is started.
func (b *builder) plainTemporal(port int, postgres *Postgres, settings engineSettings) (*Temporal, error) {
	if postgres.Given() || b.given["TEMPORAL_ADDRESS"] != "" {
		return nil, errors.New("the engine over Postgres is for a stack that runs its own Postgres and its own Temporal: " +
			"unset DATABASE_URL and TEMPORAL_ADDRESS")
	}
	address, err := url.Parse(postgres.URL())
	if err != nil {
		return nil, err
	}
	plain := plainServer{
		program: b.tools.temporalServer, sqlTool: b.tools.temporalSQL, layout: b.layout, port: port, postgres: address,
		settings: settings,
	}
	temporal := &Temporal{address: loopback(port)}
	temporal.Service = &Service{
		name: "temporal", limit: 2 * time.Minute, prepare: plain.prepare, probe: temporal.serves,
		settle: temporal.makeNamespace,
		server: &process{
			name: "temporal", layout: b.layout, stopSignal: syscall.SIGTERM,
			settings: fmt.Sprint(plain.program, port, address.Host, settings), launch: plain.launch,
		},
	}
	return temporal, nil
}

func (p plainServer) home(parts ...string) string {
	return p.layout.path(append([]string{"temporal-server"}, parts...)...)
}

// prepare brings the databases up to date, with the script and the program that docker-compose.yml has for it.
func (p plainServer) prepare(ctx context.Context) error {
	if err := checkPort("temporal", p.port); err != nil {
		return err
	}
	if err := os.MkdirAll(p.home("bin"), 0o755); err != nil {
		return err
	}
	named := p.home("bin", TemporalSQLTool.Name) // without the version, as the script calls it
	if err := errors.Join(removeFile(named), os.Symlink(p.sqlTool, named)); err != nil {
		return err
	}
	password, _ := p.postgres.User.Password()
	script := exec.CommandContext(ctx, "/bin/sh", "-c", compose.SchemaScript)
	script.Env = environ(map[string]string{
		"PATH": filepath.Dir(named) + ":" + os.Getenv("PATH"), "HOME": p.home(), "SQL_PLUGIN": "postgres12",
		"SQL_HOST": p.postgres.Hostname(), "SQL_PORT": p.postgres.Port(), "SQL_USER": postgresUser, "SQL_PASSWORD": password,
	})
	if out, err := script.CombinedOutput(); err != nil {
		return fmt.Errorf("set up Temporal's databases: %w\n%s", err, out)
	}
	return p.forgetMembers(ctx)
}

// forgetMembers clears the list of servers that work on these data. There is but one, which does not run now. Its last
// entries, with inner ports of their own, would keep the next from finding itself for half a minute.
func (p plainServer) forgetMembers(ctx context.Context) error {
	database := *p.postgres
	database.Path = "temporal"
	return withPostgres(ctx, database.String(), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DELETE FROM cluster_membership")
		return err
	})
}

func (p plainServer) launch(context.Context) (launch, error) {
	config, err := p.settings.file()
	if err != nil {
		return launch{}, err
	}
	file := p.home("dynamicconfig.yaml")
	if err := writeFile(file, config, 0o644); err != nil {
		return launch{}, err
	}
	env, err := p.env(file)
	if err != nil {
		return launch{}, err
	}
	return launch{command: []string{p.program, "start"}, dir: p.home(), env: environ(env)}, nil
}

// innerPorts are where the server's parts talk to each other, by the variables that say so.
var innerPorts = []string{
	"FRONTEND_HTTP_PORT", "FRONTEND_MEMBERSHIP_PORT", "HISTORY_GRPC_PORT", "HISTORY_MEMBERSHIP_PORT", "MATCHING_GRPC_PORT",
	"MATCHING_MEMBERSHIP_PORT", "WORKER_GRPC_PORT", "WORKER_MEMBERSHIP_PORT",
}

func (p plainServer) env(dynamicConfig string) (map[string]string, error) {
	password, _ := p.postgres.User.Password()
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": p.home(), "DYNAMIC_CONFIG_FILE_PATH": dynamicConfig, "DB": "postgres12",
		"POSTGRES_SEEDS": p.postgres.Hostname(), "DB_PORT": p.postgres.Port(), "POSTGRES_USER": postgresUser,
		"POSTGRES_PWD": password, "BIND_ON_IP": "127.0.0.1", "TEMPORAL_BROADCAST_ADDRESS": "127.0.0.1",
		"FRONTEND_GRPC_PORT": fmt.Sprint(p.port),
	}
	ports, err := freePorts(len(innerPorts) + 1)
	if err != nil {
		return nil, err
	}
	for i, variable := range innerPorts {
		env[variable] = fmt.Sprint(ports[i])
	}
	env["PROMETHEUS_ENDPOINT"] = loopback(ports[len(innerPorts)])
	maps.Copy(env, p.settings.env)
	return env, nil
}

// serves says whether the server answers at all.
func (t *Temporal) serves(ctx context.Context) error {
	c, err := t.Dial(ctx, "default")
	if err != nil {
		return err
	}
	c.Close()
	return nil
}

// makeNamespace creates the namespace that everything runs in, and waits until all of the server knows it.
func (t *Temporal) makeNamespace(ctx context.Context) error {
	c, err := t.Dial(ctx, "default")
	if err != nil {
		return err
	}
	defer c.Close()
	return eventually(ctx, func(ctx context.Context) error {
		_, err := c.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
			Namespace: "default", WorkflowExecutionRetentionPeriod: durationpb.New(retention),
		})
		if _, there := errors.AsType[*serviceerror.NamespaceAlreadyExists](err); err != nil && !there {
			return err
		}
		_, err = c.DescribeWorkflowExecution(ctx, "nothing", "") // asks the part that keeps the histories
		if _, none := errors.AsType[*serviceerror.NotFound](err); none {
			return nil
		}
		return err
	})
}
