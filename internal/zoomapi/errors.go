package zoomapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

// An answer is an error in Zoom's format. In its message, {userId} is replaced by the
// user of the path, {verb} by "update" or "get", and {method} by the method.
type answer struct {
	status  int
	code    int // the status if Zoom has no code
	message string
	field   *presence.FieldError // for errors[], or nil
	header  []makeHeader
}

type makeHeader struct{ name, value string }

func headers(pairs ...string) (all []makeHeader) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, makeHeader{pairs[i], pairs[i+1]})
	}
	return all
}

const (
	unknownUser  = "User does not exist: {userId}"
	updateFailed = "Request to {verb} the presence status of this user failed."
	badToken     = "Invalid access token."
)

var (
	bearer    = headers("WWW-Authenticate", "Bearer")
	bearerBad = headers("WWW-Authenticate", `Bearer error="invalid_token"`)
	again     = headers("Retry-After", "5")
)

// answers are the responses to errors without details. An error that is neither here nor
// in detailed is a defect of the server, of which clients get no details.
var answers = []struct {
	err error
	answer
}{
	{auth.ErrNoToken, answer{status: 401, code: 124, message: badToken, header: bearer}},
	{auth.ErrInvalidToken, answer{status: 401, code: 124, message: badToken, header: bearerBad}},
	{auth.ErrExpiredToken, answer{status: 401, code: 124, message: "Access token is expired.", header: bearerBad}},
	{auth.ErrSuspended, answer{status: 401, code: 124, message: badToken, header: bearerBad}},
	{auth.ErrTokenInQuery, answer{
		status: 401, code: 124, header: bearer,
		message: "Invalid access token, this access token is not supported as query parameter string.",
	}},
	{directory.ErrNoAccount, answer{status: 401, code: 124, message: badToken, header: bearerBad}},

	{wire.ErrNoRoute, answer{status: 404, code: 2300, message: "This API endpoint is not recognized."}},
	{wire.ErrTooLarge, answer{status: 413, code: 413, message: "Request Body should have at most 65536 bytes."}},
	{wire.ErrIsolated, answer{status: 503, code: 503, message: "The server cannot reach its store. Connect to another one, or try again later.", header: again}},
	{wire.ErrDraining, answer{status: 503, code: 503, message: "The server is shutting down. Try again later.", header: again}},
	{errPageToken, answer{status: 400, code: 300, message: "The next page token is invalid or expired."}},
	{errNotObject, answer{status: 400, code: 300, message: "Request Body should be a valid JSON object."}},

	{directory.ErrNoUser, answer{status: 404, code: 1001, message: unknownUser}},
	{presence.ErrDeleted, answer{status: 404, code: 1001, message: unknownUser}},
	{wire.ErrPermission, answer{
		status: 400, code: 5411,
		message: "Unauthorized request. You do not have permission to {verb} the presence status of this user.",
	}},

	{presence.ErrKeyReused, answer{status: 422, code: 422, message: "The Idempotency-Key was used for a different request."}},
	{presence.ErrPrecondition, answer{status: 412, code: 412, message: "The condition of If-Match or If-None-Match does not hold."}},
	{presence.ErrDeactivated, answer{status: 400, code: 5301, message: updateFailed}},
	{presence.ErrSignedOut, answer{status: 400, code: 5301, message: updateFailed}},
	{presence.ErrTransition, answer{status: 400, code: 5301, message: updateFailed}},

	{errNoPermission, answer{status: 400, code: 200, message: "No permission."}},
	{errNoClock, answer{status: 400, code: 200, message: "No permission. This account cannot clock users in or out."}},
	{errDeactivateOwner, answer{status: 400, code: 200, message: "Zoom Room and Admin users can not be activated or deactivated."}},
	{errDeleteOwner, answer{status: 400, code: 200, message: "Cannot delete the owner of the account."}},
	{errOwnerEmail, answer{status: 400, code: 1000, message: "Can not change email of account owner."}},
	{errInactive, answer{status: 400, code: 1000, message: "This user is locked or inactive."}},
	{errEmailRequired, answer{status: 400, code: 300, message: "Email is required."}},

	{store.ErrConflict, answer{status: 409, code: 409, message: "Another request changed the user at the same time. Try again.", header: again}},
	{store.ErrUnknown, answer{
		status: 503, code: 503, header: headers("X-Outcome", "unknown"),
		message: "The answer of the store was lost: the update may or may not have been made.",
	}},
	{store.ErrFull, answer{status: 507, code: 507, message: "The disk is almost full: nothing is written until space is free.", header: again}},
	{store.ErrFailed, answer{status: 503, code: 503, message: "The store failed. Try again later.", header: again}},
	{store.ErrUnavailable, answer{status: 503, code: 503, message: "The store cannot be reached now, and nothing was changed. Try again later.", header: again}},
	{store.ErrClosed, answer{status: 503, code: 503, message: "The server is shutting down. Try again later.", header: again}},
	{context.Canceled, answer{status: 503, code: 503, message: "The request was cancelled. Try again later.", header: again}},
	{context.DeadlineExceeded, answer{status: 503, code: 503, message: "The request took too long. Try again later.", header: again}},
}

