package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/wire"
)

// A Setup is the server of a store without an account: it has one page, with which an
// operator who knows the code creates the first account. Nothing is stored before that.
// Other requests get 404.
type Setup struct {
	config   config.Config
	log      *slog.Logger
	systemd  supervisor
	watchdog time.Duration
	code     string
	listener net.Listener
	tls      certificate.Source // nil: plain HTTP
	plain    *plainHTTP         // nil: off
	http     *http.Server

	mu   sync.Mutex    // one creation of the account at a time
	made chan struct{} // closed when there is an account, also one that was made elsewhere
}

// setupTokenLasts is the lifetime of the access token with which the page shows a first request.
const setupTokenLasts = time.Hour

// drainSetup is how long the answer with the credentials may take to be sent.
const drainSetup = 10 * time.Second

// NewSetup binds the address of the API. The code is for the terminal only.
func NewSetup(cfg config.Config, opts Options) (*Setup, error) {
	cfg, opts = cfg.Filled(), opts.withDefaults()
	if problems := cfg.Check(); len(problems) > 0 {
		return nil, problems
	}
	if err := checkDataDir(&cfg); err != nil {
		return nil, err
	}
	s := &Setup{config: cfg, log: opts.Log, systemd: supervisor{opts.NotifySocket, opts.Log}, watchdog: opts.Watchdog, code: newSetupCode(), made: make(chan struct{})}
	s.http = hardened(s.routes(), opts.Timeouts, s.log)
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(true)
	var err error
	if s.tls, err = openCertificates(&cfg, s.log); err != nil {
		return nil, err
	}
	if s.tls != nil {
		s.http.TLSConfig = s.tls.Config()
	}
	if err := checkAdminListen(&cfg); err != nil {
		return nil, err
	}
	if s.listener, err = bind("listen", cfg.Listen); err != nil {
		return nil, err
	}
	if s.plain, err = newPlainHTTP(&cfg, s.tls, s.log); err != nil {
		_ = s.listener.Close() // nobody uses it
		return nil, err
	}
	return s, nil
}

// checkAdminListen says that the server could not start after the set-up, before a person does it.
func checkAdminListen(cfg *config.Config) error {
	if cfg.AdminOff() {
		return nil
	}
	free, err := bind("admin-listen", cfg.AdminListen)
	if err != nil {
		return err
	}
	return free.Close()
}

// newSetupCode has 60 random bits in three groups: nobody guesses it over a network.
func newSetupCode() string {
	text := rand.Text()
	return text[:4] + "-" + text[4:8] + "-" + text[8:12]
}

// Code is what the page asks for.
func (s *Setup) Code() string { return s.code }

// Address is where the page is, so that the server that follows can have the same.
func (s *Setup) Address() string { return s.listener.Addr().String() }

// URL is the address of the page on this machine.
func (s *Setup) URL() string { return urlOf(s.listener, s.tls) + "/setup" }

// Run serves the page until the account is made, or ctx ends. It reports whether it is made.
func (s *Setup) Run(ctx context.Context) (made bool, err error) {
	defer s.keepCertificates(ctx)()
	served := make(chan error, 1)
	go func() { served <- serveOn(s.http, s.listener) }()
	// It waits for a person: systemd must not count that as a start that takes too long.
	s.systemd.notify("READY=1\nSTATUS=Waiting for the set-up page: the address and the code are in the log")
	defer s.feedWatchdog(ctx)()
	select {
	case <-s.made:
		made = true
	case <-ctx.Done():
	case err = <-served:
		return false, err
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainSetup)
	defer cancel()
	err = s.http.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	return made, errors.Join(err, orNil(<-served))
}

// Reload reloads the certificates.
func (s *Setup) Reload() {
	s.systemd.reloading()
	defer s.systemd.notify("READY=1")
	if s.tls == nil {
		s.log.Info("nothing to reload: TLS is off, and the server starts after the set-up page")
		return
	}
	s.tls.Reload()
}

// feedWatchdog sends keepalives to systemd until stop is called, which sends the last one: the
// server that follows has a whole interval to open its store.
func (s *Setup) feedWatchdog(ctx context.Context) (stop func()) {
	if s.watchdog <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	alive := func() { s.systemd.notify("WATCHDOG=1") }
	go every(ctx, s.watchdog/2, alive)
	return func() {
		cancel()
		alive()
	}
}

// keepCertificates obtains the first certificates, until stop is called.
func (s *Setup) keepCertificates(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	if s.tls != nil {
		running.Go(func() { s.tls.Run(ctx) })
	}
	if s.plain != nil {
		running.Go(func() {
			if err := s.plain.serve(); err != nil {
				s.log.ErrorContext(ctx, "http-listen failed", slog.Any("err", err))
			}
		})
	}
	return func() {
		cancel()
		s.plain.close()
		running.Wait()
	}
}

func (s *Setup) routes() http.Handler {
	dialect := new(httpapi.API)
	rt := wire.NewRouter(wire.NewObserver(nil, s.log, prometheus.NewRegistry(), time.Now), dialect)
	(&ui.Pages{Dialect: dialect}).MountSetup(rt)
	rt.Handle(http.MethodPost, "/setup", dialect, s.create)
	return rt
}

// A setupForm is what the page sends.
type setupForm struct {
	Code    string `json:"code"`
	Account string `json:"account"`
	Email   string `json:"email"`
	Name    string `json:"name"`
	App     string `json:"app"`
}

var (
	errSetupCode = &presence.FieldError{Field: "code", Reason: "is not the code that the server printed when it started"}
	errSetupDone = &presence.FieldError{Field: "code", Reason: "is no longer needed: the store has an account already, with which the server starts now"}
)

// create makes the account, once.
func (s *Setup) create(w http.ResponseWriter, r *http.Request) error {
	var form setupForm
	if err := wire.ReadJSON(w, r, wire.MaxBody, &form); err != nil {
		return err
	}
	if !s.knows(form.Code) {
		s.log.WarnContext(r.Context(), "set-up refused: wrong code", slog.Any("from", wire.ClientOf(w).Addr))
		return errSetupCode
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.made:
		return errSetupDone
	default:
	}
	whole := context.WithoutCancel(r.Context()) // an account without an app could not be completed here
	made, err := Init(whole, s.config, Founding{
		Account: form.Account, OwnerEmail: form.Email, OwnerName: form.Name, AppName: form.App,
		WithToken: true, TokenLasts: setupTokenLasts,
	})
	if errors.Is(err, ErrInitialised) { // such as by "porchlight init"
		close(s.made)
		return errSetupDone
	}
	if err != nil {
		return err
	}
	defer close(s.made)
	body, err := json.Marshal(made)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusCreated, body)
}

// knows compares without dashes and spaces, which are for people.
func (s *Setup) knows(code string) bool {
	return subtle.ConstantTimeCompare(plainCode(code), plainCode(s.code)) == 1
}

func plainCode(code string) []byte {
	return []byte(strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code)))
}
