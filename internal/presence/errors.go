package presence

import (
	"errors"
	"fmt"
	"time"
)

// Why Apply refuses an event. Nothing has changed.
var (
	// ErrNoChange is not a failure: the event leaves the state as it was, so
	// there is nothing to store.
	ErrNoChange = errors.New("nothing changes")
	// ErrKeyReused: the idempotency key came with another request before.
	ErrKeyReused = errors.New("the idempotency key was used for a different request")
	// ErrPrecondition: If-Match or If-None-Match forbids the event.
	ErrPrecondition = errors.New("the condition of If-Match or If-None-Match does not hold")
	// ErrSignedOut: an API update of a user without a live session.
	ErrSignedOut = errors.New("the user is not signed in")
	// ErrTransition: a change that the user's client is too old for.
	ErrTransition = errors.New("the user's client is too old for this change of status")
	// ErrUnknownSession and ErrUnknownClaim: no live one has this id.
	ErrUnknownSession = errors.New("no live session has this id")
	ErrUnknownClaim   = errors.New("no live claim has this id")
	// ErrSessionReplaced: a newer session of the same app took its place.
	ErrSessionReplaced = errors.New("the session was replaced by a newer one of the same app")
	// ErrDeactivated and ErrDeleted: the user's standing forbids the event.
	ErrDeactivated = errors.New("the user is deactivated")
	ErrDeleted     = errors.New("the user is deleted")
)

// A RateLimitedError refuses an API update too soon after another.
type RateLimitedError struct{ RetryAfter time.Duration } // until the next is accepted, above zero

func (e *RateLimitedError) Error() string {
	return fmt.Sprintf("an update was accepted less than a minute ago; the next is accepted in %v", e.RetryAfter)
}

// A DampedError holds back an event that sessions alone cause: it is accepted
// at Until.
type DampedError struct{ Until Instant }

func (e *DampedError) Error() string {
	return "held back until " + e.Until.Time().Format(time.RFC3339Nano)
}

// A RepeatError says that the same request was answered before: it succeeded,
// and this is its answer.
type RepeatError struct{ Answer Answer }

func (e *RepeatError) Error() string { return "answered before" }

// A FieldError refuses a value that no rule allows.
type FieldError struct {
	Field  string // as the native API spells it
	Reason string
}

func (e *FieldError) Error() string { return e.Field + " " + e.Reason }

// A LimitError refuses one thing too many.
type LimitError struct {
	What  string // plural, as in "sessions"
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("a user has at most %d %s", e.Limit, e.What)
}