// Refusals of Zoom's users API.
var (
	errNoPermission    = errors.New("the token may not do this to that user")
	errNoClock         = errors.New("the account has no clock-in")
	errDeactivateOwner = errors.New("the owner of the account cannot be activated or deactivated")
	errDeleteOwner     = errors.New("the owner of the account cannot be deleted")
	errOwnerEmail      = errors.New("the e-mail address of the account's owner cannot be changed here")
	errInactive        = errors.New("the e-mail address of a deactivated user cannot be changed")
	errEmailRequired   = errors.New("the email parameter is missing")
)

// An emailTakenError: the address is used by another user of the account.
type emailTakenError struct{ email string }

func (*emailTakenError) Error() string { return directory.ErrEmailTaken.Error() }

// A noGroupError: the account has no group with this id.
type noGroupError struct{ id string }

func (*noGroupError) Error() string { return directory.ErrNoGroup.Error() }

// internalError has no details: they are in the log, under the request's id.
var internalError = answer{status: 500, code: 500, message: "Internal server error."}

func answerTo(err error) answer {
	for i := range answers {
		if errors.Is(err, answers[i].err) {
			return answers[i].answer
		}
	}
	return detailed(err)
}

// detailed answers errors that have details.
func detailed(err error) answer {
	if e, ok := errors.AsType[*codeError](err); ok {
		return answer{status: e.status, code: e.code, message: e.message}
	}
	if e, ok := errors.AsType[*noGroupError](err); ok {
		return answer{status: 404, code: 4130, message: "A group with this " + auth.Shorten(e.id) + " does not exist."}
	}
	if e, ok := errors.AsType[*emailTakenError](err); ok {
		return answer{status: 409, code: 1005, message: `Email "` + e.email + `" has already been used.`}
	}
	if e, ok := errors.AsType[*presence.FieldError](err); ok {
		return answer{status: 400, code: 300, message: "Validation Failed.", field: e}
	}
	if e, ok := errors.AsType[*presence.LimitError](err); ok {
		return answer{status: 400, code: 300, message: sentence(e.Error())}
	}
	if e, ok := errors.AsType[*directory.LimitError](err); ok {
		return answer{status: 400, code: 300, message: sentence(e.Error())}
	}
	if e, ok := errors.AsType[*presence.RateLimitedError](err); ok {
		return tooSoon(e)
	}
	if e, ok := errors.AsType[*wire.ScopeError](err); ok {
		return answer{
			status: 400, code: 4711,
			message: "Invalid access token, does not contain scopes:[" + strings.Join(e.Scopes, ", ") + "].",
		}
	}
	if e, ok := errors.AsType[*wire.RateError](err); ok {
		return overRate(e)
	}
	if e, ok := errors.AsType[*quota.Error](err); ok {
		return overQuota(e)
	}
	if e, ok := errors.AsType[*wire.OriginError](err); ok {
		return answer{status: 403, code: 403, message: sentence(e.Error())}
	}
	if e, ok := errors.AsType[*wire.SyntaxError](err); ok {
		return answer{status: 400, code: 300, message: sentence(e.Reason)}
	}
	if e, ok := errors.AsType[*wire.MediaTypeError](err); ok {
		return answer{status: 415, code: 415, message: sentence(e.Error()), header: headers("Accept", mediaTypes)}
	}
	if e, ok := errors.AsType[*wire.MethodError](err); ok {
		return answer{
			status: 405, code: 405, header: headers("Allow", e.Allow),
			message: "Request method {method} is not supported; this path allows " + e.Allow + ".",
		}
	}
	return internalError
}

