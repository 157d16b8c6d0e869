package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"porchlight.dev/porchlight/internal/egress"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// A plainForm is a form of no dialect.
type plainForm struct {
	webhook.Form
	method string
	agent  string
}

func (plainForm) Name() string { return "plain" }

func (f plainForm) Headers(secret, id string, at time.Time, _ []byte) http.Header {
	h := http.Header{"x-form-signature": {secret + "/" + id + "/" + at.UTC().Format(time.RFC3339)}}
	if f.agent != "" {
		h.Set("User-Agent", f.agent)
	}
	return h
}

func (f plainForm) Challenge(secret, token string, _ time.Time) webhook.Challenge {
	c := webhook.Challenge{Method: f.method, Event: webhook.Event{Type: "challenge", Header: http.Header{"X-Challenge": {token}}}}
	if f.method == http.MethodPost {
		c.Event.Body = []byte(`{"token":"` + token + `"}`)
	}
	c.Check = func(status int, header http.Header, body []byte) error {
		if status != http.StatusOK {
			return fmt.Errorf("want the status 200")
		}
		if got := header.Get("X-Proof") + string(body); got != secret+token {
			return errors.New("the proof is wrong")
		}
		return nil
	}
	return c
}

// A senderFixture sends to one handler.
type senderFixture struct {
	*webhook.HTTPSender
	server  *httptest.Server
	secrets []webhook.Secret
	form    *plainForm
	err     error // of reading the secrets
}

const standardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func newSender(t *testing.T, h http.HandlerFunc) *senderFixture {
	f := &senderFixture{
		server: httptest.NewServer(h), secrets: []webhook.Secret{{Value: standardSecret}},
		form: &plainForm{method: http.MethodPost},
	}
	client := egress.NewClient(egress.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Setting: "webhook-allow"})
	t.Cleanup(f.server.Close)
	t.Cleanup(client.Close)
	f.HTTPSender = &webhook.HTTPSender{
		Client:    client,
		Catalog:   webhook.Catalog{Forms: []webhook.Form{f.form}, Profiles: []webhook.Profile{{Timeout: 10 * time.Second}}},
		Secrets:   func(context.Context, *webhook.Subscription) ([]webhook.Secret, error) { return f.secrets, f.err },
		Now:       time.Now,
		UserAgent: "Porchlight/test",
		Log:       slog.New(slog.DiscardHandler),
	}
	return f
}

func (f *senderFixture) subscription() *webhook.Subscription {
	return &webhook.Subscription{ID: "sub_1", Account: "a", URL: f.server.URL + "/events?x=1", Form: "plain"}
}

func (f *senderFixture) send(t *testing.T, s *webhook.Subscription) webhook.Attempt {
	return f.sendIn(t.Context(), s)
}

