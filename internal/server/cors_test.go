package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/server"
)

// TestCORS: pages of the configured origins may call the API and read its errors and
// headers. Pages of other origins may not, and without the setting none may.
func TestCORS(t *testing.T) {
	const app, other = "https://app.example", "https://evil.example"
	for _, c := range []struct {
		setting, origin, allowed string
	}{
		{app + ", http://localhost:3000", app, app},
		{app, other, ""},
		{app, "null", ""},
		{"*", other, "*"},
		{"", app, ""},
	} {
		cfg := settings(t)
		cfg.CORSOrigins = c.setting
		r := start(t, cfg, server.Options{})
		bearer := []string{"Authorization", "Bearer " + r.made.AccessToken, "Origin", c.origin}
		for _, asked := range []struct {
			method, path string
			headers      []string
			shared       bool
		}{
			{"GET", "/v1/account", bearer, true},
			{"GET", "/v1/account", bearer[2:], true}, // 401
			{"GET", "/v1/nothing", bearer, true},
			{"DELETE", "/v1/account", bearer, true}, // 405
			{"GET", "/v2/users/ada@example.com/presence_status", bearer, true},
			{"HEAD", "/v1/stream", bearer, true},
			{"GET", "/v1/stream", bearer, true},
			{"POST", "/v1/tickets", bearer, true},
			{"POST", "/oauth/token", bearer[2:], false},
			{"GET", "/docs", bearer[2:], false},
			{"GET", "/me", bearer[2:], false},
		} {
			resp := r.send(t, asked.method, r.URL()+asked.path, "", asked.headers...)
			_ = resp.Body.Close()
			want := c.allowed
			if !asked.shared {
				want = ""
			}
			h := resp.Header
			exposed := h.Get("Access-Control-Expose-Headers")
			if h.Get("Access-Control-Allow-Origin") != want || h.Get("Access-Control-Allow-Credentials") != "" || (want != "") != strings.Contains(exposed, "ETag") {
				t.Errorf("with %q, %s %s from %s: %d %v", c.setting, asked.method, asked.path, c.origin, resp.StatusCode, h)
			}
			if varies := strings.Contains(h.Get("Vary"), "Origin"); varies != (asked.shared && c.setting != "" && c.setting != "*") {
				t.Errorf("with %q, %s %s from %s: Vary is %q", c.setting, asked.method, asked.path, c.origin, h.Get("Vary"))
			}
		}
	}
}

// TestPreflights: a preflight lists the methods of its route. The OAuth endpoints are
// only for confidential clients and refuse preflights.
func TestPreflights(t *testing.T) {
	const app = "https://app.example"
	cfg := settings(t)
	cfg.CORSOrigins = app
	r := start(t, cfg, server.Options{})
	for _, c := range []struct {
		path, origin string
		status       int
		methods      string
	}{
		{"/v1/users/me/note", app, 204, "DELETE, PUT"},
		{"/v1/stream", app, 204, "GET, HEAD"},
		{"/v1/tickets", app, 204, "POST"},
		{"/v2/users/me/presence_status", app, 204, "GET, HEAD, PUT"},
		{"/v1/users/me/note", "https://evil.example", 403, ""},
		{"/v2/users/me/presence_status", "https://evil.example", 403, ""},
		{"/v1/nothing", app, 404, ""},
		{"/oauth/token", app, 405, ""},
		{"/me", app, 405, ""},
	} {
		resp := r.send(t, http.MethodOptions, r.URL()+c.path, "", "Origin", c.origin,
			"Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "authorization,if-match")
		h, body := resp.Header, readAll(t, resp)
		if resp.StatusCode != c.status || h.Get("Access-Control-Allow-Methods") != c.methods {
			t.Errorf("%s from %s: %d %v %s", c.path, c.origin, resp.StatusCode, h, body)
		}
		if c.status == 403 && (!strings.Contains(body, "cors-origins") || !strings.Contains(body, c.origin)) {
			t.Errorf("%s from %s: %s", c.path, c.origin, body)
		}
		for _, name := range []string{"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID"} {
			if c.methods != "" && !strings.Contains(h.Get("Access-Control-Allow-Headers"), name) {
				t.Errorf("%s from %s: %s is not allowed", c.path, c.origin, name)
			}
		}
		if c.methods != "" && (h.Get("Access-Control-Allow-Origin") != app || h.Get("Access-Control-Max-Age") == "" || h.Get("Access-Control-Allow-Credentials") != "") {
			t.Errorf("%s from %s: %v", c.path, c.origin, h)
		}
	}
	resp := r.send(t, http.MethodOptions, r.URL()+"/v1/account", "", "Origin", app)
	if readAll(t, resp); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("an OPTIONS request that is not a preflight: %d", resp.StatusCode)
	}
}

// TestCORSStreams: a page of an allowed origin can open streams and poll.
func TestCORSStreams(t *testing.T) {
	cfg := settings(t)
	cfg.CORSOrigins = "https://app.example"
	f := &frontProxy{running: start(t, cfg, server.Options{})}
	f.url = f.running.URL()
	for _, kind := range []string{"WebSocket", "events", "poll", "ticket"} {
		if status, body := f.open(t, kind, "https://app.example"); status >= 400 {
			t.Errorf("%s: %d %s", kind, status, body)
		}
	}
}

// TestHSTS: the header is sent only if it is configured and the client connects over
// HTTPS.
func TestHSTS(t *testing.T) {
	for _, c := range []struct {
		age     time.Duration
		trusted string
		headers []string
		want    string
	}{
		{0, "127.0.0.1", []string{"X-Forwarded-Proto", "https"}, ""},
		{time.Hour, "127.0.0.1", []string{"X-Forwarded-Proto", "https"}, "max-age=3600"},
		{time.Hour, "127.0.0.1", []string{"X-Forwarded-Proto", "http"}, ""},
		{time.Hour, "127.0.0.1", nil, ""},
		{time.Hour, "", []string{"X-Forwarded-Proto", "https"}, ""},
	} {
		cfg := settings(t)
		cfg.HSTSMaxAge, cfg.TrustedProxies = c.age, c.trusted
		r := start(t, cfg, server.Options{})
		for _, path := range []string{"/me", "/v1/me", "/nothing", "/v1/stream"} {
			resp := r.send(t, http.MethodGet, r.URL()+path, "", append(c.headers, "Authorization", "Bearer "+r.made.AccessToken)...)
			_ = resp.Body.Close()
			if got := resp.Header.Get("Strict-Transport-Security"); got != c.want {
				t.Errorf("%+v: %s has the header %q", c, path, got)
			}
		}
	}
}
