package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	. "porchlight.dev/porchlight/internal/wire"
)

// notFound responds as net/http does to an unknown path.
func notFound(w http.ResponseWriter, r *http.Request) error {
	http.NotFound(w, r)
	return nil
}

// plainDialect writes its name and the error.
type plainDialect string

func (d plainDialect) Fail(w http.ResponseWriter, _ *http.Request, err error) {
	RecordCode(w, string(d)+"-error")
	status := http.StatusInternalServerError
	method := new(MethodError)
	switch {
	case errors.Is(err, ErrNoRoute):
		status = http.StatusNotFound
	case errors.As(err, &method):
		w.Header().Set("Allow", method.Allow)
		status = http.StatusMethodNotAllowed
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, string(d)+": "+err.Error())
}

type served struct {
	*Router
	observer    *Observer
	access, log bytes.Buffer
	accessLog   *AccessLog
	metrics     *prometheus.Registry
	stop        func()
}

// newServed returns a router with two dialects. Its access log is complete after stop.
func newServed() *served {
	s := &served{metrics: prometheus.NewRegistry()}
	access := NewAccessLog(&s.access)
	s.accessLog, s.stop = access, access.Close
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time {
		now = now.Add(time.Millisecond)
		return now
	}
	s.observer = NewObserver(access, slog.New(slog.NewJSONHandler(&s.log, nil)), s.metrics, clock)
	s.Router = NewRouter(s.observer, plainDialect("fallback"))
	s.Area("/api/", plainDialect("api"))
	s.Area("/api/inner/", plainDialect("inner"))
	s.Handle("GET", "/api/things/{id}", plainDialect("api"), func(w http.ResponseWriter, r *http.Request) error {
		RecordPrincipal(w, nil)
		_, err := io.WriteString(w, "thing "+r.PathValue("id")+" "+RequestID(w))
		return err
	})
	s.Handle("PUT", "/api/things/{id}", plainDialect("api"), func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
	s.Handle("GET", "/api/fails", plainDialect("api"), func(http.ResponseWriter, *http.Request) error { return errors.New("no") })
	s.Handle("GET", "/api/late", plainDialect("api"), func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.WriteString(w, "begun")
		return errors.New("too late")
	})
	s.Handle("GET", "/api/panics", plainDialect("api"), func(http.ResponseWriter, *http.Request) error { panic("a secret") })
	s.Handle("GET", "/api/plain", plainDialect("api"), notFound)
	return s
}

func (s *served) do(method, target string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest(method, target, nil))
	return rec
}

// TestBrokenAnswer: a response that is cut off after it began must not look complete.
func TestBrokenAnswer(t *testing.T) {
	s := newServed()
	defer s.stop()
	server := httptest.NewServer(s)
	defer server.Close()
	response, err := http.Get(server.URL + "/api/late")
	if err == nil {
		_, err = io.ReadAll(response.Body)
		_ = response.Body.Close()
	}
	if err == nil {
		t.Error("the client read a complete response")
	}
}

