package pebblestore

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// An op is one request to the committer. The caller fills it in; after it is queued,
// the committer owns it until it sends to done, or, if it has a reply, until it passes
// it to the replier.
type op struct {
	user store.User
	fn   store.Decide
	// prefetched is the durable record of user, nil for none, as of
	// prefetchInstalls installs in the cache. It is valid only if hasPrefetched.
	prefetched       *item
	prefetchInstalls uint64
	hasPrefetched    bool

	// reply is set for an update that was begun: its caller does not wait at done.
	reply store.Reply
	begun int // its index in replier.begun

	// work is an operation other than an update. The answer waits until everything
	// that was staged by then is durable.
	work func(*committer) error

	state atomic.Uint32
	done  chan struct{} // buffers one element: the answer is ready

	record store.Record
	err    error
}

// The states of an op.
const (
	queued uint32 = iota
	started
	canceled
)

func (o *op) start() bool  { return o.state.CompareAndSwap(queued, started) }
func (o *op) cancel() bool { return o.state.CompareAndSwap(queued, canceled) }

func (o *op) fail(err error) { o.record, o.err = store.Record{}, err }

// answer passes on the results of ops.
func (s *Store) answer(ops ...*op) {
	begun := ops[:0]
	for _, o := range ops {
		if o.reply != nil {
			begun = append(begun, o)
		} else {
			o.done <- struct{}{}
		}
	}
	s.replier.settle(begun)
}

// An opPool recycles ops that were answered: their callers alone hold them then.
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

// answerGracePeriod is how long a caller whose context ended still waits for the
// answer to an operation that has started. One sync of the disk is usually enough.
const answerGracePeriod = time.Second

// do queues o and waits for its result. The caller must not use o afterwards.
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

// result reads the result of an answered op and recycles the op.
func (s *Store) result(o *op) (store.Record, error) {
	record, err := o.record, o.err
	s.ops.put(o)
	return record, err
}

// awaitResult waits for the grace period for the result of a started op.
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

// resultAfterHalt gives the result of an op that was queued when the store failed or
// closed.
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

// call runs fn and turns a panic into the caller's error: the committer must go on
// for all other callers.
func call(fn store.Decide, was presence.Recorded) (next store.Change, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if p := recover(); p != nil {
			err = &store.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	next, err = fn(was)
	returned = true
	return next, err
}
