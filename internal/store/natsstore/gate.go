package natsstore

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// A gate blocks operations while there is no connection, or one to servers that were not
// verified to have this store.
type gate struct {
	mu     sync.Mutex // guards the fields below
	open   chan struct{}
	closed bool
	cause  error // of the closing
}

func newGate() *gate { return &gate{open: make(chan struct{}), closed: true} }

func (g *gate) close(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed, g.open = true, make(chan struct{})
	}
	g.cause = cause
}

func (g *gate) opened() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		g.closed = false
		close(g.open)
	}
	g.cause = nil
}

func (g *gate) state() (open <-chan struct{}, closed bool, cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.closed, g.cause
}

// enter admits an operation; Close waits until it leaves. While the connection is being
// restored, enter waits for at most Options.Timeout.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.haltedError(); err != nil {
		return err
	}
	if err := s.awaitGate(ctx); err != nil {
		return err
	}
	if err := s.lease.check(); err != nil {
		return s.unavailable(err)
	}
	s.opsMu.RLock()
	if s.closed {
		s.opsMu.RUnlock()
		return store.ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.opsMu.RUnlock() }

func (s *Store) awaitGate(ctx context.Context) error {
	open, closed, cause := s.gate.state()
	if !closed {
		return nil
	}
	timer := time.NewTimer(s.opts.Timeout)
	defer timer.Stop()
	select {
	case <-open:
		return nil
	case <-timer.C:
		return s.unavailable(cause)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return store.ErrClosed
	case <-s.failed:
		return s.haltedError()
	}
}

// unavailable is the error of a call that did not reach the servers. Nothing was changed.
func (s *Store) unavailable(cause error) error {
	if err := s.haltedError(); err != nil {
		return err
	}
	return fmt.Errorf("%w: NATS at %s does not respond: %w", store.ErrUnavailable, s.servers, cause)
}

// haltedError is the error of a store that failed or was closed, or nil.
func (s *Store) haltedError() error {
	select {
	case <-s.failed:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.failure
	default:
	}
	select {
	case <-s.closing:
		return store.ErrClosed
	default:
		return nil
	}
}

// fail makes the store refuse all further operations. Only the first cause is kept.
func (s *Store) fail(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return
	}
	s.failure = fmt.Errorf("%w: %w", store.ErrFailed, cause)
	close(s.failed)
	s.log.Error("store failed and accepts no more writes; fix NATS, then restart", slog.Any("err", cause))
}
