package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/store"
)

// warmGroup is how many records are packed at a time: a millisecond or two of
// work, after which Close need not wait.
const warmGroup = 1024

// warmUp packs what is on record, as far as there is room, so that the first
// request of a user after a start finds it in memory.
func (s *Store) warmUp() {
	defer close(s.warmUpDone)
	from, room := []byte{recordPrefix}, true
	for from != nil && room && !s.isHalted() {
		var err error
		if from, room, err = s.warmFrom(from); err != nil {
			if !s.isHalted() {
				s.log.Error("records could not be read ahead", slog.Any("err", err))
			}
			return
		}
	}
}

// warmFrom packs a group of records from a key on. It gives the key after them,
// nil at the end, and whether there is room for more.
func (s *Store) warmFrom(from []byte) (next []byte, room bool, err error) {
	if err := s.acquireDB(); err != nil {
		return nil, false, err
	}
	defer s.releaseDB()
	// Taken before the database is read: what is installed later is newer.
	installs := s.cache.installed()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{recordPrefix + 1}})
	if err != nil {
		return nil, false, fmt.Errorf("read: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	room = true
	n := 0
	for ok := it.First(); ok && n < warmGroup && room; ok = it.Next() {
		u, valid := cutUser(it.Key()[1:])
		at, _, err := cutHead(it.Value())
		if !valid || err != nil {
			return nil, false, fmt.Errorf("the record at %q: %w", it.Key(), errValue)
		}
		if s.progress.durableAt() >= store.Position(at) {
			room = s.cache.pack(u, it.Value(), installs)
		}
		next = append(append(next[:0], it.Key()...), 0)
		n++
	}
	if n < warmGroup {
		next = nil
	}
	return next, room, nil // Close gives what went wrong
}
