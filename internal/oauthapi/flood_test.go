package oauthapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/auth"
	. "porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/wire"
)

// TestDeviceFlood: clients that prove nothing make few codes, and use up nothing that counts
// for the app, which all accounts share.
func TestDeviceFlood(t *testing.T) {
	f := newOAuthFixture(t)
	var counted []Grantee
	e := &API{
		Authority: f.Authority, Clock: f.clock.Now, BaseURL: func(http.ResponseWriter) string { return "http://presence.example" },
		Admit: func(_ http.ResponseWriter, g Grantee) error { counted = append(counted, g); return nil },
	}
	rt := wire.NewRouter(wire.NewObserver(nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), f.clock.Now), e)
	e.Mount(rt)
	begin := func(from string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/oauth/devicecode", strings.NewReader(url.Values{"client_id": {string(auth.CommandApp)}}.Encode()))
		r.Header.Set("Content-Type", formType)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r)
		return w
	}
	for range 120 {
		if w := begin("192.0.2.1:1"); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
	}
	if w := begin("192.0.2.1:2"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || strings.Contains(w.Body.String(), "can change") {
		t.Error(w.Code, w.Header(), w.Body)
	}
	if w := begin("192.0.2.2:1"); w.Code != http.StatusOK {
		t.Error("another address:", w.Code, w.Body)
	}
	for _, g := range counted {
		if g != (Grantee{}) {
			t.Fatalf("counted for %+v", g)
		}
	}
	f.clock.Advance(time.Minute)
	if w := begin("192.0.2.1:1"); w.Code != http.StatusOK {
		t.Error("a minute later:", w.Code, w.Body)
	}
	counted = nil
	oauthCall{header: makeHeader("Content-Type", formType, "Authorization", basicAuth(string(f.app.ID), f.secret)), body: "grant_type=client_credentials"}.do(rt)
	if len(counted) != 1 || counted[0].App != f.app.ID {
		t.Errorf("an app with a secret is counted for %+v", counted)
	}
}
