package scim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// The words of scimType (RFC 7644, section 3.12).
const (
	invalidFilter = "invalidFilter"
	invalidPath   = "invalidPath"
	invalidSyntax = "invalidSyntax"
	invalidValue  = "invalidValue"
	mutability    = "mutability"
	noTarget      = "noTarget"
	tooMany       = "tooMany"
	uniqueness    = "uniqueness"
)

// An Error is a response to a request that failed.
type Error struct {
	Status   int
	ScimType string // or ""
	Detail   string
	header   [][2]string
}

func (e *Error) Error() string { return e.Detail }

// invalid is a response of status 400.
func invalid(scimType, detail string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, ScimType: scimType, Detail: fmt.Sprintf(detail, args...)}
}

var (
	errNotFound    = &Error{Status: http.StatusNotFound, Detail: "There is no such resource."}
	errUnsupported = &Error{Status: http.StatusNotImplemented, Detail: "This server does not support the operation: see ServiceProviderConfig."}
)

// challenges of RFC 6750.
const (
	plainChallenge = `Bearer realm="porchlight"`
	badChallenge   = plainChallenge + `, error="invalid_token"`
)

// known are the responses to errors without particulars.
var known = []struct {
	err error
	Error
}{
	{wire.ErrNoRoute, Error{Status: 404, Detail: "There is nothing at this path."}},
	{wire.ErrTooLarge, Error{Status: 413, Detail: "The body must have at most 1048576 bytes."}},
	{auth.ErrNoToken, Error{Status: 401, Detail: "The request has no access token: send Authorization: Bearer.", header: [][2]string{{"Www-Authenticate", plainChallenge}}}},
	{auth.ErrInvalidToken, Error{Status: 401, Detail: "The access token is invalid.", header: [][2]string{{"Www-Authenticate", badChallenge}}}},
	{auth.ErrExpiredToken, Error{Status: 401, Detail: "The access token is expired.", header: [][2]string{{"Www-Authenticate", badChallenge}}}},
	{auth.ErrTokenInQuery, Error{Status: 401, Detail: "An access token in the URL is never accepted.", header: [][2]string{{"Www-Authenticate", badChallenge}}}},
	{auth.ErrSuspended, Error{Status: 403, Detail: "The account is suspended."}},
	{directory.ErrNoUser, *errNotFound},
	{directory.ErrNoGroup, *errNotFound},
	{presence.ErrDeleted, *errNotFound},
	{directory.ErrNoAccount, *errNotFound},
	{directory.ErrEmailTaken, Error{Status: 409, ScimType: uniqueness, Detail: "Another user of the account has this userName or e-mail address."}},
	{directory.ErrUserNameTaken, Error{Status: 409, ScimType: uniqueness, Detail: "Another user of the account has this userName."}},
	{directory.ErrExternalIDTaken, Error{Status: 409, ScimType: uniqueness, Detail: "Another user of the account has this externalId."}},
	{directory.ErrGroupTaken, Error{Status: 409, ScimType: uniqueness, Detail: "Another group of the account has this displayName."}},
	{provision.ErrOwner, Error{Status: 403, Detail: "The user owns the account, so it can be neither deactivated nor deleted. Make another user the owner first."}},
	{presence.ErrPrecondition, Error{Status: 412, Detail: "The resource has another version than the request's condition asks for."}},
	{store.ErrConflict, Error{Status: 409, Detail: "The resource was changed at the same time. Send the request again."}},
	{presence.ErrDeactivated, Error{Status: 409, Detail: "The user is deactivated."}},
}

// transient are the errors for which a retry helps, with the seconds to wait.
var transient = []struct {
	err     error
	status  int
	seconds int
	detail  string
}{
	{store.ErrUnknown, 503, 1, "The answer of the store was lost: the change may or may not have been made. Send the request again."},
	{store.ErrFull, 507, 5, "The disk is almost full: nothing is written until space is free."},
	{wire.ErrDraining, 503, 2, "The server is shutting down."},
	{store.ErrFailed, 503, 10, "The store failed."},
	{store.ErrUnavailable, 503, 2, "The store cannot be reached now, and nothing was changed."},
	{store.ErrClosed, 503, 5, "The server is shutting down."},
	{context.Canceled, 503, 1, "The request was cancelled."},
	{context.DeadlineExceeded, 503, 1, "The request took too long."},
}

