package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/webhook"
)

func TestAuthenticate(t *testing.T) {
	for _, c := range []struct {
		name         string
		auth         webhook.Authentication
		header, want string
	}{
		{"none", webhook.Authentication{}, "Authorization", ""},
		{"basic", webhook.Authentication{Kind: webhook.AuthBasic, Username: "ada", Password: "s:é"}, "Authorization", "Basic YWRhOnM6w6k="},
		{"custom", webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: "x-api-key", HeaderValue: "k 1"}, "X-Api-Key", "k 1"},
		{"custom authorization", webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: "Authorization", HeaderValue: "Token 1"}, "Authorization", "Token 1"},
	} {
		var got http.Header
		f := newSender(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
		s := f.subscription()
		s.Auth = c.auth
		if a := f.send(t, s); a.Failure != "" || strings.Join(got.Values(c.header), "|") != c.want {
			t.Errorf("%s: %q, %+v, want %q", c.name, got.Values(c.header), a, c.want)
		}
	}
}

// TestCheckAuthentication: what a subscription cannot have.
func TestCheckAuthentication(t *testing.T) {
	header := func(name, value string) webhook.Authentication {
		return webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: name, HeaderValue: value}
	}
	oauth := func(url, id, secret, scope string) webhook.Authentication {
		return webhook.Authentication{Kind: webhook.AuthOAuth, TokenURL: url, ClientID: id, ClientSecret: secret, Scope: scope}
	}
	const url = "https://issuer.example/token"
	f := newSender(t, nil)
	reserved := http.Header{"X-Own-Signature": {""}, "Authorization": {""}}
	for i, c := range []struct {
		auth webhook.Authentication
		want string // empty: accepted
	}{
		{webhook.Authentication{}, ""},
		{webhook.Authentication{Kind: "digest"}, `the kind "digest" is unknown`},
		{webhook.Authentication{Kind: webhook.AuthBasic, Username: "ada"}, ""},
		{webhook.Authentication{Kind: webhook.AuthBasic, Username: "a:b"}, "colon"},
		{webhook.Authentication{Kind: webhook.AuthBasic, Password: "p"}, "empty"},
		{webhook.Authentication{Kind: webhook.AuthBasic, Username: "ada", Password: "a\r\nb"}, "control characters"},
		{webhook.Authentication{Kind: webhook.AuthBasic, Username: "ada", Password: strings.Repeat("p", 4097)}, "4096"},
		{oauth(url, "id", "secret", "a b"), ""},
		{oauth("http://169.254.169.254/token", "id", "secret", ""), "token URL: the address 169.254.169.254 is private"},
		{oauth("file:///x", "id", "secret", ""), "token URL: the URL must begin with"},
		{oauth(url, "", "secret", ""), "missing"},
		{oauth(url, "id", "", ""), "missing"},
		{oauth(url, "id", "secret", "a\nb"), "control characters"},
		{header("X-Key", "v"), ""},
		{header("X-Key", ""), ""},
		{header("Cookie", "a=b"), ""},
		{header("authorization", "Token x"), ""},
		{header("", "v"), "not the name of a header"},
		{header("X Key", "v"), "not the name of a header"},
		{header("X-Key\r\nX", "v"), "not the name of a header"},
		{header("X-Key:", "v"), "not the name of a header"},
		{header("Schlüssel", "v"), "not the name of a header"},
		{header(strings.Repeat("x", 101), "v"), "not the name of a header"},
		{header("X-Key", "a\r\nWebhook-Id: x"), "control characters"},
		{header("X-Key", "a\x00b"), "control characters"},
		{header("X-Key", " v"), "spaces"},
		{header("X-Key", strings.Repeat("v", 4097)), "4096"},
		{header("x-own-signature", "v"), "cannot be set"},
		{header("Host", "v"), "cannot be set"},
		{header("CONNECTION", "close"), "cannot be set"},
		{header("Content-Length", "0"), "cannot be set"},
		{header("content-type", "text/plain"), "cannot be set"},
		{header("Transfer-Encoding", "chunked"), "cannot be set"},
		{header("te", "trailers"), "cannot be set"},
		{header("Trailer", "X"), "cannot be set"},
		{header("Upgrade", "h2c"), "cannot be set"},
		{header("Keep-Alive", "1"), "cannot be set"},
		{header("Expect", "100-continue"), "cannot be set"},
		{header("Proxy-Authorization", "v"), "cannot be set"},
		{header("Proxy-Connection", "v"), "cannot be set"},
		{header("Accept-Encoding", "gzip"), "cannot be set"},
		{header("webhook-signature", "v"), "cannot be set"},
		{header("Webhook-Id", "v"), "cannot be set"},
		{header("traceparent", "v"), "cannot be set"},
		{header("tracestate", "v"), "cannot be set"},
		{header("Porchlight-Revision", "v"), "cannot be set"},
		{header("ce-id", "v"), "cannot be set"},
		{header("User-Agent", "v"), "cannot be set"},
	} {
		err := c.auth.Check(f.Client, reserved)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, webhook.ErrAuthentication)) {
			t.Errorf("case %d, %+v: %v, want %q", i, c.auth, err, c.want)
		}
	}
}

