package tail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

const (
	// saveEvery is how often the position of a consumer that moves is saved.
	saveEvery      = 500 * time.Millisecond
	releaseTimeout = 2 * time.Second
	firstBackoff   = 100 * time.Millisecond
	maxBackoff     = 2 * time.Second
	maxSaveBackoff = time.Second
)

// A runner runs one consumer whenever this node has its lease.
type runner struct {
	Options

	consumer Consumer
	log      *slog.Logger
	lease    *lease // of the goroutine of run, and of keep while that runs
	retries  atomic.Uint64
	moved    chan struct{} // the position is to be saved

	mu          sync.Mutex // guards the fields below
	running     bool
	at          store.Position // every entry up to it was handled
	oldest      time.Time      // of the first entry that was not handled, as far as known
	quarantined uint64
	deadline    time.Time // zero: the lease does not expire
}

// run takes the lease and consumes whenever it can, until ctx ends or the store
// fails or closes.
func (r *runner) run(ctx context.Context) error {
	for ctx.Err() == nil {
		var held bool
		err := r.retry(ctx, "take the lease", maxBackoff, func() (err error) {
			held, err = r.lease.take(ctx)
			return err
		})
		if held {
			err = r.hold(ctx)
		}
		switch {
		case errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed):
			return err
		case errors.Is(err, errLost):
			r.log.WarnContext(ctx, "lease lost; another node may run the consumer")
		}
		pause(ctx, r.lease.time/10)
	}
	return nil
}

// hold consumes while this node has the lease.
func (r *runner) hold(ctx context.Context) error {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.begin()
	defer r.end()
	var keeping sync.WaitGroup
	keeping.Go(func() { r.keep(work, cancel) })
	err := r.consume(work)
	cancel(err)
	keeping.Wait()
	switch cause := context.Cause(work); {
	case errors.Is(cause, errLost):
		return errLost
	case ctx.Err() != nil:
		r.release(ctx)
	}
	return err
}

func (r *runner) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.at, r.oldest = true, r.lease.value.Position, time.Time{}
	r.setDeadline()
	r.moved = make(chan struct{}, 1)
}

func (r *runner) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = false
}

// setDeadline notes how long the lease allows handling; the caller holds mu.
func (r *runner) setDeadline() {
	if !r.Exclusive {
		r.deadline = r.lease.deadline()
	}
}

// held reports whether the lease allows handling: by the monotonic time, and by the
// wall clock, which advances while a machine is suspended.
func (r *runner) held() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	return r.deadline.IsZero() || now.Before(r.deadline) && now.Round(0).Before(r.deadline.Round(0))
}

// keep saves the position and renews the lease until ctx ends. It cancels consuming if
// the lease is lost or cannot be renewed in time.
func (r *runner) keep(ctx context.Context, cancel context.CancelCauseFunc) {
	var renew <-chan time.Time
	saved := func() {}
	if !r.Exclusive {
		ticker := time.NewTicker(r.lease.renewEvery())
		defer ticker.Stop()
		renew = ticker.C
		guard := time.AfterFunc(time.Until(r.lease.deadline()), func() { cancel(errLost) })
		defer guard.Stop()
		saved = func() { guard.Reset(time.Until(r.lease.deadline())) }
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.moved:
		case <-renew:
		}
		if err := r.retry(ctx, "save the position", maxSaveBackoff, func() error { return r.save(ctx) }); err != nil {
			cancel(err) // without effect if ctx ended
			return
		}
		saved()
		pause(ctx, saveEvery)
	}
}

func (r *runner) save(ctx context.Context) error {
	if !r.Exclusive {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, r.lease.deadline())
		defer stop()
	}
	if err := r.lease.save(ctx, r.position(), true); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setDeadline()
	return nil
}

