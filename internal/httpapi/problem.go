package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/watch"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/oauthapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/signage"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/tenant"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// Errors of this API alone.
var (
	errEscalation          error = &wire.DenialError{Reason: "escalation", Text: "the new credential would have permissions that the caller's token lacks"}
	errForeignSubscription error = &wire.DenialError{Reason: "by-consent", Text: "an app that acts for a person can change only the subscriptions that it made for that person, because others would outlive the person's consent"}

	errByConsent  error = &wire.DenialError{Reason: "by-consent", Text: "an app that acts for a person cannot create credentials, which would outlive the person's consent"}
	errPageCursor       = errors.New("the page token (\"after\" or \"page_token\") was not issued by this listing")
)

// Fail writes err as a problem document, or as a page for a person.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	p := Problem(err)
	p.Instance = wire.RequestID(w)
	wire.RecordCode(w, path.Base(p.Type))
	h := w.Header()
	h["Content-Type"] = []string{"application/problem+json"}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if p.RetryAfter > 0 {
		h["Retry-After"] = []string{strconv.Itoa(p.RetryAfter)}
	}
	announceRefusal(h, err)
	if len(p.Allow) > 0 {
		h["Allow"] = []string{strings.Join(p.Allow, ", ")}
	}
	if challenge := challenge(p); challenge != "" {
		h["Www-Authenticate"] = []string{challenge}
	}
	if wantsPage(r) && failPage(w, p) {
		return
	}
	body, _ := json.Marshal(p) // only text and numbers are in it
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}

// announceRefusal says in the headers which limit refused a request, and for how long. The
// delay of attempts to sign in has no policy that a client could keep to.
func announceRefusal(h http.Header, err error) {
	if e, ok := errors.AsType[*quota.Error](err); ok {
		wire.AnnounceLimit(h, e.Standing())
	}
	if e, ok := errors.AsType[*signin.ThrottledError](err); ok {
		h["Ratelimit"] = []string{`"sign-in";r=0;t=` + strconv.Itoa(max(1, seconds(e.RetryAfter)))}
	}
}

// challenge is the header of RFC 6750 that goes with a problem of the token.
func challenge(p *api.Problem) string {
	switch p.Type {
	case api.NoToken.Type(), api.SignInRefused.Type(), api.SignInAccount.Type():
		return `Bearer realm="porchlight"`
	case api.InvalidToken.Type(), api.SystemTokenRequired.Type(), api.ExpiredToken.Type(), api.TokenInQuery.Type():
		return `Bearer realm="porchlight", error="invalid_token"`
	case api.InsufficientScope.Type():
		return fmt.Sprintf(`Bearer realm="porchlight", error="insufficient_scope", scope=%q`, strings.Join(p.Scopes, " "))
	default:
		return ""
	}
}

