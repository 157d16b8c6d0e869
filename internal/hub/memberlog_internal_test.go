package hub

import (
	"context"
	"errors"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// A growingLog has an entry of a change of members at each position up to end.
type growingLog struct {
	store.Store

	end     store.Position
	damaged store.Position // 0: none
}

func (*growingLog) PositionAt(context.Context, time.Time) (store.Position, error) { return 0, nil }

func (g *growingLog) Log(_ context.Context, after store.Position, limit int) ([]store.Entry, error) {
	var entries []store.Entry
	for at := after + 1; at <= g.end && len(entries) < limit; at++ {
		e := store.Entry{User: userOf("a", "bob"), At: at, By: store.By{Cause: store.CauseGroups}}
		if at == g.damaged {
			e = store.Entry{At: at, Damaged: errors.New("planted")}
		}
		entries = append(entries, e)
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

// TestMemberLogFromTheCursor: what the log has before a cursor is no reason to reset it, even
// if an earlier read ended there.
func TestMemberLogFromTheCursor(t *testing.T) {
	for name, later := range map[string]growingLog{
		"too many since the last read": {end: 10 + maxMemberEntries*3/2},
		"damaged before the cursor":    {end: maxMemberEntries, damaged: 20},
	} {
		t.Run(name, func(t *testing.T) {
			log := &growingLog{end: 10}
			m := newMemberLog(&Hub{opts: Options{Store: log}})
			if _, err := m.since(t.Context(), "a", 5); err != nil {
				t.Fatal(err)
			}
			*log = later
			at := log.end - maxMemberEntries*3/4
			if changes, err := m.since(t.Context(), "a", at); err != nil || len(changes) != int(log.end-at) {
				t.Errorf("%d changes since %d of %d, %v", len(changes), at, log.end, err)
			}
		})
	}
}
