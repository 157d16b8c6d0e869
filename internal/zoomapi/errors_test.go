package zoomapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
	"porchlight.dev/porchlight/internal/wire"
	. "porchlight.dev/porchlight/internal/zoomapi"
)

// TestFail covers the whole table of errors.
func TestFail(t *testing.T) {
	const read = `{"code":5301,"message":"Request to read the presence status of this user failed."}`
	for _, c := range []struct {
		method string
		err    error
		status int
		body   string
		header map[string]string
	}{
		{"PUT", auth.ErrNoToken, 401, badToken, map[string]string{"WWW-Authenticate": "Bearer"}},
		{"PUT", auth.ErrInvalidToken, 401, badToken, map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`}},
		{"PUT", auth.ErrExpiredToken, 401, `{"code":124,"message":"Access token is expired."}`, map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`}},
		{"PUT", auth.ErrSuspended, 401, badToken, map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`}},
		{"POST", &directory.LimitError{Most: 5, What: "users"}, 400, `{"code":300,"message":"The account may have at most 5 users."}`, nil},
		{"PUT", auth.ErrTokenInQuery, 401, `{"code":124,"message":"Invalid access token, this access token is not supported as query parameter string."}`, nil},
		{"PUT", directory.ErrNoAccount, 401, badToken, nil},
		{"GET", directory.ErrNoUser, 404, noUserBody("ann"), nil},
		{"PUT", presence.ErrDeleted, 404, noUserBody("ann"), nil},
		{"PUT", wire.ErrPermission, 400, forbidden, nil},
		{"GET", wire.ErrPermission, 400, strings.Replace(forbidden, "to update", "to get", 1), nil},
		{"PUT", presence.ErrSignedOut, 400, failed, nil},
		{"PUT", presence.ErrTransition, 400, failed, nil},
		{"PUT", presence.ErrDeactivated, 400, failed, nil},
		{"GET", presence.ErrDeactivated, 400, read, nil},
		{"PUT", wire.ErrNoRoute, 404, `{"code":2300,"message":"This API endpoint is not recognized."}`, nil},
		{"PUT", wire.ErrTooLarge, 413, `{"code":413,"message":"Request Body should have at most 65536 bytes."}`, nil},
		{"PUT", wire.ErrIsolated, 503, `{"code":503,"message":"The server cannot reach its store. Connect to another one, or try again later."}`, map[string]string{"Retry-After": "5"}},
		{"PUT", wire.ErrDraining, 503, `{"code":503,"message":"The server is shutting down. Try again later."}`, map[string]string{"Retry-After": "5"}},
		{"GET", context.DeadlineExceeded, 503, `{"code":503,"message":"The request took too long. Try again later."}`, map[string]string{"Retry-After": "5"}},
		{"GET", context.Canceled, 503, `{"code":503,"message":"The request was cancelled. Try again later."}`, map[string]string{"Retry-After": "5"}},
		{"BREW", &wire.MethodError{Allow: "GET, HEAD"}, 405, `{"code":405,"message":"Request method BREW is not supported; this path allows GET, HEAD."}`, map[string]string{"Allow": "GET, HEAD"}},
		{"PUT", &wire.SyntaxError{Reason: "no"}, 400, `{"code":300,"message":"No."}`, nil},
		{"PUT", &wire.MediaTypeError{Given: "a/b", Accepted: "others"}, 415, `{"code":415,"message":"The body has the media type \"a/b\"; this route reads others."}`, nil},
		{"PUT", &wire.ScopeError{Scopes: []string{"a", "b"}}, 400, `{"code":4711,"message":"Invalid access token, does not contain scopes:[a, b]."}`, nil},
		{"PUT", &presence.FieldError{Field: "f\"", Reason: "<r>"}, 400, `{"code":300,"message":"Validation Failed.","errors":[{"field":"f\"","message":"<r>"}]}`, nil},
		{"PUT", &presence.LimitError{What: "claims", Limit: 64}, 400, `{"code":300,"message":"A user has at most 64 claims."}`, nil},
		{"PUT", &presence.RateLimitedError{RetryAfter: 30 * time.Second}, 429, tooMany, map[string]string{"Retry-After": "30", "X-RateLimit-Category": "Medium", "X-RateLimit-Type": ""}},
		{"PUT", &presence.RateLimitedError{RetryAfter: time.Microsecond}, 429, tooMany, map[string]string{"Retry-After": "1"}},
		{"PUT", presence.ErrPrecondition, 412, `{"code":412,"message":"The condition of If-Match or If-None-Match does not hold."}`, nil},
		{"PUT", presence.ErrKeyReused, 422, `{"code":422,"message":"The Idempotency-Key was used for a different request."}`, nil},
		{"PUT", store.ErrUnknown, 503, `{"code":503,"message":"The answer of the store was lost: the update may or may not have been made."}`, map[string]string{"X-Outcome": "unknown"}},
		{"PUT", store.ErrFull, 507, `{"code":507,"message":"The disk is almost full: nothing is written until space is free."}`, map[string]string{"Retry-After": "5"}},
		{"PUT", store.ErrFailed, 503, `{"code":503,"message":"The store failed. Try again later."}`, nil},
		{"PUT", store.ErrClosed, 503, `{"code":503,"message":"The server is shutting down. Try again later."}`, nil},
		{"PUT", errors.New("secret"), 500, `{"code":500,"message":"Internal server error."}`, nil},
		{"PUT", &wire.PanicError{Value: "secret"}, 500, `{"code":500,"message":"Internal server error."}`, nil},
	} {
		for _, err := range []error{c.err, fmt.Errorf("while testing: %w", c.err)} {
			rec, r := httptest.NewRecorder(), httptest.NewRequest(c.method, "/", nil)
			r.SetPathValue("userId", "ann")
			(&API{}).Fail(rec, r, err)
			if rec.Code != c.status || rec.Body.String() != c.body+"\n" {
				t.Errorf("%v:\ngot  %d %s\nwant %d %s", err, rec.Code, rec.Body, c.status, c.body)
			}
			wantHeader(t, rec, "Content-Type", "application/json")
			for name, value := range c.header {
				wantHeader(t, rec, name, value)
			}
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	w := newFixture(t, options{})
	const unknown = `{"code":2300,"message":"This API endpoint is not recognized."}`
	for _, c := range []call{
		{method: "GET", path: "/v2/"},
		{method: "PUT", path: "/v2/users/me/presence"},
		{method: "GET", path: "/v2/users/me/presence_status/"},
		{method: "GET", path: "/v2/users//presence_status"},
		{method: "GET", path: "/oauth/authorize"},
	} {
		rec := w.do(c)
		want(t, rec, 404, unknown)
		wantHeader(t, rec, "Location", "")
	}
	for _, id := range []string{"a%2F..%2Fb", "%2e%2e"} { // valid ids
		want(t, w.do(call{method: "GET", path: "/v2/users/" + id + "/presence_status", header: map[string]string{"Authorization": "Bearer " + w.app}}),
			404, `{"code":1001,"message":"User does not exist: `+strings.NewReplacer("%2F", "/", "%2e", ".").Replace(id)+`"}`)
	}
	for _, method := range []string{"POST", "PATCH", "DELETE", "OPTIONS"} {
		rec := w.do(call{method: method, path: path("me")})
		want(t, rec, 405, `{"code":405,"message":"Request method `+method+` is not supported; this path allows GET, HEAD, PUT."}`)
		wantHeader(t, rec, "Allow", "GET, HEAD, PUT")
	}
}

func TestTokens(t *testing.T) {
	w := newFixture(t, options{})
	scopes, err := w.Authority.ParseScopes(appScopes)
	w.must(err)
	app, _, err := w.Authority.CreateApp(t.Context(), w.account, "short", scopes)
	w.must(err)
	_, short, err := w.Authority.Issue(t.Context(), w.account, auth.Token{App: app.ID, Scopes: scopes}, time.Minute)
	w.must(err)
	want(t, w.get(short, "ben@example.com"), 200, `{"status":"Available"}`)
	w.clock.Advance(2 * time.Minute)
	want(t, w.get(short, "ben@example.com"), 401, `{"code":124,"message":"Access token is expired."}`)
	want(t, w.do(call{method: "GET", path: path("me") + "?access_token=" + w.app}), 401,
		`{"code":124,"message":"Invalid access token, this access token is not supported as query parameter string."}`)
	for _, header := range []string{"Bearer", "Bearer ", "Basic " + w.app, w.app, "Bearer " + w.app + " x"} {
		rec := w.do(call{method: "GET", path: path("me"), header: map[string]string{"Authorization": header}})
		want(t, rec, 401, badToken)
	}
	want(t, w.do(call{method: "GET", path: path("ben@example.com"), header: map[string]string{"Authorization": "bearer  " + w.app}}), 200, `{"status":"Available"}`)
}

// panicking is a viewer with a defect.
type panicking struct{}

func (panicking) Read(context.Context, presence.AccountID, presence.UserID, view.Viewer) (view.View, store.Cursor, error) {
	panic("a defect")
}

func (panicking) Query(context.Context, presence.AccountID, []presence.UserID, view.Viewer) ([]view.View, store.Cursor, error) {
	panic("a defect")
}

func TestPanic(t *testing.T) {
	w := newFixture(t, options{})
	w.api.Views = panicking{}
	want(t, w.get(w.app, "ben@example.com"), 500, `{"code":500,"message":"Internal server error."}`)
}
