package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
)

// An Error is a response that refuses the request.
type Error struct {
	Method, Path string
	Status       int           // of HTTP
	Problem      *api.Problem  // for errors of the native API, else nil
	Code         int           // for errors of Zoom's API, else 0
	OAuthCode    string        // for errors of OAuth, such as "invalid_grant", else ""
	Message      string        // the error message
	RetryAfter   time.Duration // from the server, before a retry; 0 if not given
	RequestID    string        // as in the server's log
}

func (e *Error) Error() string {
	text := e.Message
	if e.Problem != nil {
		text = e.Problem.Title + ": " + e.Problem.Detail
	}
	return fmt.Sprintf("%s %s: %d: %s", e.Method, e.Path, e.Status, strings.TrimSpace(text))
}

// Unwrap returns the problem, so that errors.Is(err, &api.NoUser) matches its kind,
// and errors.As finds an *api.Problem or an *api.Kind.
func (e *Error) Unwrap() error {
	if e.Problem == nil {
		return nil
	}
	return e.Problem
}

// Is is errors.Is for a kind of problem.
func Is(err error, kind *api.Kind) bool { return errors.Is(err, kind) }

// A TransportError means that there was no response. A write may or may not have been
// carried out.
type TransportError struct {
	Method, URL string
	Err         error
}

func (e *TransportError) Error() string {
	return fmt.Sprintf("no response from %s: %v", e.URL, e.Err)
}

// Unwrap returns the network's error.
func (e *TransportError) Unwrap() error { return e.Err }

// Retry reports whether the same call may succeed later, and the minimum time to wait.
// Repeat a write with the same [IdempotencyKey], because it may have been carried out.
func Retry(err error) (wait time.Duration, ok bool) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return 0, false
	}
	if _, ok := errors.AsType[*TransportError](err); ok {
		return 0, true
	}
	if closed, ok := errors.AsType[*ClosedError](err); ok {
		return closed.RetryAfter, !closed.final()
	}
	refused, ok := errors.AsType[*Error](err)
	if !ok {
		return 0, false
	}
	switch refused.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return refused.RetryAfter, true
	default:
		return 0, false
	}
}

// errorOf decodes an error response: a problem document, Zoom's {code, message}, or
// the format of the token endpoint.
func errorOf(method string, resp *http.Response, body []byte) *Error {
	e := &Error{
		Method: method, Path: resp.Request.URL.Path, Status: resp.StatusCode,
		RetryAfter: retryAfter(resp.Header), RequestID: resp.Header.Get("X-Request-Id"),
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		problem := new(api.Problem)
		if json.Unmarshal(body, problem) == nil {
			e.Problem, e.Message = problem, problem.Detail
			return e
		}
	}
	var other struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Reason  string `json:"reason"`
		OAuth   string `json:"error"`
	}
	if json.Unmarshal(body, &other) == nil && other.Message+other.Reason != "" {
		e.Code, e.OAuthCode, e.Message = other.Code, other.OAuth, other.Message+other.Reason
		return e
	}
	e.Message = http.StatusText(resp.StatusCode)
	if refusesPlain(resp, body) {
		e.Message = plainToTLS
	}
	return e
}

// retryAfter parses the header Retry-After: seconds, or a time in Zoom's format.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := api.ParseTime(text)
	if err != nil {
		at, err = http.ParseTime(text)
	}
	if err != nil {
		return 0
	}
	return max(0, time.Until(at))
}

// causeOf removes the method and the URL that net/http puts before the cause, and
// explains one that has to do with TLS.
func causeOf(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return explainTLS(err)
}
