package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// An op is one request to the committer. Its caller fills in what is asked; who
// takes it from the queue owns it until done is sent to.
type op struct {
	user store.User
	fn   store.Decide
	// warm is what the database held for user, nil for nothing, when the cache
	// had seen warmAt installs; it counts only if warmed.
	prefetched       *item
	prefetchInstalls uint64
	hasPrefetched    bool

	// work is anything but an update: it stages what it likes. The answer waits
	// until all that was staged by then is durable.
	work func(*committer) error

	state atomic.Uint32
	done  chan struct{} // one element: the answer is there

	record store.Record
	err    error
}

// Who has an op.
const (
	queued uint32 = iota
	started
	canceled
)

func (o *op) start() bool  { return o.state.CompareAndSwap(queued, started) }
func (o *op) cancel() bool { return o.state.CompareAndSwap(queued, canceled) }

func (o *op) answer() { o.done <- struct{}{} }

func (o *op) fail(err error) {
	o.record, o.err = store.Record{}, err
	o.answer()
}

// ops keeps answered ones for use again: nobody else holds them then.
type opPool struct{ pool sync.Pool }

func (p *opPool) get() *op {
	if o, ok := p.pool.Get().(*op); ok {
		return o
	}
	return &op{done: make(chan struct{}, 1)}
}

func (p *opPool) put(o *op) {
	done := o.done
	*o = op{done: done}
	p.pool.Put(o)
}

// answerGracePeriod is how long a caller whose context ended waits for the answer
// to what was already staged. It takes one sync of the disk.
const answerGracePeriod = time.Second

// do hands o over and waits for its answer. o is not the caller's after that.
func (s *Store) do(ctx context.Context, o *op) (store.Record, error) {
	select {
	case s.queue <- o:
	default:
		select {
		case s.queue <- o:
		case <-ctx.Done():
			return store.Record{}, ctx.Err()
		case <-s.halted:
			return store.Record{}, s.haltedError()
		}
	}
	select {
	case <-o.done:
		return s.result(o)
	case <-ctx.Done():
		if o.cancel() {
			return store.Record{}, ctx.Err()
		}
		return s.awaitResult(o)
	case <-s.halted:
		return s.resultAfterHalt(o)
	}
}

// take reads an answer.
func (s *Store) result(o *op) (store.Record, error) {
	record, err := o.record, o.err
	s.ops.put(o)
	return record, err
}

// lastCall waits a little longer for the answer to a staged op.
func (s *Store) awaitResult(o *op) (store.Record, error) {
	grace := time.NewTimer(answerGracePeriod)
	defer grace.Stop()
	select {
	case <-o.done:
		return s.result(o)
	case <-s.halted:
		return s.resultAfterHalt(o)
	case <-grace.C:
		return store.Record{}, store.ErrUnknown
	}
}

// afterHalt is for an op that was in the queue when the store failed or closed.
func (s *Store) resultAfterHalt(o *op) (store.Record, error) {
	select {
	case <-o.done:
		return s.result(o)
	default:
	}
	if o.cancel() {
		return store.Record{}, s.haltedError()
	}
	return store.Record{}, store.ErrUnknown
}

// submit runs work on the committer and returns when what it staged is durable.
func (s *Store) submit(ctx context.Context, work func(*committer) error) error {
	o := s.ops.get()
	o.work = work
	_, err := s.do(ctx, o)
	return err
}

// errPanic: a function given to Update panicked. Nothing was stored.
var errPanic = errors.New("the function given to the store panicked")

// call runs fn, and makes a panic of it the caller's error: the committer serves
// everybody else as well.
func call(fn store.Decide, was presence.Recorded) (next store.Change, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	next, err = fn(was)
	returned = true
	return next, err
}
