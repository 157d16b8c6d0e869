package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// checkServed checks that another client is served, with a request and with a stream.
func (r *running) checkServed(t *testing.T, other api.Token) {
	t.Helper()
	if _, answer := r.roundTrip(t, "GET", "/v1/me", "", "Authorization", "Bearer "+other.Secret, "Connection", "close"); !strings.Contains(answer, other.User) {
		t.Errorf("another user gets %s", answer)
	}
	stream := r.open(t, other.Secret, "?users=me")
	stream.read(t, api.FrameSnapshot)
	_ = stream.Close()
	if status, body := r.get(t, r.AdminURL()+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz is %d %s, while others are served", status, body)
	}
}

// roundTrip sends a request and reads the response.
func (r *running) roundTrip(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	resp := r.send(t, method, r.URL()+path, body, headers...)
	return resp, readAll(t, resp)
}

// metric returns the value of one line of /metrics, or "".
func (r *running) metric(t *testing.T, line string) string {
	t.Helper()
	_, all := r.get(t, r.AdminURL()+"/metrics")
	_, after, _ := strings.Cut(all, "\n"+line+" ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// TestOneUserCannotTakeAllConnections: a user who opens as many WebSockets as the
// server accepts connections does not lock out other users.
func TestOneUserCannotTakeAllConnections(t *testing.T) {
	const most = 300
	cfg := settings(t)
	cfg.MaxConnections = most
	r := start(t, cfg, server.Options{})
	ids := r.createUsers(t, 2)
	greedy := r.createToken(t, ids[0], "presence:read")
	other := r.createToken(t, ids[1], "presence:read")
	opened := 0
	for range most {
		_, resp := r.sendRaw(t, upgrade(greedy.Secret, ""))
		if resp.StatusCode == http.StatusSwitchingProtocols {
			opened++
		}
	}
	if opened != 100 {
		t.Errorf("%d streams of one user are open, want 100", opened)
	}
	r.checkServed(t, other)
	if got := r.metric(t, `porchlight_limit_refused_total{limit="streams-per-user"}`); got != strconv.Itoa(most-opened) {
		t.Errorf("%s refusals are counted, want %d", got, most-opened)
	}
}

// TestIdleConnectionsAreEvicted: connections that never sent a request are evicted for
// new ones.
func TestIdleConnectionsAreEvicted(t *testing.T) {
	const most = 300
	cfg := settings(t)
	cfg.MaxConnections = most
	r := start(t, cfg, server.Options{})
	other := r.createToken(t, r.createUsers(t, 1)[0], "presence:read")
	var strangers []net.Conn
	evicted := func() bool {
		got := r.metric(t, "porchlight_connections_closed_anonymous_total")
		return got != "" && got != "0"
	}
	eventually(t, "connections are evicted", func() bool { // while they are opened slowly, the header timeout closes them
		for range most {
			c := r.dial(t)
			t.Cleanup(func() { _ = c.Close() })
			strangers = append(strangers, c)
		}
		r.checkServed(t, other)
		return evicted()
	})
	if _, err := strangers[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest connection without a request is still open")
	}
}

// TestFullServer: while all connections are in use, /readyz reports it, and recovers
// when one is free.
func TestFullServer(t *testing.T) {
	cfg := settings(t)
	cfg.MaxConnections, cfg.MaxConnectionsPerAddress = 3, 3
	cfg.StreamLimits = quotas(t, "user=none,app=none,account=none,address=none")
	r := start(t, cfg, server.Options{})
	streams := make([]*rawSocket, 3)
	for i := range streams {
		streams[i] = r.open(t, r.made.AccessToken, "")
	}
	status, body := r.get(t, r.AdminURL()+"/readyz")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "max-connections") {
		t.Errorf("/readyz of a server without a free connection is %d %s", status, body)
	}
	_ = streams[0].Close()
	eventually(t, "ready again", func() bool {
		status, _ := r.get(t, r.AdminURL()+"/readyz")
		return status == http.StatusOK
	})
}

func quotas(t *testing.T, text string) (q config.Quotas) {
	t.Helper()
	if err := q.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return q
}

// A limitCase describes how to reach one limit.
type limitCase struct {
	limit string
	most  int
	set   func(t *testing.T, c *config.Config)
	// do is one of several attempts.
	do     func(t *testing.T, w *limitEnv) (status int, header http.Header, body string)
	status int    // when the limit is reached
	wait   bool   // whether the response has Retry-After
	body   string // in the response, for other forms than a problem document
}

// A limitEnv is a running server with a user and the state of a limitCase.
type limitEnv struct {
	*running
	limitCase

	own     api.Token // of a user
	attempt int
}

// stream opens a stream and leaves it open.
func (w *limitEnv) stream(t *testing.T, token, accept string) (int, http.Header, string) {
	t.Helper()
	request := upgrade(token, "", "X-Forwarded-For: 192.0.2.1")
	if accept != "" {
		request = "GET " + accept + " HTTP/1.1\r\nHost: porchlight.example\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	}
	s, resp := w.sendRaw(t, request)
	if resp.StatusCode < 300 {
		return resp.StatusCode, resp.Header, ""
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, max(0, resp.ContentLength)))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	return resp.StatusCode, resp.Header, string(body)
}

// call sends an API request.
func (w *limitEnv) call(t *testing.T, token, method, path, body string) (int, http.Header, string) {
	t.Helper()
	resp, answer := w.roundTrip(t, method, path, body, "Authorization", "Bearer "+token, "Content-Type", "application/json", "X-Forwarded-For", "192.0.2.1")
	return resp.StatusCode, resp.Header, answer
}

func openStream(t *testing.T, w *limitEnv) (int, http.Header, string) {
	return w.stream(t, w.own.Secret, "")
}

func openAppStream(t *testing.T, w *limitEnv) (int, http.Header, string) {
	return w.stream(t, w.made.AccessToken, "")
}

func openEvents(t *testing.T, w *limitEnv) (int, http.Header, string) {
	return w.stream(t, w.own.Secret, "/v1/stream")
}

// openPoll polls when the limit of streams is reached.
func openPoll(t *testing.T, w *limitEnv) (int, http.Header, string) {
	if w.attempt < w.most {
		return openStream(t, w)
	}
	return w.call(t, w.own.Secret, "GET", "/v1/presence/changes?wait=0", "")
}

func makeTicket(t *testing.T, w *limitEnv) (int, http.Header, string) {
	return w.call(t, w.own.Secret, "POST", "/v1/tickets", "")
}

func makeToken(t *testing.T, w *limitEnv) (int, http.Header, string) {
	return w.call(t, w.own.Secret, "POST", "/v1/tokens", `{"scopes":["presence:read"]}`)
}

func makeAppToken(t *testing.T, w *limitEnv) (int, http.Header, string) {
	return w.call(t, w.made.AccessToken, "POST", "/v1/tokens", `{"scopes":["presence:read"]}`)
}

func grantToken(t *testing.T, w *limitEnv) (int, http.Header, string) {
	form := "grant_type=client_credentials&client_id=" + w.made.ClientID + "&client_secret=" + w.made.ClientSecret
	resp, answer := w.roundTrip(t, "POST", "/oauth/token", form, "Content-Type", "application/x-www-form-urlencoded")
	return resp.StatusCode, resp.Header, answer
}

func writeNote(t *testing.T, w *limitEnv) (int, http.Header, string) {
	return w.call(t, w.own.Secret, "PUT", "/v1/users/me/note", fmt.Sprintf(`{"text":"%d"}`, w.attempt))
}

func claimInStream(t *testing.T, w *limitEnv) (int, http.Header, string) {
	s := w.open(t, w.own.Secret, "")
	defer s.Close()
	if err := s.sendText(`{"type":"claim","claim":"call","source":"call","status":"on_call"}`); err != nil {
		t.Fatal(err)
	}
	for {
		first, payload, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if first != final|opText {
			continue
		}
		switch f := frameOf(t, payload); f.Type {
		case api.FrameDone:
			return http.StatusOK, nil, ""
		case api.FrameError:
			return http.StatusTooManyRequests, nil, f.Code + ": " + f.Detail
		default:
		}
	}
}

// requestZoomAtLimit opens streams, and sends a Zoom request when the limit is reached.
func requestZoomAtLimit(t *testing.T, w *limitEnv) (int, http.Header, string) {
	if w.attempt < w.most {
		return openStream(t, w)
	}
	return w.call(t, w.own.Secret, "GET", "/v2/users/me/presence_status", "")
}

func requestOAuthAtLimit(t *testing.T, w *limitEnv) (int, http.Header, string) {
	if w.attempt < w.most {
		return openStream(t, w)
	}
	return grantToken(t, w)
}

// limitCases returns a case for every limit. Each limit is set to 2, and the third
// attempt exceeds it.
func limitCases() []limitCase {
	streams := func(t *testing.T, c *config.Config, text string) {
		c.StreamLimits, c.TrustedProxies = quotas(t, text), "127.0.0.1"
	}
	connections := func(t *testing.T, c *config.Config) {
		c.MaxConnections, c.MaxConnectionsPerAddress = 2, 10
		c.StreamLimits = quotas(t, "user=none,app=none,account=none,address=none")
	}
	ofAddress := func(t *testing.T, c *config.Config) {
		c.MaxConnectionsPerAddress = 2
		c.StreamLimits = quotas(t, "user=none,app=none,account=none,address=none")
	}
	all := []limitCase{ // run first, while no other tokens exist
		{limit: "live-tokens-per-user", set: func(t *testing.T, c *config.Config) { c.LiveTokenLimits = quotas(t, "user=3") }, do: makeToken, status: 409},
		{limit: "live-tokens-per-app", set: func(t *testing.T, c *config.Config) { c.LiveTokenLimits = quotas(t, "app=3") }, do: makeAppToken, status: 409},
		{limit: "connections", set: connections, do: openStream, status: 503, wait: true},
		{limit: "connections", set: connections, do: requestZoomAtLimit, status: 503, wait: true, body: `"code":503,"message":"Limit connections reached: 2 connections`},
		{limit: "connections-per-address", set: ofAddress, do: openStream, status: 429, wait: true},
		{limit: "connections-per-address", set: ofAddress, do: requestZoomAtLimit, status: 429, wait: true, body: `"code":429,"message":"Limit connections-per-address reached: 2 connections`},
		{limit: "connections-per-address", set: ofAddress, do: requestOAuthAtLimit, status: 429, wait: true, body: `connections-per-address reached: 2 connections`},
		{limit: "tokens-per-app", set: func(t *testing.T, c *config.Config) { c.TokenLimits = quotas(t, "app=2") }, do: grantToken, status: 429, wait: true, body: "tokens-per-app reached: 2 new tokens a minute"},
		{limit: "tokens-per-account", set: func(t *testing.T, c *config.Config) { c.TokenLimits = quotas(t, "account=2") }, do: grantToken, status: 429, wait: true, body: "tokens-per-account reached"},
		{limit: "tokens-per-address", set: func(t *testing.T, c *config.Config) { c.TokenLimits = quotas(t, "address=2") }, do: grantToken, status: 429, wait: true, body: "tokens-per-address reached"},
		{limit: "writes-per-user", set: func(t *testing.T, c *config.Config) { c.WriteLimits = quotas(t, "user=2") }, do: claimInStream, status: 429, body: "quota-exceeded: Limit writes-per-user reached"},
	}
	for i := range all {
		all[i].most = 2
	}
	for _, subject := range []string{"user", "app", "account", "address"} {
		text := subject + "=2"
		each := func(resource string, set func(*testing.T, *config.Config), do func(*testing.T, *limitEnv) (int, http.Header, string)) {
			all = append(all, limitCase{limit: resource + "-per-" + subject, most: 2, set: set, do: do, status: 429, wait: true})
		}
		ofStreams := func(t *testing.T, c *config.Config) { streams(t, c, text) }
		each("streams", ofStreams, openStream)
		each("streams", ofStreams, openEvents)
		each("streams", ofStreams, openPoll)
		each("streams", ofStreams, openAppStream)
		each("tickets", func(t *testing.T, c *config.Config) { c.TicketLimits = quotas(t, text) }, makeTicket)
		each("tokens", func(t *testing.T, c *config.Config) { c.TokenLimits = quotas(t, text) }, makeToken)
		each("writes", func(t *testing.T, c *config.Config) { c.WriteLimits = quotas(t, text) }, writeNote)
	}
	return all
}

// TestLimits: each limit refuses the first request above it, counts it, and reports its
// name, its value, its setting and when to retry.
func TestLimits(t *testing.T) {
	cases := limitCases()
	cfg := settings(t)
	r := start(t, cfg, server.Options{})
	own := make([]api.Token, len(cases))
	for i, user := range r.createUsers(t, len(cases)) {
		own[i] = r.createToken(t, user, "presence:read", "claim:write", "directory:write", "session:write")
	}
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		t.Run(c.limit, func(t *testing.T) {
			limited := cfg
			c.set(t, &limited)
			c.run(t, &limitEnv{running: run(t, limited, server.Options{}, r.made), limitCase: c, own: own[i]})
		})
	}
}

// checkHeaders: the headers say which limit it is, and when to retry.
func (c *limitCase) checkHeaders(t *testing.T, h http.Header) {
	t.Helper()
	resource, subject, _ := strings.Cut(c.limit, "-per-")
	want := map[string]string{"streams": "streams", "connections": "connections"}[resource]
	if want == "" {
		want = "minute"
	}
	if c.body != "" {
		want = "zoom-server"
	}
	if got := limitOf(h); got != want {
		t.Errorf("the headers are those of %s, want %s: %v", got, want, h)
	}
	left, announced := h.Get("RateLimit"), want == "minute" || want == "streams"
	if announced && left != `"`+subject+`";r=0;t=`+h.Get("Retry-After") || !announced && left != "" {
		t.Errorf("RateLimit is %s, Retry-After %s", left, h.Get("Retry-After"))
	}
}

func (c *limitCase) run(t *testing.T, w *limitEnv) {
	for w.attempt = range c.most {
		if status, _, body := c.do(t, w); status >= 300 {
			t.Fatalf("attempt %d: %d %s", w.attempt, status, body)
		}
	}
	w.attempt = c.most
	status, header, body := c.do(t, w)
	if status != c.status || c.wait != (header.Get("Retry-After") != "") || !strings.Contains(body, c.body) {
		t.Errorf("above the limit: %d, Retry-After %q, %s; want %d, %v, %s", status, header.Get("Retry-After"), body, c.status, c.wait, c.body)
	}
	if c.body == "" {
		c.checkProblem(t, body)
	}
	if c.wait && c.status == http.StatusTooManyRequests {
		c.checkHeaders(t, header)
	}
	refused := w.metric(t, `porchlight_limit_refused_total{limit="`+c.limit+`"}`)
	if value := w.metric(t, `porchlight_limit{limit="`+c.limit+`"}`); refused != "1" || value == "" || value == "0" {
		t.Errorf("the metrics report %q refused and the limit %q", refused, value)
	}
}

