package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/store"
)

// warmGroup is how many records are packed at a time: a millisecond or two of work,
// which bounds how long Close waits.
const warmGroup = 1024

// warmUp fills the cache with packed records, so that a user's first request after a
// start finds the record in memory.
func (s *Store) warmUp() {
	defer close(s.warmUpDone)
	from, hasSpace := []byte{recordPrefix}, true
	for from != nil && hasSpace && !s.isHalted() {
		var err error
		if from, hasSpace, err = s.warmFrom(from); err != nil {
			if !s.isHalted() {
				s.log.Error("cache warm-up failed", slog.Any("err", err))
			}
			return
		}
	}
}

// warmFrom packs a group of records from a key on. It gives the key after them, nil at
// the end, and whether the cache has space for more.
func (s *Store) warmFrom(from []byte) (next []byte, hasSpace bool, err error) {
	if err := s.acquireDB(); err != nil {
		return nil, false, err
	}
	defer s.releaseDB()
	// Read before the database: records that are installed later are newer.
	installs := s.cache.installed()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{recordPrefix + 1}})
	if err != nil {
		return nil, false, fmt.Errorf("read: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	hasSpace = true
	n := 0
	for ok := it.First(); ok && n < warmGroup && hasSpace; ok = it.Next() {
		u, valid := cutUser(it.Key()[1:])
		at, _, err := cutHead(it.Value())
		if !valid || err != nil {
			return nil, false, fmt.Errorf("record at key %q: %w", it.Key(), errValue)
		}
		if s.progress.durableAt() >= s.progress.neededBy(u, store.Position(at)) {
			hasSpace = s.cache.pack(u, it.Value(), installs)
		}
		next = append(append(next[:0], it.Key()...), 0)
		n++
	}
	if n < warmGroup {
		next = nil
	}
	return next, hasSpace, nil // Close returns errors of the iterator
}
