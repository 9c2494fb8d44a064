// Package api is the HTTP door: it checks who asks and what for, lets the order's workflow do every write to an order,
// and reads. Its paths and shapes are those of the XueCheng front end, so that one works unchanged.
package api

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humafiber"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/singleflight"

	"coursepay/internal/alipay"
	"coursepay/internal/auth"
	"coursepay/internal/events"
	"coursepay/models"
)

// Config is what the API works with.
type Config struct {
	Store *models.Store
	// Door is the books as genuine callbacks reach them: with connections that nobody else uses. Nil: as all others do.
	Door      *models.Store
	Temporal  client.Client
	Namespace string // Temporal's, as Temporal is dialled with
	TaskQueue string
	// TemporalUI is where operators reach Temporal's Web UI, without a trailing slash; empty when nobody knows.
	TemporalUI string
	Alipay     *alipay.Client
	Tokens     *auth.Verifier
	Events     *events.Hub // which pay records change; without it, no streams of events are served
	// DemoToken makes tokens for the demo's log-in, at which nobody proves who he is. Nil, as in production: there is none.
	DemoToken func(auth.User, time.Duration) (string, error)
	// CodesAtOnce is how many purchases are begun at once; 0: as many as suit this machine.
	CodesAtOnce int
	Metrics     prometheus.Registerer // nil: nobody is told
	Now         func() time.Time
	Logger      *slog.Logger
}

// Server is the API.
type Server struct {
	store     *models.Store
	door      *models.Store
	temporal  client.Client
	namespace string
	taskQueue string
	webUI     string
	alipay    *alipay.Client
	tokens    *auth.Verifier
	events    *events.Hub
	demoToken func(auth.User, time.Duration) (string, error)
	now       func() time.Time
	log       *slog.Logger

	app    *fiber.App
	flight singleflight.Group // equal requests at one moment, such as a double click, are one

	streams *streams
	refused *refusals // evidence of callbacks that are not to be believed

	purchases *gate // whoever begins one: he chooses, or asks for a code
	questions *gate // to Alipay, about a payment that a learner waits for
	meter     meter
}

// bodyCap is the largest body that is read, in bytes. What a front end or Alipay sends stays far below.
const bodyCap = 64 << 10

// connectionsAtMost is how many connections are served at once, streams of events among them; one more is told 503 and
// closed. An idle one costs some 10 kB.
const connectionsAtMost = 2 * streamsAtMost

// requestWithin bounds what any request waits for, a place in the pool of the database among them. What waits for the
// workflow engine gives up sooner by itself.
const requestWithin = 20 * time.Second

// adoptErrorShape replaces the framework's hook for making errors; it knows no other way than a package variable.
var adoptErrorShape = sync.OnceFunc(func() { huma.NewError = frameworkError })

// New makes the API. It listens once Serve is called.
func New(cfg Config) *Server {
	adoptErrorShape()
	s := &Server{
		store: cfg.Store, door: cmp.Or(cfg.Door, cfg.Store), temporal: cfg.Temporal, namespace: cfg.Namespace, taskQueue: cfg.TaskQueue, webUI: cfg.TemporalUI, alipay: cfg.Alipay, tokens: cfg.Tokens, demoToken: cfg.DemoToken,
		now: cfg.Now, log: cfg.Logger, refused: newRefusals(cfg.Store.KeepNotify, cfg.Logger),
		events: cfg.Events, streams: newStreams(streamsAtMost, streamsEach),
		purchases: newGate(cfg.CodesAtOnce, lineWithin), questions: newGate(cfg.CodesAtOnce, 0),
	}
	s.meter = newMeter(cfg.Metrics, s.purchases, s.questions)
	s.app = fiber.New(fiber.Config{
		AppName:               "coursepay",
		DisableStartupMessage: true,
		StreamRequestBody:     true, // so that a body over the cap reaches boundBody instead of a bare 413
		BodyLimit:             bodyCap,
		Concurrency:           connectionsAtMost,
		ReadTimeout:           30 * time.Second,
		WriteTimeout:          30 * time.Second, // a stream sets its own before each write
		CaseSensitive:         true,             // so that a rule of a proxy for one path holds for it
		IdleTimeout:           2 * time.Minute,
		Immutable:             true, // strings outlive their request here
		ErrorHandler:          s.lastResort,
	})
	s.app.Hooks().OnShutdown(func() error { s.refused.close(); return nil })
	s.app.Use(recover.New(), stripPrefix, keepPrivate, boundTime, boundBody)
	s.plainRoutes()
	s.described(humafiber.New(s.app, s.description()))
	s.app.Use(func(*fiber.Ctx) error { return fiber.ErrNotFound })
	return s
}

