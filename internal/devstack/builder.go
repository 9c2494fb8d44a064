package devstack

import (
	"context"
	"io"
	"time"
)

// builder makes the services of one folder.
type builder struct {
	layout   layout
	tools    tools
	given    map[string]string // DATABASE_URL and its like, when somebody else runs the service
	progress *progress
	engine   string // EngineDev where empty
}

// givenVariables are the settings that name a service of somebody else.
var givenVariables = map[string]string{
	"postgres": "DATABASE_URL", "rabbitmq": "AMQP_URL", "temporal": "TEMPORAL_ADDRESS",
}

// newBuilder is for a service of its own, which the program that starts it does not leave behind.
func newBuilder(ctx context.Context, dir string, out io.Writer, need ...string) (*builder, error) {
	layout, err := newLayout(dir)
	if err != nil {
		return nil, err
	}
	layout.leashed = true
	b := &builder{layout: layout, progress: &progress{out: out}}
	return b, b.ensureTools(ctx, need...)
}

func givenService(name string, probe func(context.Context) error) *Service {
	return &Service{name: name, limit: 30 * time.Second, probe: probe}
}

func orFree(port int) (int, error) {
	if port != 0 {
		return port, nil
	}
	return freePort()
}
