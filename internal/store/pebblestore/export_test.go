package pebblestore

import (
	"context"
	"testing"

	"porchlight.dev/porchlight/internal/store"
)

// DropLog drops the log entries up to a position, as retention does.
func (s *Store) DropLog(t *testing.T, to store.Position) {
	t.Helper()
	if err := s.submit(context.Background(), func(c *committer) error { c.dropLog(to); return nil }); err != nil {
		t.Fatal(err)
	}
}

// DamageEntry replaces the entry at a position with one that cannot be decoded.
func (s *Store) DamageEntry(t *testing.T, at store.Position) {
	t.Helper()
	value := []byte{0xff}
	err := s.submit(context.Background(), func(c *committer) error {
		c.set(appendLogKey(nil, at), value)
		c.g.redacted = append(c.g.redacted, readEntry(at, value))
		c.seq++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
