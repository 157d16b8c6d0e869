package pebblestore

import (
	"context"

	"porchlight.dev/porchlight/internal/store"
)

// scanBytes bounds the stored bytes of a group of Scan.
const scanBytes = 4 << 20

// Scan implements store.Store. Each group is read with an iterator of its own, which is
// closed before the caller gets the group: while an iterator is open, tables that
// compactions have replaced stay on the disk, and Close waits.
func (s *Store) Scan(ctx context.Context, fn func([]store.Record) error) error {
	for from := []byte{recordPrefix}; from != nil; {
		if err := s.checkReadable(ctx); err != nil {
			return err
		}
		group, next, err := s.scanGroup(from)
		if err == nil {
			err = s.awaitStaged(ctx)
		}
		if err == nil && len(group) > 0 {
			err = fn(group)
		}
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

// scanGroup reads records from a key on, durable or not. It gives the key after them, nil at
// the end.
func (s *Store) scanGroup(from []byte) (group []store.Record, next []byte, err error) {
	bytes := 0
	err = s.scan(from, []byte{recordPrefix + 1}, func(key, value []byte) (bool, error) {
		if len(group) == store.MaxScanGroup || bytes > scanBytes {
			next = append([]byte(nil), key...)
			return false, nil
		}
		u, ok := cutUser(key[1:])
		if !ok {
			return false, errValue
		}
		it, err := decodeItem(u, value)
		if err != nil {
			return false, err
		}
		group, bytes = append(group, it.record()), bytes+len(value)
		return true, nil
	})
	return group, next, err
}