// errorKinds are the errors without particulars.
var errorKinds = []struct {
	err  error
	kind *api.Kind
}{
	{wire.ErrNoRoute, &api.NoRoute},
	{wire.ErrTooLarge, &api.BodyTooLarge},
	{auth.ErrNoToken, &api.NoToken},
	{auth.ErrSystemToken, &api.SystemTokenRequired}, // before the error that it wraps
	{auth.ErrInvalidToken, &api.InvalidToken},
	{auth.ErrExpiredToken, &api.ExpiredToken},
	{auth.ErrSuspended, &api.AccountSuspended},
	{auth.ErrTicket, &api.InvalidTicket},
	{auth.ErrTicketUsed, &api.InvalidTicket},
	{auth.ErrTokenInQuery, &api.TokenInQuery},
	{auth.ErrNoApp, &api.NoApp},
	{auth.ErrPublicApp, &api.PublicApp},
	{auth.ErrNoGrant, &api.NoGrant},
	{signage.ErrNoLink, &api.NoSignageLink},
	{auth.ErrNoUserCode, &api.NoUserCode},
	{auth.ErrSignInRequired, &api.SignInRequired},
	{auth.ErrNothingToAllow, &api.Forbidden},
	{auth.ErrNoSuchToken, &api.NoTokenID},
	{auth.ErrNoSuchSignIn, &api.NoSignIn},
	{signin.ErrNoProvider, &api.NoRoute},
	{signin.ErrFlow, &api.SignInExpired},
	{signin.ErrRefusedHere, &api.SignInAccount},
	{signin.ErrRefused, &api.SignInRefused},
	{signin.ErrPasswordOff, &api.PasswordsOff},
	{signin.ErrNoInvitation, &api.NoInvitation},
	{signin.ErrInvitationUsed, &api.InvitationUsed},
	{signin.ErrInvitationExpired, &api.InvitationExpired},
	{auth.ErrScope, &api.Escalation},
	{errEscalation, &api.Escalation},
	{errByConsent, &api.Escalation},
	{errForeignSubscription, &api.Escalation},
	{webhook.ErrEnded, &api.InvalidToken},
	{provision.ErrOwner, &api.OwnerKept},
	{errHistoryOff, &api.HistoryOff},
	{history.ErrNotKnown, &api.NotInHistory},
	{errPageCursor, &api.CursorInvalid},
	{directory.ErrNoUser, &api.NoUser},
	{directory.ErrNoAccount, &api.NoAccount},
	{directory.ErrNoContact, &api.NoContact},
	{watch.ErrNotFound, &api.NoWatch},
	{tenant.ErrNoDeletion, &api.NoDeletion},
	{erasure.ErrNotFound, &api.NoErasure},
	{webhook.ErrNoSubscription, &api.NoSubscription},
	{webhook.ErrAppSecret, &api.SubscriptionState},
	{webhook.ErrNoEndpoint, &api.SubscriptionState},
	{webhook.ErrHasEndpoint, &api.SubscriptionState},
	{webhook.ErrDisabled, &api.SubscriptionState},
	{webhook.ErrPaused, &api.SubscriptionState},
	{webhook.ErrReplaying, &api.SubscriptionState},
	{webhook.ErrCursor, &api.CursorInvalid},
	{hub.ErrCursor, &api.CursorInvalid},
	{store.ErrEpoch, &api.CursorInvalid},
	{directory.ErrEmailTaken, &api.EmailTaken},
	{directory.ErrExternalIDTaken, &api.ExternalIDTaken},
	{directory.ErrNoGroup, &api.NoGroup},
	{directory.ErrGroupTaken, &api.GroupTaken},
	{presence.ErrUnknownSession, &api.NoSession},
	{presence.ErrSessionReplaced, &api.SessionReplaced},
	{presence.ErrUnknownClaim, &api.NoClaim},
	{presence.ErrDeactivated, &api.Deactivated},
	{presence.ErrSignedOut, &api.SignedOut},
	{presence.ErrTransition, &api.Transition},
	{presence.ErrKeyReused, &api.KeyReused},
	{presence.ErrPrecondition, &api.PreconditionFailed},
	{store.ErrConflict, &api.Conflict},
}

// transientErrors are the errors for which a retry helps, with the seconds to wait.
var transientErrors = []struct {
	err     error
	kind    *api.Kind
	seconds int
}{
	{store.ErrUnknown, &api.OutcomeUnknown, 1},
	{store.ErrFull, &api.DiskFull, 5},
	{wire.ErrDraining, &api.Unavailable, 2},
	{hub.ErrDraining, &api.Unavailable, 2},
	{hub.ErrSuspended, &api.Unavailable, 5},
	{wire.ErrIsolated, &api.Unavailable, 5},
	{hub.ErrEnded, &api.Unavailable, 1},
	{signin.ErrBusy, &api.Unavailable, 2},
	{signin.ErrProviderDown, &api.ProviderDown, 5},
	{store.ErrFailed, &api.Unavailable, 10},
	{store.ErrUnavailable, &api.Unavailable, 2},
	{store.ErrClosed, &api.Unavailable, 5},
	{context.Canceled, &api.Unavailable, 1},
	{context.DeadlineExceeded, &api.Unavailable, 1},
}

// A BusyError refuses a request because the server is busy with others.
type BusyError struct {
	Reason     string
	RetryAfter time.Duration
}

func (e *BusyError) Error() string { return e.Reason }

// Problem converts an error to a problem. An error that is not known here is an
// internal one, whose text is not sent to the client.
func Problem(err error) *api.Problem {
	if errors.Is(err, presence.ErrDeleted) {
		err = directory.ErrNoUser // do not disclose that the user existed
	}
	if p := detailedProblem(err); p != nil {
		return p
	}
	for _, known := range errorKinds {
		if errors.Is(err, known.err) {
			return newProblem(known.kind, sentence(known.err.Error()))
		}
	}
	for _, transient := range transientErrors {
		if errors.Is(err, transient.err) {
			p := newProblem(transient.kind, sentence(transient.err.Error()))
			p.RetryAfter = transient.seconds
			return p
		}
	}
	return newProblem(&api.Internal, "Something went wrong that the server did not expect.")
}

// newProblem makes a problem. Its detail may repeat what the client sent, but no
// secret, because clients write problems into their logs.
func newProblem(k *api.Kind, detail string) *api.Problem {
	return &api.Problem{Type: k.Type(), Title: k.Title, Status: k.Status, Detail: auth.Redact(detail), WhatToDo: k.WhatToDo}
}