func (c *limitCase) checkProblem(t *testing.T, body string) {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if p.LimitName != c.limit || p.Limit < c.most || p.Setting == "" || p.Status != c.status || !strings.Contains(p.Detail, c.limit) {
		t.Errorf("the problem is %+v", p)
	}
}

// TestClientsBehindProxy: behind a trusted proxy each client has its own limits, and an
// IPv6 /64 counts as one client.
func TestClientsBehindProxy(t *testing.T) {
	cfg := settings(t)
	cfg.TrustedProxies, cfg.MaxConnectionsPerAddress = "127.0.0.1", 1
	cfg.StreamLimits = quotas(t, "address=2")
	r := start(t, cfg, server.Options{})
	token := r.createToken(t, r.createUsers(t, 1)[0], "presence:read").Secret
	for i, c := range []struct {
		address string
		status  int
	}{
		{"192.0.2.1", 101},
		{"192.0.2.1", 101},
		{"192.0.2.1", 429},
		{"192.0.2.2", 101},
		{"2001:db8::1", 101},
		{"2001:db8::ffff:2", 101},
		{"2001:db8::3:0:0:3", 429},
		{"2001:db8:0:1::1", 101},
		{"::ffff:192.0.2.1", 429},
		{"192.0.2.1, 192.0.2.3", 101}, // the proxy vouches only for the last address
	} {
		_, resp := r.sendRaw(t, upgrade(token, "", "X-Forwarded-For: "+c.address))
		if resp.StatusCode != c.status {
			t.Errorf("stream %d of %s: status %d, want %d", i, c.address, resp.StatusCode, c.status)
		}
	}
}

