package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
)

// TokenLasts is how long a token of the token endpoint is valid, as with Zoom.
const TokenLasts = time.Hour

// Endpoints are Zoom's OAuth endpoints: POST /oauth/token for the grants
// account_credentials and client_credentials, and POST /oauth/revoke. Both are
// authenticated by the app's id and secret, by Basic or in the body.
//
// Token and Revoke return an error when they have written nothing; Fail writes
// it. ServeHTTP does all of it for both paths.
type Endpoints struct {
	Authority *Authority
	// BaseURL is the api_url that the client is told whose request w answers,
	// without a slash at its end.
	BaseURL func(w http.ResponseWriter) string
	// Admit counts a new token of whoever was authenticated, or refuses it. Nil:
	// there is no limit.
	Admit func(w http.ResponseWriter, g Grantee) error

	failures failures
}

// An OAuthError is an answer of the OAuth endpoints, which have an error shape
// of their own.
type OAuthError struct {
	Status int
	Code   string // RFC 6749's, the JSON member "error"
	Reason string // in words, the JSON member "reason"
	// RetryAfter is in seconds; zero: no such header.
	RetryAfter int
	// Allow is the header of a 405.
	Allow string
}

func (e *OAuthError) Error() string { return e.Code + ": " + e.Reason }

// refuse is the answer 400, as Zoom gives it for everything that is wrong with a
// request.
func refuse(code, reason string) *OAuthError {
	return &OAuthError{Status: http.StatusBadRequest, Code: code, Reason: reason}
}

// The reasons that clients know from Zoom.
const (
	reasonBadClient = "Invalid client_id or client_secret"
	reasonNoAccount = "Account does not exist"
	reasonBadGrant  = "unsupported grant type"
	reasonBadToken  = "Invalid Token!"
)

// ServeHTTP answers at any path that ends in /oauth/token or /oauth/revoke.
func (e *Endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch {
	case strings.HasSuffix(r.URL.Path, "/oauth/token"):
		err = e.Token(w, r)
	case strings.HasSuffix(r.URL.Path, "/oauth/revoke"):
		err = e.Revoke(w, r)
	default:
		err = &OAuthError{Status: http.StatusNotFound, Code: "invalid_request", Reason: "There is nothing at this path"}
	}
	if err != nil {
		e.Fail(w, r, err)
	}
}

// A grantAnswer is what Zoom answers to a grant. Clients want every member, and
// scope even if it is empty.
type grantAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope"`
	APIURL      string `json:"api_url"`
}

// Token answers POST /oauth/token. The grant client_credentials gives the same
// account-level token as account_credentials, without naming the account.
func (e *Endpoints) Token(w http.ResponseWriter, r *http.Request) error {
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
	account, app, err := e.client(r, form)
	if err != nil {
		return err
	}
	if asked := form.get("account_id"); asked != "" && asked != string(account) {
		return refuse("invalid_request", reasonNoAccount)
	}
	scopes, err := narrow(app.Scopes, form.get("scope"))
	if err != nil {
		return err
	}
	if e.Admit != nil {
		if err := e.Admit(w, Grantee{account, app.ID}); err != nil {
			return err
		}
	}
	_, text, err := e.Authority.Issue(r.Context(), account, Token{App: app.ID, Scopes: scopes, Granted: true}, TokenLasts)
	if errors.Is(err, ErrNoApp) { // deleted just now
		return refuse("invalid_client", reasonBadClient)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, grantAnswer{text, "bearer", int(TokenLasts / time.Second), scopes.String(), e.BaseURL(w)})
	return nil
}

