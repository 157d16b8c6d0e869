package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/framer"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

const (
	maxHeaderBytes = 16 << 10
	maxStreams     = 100 // of one HTTP/2 connection
)

// Timeouts limit how long a client may take. A stream that lasts moves its own deadlines
// with http.ResponseController.
type Timeouts struct {
	ReadHeader, Read, Write, Idle time.Duration
}

// withDefaults replaces the fields that are zero.
func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		ReadHeader: cmp.Or(t.ReadHeader, 5*time.Second),
		Read:       cmp.Or(t.Read, 30*time.Second),
		Write:      cmp.Or(t.Write, 30*time.Second),
		Idle:       cmp.Or(t.Idle, 60*time.Second),
	}
}

// newPublic returns the server of the API.
func (s *Server) newPublic(h http.Handler) *framer.Server {
	http1, http2 := hardened(h, s.opts.Timeouts, s.log), hardened(h, s.opts.Timeouts, s.log)
	http1.Protocols.SetHTTP1(true)
	http2.Protocols.SetHTTP2(true)
	http2.ConnState = s.limits.connections.stateChanged
	return &framer.Server{HTTP1: http1, HTTP2: http2, Eligible: isAdmitted, State: s.limits.connections.stateChanged, Log: s.log}
}

func hardened(h http.Handler, limits Timeouts, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: limits.ReadHeader,
		ReadTimeout:       limits.Read,
		WriteTimeout:      limits.Write,
		IdleTimeout:       limits.Idle,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, WriteByteTimeout: hub.SlowAfter},
		ConnContext:       wire.WithConn,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// administrative has no write timeout: a profile takes as long as was asked for.
func administrative(h http.Handler, log *slog.Logger) *http.Server {
	limits := Timeouts{}.withDefaults()
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: limits.ReadHeader,
		ReadTimeout:       limits.Read,
		IdleTimeout:       limits.Idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// listen binds the addresses.
func (s *Server) listen() error {
	var err error
	if s.tls, err = openCertificates(&s.config, s.log); err != nil {
		return err
	}
	if s.tls != nil {
		s.public.TLS = s.tls.Config()
	}
	if s.listener, err = bind("listen", s.config.Listen); err != nil {
		return err
	}
	s.listener = &countingListener{s.listener, s.limits.connections}
	if s.plain, err = newPlainHTTP(&s.config, s.tls, s.log); err != nil {
		return err
	}
	if s.config.AdminOff() {
		return nil
	}
	return s.listenAdmin()
}

// listenAdmin binds admin-listen, with mutual TLS if the settings say so.
func (s *Server) listenAdmin() error {
	if file := s.config.AdminClientCAFile; file != "" {
		clients, err := certificate.LoadClientCAs(file, s.tls, s.log)
		if err != nil {
			return err
		}
		s.adminTLS = clients
		s.internal.TLSConfig = clients.Config()
	}
	var err error
	if s.admin, err = bind("admin-listen", s.config.AdminListen); err != nil {
		return err
	}
	admin := newConnections(&quota.Limit{Name: "admin-connections", Most: adminConnections, Unit: "connections", Shared: true}, new(quota.Limit), nil)
	s.internal.ConnState = admin.stateChanged
	s.admin = &countingListener{s.admin, admin}
	return nil
}

func bind(setting, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err == nil {
		return l, nil
	}
	advice := "correct --" + setting
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = fmt.Sprintf("another program uses this address: stop it, or choose another with --%s (port 0 takes any free one)", setting)
	case errors.Is(err, fs.ErrPermission):
		advice = fmt.Sprintf("ports below 1024 need a privilege: choose a higher one with --%s, or grant CAP_NET_BIND_SERVICE", setting)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = fmt.Sprintf("this machine does not have the address: choose one that it has with --%s", setting)
	}
	return nil, fmt.Errorf("cannot listen on %s: %s (%w)", address, advice, cause(err))
}

// cause is the system's error, without the address that the caller adds.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// serve answers the API until the server is shut down.
func (s *Server) serve() error { return orNil(s.public.Serve(s.listener)) }

func serveOn(srv *http.Server, l net.Listener) error {
	if srv.TLSConfig != nil {
		return orNil(srv.ServeTLS(l, "", ""))
	}
	return orNil(srv.Serve(l))
}

func orNil(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
