// Package server is the composition root: it connects a store, the rules, the dialects
// and the listeners, runs them, and stops them in order.
//
// It is separate from cli so that a test, the demo and the command start exactly
// the same server: New builds one that is already bound to its addresses, and Run
// serves until its context ends. Nothing is global, so several can run in one process.
//
// It guarantees that a server that cannot start returns an error with advice and leaves
// nothing open; that a server that stops is unready at once, finishes requests in
// flight, and closes the store last; and that a server whose store failed ends with the
// reason. It must not contain a rule about presence or a format of the wire.
package server

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/tenant"
	"porchlight.dev/porchlight/internal/watch"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/backupjob"
	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/framer"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/telemetry"
	"porchlight.dev/porchlight/internal/wire"
)

// Options are the inputs of a server beside its settings. The zero value of each field
// is what serve uses.
type Options struct {
	Log       *slog.Logger        // discards
	LogLevel  *slog.LevelVar      // that Log follows; nil: it cannot be changed
	AccessLog io.Writer           // for access-log "on"; discards
	Getenv    func(string) string // reads the standard variables OTEL_…; nil: none is set
	Clock     func() time.Time    // a steady one, which follows the machine's
	// Store is used instead of the one that the settings name. The server closes it.
	Store store.Store
	// DemoToken is filled into the API reference for everybody who opens it.
	DemoToken string
	// NotifySocket is systemd's socket, the value of NOTIFY_SOCKET; "": none.
	NotifySocket string
	// Watchdog is how long systemd waits for a keepalive before it restarts the
	// server; 0: it expects none.
	Watchdog time.Duration
	// Yield waits for the turn of a request; nil: runtime.Gosched. Tests replace it.
	Yield func()
	// Levels of formats that the node reads; zero: those of this version. Tests lower them.
	Levels membership.Levels
	// NodeTimes are how long it takes until nodes are isolated or dead. Tests shorten them.
	NodeTimes membership.Times
	// StoreTimeout is how long a call waits for NATS servers that do not answer; zero: the
	// default of natsstore. Tests raise it, because the machine may stall.
	StoreTimeout time.Duration
	// Timeouts of the API's connections. Tests shorten them.
	Timeouts Timeouts
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.AccessLog == nil {
		o.AccessLog = io.Discard
	}
	o.Levels = cmp.Or(o.Levels, membership.ThisVersion())
	o.Timeouts = o.Timeouts.withDefaults()
	return o
}

// A Server is bound to its addresses and ready to run, once.
type Server struct {
	config     config.Config
	opts       Options
	log        *slog.Logger
	supervisor supervisor
	store      store.Store
	metrics    *prometheus.Registry
	access     *wire.AccessLog
	accessFile *logFile // nil: it goes elsewhere, or nowhere
	level      logLevel
	telemetry  *telemetry.Telemetry // nil: nothing is sent
	steady     *steadyClock         // nil: Options has a clock

	providerSecret string // of the OpenID provider

	descriptors descriptorPlan
	limits      limits

	members      *membership.Members
	messages     *nodeMessages   // nil: the store cannot be shared, or carries no messages
	accountUsage *quota.Exchange // nil, as messages
	deadNodes    *deadQueue
	audit        *audit.Log
	publisher    *publish.Publisher
	provisioner  *provision.Provisioner
	consumers    *tail.Runtime
	watches      *watch.Registry
	erasures     *erasure.Registry
	tenants      *tenant.Registry
	webhooks     webhooks
	hub          *hub.Hub
	tls          certificate.Source // nil: plain HTTP
	adminTLS     certificate.Source // nil: the admin listener has no TLS
	listener     net.Listener
	plain        *plainHTTP          // nil: off
	admin        net.Listener        // nil: off
	control      *control            // nil: there is no data directory, or no socket in it
	source       backupSource        // nil, as backups
	backups      *backupjob.Slot     // nil: the store is backed up by other tools
	schedule     *backupjob.Schedule // nil: off
	public       *framer.Server
	internal     *http.Server

	draining  atomic.Bool
	closeOnce sync.Once
}

