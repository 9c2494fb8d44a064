package sandbox

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DefaultSchedule is Alipay's: after the first attempt seven more within 25 hours.
var DefaultSchedule = []time.Duration{
	4 * time.Minute, 10 * time.Minute, 10 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 15 * time.Hour,
}

// DefaultRefundPause is what Alipay asks merchants to leave between two refunds of one trade.
const DefaultRefundPause = 3 * time.Second

// App is a merchant's application. It has either a public key or a certificate: Alipay lets an app use one mode only.
type App struct {
	ID        string // app_id
	SellerID  string // the account that is paid: seller_id (pid), 2088…
	PublicKey string // public-key mode: the app's RSA public key, PEM or bare base64
	AppCert   string // certificate mode: the app's certificate, PEM
	// BuyerOpenID has the app know buyers by buyer_open_id instead of buyer_user_id and buyer_id, as new apps do.
	BuyerOpenID bool
}

// Config is what a Server is made of.
type Config struct {
	Apps []App // at least one; ids are unique
	// PrivateKey is the sandbox's own RSA key (PKCS#1 or PKCS#8, PEM or bare base64): it signs answers and notifies.
	PrivateKey string
	// AlipayCert and AlipayRootCert are the sandbox's certificate, which is for PrivateKey, and those that it descends
	// from (PEM). Apps in certificate mode need them.
	AlipayCert, AlipayRootCert string
	// PublicURL is where browsers reach the sandbox, without a path; the control API makes cashier_url with it. May be
	// empty: redirects are relative and need none.
	PublicURL string
	// NotifySchedule is the pauses between attempts of a notify; nil means DefaultSchedule, empty means one attempt.
	NotifySchedule []time.Duration
	// NotifyClose has a closing without a refund be told too (TRADE_CLOSED), by close, by cancel and by the control API.
	// Alipay may or may not do that. A trade that runs out is closed silently in any case.
	NotifyClose bool
	// RefundPause is the least time between two refunds of one trade; 0 is none, DefaultRefundPause is Alipay's.
	RefundPause time.Duration
	// StateFile keeps trades, notifies and faults over a restart (JSON lines); empty means memory only. Its folder is
	// made if need be. A lock beside it makes sure that only one Server uses it at a time.
	StateFile string
	// Clock is the time that trades live in: gmt_*, time_expire, timestamps. Deliveries keep real time. Default time.Now.
	Clock func() time.Time
	// Logger gets one line a delivery; default is silence.
	Logger *slog.Logger
	// HTTPClient delivers notifies; default has a timeout of 10 s. Redirects are never followed.
	HTTPClient *http.Client
}

// app is an App, understood.
type app struct {
	id, sellerID string
	key          *rsa.PublicKey
	certSN       string // of its certificate; "" in public-key mode
	openID       bool   // buyers are known by their open id
}

// Server is a fake Alipay. Handler serves HTTP; Run delivers notifies; Serve does both on a listener; Close closes
// the state file.
type Server struct {
	apps    map[string]app
	key     *rsa.PrivateKey
	certs   certificates
	billKey []byte // seals the addresses of bills, for as long as this Server lives

	notifyClose bool
	refundPause time.Duration

	url      string
	schedule []time.Duration
	clock    func() time.Time
	log      *slog.Logger
	client   *http.Client
	store    *store
	agenda   *agenda
	methods  map[string]method
}

// New checks cfg, all of it at once, and reads the state file.
func New(cfg Config) (*Server, error) {
	s := &Server{
		apps: map[string]app{}, url: strings.TrimSuffix(cfg.PublicURL, "/"), schedule: cfg.NotifySchedule, clock: cfg.Clock, log: cfg.Logger,
		client: notifyClient(cfg.HTTPClient), agenda: newAgenda(), billKey: []byte(newToken()), notifyClose: cfg.NotifyClose, refundPause: cfg.RefundPause,
	}
	s.methods = s.methodTable()
	s.defaults()
	if err := errors.Join(s.takeApps(cfg.Apps), s.takeKey(cfg.PrivateKey), s.takeCerts(cfg)); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if err := s.openState(cfg.StateFile); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return s, nil
}