// TestHeaderNotOverridden: a stored header that the form sends itself stops the attempt.
func TestHeaderNotOverridden(t *testing.T) {
	f := newSender(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	s := f.subscription()
	s.Auth = webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: "X-Form-Signature", HeaderValue: "forged"}
	if a := f.send(t, s); a.Failure != webhook.FailureConfig || !strings.Contains(a.Reason, "X-Form-Signature cannot be set") {
		t.Errorf("%+v", a)
	}
}

// An issuer is a token endpoint.
type issuer struct {
	*httptest.Server
	issued  atomic.Int32
	answer  func(w http.ResponseWriter, n int32) // nil: a token that lasts an hour
	request *http.Request
	body    string
}

func newIssuer(t *testing.T) *issuer {
	i := new(issuer)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.request, i.body = r, string(readAll(r.Body))
		n := i.issued.Add(1)
		if i.answer != nil {
			i.answer(w, n)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("token-%d", n), "token_type": "bearer", "expires_in": 3600})
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) auth() webhook.Authentication {
	return webhook.Authentication{Kind: webhook.AuthOAuth, TokenURL: i.URL + "/token", ClientID: "id:1", ClientSecret: "s&t", Scope: "events write"}
}

// TestOAuth: one token serves many attempts until it expires. One that the endpoint
// refuses is replaced once.
func TestOAuth(t *testing.T) {
	accepts := "token-1"
	var mu sync.Mutex
	var seen []string
	f := newSender(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if seen = append(seen, token); token != accepts {
			w.WriteHeader(http.StatusUnauthorized)
		}
		if string(readAll(r.Body)) != `{"a":1}` {
			t.Error("the body is missing")
		}
	})
	now := time.Now()
	f.Now = func() time.Time { return now }
	i := newIssuer(t)
	s := f.subscription()
	s.Auth = i.auth()
	expect := func(step string, status int, issued int32, tokens ...string) {
		t.Helper()
		seen = nil
		if a := f.send(t, s); a.Status != status || i.issued.Load() != issued || strings.Join(seen, " ") != strings.Join(tokens, " ") {
			t.Errorf("%s: %+v, tokens %q, %d issued", step, a, seen, i.issued.Load())
		}
	}
	expect("the first", 200, 1, "token-1")
	if id, secret, _ := i.request.BasicAuth(); id != "id%3A1" || secret != "s%26t" || i.body != "grant_type=client_credentials&scope=events+write" || i.request.Method != http.MethodPost {
		t.Errorf("asked with %q, %q, %q", id, secret, i.body)
	}
	expect("cached", 200, 1, "token-1")
	now = now.Add(3569 * time.Second)
	expect("still valid", 200, 1, "token-1")
	accepts, now = "token-2", now.Add(2*time.Second)
	expect("expired", 200, 2, "token-2")
	accepts = "token-3"
	expect("revoked", 200, 3, "token-2", "token-3")
	accepts = "another"
	expect("refused", 401, 4, "token-3", "token-4")
	accepts = "token-5"
	expect("refused before", 200, 5, "token-4", "token-5")
}

