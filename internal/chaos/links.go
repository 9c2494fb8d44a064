package chaos

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"coursepay/internal/devstack"
)

// linkNames are the ways from our processes to what they need, each with a proxy of its own; those of other replicas begin
// with their names.
var linkNames = []string{
	"api-postgres", "api-temporal", "api-sandbox", "worker-postgres", "worker-rabbitmq", "worker-temporal", "worker-sandbox",
}

// linksOf are the links of all replicas.
func linksOf(replicas int) (names []string) {
	for _, link := range linkNames {
		app, service, _ := strings.Cut(link, "-")
		for _, replica := range replicaNames(app, replicas) {
			names = append(names, replica+"-"+service)
		}
	}
	return names
}

// links are the proxies on the ways from our processes to the services.
type links struct {
	proxies map[string]*toxiproxy.Proxy
	busy    map[string]*sync.Mutex // held while something is wrong with it
}

// layLinks puts a proxy on each way, on a free port.
func layLinks(stack *devstack.Stack, replicas int) (*links, error) {
	upstream, err := upstreams(stack)
	if err != nil {
		return nil, err
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &links{proxies: map[string]*toxiproxy.Proxy{}, busy: map[string]*sync.Mutex{}}
	for _, name := range linksOf(replicas) {
		_, service, _ := strings.Cut(name, "-")
		proxy := toxiproxy.NewProxy(server, name, "127.0.0.1:0", upstream[service])
		if err := proxy.Start(); err != nil {
			l.close()
			return nil, fmt.Errorf("start the proxy %s: %w", name, err)
		}
		l.proxies[name], l.busy[name] = proxy, &sync.Mutex{}
	}
	return l, nil
}

// upstreams are the services' own addresses.
func upstreams(stack *devstack.Stack) (map[string]string, error) {
	found := map[string]string{"temporal": stack.Temporal.Address()}
	for service, address := range map[string]string{
		"postgres": stack.Postgres.URL(), "rabbitmq": stack.RabbitMQ.URL(), "sandbox": stack.SandboxURL(),
	} {
		parsed, err := url.Parse(address)
		if err != nil {
			return nil, fmt.Errorf("read the address of %s: %w", service, err)
		}
		found[service] = parsed.Host
	}
	return found, nil
}

// env leads our processes to the proxies.
func (l *links) env(stack *devstack.Stack, replicas int) (map[string]map[string]string, error) {
	direct, err := upstreams(stack)
	if err != nil {
		return nil, err
	}
	env := map[string]map[string]string{}
	for _, app := range slices.Concat(replicaNames("api", replicas), replicaNames("worker", replicas)) {
		env[app] = map[string]string{}
		for service, variable := range map[string][2]string{
			"postgres": {"DATABASE_URL", stack.Postgres.URL()},
			"rabbitmq": {"AMQP_URL", stack.RabbitMQ.URL()},
			"temporal": {"TEMPORAL_ADDRESS", stack.Temporal.Address()},
			"sandbox":  {"ALIPAY_GATEWAY", stack.SandboxURL() + "/gateway.do"},
		} {
			if proxy := l.proxies[app+"-"+service]; proxy != nil {
				env[app][variable[0]] = strings.Replace(variable[1], direct[service], proxy.Listen, 1)
			}
		}
	}
	return env, nil
}

// toxics are what toxiproxy calls the ways in which a link goes wrong: milliseconds, 0 for without end.
var toxics = map[Kind]string{
	Reset:     `{"type":"reset_peer","attributes":{"timeout":100}}`,
	Slow:      `{"type":"latency","attributes":{"latency":700,"jitter":500}}`,
	Blackhole: `{"type":"timeout","attributes":{"timeout":0}}`,
}

// spoil makes a link go wrong until ctx ends. It waits its turn if something is wrong with it already.
func (l *links) spoil(ctx context.Context, name string, kind Kind) error {
	proxy := l.proxies[name]
	l.busy[name].Lock()
	defer l.busy[name].Unlock()
	if kind == Cut {
		proxy.Stop()
		<-ctx.Done()
		return proxy.Start()
	}
	if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxics[kind])); err != nil {
		return err
	}
	<-ctx.Done()
	proxy.Toxics.ResetToxics(context.WithoutCancel(ctx))
	return nil
}

func (l *links) close() {
	for _, proxy := range l.proxies {
		proxy.Stop()
	}
}