func TestRouter(t *testing.T) {
	s := newServed()
	defer s.stop()
	for _, c := range []struct {
		method, target string
		status         int
		body, allow    string
	}{
		{"PUT", "/api/things/1", 204, "", ""},
		{"GET", "/api/fails", 500, "api: no", ""},
		{"GET", "/api/panics", 500, "api: a handler panicked", ""},
		{"GET", "/api/plain", 404, "404 page not found\n", ""},
		{"POST", "/api/things/1", 405, "api: this path allows GET, HEAD, PUT", "GET, HEAD, PUT"},
		{"GET", "/api/things/", 404, "api: there is nothing at this path", ""},
		{"GET", "/api/things/1/", 404, "api: there is nothing at this path", ""},
		{"GET", "/api//things/1", 404, "api: there is nothing at this path", ""},
		{"GET", "/api/./things/1", 404, "api: there is nothing at this path", ""},
		{"GET", "/api/things/../things/1", 404, "api: there is nothing at this path", ""},
		{"GET", "/api/inner/x", 404, "inner: there is nothing at this path", ""},
		{"GET", "/else", 404, "fallback: there is nothing at this path", ""},
		{"GET", "/", 404, "fallback: there is nothing at this path", ""},
		{"GET", "/api", 404, "fallback: there is nothing at this path", ""},
	} {
		rec := s.do(c.method, c.target)
		if rec.Code != c.status || rec.Body.String() != c.body || rec.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %q, allows %q", c.method, c.target, rec.Code, rec.Body, rec.Header().Get("Allow"))
		}
		if id := rec.Header().Get("X-Request-Id"); len(id) != 16 {
			t.Errorf("%s %s: request id %q", c.method, c.target, id)
		}
	}
	rec := s.do("GET", "/api/things/a%2Fb")
	if want := "thing a/b " + rec.Header().Get("X-Request-Id"); rec.Code != 200 || rec.Body.String() != want {
		t.Errorf("%d %q, want %q", rec.Code, rec.Body, want)
	}
	if rec := s.do("HEAD", "/api/things/1"); rec.Code != 200 {
		t.Errorf("HEAD: %d", rec.Code)
	}
	if strings.Contains(s.log.String(), `"path":"/api/panics"`) || !strings.Contains(s.log.String(), "a secret") {
		t.Errorf("the log does not report the panic: %s", s.log.String())
	}
	want := []string{
		"GET /api/fails", "GET /api/late", "GET /api/panics", "GET /api/plain", "GET /api/things/{id}", "HEAD /api/fails",
		"HEAD /api/late", "HEAD /api/panics", "HEAD /api/plain", "HEAD /api/things/{id}", "PUT /api/things/{id}",
	}
	if got := s.Routes(); !slices.Equal(got, want) {
		t.Errorf("routes %q", got)
	}
}

// TestAbort: the router lets net/http drop the connection.
func TestAbort(t *testing.T) {
	s := newServed()
	defer s.stop()
	s.Handle("GET", "/api/aborts", plainDialect("api"), func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) })
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the identical value
			t.Errorf("recovered %v", v)
		}
	}()
	s.do("GET", "/api/aborts")
}

func TestObserver(t *testing.T) {
	s := newServed()
	s.do("GET", "/api/things/1")
	s.do("GET", "/api/things/2")
	s.do("GET", "/api/fails")
	s.do("PUT", "/api/things/%22%0A%E2%80%A8%FF")
	s.do("DELETE", "/api/things/1")
	s.do("GET", "/else")
	s.stop()
	const metric = "porchlight_http_requests_total"
	text := `# HELP ` + metric + ` Requests answered, by method, route and status class.
# TYPE ` + metric + ` counter
`
	for _, c := range []string{
		`{class="2xx",method="GET",route="/api/things/{id}"} 2`, `{class="5xx",method="GET",route="/api/fails"} 1`,
		`{class="2xx",method="PUT",route="/api/things/{id}"} 1`, `{class="4xx",method="other",route="/api/things/{id}"} 1`,
		`{class="4xx",method="unknown",route="/"} 1`,
	} {
		text += metric + c + "\n"
	}
	// Counters that are zero are exported too, so that rates begin at zero.
	gathered, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var counted []string
	for _, family := range gathered {
		if family.GetName() != metric {
			continue
		}
		for _, m := range family.GetMetric() {
			if n := m.GetCounter().GetValue(); n != 0 {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
				}
				counted = append(counted, fmt.Sprintf("%s{%s} %v", metric, strings.Join(labels, ","), n))
			}
		}
	}
	for _, line := range counted {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("counted %s", line)
		}
	}
	if len(counted) != 5 {
		t.Errorf("counted %q", counted)
	}

	lines := strings.Split(strings.TrimSuffix(s.access.String(), "\n"), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines: %s", len(lines), s.access.String())
	}
	for i, want := range []struct {
		Method, Path, Route string
		Status              int
		Code, Err           string
	}{
		{"GET", "/api/things/1", "/api/things/{id}", 200, "", ""},
		{"GET", "/api/things/2", "/api/things/{id}", 200, "", ""},
		{"GET", "/api/fails", "/api/fails", 500, "api-error", "no"},
		{"PUT", "/api/things/\"\n\u2028\ufffd", "/api/things/{id}", 204, "", ""},
		{"DELETE", "/api/things/1", "/api/things/{id}", 405, "api-error", "this path allows GET, HEAD, PUT"},
		{"GET", "/else", "/", 404, "fallback-error", "there is nothing at this path"},
	} {
		got := want
		got.Code, got.Err = "", ""
		var more struct {
			Time, Remote string
			RequestID    string `json:"request_id"`
			Elapsed      int    `json:"elapsed_us"`
		}
		if err := errors.Join(json.Unmarshal([]byte(lines[i]), &got), json.Unmarshal([]byte(lines[i]), &more)); err != nil {
			t.Fatalf("%s: %v", lines[i], err)
		}
		if got != want || len(more.RequestID) != 16 || more.Elapsed != 1000 || more.Remote == "" || !strings.HasPrefix(more.Time, "2026-11-22T12:00:00.") {
			t.Errorf("got %+v %+v, want %+v", got, more, want)
		}
	}
}

