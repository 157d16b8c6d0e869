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
	// saveEvery is how often the position of a consumer is saved while it changes.
	saveEvery = 500 * time.Millisecond
	// checkEvery is how often a node checks whether a consumer is assigned to it.
	checkEvery = time.Second
	// stopTimeout bounds how long giving a consumer back waits for the end of its work.
	stopTimeout    = 5 * time.Second
	releaseTimeout = 2 * time.Second
	firstBackoff   = 100 * time.Millisecond
	maxBackoff     = 2 * time.Second
	maxSaveBackoff = time.Second
	// maxTries is how often an entry is tried alone before it is quarantined.
	maxTries = 3
)

// A runner runs one consumer whenever this node has it.
type runner struct {
	Options

	consumer Consumer
	log      *slog.Logger
	own      *ownership    // used by run, and while the consumer is held by whoever holds saving
	saving   chan struct{} // a mutex: has an element while a position is being saved
	retries  atomic.Uint64
	moved    chan struct{} // the position is to be saved

	mu          sync.Mutex // guards the fields below
	running     bool
	at          store.Position // every entry up to it was handled
	unsaved     int            // entries that were handled since the position that was saved
	oldest      time.Time      // of the first entry that was not handled, as far as known
	quarantined uint64
}

// run acquires the consumer and consumes whenever it can, until ctx ends or the store
// fails or closes.
func (r *runner) run(ctx context.Context) error {
	for ctx.Err() == nil {
		var held bool
		err := r.retry(ctx, "acquire the consumer", maxBackoff, func() (err error) {
			held, err = r.own.acquire(ctx)
			return err
		})
		if held {
			err = r.hold(ctx)
		}
		switch {
		case errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrClosed):
			return err
		case errors.Is(err, errLost):
			r.log.WarnContext(ctx, "consumer lost; another node may run it")
		}
		pause(ctx, checkEvery)
	}
	return nil
}

// hold consumes while this node holds the consumer. All work ends at once when ctx ends or the
// consumer is lost. When it is assigned to another node, only reading ends, and the group that is
// being handled is completed.
func (r *runner) hold(ctx context.Context) error {
	work, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	reading, giveBack := context.WithCancel(work)
	defer giveBack()
	r.begin()
	defer r.end()
	var keeping sync.WaitGroup
	keeping.Go(func() { r.keepSaving(work, lose) })
	if r.Nodes != nil {
		r.log.InfoContext(ctx, "this node runs the consumer", slog.Uint64("position", uint64(r.own.value.Position)))
		keeping.Go(func() { r.watchNodes(work, lose, giveBack) })
	}
	err := r.consume(work, reading)
	lose(err)
	keeping.Wait()
	r.stopHandler(ctx)
	if cause := context.Cause(work); errors.Is(cause, errLost) {
		return errLost
	}
	if !final(err) {
		r.release(ctx)
	}
	return err
}

// stopHandler waits until the work of the consumer has ended.
func (r *runner) stopHandler(ctx context.Context) {
	s, ok := r.consumer.Handler.(Stopper)
	if !ok {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer stop()
	s.Stop(ctx)
}

func (r *runner) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.at, r.unsaved, r.oldest = true, r.own.value.Position, 0, time.Time{}
	r.moved = make(chan struct{}, 1)
}

func (r *runner) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = false
}

// watchNodes ends the work when this node may be declared dead or has been, and the reading
// when the consumer is assigned to another node.
func (r *runner) watchNodes(ctx context.Context, lose context.CancelCauseFunc, giveBack context.CancelFunc) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !r.own.holds() {
			lose(errLost)
			return
		}
		if !r.own.isOwner() {
			r.log.InfoContext(ctx, "this node gives the consumer back")
			giveBack()
			return
		}
	}
}

// keepSaving saves the position until ctx ends. It ends the work if the consumer is lost.
func (r *runner) keepSaving(ctx context.Context, lose context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.moved:
		}
		if err := r.savePosition(ctx); err != nil {
			lose(err) // without effect if ctx ended
			return
		}
		pause(ctx, saveEvery)
	}
}

// savePosition saves until it succeeds, the consumer is lost or ctx ends.
func (r *runner) savePosition(ctx context.Context) error {
	r.saving <- struct{}{}
	defer func() { <-r.saving }()
	return r.retry(ctx, "save the position", maxSaveBackoff, func() error {
		r.mu.Lock()
		at, saved := r.at, r.unsaved
		r.mu.Unlock()
		if err := r.own.save(ctx, at); err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.unsaved -= saved
		return nil
	})
}

// boundRepeats saves the position before n entries are handled, if otherwise more than one
// group could be handled again after a takeover.
func (r *runner) boundRepeats(ctx context.Context, n int) error {
	r.mu.Lock()
	unsaved := r.unsaved
	r.mu.Unlock()
	if r.Nodes == nil || unsaved+n <= store.MaxFeedGroup {
		return nil
	}
	return r.savePosition(ctx)
}

