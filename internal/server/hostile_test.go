package server_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/leveltest"
)

// hostileTexts take the place of an id in a path, and of a value in a query or a header.
func hostileTexts(secret string) []string {
	return []string{
		"", ".", "..", "%2e", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%252e%252e%252f", "a/b", "a%2fb", "%2f", "%5c", "a;b=c", "a;", ";", "a%3bb",
		"%00", "a%00b", "%0d%0aX-Evil:1", "%250d%250a", "%c0%ae%c0%ae", "%e0%80%af", "%ff%fe", "%", "%zz", "%u0041", "*", ">", "%3e", "a.b.%3e", "$SYS",
		"me", "ME", "%6d%65", "me%20", "null", "undefined", "-1", "0", "9223372036854775808", "1e309", "NaN", "true", "{}", "%7b%22a%22%3a1%7d", "[]",
		"'%20OR%201=1--", "%3cscript%3ealert(1)%3c/script%3e", "${jndi:ldap://x}", "{{7*7}}", "%f0%9f%98%80", "a%cc%81", "%e2%80%ae", "%ef%bb%bf",
		"a@b", "@", "a%40b@c", strings.Repeat("a", 300), strings.Repeat("%41", 3000), strings.Repeat("../", 200), strings.Repeat("a/", 400), secret, "x" + secret, percentEncode(secret),
	}
}

// hostileBodies are bodies that no route should take as they are, or should take whole.
func hostileBodies(secret string) []string {
	deep := strings.Repeat(`{"a":`, 5_000) + "1" + strings.Repeat("}", 5_000)
	return []string{
		"", " ", "null", "true", "0", `""`, "[]", "{}", "[{}]", "{", "}", `{"a"`, `{"a":}`, `{"a":1,}`, `{"a":1}{"b":2}`, `{"a":1} x`, "{'a':1}", "// x\n{}",
		`{"a":1,"a":2}`, `{"email":"a@b.example","email":"c@d.example"}`, `{"status":"busy","Status":"away"}`, "\xef\xbb\xbf{}", "\xff\xfe{\x00}\x00", "\x00", "{\"a\":\"\x00\"}",
		"{\"a\":\"\xff\"}", "{\"\xc0\xae\":1}", `{"a":"\ud800"}`, `{"a":1e999}`, `{"until":99999999999999999999,"duration_seconds":-1,"lease_seconds":1e400}`,
		`{"status":-0,"duration":9223372036854775808,"overlap_seconds":-9223372036854775809}`, `{"users":[null]}`, `{"users":[[]],"sessions":[null,1,{}],"scopes":{}}`,
		`{"text":null,"name":null,"url":null,"email":null,"user":null,"status":null}`, `{"text":{},"name":[],"url":1,"email":true,"user":{},"status":[]}`,
		`{"from":"2026-13-45T99:99:99Z","until":"0000-00-00"}`, `{"from":"9999-12-31T23:59:59Z"}`, `{"url":"file:///etc/passwd"}`, `{"url":"http://[::1"}`, `{"url":"gopher://127.0.0.1"}`,
		`{"` + secret + `":"` + secret + `"}`, `{"name":"` + secret + `","email":"` + secret + `","user":"` + secret + `","status":"` + secret + `","scopes":["` + secret + `"]}`,
		`{"schemas":["x"],"userName":{},"emails":{"value":[]},"Operations":[{"op":"replace","path":"a[b eq \"","value":{}}]}`,
		`{"Operations":[{"op":"add","path":"members[value eq \"x\"].a.b[c pr].d","value":[[[]]]}]}`,
		deep, "[" + strings.Repeat("[", 60_000), `{"a":"` + strings.Repeat("x", 70_000) + `"}`, `{"users":["` + strings.Repeat(`a","`, 12_000) + `a"]}`,
		"a=1&b=2", "grant_type=x&grant_type=y", "grant_type=%zz", strings.Repeat("a=1&", 5_000), "--x\r\nContent-Disposition: form-data; name=\"status\"\r\n\r\nAway\r\n--x--\r\n",
	}
}

var hostileTypes = []string{
	"application/json", "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data", "application/json; charset=utf-16",
	"application/json; charset=\"", "application/scim+json", "application/xml", ";", "application/json, text/html",
}

