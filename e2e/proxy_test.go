package e2e_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/porttest"
)

// TestProxies runs a server behind each reverse proxy that can be installed, with the
// configuration in deploy: only names, addresses, ports and files are replaced. The client is on
// 127.0.0.2, so that its address differs from the proxy's.
func TestProxies(t *testing.T) {
	proxies := map[string]func(*testing.T, *site){"nginx": startNginx, "Caddy": startCaddy}
	if leveltest.Full(t, "nginx and Caddy, not Traefik, which takes minutes to build") {
		proxies["Traefik"] = startTraefik
	}
	for name, startProxy := range proxies {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			startProxy(t, s)
			var stopReading func() (outcomes map[string]int)
			passed := t.Run("before a restart", func(t *testing.T) {
				s.serve(t)
				s.prepare(t)
				for name, check := range siteChecks {
					t.Run(name, func(t *testing.T) { check(t, s) })
				}
				stopReading = s.readMeanwhile(t)
			})
			if !passed {
				return
			}
			t.Run("after a restart", func(t *testing.T) {
				s.serve(t)
				for outcome, n := range stopReading() {
					t.Logf("%d reads during the restart: %s", n, outcome)
					if outcome != "200" && (outcome != "503" || s.proxyWaits) {
						t.Errorf("%d reads during the restart: %s", n, outcome)
					}
				}
			})
			s.checkClients(t)
			s.checkQueries(t)
		})
	}
}

var siteChecks = map[string]func(*testing.T, *site){
	"HTTP/2, public URL, 413": checkRequests,
	"cookie":                  checkCookie,
	"addresses":               checkAddresses,
	"server-sent events":      checkEvents,
	"long poll":               checkPoll,
	"WebSocket":               checkWebSocket,
	"Zoom's WebSocket":        checkZoomSocket,
}

// A site is a server behind a proxy, and a client of both.
type site struct {
	dir, cert, key     string
	env                []string
	ports              struct{ server, https, http string }
	accessLog          string
	proxyWaits         bool // while the server does not run
	proxyOutput        *buffer
	account, id, token string // of the app
	client, direct     *http.Client
	roots              *x509.CertPool
	reported           map[string]string // client's address by request id, as the access log must have it
	busy               bool              // the next status
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), env: storeEnv(t), reported: make(map[string]string), roots: x509.NewCertPool()}
	s.cert, s.key = writeCertificate(t, s.dir)
	s.accessLog = filepath.Join(s.dir, "access.log")
	free := porttest.Free(t, 3)
	s.ports.server, s.ports.https, s.ports.http = strconv.Itoa(free[0]), strconv.Itoa(free[1]), strconv.Itoa(free[2])
	pem, err := os.ReadFile(s.cert)
	if err != nil || !s.roots.AppendCertsFromPEM(pem) {
		t.Fatal("the certificate cannot be read: ", err)
	}
	s.client = s.clientAt("127.0.0.2")
	s.direct = s.clientAt("127.0.0.3")
	return s
}

func (s *site) clientAt(address string) *http.Client {
	return &http.Client{Timeout: beforeKeepalive, Transport: s.transport(address, true)}
}

// transport sends from an address, and takes every name for loopback.
func (s *site) transport(address string, http2 bool) *http.Transport {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots}, ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, network, target string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(target)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, "127.0.0.1:"+port)
		},
	}
}

func (s *site) url() string { return "https://localhost:" + s.ports.https }

// serve runs the server until the test ends.
func (s *site) serve(t *testing.T) {
	t.Helper()
	data := filepath.Join(s.dir, "data")
	var secret string
	if s.id == "" {
		var made struct {
			Account string `json:"account_id"`
			ID      string `json:"client_id"`
			Secret  string `json:"client_secret"`
		}
		output, err := run(t, s.env, binary, "init", "--json", "--data-dir", data)
		if err != nil {
			t.Fatalf("porchlight init: %v\n%s", err, output)
		}
		if err := json.Unmarshal([]byte(output), &made); err != nil {
			t.Fatalf("porchlight init printed %q: %v", output, err)
		}
		s.account, s.id, secret = made.Account, made.ID, made.Secret
	}
	var served struct{ URL string }
	start(t, &served, s.env, "serve", "--json", "--data-dir", data, "--access-log", s.accessLog, "--admin-listen", "off",
		"--listen", "127.0.0.1:"+s.ports.server, "--public-url", s.url(), "--trusted-proxies", "127.0.0.1",
		"--min-update-interval", "0s", "--drain-timeout", "5s")
	if secret != "" {
		s.authorize(t, secret)
	}
}

