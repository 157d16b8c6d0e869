package oauthapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// tokenLasts is how long a token of the token endpoint is valid.
const tokenLasts = time.Hour

// API is the OAuth endpoints: POST /oauth/token for the grants account_credentials and
// client_credentials, and POST /oauth/revoke. Both are authenticated by the app's id and
// secret, by Basic or in the body.
type API struct {
	Authority *auth.Authority
	// BaseURL is the api_url in the response to the request that w answers,
	// without a slash at its end.
	BaseURL func(w http.ResponseWriter) string
	Clock   func() time.Time
	// Audit counts the tokens that apps get. Nil: they are not recorded.
	Audit audit.Repeater
	// Admit counts a new token of the authenticated client, or refuses it. Nil:
	// there is no limit.
	Admit func(w http.ResponseWriter, g Grantee) error
	// Headers adds the headers that the responses of the API have whose tokens these are.
	// Nil: there are none.
	Headers func(h http.Header, requestID string)

	mu       sync.Mutex
	failures quota.Table[presence.AppID] // of authentication, whether or not there is such an app; guarded by mu
}

// A Grantee is who gets a token of the token endpoint.
type Grantee struct {
	Account presence.AccountID
	App     presence.AppID
}

// Mount adds the routes.
func (e *API) Mount(rt *wire.Router) {
	rt.Handle(http.MethodPost, "/oauth/token", e, e.token)
	rt.Handle(http.MethodPost, "/oauth/revoke", e, e.revoke)
}

// Announce implements wire.Announcer.
func (e *API) Announce(h http.Header, requestID string) {
	if e.Headers != nil {
		e.Headers(h, requestID)
	}
}

// An oauthError is an answer of the OAuth endpoints, which have an error shape
// of their own.
type oauthError struct {
	Status int
	Code   string // RFC 6749's, the JSON member "error"
	Reason string // in words, the JSON member "reason"
	// RetryAfter is in seconds; zero: no such header.
	RetryAfter int
	// Allow is the header of a 405.
	Allow string
	// Cause is for the log.
	Cause error
}

func (e *oauthError) Unwrap() error { return e.Cause }

func (e *oauthError) Error() string { return e.Code + ": " + e.Reason }

// refuse answers 400, the status for every mistake in a request, wrong credentials among
// them: existing clients expect it.
func refuse(code, reason string) *oauthError {
	return &oauthError{Status: http.StatusBadRequest, Code: code, Reason: reason}
}

// The reasons that existing clients know.
const (
	reasonBadClient = "Invalid client_id or client_secret"
	reasonNoAccount = "Account does not exist"
	reasonBadGrant  = "unsupported grant type"
	reasonBadToken  = "Invalid Token!"

	reasonSuspended = "The account is suspended"
)

// A grantAnswer is the answer to a grant. Existing clients want every member, and
// scope even if it is empty.
type grantAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope"`
	APIURL      string `json:"api_url"`
}

// token answers POST /oauth/token. The grant client_credentials gives the same
// account-level token as account_credentials, without naming the account.
func (e *API) token(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	grant := form.get("grant_type")
	switch {
	case grant == "":
		return missing("grant_type")
	case grant != "account_credentials" && grant != "client_credentials":
		return refuse("unsupported_grant_type", reasonBadGrant)
	case grant == "account_credentials" && form.get("account_id") == "":
		return missing("account_id")
	}
	account, app, err := e.client(w, r, form)
	if err != nil {
		return err
	}
	if asked := form.get("account_id"); asked != "" && asked != string(account) {
		return refuse("invalid_request", reasonNoAccount)
	}
	scopes, err := e.narrow(app.Scopes, form.get("scope"))
	if err != nil {
		return err
	}
	if e.Admit != nil {
		if err := e.Admit(w, Grantee{account, app.ID}); err != nil {
			return err
		}
	}
	_, text, err := e.Authority.Issue(r.Context(), account, auth.Token{App: app.ID, Scopes: scopes, Granted: true}, tokenLasts)
	if errors.Is(err, auth.ErrNoApp) { // deleted just now
		return refuse("invalid_client", reasonBadClient)
	}
	if err != nil {
		return err
	}
	if e.Audit != nil {
		by := wire.Actor(w, &auth.Principal{App: app.ID, AccountLevel: true})
		e.Audit.Repeated(account, &audit.Event{Action: "token.issue", Target: "app/" + string(app.ID), By: by}, audit.EachHour)
	}
	writeJSON(w, http.StatusOK, grantAnswer{text, "bearer", int(tokenLasts / time.Second), scopes.String(), e.BaseURL(w)})
	return nil
}

// narrow is the scopes that a client asks for, which must be among its own; all
// of them if it asks for none.
func (e *API) narrow(granted auth.Scopes, asked string) (auth.Scopes, error) {
	if strings.TrimSpace(asked) == "" {
		return granted, nil
	}
	scopes, err := e.Authority.ParseScopes(asked)
	if unknown, ok := errors.AsType[*auth.ScopeError](err); ok {
		return auth.Scopes{}, refuse("invalid_scope", fmt.Sprintf("Unknown scope %q", unknown.Name))
	}
	if scopes.Within(granted) {
		return scopes, nil
	}
	for _, name := range scopes.Names() {
		if one, err := e.Authority.ParseScopes(name); err != nil || !one.Within(granted) {
			return auth.Scopes{}, refuse("invalid_scope", "The app was not granted the scope "+name)
		}
	}
	return auth.Scopes{}, refuse("invalid_scope", "The app was not granted these scopes")
}

