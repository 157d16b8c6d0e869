package pebblestore

import (
	"context"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/store"
)

// progress holds the newest staged and durable sequence numbers. Sequence numbers
// count every change; positions of log entries are some of them.
type progress struct {
	// staged is at least the number of every change that the database shows: the
	// committer sets it before it applies a batch.
	staged atomic.Uint64
	// durable: every change up to this number is on the disk and installed.
	durable atomic.Uint64
	// unlogged are those of the batch that was applied last: the positions of their records
	// do not tell whether the records are durable. The committer sets it before it applies
	// a batch that has some.
	unlogged atomic.Pointer[unloggedUsers]

	mu      sync.Mutex    // guards waiters
	waiters chan struct{} // closed by the next wake; nil: no goroutine waits
}

// unloggedUsers are users whom a batch gave records without a log entry, and the batch's last
// number.
type unloggedUsers struct {
	users map[store.User]struct{}
	last  store.Position
}

// neededBy is the number that must be durable so that the record of u is durable which was
// read from the database before the call. at is the record's position.
func (p *progress) neededBy(u store.User, at store.Position) store.Position {
	if batch := p.unlogged.Load(); batch != nil {
		if _, ok := batch.users[u]; ok {
			return max(at, batch.last)
		}
	}
	return at
}

func (p *progress) durableAt() store.Position { return store.Position(p.durable.Load()) }

// wake wakes the goroutines that wait for a newer position or entry.
func (p *progress) wake() {
	p.mu.Lock()
	if p.waiters != nil {
		close(p.waiters)
		p.waiters = nil
	}
	p.mu.Unlock()
}

// next gives a channel that is closed by the next wake.
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
// durable. Only then may what was read be returned to a caller, an absence included.
func (s *Store) awaitStaged(ctx context.Context) error {
	return s.awaitDurable(ctx, store.Position(s.progress.staged.Load()))
}
