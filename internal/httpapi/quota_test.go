package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/quota"
)

// TestWriteQuota: reads and queries do not count as writes. The problem of a refused
// write has everything that a client needs, as documented.
func TestWriteQuota(t *testing.T) {
	w := newWorld(t)
	two := quota.Amounts{quota.User: 2}
	w.api.Quotas = quota.NewGuard(map[quota.Resource]quota.Amounts{
		quota.Writes: two, quota.Tickets: two, quota.Tokens: two,
	}, w.clock)
	w.api.Authority.Live = auth.LiveTokens{User: &quota.Limit{Name: "live-tokens-per-user", Setting: "live-token-limits", Most: 3, Unit: "valid tokens"}}
	own := w.token(w.alice.ID, "presence:read claim:write claim:read directory:write directory:read")
	for range 5 {
		w.do("GET", "/v1/users/me/claims", own, "").want(200)
		w.do("POST", "/v1/presence/query", own, `{"users":["me"]}`).want(200)
	}
	refused := func(method, path, body, limit string) {
		t.Helper()
		for range 2 {
			if status := w.do(method, path, own, body).status; status >= 300 {
				t.Fatalf("%s %s: %d before the limit", method, path, status)
			}
		}
		var p api.Problem
		r := w.do(method, path, own, body).want(429)
		r.read(&p)
		if p.Type != api.QuotaExceeded.Type() || p.LimitName != limit || p.Limit != 2 || p.Setting == "" || p.RetryAfter != 30 || r.header.Get("Retry-After") != "30" {
			t.Errorf("%s %s: %+v", method, path, p)
		}
	}
	refused("PUT", "/v1/users/me/note", `{"text":"x"}`, "writes-per-user")
	refused("POST", "/v1/tickets", "", "tickets-per-user")
	refused("POST", "/v1/tokens", `{"scopes":["presence:read"]}`, "tokens-per-user")
	w.advance(30 * time.Second)
	w.do("PUT", "/v1/users/me/note", own, `{"text":"y"}`).want(200)
	var p api.Problem
	w.do("POST", "/v1/tokens", own, `{"scopes":["presence:read"]}`).want(409).read(&p)
	if p.Type != api.LimitReached.Type() || p.LimitName != "live-tokens-per-user" || p.Limit != 3 || !strings.Contains(p.Detail, "3 valid tokens") {
		t.Errorf("too many valid tokens: %+v", p)
	}
}