// TestRequestIDs: request ids are unique.
func TestRequestIDs(t *testing.T) {
	s := newServed()
	defer s.stop()
	seen := map[string]bool{}
	for range 1000 {
		seen[s.do("GET", "/else").Header().Get("X-Request-Id")] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d distinct ids of 1000", len(seen))
	}
}

// TestRequestIDOfProxy: the server uses the request id of a trusted proxy, and of
// nobody else, if it is readable in a log.
func TestRequestIDOfProxy(t *testing.T) {
	s := newServed()
	defer s.stop()
	s.observer.Proxies = Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		peer  string
		given []string
		taken bool
	}{
		{"10.0.0.1:5", []string{"0b6f6d1e-8f0a-4c5e-9a39-0f5f2f2b9d11"}, true},
		{"10.0.0.1:5", []string{long}, true},
		{"10.0.0.1:5", []string{long + "a"}, false},
		{"10.0.0.1:5", []string{""}, false},
		{"10.0.0.1:5", []string{"a b"}, false},
		{"10.0.0.1:5", []string{"a\"b"}, false},
		{"10.0.0.1:5", []string{"ä"}, false},
		{"10.0.0.1:5", []string{"a", "b"}, false},
		{"192.0.2.1:5", []string{"0b6f6d1e"}, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/else", nil)
		r.RemoteAddr, r.Header["X-Request-Id"] = c.peer, c.given
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, r)
		got := rec.Header()["X-Request-Id"]
		if taken := len(got) == 1 && got[0] == c.given[0]; taken != c.taken || !taken && (len(got) != 1 || len(got[0]) != 16) {
			t.Errorf("for %q from %s the response has %q", c.given, c.peer, got)
		}
	}
}

// A greetingDialect sets a header on every response.
type greetingDialect struct{ plainDialect }

func (greetingDialect) Announce(h http.Header, requestID string) { h.Set("X-Greeting", requestID) }

func TestAnnouncer(t *testing.T) {
	s := newServed()
	defer s.stop()
	s.Area("/greets/", greetingDialect{"greets"})
	s.Handle("GET", "/greets/plain", greetingDialect{"greets"}, notFound)
	for target, greets := range map[string]bool{"/greets/plain": true, "/greets/nothing": true, "/api/plain": false} {
		h := s.do("GET", target).Header()
		if id := h.Get("X-Greeting"); (id != "") != greets || greets && id != h.Get("X-Request-Id") {
			t.Errorf("%s: %v", target, h)
		}
	}
}

