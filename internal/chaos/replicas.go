package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/api/enums/v1"

	"coursepay/internal/devstack"
	"coursepay/workflows"
)

// mostReplicas is how many of each of our processes there may be.
const mostReplicas = 3

// replicaNames are the names of an app's replicas: api, api2, …
func replicaNames(app string, replicas int) []string {
	names := []string{app}
	for i := 2; i <= replicas; i++ {
		names = append(names, fmt.Sprint(app, i))
	}
	return names
}

// addReplicas starts the replicas beside the stack's own api and worker, and lets the balancer send to all of the API.
func (r *run) addReplicas(ctx context.Context) error {
	r.services = r.stack.Services()
	env, err := r.links.env(r.stack, r.options.Replicas)
	if err != nil {
		return err
	}
	addresses := []string{strings.TrimPrefix(r.stack.APIURL(), "http://")}
	for i := 1; i < r.options.Replicas; i++ {
		api, worker := replicaNames("api", i+1)[i], replicaNames("worker", i+1)[i]
		address, err := devstack.FreeAddress()
		if err != nil {
			return err
		}
		addresses = append(addresses, address)
		env[api]["HTTP_ADDR"] = address
		for _, spec := range []devstack.AppSpec{
			{Name: api, Args: []string{"api"}, Ready: devstack.ReadyURL("http://" + address + "/readyz")},
			{Name: worker, Args: []string{"worker"}, Ready: r.polls},
		} {
			spec.Binary, spec.Env = r.options.Binary, maps.Clone(r.env)
			maps.Copy(spec.Env, env[spec.Name])
			app, err := devstack.StartApp(ctx, r.dir, spec)
			if app != nil {
				r.services = append(r.services, app.Service)
				r.replicas = append(r.replicas, app.Service)
			}
			if err != nil {
				return err
			}
		}
	}
	r.balancer.backends.Store(&addresses)
	return nil
}

// polls says whether the worker with this pid takes tasks: the SDK calls a worker "<pid>@<host>@".
func (r *run) polls(ctx context.Context, pid int) error {
	engine, err := r.stack.Temporal.Dial(ctx, "default")
	if err != nil {
		return err
	}
	defer engine.Close()
	queue, err := engine.DescribeTaskQueue(ctx, workflows.TaskQueue, enums.TASK_QUEUE_TYPE_WORKFLOW)
	if err != nil {
		return err
	}
	for _, poller := range queue.GetPollers() {
		if strings.HasPrefix(poller.GetIdentity(), fmt.Sprint(pid, "@")) {
			return nil
		}
	}
	return errors.New("it does not poll the task queue yet")
}

// stopReplicas ends what addReplicas has started.
func (r *run) stopReplicas(ctx context.Context) error {
	var faults []error
	for _, service := range r.replicas {
		faults = append(faults, service.Stop(ctx))
	}
	return errors.Join(faults...)
}

// balancer stands before the API's replicas as a load balancer does: learners, phones and Alipay know its address alone.
// Each connection goes to the next replica that takes it.
type balancer struct {
	listener net.Listener
	backends atomic.Pointer[[]string]
	turn     atomic.Uint64
	open     sync.WaitGroup
	ctx      context.Context
	stop     context.CancelFunc
}

// dialWithin is how long a replica may take to take a connection, on this very machine.
const dialWithin = time.Second

func openBalancer(ctx context.Context) (*balancer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &balancer{listener: listener}
	b.ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	b.backends.Store(&[]string{})
	b.open.Go(b.accept)
	return b, nil
}

func (b *balancer) url() string {
	return (&url.URL{Scheme: "http", Host: b.listener.Addr().String()}).String()
}

func (b *balancer) accept() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return // it is closed
		}
		b.open.Go(func() { b.serve(client) })
	}
}

// serve closes a connection that no replica takes.
func (b *balancer) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	replica, err := b.dial()
	if err != nil {
		return
	}
	defer func() { _ = replica.Close() }()
	forget := context.AfterFunc(b.ctx, func() { _, _ = client.Close(), replica.Close() })
	defer forget()
	var both sync.WaitGroup
	for _, way := range []struct{ to, from net.Conn }{{replica, client}, {client, replica}} {
		both.Go(func() {
			_, _ = io.Copy(way.to, way.from)
			_, _ = client.Close(), replica.Close() // one end has gone: so does the other
		})
	}
	both.Wait()
}

func (b *balancer) dial() (net.Conn, error) {
	backends := *b.backends.Load()
	first := b.turn.Add(1)
	err := errors.New("no replica is up")
	for i := range backends {
		ctx, cancel := context.WithTimeout(b.ctx, dialWithin)
		var conn net.Conn
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", backends[(first+uint64(i))%uint64(len(backends))])
		cancel()
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (b *balancer) close() {
	b.stop()
	_ = b.listener.Close()
	b.open.Wait()
}
