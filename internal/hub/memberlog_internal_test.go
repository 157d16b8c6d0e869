package hub

import (
	"context"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// An emptyLog is a store whose log has nothing new.
type emptyLog struct{ store.Store }

func (emptyLog) PositionAt(context.Context, time.Time) (store.Position, error) { return 0, nil }

func (emptyLog) Log(context.Context, store.Position, int) ([]store.Entry, error) { return nil, nil }

// TestMemberLogIsBounded: what was read of the log is kept in memory for later cursors, but
// not without bound.
func TestMemberLogIsBounded(t *testing.T) {
	for _, changes := range []int{maxMemberEntries, maxMemberEntries + 1} {
		m := newMemberLog(&Hub{opts: Options{Store: emptyLog{}}})
		m.read, m.after, m.upTo, m.changes = true, 1, 1<<20, make([]loggedChange, changes)
		if _, err := m.since(t.Context(), "a", 1<<20); err != nil {
			t.Fatal(err)
		}
		if kept := len(m.changes) > 0; kept != (changes <= maxMemberEntries) {
			t.Errorf("of %d changes, %d are kept", changes, len(m.changes))
		}
	}
}