// detailedProblem is the problem of an error that carries particulars, or nil.
func detailedProblem(err error) *api.Problem {
	if e, ok := errors.AsType[*presence.FieldError](err); ok {
		p := newProblem(&api.InvalidField, "The field \""+e.Field+"\" "+e.Reason+".")
		p.Field = auth.Redact(e.Field)
		return p
	}
	if e, ok := errors.AsType[*auth.ScopeError](err); ok {
		p := newProblem(&api.InvalidField, sentence(e.Error()))
		p.Field = "scopes"
		return p
	}
	if e, ok := errors.AsType[*presence.LimitError](err); ok {
		p := newProblem(&api.LimitReached, sentence(e.Error()))
		p.Limit = e.Limit
		return p
	}
	if e, ok := errors.AsType[*directory.LimitError](err); ok {
		p := newProblem(&api.LimitReached, sentence(e.Error()))
		p.Limit, p.LimitName = e.Most, e.Name
		return p
	}
	if e, ok := errors.AsType[*webhook.LimitError](err); ok {
		p := newProblem(&api.LimitReached, sentence(e.Error()))
		p.Limit, p.LimitName = e.Limit, e.Name
		return p
	}
	if e, ok := errors.AsType[*webhook.ValidationError](err); ok {
		p := newProblem(&api.EndpointRefused, sentence(e.Error()))
		p.Field = "url"
		return p
	}
	if e, ok := errors.AsType[*presence.RateLimitedError](err); ok {
		return retryableProblem(&api.TooSoon, e, e.RetryAfter)
	}
	if e, ok := errors.AsType[*quota.Error](err); ok {
		return quotaProblem(e)
	}
	if e, ok := errors.AsType[*signin.IdentityError](err); ok {
		return newProblem(&api.IdentityRefused, sentence(e.Error()))
	}
	if e, ok := errors.AsType[*signin.ThrottledError](err); ok {
		return retryableProblem(&api.SignInThrottled, e, e.RetryAfter)
	}
	if e, ok := errors.AsType[*BusyError](err); ok {
		return retryableProblem(&api.Unavailable, e, e.RetryAfter)
	}
	if e, ok := errors.AsType[*oauthapi.RequestError](err); ok {
		return newProblem(&api.BadAuthorization, sentence(e.Error()))
	}
	return wireProblem(err)
}

// wireProblem is detailedProblem for the errors of package wire.
func wireProblem(err error) *api.Problem {
	if e, ok := errors.AsType[*wire.SyntaxError](err); ok {
		return newProblem(&api.Malformed, sentence(e.Error()))
	}
	if e, ok := errors.AsType[*wire.ScopeError](err); ok {
		p := newProblem(&api.InsufficientScope, sentence(e.Error()))
		p.Scopes = e.Scopes
		return p
	}
	if e, ok := errors.AsType[*wire.PermissionError](err); ok {
		p := newProblem(&api.Forbidden, sentence(e.Error()))
		p.Scopes = []string{e.Scope}
		return p
	}
	if e, ok := errors.AsType[*wire.MethodError](err); ok {
		p := newProblem(&api.MethodNotAllowed, sentence(e.Error()))
		p.Allow = strings.Split(e.Allow, ", ")
		return p
	}
	if e, ok := errors.AsType[*wire.MediaTypeError](err); ok {
		return newProblem(&api.UnsupportedMediaType, sentence(e.Error()))
	}
	if e, ok := errors.AsType[*wire.HostError](err); ok {
		return newProblem(&api.HostRefused, sentence(e.Error()))
	}
	if e, ok := errors.AsType[*wire.OriginError](err); ok {
		return newProblem(&api.OriginRefused, sentence(e.Error()))
	}
	if e, ok := errors.AsType[*wire.RateError](err); ok {
		p := retryableProblem(&api.RateLimited, e, e.RetryAfter)
		p.Limit = e.Limit
		return p
	}
	return nil
}

// quotaProblem names the limit. If waiting does not help, the kind is LimitReached.
func quotaProblem(e *quota.Error) *api.Problem {
	kind := &api.QuotaExceeded
	switch {
	case e.RetryAfter == 0:
		kind = &api.LimitReached
	case e.Shared:
		kind = &api.Overloaded
	}
	p := newProblem(kind, sentence(e.Error()))
	p.Limit, p.LimitName, p.Setting, p.RetryAfter = e.Most, e.Name, e.Setting, e.RetrySeconds()
	return p
}

func retryableProblem(k *api.Kind, err error, wait time.Duration) *api.Problem {
	p := newProblem(k, sentence(err.Error()))
	p.RetryAfter = max(1, seconds(wait))
	return p
}

// sentence is an error's text as a sentence.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }
