package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"

	"coursepay/activities"
	"coursepay/api"
	"coursepay/internal/auth"
	"coursepay/internal/config"
	"coursepay/internal/mq"
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
		Short: "Run the orders' workflows and the learning service's subscriber",
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

func runAPI(ctx context.Context, r *runtime) error {
	r.log.InfoContext(ctx, "api starts", "config", r.cfg)
	if err := r.serveMetrics(ctx); err != nil {
		return err
	}
	gateway, err := r.alipay()
	if err != nil {
		return err
	}
	tokens, err := auth.NewVerifier(auth.Config{Secret: r.cfg.JWTSecret, PublicKeyPEM: r.cfg.JWTPublicKey})
	if err != nil {
		return err
	}
	temporal, err := r.temporal()
	if err != nil {
		return err
	}
	store, err := r.store(ctx)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.cfg.HTTPAddr)
	if err != nil {
		return err
	}
	r.log.InfoContext(ctx, "api listens", "address", listener.Addr().String())
	return api.New(api.Config{
		Store: store, Temporal: temporal, TaskQueue: workflows.TaskQueue, Alipay: gateway, Tokens: tokens, Now: time.Now,
		Logger: r.log,
	}).Serve(ctx, listener)
}

func runWorker(ctx context.Context, r *runtime) error {
	r.log.InfoContext(ctx, "worker starts", "config", r.cfg)
	if err := r.serveMetrics(ctx); err != nil {
		return err
	}
	gateway, err := r.alipay()
	if err != nil {
		return err
	}
	publisher, err := mq.NewPublisher(r.cfg.AMQPURL, r.log)
	if err != nil {
		return err
	}
	r.atEnd("publisher", func(context.Context) error { return publisher.Close() })
	temporal, err := r.temporal()
	if err != nil {
		return err
	}
	store, err := r.store(ctx)
	if err != nil {
		return err
	}
	steps := activities.New(store, activities.Config{
		Gateway: gateway,
		Publish: func(ctx context.Context, id string, body []byte) error {
			return publisher.Publish(ctx, mq.Message{ID: id, Body: body})
		},
		PublicURL: r.cfg.PublicURL, OrderExpiry: r.cfg.OrderExpiry, PollSchedule: r.cfg.PollSchedule, Now: time.Now,
		Logger: r.log,
	})
	return worker.Run(ctx, worker.Config{
		Temporal: temporal, Namespace: r.cfg.TemporalNamespace, TaskQueue: workflows.TaskQueue, Activities: steps,
		Store: store, AMQPURL: r.cfg.AMQPURL, Logger: r.log,
	})
}