func (s *site) authorize(t *testing.T, secret string) {
	t.Helper()
	var token struct {
		AccessToken string `json:"access_token"`
		URL         string `json:"api_url"`
	}
	form := "grant_type=account_credentials&account_id=" + s.account + "&client_id=" + s.id + "&client_secret=" + secret
	s.want(t, http.StatusOK, &token, http.MethodPost, "/oauth/token", form, "Content-Type", "application/x-www-form-urlencoded")
	if token.URL != s.url() {
		t.Errorf("api_url is %s, want %s", token.URL, s.url())
	}
	s.token = token.AccessToken
}

func (s *site) prepare(t *testing.T) {
	t.Helper()
	s.want(t, http.StatusCreated, nil, http.MethodPost, "/v1/users", `{"email":"grace@example.com"}`)
	s.want(t, http.StatusCreated, nil, http.MethodPost, "/v1/users/grace@example.com/sessions", `{"client_type":"desktop","lease_seconds":3600}`)
	s.setStatus(t)
}

// setStatus changes the user's status, and returns it as the native API has it.
func (s *site) setStatus(t *testing.T) string {
	t.Helper()
	status := "away"
	if s.busy = !s.busy; s.busy {
		status = "busy"
	}
	s.want(t, http.StatusNoContent, nil, http.MethodPut, "/v2/users/grace@example.com/presence_status",
		`{"status":"`+strings.ToUpper(status[:1])+status[1:]+`"}`)
	return status
}

// send sends a request through the proxy, by default with the token.
func (s *site) send(t *testing.T, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	return s.sendBy(t, s.client, method, s.url()+path, body, headers...)
}

func (s *site) sendBy(t *testing.T, by *http.Client, method, url, body string, headers ...string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := by.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// want sends a request through the proxy and decodes the response into value, if that is
// not nil.
func (s *site) want(t *testing.T, status int, value any, method, path, body string, headers ...string) {
	t.Helper()
	response := s.send(t, method, path, body, headers...)
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Fatalf("%s %s: %s %s %v, want %d", method, path, response.Status, text, err, status)
	}
	if value == nil {
		return
	}
	if err := json.Unmarshal(text, value); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
}

