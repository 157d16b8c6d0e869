package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/store"
)

// failure is the state of a store that may fail before it is closed. A failure is
// final.
type failure struct {
	failed chan struct{}
	halted chan struct{} // closed when failed or closed
	// abandoned is closed when a goroutine is parked inside Pebble, where it may hold
	// locks: the database must not be used any more, not even to close it.
	abandoned chan struct{}

	mu    sync.Mutex // guards the fields below
	cause error
	err   error // cause, as an ErrFailed
}

func newFailure() *failure {
	return &failure{failed: make(chan struct{}), halted: make(chan struct{}), abandoned: make(chan struct{})}
}

// fail stops all acknowledgements. Only the first cause counts.
func (s *Store) fail(cause error) {
	f := s.failure
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	f.cause, f.err = cause, fmt.Errorf("%w: %w", store.ErrFailed, cause)
	if !f.isHalted() {
		close(f.halted) // before failed: a failed store refuses operations
	}
	close(f.failed)
	if !s.open.Load() {
		return // Open returns the cause
	}
	s.log.Error("store failed and accepts no more writes; fix the disk, then restart", slog.String("dir", s.dir), slog.Any("err", cause))
}

// markOpen marks the store as open, unless it failed while opening.
func (s *Store) markOpen() error {
	s.failure.mu.Lock()
	defer s.failure.mu.Unlock()
	if s.failure.err != nil {
		return s.failure.err
	}
	s.open.Store(true)
	return nil
}

// halt marks the store as closed, after every started operation was answered.
func (f *failure) halt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isHalted() {
		close(f.halted)
	}
}

func (f *failure) isFailed() bool    { return isClosed(f.failed) }
func (f *failure) isAbandoned() bool { return isClosed(f.abandoned) }
func (f *failure) isHalted() bool    { return isClosed(f.halted) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (s *Store) haltedError() error {
	s.failure.mu.Lock()
	defer s.failure.mu.Unlock()
	if s.failure.err != nil {
		return s.failure.err
	}
	return store.ErrClosed
}

func (f *failure) abandon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isAbandoned() {
		close(f.abandoned)
	}
}

// Failed implements store.Store.
func (s *Store) Failed() <-chan struct{} { return s.failure.failed }

// Check implements store.Store. It goes through the committer, so a disk that
// hangs shows as ctx ending.
func (s *Store) Check(ctx context.Context) error {
	if err := s.submit(ctx, func(*committer) error { return nil }); err != nil {
		if s.isHalted() { // perhaps while this waited
			return s.haltedError()
		}
		return fmt.Errorf("the disk does not respond: %w", err)
	}
	return s.checkSpace()
}

// pebbleLog forwards Pebble's log messages.
type pebbleLog struct{ s *Store }

var _ pebble.Logger = pebbleLog{}

func (l pebbleLog) Infof(format string, args ...any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug("pebble", slog.String("message", fmt.Sprintf(format, args...)))
	}
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.s.log.Error("pebble", slog.String("message", fmt.Sprintf(format, args...)))
}

// Fatalf is called where Pebble cannot continue, perhaps with locks held.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.s.stop(fmt.Errorf("pebble: "+format, args...))
}

// stop fails the store on a goroutine that is inside Pebble, and never returns.
// Returning would continue in an undefined state. Unwinding the stack would run
// Pebble's clean-up, and let its other goroutines write from a state that differs
// from the disk's. So the goroutine is parked, until the process ends: the server
// watches Failed and exits.
func (s *Store) stop(cause error) {
	s.failure.abandon()
	s.fail(cause)
	select {}
}

// runIsolated runs f on its own goroutine, and stops waiting if the database is
// abandoned, since f may then never return.
func (s *Store) runIsolated(f func() error) error {
	result := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("the database panicked: %v", p)
			}
		}()
		result <- f()
	}()
	select {
	case err := <-result:
		return err
	case <-s.abandoned:
		// fail follows abandon at once.
		<-s.failed
		return s.haltedError()
	}
}

// events fails the store when Pebble reports an error that it cannot recover from.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			// Pebble retries a flush or compaction that found the disk full, and
			// checkSpace refuses updates meanwhile.
			if noSpace(err) || errors.Is(err, pebble.ErrClosed) {
				s.log.Error("pebble: background work failed; will retry", slog.String("err", err.Error()))
				return
			}
			s.fail(fmt.Errorf("background: %w", err))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.fail(damaged(s.opts.FS.PathBase(info.Path), info.Details))
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			s.stats.stalls.Add(1)
			s.log.Warn("pebble: writes stalled", slog.String("reason", info.Reason))
		},
	}
}
