package server_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
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
	probes := make(chan struct{})
	s := start(t, cfg, server.Options{Clock: clock.Now, QueueProbe: func() time.Duration {
		select {
		case <-probes:
			return time.Second
		case <-t.Context().Done():
			return 0
		}
	}})
	if status, text := s.get(t, s.AdminURL()+"/readyz"); status != http.StatusOK {
		t.Fatalf("readyz answers %d %q", status, text)
	}
	for _, c := range []struct{ name, method, path, body, want string }{
		{"Zoom's API, fast", "PUT", "/v2/users/me/presence_status", `{"status":"Away"}`, `"code":503`},
		{"Zoom's API", "GET", "/v2/users", "", `"code":503`},
		{"native", "GET", "/v1/users", "", `/docs/problems/overloaded`},
		{"SCIM", "GET", "/scim/v2/Users", "", `"status":"503"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, body := s.refused(t, probes, c.method, c.path, c.body)
			if wait, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 8 || !strings.Contains(body, c.want) {
				t.Errorf("refused with %v %s", answer.Header, body)
			}
		})
	}
	status, text := 0, ""
	for range 100 { // the server ends refusing when nothing comes
		s.refused(t, probes, "GET", "/v1/users", "")
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

// refused sends a request again and again until it is refused.
func (r *running) refused(t *testing.T, probes chan<- struct{}, method, path, body string) (*http.Response, string) {
	t.Helper()
	for range 10_000 {
		request, err := http.NewRequestWithContext(t.Context(), method, r.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+r.made.AccessToken)
		request.Header.Set("Content-Type", "application/json")
		answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode == http.StatusServiceUnavailable {
			return answer, string(text)
		}
		select {
		case probes <- struct{}{}:
		default:
		}
	}
	t.Fatal("no request was refused")
	return nil, ""
}
