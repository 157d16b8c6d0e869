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
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// isServed makes sure that another client is served: with a request, and with a
// stream that says hello.
func (r *running) isServed(t *testing.T, other api.Token) {
	t.Helper()
	if _, answer := r.sendTo(t, "GET", "/v1/me", "", "Authorization", "Bearer "+other.Secret, "Connection", "close"); !strings.Contains(answer, other.User) {
		t.Errorf("another user's request is answered %s", answer)
	}
	stream := r.open(t, other.Secret, "?users=me")
	stream.read(t, api.FrameSnapshot)
	_ = stream.Close()
	if status, body := r.get(t, r.AdminURL()+"/readyz"); status != http.StatusOK {
		t.Errorf("/readyz is %d %s, while others are served", status, body)
	}
}

// sendTo makes a request and reads the answer.
func (r *running) sendTo(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	resp := r.send(t, method, r.URL()+path, body, headers...)
	return resp, readAll(t, resp)
}

// metric is the value of one line of /metrics, or "".
func (r *running) metric(t *testing.T, line string) string {
	t.Helper()
	_, all := r.get(t, r.AdminURL()+"/metrics")
	_, after, _ := strings.Cut(all, "\n"+line+" ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// TestOneUserCannotTakeAllConnections: a user who opens as many WebSockets as the server
// accepts connections does not lock others out.
func TestOneUserCannotTakeAllConnections(t *testing.T) {
	const most = 300
	cfg := settings(t)
	cfg.MaxConnections = most
	r := start(t, cfg, server.Options{})
	ids := r.users(t, 2)
	greedy := r.token(t, ids[0], "presence:read")
	other := r.token(t, ids[1], "presence:read")
	opened := 0
	for range most {
		_, resp := r.ask(t, upgrade(greedy.Secret, ""))
		if resp.StatusCode == http.StatusSwitchingProtocols {
			opened++
		}
	}
	if opened != 100 {
		t.Errorf("%d streams of one user are open, want 100", opened)
	}
	r.isServed(t, other)
	if got := r.metric(t, `porchlight_limit_refused_total{limit="streams-per-user"}`); got != strconv.Itoa(most-opened) {
		t.Errorf("%s refusals are counted, want %d", got, most-opened)
	}
}

// TestIdleConnectionsAreEvicted: connections without a request are evicted for new ones.
func TestIdleConnectionsAreEvicted(t *testing.T) {
	const most = 300
	cfg := settings(t)
	cfg.MaxConnections = most
	r := start(t, cfg, server.Options{})
	other := r.token(t, r.users(t, 1)[0], "presence:read")
	strangers := make([]net.Conn, most)
	for i := range strangers {
		strangers[i] = r.dial(t)
		defer strangers[i].Close()
	}
	r.isServed(t, other)
	if _, err := strangers[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest connection that asked for nothing is open still")
	}
	if got := r.metric(t, "porchlight_connections_closed_anonymous_total"); got == "" || got == "0" {
		t.Errorf("%q closed connections are counted", got)
	}
}

// TestFullServer: when all connections are in use, /readyz says so, and is green
// again when one is free.
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
	eventually(t, 10*time.Second, "ready again", func() bool {
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

// A limitCase is how one limit is met.
type limitCase struct {
	limit string
	most  int
	set   func(t *testing.T, c *config.Config)
	// do is one attempt of several.
	do     func(t *testing.T, w *limitWorld) (status int, header http.Header, body string)
	status int    // when it is met
	wait   bool   // there is Retry-After
	body   string // what the answer has in place of a problem document
}

// A limitWorld is a server, a user of it and what they need.
type limitWorld struct {
	*running
	limitCase

	own     api.Token // of a user
	attempt int
}

// stream opens one and leaves it open.
func (w *limitWorld) stream(t *testing.T, token, accept string) (int, http.Header, string) {
	t.Helper()
	request := upgrade(token, "", "X-Forwarded-For: 192.0.2.1")
	if accept != "" {
		request = "GET " + accept + " HTTP/1.1\r\nHost: porchlight.example\r\nX-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	}
	s, resp := w.ask(t, request)
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

// call makes a request of the API.
func (w *limitWorld) call(t *testing.T, token, method, path, body string) (int, http.Header, string) {
	t.Helper()
	resp, answer := w.sendTo(t, method, path, body, "Authorization", "Bearer "+token, "Content-Type", "application/json", "X-Forwarded-For", "192.0.2.1")
	return resp.StatusCode, resp.Header, answer
}

func openStream(t *testing.T, w *limitWorld) (int, http.Header, string) {
	return w.stream(t, w.own.Secret, "")
}

func openAppStream(t *testing.T, w *limitWorld) (int, http.Header, string) {
	return w.stream(t, w.made.AccessToken, "")
}

func openEvents(t *testing.T, w *limitWorld) (int, http.Header, string) {
	return w.stream(t, w.own.Secret, "/v1/stream")
}

// openPoll polls when as many streams are open as may be.
func openPoll(t *testing.T, w *limitWorld) (int, http.Header, string) {
	if w.attempt < w.most {
		return openStream(t, w)
	}
	return w.call(t, w.own.Secret, "GET", "/v1/presence/changes?wait=0", "")
}

func makeTicket(t *testing.T, w *limitWorld) (int, http.Header, string) {
	return w.call(t, w.own.Secret, "POST", "/v1/tickets", "")
}

func makeToken(t *testing.T, w *limitWorld) (int, http.Header, string) {
	return w.call(t, w.own.Secret, "POST", "/v1/tokens", `{"scopes":["presence:read"]}`)
}

func makeAppToken(t *testing.T, w *limitWorld) (int, http.Header, string) {
	return w.call(t, w.made.AccessToken, "POST", "/v1/tokens", `{"scopes":["presence:read"]}`)
}

func grant(t *testing.T, w *limitWorld) (int, http.Header, string) {
	form := "grant_type=client_credentials&client_id=" + w.made.ClientID + "&client_secret=" + w.made.ClientSecret
	resp, answer := w.sendTo(t, "POST", "/oauth/token", form, "Content-Type", "application/x-www-form-urlencoded")
	return resp.StatusCode, resp.Header, answer
}

func write(t *testing.T, w *limitWorld) (int, http.Header, string) {
	return w.call(t, w.own.Secret, "PUT", "/v1/users/me/note", fmt.Sprintf(`{"text":"%d"}`, w.attempt))
}

func claimInStream(t *testing.T, w *limitWorld) (int, http.Header, string) {
	s := w.open(t, w.own.Secret, "")
	defer s.Close()
	if err := s.say(`{"type":"claim","claim":"call","source":"call","status":"on_call"}`); err != nil {
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

// inZoomsForm opens streams, and asks a route of Zoom's when there are too many.
func inZoomsForm(t *testing.T, w *limitWorld) (int, http.Header, string) {
	if w.attempt < w.most {
		return openStream(t, w)
	}
	return w.call(t, w.own.Secret, "GET", "/v2/users/me/presence_status", "")
}

func inOAuthsForm(t *testing.T, w *limitWorld) (int, http.Header, string) {
	if w.attempt < w.most {
		return openStream(t, w)
	}
	return grant(t, w)
}

// limitCases has every limit. Each is set to 2, and met by the third attempt.
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
	all := []limitCase{ // the first finds no tokens of others
		{limit: "live-tokens-per-user", set: func(t *testing.T, c *config.Config) { c.LiveTokenLimits = quotas(t, "user=3") }, do: makeToken, status: 409},
		{limit: "live-tokens-per-app", set: func(t *testing.T, c *config.Config) { c.LiveTokenLimits = quotas(t, "app=3") }, do: makeAppToken, status: 409},
		{limit: "connections", set: connections, do: openStream, status: 503, wait: true},
		{limit: "connections", set: connections, do: inZoomsForm, status: 503, wait: true, body: `"code":503,"message":"Limit connections reached: 2 connections`},
		{limit: "connections-per-address", set: ofAddress, do: openStream, status: 429, wait: true},
		{limit: "connections-per-address", set: ofAddress, do: inZoomsForm, status: 429, wait: true, body: `"code":429,"message":"Limit connections-per-address reached: 2 connections`},
		{limit: "connections-per-address", set: ofAddress, do: inOAuthsForm, status: 429, wait: true, body: `connections-per-address reached: 2 connections`},
		{limit: "tokens-per-app", set: func(t *testing.T, c *config.Config) { c.TokenLimits = quotas(t, "app=2") }, do: grant, status: 429, wait: true, body: "tokens-per-app reached: 2 new tokens a minute"},
		{limit: "tokens-per-account", set: func(t *testing.T, c *config.Config) { c.TokenLimits = quotas(t, "account=2") }, do: grant, status: 429, wait: true, body: "tokens-per-account reached"},
		{limit: "tokens-per-address", set: func(t *testing.T, c *config.Config) { c.TokenLimits = quotas(t, "address=2") }, do: grant, status: 429, wait: true, body: "tokens-per-address reached"},
		{limit: "writes-per-user", set: func(t *testing.T, c *config.Config) { c.WriteLimits = quotas(t, "user=2") }, do: claimInStream, status: 429, body: "quota-exceeded: Limit writes-per-user reached"},
	}
	for i := range all {
		all[i].most = 2
	}
	for _, subject := range []string{"user", "app", "account", "address"} {
		text := subject + "=2"
		each := func(resource string, set func(*testing.T, *config.Config), do func(*testing.T, *limitWorld) (int, http.Header, string)) {
			all = append(all, limitCase{limit: resource + "-per-" + subject, most: 2, set: set, do: do, status: 429, wait: true})
		}
		ofStreams := func(t *testing.T, c *config.Config) { streams(t, c, text) }
		each("streams", ofStreams, openStream)
		each("streams", ofStreams, openEvents)
		each("streams", ofStreams, openPoll)
		each("streams", ofStreams, openAppStream)
		each("tickets", func(t *testing.T, c *config.Config) { c.TicketLimits = quotas(t, text) }, makeTicket)
		each("tokens", func(t *testing.T, c *config.Config) { c.TokenLimits = quotas(t, text) }, makeToken)
		each("writes", func(t *testing.T, c *config.Config) { c.WriteLimits = quotas(t, text) }, write)
	}
	return all
}

// TestLimits: each limit refuses one more than it says, names itself, its value and
// its setting, says when to try again, and is counted.
func TestLimits(t *testing.T) {
	cases := limitCases()
	cfg := settings(t)
	r := start(t, cfg, server.Options{})
	own := make([]api.Token, len(cases))
	for i, user := range r.users(t, len(cases)) {
		own[i] = r.token(t, user, "presence:read", "claim:write", "directory:write", "session:write")
	}
	r.stop(server.ErrInterrupted)
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		t.Run(c.limit, func(t *testing.T) {
			limited := cfg
			c.set(t, &limited)
			c.run(t, &limitWorld{running: run(t, limited, server.Options{}, r.made), limitCase: c, own: own[i]})
		})
	}
}

func (c *limitCase) run(t *testing.T, w *limitWorld) {
	for w.attempt = range c.most {
		if status, _, body := c.do(t, w); status >= 300 {
			t.Fatalf("attempt %d is answered %d %s", w.attempt, status, body)
		}
	}
	w.attempt = c.most
	status, header, body := c.do(t, w)
	if status != c.status || c.wait != (header.Get("Retry-After") != "") || !strings.Contains(body, c.body) {
		t.Errorf("one too many is answered %d, Retry-After %q, %s; want %d, %v, %s", status, header.Get("Retry-After"), body, c.status, c.wait, c.body)
	}
	if c.body == "" {
		c.checkProblem(t, body)
	}
	refused := w.metric(t, `porchlight_limit_refused_total{limit="`+c.limit+`"}`)
	if value := w.metric(t, `porchlight_limit{limit="`+c.limit+`"}`); refused != "1" || value == "" || value == "0" {
		t.Errorf("the metrics have %q refused, of %q", refused, value)
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

// TestClientsOfAProxy: behind a proxy that is trusted each client has limits of its
// own, and all of a /64 of IPv6 have one.
func TestClientsOfAProxy(t *testing.T) {
	cfg := settings(t)
	cfg.TrustedProxies, cfg.MaxConnectionsPerAddress = "127.0.0.1", 1
	cfg.StreamLimits = quotas(t, "address=2")
	r := start(t, cfg, server.Options{})
	token := r.token(t, r.users(t, 1)[0], "presence:read").Secret
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
		{"192.0.2.1, 192.0.2.3", 101}, // the proxy vouches for the last alone
	} {
		_, resp := r.ask(t, upgrade(token, "", "X-Forwarded-For: "+c.address))
		if resp.StatusCode != c.status {
			t.Errorf("stream %d, of %s, is answered with %d, want %d", i, c.address, resp.StatusCode, c.status)
		}
	}
}

// TestRefusedConnections: over TLS, with HTTP/2 or without, a connection past the
// limit is answered, and then closed.
func TestRefusedConnections(t *testing.T) {
	cfg := settings(t)
	dir := t.TempDir()
	cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1)
	cfg.MaxConnections, cfg.MaxConnectionsPerAddress = 2, 2
	cfg.StreamLimits = quotas(t, "user=none,app=none,account=none,address=none")
	made, err := server.Init(t.Context(), cfg, founding)
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, cfg, server.Options{}, made)
	for range 2 {
		r.open(t, made.AccessToken, "")
	}
	for range 3 { // what is refused is not left over
		for _, modern := range []bool{false, true} {
			transport := &http.Transport{TLSClientConfig: anyServer(), ForceAttemptHTTP2: modern}
			r.http.Transport = transport
			resp, body := r.sendTo(t, "GET", "/v1/me", "", "Authorization", "Bearer "+made.AccessToken)
			if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "connections-per-address") || resp.ProtoMajor != map[bool]int{false: 1, true: 2}[modern] {
				t.Errorf("HTTP/2 %v: answered %s %d, Retry-After %q, %s", modern, resp.Proto, resp.StatusCode, resp.Header.Get("Retry-After"), body)
			}
			transport.CloseIdleConnections()
		}
	}
}