// revoke answers POST /oauth/revoke: it ends a token that was issued to the app
// that asks. Another app's token is treated as unknown. The token may be in
// the query, where existing clients have it: one that got there had better end.
func (e *API) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	token := form.get("token")
	if token == "" {
		return missing("token")
	}
	_, app, err := e.client(w, r, form)
	if err != nil {
		return err
	}
	err = e.Authority.RevokeByText(r.Context(), app.ID, token)
	if errors.Is(err, auth.ErrNoSuchToken) {
		return refuse("invalid_request", reasonBadToken)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"success"})
	return nil
}

// client authenticates the app of a request. After too many failures it answers with
// Retry-After, but it always accepts the right secret: otherwise anybody who knows an
// app's id could lock the app out. Secrets are too long to be guessed.
func (e *API) client(w http.ResponseWriter, r *http.Request, form *oauthForm) (presence.AccountID, auth.App, error) {
	id, secret, err := credentials(r, form)
	if err != nil {
		return "", auth.App{}, err
	}
	wire.RecordClientID(w, string(id))
	account, app, err := e.Authority.AuthenticateClient(r.Context(), id, secret)
	if !errors.Is(err, auth.ErrBadClient) {
		return account, app, err
	}
	wait := e.countFailure(id)
	if wait == 0 {
		return "", auth.App{}, &oauthError{Status: http.StatusBadRequest, Code: "invalid_client", Reason: reasonBadClient, Cause: err}
	}
	seconds := int((wait + time.Second - 1) / time.Second)
	return "", auth.App{}, &oauthError{
		Status: http.StatusTooManyRequests, Code: "invalid_client", RetryAfter: seconds, Cause: err,
		Reason: fmt.Sprintf("%s; it failed too often, try again in %d seconds", reasonBadClient, seconds),
	}
}

// maxFailures is how often a client may fail in a minute before it must wait.
const maxFailures = 20

// countFailure counts a failure of a client, and returns how long the client must wait:
// zero while it does not fail too often.
func (e *API) countFailure(id presence.AppID) time.Duration {
	now := e.Clock()
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.failures.Get(id)
	_, wait := b.Take(1, maxFailures, time.Minute, now)
	e.failures.Set(id, b, now)
	return wait
}

func missing(name string) error {
	return refuse("invalid_request", "Missing required parameter: "+name)
}

// Fail writes an error in the format of OAuth. Of other errors than an oauthError it
// reveals only the kind.
func (e *API) Fail(w http.ResponseWriter, _ *http.Request, err error) {
	var refusal *oauthError
	method, isMethod := errors.AsType[*wire.MethodError](err)
	switch limit, limited := errors.AsType[*quota.Error](err); {
	case errors.As(err, &refusal):
	case isMethod:
		refusal = &oauthError{Status: http.StatusMethodNotAllowed, Code: "invalid_request", Reason: method.Error(), Allow: method.Allow}
	case limited:
		refusal = oauthOverLimit(limit)
	case errors.Is(err, auth.ErrSuspended):
		refusal = refuse("unauthorized_client", reasonSuspended)
	case errors.Is(err, store.ErrFull):
		refusal = &oauthError{Status: http.StatusInsufficientStorage, Code: "server_error", Reason: "The disk is almost full: nothing is written until space is free"}
	case errors.Is(err, store.ErrFailed), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrUnavailable),
		errors.Is(err, store.ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		refusal = &oauthError{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Reason: "The server cannot answer at the moment, try again", RetryAfter: 1}
	default:
		refusal = &oauthError{Status: http.StatusInternalServerError, Code: "server_error", Reason: "Internal error"}
	}
	wire.RecordCode(w, refusal.Code)
	if refusal.Allow != "" {
		w.Header().Set("Allow", refusal.Allow)
	}
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(refusal.RetryAfter))
	}
	writeJSON(w, refusal.Status, struct {
		Reason string `json:"reason"`
		Code   string `json:"error"`
	}{auth.Redact(refusal.Reason), refusal.Code})
}

// oauthOverLimit is the answer when a limit of the server is reached.
func oauthOverLimit(e *quota.Error) *oauthError {
	status := http.StatusTooManyRequests
	if e.Shared {
		status = http.StatusServiceUnavailable
	}
	return &oauthError{
		Status: status, Code: "temporarily_unavailable", RetryAfter: e.RetrySeconds(),
		Reason: fmt.Sprintf("Too many at once: %v; the server's operator can change %s", e, e.Setting),
	}
}

// writeJSON writes a response that must not be cached.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("oauthapi: %T cannot be written as JSON: %v", v, err)) // only plain fields are in it
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a failed write ends the connection
}
