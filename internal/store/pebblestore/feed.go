package pebblestore

import (
	"context"
	"fmt"
	"sync"

	"porchlight.dev/porchlight/internal/store"
)

// readers are the durable readers of the log. Their positions reach the disk
// with whatever is committed next, or within a second: after a crash, a reader
// gets again what it saw since.
type readers struct {
	mu sync.Mutex // guards the fields below
	m  map[string]*reader
}

type reader struct {
	at      store.Position
	running bool
	dirty   bool // at is not staged yet
}

// loadReaders reads every reader's position.
func (s *Store) loadReaders() error {
	s.readers.m = make(map[string]*reader)
	prefix := []byte{readerPrefix}
	return s.scan(prefix, upperBound(prefix), func(key, value []byte) (bool, error) {
		at, err := cutNumber(value)
		if err != nil {
			return false, fmt.Errorf("the position of reader %q: %w", key[1:], err)
		}
		s.readers.m[string(key[1:])] = &reader{at: store.Position(at)}
		return true, nil
	})
}

func (rs *readers) start(name string) (*reader, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r, ok := rs.m[name]
	if !ok {
		r = &reader{dirty: true}
		rs.m[name] = r
	}
	if r.running {
		return nil, store.ErrInUse
	}
	r.running = true
	return r, nil
}

func (rs *readers) stop(r *reader) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.running = false
}

// moved records that r has seen everything up to at.
func (rs *readers) moved(r *reader, at store.Position) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.at, r.dirty = at, true
}

func (rs *readers) anyDirty() bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.m {
		if r.dirty {
			return true
		}
	}
	return false
}

// savePositions stages the positions that moved.
func (c *committer) savePositions() {
	rs := &c.s.readers
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for name, r := range rs.m {
		if r.dirty {
			c.value = appendNumber(c.value[:0], uint64(r.at))
			c.set(readerKey(name), c.value)
			r.dirty = false
		}
	}
}

// Feed implements store.Store.
func (s *Store) Feed(ctx context.Context, name string, fn func([]store.Entry) error) error {
	if name == "" || len(name) > store.MaxKeyBytes {
		return fmt.Errorf("%w: a reader's name has 1 to %d bytes", store.ErrTooLarge, store.MaxKeyBytes)
	}
	r, err := s.readers.start(name)
	if err != nil {
		return err
	}
	defer s.readers.stop(r)
	for at := r.at; ; {
		entries, err := s.entriesAfter(ctx, at)
		if err != nil {
			return err
		}
		if err := fn(entries); err != nil {
			return err
		}
		at = entries[len(entries)-1].At
		s.readers.moved(r, at)
	}
}
