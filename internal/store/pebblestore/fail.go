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

// failure is how a store ends before it is closed: once, and for good.
type failure struct {
	failed chan struct{}
	halted chan struct{} // closed when failed or closed
	// seized is closed when a goroutine was stopped inside Pebble, perhaps with
	// its locks: the database must not be touched any more, not even to close it.
	abandoned chan struct{}

	mu      sync.Mutex // guards the fields below
	cause   error
	err     error // cause, as an ErrFailed
	closed  bool
	stopped bool
}

func newFailure() *failure {
	return &failure{failed: make(chan struct{}), halted: make(chan struct{}), abandoned: make(chan struct{})}
}

// fail ends acknowledging. Only the first cause is kept.
func (s *Store) fail(cause error) {
	f := s.failure
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	f.cause, f.err = cause, fmt.Errorf("%w: %w", store.ErrFailed, cause)
	if !f.closed {
		close(f.halted) // first: who sees that it failed finds it refusing
	}
	close(f.failed)
	if !s.open.Load() {
		return // Open says why it fails
	}
	s.log.Error("the store failed and acknowledges nothing more: restart porchlight when the disk is well", slog.String("dir", s.dir), slog.Any("err", cause))
}

// markOpen says that the store is open, unless it has failed on the way.
func (s *Store) markOpen() error {
	s.failure.mu.Lock()
	defer s.failure.mu.Unlock()
	if s.failure.err != nil {
		return s.failure.err
	}
	s.open.Store(true)
	return nil
}

// halt says that the store is closed and everything taken was answered.
func (f *failure) halt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && !f.closed {
		close(f.halted)
	}
	f.closed = true
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
	if !f.stopped {
		f.stopped = true
		close(f.abandoned)
	}
}

// Failed implements store.Store.
func (s *Store) Failed() <-chan struct{} { return s.failure.failed }

// Check implements store.Store. It goes through the committer and the syncer, so
// a disk that hangs shows as ctx ending.
func (s *Store) Check(ctx context.Context) error {
	if err := s.submit(ctx, func(*committer) error { return nil }); err != nil {
		if s.isHalted() { // while this waited, perhaps
			return s.haltedError()
		}
		return fmt.Errorf("the disk does not answer: %w", err)
	}
	return s.checkSpace()
}

// pebbleLog passes Pebble's messages on.
type pebbleLog struct{ s *Store }

var _ pebble.Logger = pebbleLog{}

func (l pebbleLog) Infof(format string, args ...any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug("pebble", slog.String("says", fmt.Sprintf(format, args...)))
	}
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.s.log.Error("pebble", slog.String("says", fmt.Sprintf(format, args...)))
}

// Fatalf is called where Pebble knows no way on, with locks held or not.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.s.stop(fmt.Errorf("pebble: "+format, args...))
}

// stop fails the store on a goroutine that is inside Pebble, its own or ours, and
// does not return. To return would go on in an undefined state; to unwind the
// stack would run Pebble's clean-up, and let its other goroutines write on a
// state that is not the disk's. So the goroutine stays here, as it would in a
// process that ends. The process does end soon: who watches Failed sees to it.
func (s *Store) stop(cause error) {
	s.failure.abandon()
	s.fail(cause)
	select {}
}

// apart runs f on a goroutine of its own, and does not wait for it if it is
// stopped inside Pebble.
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
		// fail follows seize at once.
		<-s.failed
		return s.haltedError()
	}
}

// events fails the store when Pebble reports what it cannot repair.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			// Pebble repeats a flush or compaction that found the disk full, and
			// the guard keeps updates away meanwhile.
			if noSpace(err) || errors.Is(err, pebble.ErrClosed) {
				s.log.Error("pebble: background work is held up", slog.String("err", err.Error()))
				return
			}
			s.fail(fmt.Errorf("background: %w", err))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.fail(damaged(s.opts.FS.PathBase(info.Path), info.Details))
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			s.stats.stalls.Add(1)
			s.log.Warn("pebble: writes wait for the disk", slog.String("reason", info.Reason))
		},
	}
}
