package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/store"
)

// checkTimeout bounds how long /readyz waits for the disk.
const checkTimeout = time.Second

// overloadedAfter is how long the server refuses requests before it is not ready: a shorter
// burst must not send everybody to other nodes.
const overloadedAfter = 5 * time.Second

// adminHandler serves the health checks, metrics and profiles.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET "+factsPath, s.serveFacts)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{Registry: s.metrics}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	if s.config.AdminAnywhere || s.config.AdminClientCAFile != "" {
		return mux
	}
	return localOnly(mux)
}

// localOnly refuses requests under other host names, which prevents DNS rebinding: a
// browser could be led here by a name that an attacker points at this address.
func localOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			writeText(w, http.StatusMisdirectedRequest, "this listener answers to loopback addresses and \"localhost\" only")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// readyz answers whether the server should get requests, and if not, why.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		writeText(w, http.StatusServiceUnavailable, "the server is shutting down")
		return
	}
	if reason := s.isolation(); reason != "" {
		writeText(w, http.StatusServiceUnavailable, reason)
		return
	}
	if limit := s.limits.connections.full(); limit != nil {
		writeText(w, http.StatusServiceUnavailable, fmt.Sprintf("all %d connections are in use and none is idle: new ones are refused; raise %s, or see who has them", limit.Most, limit.Setting))
		return
	}
	if s.limits.gate.Refusing() > overloadedAfter {
		writeText(w, http.StatusServiceUnavailable, "more requests come than the server can answer: it refuses some; add processors, or find in the access log who sends them")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	// A server without a certificate is ready: a CA could not validate its names through a
	// load balancer otherwise.
	notes := certificateNotes(s.Certificates(), time.Now())
	switch err := s.store.Check(ctx); {
	case errors.Is(err, store.ErrFull):
		// Reads go on, here as well as anywhere else.
		writeText(w, http.StatusOK, "ready for reads; "+err.Error()+notes)
		return
	case err != nil:
		writeText(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	writeText(w, http.StatusOK, "ready"+notes)
}

// readyPath is what readyz has on the control socket.
const readyPath = "/readyz"

// Ready asks the running server of a data directory over its control socket what /readyz
// answers, which is an error if the server is not ready.
func Ready(ctx context.Context, dataDir string) (string, error) {
	text, err := postControl(ctx, dataDir, readyPath, nil)
	if errors.Is(err, errNotRunning) {
		return "", fmt.Errorf("no answer at the control socket: %w; start the server, finish its set-up, or correct --data-dir", cause(err))
	}
	if err != nil {
		return "", fmt.Errorf("not ready: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// ErrNoCertificate means that the admin listener of a server with a store on NATS cannot be
// asked without a client certificate.
var ErrNoCertificate = errors.New("admin-client-ca-file admits only clients with a certificate, and a store on NATS has no control socket to ask on: set --client-cert-file and --client-key-file")

// AskAdmin requests path from the admin listener of a server with these settings. It does not
// verify the server's certificate, which is valid for public names and not for an address of
// this machine.
func AskAdmin(ctx context.Context, cfg *config.Config, path string, certificates []tls.Certificate) (*http.Response, error) {
	at := url.URL{Scheme: "http", Host: reachableAt(cfg.AdminListen), Path: path}
	if cfg.AdminClientCAFile != "" {
		if len(certificates) == 0 {
			return nil, ErrNoCertificate
		}
		at.Scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: probeTimeout}).DialContext,
		TLSHandshakeTimeout: probeTimeout,
		DisableKeepAlives:   true,
		TLSClientConfig: &tls.Config{
			Certificates: certificates, MinVersion: tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // nothing is sent that is secret
		},
	}
	return (&http.Client{Transport: transport}).Do(request)
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the client has disconnected
}