func (f *senderFixture) sendIn(ctx context.Context, s *webhook.Subscription) webhook.Attempt {
	return f.Send(ctx, &webhook.Request{
		Subscription: s, ID: "evt_abc", Number: 2, Stale: true,
		Event: &webhook.Event{
			Type: "presence.changed", User: "ada", At: store.Position(7), Revision: presence.Revision(41),
			Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"a":1}`),
		},
	})
}

func TestSend(t *testing.T) {
	var got *http.Request
	var body []byte
	f := newSender(t, func(w http.ResponseWriter, r *http.Request) {
		got, body = r, readAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "thanks")
	})
	a := f.send(t, f.subscription())
	if a.Failure != "" || a.Reason != "" || a.Status != 202 || string(a.Answer) != "thanks" || a.Event != "evt_abc" || a.Type != "presence.changed" ||
		a.User != "ada" || a.At != 7 || a.Number != 2 || !a.Stale || a.Started.IsZero() || a.Duration <= 0 {
		t.Errorf("the attempt is %+v", a)
	}
	if got.Method != http.MethodPost || got.URL.String() != "/events?x=1" || got.ProtoMajor != 1 || string(body) != `{"a":1}` || got.ContentLength != 7 {
		t.Errorf("sent %s %s %s %q", got.Method, got.URL, got.Proto, body)
	}
	for name, want := range map[string]string{
		"User-Agent": "Porchlight/test", "Content-Type": "application/json", "Webhook-Id": "evt_abc", "Porchlight-Attempt": "2",
		"Porchlight-Stale": "true", "Porchlight-Revision": "41", "Accept-Encoding": "", "Authorization": "",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("%s: %q, want %q", name, value, want)
		}
	}
	if own := got.Header.Get("X-Form-Signature"); !strings.HasPrefix(own, standardSecret+"/evt_abc/20") {
		t.Errorf("the form's own header: %q", own)
	}
	if trace := got.Header.Get("Traceparent"); len(trace) != 55 || !strings.HasPrefix(trace, "00-") {
		t.Errorf("traceparent: %q", trace)
	}
	verify(t, standardSecret, got.Header, body)
}

func readAll(r io.Reader) []byte {
	b, _ := io.ReadAll(r)
	return b
}

// verify checks a signature with the library of Standard Webhooks.
func verify(t *testing.T, secret string, h http.Header, body []byte) {
	t.Helper()
	w, err := standard.NewWebhook(secret)
	if !strings.HasPrefix(secret, "whsec_") {
		w, err = standard.NewWebhookRaw([]byte(secret))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Verify(body, h); err != nil {
		t.Errorf("the signature by %q: %v", secret, err)
	}
	if err := w.Verify(append(body, ' '), h); err == nil {
		t.Error("a changed body is accepted")
	}
}

// TestRotation: during the overlap, receivers with either secret accept the message. An
// expired secret signs nothing.
func TestRotation(t *testing.T) {
	var got http.Header
	f := newSender(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	now := time.Now()
	f.secrets = []webhook.Secret{
		{Value: standardSecret},
		{Value: "a text that is not base64", Until: now.Add(time.Hour)},
		{Value: "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Until: now.Add(-time.Second)},
	}
	if a := f.send(t, f.subscription()); a.Failure != "" {
		t.Fatalf("%+v", a)
	}
	body := []byte(`{"a":1}`)
	verify(t, standardSecret, got, body)
	verify(t, "a text that is not base64", got, body)
	expired, err := standard.NewWebhook(f.secrets[2].Value)
	if err != nil || expired.Verify(body, got) == nil {
		t.Errorf("the expired secret signs as well (%v)", err)
	}
	if n := len(strings.Fields(got.Get("Webhook-Signature"))); n != 2 {
		t.Errorf("%d signatures, want 2", n)
	}
}

func TestUserAgentOfForm(t *testing.T) {
	var got http.Header
	f := newSender(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	f.form.agent = "Vendor/1.0"
	if f.send(t, f.subscription()); got.Get("User-Agent") != "Vendor/1.0" || len(got.Values("User-Agent")) != 1 {
		t.Errorf("user agents: %q", got.Values("User-Agent"))
	}
}

// TestAnswers: what an answer becomes in the attempt.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		header [2]string
		body   string
		want   webhook.Attempt
	}{
		{name: "no content", status: 204},
		{name: "the last success", status: 299},
		{name: "a redirect", status: 307, header: [2]string{"Location", "https://other.example/x"}, want: webhook.Attempt{
			Failure: "status", Reason: "the endpoint answered 307 Temporary Redirect, which is not followed: subscribe https://other.example/x itself",
		}},
		{name: "not modified", status: 304, want: webhook.Attempt{Failure: "status", Reason: "the endpoint answered 304 Not Modified"}},
		{name: "refused", status: 400, body: "no\xff\xfe", want: webhook.Attempt{Failure: "status", Reason: "the endpoint answered 400 Bad Request", Answer: []byte("no\uFFFD")}},
		{name: "unauthorized", status: 401, want: webhook.Attempt{Failure: "status", Reason: "the endpoint answered 401 Unauthorized"}},
		{name: "too many", status: 429, header: [2]string{"Retry-After", "120"}, want: webhook.Attempt{
			Failure: "status", Reason: "the endpoint answered 429 Too Many Requests", RetryAfter: 2 * time.Minute,
		}},
		{name: "unavailable", status: 503, header: [2]string{"Retry-After", "x"}, want: webhook.Attempt{Failure: "status", Reason: "the endpoint answered 503 Service Unavailable"}},
		{name: "an unknown status", status: 799, want: webhook.Attempt{Failure: "status", Reason: "the endpoint answered 799"}},
		{name: "a long answer", status: 200, body: strings.Repeat("é", 4000), want: webhook.Attempt{Answer: []byte(strings.Repeat("é", 256))}},
		{name: "cut within a character", status: 200, body: "x" + strings.Repeat("é", 4000), want: webhook.Attempt{Answer: []byte("x" + strings.Repeat("é", 255))}},
		{name: "an answer that is not text", status: 200, body: strings.Repeat("\x80", 600), want: webhook.Attempt{Answer: []byte("\uFFFD")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests := 0
			f := newSender(t, func(w http.ResponseWriter, _ *http.Request) {
				requests++
				if c.header[0] != "" {
					w.Header().Set(c.header[0], c.header[1])
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body) // refused if the status has no body
			})
			a := f.send(t, f.subscription())
			if a.Status != c.status || a.Failure != c.want.Failure || a.Reason != c.want.Reason || string(a.Answer) != string(c.want.Answer) || a.RetryAfter != c.want.RetryAfter {
				t.Errorf("got %+v (answer %q), want %+v", a, a.Answer, c.want)
			}
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
			if len(a.Answer) > 512 || !utf8.Valid(a.Answer) {
				t.Errorf("the answer has %d bytes, valid: %v", len(a.Answer), utf8.Valid(a.Answer))
			}
		})
	}
}

// TestFailures: each kind of failure has its reason in words.
func TestFailures(t *testing.T) {
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing.Close()
	for _, c := range []struct {
		name    string
		change  func(f *senderFixture, s *webhook.Subscription)
		failure webhook.Failure
		reason  string
	}{
		{"refused", func(_ *senderFixture, s *webhook.Subscription) { s.URL = "http://" + refusing.Addr().String() }, "connect", "the connection was refused"},
		{"no answer", func(f *senderFixture, s *webhook.Subscription) { s.URL = f.server.URL + "/abort" }, "closed", "the endpoint closed the connection without an answer"},
		{"private", func(_ *senderFixture, s *webhook.Subscription) { s.URL = "http://10.0.0.1/" }, "refused", "the address 10.0.0.1 is private, local or reserved; the operator of this server can allow its network with webhook-allow"},
		{"port", func(_ *senderFixture, s *webhook.Subscription) { s.URL = "http://127.0.0.1:22/" }, "url", "port 22 is refused: of the ports below 1024, only 80 and 443 are permitted"},
		{"TLS", func(f *senderFixture, s *webhook.Subscription) {
			s.URL = strings.Replace(f.server.URL, "http:", "https:", 1)
		}, "tls", "the endpoint does not speak TLS"},
		{"no URL", func(_ *senderFixture, s *webhook.Subscription) { s.URL = "" }, "config", "the subscription has no URL"},
		{"malformed URL", func(_ *senderFixture, s *webhook.Subscription) { s.URL = "http://[::1/" }, "config", "the subscription's URL cannot be parsed"},
		{"unknown form", func(_ *senderFixture, s *webhook.Subscription) { s.Form = "other" }, "config", `this server has no form "other"`},
		{"unknown profile", func(_ *senderFixture, s *webhook.Subscription) { s.Profile = "other" }, "config", `this server has no profile "other"`},
		{"no secret", func(f *senderFixture, _ *webhook.Subscription) { f.secrets = nil }, "config", "the subscription has no valid secret"},
		{"no store", func(f *senderFixture, _ *webhook.Subscription) { f.err = errors.New("disk") }, "internal", "the server could not prepare the request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newSender(t, func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/abort" {
					panic(http.ErrAbortHandler)
				}
			})
			s := f.subscription()
			c.change(f, s)
			a := f.send(t, s)
			if a.Failure != c.failure || !strings.HasPrefix(a.Reason, c.reason) || a.Status != 0 {
				t.Errorf("%q: %q, status %d, want %q: %q", a.Failure, a.Reason, a.Status, c.failure, c.reason)
			}
		})
	}
}

// hang answers nothing until the client gives up.
func hang(_ http.ResponseWriter, r *http.Request) {
	readAll(r.Body) // the server notices the end of the connection only then
	<-r.Context().Done()
}

// An expiring context is past its deadline once over is closed.
type expiring struct {
	context.Context

	over chan struct{}
}

func (e expiring) Done() <-chan struct{} { return e.over }

func (e expiring) Err() error {
	select {
	case <-e.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// untilSent is a context whose deadline is when a request was sent. A deadline after a time
// could end the request before the connection is made, which is another reason.
func untilSent(ctx context.Context) context.Context {
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { end() }})
	return expiring{ctx, over}
}

// TestNoAnswer: an endpoint that has the request and does not answer is said to be late.
func TestNoAnswer(t *testing.T) {
	f := newSender(t, hang)
	a := f.sendIn(untilSent(t.Context()), f.subscription())
	if a.Failure != webhook.FailureTimeout || !strings.HasPrefix(a.Reason, "no answer within ") || a.Status != 0 {
		t.Errorf("%q: %q, status %d", a.Failure, a.Reason, a.Status)
	}
}

// TestTimeoutOfProfile: an attempt takes no longer than its profile allows, whatever it waits
// for then. The client alone would wait for half a minute.
func TestTimeoutOfProfile(t *testing.T) {
	f := newSender(t, hang)
	f.Profiles[0].Timeout = 50 * time.Millisecond
	a := f.send(t, f.subscription())
	if a.Failure != webhook.FailureTimeout || !strings.Contains(a.Reason, " within ") || a.Status != 0 || a.Duration > 20*time.Second {
		t.Errorf("%q: %q, status %d, after %v", a.Failure, a.Reason, a.Status, a.Duration)
	}
}

// TestCanceled: an attempt that the server gives up says so.
func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	f := newSender(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	a := f.Send(ctx, &webhook.Request{Subscription: f.subscription(), ID: "evt_1", Number: 1, Event: &webhook.Event{}})
	if a.Failure != webhook.FailureCanceled || a.Reason == "" {
		t.Errorf("%+v", a)
	}
}

// TestKeptConnection: attempts share a connection.
func TestKeptConnection(t *testing.T) {
	peers := make(map[string]bool)
	f := newSender(t, func(w http.ResponseWriter, r *http.Request) {
		peers[r.RemoteAddr] = true
		_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
	})
	for range 5 {
		if a := f.send(t, f.subscription()); a.Failure != "" {
			t.Fatalf("%+v", a)
		}
	}
	if len(peers) != 1 {
		t.Errorf("%d connections for 5 attempts", len(peers))
	}
}
