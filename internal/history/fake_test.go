package history_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/history"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var alice = store.User{Account: "a", ID: "alice"}

// A fakeLog has the entries of one user, oldest first, at positions 10, 20, …
type fakeLog struct {
	entries []store.Entry
	reads   int // entries that were read
}

func (l *fakeLog) History(_ context.Context, _ store.User, before store.Position, limit int) ([]store.Entry, error) {
	var found []store.Entry
	for _, e := range slices.Backward(l.entries) {
		if before != 0 && e.At >= before {
			continue
		}
		if len(found) == limit {
			break
		}
		found = append(found, e)
	}
	l.reads += len(found)
	return found, nil
}

func (l *fakeLog) PositionAt(_ context.Context, t time.Time) (store.Position, error) {
	var at store.Position
	for _, e := range l.entries {
		if e.Damaged == nil && e.Time.Before(t) {
			at = e.At
		}
	}
	return at, nil
}

// add appends an entry that changes the status at a time; late is how long after that it
// was committed.
func (l *fakeLog) add(t time.Time, status presence.Status, late time.Duration) *store.Entry {
	e := store.Entry{At: store.Position(10 * (len(l.entries) + 1)), User: alice, Time: t.Add(late), By: store.By{Cause: store.CauseClaim}}
	if n := len(l.entries); n > 0 {
		e.Before = l.entries[n-1].After
	} else {
		e.By.Cause = store.CauseCreated
	}
	e.After = e.Before
	if status != e.Before.Status || e.By.Cause == store.CauseCreated {
		e.After.Status, e.After.Since = status, presence.InstantOf(t)
	}
	l.entries = append(l.entries, e)
	return &l.entries[len(l.entries)-1]
}

func (l *fakeLog) reader() history.Reader { return history.Reader{Log: l} }

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}