// TestOAuthFailures: why there is no token, without sending the event.
func TestOAuthFailures(t *testing.T) {
	say := func(status int, body string) func(http.ResponseWriter, int32) {
		return func(w http.ResponseWriter, _ int32) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for _, c := range []struct {
		answer func(http.ResponseWriter, int32)
		want   string
	}{
		{say(400, `{"error":"invalid_client"}`), "it answered 400, invalid_client"},
		{say(401, `no`), "it answered 401"},
		{say(400, `{"error":"a\nb"}`), "it answered 400"},
		{say(302, ``), "it answered 302"},
		{say(200, `<html>`), "its answer is not a JSON object with access_token"},
		{say(200, `{}`), "its answer has no access_token"},
		{say(200, `{"access_token":"a\r\nX: y"}`), "its answer has no access_token, or one with characters"},
		{say(200, `{"access_token":"a b"}`), "its answer has no access_token, or one with characters"},
		{say(200, `{"access_token":"t","token_type":"mac"}`), `it issues tokens of the type "mac"`},
		{say(200, `{"access_token":"`+strings.Repeat("t", 100_000)+`"}`), "its answer is not a JSON object"},
		{func(http.ResponseWriter, int32) { panic(http.ErrAbortHandler) }, "the endpoint closed the connection without an answer"},
	} {
		f := newSender(t, func(http.ResponseWriter, *http.Request) { t.Error("the event was sent") })
		i := newIssuer(t)
		i.answer = c.answer
		s := f.subscription()
		s.Auth = i.auth()
		if a := f.send(t, s); a.Failure != webhook.FailureToken || !strings.HasPrefix(a.Reason, "no access token from the token URL: "+c.want) {
			t.Errorf("%q: %q, want %q", a.Failure, a.Reason, c.want)
		}
	}
}

// TestOAuthExpiry: how long a token is used.
func TestOAuthExpiry(t *testing.T) {
	for expires, want := range map[string]time.Duration{
		`3600`: 3570 * time.Second, `"3600"`: 3570 * time.Second, `60`: 30 * time.Second, `10`: 5 * time.Second, `1e9`: 24*time.Hour - 30*time.Second,
		`0`: 270 * time.Second, `-5`: 270 * time.Second, `null`: 270 * time.Second, `3599.5`: 3569*time.Second + 500*time.Millisecond,
	} {
		f := newSender(t, func(http.ResponseWriter, *http.Request) {})
		i := newIssuer(t)
		i.answer = func(w http.ResponseWriter, n int32) {
			_, _ = fmt.Fprintf(w, `{"access_token":"t%d","expires_in":%s}`, n, expires)
		}
		now := time.Now()
		f.Now = func() time.Time { return now }
		s := f.subscription()
		s.Auth = i.auth()
		f.send(t, s)
		now = now.Add(want - time.Millisecond)
		f.send(t, s)
		before := i.issued.Load()
		now = now.Add(2 * time.Millisecond)
		if f.send(t, s); before != 1 || i.issued.Load() != 2 {
			t.Errorf("expires_in %s: %d tokens before %s, %d after", expires, before, want, i.issued.Load())
		}
	}
}

// TestOAuthTogether: attempts at the same time share one request for a token.
func TestOAuthTogether(t *testing.T) {
	f := newSender(t, func(http.ResponseWriter, *http.Request) {})
	i := newIssuer(t)
	s := f.subscription()
	s.Auth = i.auth()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if a := f.send(t, s); a.Failure != "" {
				t.Errorf("%+v", a)
			}
		})
	}
	wg.Wait()
	if n := i.issued.Load(); n != 1 {
		t.Errorf("%d tokens for attempts at the same time", n)
	}
	other := *s
	other.Auth.ClientSecret = "another"
	if f.send(t, &other); i.issued.Load() != 2 {
		t.Error("a token was used for other credentials")
	}
}
