package pebblestore

import (
	"context"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/store"
)

// progress is how far the store has come. Sequence numbers count every change;
// positions of log entries are some of them.
type progress struct {
	// staged is at least the number of everything that the database shows;
	// the committer sets it before it applies.
	staged atomic.Uint64
	// durable is the number up to which everything is on the disk and installed.
	durable atomic.Uint64

	mu      sync.Mutex    // guards waiters
	waiters chan struct{} // closed by the next wake; nil: nobody waits
}

func (p *progress) durableAt() store.Position { return store.Position(p.durable.Load()) }

// wake tells those who wait that the position, or the tail, has moved on.
func (p *progress) wake() {
	p.mu.Lock()
	if p.waiters != nil {
		close(p.waiters)
		p.waiters = nil
	}
	p.mu.Unlock()
}

// next is closed by the next wake.
func (p *progress) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiters == nil {
		p.waiters = make(chan struct{})
	}
	return p.waiters
}

// awaitDurable returns when everything up to at is durable.
func (s *Store) awaitDurable(ctx context.Context, at store.Position) error {
	for {
		if s.progress.durableAt() >= at {
			return nil
		}
		next := s.progress.next()
		if s.progress.durableAt() >= at {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.halted:
			return s.haltedError()
		}
	}
}

// awaitStaged returns when everything that the database showed before the call is
// durable. What was read then, an absence among it, may be shown.
func (s *Store) awaitStaged(ctx context.Context) error {
	return s.awaitDurable(ctx, store.Position(s.progress.staged.Load()))
}
