// Package server is the composition root: it puts a store, the rules, the
// dialects and the listeners together, runs them, and takes them down in order.
//
// It is separate from cli so that a test, the demo and the command start exactly
// the same server: New builds one that is already bound to its addresses, Run
// serves until its context ends. Nothing is global, so several run in one
// process.
//
// It guarantees that a server which cannot start says what to do about it and
// leaves nothing behind; that one which was told to stop is unready at once,
// finishes what it has begun, and closes the store last; and that one whose store
// has failed ends with the reason. It must hold no rule about presence and no
// form of the wire.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// Options are what a server takes beside its settings. The zero value of each
// field is what serve uses.
type Options struct {
	Log    *slog.Logger     // discards
	Stdout io.Writer        // for the access log; discards
	Clock  func() time.Time // a steady one, which follows the machine's
	// Store is used in place of the one in the data directory. The server closes
	// it.
	Store store.Store
	// DemoToken is filled into the API reference, for anybody who opens it.
	DemoToken string
	// NotifySocket is where systemd listens, as NOTIFY_SOCKET says; "": nowhere.
	NotifySocket string
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	return o
}

// A Server is bound to its addresses and ready to run, once.
type Server struct {
	config     config.Config
	opts       Options
	log        *slog.Logger
	store      store.Store
	metrics    *prometheus.Registry
	access     *wire.AccessLog
	accessFile *logFile     // nil: it goes elsewhere, or nowhere
	steady     *steadyClock // nil: Options has a clock

	descriptors descriptorPlan
	limits      limits

	publisher *publish.Publisher
	watches   *notify.Watches
	hub       *notify.Hub
	tls       *certificates // nil: plain HTTP
	listener  net.Listener
	admin     net.Listener // nil: off
	control   *control     // nil: there is no data directory, or no socket in it
	public    *http.Server
	internal  *http.Server

	draining  atomic.Bool
	closeOnce sync.Once
}

