package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
	"porchlight.dev/porchlight/internal/ui"
)

// A frontProxy is a reverse proxy that sends its own address as Host, as proxies do by
// default.
type frontProxy struct {
	*running
	url string
}

// startBehindProxy runs a server behind a proxy. The settings may contain the proxy's
// URL. report says whether the proxy reports its client.
func startBehindProxy(t *testing.T, report bool, set func(cfg *config.Config, url string)) *frontProxy {
	t.Helper()
	f := new(frontProxy)
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, _ := url.Parse(f.running.URL())
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target) // the Host too
			if report {
				p.SetXForwarded()
			}
		}}).ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	f.url = "http://" + proxy.Listener.Addr().String()
	cfg := settings(t)
	if set != nil {
		set(&cfg, f.url)
	}
	f.running = start(t, cfg, server.Options{})
	proxy.Start()
	return f
}

// open opens a stream or a poll through the proxy, as a page of an origin, and returns
// the status, and the body if it is refused.
func (f *frontProxy) open(t *testing.T, kind, origin string) (int, string) {
	t.Helper()
	headers := []string{"Authorization", "Bearer " + f.made.AccessToken, "Origin", origin}
	switch kind {
	case "WebSocket":
		header := http.Header{"Authorization": {headers[1]}, "Origin": {origin}}
		conn, resp, err := websocket.Dial(t.Context(), f.url+"/v1/stream", &websocket.DialOptions{HTTPClient: f.http, HTTPHeader: header})
		if err == nil {
			_ = conn.CloseNow() // only the handshake matters
			return resp.StatusCode, ""
		}
		return resp.StatusCode, readAll(t, resp)
	case "events":
		return f.status(t, http.MethodGet, "/v1/stream", headers...)
	case "poll":
		return f.status(t, http.MethodGet, "/v1/presence/changes?users=ada@example.com&wait=0", headers...)
	default:
		return f.status(t, http.MethodPost, "/v1/tickets", headers...)
	}
}

// status sends a request through the proxy. It reads only the body of a refusal,
// because a stream has no end.
func (f *frontProxy) status(t *testing.T, method, path string, headers ...string) (int, string) {
	t.Helper()
	resp := f.send(t, method, f.url+path, "", headers...)
	if resp.StatusCode < 400 {
		_ = resp.Body.Close()
		return resp.StatusCode, ""
	}
	return resp.StatusCode, readAll(t, resp)
}

// TestOriginBehindProxy: pages of the server's own origin can open streams, regardless
// of the Host that the proxy sends. Pages of other origins are refused with the reason.
func TestOriginBehindProxy(t *testing.T) {
	public := func(cfg *config.Config, url string) { cfg.PublicURL = url + "/" }
	trusted := func(cfg *config.Config, _ string) { cfg.TrustedProxies = "127.0.0.1" }
	for name, c := range map[string]struct {
		report bool
		set    func(*config.Config, string)
		own    bool
	}{
		"public-url":                           {false, public, true},
		"a trusted proxy that reports":         {true, trusted, true},
		"an untrusted proxy":                   {true, nil, false},
		"a trusted proxy that does not report": {false, trusted, false},
	} {
		f := startBehindProxy(t, c.report, c.set)
		for _, kind := range []string{"WebSocket", "events", "poll", "ticket"} {
			status, body := f.open(t, kind, f.url)
			if (status < 400) != c.own {
				t.Errorf("%s: %s from the server's own page: %d %s", name, kind, status, body)
			}
			for _, origin := range []string{"https://evil.example", "null", f.url + "0"} {
				status, body = f.open(t, kind, origin)
				if status != http.StatusForbidden || !strings.Contains(body, "public-url") || !strings.Contains(body, "cors-origins") || !strings.Contains(body, origin) {
					t.Errorf("%s: %s from %s: %d %s", name, kind, origin, status, body)
				}
			}
		}
	}
}

// TestHosts: pages, tickets and streams opened with a ticket are available only under
// the server's own host names. A request with a token is served under any name.
func TestHosts(t *testing.T) {
	cfg := settings(t)
	cfg.PublicURL, cfg.AllowedHosts = "https://presence.example/", "other.example, 192.0.2.7"
	r := start(t, cfg, server.Options{})
	bearer := []string{"Authorization", "Bearer " + r.made.AccessToken}
	for _, c := range []struct {
		method, path string
		headers      []string
		any          bool // host
		status       int
	}{
		{"GET", "/", nil, false, 200},
		{"GET", "/docs", nil, false, 200},
		{"GET", "/help/concepts", nil, false, 200},
		{"GET", "/docs/openapi.yaml", nil, false, 200},
		{"GET", "/docs/problems/no-token", nil, false, 200},
		{"GET", "/me", nil, false, 200},
		{"GET", ui.URL("app.js"), nil, false, 200},
		{"POST", "/v1/tickets", bearer, false, 201},
		{"POST", "/v1/tickets", nil, false, 401},
		{"GET", "/v1/stream?ticket=x", nil, false, 401},
		{"GET", "/v1/stream", bearer, true, 200},
		{"GET", "/v1/account", bearer, true, 200},
		{"GET", "/v1/account", nil, true, 401},
		{"GET", "/v2/users/ada@example.com/presence_status", bearer, true, 200},
		{"POST", "/oauth/token", nil, true, 400},
		{"GET", "/nothing", nil, true, 404},
	} {
		for host, own := range map[string]bool{
			"": true, "localhost": true, "presence.example": true, "presence.example:8443": true, "other.example": true, "192.0.2.7:80": true,
			"evil.example": false, "192.0.2.8": false,
		} {
			headers := c.headers
			if host != "" {
				headers = append([]string{"Host", host}, headers...)
			}
			resp := r.send(t, c.method, r.URL()+c.path, "", headers...)
			if own || c.any {
				_ = resp.Body.Close()
				if resp.StatusCode != c.status {
					t.Errorf("%s %s under %q: %d, want %d", c.method, c.path, host, resp.StatusCode, c.status)
				}
				continue
			}
			body := readAll(t, resp)
			if resp.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, "allowed-hosts") || !strings.Contains(body, "public-url") || !strings.Contains(body, host) {
				t.Errorf("%s %s under %q: %d %s", c.method, c.path, host, resp.StatusCode, body)
			}
		}
	}
}

// TestForwardedHost: behind a trusted proxy the host name is the one that the proxy
// reports.
func TestForwardedHost(t *testing.T) {
	cfg := settings(t)
	cfg.AllowedHosts, cfg.TrustedProxies = "presence.example", "127.0.0.1"
	r := start(t, cfg, server.Options{})
	for host, want := range map[string]int{"presence.example": 200, "evil.example": 421} {
		resp := r.send(t, "GET", r.URL()+"/me", "", "X-Forwarded-Host", host)
		if readAll(t, resp); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", host, resp.StatusCode, want)
		}
	}
}
