package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/config"
)

// TestPlainHTTP: the listener for plain HTTP redirects browsers, refuses what may contain
// a secret, and answers no challenge that there is not.
func TestPlainHTTP(t *testing.T) {
	cfg := config.Config{HTTPListen: "127.0.0.1:0", PublicURL: "https://presence.test/"}
	source := certificate.LoadACME(certificate.ACMEOptions{DataDir: t.TempDir(), Names: []string{"presence.test"}})
	p, err := newPlainHTTP(&cfg, source, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	for name, c := range map[string]struct {
		method, path, token string
		status              int
		location            string
	}{
		"a page":             {"GET", "/board?x=1", "", http.StatusMovedPermanently, "https://presence.test/board?x=1"},
		"another host":       {"GET", "//evil.test/", "", http.StatusTemporaryRedirect, "/evil.test/"},
		"a write":            {"POST", "/oauth/token", "", http.StatusForbidden, ""},
		"a token":            {"GET", "/v1/me", "Bearer x", http.StatusForbidden, ""},
		"a token in the URL": {"GET", "/v1/stream?x=1&access%5Ftoken=x", "", http.StatusForbidden, ""},
		"unknown challenge":  {"GET", certificate.ChallengePath + "x", "", http.StatusNotFound, ""},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(c.method, "http://presence.test"+c.path, strings.NewReader(""))
		if c.token != "" {
			r.Header.Set("Authorization", c.token)
		}
		p.http.Handler.ServeHTTP(w, r)
		if w.Code != c.status || w.Header().Get("Location") != c.location {
			t.Errorf("%s: %d, Location %q; want %d, %q", name, w.Code, w.Header().Get("Location"), c.status, c.location)
		}
	}
}