// tooSoon answers a violation of the minimum interval. It has no X-RateLimit-Type,
// because a client that reads QPS there tries again at once.
func tooSoon(e *presence.RateLimitedError) answer {
	wait := max(1, int64((e.RetryAfter+time.Second-1)/time.Second))
	return answer{
		status: 429, code: 429,
		message: "Too many requests submitted to update the presence status of this user. " +
			"Please wait for the request to be processed and try again later.",
		header: headers("Retry-After", strconv.FormatInt(wait, 10), "X-RateLimit-Category", medium.String()),
	}
}

// overRate answers that an account's rate limit is reached. As with Zoom, Retry-After is
// a date, and only the daily limit has it.
func overRate(e *wire.RateError) answer {
	a := answer{
		status: 429, code: 429,
		header: headers("X-RateLimit-Category", e.Category, "X-RateLimit-Limit", strconv.Itoa(e.Limit), "X-RateLimit-Remaining", "0"),
	}
	if e.Daily {
		a.message = "You have reached the maximum daily rate limit for this API. " +
			"Refer to the response header for details on when you can make another request."
		a.header = append(a.header, makeHeader{"X-RateLimit-Type", "Daily-limit"},
			makeHeader{"Retry-After", e.Reset.UTC().Format("2006-01-02T15:04:05Z")})
		return a
	}
	a.message = "You have reached the maximum per-second rate limit for this API. Try again later."
	reset := (e.Reset.UnixNano() + 1e9 - 1) / 1e9
	a.header = append(a.header, makeHeader{"X-RateLimit-Type", "QPS"}, makeHeader{"X-RateLimit-Reset", strconv.FormatInt(reset, 10)})
	return a
}

// overQuota answers that a limit of this server is reached, which Zoom does not have.
func overQuota(e *quota.Error) answer {
	status := http.StatusTooManyRequests
	if e.Shared {
		status = http.StatusServiceUnavailable
	}
	return answer{
		status: status, code: status,
		message: sentence(e.Error()) + " Try again later, or have the server's operator change " + e.Setting + ".",
		header:  headers("Retry-After", strconv.Itoa(e.RetrySeconds())),
	}
}

// Fail writes err in Zoom's format.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	reply := answerTo(err)
	wire.RecordCode(w, strconv.Itoa(reply.code))
	reply.addTo(w.Header())
	w.WriteHeader(reply.status)
	_, _ = w.Write(reply.appendTo(nil, r.Method, userInPath(r))) // a failed write ends the connection
}

func (a *answer) addTo(h header) {
	h.Set("Content-Type", jsonType)
	for _, add := range a.header {
		h.Set(add.name, add.value)
	}
}

// appendTo writes the body. user is the user in the path.
func (a *answer) appendTo(b []byte, method, user string) []byte {
	verb := "update"
	if method == http.MethodGet || method == http.MethodHead {
		verb = "get"
		if a.code == 5301 {
			verb = "read" // Zoom's word for this code
		}
	}
	fill := strings.NewReplacer("{userId}", user, "{verb}", verb, "{method}", method)
	b = append(b, `{"code":`...)
	b = strconv.AppendInt(b, int64(a.code), 10)
	b = append(b, `,"message":"`...)
	b = wire.AppendJSON(b, auth.Redact(fill.Replace(a.message)))
	b = append(b, '"')
	if a.field != nil {
		b = append(b, `,"errors":[{"field":"`...)
		b = wire.AppendJSON(b, auth.Redact(a.field.Field))
		b = append(b, `","message":"`...)
		b = wire.AppendJSON(b, auth.Redact(a.field.Reason))
		b = append(b, `"}]`...)
	}
	return append(b, "}\n"...)
}

// userInPath is the user in the path. If the path has none, it is the token's user.
func userInPath(r *http.Request) string {
	if r.PathValue("identifier") != "" {
		return wire.UserRef(r, "identifier")
	}
	if ref := wire.UserRef(r, "userId"); ref != "" {
		return ref
	}
	return "me"
}

// sentence turns the text of an error into a sentence.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.TrimSuffix(strings.ToUpper(text[:1])+text[1:], ".") + "."
}
