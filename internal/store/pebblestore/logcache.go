package pebblestore

import (
	"cmp"
	"slices"
	"sync"

	"porchlight.dev/porchlight/internal/store"
)

const cachedEntries = 4096

// logCache caches the newest durable log entries, so that readers that keep up never read
// the database.
type logCache struct {
	mu   sync.Mutex // guards the fields below
	ring []chainedEntry
	head int // of the oldest, once the ring is full
	// floor: every durable entry above it is in the ring.
	floor store.Position
	last  store.Position
}

type chainedEntry struct {
	store.Entry
	previous store.Position // of the same user
}

func newLogCache(last store.Position) *logCache { return &logCache{floor: last, last: last} }

// add appends entries. Only the committer calls it, in the order of the log.
func (t *logCache) add(entries []chainedEntry) {
	if len(entries) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range entries {
		if len(t.ring) < cachedEntries {
			t.ring = append(t.ring, entries[i])
			continue
		}
		t.floor = t.ring[t.head].At
		t.ring[t.head] = entries[i]
		t.head = (t.head + 1) % cachedEntries
	}
	t.last = entries[len(entries)-1].At
}

// newest is the position of the last durable entry.
func (t *logCache) newest() store.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// after gives up to limit entries above at, or false if the ring no longer has all of
// them.
func (t *logCache) after(at store.Position, limit int) ([]chainedEntry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at < t.floor {
		return nil, false
	}
	older, newer := t.ring[t.head:], t.ring[:t.head]
	above := func(e chainedEntry, at store.Position) int {
		if e.At > at {
			return 1
		}
		return -1
	}
	i, _ := slices.BinarySearchFunc(older, at, above)
	j, _ := slices.BinarySearchFunc(newer, at, above)
	found := make([]chainedEntry, 0, min(limit, len(older)-i+len(newer)-j))
	found = append(found, older[i:min(len(older), i+limit)]...)
	found = append(found, newer[j:min(len(newer), j+limit-len(found))]...)
	return found, true
}

// replace replaces the entries at the positions of the given ones, as far as the ring
// has them. Only the committer calls it.
func (t *logCache) replace(entries []chainedEntry) {
	if len(entries) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, part := range [][]chainedEntry{t.ring[t.head:], t.ring[:t.head]} {
		for _, e := range entries {
			i, found := slices.BinarySearchFunc(part, e.At, func(old chainedEntry, at store.Position) int { return cmp.Compare(old.At, at) })
			if found {
				part[i] = e
			}
		}
	}
}
