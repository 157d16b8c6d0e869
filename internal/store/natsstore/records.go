package natsstore

import (
	"context"
	"sync"

	"porchlight.dev/porchlight/internal/store"
)

// userQueues serialises the updates of each user on this node. Concurrent ones would only
// supersede each other.
type userQueues struct {
	mu sync.Mutex // guards m
	m  map[store.User]*queue
}

type queue struct {
	slot  chan struct{} // one element: a caller has the queue
	users int           // callers that have it or wait for it
}

// enter waits with await until the caller has the queue of u. leave passes it to the next
// caller.
func (qs *userQueues) enter(u store.User, await func(turn chan<- struct{}) error) (leave func(), err error) {
	qs.mu.Lock()
	q := qs.m[u]
	if q == nil {
		q = &queue{slot: make(chan struct{}, 1)}
		qs.m[u] = q
	}
	q.users++
	qs.mu.Unlock()
	if err := await(q.slot); err != nil {
		qs.release(u, q)
		return nil, err
	}
	return func() { <-q.slot; qs.release(u, q) }, nil
}

// enterQueue waits until the caller has the queue of u.
func (s *Store) enterQueue(ctx context.Context, u store.User) (leave func(), err error) {
	return s.queues.enter(u, func(turn chan<- struct{}) error { return s.awaitTurn(ctx, turn) })
}

func (qs *userQueues) release(u store.User, q *queue) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(qs.m, u)
	}
}

// recent is a cache of the most recently used values. It has at most twice size of them,
// in two generations: a value that is not used while the young generation fills is
// evicted.
type recent[K comparable, V any] struct {
	mu         sync.Mutex // guards the fields below
	size       int
	young, old map[K]V
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{size: size, young: make(map[K]V)}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		r.add(k, v)
	}
	return v, ok
}

func (r *recent[K, V]) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.young) + len(r.old)
}

func (r *recent[K, V]) put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(k, v)
}

// add is put with mu locked.
func (r *recent[K, V]) add(k K, v V) {
	if len(r.young) >= r.size {
		r.old, r.young = r.young, make(map[K]V)
	}
	delete(r.old, k) // so that len counts it once
	r.young[k] = v
}

func (r *recent[K, V]) evict(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, k)
	delete(r.old, k)
}
