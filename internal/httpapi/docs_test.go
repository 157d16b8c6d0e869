package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"porchlight.dev/porchlight/internal/watch"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/signage"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tenant"
	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

func TestPages(t *testing.T) {
	w := newWorld(t)
	for path, needle := range map[string]string{
		"/docs/openapi.yaml":            "openapi: 3.1",
		"/docs/problems":                "idempotency-key-reused",
		"/docs/problems/user-not-found": "The user does not exist",
	} {
		if x := w.do("GET", path, "", "").want(200); !strings.Contains(x.body, needle) {
			t.Errorf("%s does not contain %q", path, needle)
		}
	}
	for _, path := range []string{"/nothing", "/docs/nothing", "/docs/problems/nothing", "/docs/", "/v1", "/v1/", "/v1/users/", "/v1/nothing", "//v1/users", "/v1/../v1/me"} {
		w.do("GET", path, "", "").problem(&api.NoRoute)
	}
	p := w.do("POST", "/v1/me", w.admin(), `{}`).problem(&api.MethodNotAllowed)
	if len(p.Allow) != 2 || p.Allow[0] != "GET" {
		t.Errorf("%+v", p)
	}
}

// TestOpenAPIAsJSON: scripts get the document that people read as YAML.
func TestOpenAPIAsJSON(t *testing.T) {
	x := newWorld(t).do("GET", "/docs/openapi.json", "", "").want(200)
	if x.header.Get("Content-Type") != "application/json" || x.header.Get("Cache-Control") != "no-cache" || x.header.Get("Etag") == "" {
		t.Errorf("%v", x.header)
	}
	given, err := openapi3.NewLoader().LoadFromData([]byte(x.body))
	if err != nil {
		t.Fatal(err)
	}
	want, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(given)
	if expected, _ := json.Marshal(want); !bytes.Equal(got, expected) {
		t.Errorf("the documents differ: %d and %d bytes", len(got), len(expected))
	}
}

// TestBrowsersGetErrorsAsPages: a person who follows a link gets a page; a program, and
// whoever asks the API, gets the problem document.
func TestBrowsersGetErrorsAsPages(t *testing.T) {
	w := newWorld(t)
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	for _, c := range []struct {
		method, path, accept string
		page                 bool
	}{
		{"GET", "/nothing/<b>", browser, true},
		{"GET", "/docs/problems/nothing", browser, true},
		{"GET", "/nothing", "*/*", false},
		{"GET", "/nothing", "application/json", false},
		{"GET", "/v1/nothing", browser, false},
		{"POST", "/nothing", browser, false},
	} {
		x := w.do(c.method, c.path, "", "", "Accept", c.accept).want(404)
		isPage := strings.HasPrefix(x.header.Get("Content-Type"), "text/html") && strings.Contains(x.body, `href="/me"`)
		if isPage != c.page || x.header.Get("Cache-Control") != "no-store" || x.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s, Accept %s: %v", c.method, c.path, c.accept, x.header)
		}
		if c.page && (strings.Contains(x.body, "<b>") || !strings.Contains(x.body, x.header.Get("X-Request-Id")) || strings.Contains(x.header.Get("Content-Security-Policy"), "script")) {
			t.Errorf("%s: %v\n%s", c.path, x.header, x.body)
		}
	}
}

// TestPagesAreOneProduct: each page has the style sheet, the links of the others, and a
// viewport.
func TestPagesAreOneProduct(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/docs/problems", "/docs/problems/user-not-found"} {
		body := w.do("GET", path, "", "").want(200).body
		for _, needle := range []string{ui.URL("app.css"), `name="viewport"`, `content="light dark"`, `<a href="/">Board</a>`, `<a href="/me">`, `<a href="/docs"`} {
			if !strings.Contains(body, needle) {
				t.Errorf("%s lacks %s", path, needle)
			}
		}
	}
}