// Serve answers requests on the listener until ctx ends, then finishes those in hand.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- s.app.Listener(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		s.streams.close() // they would never be finished otherwise
		return s.app.ShutdownWithTimeout(20 * time.Second)
	}
}

func (s *Server) plainRoutes() {
	s.pages()
	s.app.Get("/healthz", func(c *fiber.Ctx) error { return c.SendString("ok") })
	s.app.Get("/readyz", s.ready)
	s.app.Get("/metrics", adaptor.HTTPHandler(promhttp.Handler()))
	s.app.Get("/orders/requestpay", s.requestPay)
	s.app.Get("/orders/events", s.payEvents)
	s.app.Post("/orders/receivenotify", s.receiveNotify)
	s.app.Post("/orders/paynotify", s.receiveNotify)
}

// ready says whether a learner could buy something now: the books and the workflow engine answer.
func (s *Server) ready(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), 3*time.Second)
	defer cancel()
	_, engine := s.temporal.CheckHealth(ctx, &client.CheckHealthRequest{})
	if err := errors.Join(s.store.Ping(ctx), engine); err != nil {
		s.log.WarnContext(ctx, "not ready", "error", err)
		return s.sendError(c, errorOf(models.CodeUnavailable))
	}
	return c.SendString("ok")
}

// described adds the operations that /openapi.json describes, and the page that shows them.
func (s *Server) described(api huma.API) {
	s.operations(api)
	tellCommonErrors(api.OpenAPI())
	s.documentation(api)
}

func (s *Server) operations(api huma.API) {
	s.catalogue(api)
	s.learning(api)
	s.materials(api)
	s.orders(api)
	describePayEvents(api)
	s.ownOrders(api)
	s.refunds(api)
	s.operators(api)
	s.operatorActions(api)
	s.demo(api)
}

func (s *Server) description() huma.Config {
	cfg := huma.DefaultConfig("coursepay", "1")
	cfg.Info.Description = "Pay for online courses with Alipay. Every path is served below /api too."
	cfg.DocsPath = ""
	cfg.SchemasPath = ""
	cfg.CreateHooks = nil // no $schema links in bodies: the front end knows its own fields only
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT"},
	}
	return cfg
}

// stripped marks a request whose path was below /api.
const stripped = "stripped"

// stripPrefix serves every path below /api too, where the original's proxy puts it.
func stripPrefix(c *fiber.Ctx) error {
	if rest, found := strings.CutPrefix(c.Path(), "/api/"); found && c.Locals(stripped) == nil {
		c.Locals(stripped, true)
		c.Path("/" + rest)
		return c.RestartRouting()
	}
	return c.Next()
}

// keepPrivate is for every answer that says nothing else: it is for this caller alone, and nothing but what it says it is.
func keepPrivate(c *fiber.Ctx) error {
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	return c.Next()
}

func boundTime(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), requestWithin)
	defer cancel()
	c.SetUserContext(ctx)
	return c.Next()
}

// bodySize is where boundBody leaves how many bytes the client sent.
const bodySize = "bodySize"

// boundBody reads at most bodyCap bytes of the body and throws a bounded rest away, so that memory stays flat and the
// client gets to read its answer. A body over the cap is refused, except by the callback door, which keeps evidence.
func boundBody(c *fiber.Ctx) error {
	stream := c.Context().RequestBodyStream()
	if stream == nil {
		return c.Next()
	}
	body, err := io.ReadAll(io.LimitReader(stream, bodyCap+1))
	if err != nil {
		return fiber.ErrBadRequest
	}
	size := int64(len(body))
	if size > bodyCap {
		const patience = 32 << 20
		thrown, _ := io.Copy(io.Discard, io.LimitReader(stream, patience))
		size += thrown
		body = body[:bodyCap]
		c.Context().SetConnectionClose()
	}
	c.Locals(bodySize, size)
	c.Request().SetBodyStream(bytes.NewReader(body), len(body))
	if size > bodyCap && !strings.HasSuffix(c.Path(), "notify") {
		return fiber.ErrRequestEntityTooLarge
	}
	return c.Next()
}

// lastResort answers for errors that no handler has answered.
func (s *Server) lastResort(c *fiber.Ctx, err error) error {
	if known, ok := errors.AsType[*fiber.Error](err); ok {
		return s.sendError(c, frameworkError(known.Code, ""))
	}
	if answer, ok := errors.AsType[*Error](err); ok {
		return s.sendError(c, answer)
	}
	s.log.ErrorContext(c.UserContext(), "request failed", "path", c.Path(), "error", err)
	return s.sendError(c, errorOf(models.CodeInternal))
}

func (s *Server) sendError(c *fiber.Ctx, answer huma.StatusError) error {
	if passes(answer.GetStatus()) {
		c.Set("Retry-After", retryAfter())
	}
	return c.Status(answer.GetStatus()).JSON(answer)
}
