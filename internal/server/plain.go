package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/quota"
)

// plainConnections bounds the connections of the listener for plain HTTP.
const plainConnections = 64

// A plainHTTP is the listener for plain HTTP: it answers ACME's http-01 challenges and
// redirects to HTTPS. A nil one does nothing.
type plainHTTP struct {
	listener net.Listener
	http     *http.Server
}

// newPlainHTTP binds http-listen; nil: it is off.
func newPlainHTTP(cfg *config.Config, source certificate.Source, log *slog.Logger) (*plainHTTP, error) {
	if cfg.HTTPListen == "" {
		return nil, nil //nolint:nilnil // the documented answer
	}
	l, err := bind("http-listen", cfg.HTTPListen)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", redirect(strings.TrimRight(cfg.PublicURL, "/")))
	if challenges, ok := source.(http.Handler); ok {
		mux.Handle("GET "+certificate.ChallengePath, challenges)
	}
	limited := newConnections(&quota.Limit{Name: "http-connections", Most: plainConnections, Unit: "connections", Shared: true}, new(quota.Limit), nil)
	p := &plainHTTP{listener: &countingListener{l, limited}, http: hardened(mux, Timeouts{}.withDefaults(), log)}
	p.http.Protocols.SetHTTP1(true)
	p.http.ConnState, p.http.ConnContext = limited.stateChanged, nil
	return p, nil
}

// redirect sends browsers to the same path over HTTPS. A client that writes, or sends
// a token, is refused instead: what it sent was already sent unencrypted.
func redirect(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization") != "" || strings.Contains(r.URL.RawQuery, "access_token=") || r.URL.Query().Has("access_token")
		if r.Method != http.MethodGet && r.Method != http.MethodHead || token {
			writeText(w, http.StatusForbidden, "this port does not serve the API: use "+to)
			return
		}
		http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusMovedPermanently)
	})
}

func (p *plainHTTP) serve() error { return serveOn(p.http, p.listener) }

func (p *plainHTTP) shutdown(ctx context.Context) {
	if p != nil {
		_ = p.http.Shutdown(ctx) // close follows
	}
}

func (p *plainHTTP) close() {
	if p != nil {
		_ = p.http.Close()     // no one waits for its answers
		_ = p.listener.Close() // it was not served yet
	}
}