func (r *runner) position() store.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// release saves the position and gives the consumer back.
func (r *runner) release(ctx context.Context) {
	at := r.position()
	if r.Nodes == nil && at == r.own.value.Position {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer stop()
	if err := r.own.release(ctx, at); err != nil && !final(err) {
		r.log.WarnContext(ctx, "could not save the position; entries will be handled again", slog.Any("err", err))
	}
}

// consume starts the consumer and passes it the log. The consumer's work has ctx.
func (r *runner) consume(ctx, reading context.Context) error {
	err := r.retry(reading, "start the consumer", maxBackoff, func() error {
		q, _, err := readQuarantine(ctx, r.Store, r.consumer.Name)
		if err != nil {
			return err
		}
		r.setQuarantined(q.Count)
		if s, ok := r.consumer.Handler.(Starter); ok {
			return Guard(func() error { return s.Start(ctx) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.follow(ctx, reading)
}

// follow passes the log to the consumer and resumes after a failure.
func (r *runner) follow(ctx, reading context.Context) error {
	failing := false
	for wait := firstBackoff; ; wait = min(2*wait, maxBackoff) {
		err := r.Store.Feed(reading, r.position(), func(entries []store.Entry) error {
			if failing {
				failing, wait = false, firstBackoff
				r.log.InfoContext(ctx, "recovered", slog.String("op", "read the log"))
			}
			return r.process(ctx, reading, entries)
		})
		if reading.Err() != nil || final(err) {
			return err
		}
		if !failing {
			failing = true
			r.log.WarnContext(ctx, "cannot read the commit log; will retry", slog.Any("err", err))
		}
		r.backOff(reading, wait)
	}
}

// A batch is a group of entries that are being handled.
type batch struct {
	left  []store.Entry
	alone bool // one at a time: the group failed, and no error said which entry is to blame
	tries int  // of the first one alone
}

func (b *batch) next() []store.Entry {
	if b.alone {
		return b.left[:1]
	}
	return b.left
}

// process handles a group of entries except those that are quarantined.
func (r *runner) process(ctx, reading context.Context, entries []store.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := r.boundRepeats(reading, len(entries)); err != nil {
		return err
	}
	r.noteOldest(entries[0].Time)
	b := batch{left: entries}
	err := r.retry(reading, "handle entries", maxBackoff, func() (err error) {
		for len(b.left) > 0 && err == nil {
			err = r.handle(ctx, &b)
		}
		return err
	})
	if err != nil {
		return err
	}
	r.advance(entries)
	return nil
}

// handle tries once.
func (r *runner) handle(ctx context.Context, b *batch) error {
	if failed := r.damaged(b.left); len(failed) > 0 {
		return r.quarantine(ctx, b, failed)
	}
	if !r.own.holds() {
		return errLost
	}
	next := b.next()
	err := Guard(func() error { return r.consumer.Handle(ctx, next) })
	if err == nil {
		b.left, b.tries = b.left[len(next):], 0
		return nil
	}
	return r.judge(ctx, b, err)
}

// judge decides what to do about an error: nil says that an entry was quarantined, and an
// error that the handling is to be retried.
func (r *runner) judge(ctx context.Context, b *batch, err error) error {
	if Transient(err) {
		return err
	}
	if p, ok := errors.AsType[*PermanentError](err); ok && contains(b.left, p.At) {
		return r.quarantine(ctx, b, []*PermanentError{p})
	}
	if len(b.next()) > 1 {
		b.alone = true
		return err
	}
	if b.tries++; b.tries < maxTries {
		return err
	}
	return r.quarantine(ctx, b, []*PermanentError{{b.left[0].At, err}})
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

// quarantine moves entries to the quarantine.
func (r *runner) quarantine(ctx context.Context, b *batch, failed []*PermanentError) error {
	count, err := addQuarantined(ctx, r.Store, r.consumer.Name, r.Clock(), failed)
	if err != nil {
		return err
	}
	r.setQuarantined(count)
	for _, p := range failed {
		r.log.ErrorContext(ctx, "entry quarantined", slog.Uint64("position", uint64(p.At)), slog.Any("err", p.Err))
	}
	b.tries = 0
	b.left = slices.DeleteFunc(slices.Clone(b.left), func(e store.Entry) bool {
		return slices.ContainsFunc(failed, func(p *PermanentError) bool { return p.At == e.At })
	})
	return nil
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

// advance records that every entry up to the end of a group was handled.
func (r *runner) advance(group []store.Entry) {
	last := &group[len(group)-1]
	r.noteOldest(last.Time)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = last.At
	r.unsaved += len(group)
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

// Guard turns a panic into an error. A handler needs it for goroutines of its own.
func Guard(f func() error) (err error) {
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