func (s *Server) defaults() {
	if s.schedule == nil {
		s.schedule = DefaultSchedule
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
}

// notifyClient is given, or a client with a timeout; in any case one that takes a redirect for an answer.
func notifyClient(given *http.Client) *http.Client {
	client := http.Client{Timeout: 10 * time.Second}
	if given != nil {
		client = *given
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

func (s *Server) takeApps(apps []App) error {
	if len(apps) == 0 {
		return errors.New("no app")
	}
	var errs []error
	for _, a := range apps {
		understood, err := understandApp(a)
		if err != nil {
			errs = append(errs, err)
		}
		if a.ID == "" || a.SellerID == "" {
			errs = append(errs, fmt.Errorf("app %q needs an id and a seller id", a.ID))
		}
		if _, twice := s.apps[a.ID]; twice {
			errs = append(errs, fmt.Errorf("app %q is there twice", a.ID))
		}
		s.apps[a.ID] = understood
	}
	return errors.Join(errs...)
}

func understandApp(a App) (app, error) {
	understood := app{id: a.ID, sellerID: a.SellerID, openID: a.BuyerOpenID}
	if a.PublicKey != "" && a.AppCert != "" {
		return understood, fmt.Errorf("app %q has a public key and a certificate: give it one of them", a.ID)
	}
	if a.AppCert == "" {
		key, err := parsePublicKey(a.PublicKey)
		if err != nil {
			return understood, fmt.Errorf("public key of app %q: %w", a.ID, err)
		}
		understood.key = key
		return understood, nil
	}
	cert, key, err := parseRSACert(a.AppCert)
	if err != nil {
		return understood, fmt.Errorf("certificate of app %q: %w", a.ID, err)
	}
	understood.key, understood.certSN = key, certSN(cert)
	return understood, nil
}

// takeCerts understands the sandbox's certificates when it has any. Without its key there is nothing to hold them against.
func (s *Server) takeCerts(cfg Config) (err error) {
	needed := slices.ContainsFunc(cfg.Apps, func(a App) bool { return a.AppCert != "" })
	if s.key == nil || !needed && cfg.AlipayCert == "" && cfg.AlipayRootCert == "" {
		return nil
	}
	s.certs, err = understandCerts(&s.key.PublicKey, cfg.AlipayCert, cfg.AlipayRootCert)
	return err
}

func (s *Server) takeKey(text string) (err error) {
	if s.key, err = parsePrivateKey(text); err != nil {
		return fmt.Errorf("sandbox's private key: %w", err)
	}
	return nil
}

func (s *Server) openState(path string) (err error) {
	if path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("state file: %w", err)
		}
	}
	if s.store, err = openStore(path); err != nil {
		return err
	}
	for _, n := range s.store.notifies {
		s.agenda.add(n)
	}
	return nil
}

// Close closes the state file. Call it after Run has returned and no request is served any more.
func (s *Server) Close() error { return s.store.close() }

// Handler serves everything that the package's documentation lists.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /gateway.do", s.gateway)
	mux.HandleFunc("POST /gateway.do", s.gateway)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /bill", s.downloadBill)
	s.routeCashier(mux)
	s.routeControl(mux)
	s.routeHome(mux)
	return mux
}

// Serve answers on listener and delivers notifies until ctx ends; then it lets running requests finish for a moment,
// drops the hanging ones, and closes the state file.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends what hangs on purpose
	}
	delivered := make(chan error, 1)
	go func() { delivered <- s.Run(ctx) }()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var err error
	select {
	case <-ctx.Done():
		grace, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer stop()
		if server.Shutdown(grace) != nil {
			err = server.Close() // somebody's notify door keeps a resend waiting
		}
	case err = <-served:
		cancel()
	}
	return errors.Join(err, <-delivered, s.Close())
}
