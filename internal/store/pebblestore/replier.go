package pebblestore

import (
	"sync"

	"porchlight.dev/porchlight/internal/store"
)

// A replier replies to the updates that were begun. It has its own goroutine, so that
// replies do not delay the next group. It knows each update from its begin to its reply:
// when the store halts, the committer may be parked inside Pebble, and the replier replies
// in its place.
type replier struct {
	wake chan struct{} // buffers one element: an op is settled
	done chan struct{} // closed after the last reply

	mu      sync.Mutex // guards the fields below
	halted  bool
	begun   []*op // without a result yet
	settled []*op // with a result, in the order of replies
}

func newReplier() replier {
	return replier{wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// add registers an update before it is queued. It returns false if the store has halted;
// then nobody replies to o.
func (r *replier) add(o *op) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted {
		return false
	}
	o.begun = len(r.begun)
	r.begun = append(r.begun, o)
	return true
}

// settle passes on updates that have a result. After a halt they were replied to.
func (r *replier) settle(ops []*op) {
	if len(ops) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted {
		return
	}
	for _, o := range ops {
		r.remove(o)
	}
	r.settled = append(r.settled, ops...)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *replier) remove(o *op) {
	last := len(r.begun) - 1
	moved := r.begun[last]
	r.begun[o.begun], moved.begun = moved, o.begun
	r.begun[last] = nil
	r.begun = r.begun[:last]
}

// takeSettled gives the settled ops, and reuses spare for the next ones.
func (r *replier) takeSettled(spare []*op) []*op {
	r.mu.Lock()
	defer r.mu.Unlock()
	ops := r.settled
	r.settled = spare[:0]
	return ops
}

// halt refuses further updates, and gives those that have no result and will not be
// settled.
func (r *replier) halt() []*op {
	r.mu.Lock()
	defer r.mu.Unlock()
	ops := r.begun
	r.halted, r.begun = true, nil
	return ops
}

// replyAll replies until the store halts.
func (s *Store) replyAll() {
	defer close(s.replier.done)
	var ops []*op
	for {
		select {
		case <-s.replier.wake:
			ops = s.replier.takeSettled(ops)
			s.reply(ops)
		case <-s.halted:
			unsettled := s.replier.halt()
			s.reply(s.replier.takeSettled(nil))
			s.replyUnsettled(unsettled)
			return
		}
	}
}

// reply replies with results, and recycles the ops.
func (s *Store) reply(ops []*op) {
	for i, o := range ops {
		reply, record, err := o.reply, o.record, o.err
		s.ops.put(o)
		ops[i] = nil
		reply.Call(s.log, record, err)
	}
}

// replyUnsettled replies to updates whose result is not known. The committer may still
// hold them, so they are not recycled.
func (s *Store) replyUnsettled(ops []*op) {
	for _, o := range ops {
		err := store.ErrUnknown
		if o.cancel() {
			err = s.haltedError()
		}
		o.reply.Call(s.log, store.Record{}, err)
	}
}