func (r *runner) position() store.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// release saves the position and gives up the lease at a clean stop.
func (r *runner) release(ctx context.Context) {
	at := r.position()
	if r.Exclusive && at == r.lease.value.Position {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer stop()
	if err := r.lease.save(ctx, at, false); err != nil && !final(err) {
		r.log.WarnContext(ctx, "could not save the position; entries will be handled again", slog.Any("err", err))
	}
}

// consume starts the consumer and passes it the log.
func (r *runner) consume(ctx context.Context) error {
	err := r.retry(ctx, "start the consumer", maxBackoff, func() error {
		q, _, err := readQuarantine(ctx, r.Store, r.consumer.Name)
		if err != nil {
			return err
		}
		r.setQuarantined(q.Count)
		if s, ok := r.consumer.Handler.(Starter); ok {
			return guarded(func() error { return s.Start(ctx) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.follow(ctx)
}

// follow passes the log to the consumer and resumes after a failure.
func (r *runner) follow(ctx context.Context) error {
	failing := false
	for wait := firstBackoff; ; wait = min(2*wait, maxBackoff) {
		err := r.Store.Feed(ctx, r.position(), func(entries []store.Entry) error {
			if failing {
				failing, wait = false, firstBackoff
				r.log.InfoContext(ctx, "recovered", slog.String("op", "read the log"))
			}
			return r.process(ctx, entries)
		})
		if ctx.Err() != nil || final(err) {
			return err
		}
		if !failing {
			failing = true
			r.log.WarnContext(ctx, "cannot read the commit log; will retry", slog.Any("err", err))
		}
		r.backOff(ctx, wait)
	}
}

// process handles a group of entries except those that are quarantined.
func (r *runner) process(ctx context.Context, entries []store.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	r.noteOldest(entries[0].Time)
	left := entries
	err := r.retry(ctx, "handle entries", maxBackoff, func() (err error) {
		for len(left) > 0 && err == nil {
			left, err = r.handle(ctx, left)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.advance(entries[len(entries)-1])
	return nil
}

// handle tries once and returns the entries that are left to handle.
func (r *runner) handle(ctx context.Context, entries []store.Entry) ([]store.Entry, error) {
	if failed := r.damaged(entries); len(failed) > 0 {
		return r.quarantine(ctx, entries, failed)
	}
	if !r.held() {
		return entries, errLost
	}
	err := guarded(func() error { return r.consumer.Handle(ctx, entries) })
	if err == nil {
		return nil, nil
	}
	if p, ok := errors.AsType[*PermanentError](err); ok && !Transient(err) && contains(entries, p.At) {
		return r.quarantine(ctx, entries, []*PermanentError{p})
	}
	return entries, err
}

// damaged lists the entries to quarantine without handling them.
func (r *runner) damaged(entries []store.Entry) []*PermanentError {
	if r.consumer.Damaged {
		return nil
	}
	var failed []*PermanentError
	for i := range entries {
		if err := entries[i].Damaged; err != nil {
			failed = append(failed, &PermanentError{entries[i].At, err})
		}
	}
	return failed
}

// quarantine moves entries to the quarantine and returns the others.
func (r *runner) quarantine(ctx context.Context, entries []store.Entry, failed []*PermanentError) ([]store.Entry, error) {
	count, err := addQuarantined(ctx, r.Store, r.consumer.Name, r.Clock(), failed)
	if err != nil {
		return entries, err
	}
	r.setQuarantined(count)
	for _, p := range failed {
		r.log.ErrorContext(ctx, "entry quarantined", slog.Uint64("position", uint64(p.At)), slog.Any("err", p.Err))
	}
	return slices.DeleteFunc(slices.Clone(entries), func(e store.Entry) bool {
		return slices.ContainsFunc(failed, func(p *PermanentError) bool { return p.At == e.At })
	}), nil
}

func contains(entries []store.Entry, at store.Position) bool {
	return slices.ContainsFunc(entries, func(e store.Entry) bool { return e.At == at })
}

func (r *runner) setQuarantined(count uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quarantined = count
}

// noteOldest records the time of the first entry not yet handled.
func (r *runner) noteOldest(first time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !first.IsZero() {
		r.oldest = first
	}
}

// advance records that every entry up to e was handled.
func (r *runner) advance(e store.Entry) {
	r.noteOldest(e.Time)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = e.At
	select {
	case r.moved <- struct{}{}:
	default:
	}
}

func (r *runner) isRunning() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

func (r *runner) stats(newest store.Position) Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{Name: r.consumer.Name, Running: r.running, Retries: r.retries.Load()}
	if !r.running {
		return s
	}
	s.Position, s.Quarantined = r.at, r.quarantined
	if newest > r.at {
		s.LagEntries = uint64(newest - r.at)
		if !r.oldest.IsZero() {
			s.Lag = max(0, r.Clock().Sub(r.oldest))
		}
	}
	return s
}

// final reports whether a retry is pointless.
func final(err error) bool {
	return errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed) || errors.Is(err, errLost)
}

// Transient reports whether an error, however wrapped, has nothing to do with an entry.
func Transient(err error) bool {
	for _, known := range []error{
		store.ErrUnavailable, store.ErrFull, store.ErrUnknown, store.ErrConflict, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return final(err)
}

// A panicError is a panic of a consumer. The stack is not part of the message.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// guarded turns a panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return f()
}

// retry calls try until it succeeds, ctx ends or the error is final, with backoff of at
// most limit. It logs the first failure and the recovery.
func (r *runner) retry(ctx context.Context, what string, limit time.Duration, try func() error) error {
	failing := false
	for wait := firstBackoff; ; wait = min(2*wait, limit) {
		err := try()
		switch {
		case err == nil && failing:
			r.log.InfoContext(ctx, "recovered", slog.String("op", what))
			return nil
		case err == nil || final(err):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !failing:
			r.log.WarnContext(ctx, "consumer failed; will retry", slog.String("op", what), slog.Any("err", err))
			if p, ok := errors.AsType[*panicError](err); ok {
				r.log.ErrorContext(ctx, "panic", slog.Any("value", p.value), slog.String("stack", string(p.stack)))
			}
		}
		failing = true
		r.backOff(ctx, wait)
	}
}

// backOff waits for delay with jitter, so that nodes that failed together do not retry
// together.
func (r *runner) backOff(ctx context.Context, wait time.Duration) {
	r.retries.Add(1)
	pause(ctx, wait/2+rand.N(wait/2)) //nolint:gosec // no secret
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
