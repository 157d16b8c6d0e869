package server_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/server"
)

// limitOf tells which limit a response with status 429 is of, by its headers alone, as
// docs/limits.md has it.
func limitOf(h http.Header) string {
	policy := h.Get("RateLimit-Policy")
	switch {
	case h.Get("X-RateLimit-Type") == "QPS":
		return "zoom-second"
	case h.Get("X-RateLimit-Type") == "Daily-limit":
		return "zoom-day"
	case h.Get("X-RateLimit-Category") != "":
		return "zoom-update"
	case h.Get("X-Zm-Trackingid") != "":
		return "zoom-server"
	case strings.HasPrefix(h.Get("RateLimit"), `"sign-in"`):
		return "sign-in"
	case strings.Contains(policy, ";w="):
		return "minute"
	case strings.Contains(policy, `;qu="concurrent-requests"`):
		return "streams"
	default:
		return "connections"
	}
}

// pageLimits are the limits that limitOf tells apart; TestLimits has the others.
var pageLimits = []string{"zoom-second", "zoom-day", "zoom-update", "zoom-server", "sign-in", "minute", "streams", "connections"}

// TestLimitsPage: docs/limits.md lists every limit that limitOf tells apart, in its order.
func TestLimitsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/limits.md")
	apptest.Check(t, err)
	_, rows, _ := strings.Cut(string(page), "|---|---|---|\n")
	for i, row := range strings.Split(strings.TrimSpace(rows[:strings.Index(rows, "\n\n")]), "\n") {
		if i >= len(pageLimits) || !strings.HasPrefix(row, "| **"+pageLimits[i]+"**:") {
			t.Errorf("row %d: %s; want %v", i, row, pageLimits)
		}
	}
}

// TestLimitsAreToldApart reaches the limits of Zoom's routes, of sign-ins, of tokens and of
// native routes: the headers say which it is. Only native routes have RateLimit.
func TestLimitsAreToldApart(t *testing.T) {
	cfg := settings(t)
	cfg.Durability, cfg.RateLimitPlan, cfg.Passwords = "os", "free", true
	cfg.MinUpdateInterval = time.Minute
	cfg.WriteLimits, cfg.TokenLimits = quotas(t, "user=2"), quotas(t, "app=3")
	clock := apptest.NewClock(time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)) // all requests are of one day
	made, err := server.Init(t.Context(), cfg, testFounding)
	apptest.Check(t, err)
	h := &surface{running: run(t, cfg, server.Options{Clock: clock.Now}, made), t: t, clock: clock}
	h.handler = h.Router()
	user := h.createUsers(t, 1)[0]
	own := "Bearer " + h.createToken(t, user, "presence:read", "claim:write", "session:write", "directory:read").Secret
	if w := h.ask("GET", "/v1/account", "", "Authorization", own); !strings.Contains(w.Body.String(), `"rates":[{"label":"Light","requests":4,"seconds":1,"daily":6000},`) {
		t.Errorf("the account: %d %s", w.Code, w.Body)
	}
	if w := h.ask("POST", "/v1/sessions", `{"client_type":"web","lease_seconds":3600}`, "Authorization", own); w.Code != http.StatusCreated {
		t.Fatalf("sign in: %d %s", w.Code, w.Body)
	}
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	secret := "grant_type=client_credentials&client_id=" + made.ClientID + "&client_secret="
	updates := 0
	for _, c := range []struct {
		limit string
		step  time.Duration // between requests
		ask   func() *httptest.ResponseRecorder
	}{
		{"zoom-second", 0, func() *httptest.ResponseRecorder {
			return h.ask("GET", "/v2/users/me/presence_status", "", "Authorization", own)
		}},
		{"zoom-update", time.Second, func() *httptest.ResponseRecorder {
			updates++
			return h.ask("PUT", "/v2/users/me/presence_status", `{"status":"`+[]string{"Do_Not_Disturb", "Away"}[updates%2]+`"}`, "Authorization", own)
		}},
		{"minute", 0, func() *httptest.ResponseRecorder {
			return h.ask("PUT", "/v1/users/me/note", `{"text":"x"}`, "Authorization", own)
		}},
		{"sign-in", 0, func() *httptest.ResponseRecorder {
			return h.ask("POST", "/v1/sign-ins", `{"email":"nobody@example.com","password":"wrong"}`)
		}},
		{"zoom-server", 0, func() *httptest.ResponseRecorder {
			return h.ask("POST", "/oauth/token", secret+"wrong", form...)
		}},
		{"zoom-server", 0, func() *httptest.ResponseRecorder {
			return h.ask("POST", "/oauth/token", secret+made.ClientSecret, form...)
		}},
		{"zoom-day", 501 * time.Millisecond, func() *httptest.ResponseRecorder {
			return h.ask("GET", "/v2/users/me/presence_status", "", "Authorization", own)
		}},
	} {
		clock.Advance(time.Minute)
		got := c.ask()
		for n := 0; got.Code != http.StatusTooManyRequests && n < 2100; n++ {
			checkAnnounced(t, c.limit, got)
			clock.Advance(c.step)
			got = c.ask()
		}
		if got.Code != http.StatusTooManyRequests {
			t.Fatalf("%s: the last response is %d %s", c.limit, got.Code, got.Body)
		}
		checkAnnounced(t, c.limit, got)
		if found := limitOf(got.Header()); found != c.limit {
			t.Errorf("%s: the headers say %s: %v", c.limit, found, got.Header())
		}
	}
}

// checkAnnounced: native responses have RateLimit, and Zoom's do not.
func checkAnnounced(t *testing.T, limit string, got *httptest.ResponseRecorder) {
	t.Helper()
	h := got.Header()
	left, wait := h.Get("RateLimit"), h.Get("Retry-After")
	native := limit == "minute" || limit == "sign-in" && got.Code == http.StatusTooManyRequests
	if native != (left != "") || (limit == "minute") != (h.Get("RateLimit-Policy") != "") {
		t.Errorf("%s: %d with %v", limit, got.Code, h)
	}
	if native && got.Code == http.StatusTooManyRequests && !strings.HasSuffix(left, ";r=0;t="+wait) {
		t.Errorf("%s: RateLimit %s, Retry-After %s", limit, left, wait)
	}
	if seconds, err := strconv.Atoi(wait); native && got.Code == http.StatusTooManyRequests && (err != nil || seconds < 1) {
		t.Errorf("%s: Retry-After %s", limit, wait)
	}
}
