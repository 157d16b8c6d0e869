// Package quota limits what one address, user, app or account can use of a node,
// so that no client can exhaust it for the others.
//
// It is separate from wire because auth, which wire imports, has limits too. It
// has the limits with their names and counters, and counts against them: what is
// open at a time, and what is done in a minute. All of it is in memory and of this
// node alone, and bounded however many addresses there are. Time is an argument.
//
// It must not know a request, a dialect or a setting's syntax.
package quota

import (
	"fmt"
	"sync/atomic"
	"time"
)

// A Limit is one bound that the server sets, with what clients and operators need
// to know of it.
type Limit struct {
	Name    string // as answers, metrics and the documentation have it
	Setting string // that changes it
	Most    int    // 0: no limit
	Unit    string // of what, as in "open streams"
	// Shared: the limit is on all clients together, not on one.
	Shared bool

	refused atomic.Uint64
}

// Refused is how often the limit was reached.
func (l *Limit) Refused() uint64 { return l.refused.Load() }

// Reached counts a refusal and is the error for it. A client may try again after
// wait; zero means that waiting does not help.
func (l *Limit) Reached(wait time.Duration) *Error {
	l.refused.Add(1)
	return &Error{Limit: l, RetryAfter: wait}
}

// An Error is a request that was refused because a limit is reached.
type Error struct {
	*Limit

	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("the limit %s is reached: %d %s", e.Name, e.Most, e.Unit)
}

// RetrySeconds is RetryAfter as the header has it.
func (e *Error) RetrySeconds() int { return int((e.RetryAfter + time.Second - 1) / time.Second) }
