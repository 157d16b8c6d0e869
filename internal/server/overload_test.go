package server_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/server"
)

// TestOverload: while requests wait for too long, some are refused in the form of their API,
// and the server says that it is not ready if that goes on.
func TestOverload(t *testing.T) {
	cfg := settings(t)
	cfg.MaxQueueDelay = 50 * time.Millisecond
	clock := apptest.NewClock(time.Now())
	s := start(t, cfg, server.Options{Clock: clock.Now, Yield: func() { time.Sleep(time.Second) }})
	if status, text := s.get(t, s.AdminURL()+"/readyz"); status != http.StatusOK {
		t.Fatalf("readyz answers %d %q", status, text)
	}
	s.keepBusy(t)
	for _, c := range []struct{ name, method, path, body, want string }{
		{"Zoom's API, fast", "PUT", "/v2/users/me/presence_status", `{"status":"Away"}`, `"code":503`},
		{"Zoom's API", "GET", "/v2/users", "", `"code":503`},
		{"native", "GET", "/v1/users", "", `/docs/problems/overloaded`},
		{"SCIM", "GET", "/scim/v2/Users", "", `"status":"503"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := s.refused(t, c.method, c.path, c.body)
			if wait, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 16 || !strings.Contains(body, c.want) {
				t.Errorf("refused with %v %s", answer.Header, body)
			}
		})
	}
	status, text := 0, ""
	for range 100 {
		s.refused(t, "GET", "/v1/users", "")
		clock.Advance(6 * time.Second)
		if status, text = s.get(t, s.AdminURL()+"/readyz"); status != http.StatusOK {
			break
		}
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "refuses some") {
		t.Errorf("readyz answers %d %q", status, text)
	}
	_, metrics := s.get(t, s.AdminURL()+"/metrics")
	if !strings.Contains(metrics, "porchlight_overload_seconds ") || strings.Contains(metrics, "porchlight_limit_refused_total{limit=\"queue-delay\"} 0\n") {
		t.Error("the metrics do not show the refusals")
	}
}

// keepBusy sends more updates at once than may wait for their turn, until the test ends.
func (r *running) keepBusy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 40 {
		clients.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = r.askOnce(ctx, "PUT", "/v1/users/me/claims/test", `{"source":"meeting","status":"in_meeting"}`)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		clients.Wait()
	})
}

// refused sends a request again and again until it is refused.
func (r *running) refused(t *testing.T, method, path, body string) (*http.Response, string) {
	t.Helper()
	for range 10_000 {
		answer, text, err := r.askOnce(t.Context(), method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode == http.StatusServiceUnavailable {
			return answer, text
		}
	}
	t.Fatal("no request was refused")
	return nil, ""
}

// askOnce sends a request on a connection of its own: one that was refused is paused.
func (r *running) askOnce(ctx context.Context, method, path, body string) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, r.URL()+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Authorization", "Bearer "+r.made.AccessToken)
	request.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer, string(text), err
}
