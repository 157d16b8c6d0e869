package wire

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What the wire itself finds wrong with a request. Each dialect maps these, with
// the errors of presence, store, auth and directory, in one place of its own.
var (
	ErrNoRoute = errors.New("there is nothing at this path")
	// ErrTooLarge: the body is past the route's limit.
	ErrTooLarge = errors.New("the request body is too large")
	// ErrPermission: the principal may not do this to that user.
	ErrPermission = errors.New("the token does not allow this for that user")
	// ErrDraining: the server is shutting down.
	ErrDraining = errors.New("the server is shutting down")
	// ErrIsolated: other nodes may be able to serve the request.
	ErrIsolated = errors.New("this node cannot reach the store; connect to another node, or retry later")
)

// A MethodError: the path exists, with other methods.
type MethodError struct{ Allow string } // the Allow header

func (e *MethodError) Error() string { return "this path allows " + e.Allow }

// A MediaTypeError: the body is of a type that the route does not read, or of one
// that nothing reads, for a Reason.
type MediaTypeError struct{ Given, Accepted, Reason string }

func (e *MediaTypeError) Error() string {
	if e.Reason != "" {
		return e.Reason
	}
	return fmt.Sprintf("the body has the media type %q; this route reads %s", e.Given, e.Accepted)
}

// A SyntaxError: the body, a header or the query cannot be read at all.
type SyntaxError struct{ Reason string }

func (e *SyntaxError) Error() string { return e.Reason }

// A ScopeError: the token lacks every scope that would allow the request.
type ScopeError struct{ Scopes []string }

func (e *ScopeError) Error() string {
	if len(e.Scopes) == 1 {
		return "the token lacks the scope " + e.Scopes[0]
	}
	return "the token needs one of the scopes " + strings.Join(e.Scopes, ", ")
}

// A PermissionError is an ErrPermission: the token has a scope for its own user only.
type PermissionError struct{ Scope string } // which other users need

func (e *PermissionError) Error() string {
	return ErrPermission.Error() + ": other users need the scope " + e.Scope
}

// Unwrap returns ErrPermission.
func (*PermissionError) Unwrap() error { return ErrPermission }

// A RateError: the account's limit of requests is reached.
type RateError struct {
	Daily      bool
	Category   string // as in Medium
	Limit      int
	RetryAfter time.Duration
	Reset      time.Time // the same as an instant
}

func (e *RateError) Error() string {
	return fmt.Sprintf("the account's limit of requests is reached; try again in %v", e.RetryAfter)
}

// A DenialError refuses what the caller's rights do not include, for a reason that is neither
// a scope nor a permission. Reason is a word for the audit log.
type DenialError struct{ Reason, Text string }

func (e *DenialError) Error() string { return e.Text }