// New opens the store, builds everything and binds the addresses. After an error
// nothing remains open.
func New(cfg config.Config, opts Options) (*Server, error) {
	cfg = cfg.Filled()
	if problems := cfg.Check(); len(problems) > 0 {
		return nil, problems
	}
	s := &Server{config: cfg, opts: opts.withDefaults(), deadNodes: newDeadQueue()}
	s.log = s.opts.Log
	s.level = newLogLevel(s.opts.LogLevel, s.log)
	s.supervisor = supervisor{s.opts.NotifySocket, s.log}
	s.descriptors = planDescriptors(descriptorLimit(), cfg.MaxConnections)
	if asked := cfg.MaxConnections; asked > s.descriptors.connections {
		s.log.Warn("open file limit is too low for max-connections; raise it (LimitNOFILE in systemd, ulimit -n)",
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
	if err := s.joinNodes(); err != nil {
		return err
	}
	if err := s.openAccessLog(); err != nil {
		return err
	}
	if err := s.openAudit(); err != nil {
		return err
	}
	if err := s.newBackups(); err != nil {
		return err
	}
	var err error
	if s.providerSecret, err = s.config.OIDCClientSecret(); err != nil {
		return err
	}
	s.newMetrics()
	if err := s.newTelemetry(); err != nil {
		return err
	}
	s.compose()
	return s.listen()
}

// URL is where the API is reached on this machine, without a slash at its end.
func (s *Server) URL() string { return urlOf(s.listener, s.tls) }

// AdminURL is where /readyz and /metrics are, or "".
func (s *Server) AdminURL() string {
	if s.admin == nil {
		return ""
	}
	return urlOf(s.admin, s.adminTLS)
}

// reachable is an address that a client on this machine can use.
func reachable(at net.Addr) string { return reachableAt(at.String()) }

func reachableAt(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func (s *Server) announce() {
	s.log.Info("porchlight is ready", slog.String("url", s.URL()), slog.String("admin_url", s.AdminURL()),
		slog.String("store", s.config.StoreDescription()), slog.String("durability", s.config.Durability), slog.String("version", Version()))
	s.logCertificates()
	for _, warning := range s.config.Warnings() {
		s.log.Warn("insecure setting", slog.String("detail", warning))
	}
	// After the set-up page, the watchdog runs already.
	s.supervisor.notify("READY=1\nWATCHDOG=1\nSTATUS=Serving " + s.URL())
}

// What hangs, such as a disk or the reader of a pipe, must not keep the process from ending.
const (
	logCloseTimeout = 2 * time.Second
	// storeCloseTimeout is far more than the store needs to answer, and to write what is in memory.
	storeCloseTimeout = 30 * time.Second
)

// close releases what build took, in the opposite order.
func (s *Server) close() {
	s.closeOnce.Do(func() {
		for _, l := range []net.Listener{s.listener, s.admin} {
			if l != nil {
				_ = l.Close() // it may be closed already
			}
		}
		s.plain.close()
		s.control.close()
		s.level.close()
		s.within(logCloseTimeout, "access log", func() {
			s.access.Close()
			if err := s.accessFile.close(); err != nil {
				s.log.Error("closing the access log failed", slog.Any("err", err))
			}
		})
		s.webhooks.close()
		if s.store == nil {
			return
		}
		s.within(storeCloseTimeout, "store", func() {
			if err := s.store.Close(); err != nil && !errors.Is(err, store.ErrFailed) {
				s.log.Error("closing the store failed", slog.Any("err", err))
			}
		})
	})
}

// within waits until something is closed, but no longer than limit.
func (s *Server) within(limit time.Duration, what string, closeIt func()) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		closeIt()
	}()
	select {
	case <-closed:
	case <-time.After(limit):
		s.log.Error("closing timed out; continuing the shutdown", slog.String("what", what), slog.Duration("timeout", limit))
	}
}

// Reload reads the certificates again, and opens the access log's file again.
func (s *Server) Reload() {
	s.supervisor.reloading()
	defer s.supervisor.notify("READY=1")
	if s.tls == nil && s.accessFile == nil {
		s.log.Info("nothing to reload: TLS is off and the access log is not a file")
	}
	if s.accessFile != nil {
		s.accessFile.reopen()
	}
	for _, source := range s.certificates() {
		source.Reload()
	}
}

// openAccessLog opens the access log that the setting names.
func (s *Server) openAccessLog() error {
	switch to := s.config.AccessLog; to {
	case "off":
		return nil
	case "on":
		s.access = wire.NewAccessLog(s.opts.AccessLog)
	default:
		file, err := openLogFile(to, s.log)
		if err != nil {
			return fmt.Errorf("access-log %s cannot be written: %w; correct the path or the permissions, or set it to on or off", to, err)
		}
		s.access, s.accessFile = wire.NewAccessLog(file), file
	}
	const slow = 500 * time.Millisecond
	s.access.Sample, s.access.Slow = s.config.AccessLogSample, cmp.Or(s.config.AccessLogSlow, slow)
	return nil
}
