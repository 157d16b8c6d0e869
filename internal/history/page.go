// Package history reads what the log keeps about one user: the changes, page by page in
// both directions; what was shown at an instant; and the time in each status by day.
//
// It is separate from httpapi so that paging and calendar arithmetic are tested without
// HTTP, and from store because an engine knows nothing of days or statuses. It guarantees
// that pages neither repeat nor skip an entry, that the times of a summary add up to its
// range, and that what the log lacks (dropped, erased or damaged entries) counts as
// unknown. It must not decide who may see a history, and it stores nothing.
package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// Log is what a Reader needs of a store.
type Log interface {
	History(ctx context.Context, u store.User, before store.Position, limit int) ([]store.Entry, error)
	PositionAt(ctx context.Context, t time.Time) (store.Position, error)
}

// A Reader reads histories.
type Reader struct{ Log Log }

const (
	// maxExamined bounds the entries that a page of older ones examines. A page that
	// reaches it may have fewer entries than its limit.
	maxExamined = 5_000
	// MaxEntries bounds the entries that any other read examines.
	MaxEntries = 100_000
)

// ErrTooMany refuses a read that would examine more than MaxEntries.
var ErrTooMany = fmt.Errorf("the range has more than %d log entries: ask for a later or shorter one", MaxEntries)

// A Query selects entries of a user.
type Query struct {
	User store.User
	// From and To bound the times of commits: From ≤ time < To. Zero: no bound.
	From, To time.Time
	// Before and After exclude entries from a position on. Before asks for the newest
	// entries below it, After for the oldest above it. At most one is set.
	Before, After store.Position
	Limit         int
	All           bool // also changes of which nothing was shown, such as renewed sessions
}

// A Page has entries, newest first.
type Page struct {
	Entries []store.Entry
	Older   store.Position // Before of the next page; zero: there are no older entries
	Newer   store.Position // After of the page of newer entries, which may be empty; zero: no entry is known
}

// Page reads one page.
func (r Reader) Page(ctx context.Context, q Query) (Page, error) {
	if q.After != 0 {
		return r.newer(ctx, &q)
	}
	return r.older(ctx, &q)
}

func (r Reader) older(ctx context.Context, q *Query) (Page, error) {
	p := Page{Newer: q.Before}
	examined := 0
	err := r.scan(ctx, q.User, q.Before, q.To, q.Limit+1, func(e *store.Entry) bool {
		switch examined++; {
		case q.isBefore(e):
			return false
		case !q.selects(e):
		case len(p.Entries) == q.Limit:
			p.Older = p.Entries[q.Limit-1].At
			return false
		default:
			p.Entries = append(p.Entries, *e)
		}
		if examined == maxExamined {
			p.Older = e.At
		}
		return examined < maxExamined
	})
	if len(p.Entries) > 0 {
		p.Newer = p.Entries[0].At
	}
	return p, err
}

// newer reads from the newest entry down to q.After, because the log links entries of a
// user backwards only.
func (r Reader) newer(ctx context.Context, q *Query) (Page, error) {
	p := Page{Newer: q.After}
	examined := 0
	err := r.scan(ctx, q.User, 0, q.To, store.MaxFeedGroup, func(e *store.Entry) bool {
		if examined++; e.At <= q.After || q.isBefore(e) {
			return false
		}
		if q.selects(e) {
			p.Entries = append(p.Entries, *e)
		}
		if len(p.Entries) >= 2*store.MaxFeedGroup {
			p.Entries = append(p.Entries[:0], lastOf(p.Entries, q.Limit)...)
		}
		return examined <= MaxEntries
	})
	if examined > MaxEntries {
		err = cmp.Or(err, ErrTooMany)
	}
	p.Entries = lastOf(p.Entries, q.Limit)
	if n := len(p.Entries); n > 0 {
		p.Newer, p.Older = p.Entries[0].At, p.Entries[n-1].At
	}
	return p, err
}

func lastOf(entries []store.Entry, n int) []store.Entry { return entries[max(0, len(entries)-n):] }

func (q *Query) isBefore(e *store.Entry) bool {
	return !q.From.IsZero() && e.Damaged == nil && e.Time.Before(q.From)
}

func (q *Query) selects(e *store.Entry) bool {
	if !q.To.IsZero() && e.Damaged == nil && !e.Time.Before(q.To) {
		return false
	}
	return q.All || isTransition(e) || e.Erased || e.Gap || e.Damaged != nil // they may have been transitions
}

// isTransition reports whether an entry changed the status, the note or the user's state.
func isTransition(e *store.Entry) bool {
	return e.Before.Status != e.After.Status || e.Before.Note != e.After.Note ||
		e.UserBefore.State != e.UserAfter.State || e.By.Cause == store.CauseCreated
}

// scan calls each with the entries of u below before (zero: from the newest) that were
// committed before to (zero: no bound), newest first, until it returns false. step is
// how many entries to read first.
func (r Reader) scan(ctx context.Context, u store.User, before store.Position, to time.Time, step int, each func(*store.Entry) bool) error {
	if !to.IsZero() {
		at, err := r.Log.PositionAt(ctx, to)
		if err != nil {
			return err
		}
		if before == 0 || at < before {
			before = at + 1
		}
	}
	for {
		step = min(step, store.MaxFeedGroup)
		group, err := r.Log.History(ctx, u, before, step)
		if err != nil {
			return err
		}
		for i := range group {
			if !each(&group[i]) {
				return nil
			}
		}
		if len(group) < step {
			return nil
		}
		before, step = group[len(group)-1].At, 2*step
	}
}

// Shown is what the log knows of a past instant.
type Shown struct {
	Entry  store.Entry  // the newest of that instant: its After was shown
	Change *store.Entry // that led to the status and note of Entry; nil: no longer in the log
}

// ErrNotKnown: the log does not know what was shown at an instant.
var ErrNotKnown = errors.New("the log does not know what was shown then: that is before its oldest entry of the user, or in a time whose entries were dropped, erased or damaged")

// At reads what was shown at t.
func (r Reader) At(ctx context.Context, u store.User, t time.Time) (Shown, error) {
	var shown Shown
	examined, lost := 0, false
	err := r.scan(ctx, u, 0, t.Add(lateness), firstStep, func(e *store.Entry) bool {
		examined++
		switch {
		case examined > MaxEntries:
			return false
		case e.Damaged != nil:
			lost = true
			return !shown.known()
		case !shown.known() && began(e).After(t):
			lost = e.Gap
			return true
		case lost || e.Erased:
			return false
		case !shown.known():
			shown.Entry = *e
		}
		if isTransition(e) {
			shown.Change = e
			return false
		}
		return !e.Gap
	})
	switch {
	case err != nil:
	case examined > MaxEntries:
		err = ErrTooMany
	case !shown.known():
		err = ErrNotKnown
	}
	return shown, err
}

func (s *Shown) known() bool { return s.Entry.At != 0 }

// firstStep is how many entries a read that looks for an instant reads at first.
const firstStep = 100

// Statuses reads what was shown between two instants, in order.
func (r Reader) Statuses(ctx context.Context, u store.User, from, to time.Time) ([]Span, error) {
	s := spanner{from: from, end: to}
	examined := 0
	err := r.scan(ctx, u, 0, to.Add(lateness), firstStep, func(e *store.Entry) bool {
		examined++
		s.add(e)
		return s.end.After(from) && examined <= MaxEntries
	})
	if examined > MaxEntries {
		err = cmp.Or(err, ErrTooMany)
	}
	s.finish()
	slices.Reverse(s.spans)
	return s.spans, err
}