// TestRefusedConnections: over TLS, with and without HTTP/2, a connection above the
// limit gets a response and is closed.
func TestRefusedConnections(t *testing.T) {
	cfg := settings(t)
	dir := t.TempDir()
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1)
	cfg.MaxConnections, cfg.MaxConnectionsPerAddress = 2, 2
	cfg.StreamLimits = quotas(t, "user=none,app=none,account=none,address=none")
	made, err := server.Init(t.Context(), cfg, testFounding)
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, cfg, server.Options{}, made)
	for range 2 {
		r.open(t, made.AccessToken, "")
	}
	for range 3 { // refused connections are released
		for _, modern := range []bool{false, true} {
			transport := &http.Transport{TLSClientConfig: trustAnyServer(), ForceAttemptHTTP2: modern}
			r.http.Transport = transport
			resp, body := r.roundTrip(t, "GET", "/v1/me", "", "Authorization", "Bearer "+made.AccessToken)
			if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "connections-per-address") || resp.ProtoMajor != map[bool]int{false: 1, true: 2}[modern] {
				t.Errorf("HTTP/2 %v: response %s %d, Retry-After %q, %s", modern, resp.Proto, resp.StatusCode, resp.Header.Get("Retry-After"), body)
			}
			transport.CloseIdleConnections()
		}
	}
}