// New opens the store, builds everything and binds the addresses. After an error
// nothing is left open.
func New(cfg config.Config, opts Options) (*Server, error) {
	cfg = cfg.Filled()
	if problems := cfg.Check(); len(problems) > 0 {
		return nil, problems
	}
	s := &Server{config: cfg, opts: opts.withDefaults()}
	s.log = s.opts.Log
	s.descriptors = planDescriptors(descriptorLimit(), cfg.MaxConnections)
	if asked := cfg.MaxConnections; asked > s.descriptors.connections {
		s.log.Warn("the limit of open files allows fewer connections than max-connections: raise it (LimitNOFILE in systemd, ulimit -n)",
			slog.Int("max_connections", asked), slog.Int("allowed", s.descriptors.connections))
	}
	if s.opts.Clock == nil {
		s.steady = newSteadyClock(time.Now, suspended)
		s.opts.Clock = s.steady.now
	}
	s.newLimits(s.descriptors.connections)
	if err := s.build(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Server) build() error {
	if err := s.openStore(); err != nil {
		return err
	}
	if err := s.openAccessLog(); err != nil {
		return err
	}
	s.newMetrics()
	s.compose()
	return s.listen()
}

// URL is where the API is reached on this machine, without a slash at its end.
func (s *Server) URL() string {
	scheme := "http"
	if s.tls != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(s.listener.Addr())
}

// AdminURL is where /readyz and /metrics are, or "".
func (s *Server) AdminURL() string {
	if s.admin == nil {
		return ""
	}
	return "http://" + reachable(s.admin.Addr())
}

// reachable is an address that a client on this machine can use.
func reachable(at net.Addr) string {
	host, port, err := net.SplitHostPort(at.String())
	if err != nil {
		return at.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// ErrInterrupted as the cause of Run's context skips the drain delay: a person
// who waits for the end has no load balancer.
var ErrInterrupted = errors.New("interrupted")

// Run serves until ctx ends, then drains and closes. It returns nil after a drain,
// and otherwise what made it end. A server runs once.
func (s *Server) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 5) // room for all that may report
	var running sync.WaitGroup
	running.Go(func() { ended <- s.serve() })
	if s.admin != nil {
		running.Go(func() { ended <- serveOn(s.internal, s.admin) })
	}
	if s.control != nil {
		running.Go(s.control.serve)
	}
	running.Go(func() { ended <- s.tail(work, "publishing what ends by itself", s.publisher.Run) })
	running.Go(func() { ended <- s.tail(work, "firing watches", s.watches.Run) })
	running.Go(func() { ended <- s.tail(work, "telling streams", s.hub.Run) })
	running.Go(func() { s.publisher.KeepBound(work) })
	if s.steady != nil {
		running.Go(func() { s.steady.follow(work, s.log) })
	}
	if s.tls != nil {
		running.Go(func() { s.tls.watch(work) })
	}
	s.announce()

	var err error
	select {
	case <-ctx.Done():
		err = s.drain(ctx)
	case err = <-ended:
		s.finish(ctx, failureTimeout)
	case <-s.store.Failed():
		err = s.storeFailure(ctx)
		s.finish(ctx, failureTimeout)
	}
	s.cutOff()
	stop()
	if !endsWithin(endTimeout, &running) {
		s.log.ErrorContext(ctx, "a part of the server does not end, and is left behind")
	}
	s.close()
	return err
}

// endTimeout is far more than the parts need to end: it is for the parts that hang
// on a disk that hangs, so that the process ends all the same.
const endTimeout = 10 * time.Second

func endsWithin(limit time.Duration, group *sync.WaitGroup) bool {
	ended := make(chan struct{})
	go func() {
		group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-time.After(limit):
		return false
	}
}

func (s *Server) announce() {
	s.log.Info("porchlight is ready", slog.String("url", s.URL()), slog.String("admin_url", s.AdminURL()),
		slog.String("store", s.config.Place()), slog.String("durability", s.config.Durability), slog.String("version", Version()))
	for _, warning := range s.config.Warnings() {
		s.log.Warn("this is allowed but seldom meant", slog.String("setting", warning))
	}
	s.tellSystemd("READY=1")
}

// tail runs a part that goes on from the store until ctx ends.
func (s *Server) tail(ctx context.Context, what string, run func(context.Context) error) error {
	switch err := run(ctx); {
	case err == nil:
		return nil // ctx ended
	case errors.Is(err, store.ErrFailed):
		return s.storeFailure(ctx)
	default:
		return fmt.Errorf("%s stopped: %w", what, err)
	}
}

func (s *Server) storeFailure(ctx context.Context) error {
	err := s.store.Check(context.WithoutCancel(ctx))
	if err == nil {
		err = store.ErrFailed
	}
	return fmt.Errorf("%w; the server ends so that nothing is acknowledged that is not kept: see to %s, then start it again", err, s.culprit())
}

// culprit is what keeps the store's data.
func (s *Server) culprit() string {
	if s.config.Store != "" {
		return "the servers of " + s.config.Place()
	}
	return "the disk under " + s.config.DataDir
}

// drain lets load balancers notice, then finishes what has begun.
func (s *Server) drain(ctx context.Context) error {
	s.draining.Store(true)
	s.tellSystemd("STOPPING=1")
	s.log.InfoContext(ctx, "stopping", slog.String("delay", s.config.DrainDelay.String()), slog.String("timeout", s.config.DrainTimeout.String()))
	s.control.stop(ctx)
	if !errors.Is(context.Cause(ctx), ErrInterrupted) {
		select {
		case <-time.After(s.config.DrainDelay):
		case <-s.store.Failed():
			return s.storeFailure(ctx)
		}
	}
	s.finish(ctx, s.config.DrainTimeout)
	return nil
}

// failureTimeout is for requests to hear of a failure before the server ends.
const failureTimeout = time.Second

// finish takes no more requests, and waits for those that are running.
func (s *Server) finish(ctx context.Context, timeout time.Duration) {
	s.draining.Store(true)
	s.control.stop(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	s.hub.Drain(ctx)
	if err := s.public.Shutdown(ctx); err != nil {
		s.log.WarnContext(ctx, "requests were cut off: they took too long", slog.String("timeout", timeout.String()))
	}
}

// cutOff ends the listeners and whatever is left on them.
func (s *Server) cutOff() {
	_ = s.public.Close() // its listener may be closed already
	if s.internal != nil {
		_ = s.internal.Close() // likewise
	}
}

// close releases what build took, in the opposite order.
func (s *Server) close() {
	s.closeOnce.Do(func() {
		for _, l := range []net.Listener{s.listener, s.admin} {
			if l != nil {
				_ = l.Close() // it may be closed already
			}
		}
		s.control.close()
		s.access.Close()
		if err := s.accessFile.close(); err != nil {
			s.log.Error("the access log could not be closed", slog.Any("err", err))
		}
		if s.store == nil {
			return
		}
		if err := s.store.Close(); err != nil && !errors.Is(err, store.ErrFailed) {
			s.log.Error("the store could not be closed", slog.Any("err", err))
		}
		s.log.Info("stopped")
	})
}

// Reload reads the certificate again, and opens the access log's file again.
func (s *Server) Reload() {
	if s.tls == nil && s.accessFile == nil {
		s.log.Info("nothing to reload: there is no TLS, and the access log is no file")
	}
	if s.accessFile != nil {
		s.accessFile.reopen()
	}
	if s.tls != nil {
		s.tls.reload()
	}
}

// openAccessLog opens what the setting says.
func (s *Server) openAccessLog() error {
	switch to := s.config.AccessLog; to {
	case "off":
	case "on":
		s.access = wire.NewAccessLog(s.opts.Stdout)
	default:
		file, err := openLogFile(to, s.log)
		if err != nil {
			return fmt.Errorf("access-log %s cannot be written: %w; correct the path or the permissions, or set it to on or off", to, err)
		}
		s.access, s.accessFile = wire.NewAccessLog(file), file
	}
	return nil
}
