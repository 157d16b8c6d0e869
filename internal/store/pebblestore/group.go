package pebblestore

import (
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A group is what is committed together.
type group struct {
	batch   *pebble.Batch // nil: nothing was written
	last    store.Position
	items   []*item  // to install
	stored  [][]byte // their stored forms, which the cache takes as they are
	values  []byte   // holds stored
	written int      // so many of the items are in the batch
	entries []chainedEntry
	updates int
	// unlogged are the users of updates without a log entry; nil: none.
	unlogged map[store.User]struct{}
	// redacted replace entries that may be in the log cache.
	redacted []chainedEntry
	answers  []*op // answered when last is durable
	// earliest is the first instant newly in the expiry index; zero: none.
	earliest presence.Instant
}

// addItem adds a record to write and install.
func (g *group) addItem(it *item) {
	from := len(g.values)
	g.values = appendItem(g.values, it)
	g.items, g.stored = append(g.items, it), append(g.stored, g.values[from:])
}

func (g *group) addUnlogged(u store.User) {
	if g.unlogged == nil {
		g.unlogged = make(map[store.User]struct{})
	}
	g.unlogged[u] = struct{}{}
}

// maxSpareValues bounds the memory that a group keeps for the next one.
const maxSpareValues = 1 << 20

// reset empties the group, and keeps its memory for the next one.
func (g *group) reset() {
	clear(g.items)
	clear(g.stored)
	clear(g.entries)
	clear(g.answers)
	spare := group{items: g.items[:0], stored: g.stored[:0], values: g.values[:0], entries: g.entries[:0], answers: g.answers[:0]}
	if cap(spare.values) > maxSpareValues {
		spare.values = nil
	}
	*g = spare
}

func (s *Store) batchDone(g *group) {
	if err := g.batch.Close(); err != nil {
		s.log.Error("closing a batch failed", slog.Any("err", err))
	}
	g.batch = nil
}

// publish makes a durable group visible. Records come before the position, so that a
// reader of the position finds them. The position comes before the log, so that it
// covers every visible entry. Watchers are notified last.
func (s *Store) publish(g *group) {
	for i, it := range g.items {
		s.cache.install(it, g.stored[i])
	}
	s.progress.durable.Store(uint64(g.last))
	s.logCache.add(g.entries)
	s.logCache.replace(g.redacted)
	s.progress.wake()
	s.watchers.add(g)
	if !g.earliest.IsZero() {
		s.schedule.add(g.earliest)
	}
	s.answer(g.answers...)
}

// refuse answers a group that may or may not have been stored.
func (s *Store) refuse(g *group) {
	for _, o := range g.answers {
		if o.err != nil {
			o.fail(s.haltedError())
		} else {
			o.fail(store.ErrUnknown)
		}
	}
	s.answer(g.answers...)
}