// narrow is the scopes that a client asks for, which must be among its own; all
// of them if it asks for none.
func narrow(granted Scopes, asked string) (Scopes, error) {
	if strings.TrimSpace(asked) == "" {
		return granted, nil
	}
	scopes, unknown := readScopes(asked)
	if unknown != "" {
		return Scopes{}, refuse("invalid_scope", fmt.Sprintf("Unknown scope %q", shorten(unknown)))
	}
	if scopes.Within(granted) {
		return scopes, nil
	}
	for _, name := range scopes.Names() {
		if one, _ := readScopes(name); !one.Within(granted) {
			return Scopes{}, refuse("invalid_scope", "The app was not granted the scope "+name)
		}
	}
	return Scopes{}, refuse("invalid_scope", "The app was not granted these scopes")
}

// Revoke answers POST /oauth/revoke: it ends a token that was issued to the app
// that asks. Another app's token is as unknown as none. The token may stand in
// the query, as Zoom's clients have it: one that got there had better end.
func (e *Endpoints) Revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	token := form.get("token")
	if token == "" {
		return missing("token")
	}
	_, app, err := e.client(r, form)
	if err != nil {
		return err
	}
	err = e.Authority.revokeText(r.Context(), app.ID, token)
	if errors.Is(err, ErrNoSuchToken) {
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

// client is the app that asks. Secrets are too long to be guessed, so a client
// that failed too often is told to slow down, but the right secret is always
// accepted: else anybody who knows an id could lock its app out.
func (e *Endpoints) client(r *http.Request, form *oauthForm) (presence.AccountID, App, error) {
	id, secret, err := credentials(r, form)
	if err != nil {
		return "", App{}, err
	}
	account, app, err := e.Authority.client(r.Context(), id, secret)
	if !errors.Is(err, errBadClient) {
		return account, app, err
	}
	wait := e.failures.add(id, e.Authority.clock())
	if wait == 0 {
		return "", App{}, refuse("invalid_client", reasonBadClient)
	}
	seconds := int((wait + time.Second - 1) / time.Second)
	return "", App{}, &OAuthError{
		Status: http.StatusTooManyRequests, Code: "invalid_client", RetryAfter: seconds,
		Reason: fmt.Sprintf("%s; it failed too often, try again in %d seconds", reasonBadClient, seconds),
	}
}

func missing(name string) error {
	return refuse("invalid_request", "Missing required parameter: "+name)
}

// Fail writes an error in the shape of OAuth. Of an error that is not an
// OAuthError nothing is told but its kind.
func (e *Endpoints) Fail(w http.ResponseWriter, _ *http.Request, err error) {
	var told *OAuthError
	switch limit, limited := errors.AsType[*quota.Error](err); {
	case errors.As(err, &told):
	case limited:
		told = overLimit(limit)
	case errors.Is(err, store.ErrFull):
		told = &OAuthError{Status: http.StatusInsufficientStorage, Code: "server_error", Reason: "The disk is almost full: nothing is written until space is free"}
	case errors.Is(err, store.ErrFailed), errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrUnavailable),
		errors.Is(err, store.ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		told = &OAuthError{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Reason: "The server cannot answer at the moment, try again", RetryAfter: 1}
	default:
		told = &OAuthError{Status: http.StatusInternalServerError, Code: "server_error", Reason: "Internal error"}
	}
	if told.Allow != "" {
		w.Header().Set("Allow", told.Allow)
	}
	if told.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(told.RetryAfter))
	}
	writeJSON(w, told.Status, struct {
		Reason string `json:"reason"`
		Code   string `json:"error"`
	}{Redact(told.Reason), told.Code})
}

// overLimit is the answer to what a limit of the server refuses.
func overLimit(e *quota.Error) *OAuthError {
	status := http.StatusTooManyRequests
	if e.Shared {
		status = http.StatusServiceUnavailable
	}
	return &OAuthError{
		Status: status, Code: "temporarily_unavailable", RetryAfter: e.RetrySeconds(),
		Reason: fmt.Sprintf("Too many at once: %v; the server's operator can change %s", e, e.Setting),
	}
}

// writeJSON writes an answer that no cache may keep.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("auth: %T cannot be written as JSON: %v", v, err)) // only plain fields are in it
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone
}
