package devstack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"
)

// PortTakenError says that something else listens where a service of ours should.
type PortTakenError struct {
	Service  string
	Port     int
	Variable string // that moves the service, empty when there is none
}

func (e *PortTakenError) Error() string {
	text := fmt.Sprintf("port %d, where %s should listen, is taken by another program", e.Port, e.Service)
	if e.Variable != "" {
		text += fmt.Sprintf(": stop that program, or set %s to a free port", e.Variable)
	}
	return text
}

// portVariables are the settings that move a service to another port.
var portVariables = map[string]string{
	"postgres":         "COURSEPAY_POSTGRES_PORT",
	"rabbitmq":         "COURSEPAY_AMQP_PORT",
	"temporal":         "COURSEPAY_TEMPORAL_PORT",
	"temporal Web UI":  "COURSEPAY_TEMPORAL_UI_PORT",
	"api":              "COURSEPAY_API_PORT",
	"sandbox":          "COURSEPAY_SANDBOX_PORT",
	"rabbitmq HTTP":    "",
	"rabbitmq cluster": "",
}

// checkPort looks for a moment before it complains: a child that is just being started holds on to what we have open, such
// as the port of the last look, until it becomes another program.
func checkPort(service string, port int) error {
	for deadline := time.Now().Add(500 * time.Millisecond); time.Now().Before(deadline); {
		if portFree(port) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return &PortTakenError{Service: service, Port: port, Variable: portVariables[service]}
}

func portFree(port int) bool {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", loopback(port))
	return err == nil && listener.Close() == nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts are different ones, none of which anybody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for len(ports) < n {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// FreeAddress is one on the loopback interface that nobody listens on, and whose port no outgoing connection is given:
// what is served there can be stopped and started again.
func FreeAddress() (string, error) {
	port, err := freePort()
	return loopback(port), err
}

// freePort finds a port that nobody listens on, below the range that the kernel gives to outgoing connections: one of
// those could otherwise take the port between this look and the service's start.
func freePort() (int, error) {
	const lowest, highest = 20000, 32000
	for range 1000 {
		port := lowest + rand.IntN(highest-lowest)
		if portFree(port) {
			return port, nil
		}
	}
	return 0, errors.New("found no free port between 20000 and 32000")
}