// Fail implements wire.Dialect.
func (a *API) Fail(w http.ResponseWriter, _ *http.Request, err error) {
	e := errorOf(err)
	code := e.ScimType
	if code == "" {
		code = strconv.Itoa(e.Status)
	}
	wire.RecordCode(w, code)
	body := object{"schemas": []string{errorURN}, "status": strconv.Itoa(e.Status), "detail": auth.Redact(e.Detail)}
	if e.ScimType != "" {
		body["scimType"] = e.ScimType
	}
	for _, h := range e.header {
		w.Header()[h[0]] = []string{h[1]}
	}
	if limited, ok := errors.AsType[*quota.Error](err); ok {
		wire.AnnounceLimit(w.Header(), limited.Standing())
	}
	data, _ := encode(body) // only text is in it
	setHeaders(w, len(data))
	w.WriteHeader(e.Status)
	_, _ = w.Write(data)
}

// errorOf converts an error to a response. An error that is not known here is an internal
// one, of which clients get no details.
func errorOf(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	for i := range known {
		if errors.Is(err, known[i].err) {
			return &known[i].Error
		}
	}
	if e := detailed(err); e != nil {
		return e
	}
	for i := range transient {
		if t := &transient[i]; errors.Is(err, t.err) {
			return retryable(t.status, t.seconds, t.detail)
		}
	}
	return &Error{Status: http.StatusInternalServerError, Detail: "Something went wrong that the server did not expect."}
}

// attributeName is the name that a field of the directory has here.
func attributeName(field string) string {
	switch field {
	case "email":
		return "emails.value"
	case "user_name":
		return "userName"
	case "first_name":
		return "name.givenName"
	case "last_name":
		return "name.familyName"
	case "display_name", "name":
		return "displayName"
	case "department":
		return enterpriseURN + ":department"
	case "external_id":
		return "externalId"
	default:
		return field
	}
}

// detailed is the response to an error that has particulars; nil if it has none.
func detailed(err error) *Error {
	if e, ok := errors.AsType[*presence.FieldError](err); ok {
		return &Error{Status: 400, ScimType: invalidValue, Detail: fmt.Sprintf("The attribute %q %s.", attributeName(e.Field), e.Reason)}
	}
	if e, ok := errors.AsType[*presence.LimitError](err); ok {
		return &Error{Status: 400, ScimType: invalidValue, Detail: sentence(e.Error())}
	}
	if e, ok := errors.AsType[*directory.LimitError](err); ok {
		return &Error{Status: 409, Detail: sentence(e.Error())}
	}
	if e, ok := errors.AsType[*quota.Error](err); ok {
		return overQuota(e)
	}
	if e, ok := errors.AsType[*wire.RateError](err); ok {
		return retryable(http.StatusTooManyRequests, seconds(e.RetryAfter), sentence(e.Error()))
	}
	if e, ok := errors.AsType[*wire.SyntaxError](err); ok {
		return &Error{Status: 400, ScimType: invalidSyntax, Detail: sentence(e.Error())}
	}
	if e, ok := errors.AsType[*wire.ScopeError](err); ok {
		challenge := fmt.Sprintf("%s, error=\"insufficient_scope\", scope=%q", plainChallenge, strings.Join(e.Scopes, " "))
		return &Error{Status: 403, Detail: sentence(e.Error()), header: [][2]string{{"Www-Authenticate", challenge}}}
	}
	if e, ok := errors.AsType[*wire.MethodError](err); ok {
		return &Error{Status: 405, Detail: sentence(e.Error()), header: [][2]string{{"Allow", e.Allow}}}
	}
	if e, ok := errors.AsType[*wire.MediaTypeError](err); ok {
		return &Error{Status: 415, Detail: sentence(e.Error())}
	}
	if e, ok := errors.AsType[*wire.HostError](err); ok {
		return &Error{Status: 421, Detail: sentence(e.Error())}
	}
	if e, ok := errors.AsType[*wire.OriginError](err); ok {
		return &Error{Status: 403, Detail: sentence(e.Error())}
	}
	return nil
}

// overQuota names the limit. Waiting does not help against one that does not refill.
func overQuota(e *quota.Error) *Error {
	switch {
	case e.RetryAfter == 0:
		return &Error{Status: http.StatusForbidden, Detail: sentence(e.Error())}
	case e.Shared:
		return retryable(http.StatusServiceUnavailable, e.RetrySeconds(), sentence(e.Error()))
	default:
		return retryable(http.StatusTooManyRequests, e.RetrySeconds(), sentence(e.Error()))
	}
}

func retryable(status, wait int, detail string) *Error {
	return &Error{Status: status, Detail: detail, header: [][2]string{{"Retry-After", strconv.Itoa(max(1, wait))}}}
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// sentence is an error's text as a sentence.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// shorten is what an error may repeat of a client's text.
func shorten(text string) string { return strings.ToValidUTF8(auth.Shorten(text), "") }