// hostileFields are header fields.
func hostileFields(secret string) []string {
	return []string{
		"If-Match: x", "If-Match: \"1\", W/\"2\"", "If-None-Match: *", "If-Match: " + secret, "Idempotency-Key: " + strings.Repeat("k", 129), "Idempotency-Key: \x01", "Idempotency-Key: a\r\nIdempotency-Key: b",
		"Range: bytes=0-0,1-1,2-2", "Expect: 200-ok", "Content-Encoding: gzip", "Content-Encoding: " + secret, "Accept: " + strings.Repeat("a/b,", 2_000), "Accept: text/html", "Accept-Encoding: *;q=nan",
		"Origin: null", "Origin: " + secret, "Origin: http://" + strings.Repeat("a", 4_000), "Cookie: porchlight=" + secret, "Cookie: " + strings.Repeat("a=b; ", 1_000), "Cookie: porchlight=a; porchlight=b",
		"Last-Event-ID: " + secret, "Last-Event-ID: \xff", "X-Forwarded-For: " + strings.Repeat("1.1.1.1,", 500), "X-Forwarded-Host: evil\x7f", "X-Http-Method-Override: DELETE", "Upgrade: h2c", "Upgrade: websocket\r\nConnection: Upgrade",
		"Connection: close, keep-alive", "Transfer-Encoding: identity", "Content-Length: 0\r\nContent-Length: 1", "X: " + strings.Repeat("x", 20_000), "User-Agent: ${" + secret + "}", "Referer: " + secret, "Date: x", "Sec-Fetch-Site: cross-site",
	}
}

// A hostile makes requests for the routes of a server.
type hostile struct {
	*tenant
	bearer string
	random *rand.Rand
}

// all lists requests for a route, each of which has one thing wrong.
func (h *hostile) all(method, path string) []string {
	secret := h.admin
	good := h.fill(path, own)
	row := apptest.Rights()[method+" "+path]
	row.Fill("{self}", h.email("alice"), "{new}", "x", "{endpoint}", endpoint)
	body := h.fill(row.Body, own)
	var all []string
	for _, text := range hostileTexts(secret) {
		for _, at := range parameters(path) {
			all = append(all, h.request(method, h.fill(strings.Replace(path, at, text, 1), own), body, "application/json"))
		}
		if h.random.IntN(4) == 0 {
			all = append(all, h.request(method, good+"/"+text, body, "application/json"))
		}
		for _, query := range []string{"?%s", "?limit=%s&page_size=%[1]s&count=%[1]s&startIndex=%[1]s", "?after=%s&cursor=%[1]s&page_token=%[1]s&next_page_token=%[1]s", "?users=%s&user=%[1]s&group=%[1]s&status=%[1]s&filter=%[1]s", "?from=%s&to=%[1]s&at=%[1]s&wait=%[1]s&a=1&a=2"} {
			if h.random.IntN(5) == 0 && !strings.ContainsAny(text, " \r\n") {
				all = append(all, h.request(method, good+fmt.Sprintf(query, text), body, "application/json"))
			}
		}
	}
	for _, field := range hostileFields(secret) {
		all = append(all, h.request(method, good, body, "application/json", field))
	}
	for _, other := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X-" + secret[:8]} {
		if other != method && other != "DELETE" {
			all = append(all, h.request(other, good, body, "application/json"))
		}
	}
	if !isSafe(method) {
		for _, of := range hostileBodies(secret) {
			all = append(all, h.request(method, good, of, hostileTypes[h.random.IntN(len(hostileTypes))]), h.request(method, good, of, "application/json"))
		}
		for _, kind := range hostileTypes {
			all = append(all, h.request(method, good, body, kind))
		}
	}
	return all
}

func parameters(path string) (all []string) {
	for part := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(part, "{") && part != "{$}" {
			all = append(all, part)
		}
	}
	return all
}

// request is a request with the administrator's token.
func (h *hostile) request(method, target, body, kind string, fields ...string) string {
	head := method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + h.bearer + "\r\n"
	if body != "" || !isSafe(method) {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
		if kind != "" {
			head += "Content-Type: " + kind + "\r\n"
		}
	}
	for _, field := range fields {
		head += field + "\r\n"
	}
	return head + "\r\n" + body
}

// TestHostileRequests sends every route requests that are malformed in every way. None
// gets a 5xx, none hangs, and no response contains the secret that was sent.
func TestHostileRequests(t *testing.T) {
	s := newSurface(t)
	tried, refused := 0, 0
	share := leveltest.Count(t, "of three malformed requests, those that are sent", 1, 3, 3)
	for i, route := range s.Router().Routes() {
		method, path, _ := strings.Cut(route, " ")
		if method == http.MethodHead || raceEnabled && i%6 != 0 {
			continue
		}
		h := &hostile{tenant: s.newTenant(), random: rand.New(rand.NewPCG(1, uint64(i)))}
		h.bearer = "Authorization: Bearer " + h.admin
		c := &hostileConn{surface: s, patience: time.Now().Add(waitLimit)}
		for n, request := range h.all(method, path) {
			if (n+i)%3 >= share {
				continue
			}
			tried++
			if c.try(request, h.admin) >= 400 {
				refused++
			}
		}
		c.close()
		h.retire()
	}
	t.Logf("%d requests, %d of them refused", tried, refused)
	if refused < tried/2 {
		t.Error("most requests were accepted: they are not what they should be")
	}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "request failed") && !strings.Contains(line, "route=/v1/subscriptions/{subscription}/replay status=503") {
			t.Error(line)
		}
	}
}

