package hub

import (
	"context"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// A growingLog has an entry of a change of members at each position up to end.
type growingLog struct {
	store.Store

	end store.Position
}

func (*growingLog) PositionAt(context.Context, time.Time) (store.Position, error) { return 0, nil }

func (g *growingLog) Log(_ context.Context, after store.Position, limit int) ([]store.Entry, error) {
	var entries []store.Entry
	for at := after + 1; at <= g.end && len(entries) < limit; at++ {
		entries = append(entries, store.Entry{User: userOf("a", "bob"), At: at, By: store.By{Cause: store.CauseGroups}})
	}
	return entries, nil
}

// TestMemberLogIsBounded: however many members change, only the newest changes are kept, and
// a Follow that needs more is told them all the same.
func TestMemberLogIsBounded(t *testing.T) {
	log := new(growingLog)
	m := newMemberLog(&Hub{opts: Options{Store: log}})
	since := func(at store.Position) {
		t.Helper()
		changes, err := m.since(t.Context(), "a", at)
		if err != nil || len(changes) != int(log.end-at) {
			t.Errorf("%d changes since %d of %d, %v", len(changes), at, log.end, err)
		}
	}
	const step = maxMemberEntries / 2
	for range 6 {
		log.end += step
		since(log.end - step)
		if n := len(m.changes); n > maxMemberEntries+step {
			t.Fatalf("%d changes are kept", n)
		}
	}
	since(log.end - 2*step)
}
