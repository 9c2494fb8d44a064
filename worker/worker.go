// Package worker runs the workflows and activities, and the subscribers of the message bus.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"golang.org/x/sync/errgroup"

	"coursepay/activities"
	"coursepay/internal/mq"
	"coursepay/models"
	"coursepay/workflows"
)

// Config is what a worker works with.
type Config struct {
	Temporal   client.Client
	Namespace  string
	TaskQueue  string
	Activities *activities.Activities
	Reconciler *activities.Reconciler
	Schedules  Schedules // when the reconciler runs by itself
	Store      *models.Store
	AMQPURL    string
	Logger     *slog.Logger
}

// stopWithin is how long a stopping worker lets activities finish.
const stopWithin = 20 * time.Second

// Run works until ctx ends or the Temporal worker fails for good. It waits for Temporal and RabbitMQ to come up.
func Run(ctx context.Context, cfg Config) error {
	if err := awaitEngine(ctx, cfg); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return runTemporal(ctx, cfg) })
	group.Go(func() error { keepSchedules(ctx, cfg); return nil })
	for orderType, queue := range models.Queues() {
		group.Go(func() error {
			return mq.Consume(ctx, mq.ConsumerConfig{URL: cfg.AMQPURL, Queue: queue, Logger: cfg.Logger},
				subscriber{orderType, cfg.Store, cfg.Logger}.handle)
		})
	}
	return group.Wait()
}

// Options is how our worker works; the bench works the same way.
func Options() worker.Options {
	return worker.Options{
		WorkerStopTimeout:                  stopWithin,
		MaxConcurrentWorkflowTaskPollers:   4 * runtime.GOMAXPROCS(0),
		MaxConcurrentActivityTaskPollers:   4 * runtime.GOMAXPROCS(0),
		MaxConcurrentActivityExecutionSize: 200,
	}
}

func runTemporal(ctx context.Context, cfg Config) error {
	failed := make(chan error, 1)
	options := Options()
	options.OnFatalError = func(err error) {
		select {
		case failed <- err:
		default: // one is enough to stop
		}
	}
	w := worker.New(cfg.Temporal, cfg.TaskQueue, options)
	Register(w, cfg.Activities, cfg.Reconciler)
	if err := w.Start(); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	defer w.Stop()
	cfg.Logger.InfoContext(ctx, "worker started", "taskQueue", cfg.TaskQueue, "namespace", cfg.Namespace)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("worker: %w", err)
	}
}

// Register tells a worker its workflows and activities.
func Register(w worker.Registry, a *activities.Activities, r *activities.Reconciler) {
	w.RegisterWorkflow(workflows.PayOrderWorkflow)
	w.RegisterWorkflow(workflows.RefundWorkflow)
	w.RegisterWorkflow(workflows.ReconcileWorkflow)
	w.RegisterActivity(a)
	w.RegisterActivity(r)
}
