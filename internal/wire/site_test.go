package wire_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	. "porchlight.dev/porchlight/internal/wire"
)

// errorDialect records the error.
type errorDialect struct{ err error }

func (d *errorDialect) Fail(w http.ResponseWriter, _ *http.Request, err error) {
	d.err = err
	w.WriteHeader(http.StatusForbidden)
}

// errorOf sends a request to a handler through a router, and returns the handler's
// error.
func errorOf(h Handler, host, origin string) error {
	none := new(errorDialect)
	rt := NewRouter(NewObserver(nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), time.Now), none)
	rt.Handle(http.MethodGet, "/x", none, h)
	r := httptest.NewRequest(http.MethodGet, "/x", nil)
	r.Host = host
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	rt.ServeHTTP(httptest.NewRecorder(), r)
	return none.err
}

func noop(http.ResponseWriter, *http.Request) error { return nil }

// TestOwnHost: pages are served only under the server's names, because another name may
// point here by DNS rebinding.
func TestOwnHost(t *testing.T) {
	one := &Site{Hosts: []string{"presence.example", "192.0.2.1", "2001:db8::1"}}
	all := &Site{Hosts: one.Hosts, AnyAddress: true}
	for host, want := range map[string]struct{ one, all bool }{
		"presence.example": {true, true}, "presence.example:8443": {true, true}, "Presence.EXAMPLE.:80": {true, true},
		"localhost": {true, true}, "LOCALHOST:8080": {true, true}, "127.0.0.1:8080": {true, true}, "127.9.9.9": {true, true},
		"[::1]": {true, true}, "[::1]:8080": {true, true}, "[::ffff:127.0.0.1]": {true, true},
		"192.0.2.1": {true, true}, "[2001:DB8:0::1]:80": {true, true}, "[::ffff:192.0.2.1]": {true, true},
		"192.0.2.2": {false, true}, "[2001:db8::2]:80": {false, true}, "0.0.0.0": {false, true},
		"evil.example": {false, false}, "x.presence.example": {false, false}, "presence.example.evil": {false, false},
		"localhost.evil": {false, false}, "127.0.0.1.evil": {false, false}, "presence": {false, false}, "[": {true, true}, "": {true, true},
	} {
		for site, want := range map[*Site]bool{one: want.one, all: want.all, nil: true} {
			err := errorOf(site.OwnHost(noop), host, "")
			if refused, ok := errors.AsType[*HostError](err); ok == want || ok && (refused.Host != host || !strings.Contains(err.Error(), "allowed-hosts")) {
				t.Errorf("%q of %+v: %v", host, site, err)
			}
		}
	}
}

// TestOwnOrigin: a page's origin must be that of the requested host, or an allowed one.
func TestOwnOrigin(t *testing.T) {
	site := &Site{Own: "https://presence.example", Origins: []string{"http://localhost:3000"}}
	for _, c := range []struct {
		host, origin string
		want         bool
	}{
		{"x.example", "", true},
		{"x.example", "http://x.example", true},
		{"x.example", "https://X.example", true},
		{"x.example:443", "https://x.example", true},
		{"x.example:80", "http://x.example", true},
		{"x.example:8080", "http://x.example:8080", true},
		{"x.example", "https://presence.example", true},
		{"x.example", "http://localhost:3000", true},
		{"x.example:80", "https://x.example", false},
		{"x.example", "http://x.example:8080", false},
		{"x.example", "http://localhost", false},
		{"x.example", "http://presence.example", false},
		{"x.example", "https://presence.example.evil", false},
		{"x.example", "null", false},
		{"", "null", false},
		{"x.example", "x.example", false},
		{"x.example", ":", false},
	} {
		err := errorOf(site.OwnOrigin(noop), c.host, c.origin)
		if refused, ok := errors.AsType[*OriginError](err); ok == c.want || ok && (refused.Origin != c.origin || !strings.Contains(err.Error(), "cors-origins")) {
			t.Errorf("host %q, origin %q: %v", c.host, c.origin, err)
		}
		if err := errorOf((&Site{Origins: []string{"*"}}).OwnOrigin(noop), c.host, c.origin); err != nil {
			t.Errorf("host %q, origin %q, all origins allowed: %v", c.host, c.origin, err)
		}
	}
}
