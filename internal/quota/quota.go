// Package quota limits what one address, user, app or account can use of a node,
// so that no client can exhaust it for the others.
//
// It is separate from wire because auth, which wire imports, has limits too. It defines
// the limits with their names and counters, and counts what is open at a time and what
// is done in a minute. The counts are in memory, of this node alone, and bounded for any
// number of addresses; an Exchange adds to a Ledger what other nodes counted. Time is an
// argument, except for an Exchange.
//
// It must not know a request, a dialect or a setting's syntax.
package quota

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// A Limit is one limit of the server, with the facts that clients and operators need.
type Limit struct {
	Name    string // in responses, metrics and the documentation
	Setting string // the setting that changes it
	Most    int    // 0: no limit
	Unit    string // what is counted, such as "open streams"
	// Subject is what the limit applies to, such as "user", and Per the period in which
	// Most can be used. A limit without a subject is not announced to clients; one without
	// a period is of what is in use at a time.
	Subject string
	Per     time.Duration
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
func (e *Error) RetrySeconds() int { return seconds(e.RetryAfter) }

// A Standing is how much of a limit is left to a caller. The zero Standing has no limit.
type Standing struct {
	*Limit

	Left int
	// Reset is when more is left: one, if Left is zero, and otherwise all.
	Reset time.Duration
}

// Standing is that of a caller who was refused.
func (e *Error) Standing() Standing { return Standing{Limit: e.Limit, Reset: e.RetryAfter} }

// standing is that of a caller with a bucket.
func (l *Limit) standing(b Bucket, left int, now time.Time) Standing {
	s := Standing{Limit: l, Left: left, Reset: time.Duration(int64(b) - now.UnixNano())}
	if left == 0 {
		_, s.Reset = b.Take(1, l.Most, l.Per, now)
	}
	return s
}

// tighter reports whether fewer uses are left than of another limit, or as many for longer.
func (s *Standing) tighter(than *Standing) bool {
	return than.Limit == nil || s.Left < than.Left || s.Left == than.Left && s.Reset > than.Reset
}

// Fields are the values of the response headers RateLimit-Policy and RateLimit, as
// structured fields; "" if the limit is not announced.
func (s *Standing) Fields() (policy, left string) {
	if s.Limit == nil || s.Subject == "" {
		return "", ""
	}
	period := `qu="concurrent-requests"`
	if s.Per > 0 {
		period = "w=" + strconv.Itoa(int(s.Per/time.Second))
	}
	name := `"` + s.Subject + `"`
	return name + ";q=" + strconv.Itoa(s.Most) + ";" + period, name + ";r=" + strconv.Itoa(s.Left) + ";t=" + strconv.Itoa(seconds(s.Reset))
}

// seconds rounds up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
