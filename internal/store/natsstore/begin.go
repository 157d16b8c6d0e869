package natsstore

import (
	"context"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// maxBegun bounds the updates that were begun and have no reply yet.
const maxBegun = 1024

// begins holds the updates that have no reply yet. Each user with pending updates has a
// goroutine, which runs them in order.
type begins struct {
	slots   chan struct{} // one element for each update
	running sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	closed bool
	users  map[store.User][]begun
}

type begun struct {
	fn    store.Decide
	reply store.Reply
	at    time.Time
}

func newBegins() begins {
	return begins{slots: make(chan struct{}, maxBegun), users: make(map[store.User][]begun)}
}

// Begin implements store.Store.
func (s *Store) Begin(u store.User, fn store.Decide, reply store.Reply) {
	s.begins.slots <- struct{}{}
	first, ok := s.begins.add(u, begun{fn, reply, time.Now()})
	switch {
	case !ok:
		<-s.begins.slots
		reply.Call(s.log, store.Record{}, s.haltedError())
	case first:
		go s.runBegun(u)
	}
}

// add queues an update. first says that u has no goroutine yet; ok is false if the store
// is closed.
func (b *begins) add(u store.User, next begun) (first, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, false
	}
	queued, running := b.users[u]
	b.users[u] = append(queued, next)
	if !running {
		b.running.Add(1)
	}
	return !running, true
}

// runBegun runs the updates of u until none is queued.
func (s *Store) runBegun(u store.User) {
	defer s.begins.running.Done()
	for {
		next, ok := s.begins.next(u)
		if !ok {
			return
		}
		record, err := s.updateBegun(u, next)
		<-s.begins.slots
		next.reply.Call(s.log, record, err)
	}
}

// updateBegun is Update for an update that waited for its turn, as in awaitTurn.
func (s *Store) updateBegun(u store.User, next begun) (store.Record, error) {
	if time.Since(next.at) >= s.opts.Timeout && s.sinceAck() >= s.opts.Timeout {
		return store.Record{}, s.unavailable(errNoTurn)
	}
	return s.Update(context.Background(), u, next.fn)
}

func (b *begins) next(u store.User) (begun, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	queued := b.users[u]
	if len(queued) == 0 {
		delete(b.users, u)
		return begun{}, false
	}
	b.users[u] = queued[1:]
	return queued[0], true
}

// queued is how many updates wait for an earlier one of their user.
func (b *begins) queued() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, waiting := range b.users {
		n += len(waiting)
	}
	return n
}

// close refuses further updates, and waits for those that were begun. The closing store
// refuses the queued ones.
func (b *begins) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.running.Wait()
}