func checkRequests(t *testing.T, s *site) {
	status := s.setStatus(t)
	response := s.send(t, http.MethodGet, "/v1/users/grace@example.com/presence", "")
	body, _ := io.ReadAll(response.Body)
	if response.ProtoMajor != 2 || !strings.Contains(string(body), `"status":"`+status+`"`) {
		t.Errorf("GET: %s %s", response.Proto, body)
	}
	response = s.send(t, http.MethodPost, "/v1/users", `{"name":"`+strings.Repeat("x", 200<<10)+`"}`)
	body, _ = io.ReadAll(response.Body)
	if response.StatusCode != http.StatusRequestEntityTooLarge || response.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(string(body), "problems/") {
		t.Errorf("a body of 200 KiB: %s %s", response.Status, body)
	}
	for origin, want := range map[string]int{s.url(): http.StatusCreated, "https://evil.example": http.StatusForbidden} {
		if response := s.send(t, http.MethodPost, "/v1/tickets", "", "Origin", origin); response.StatusCode != want {
			t.Errorf("a ticket for a page of %s: %s", origin, response.Status)
		}
	}
	redirected := s.sendBy(t, &http.Client{
		Transport: s.client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, http.MethodGet, "http://localhost:"+s.ports.http+"/me", "")
	permanent := []int{http.StatusMovedPermanently, http.StatusPermanentRedirect}
	if !slices.Contains(permanent, redirected.StatusCode) || !strings.HasPrefix(redirected.Header.Get("Location"), "https://localhost") {
		t.Errorf("over HTTP: %s to %q", redirected.Status, redirected.Header.Get("Location"))
	}
}

// checkCookie: the cookie of a sign-in is for HTTPS only, because the proxy says that
// the client's connection is encrypted.
func checkCookie(t *testing.T, s *site) {
	var invited struct{ URL string }
	s.want(t, http.StatusCreated, &invited, http.MethodPost, "/v1/users/grace@example.com/invitation", "")
	page, secret, _ := strings.Cut(invited.URL, "#")
	if !strings.HasPrefix(page, s.url()+"/") {
		t.Errorf("the invitation is %s", page)
	}
	response := s.send(t, http.MethodPost, "/v1/invitations/accept", `{"secret":"`+strings.TrimPrefix(secret, "secret=")+`","password":"correct horse battery"}`,
		"Origin", s.url(), "Sec-Fetch-Site", "same-origin", "Authorization", "")
	cookie := response.Header.Get("Set-Cookie")
	if response.StatusCode != http.StatusCreated || !strings.HasPrefix(cookie, "__Host-") || !strings.Contains(cookie, "; Secure") {
		body, _ := io.ReadAll(response.Body)
		t.Errorf("%s %s, cookie %s", response.Status, body, cookie)
	}
}

// checkAddresses notes what the access log must say: the client's address, even if the
// client claims another one, to the proxy or to the server itself.
func checkAddresses(t *testing.T, s *site) {
	spoofed := []string{"X-Forwarded-For", "203.0.113.9", "X-Forwarded-Proto", "http", "X-Forwarded-Host", "evil.example", "X-Request-Id", "spoofed"}
	through := s.send(t, http.MethodGet, "/v1/account", "", spoofed...)
	straight := s.sendBy(t, s.direct, http.MethodGet, "http://localhost:"+s.ports.server+"/v1/account", "", spoofed...)
	for address, response := range map[string]*http.Response{"127.0.0.2": through, "127.0.0.3": straight} {
		id := response.Header.Get("X-Request-Id")
		if response.StatusCode != http.StatusOK || id == "" || id == "spoofed" {
			t.Errorf("from %s: %s with request id %q", address, response.Status, id)
		}
		s.reported[id] = address
	}
}

// checkClients looks for the requests of checkAddresses in the access log.
func (s *site) checkClients(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(s.accessLog)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(data)) {
		var fields struct {
			ID     string `json:"request_id"`
			Client string
		}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		want, ok := s.reported[fields.ID]
		if !ok {
			continue
		}
		found++
		if fields.Client != want {
			t.Errorf("the access log has the client %s, want %s", fields.Client, want)
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 requests are in the access log", found)
	}
}

// checkQueries: while the server does not run, as while it does, no log of the proxy has a
// query or a referring page. Caddy and Traefik would wait for the server.
func (s *site) checkQueries(t *testing.T) {
	t.Helper()
	if !s.proxyWaits {
		s.send(t, http.MethodGet, "/without-server?access_token=canary", "", "Referer", s.url()+"/?ticket=canary")
		s.waitForLogLine(t, " GET /without-server HTTP/") // nginx logs a request after it has answered
	}
	logs := map[string]string{"output": s.proxyOutput.String()}
	files, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		logs[filepath.Base(file)] = string(text)
	}
	for name, text := range logs {
		if containsAny(text, "canary", s.token, "access_token", "ticket=") {
			t.Errorf("%s has a query:\n%s", name, text)
		}
	}
	if text := logs["porchlight.log"]; !s.proxyWaits && !containsAll(text, []string{" GET /without-server HTTP/", " PUT /v2/users/grace@example.com/presence_status HTTP/2.0 204 "}) {
		t.Errorf("the access log of the proxy is\n%s", text)
	}
}

// waitForLogLine waits until the access log of the proxy has a text.
func (s *site) waitForLogLine(t *testing.T, want string) {
	t.Helper()
	var text []byte
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if text, _ = os.ReadFile(filepath.Join(s.dir, "porchlight.log")); strings.Contains(string(text), want) {
			return
		}
	}
	t.Fatalf("the access log of the proxy has no %q:\n%s", want, text)
}

func containsAny(text string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}

// beforeKeepalive is shorter than the 25 s between keepalives: what arrives before was
// not held back until more came.
const beforeKeepalive = 20 * time.Second

func checkEvents(t *testing.T, s *site) {
	response := s.send(t, http.MethodGet, "/v1/stream?users=grace@example.com", "", "Accept", "text/event-stream", "Accept-Encoding", "gzip")
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Encoding") != "" {
		t.Fatalf("the stream: %s, content-encoding %q", response.Status, response.Header.Get("Content-Encoding"))
	}
	lines := bufio.NewScanner(response.Body)
	skipTo := func(parts ...string) {
		for lines.Scan() {
			if containsAll(lines.Text(), parts) {
				return
			}
		}
		t.Fatalf("no event with %q: %v", parts, lines.Err())
	}
	skipTo("event: snapshot")
	status := s.setStatus(t)
	begun := time.Now()
	skipTo("event: presence")
	skipTo(`"status":"` + status + `"`)
	t.Logf("the event came %v after the update's response", time.Since(begun).Round(time.Millisecond))
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

func checkPoll(t *testing.T, s *site) {
	var first, second struct {
		Cursor    string
		Presences []struct{ Status string }
	}
	const path = "/v1/presence/changes?users=grace@example.com&wait="
	s.want(t, http.StatusOK, &first, http.MethodGet, path+"60", "")
	s.want(t, http.StatusOK, &second, http.MethodGet, path+"1&cursor="+first.Cursor, "")
	if len(second.Presences) != 0 {
		t.Errorf("a poll without a change: %+v", second)
	}
	status := s.setStatus(t)
	s.want(t, http.StatusOK, &second, http.MethodGet, path+"60&cursor="+second.Cursor, "")
	if len(second.Presences) != 1 || second.Presences[0].Status != status {
		t.Errorf("after a change to %s: %+v", status, second)
	}
}

func checkWebSocket(t *testing.T, s *site) {
	header := http.Header{"Authorization": {"Bearer " + s.token}, "Origin": {s.url()}}
	w := s.dial(t, "/v1/stream?users=grace@example.com", header)
	w.skipTo(t, `"snapshot"`)
	status := s.setStatus(t)
	w.skipTo(t, `"presence"`, `"status":"`+status+`"`)
}

func checkZoomSocket(t *testing.T, s *site) {
	var made struct{ ID string }
	s.want(t, http.StatusCreated, &made, http.MethodPost, "/v1/subscriptions",
		`{"form":"zoom","events":["user.presence_status_updated"],"app_secret":true}`)
	w := s.dial(t, "/ws?subscriptionId="+made.ID+"&access_token="+s.token, nil)
	w.skipTo(t, `"build_connection"`, `"success":true`)
	status := s.setStatus(t)
	w.skipTo(t, `"message"`, `user.presence_status_updated`, strings.ToUpper(status[:1])+status[1:])
}

type webSocket struct{ *websocket.Conn }

// dial opens a WebSocket through the proxy, which ends with the test.
func (s *site) dial(t *testing.T, path string, header http.Header) webSocket {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "wss://localhost:"+s.ports.https+path,
		&websocket.DialOptions{HTTPClient: &http.Client{Transport: s.transport("127.0.0.2", false)}, HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return webSocket{conn}
}

func (w webSocket) skipTo(t *testing.T, parts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), beforeKeepalive)
	defer cancel()
	for {
		_, frame, err := w.Read(ctx)
		if err != nil {
			t.Fatalf("no frame with %q: %v", parts, err)
		}
		if containsAll(string(frame), parts) {
			return
		}
	}
}

// readMeanwhile reads without end through the proxy, as a client that tries again after
// 503. The returned function ends that after one more success, and counts the responses
// by status, and errors.
func (s *site) readMeanwhile(t *testing.T) (stop func() (outcomes map[string]int)) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.url()+"/v1/users/grace@example.com/presence", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	outcomes, stopped, ended := make(map[string]int), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for last := "200"; last == "200" || last == "503"; {
			done := isClosed(stopped)
			last = s.outcome(request)
			outcomes[last]++
			if done && last == "200" {
				return
			}
			time.Sleep(10 * time.Millisecond) // a client's pace, not a condition
		}
	}()
	return func() map[string]int {
		close(stopped)
		<-ended
		return outcomes
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (s *site) outcome(request *http.Request) string {
	response, err := s.client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err.Error()
	case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "":
		return fmt.Sprintf("503 without Retry-After: %s", body)
	default:
		return strconv.Itoa(response.StatusCode)
	}
}

// deployed is a file of deploy with replacements, each of which it must contain.
func deployed(t *testing.T, file string, replacements ...string) string {
	t.Helper()
	text := read(t, "deploy/"+file)
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("deploy/%s does not contain %q", file, replacements[i])
		}
		text = strings.ReplaceAll(text, replacements[i], replacements[i+1])
	}
	return text
}

func startNginx(t *testing.T, s *site) {
	t.Helper()
	text := deployed(t, "nginx/porchlight.conf", "presence.example.com;", "localhost;", "127.0.0.1:8080", "127.0.0.1:"+s.ports.server,
		"listen 80;", "listen 127.0.0.1:"+s.ports.http+";", "listen 443 ", "listen 127.0.0.1:"+s.ports.https+" ",
		"    listen [::]:80; # omit it, and the one below, where IPv6 is off\n", "", "    listen [::]:443 ssl http2;\n", "",
		"/etc/ssl/certs/presence.example.com.pem", s.cert, "/etc/ssl/private/presence.example.com.key", s.key, "/var/log/nginx/", s.dir+"/")
	// What Debian's nginx.conf has around the files of conf.d, without its user and paths.
	around := "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\n" +
		"access_log other.log;\nkeepalive_timeout 65;\ngzip on;\nserver_names_hash_bucket_size 64;\n" +
		"client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n" +
		"include porchlight.conf;\n}\n"
	writeFiles(t, s.dir, map[string]string{"porchlight.conf": text, "nginx.conf": around})
	nginx := "nginx"
	if _, err := exec.LookPath(nginx); err != nil {
		nginx = "/usr/sbin/nginx" // not in everybody's PATH
	}
	s.startProxy(t, nginx, "-p", s.dir, "-c", filepath.Join(s.dir, "nginx.conf"), "-e", "stderr")
}

func startCaddy(t *testing.T, s *site) {
	t.Helper()
	s.proxyWaits = true
	options := "{\n\tadmin off\n\tskip_install_trust\n\tdefault_bind 127.0.0.1\n\tstorage file_system " + s.dir +
		"\n\thttp_port " + s.ports.http + "\n\thttps_port " + s.ports.https + "\n\tservers {"
	text := deployed(t, "caddy/Caddyfile", "lb_try_duration 15s", "lb_try_duration 2m", "{\n\tservers {", options, "127.0.0.1:8080", "127.0.0.1:"+s.ports.server,
		"presence.example.com {", "localhost {\n\ttls "+s.cert+" "+s.key)
	writeFiles(t, s.dir, map[string]string{"Caddyfile": text})
	s.startProxy(t, "caddy", "run", "--config", filepath.Join(s.dir, "Caddyfile"), "--adapter", "caddyfile")
}

// startTraefik runs the two files of deploy, with a certificate of the test instead of one by
// ACME.
func startTraefik(t *testing.T, s *site) {
	t.Helper()
	s.proxyWaits = true
	dynamic := filepath.Join(s.dir, "dynamic")
	if err := os.Mkdir(dynamic, 0o700); err != nil {
		t.Fatal(err)
	}
	static := deployed(t, "traefik/traefik.yaml", `":80"`, "127.0.0.1:"+s.ports.http, `":443"`, "127.0.0.1:"+s.ports.https, "/etc/traefik/dynamic", dynamic,
		"/var/lib/traefik/acme.json", filepath.Join(s.dir, "acme.json"))
	routes := deployed(t, "traefik/porchlight.yaml", "presence.example.com`", "localhost`", "127.0.0.1:8080", "127.0.0.1:"+s.ports.server,
		"tls:\n        certResolver: letsencrypt", "tls: {}")
	writeFiles(t, s.dir, map[string]string{
		"traefik.yaml": static + "global:\n  checkNewVersion: false\n", "dynamic/porchlight.yaml": routes,
		"dynamic/certificate.yaml": "tls:\n  certificates:\n    - certFile: " + s.cert + "\n      keyFile: " + s.key + "\n",
	})
	s.startProxy(t, "../bin/traefik", "--configFile="+filepath.Join(s.dir, "traefik.yaml"))
	s.waitForRoute(t)
}

// waitForRoute waits until the proxy passes a request on, to a stand-in for the server. Traefik
// accepts connections before it has read its routes.
func (s *site) waitForRoute(t *testing.T) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+s.ports.server)
	if err != nil {
		t.Fatal(err)
	}
	standIn := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), ReadHeaderTimeout: time.Minute}
	go func() { _ = standIn.Serve(listener) }() // until Close
	defer standIn.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = s.outcome(request); last == strconv.Itoa(http.StatusNoContent) {
			return
		}
	}
	t.Fatalf("no route to the server: %s", last)
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// startProxy runs a proxy until the test ends, and waits until it accepts connections.
func (s *site) startProxy(t *testing.T, name string, args ...string) {
	t.Helper()
	command := exec.Command(name, args...)
	command.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	output := new(buffer)
	s.proxyOutput = output
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatalf("%v: run `make test-tools`", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait() // ended by a signal
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = command.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s: %s", name, output)
		}
	})
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+s.ports.https)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s has ended: %s", name, output)
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("%s accepts no connections: %s", name, output)
}

// TestProxyTimeouts: each configuration closes idle connections to the server before the
// server does (after 60 s), and waits longer for a response than the longest poll takes
// (60 s).
func TestProxyTimeouts(t *testing.T) {
	for _, c := range []struct {
		file, setting string
		min, max      int // seconds
	}{
		{"nginx/porchlight.conf", `\n    keepalive_timeout (\d+)s;`, 5, 55},
		{"nginx/porchlight.conf", `proxy_read_timeout (\d+)s;`, 65, 300},
		{"nginx/porchlight.conf", `proxy_send_timeout (\d+)s;`, 65, 300},
		{"caddy/Caddyfile", `\n\t\t\tkeepalive (\d+)s`, 5, 55},
		{"traefik/traefik.yaml", `idleConnTimeout: (\d+)s`, 5, 55},
		{"traefik/traefik.yaml", `responseHeaderTimeout: (\d+)s`, 65, 300},
	} {
		found := regexp.MustCompile(c.setting).FindStringSubmatch(read(t, "deploy/"+c.file))
		if found == nil {
			t.Errorf("deploy/%s does not set %s", c.file, c.setting)
			continue
		}
		if seconds, _ := strconv.Atoi(found[1]); seconds < c.min || seconds > c.max {
			t.Errorf("deploy/%s: %q, want %d to %d s", c.file, found[0], c.min, c.max)
		}
	}
}

// TestProxyGuide: the guide shows the files that TestProxies runs.
func TestProxyGuide(t *testing.T) {
	guide := read(t, "docs/guides/proxy.md")
	for _, file := range []string{"nginx/porchlight.conf", "caddy/Caddyfile", "traefik/traefik.yaml", "traefik/porchlight.yaml"} {
		if !strings.Contains(guide, "\n"+read(t, "deploy/"+file)+"```\n") {
			t.Errorf("docs/guides/proxy.md does not show deploy/%s", file)
		}
	}
}
