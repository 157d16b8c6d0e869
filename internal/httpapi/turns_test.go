package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/quota"
)

// queryOf returns a query for n users.
func queryOf(n int) string {
	return `{"users":[` + strings.TrimSuffix(strings.Repeat(`"me",`, n), ",") + `]}`
}

// TestLargeReadsWaitForTheirTurn: while all turns are in use, large reads wait, and
// above the limit they are refused with its name. Small reads are answered.
func TestLargeReadsWaitForTheirTurn(t *testing.T) {
	w := newWorld(t)
	w.api.Reads = quota.NewTurns(0, &quota.Limit{Name: "waiting-reads", Setting: "waiting-reads", Most: 1, Unit: "large reads", Shared: true})
	token := w.token(w.owner, everything)
	ctx, leave := context.WithCancel(t.Context())
	answers := make(chan *httptest.ResponseRecorder)
	for range 2 {
		go func() {
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/presence/query", strings.NewReader(queryOf(201)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			answer := httptest.NewRecorder()
			w.router.ServeHTTP(answer, r)
			answers <- answer
		}()
	}
	if first := <-answers; first.Code != http.StatusServiceUnavailable {
		t.Fatalf("the second large query: status %d", first.Code)
	}
	for _, request := range []struct{ method, path, body string }{
		{http.MethodPost, "/v1/presence/query", queryOf(201)},
		{http.MethodGet, "/v1/users?limit=1000", ""},
		{http.MethodGet, "/v1/tokens?limit=1000", ""},
	} {
		p := w.do(request.method, request.path, token, request.body).problem(&api.Overloaded)
		if p.LimitName != "waiting-reads" || p.Setting != "waiting-reads" || p.RetryAfter != 1 {
			t.Errorf("%s: %+v", request.path, p)
		}
	}
	w.do(http.MethodGet, "/v1/users/me/presence", token, "").want(http.StatusOK)
	w.do(http.MethodPost, "/v1/presence/query", token, queryOf(200)).want(http.StatusOK)
	w.do(http.MethodGet, "/v1/users?limit=200", token, "").want(http.StatusOK)
	leave()
	<-answers
}