// A hostileConn sends requests one after another, on one connection while it is open.
type hostileConn struct {
	*surface
	conn     net.Conn
	r        *bufio.Reader
	patience time.Time // until then a server may be starting to deliver
}

func (c *hostileConn) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// try sends a request and returns the status; 0 if the server closed the connection.
func (c *hostileConn) try(request, secret string) int {
	shown := request
	if len(shown) > 500 {
		shown = shown[:500] + "…"
	}
	fresh := c.conn == nil
	if fresh {
		conn, err := c.tryDial()
		apptest.Check(c.t, err)
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(waitLimit))
	go func(conn net.Conn) { _, _ = io.WriteString(conn, request) }(c.conn) // the server may answer before it has read everything
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.close()
		if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // as it is returned
			c.t.Errorf("no response to %q", shown)
		} else if !fresh { // it was closed after the response before
			return c.try(request, secret)
		}
		return 0
	}
	if target, _, _ := strings.Cut(strings.TrimPrefix(request, method+" "), " HTTP/"); resp.StatusCode == http.StatusServiceUnavailable && replayPath.MatchString(target) && time.Now().Before(c.patience) {
		c.close()
		time.Sleep(5 * time.Millisecond) // until deliveries of the new subscription begin
		return c.try(request, secret)
	}
	c.check(resp, shown, secret)
	return resp.StatusCode
}

// replayPath matches the path of a replay, which a server refuses until it delivers.
var replayPath = regexp.MustCompile(`^/v1/subscriptions/[^/?]*/replay(\?|$)`)

// unsupported501 reports whether a request asks for what the server does not have: Bulk of
// SCIM, and unknown transfer codings.
func unsupported501(request string) bool {
	_, target, _ := strings.Cut(request, " ")
	return strings.HasPrefix(target, "/scim/v2/Bulk") || strings.Contains(request, "\r\nTransfer-Encoding: identity\r\n")
}

func (c *hostileConn) check(resp *http.Response, shown, secret string) {
	var body []byte
	if endless := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream"); !endless && resp.StatusCode >= 200 {
		var err error
		if body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
			c.t.Errorf("%v in the body of the response to %q", err, shown)
		}
	}
	switch {
	case resp.StatusCode == http.StatusNotImplemented && unsupported501(shown):
	case resp.StatusCode >= 500:
		c.t.Errorf("%d to %q: %.300s", resp.StatusCode, shown, body)
	}
	if text := fmt.Sprint(resp.Header) + string(body); resp.StatusCode >= 400 && strings.Contains(text, secret[8:40]) {
		c.t.Errorf("the response to %q contains the secret: %.300s", shown, text)
	}
	if resp.Close || resp.StatusCode < 200 || resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 && resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotModified || resp.Header.Get("Upgrade") != "" {
		c.close()
	}
}

// FuzzRoutes sends requests to the handlers of random routes.
func FuzzRoutes(f *testing.F) {
	f.Add(uint16(0), "x", "a=b", "If-Match", "\"1\"", `{"status":"busy"}`, "application/json")
	f.Add(uint16(77), "..%2f", "limit=-1&after=%00", "Accept", "text/html", "[]", "")
	s := newSurface(f)
	tenant := s.newTenant()
	routes := s.Router().Routes()
	f.Fuzz(func(t *testing.T, route uint16, id, query, name, value, body, kind string) {
		method, path, _ := strings.Cut(routes[int(route)%len(routes)], " ")
		for _, parameter := range parameters(path) {
			path = strings.ReplaceAll(path, parameter, id)
		}
		raw := fmt.Sprintf("%s %s?%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			method, tenant.fill(path, own), query, tenant.admin, name, value, kind, len(body), body)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil || strings.HasSuffix(path, "/stream") || strings.HasSuffix(path, "/events") || strings.HasSuffix(path, "/changes") || path == "/ws" {
			return // net/http refuses it, or it takes the connection over
		}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r.WithContext(t.Context()))
		if w.Code >= 500 && (w.Code != http.StatusNotImplemented || !unsupported501(raw)) {
			t.Errorf("%d %s to %q", w.Code, w.Body, raw)
		}
	})
}
