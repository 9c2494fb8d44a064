package cli

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"coursepay/activities"
	"coursepay/api"
	"coursepay/internal/alipay"
	"coursepay/internal/auth"
	"coursepay/internal/config"
	"coursepay/internal/events"
	"coursepay/internal/mq"
	"coursepay/models"
	"coursepay/worker"
	"coursepay/workflows"
)

func newAPICommand() *cobra.Command {
	return &cobra.Command{
		Use:   "api",
		Short: "Serve the REST API and take Alipay's callbacks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRuntime(cmd.ErrOrStderr(), func(r *runtime) error { return runAPI(cmd.Context(), r) },
				config.NeedDatabase, config.NeedTemporal, config.NeedHTTP, config.NeedJWT, config.NeedAlipay)
		},
	}
}

func newWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "worker",
		Short: "Run the orders' workflows and the message bus's subscribers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withRuntime(cmd.ErrOrStderr(), func(r *runtime) error { return runWorker(cmd.Context(), r) },
				config.NeedDatabase, config.NeedAMQP, config.NeedTemporal, config.NeedAlipay)
		},
	}
}

func withRuntime(stderr io.Writer, run func(*runtime) error, parts ...config.Part) error {
	r, err := newRuntime(stderr, parts...)
	if err != nil {
		return err
	}
	err = run(r)
	return errors.Join(err, r.close())
}

// core is what api and worker both work with.
type core struct {
	gateway  *alipay.Client
	temporal client.Client
	store    *models.Store
	door     *models.Store // for callbacks
}

func (r *runtime) core(ctx context.Context, reserved int) (c core, err error) {
	if err = r.serveMetrics(ctx); err != nil {
		return c, err
	}
	if c.gateway, err = r.alipay(); err != nil {
		return c, err
	}
	if c.temporal, err = r.temporal(); err != nil {
		return c, err
	}
	c.store, c.door, err = r.stores(ctx, reserved)
	return c, err
}

// doorShare is which share of the API's connections to the database is the callbacks' own: one in so many.
const doorShare = 4

// collectSeldom lets the heap grow to four times what lives in it before garbage is collected: some 60 MB more of memory
// for a tenth less of processor. GOGC, where it is set, decides instead.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
}

func runAPI(ctx context.Context, r *runtime) error {
	collectSeldom()
	r.log.InfoContext(ctx, "api starts", "config", r.cfg)
	tokens, err := auth.NewVerifier(auth.Config{Secret: r.cfg.JWTSecret, PublicKeyPEM: r.cfg.JWTPublicKey})
	if err != nil {
		return err
	}
	c, err := r.core(ctx, max(1, r.cfg.DBMaxConns/doorShare))
	if err != nil {
		return err
	}
	changes, err := events.Open(events.Config{DatabaseURL: r.cfg.DatabaseURL, Books: c.store, Logger: r.log})
	if err != nil {
		return err
	}
	r.atEnd("events", changes.Close)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.cfg.HTTPAddr)
	if err != nil {
		return err
	}
	r.log.InfoContext(ctx, "api listens", "address", listener.Addr().String())
	return api.New(api.Config{
		Store: c.store, Door: c.door, CodesAtOnce: r.cfg.CodesAtOnce, Metrics: prometheus.DefaultRegisterer,
		Temporal: c.temporal, Namespace: r.cfg.TemporalNamespace, TaskQueue: workflows.TaskQueue,
		TemporalUI: r.cfg.TemporalUIURL, Alipay: c.gateway, Tokens: tokens, DemoToken: demoToken(r.cfg), Events: changes, Now: time.Now, Logger: r.log,
	}).Serve(ctx, listener)
}

func runWorker(ctx context.Context, r *runtime) error {
	collectSeldom()
	r.log.InfoContext(ctx, "worker starts", "config", r.cfg)
	publisher, err := mq.NewPublisher(r.cfg.AMQPURL, slices.Sorted(maps.Values(models.Queues())), r.log)
	if err != nil {
		return err
	}
	r.atEnd("publisher", func(context.Context) error { return publisher.Close() })
	c, err := r.core(ctx, 0)
	if err != nil {
		return err
	}
	steps := activities.New(c.store, activities.Config{
		Gateway: c.gateway,
		Publish: func(ctx context.Context, id string, body []byte) error {
			return publisher.Publish(ctx, mq.Message{ID: id, Body: body})
		},
		PublicURL: r.cfg.PublicURL, OrderExpiry: r.cfg.OrderExpiry, PollSchedule: r.cfg.PollSchedule, Now: time.Now,
		Logger: r.log,
	})
	return worker.Run(ctx, worker.Config{
		Temporal: c.temporal, Namespace: r.cfg.TemporalNamespace, TaskQueue: workflows.TaskQueue, Activities: steps,
		Reconciler: activities.NewReconciler(c.store, activities.ReconcilerConfig{
			Alipay: worker.Alipay{Client: c.gateway}, Now: time.Now, Logger: r.log,
			Stories: worker.Stories{Temporal: c.temporal, TaskQueue: workflows.TaskQueue},
		}),
		Store: c.store, AMQPURL: r.cfg.AMQPURL, Logger: r.log,
	})
}