// TestProblems: every kind of problem has an error that causes it, and unknown errors
// reveal nothing.
func TestProblems(t *testing.T) {
	a := new(httpapi.API)
	reached := make(map[string]bool)
	for _, c := range []struct {
		err   error
		kind  *api.Kind
		after string // Retry-After
	}{
		{wire.ErrNoRoute, &api.NoRoute, ""},
		{&wire.MethodError{Allow: "GET, HEAD"}, &api.MethodNotAllowed, ""},
		{&wire.MediaTypeError{Given: "text/plain", Accepted: "application/json"}, &api.UnsupportedMediaType, ""},
		{&wire.SyntaxError{Reason: "it is odd"}, &api.Malformed, ""},
		{&wire.ScopeError{Scopes: []string{"a:read", "a:read:admin"}}, &api.InsufficientScope, ""},
		{&wire.RateError{Limit: 5, RetryAfter: 1500 * time.Millisecond}, &api.RateLimited, "2"},
		{&wire.HostError{Host: "evil.example"}, &api.HostRefused, ""},
		{&wire.OriginError{Origin: "https://evil.example"}, &api.OriginRefused, ""},
		{(&quota.Limit{Name: "streams-per-user", Most: 2}).Reached(1500 * time.Millisecond), &api.QuotaExceeded, "2"},
		{(&quota.Limit{Name: "connections", Most: 2, Shared: true}).Reached(time.Second), &api.Overloaded, "1"},
		{(&quota.Limit{Name: "live-tokens-per-user", Most: 2}).Reached(0), &api.LimitReached, ""},
		{wire.ErrTooLarge, &api.BodyTooLarge, ""},
		{&wire.PermissionError{Scope: "a:read:admin"}, &api.Forbidden, ""},
		{wire.ErrDraining, &api.Unavailable, "2"},
		{hub.ErrSuspended, &api.Unavailable, "5"},
		{wire.ErrIsolated, &api.Unavailable, "5"},
		{auth.ErrNoToken, &api.NoToken, ""},
		{auth.ErrInvalidToken, &api.InvalidToken, ""},
		{auth.ErrSystemToken, &api.SystemTokenRequired, ""},
		{auth.ErrExpiredToken, &api.ExpiredToken, ""},
		{auth.ErrTicket, &api.InvalidTicket, ""},
		{auth.ErrTicketUsed, &api.InvalidTicket, ""},
		{auth.ErrTokenInQuery, &api.TokenInQuery, ""},
		{auth.ErrSuspended, &api.AccountSuspended, ""},
		{&directory.LimitError{Name: "users-per-account", Most: 5, What: "users"}, &api.LimitReached, ""},
		{auth.ErrNoApp, &api.NoApp, ""},
		{auth.ErrNoGrant, &api.NoGrant, ""},
		{signage.ErrNoLink, &api.NoSignageLink, ""},
		{auth.ErrNoUserCode, &api.NoUserCode, ""},
		{auth.ErrSignInRequired, &api.SignInRequired, ""},
		{&oauthapi.RequestError{Reason: "x"}, &api.BadAuthorization, ""},
		{auth.ErrNoSuchToken, &api.NoTokenID, ""},
		{auth.ErrNoSuchSignIn, &api.NoSignIn, ""},
		{signin.ErrRefused, &api.SignInRefused, ""},
		{signin.ErrRefusedHere, &api.SignInAccount, ""},
		{signin.ErrPasswordOff, &api.PasswordsOff, ""},
		{signin.ErrNoInvitation, &api.NoInvitation, ""},
		{signin.ErrInvitationUsed, &api.InvitationUsed, ""},
		{signin.ErrInvitationExpired, &api.InvitationExpired, ""},
		{signin.ErrFlow, &api.SignInExpired, ""},
		{&signin.IdentityError{Reason: "x"}, &api.IdentityRefused, ""},
		{signin.ErrProviderDown, &api.ProviderDown, "5"},
		{signin.ErrBusy, &api.Unavailable, "2"},
		{&signin.ThrottledError{RetryAfter: time.Second}, &api.SignInThrottled, "1"},
		{auth.ErrScope, &api.Escalation, ""},
		{&auth.ScopeError{Name: "x"}, &api.InvalidField, ""},
		{directory.ErrNoUser, &api.NoUser, ""},
		{directory.ErrNoAccount, &api.NoAccount, ""},
		{directory.ErrNoContact, &api.NoContact, ""},
		{watch.ErrNotFound, &api.NoWatch, ""},
		{erasure.ErrNotFound, &api.NoErasure, ""},
		{tenant.ErrNoDeletion, &api.NoDeletion, ""},
		{history.ErrNotKnown, &api.NotInHistory, ""},
		{webhook.ErrNoSubscription, &api.NoSubscription, ""},
		{webhook.ErrAppSecret, &api.SubscriptionState, ""},
		{webhook.ErrReplaying, &api.SubscriptionState, ""},
		{&webhook.LimitError{Name: "subscriptions-per-app", Limit: 20, What: "subscriptions"}, &api.LimitReached, ""},
		{&webhook.ValidationError{Method: "POST", URL: "https://example.com/", Reason: "no proof"}, &api.EndpointRefused, ""},
		{directory.ErrEmailTaken, &api.EmailTaken, ""},
		{directory.ErrExternalIDTaken, &api.ExternalIDTaken, ""},
		{directory.ErrNoGroup, &api.NoGroup, ""},
		{directory.ErrGroupTaken, &api.GroupTaken, ""},
		{&presence.FieldError{Field: "status", Reason: "is odd"}, &api.InvalidField, ""},
		{&presence.LimitError{What: "sessions", Limit: 32}, &api.LimitReached, ""},
		{&presence.RateLimitedError{RetryAfter: time.Millisecond}, &api.TooSoon, "1"},
		{presence.ErrUnknownSession, &api.NoSession, ""},
		{presence.ErrSessionReplaced, &api.SessionReplaced, ""},
		{presence.ErrUnknownClaim, &api.NoClaim, ""},
		{presence.ErrDeactivated, &api.Deactivated, ""},
		{presence.ErrDeleted, &api.NoUser, ""},
		{presence.ErrSignedOut, &api.SignedOut, ""},
		{presence.ErrTransition, &api.Transition, ""},
		{presence.ErrKeyReused, &api.KeyReused, ""},
		{presence.ErrPrecondition, &api.PreconditionFailed, ""},
		{store.ErrConflict, &api.Conflict, ""},
		{store.ErrUnknown, &api.OutcomeUnknown, "1"},
		{store.ErrFull, &api.DiskFull, "5"},
		{store.ErrFailed, &api.Unavailable, "10"},
		{store.ErrClosed, &api.Unavailable, "5"},
		{context.DeadlineExceeded, &api.Unavailable, "1"},
		{errors.New("the secret text"), &api.Internal, ""},
		{&wire.PanicError{Value: "the secret text"}, &api.Internal, ""},
	} {
		recorder := httptest.NewRecorder()
		a.Fail(recorder, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/me", http.NoBody), fmt.Errorf("wrapped: %w", c.err))
		body := recorder.Body.String()
		if recorder.Code != c.kind.Status || !strings.Contains(body, c.kind.Type()) || recorder.Header().Get("Retry-After") != c.after {
			t.Errorf("%v: got %d %v %s, want %s", c.err, recorder.Code, recorder.Header(), body, c.kind.Slug)
		}
		if strings.Contains(body, "secret text") || strings.Contains(body, "wrapped") {
			t.Errorf("%v: the response reveals the internal error: %s", c.err, body)
		}
		reached[c.kind.Slug] = true
	}
	for _, kind := range []api.Kind{api.CursorInvalid, api.OwnerKept, api.PublicApp, api.HistoryOff} { // caused only by requests, in other tests
		reached[kind.Slug] = true
	}
	for _, kind := range api.Kinds() {
		if !reached[kind.Slug] {
			t.Errorf("no error causes %s", kind.Slug)
		}
	}
}
