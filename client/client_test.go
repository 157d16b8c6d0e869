package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

func newTestClient(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL+"/", client.StaticToken("secret"), srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRequest: the request that a call sends.
func TestRequest(t *testing.T) {
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := r.Method + " " + r.URL.EscapedPath() + " " + r.Header.Get("Authorization") + " " +
			r.Header.Get("Idempotency-Key") + " " + r.Header.Get("If-Match") + " " + string(body)
		want := `PUT /v1/users/a+b%2Fc@example.com/claims/manual Bearer secret k1 "7" {"source":"manual","status":"busy"}`
		if got != want {
			t.Errorf("sent %s\nwant %s", got, want)
		}
		_, _ = io.WriteString(w, `{"claim":null,"why":"decides","presence":{"user":"u","status":"busy","since":"2026-03-01T09:30:00.000Z","until":null}}`)
	})
	result, err := c.SetClaim(t.Context(), "a+b/c@example.com", "manual", api.SetClaim{Source: "manual", Status: api.Busy},
		client.IdempotencyKey("k1"), client.IfMatch(7))
	if err != nil || result.Presence.Status != api.Busy || result.Presence.Since.IsZero() || !result.Presence.Until.IsZero() {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestErrors: the error for each response, and whether it is worth a retry.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		kind, body string
		after      string
		want       string
		wait       time.Duration
		again      bool
	}{
		"a problem":        {404, "application/problem+json", `{"type":"/docs/problems/user-not-found","title":"No user","status":404,"detail":"Nobody."}`, "", "No user: Nobody.", 0, false},
		"the minute":       {429, "application/json", `{"code":429,"message":"Too many requests"}`, "37", "Too many requests", 37 * time.Second, true},
		"the store is out": {503, "application/problem+json", `{"type":"/docs/problems/unavailable","title":"Out","detail":"Later."}`, "2", "Out: Later.", 2 * time.Second, true},
		"the disk is full": {507, "application/problem+json", `{"title":"Full","detail":"No."}`, "", "Full: No.", 0, true},
		"a proxy":          {502, "text/html", `<h1>Bad gateway</h1>`, "", "Bad Gateway", 0, true},
		"nonsense":         {400, "application/problem+json", `{`, "", "Bad Request", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newTestClient(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				w.Header().Set("X-Request-Id", "1f")
				if c.after != "" {
					w.Header().Set("Retry-After", c.after)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			_, err := cl.Presence(t.Context(), "me")
			refused, ok := errors.AsType[*client.Error](err)
			if !ok || refused.Status != c.status || refused.RequestID != "1f" || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("%v; want %d: %s", err, c.status, c.want)
			}
			if wait, again := client.Retry(err); wait != c.wait || again != c.again {
				t.Errorf("retry: %v after %v, want %v after %v", again, wait, c.again, c.wait)
			}
		})
	}
}

// TestErrorsIs: errors.Is distinguishes problems by their kind.
func TestErrorsIs(t *testing.T) {
	c := newTestClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"type":"/docs/problems/user-not-found"}`)
	})
	_, err := c.User(t.Context(), "x")
	if !client.Is(err, &api.NoUser) || client.Is(err, &api.NoClaim) || client.Is(nil, &api.NoUser) {
		t.Errorf("%v", err)
	}
}

// TestIfAbsent: a write that must not replace anything has If-None-Match.
func TestIfAbsent(t *testing.T) {
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusPreconditionFailed)
		if r.Header.Get("If-None-Match") == "*" {
			_, _ = io.WriteString(w, `{"type":"/docs/problems/precondition-failed"}`)
		}
	})
	_, err := c.SetClaim(t.Context(), "me", "x", api.SetClaim{}, client.IfAbsent())
	if !errors.Is(err, &api.PreconditionFailed) {
		t.Errorf("%v", err)
	}
}

// TestContext: a call ends with its context, and is then not worth a retry; an
// unreachable server is.
func TestContext(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	c := newTestClient(t, func(http.ResponseWriter, *http.Request) {
		close(reached)
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	_, err := c.Me(ctx)
	if _, again := client.Retry(err); !errors.Is(err, context.Canceled) || again {
		t.Errorf("a cancelled call: %v, retry: %v", err, again)
	}
	gone, err := client.New("http://127.0.0.1:1", client.StaticToken("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = gone.Me(t.Context())
	if _, again := client.Retry(err); !again {
		t.Errorf("an unreachable server: %v, retry: %v", err, again)
	}
	for _, bad := range []string{"", "127.0.0.1:8080", "ftp://x", "http://x?y", "http://"} {
		if _, err := client.New(bad, client.StaticToken("x"), nil); err == nil {
			t.Errorf("%q is accepted as a URL", bad)
		}
	}
}

// TestPages: a listing reads all pages and stops when its reader stops.
func TestPages(t *testing.T) {
	var asked atomic.Int64
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body := `{"users":[{"id":"a"},{"id":"b"}],"next":"b"}`
		switch r.URL.Query().Get("after") {
		case "b":
			body = `{"users":[],"next":"c"}`
		case "c":
			body = `{"users":[{"id":"d"}]}`
		}
		_, _ = io.WriteString(w, body)
	})
	var ids string
	for u, err := range c.Users(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ids += u.ID
	}
	if ids != "abd" || asked.Load() != 3 {
		t.Errorf("%q in %d requests", ids, asked.Load())
	}
	for _, err := range c.Users(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if asked.Load() != 4 {
		t.Errorf("%d requests for a reader that stopped at once", asked.Load()-3)
	}
}
