package oauthapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
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

// API is the authorization server. Set the fields, then Mount.
type API struct {
	Authority *auth.Authority
	// Consent serves the page that asks the person, which calls the native API. Nil: the
	// authorization endpoint is not served.
	Consent wire.Handler
	// Page writes errors for a person whose browser an app sent here.
	Page wire.Dialect
	// BaseURL is the server's URL as the client of the request that w answers sees it,
	// without a slash at its end: the issuer, and the api_url of responses.
	BaseURL func(w http.ResponseWriter) string
	Clock   func() time.Time
	// Audit counts the tokens that apps get, and records codes and refresh tokens that
	// come twice. Nil: they are not recorded.
	Audit audit.Repeater
	// Admit counts a new token of the authenticated client, or refuses it. Nil:
	// there is no limit.
	Admit func(w http.ResponseWriter, g Grantee) error
	// Headers adds the headers that the responses of the API have whose tokens these are.
	// Nil: there are none.
	Headers func(h http.Header, requestID string)

	mu       sync.Mutex
	failures quota.Table[presence.AppID]  // of authentication, whether or not there is such an app; guarded by mu
	polls    quota.Table[string]          // of devices that wait, by the device code's digest; guarded by mu
	guesses  quota.Table[presence.UserID] // of codes that no device shows; guarded by mu
	begun    quota.Table[netip.Prefix]    // codes for devices of public apps, by the client's address; guarded by mu
}

// A Grantee is who gets a token of the token endpoint. The zero Grantee is a client that
// proved nothing.
type Grantee struct {
	Account presence.AccountID
	App     presence.AppID
}

// Mount adds the routes.
func (e *API) Mount(rt *wire.Router) {
	rt.Handle(http.MethodPost, "/oauth/token", e, e.token)
	rt.Handle(http.MethodPost, "/oauth/revoke", e, e.revoke)
	rt.Handle(http.MethodPost, devicePath, e, e.deviceCode)
	rt.Handle(http.MethodGet, metadataPath, e, e.metadata)
	if e.Consent != nil {
		rt.Handle(http.MethodGet, "/oauth/authorize", e.Page, e.authorize)
	}
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
		Reason      string `json:"reason"`
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}{auth.Redact(refusal.Reason), refusal.Code, describe(refusal.Reason)})
}

// describe is a reason in the characters that RFC 6749 §5.2 allows.
func describe(reason string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return '?'
		default:
			return r
		}
	}, auth.Redact(reason))
}

// oauthOverLimit is the answer when a limit of the server is reached.
func oauthOverLimit(e *quota.Error) *oauthError {
	status := http.StatusTooManyRequests
	if e.Shared {
		status = http.StatusServiceUnavailable
	}
	reason := "Too many at once: " + e.Error()
	if e.Setting != "" {
		reason += "; the server's operator can change " + e.Setting
	}
	return &oauthError{Status: status, Code: "temporarily_unavailable", RetryAfter: e.RetrySeconds(), Reason: reason}
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
