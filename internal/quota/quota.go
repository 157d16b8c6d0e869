// Package quota limits what one address, user, app or account can use of a node,
// so that no client can exhaust it for the others.
//
// It is separate from wire because auth, which wire imports, has limits too. It defines
// the limits with their names and counters, and counts what is open at a time and what
// is done in a minute. The counts are in memory, of this node alone, and bounded for any
// number of addresses. Time is an argument.
//
// It must not know a request, a dialect or a setting's syntax.
package quota

import (
	"fmt"
	"sync/atomic"
	"time"
)

// A Limit is one limit of the server, with the facts that clients and operators need.
type Limit struct {
	Name    string // in responses, metrics and the documentation
	Setting string // the setting that changes it
	Most    int    // 0: no limit
	Unit    string // what is counted, such as "open streams"
	// Shared: the limit is for all clients together.
	Shared bool

	refused atomic.Uint64
}

// Refused returns how many requests the limit refused.
func (l *Limit) Refused() uint64 { return l.refused.Load() }

// Reached counts a refusal and returns the error for it. A client may try again after
// wait; zero means that waiting does not help.
func (l *Limit) Reached(wait time.Duration) *Error {
	l.refused.Add(1)
	return &Error{Limit: l, RetryAfter: wait}
}

// An Error is the refusal of a request because a limit is reached.
type Error struct {
	*Limit

	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("limit %s reached: %d %s", e.Name, e.Most, e.Unit)
}

// RetrySeconds is RetryAfter in seconds, for the header.
func (e *Error) RetrySeconds() int { return int((e.RetryAfter + time.Second - 1) / time.Second) }
