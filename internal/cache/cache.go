// Package cache remembers for a while what was read of the store, by key.
//
// It is separate from auth and directory because both must bound what strangers can
// make them remember, and must see a change at once where it was made. A table takes
// no locks, has a fixed number of places, and never gives an entry that was read
// before its key was invalidated: one that was read before a change cannot come in
// after it.
//
// It must not know what it keeps, nor how long that holds.
package cache

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

const (
	ways        = 4      // places that can take an entry of a key
	generations = 1 << 8 // groups of keys that are invalidated together
)

// A Table keeps entries in a fixed number of places, of which a few can take an entry:
// one that finds none free takes the oldest.
type Table[K comparable, V any] struct {
	seed        maphash.Seed
	places      []atomic.Pointer[Entry[K, V]]
	generations [generations]atomic.Uint64
}

// An Entry is what was read at an instant. Nobody writes into its Key and Read.
type Entry[K comparable, V any] struct {
	Key        K
	Value      V
	Read       time.Time
	generation uint64
}

// New makes a table of a number of places, which ways divides. An entry that was begun
// with one of two tables of the same seed may be put into the other, if every key is
// invalidated in both.
func New[K comparable, V any](seed maphash.Seed, places int) *Table[K, V] {
	return &Table[K, V]{seed: seed, places: make([]atomic.Pointer[Entry[K, V]], places)}
}

func (t *Table[K, V]) find(key K) (set []atomic.Pointer[Entry[K, V]], generation *atomic.Uint64) {
	h := maphash.Comparable(t.seed, key)
	first := h % uint64(len(t.places)/ways) * ways
	return t.places[first : first+ways], &t.generations[h>>32%generations]
}

// Begin is an entry for what is about to be read.
func (t *Table[K, V]) Begin(key K, now time.Time) *Entry[K, V] {
	_, generation := t.find(key)
	return &Entry[K, V]{Key: key, Read: now, generation: generation.Load()}
}

// Get finds an entry that is younger than limit, or nil.
func (t *Table[K, V]) Get(key K, now time.Time, limit time.Duration) *Entry[K, V] {
	set, generation := t.find(key)
	for i := range set {
		if e := set[i].Load(); e != nil && e.Key == key {
			if age := now.Sub(e.Read); e.generation == generation.Load() && age >= 0 && age < limit {
				return e
			}
			return nil
		}
	}
	return nil
}

// Put brings in an entry of Begin.
func (t *Table[K, V]) Put(e *Entry[K, V]) {
	set, _ := t.find(e.Key)
	slot, oldest := 0, e
	for i := range set {
		other := set[i].Load()
		if other == nil || other.Key == e.Key {
			slot = i
			break
		}
		if other.Read.Before(oldest.Read) {
			slot, oldest = i, other
		}
	}
	set[slot].Store(e)
}

// Delete forgets what there is of a key.
func (t *Table[K, V]) Delete(key K) {
	set, _ := t.find(key)
	for i := range set {
		if e := set[i].Load(); e != nil && e.Key == key {
			set[i].CompareAndSwap(e, nil)
		}
	}
}

// Invalidate makes what was read of a key before now unusable.
func (t *Table[K, V]) Invalidate(key K) {
	_, generation := t.find(key)
	generation.Add(1)
}
