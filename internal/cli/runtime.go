package cli

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	temporallog "go.temporal.io/sdk/log"

	"coursepay/internal/alipay"
	"coursepay/internal/config"
	"coursepay/internal/nodeid"
	"coursepay/models"
)

// runtime is what a long-running command works with. close gives back what was taken, last first.
type runtime struct {
	cfg     config.Config
	log     *slog.Logger
	closers []func(context.Context) error
}

func newRuntime(stderr io.Writer, parts ...config.Part) (*runtime, error) {
	cfg, err := config.Load(os.Environ(), parts...)
	if err != nil {
		return nil, err
	}
	return &runtime{cfg: cfg, log: newLogger(cfg, stderr)}, nil
}

func newLogger(cfg config.Config, stderr io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(stderr, options))
	}
	return slog.New(slog.NewTextHandler(stderr, options))
}

func (r *runtime) atEnd(name string, fn func(context.Context) error) {
	r.closers = append(r.closers, func(ctx context.Context) error {
		if err := fn(ctx); err != nil {
			return fmt.Errorf("close %s: %w", name, err)
		}
		return nil
	})
}

// close runs when the command's own context has already ended.
func (r *runtime) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	for _, closer := range slices.Backward(r.closers) {
		errs = append(errs, closer(ctx))
	}
	return errors.Join(errs...)
}

// stores opens the database, waits for it where it is still starting, and leases a node for ids. The door has reserved
// connections of its own; where there are none, it is the same as the store.
func (r *runtime) stores(ctx context.Context, reserved int) (store, door *models.Store, err error) {
	pool, err := r.pool(ctx, r.cfg.DBMaxConns-reserved)
	if err != nil {
		return nil, nil, err
	}
	var node *nodeid.Node
	err = r.patiently(ctx, "node lease", func() (err error) {
		node, err = nodeid.Acquire(ctx, pool, holder(), nodeid.WithLogger(r.log))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	r.atEnd("node lease", node.Close)
	if store, err = models.NewStore(pool, node.Next, time.Now); err != nil || reserved == 0 {
		return store, store, err
	}
	if pool, err = r.pool(ctx, reserved); err != nil {
		return nil, nil, err
	}
	door, err = models.NewStore(pool, node.Next, time.Now)
	return store, door, err
}

func (r *runtime) store(ctx context.Context) (*models.Store, error) {
	store, _, err := r.stores(ctx, 0)
	return store, err
}

func (r *runtime) pool(ctx context.Context, conns int) (pool *sql.DB, err error) {
	err = r.patiently(ctx, "database", func() (err error) {
		pool, err = models.Open(ctx, r.cfg.DatabaseURL, conns)
		return err
	})
	if err == nil {
		r.atEnd("database", func(context.Context) error { return pool.Close() })
	}
	return pool, err
}

// holder names this process in the table of leases.
func holder() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
}

// patience is how long a starting process waits for a service that is not there yet.
const patience = 30 * time.Second

// patiently tries until it works, the patience or ctx ends.
func (r *runtime) patiently(ctx context.Context, what string, try func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		r.log.WarnContext(ctx, "waiting for "+what, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// temporalOptions is how we talk to Temporal: TLS and API keys come from the SDK's own variables. Nothing is compressed:
// it costs both sides more processor than an order's few kilobytes cost a network.
func temporalOptions(address, namespace string, logger *slog.Logger) (client.Options, error) {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return options, fmt.Errorf("temporal options: %w", err)
	}
	options.HostPort, options.Namespace = address, namespace
	options.ConnectionOptions.GrpcCompression = &client.GrpcCompressionNone{}
	options.Logger = temporallog.NewStructuredLogger(logger)
	return options, nil
}

// temporal makes a client that connects when it is first used, so that a process starts while Temporal is down.
func (r *runtime) temporal() (client.Client, error) {
	options, err := temporalOptions(r.cfg.TemporalAddress, r.cfg.TemporalNamespace, r.log)
	if err != nil {
		return nil, err
	}
	c, err := client.NewLazyClient(options)
	if err != nil {
		return nil, fmt.Errorf("temporal client: %w", err)
	}
	r.atEnd("temporal client", func(context.Context) error { c.Close(); return nil })
	return c, nil
}

// serveMetrics answers Prometheus on an address of its own, where one is configured, until ctx ends.
func (r *runtime) serveMetrics(ctx context.Context) error {
	if r.cfg.MetricsAddr == "" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.cfg.MetricsAddr)
	if err != nil {
		return fmt.Errorf("METRICS_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.log.ErrorContext(ctx, "metrics are not served any more", "error", err)
		}
	}()
	r.atEnd("metrics", server.Shutdown)
	return nil
}

func (r *runtime) alipay() (*alipay.Client, error) {
	return alipay.New(alipay.Config{
		AppID: r.cfg.AlipayAppID, SellerID: r.cfg.AlipaySellerID, PrivateKey: r.cfg.AlipayPrivateKey,
		AlipayPublicKey: r.cfg.AlipayPublicKey, AlipayPublicKeyNext: r.cfg.AlipayPublicKeyNext,
		AppCert: r.cfg.AlipayAppCert, RootCert: r.cfg.AlipayRootCert,
		AlipayCert: r.cfg.AlipayCert, AlipayCertNext: r.cfg.AlipayCertNext,
		Gateway: r.cfg.AlipayGateway, Production: r.cfg.InProduction(),
		NotifyURL: r.cfg.PublicURL + "/orders/receivenotify",
		MaxQPS:    r.cfg.AlipayMaxQPS, Metrics: prometheus.DefaultRegisterer, Logger: r.log,
	})
}