func TestNoAccessLog(t *testing.T) {
	var none *AccessLog
	router := NewRouter(NewObserver(none, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), time.Now), plainDialect("x"))
	rec := httptest.NewRecorder()
	router.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	none.Close()
	if rec.Code != 404 {
		t.Error(rec.Code)
	}
}

// A writerOf passes each write to a function.
type writerOf func([]byte)

func (w writerOf) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// TestAccessLogWritesWholeLines: each write consists of complete lines, also when a
// buffer is full, and for a line that is longer than the buffer.
func TestAccessLogWritesWholeLines(t *testing.T) {
	lines := 0
	access := NewAccessLog(writerOf(func(p []byte) {
		if !bytes.HasPrefix(p, []byte("{")) || !bytes.HasSuffix(p, []byte("}\n")) {
			t.Errorf("a write begins with %.20q and ends with %.20q", p, p[max(0, len(p)-20):])
		}
		lines += bytes.Count(p, []byte("\n"))
	}))
	router := NewRouter(NewObserver(access, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), time.Now), plainDialect("x"))
	for i := range 300 {
		path := "/" + strings.Repeat("a", i)
		if i == 200 {
			path = "/" + strings.Repeat("long", 10_000)
		}
		router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	access.Close()
	if lines != 300 {
		t.Errorf("%d lines of 300", lines)
	}
}

// FuzzAppendJSON: any text is encoded as valid JSON that decodes to the text.
func FuzzAppendJSON(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\n\x00\x7f\u2028\u2029\xff\xc3é😀")
	f.Fuzz(func(t *testing.T, text string) {
		quoted := append(AppendJSON([]byte{'"'}, text), '"')
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != strings.ToValidUTF8(text, "\ufffd") && len([]rune(back)) != len([]rune(text)) {
			t.Fatalf("%q is encoded as %s: %v", text, quoted, err)
		}
		if bytes.ContainsAny(quoted, "\n\r") || !json.Valid(quoted) {
			t.Fatalf("%q is encoded as %s", text, quoted)
		}
	})
}

// A secret in a path is not logged.
func TestSecretPath(t *testing.T) {
	s := newServed()
	s.Handle("GET", "/api/links/{secret}", plainDialect("api"), func(_ http.ResponseWriter, r *http.Request) error {
		return errors.New("no " + r.PathValue("secret")[:1])
	})
	s.do("GET", "/api/links/hidden")
	s.stop()
	if text := s.access.String(); strings.Contains(text, "hidden") || !strings.Contains(text, `/api/links/{secret}`) {
		t.Errorf("the access log has %s", text)
	}
}

// TestAccessLogSample: of requests that succeed one of N is logged, with N, and every error
// and every slow request.
func TestAccessLogSample(t *testing.T) {
	s := newServed()
	s.accessLog.Sample, s.accessLog.Slow = 10, time.Second
	for range 30 {
		s.do("PUT", "/api/things/1")
		s.do("GET", "/api/plain")
	}
	s.accessLog.Slow = time.Millisecond // the time that each takes
	s.do("PUT", "/api/things/1")
	s.stop()
	var sampled, slow, failed int
	for line := range strings.Lines(s.access.String()) {
		switch {
		case strings.Contains(line, `"status":404`) && !strings.Contains(line, "sample"):
			failed++
		case strings.Contains(line, `"status":204`) && strings.HasSuffix(line, `,"sample":10}`+"\n"):
			sampled++
		case strings.Contains(line, `"status":204`) && !strings.Contains(line, "sample"):
			slow++
		default:
			t.Errorf("logged %s", line)
		}
	}
	if sampled != 3 || slow != 1 || failed != 30 {
		t.Errorf("logged %d of 30 requests, %d of 1 that is slow and %d of 30 errors", sampled, slow, failed)
	}
}
