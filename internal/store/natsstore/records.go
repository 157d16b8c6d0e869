package natsstore

import (
	"context"
	"sync"

	"porchlight.dev/porchlight/internal/store"
)

// queues let the updates of one user pass one after another. Without them those
// of one node would fight each other for the same version.
type queues struct {
	mu sync.Mutex // guards m
	m  map[store.User]*queue
}

type queue struct {
	slot    chan struct{} // one element: somebody's turn
	waiting int           // who has it and who waits for it
}

// enter waits for u's turn, which the function that it gives ends.
func (qs *queues) enter(ctx context.Context, u store.User) (leave func(), err error) {
	qs.mu.Lock()
	q := qs.m[u]
	if q == nil {
		q = &queue{slot: make(chan struct{}, 1)}
		qs.m[u] = q
	}
	q.waiting++
	qs.mu.Unlock()
	select {
	case q.slot <- struct{}{}:
		return func() { <-q.slot; qs.drop(u, q) }, nil
	case <-ctx.Done():
		qs.drop(u, q)
		return nil, ctx.Err()
	}
}

func (qs *queues) drop(u store.User, q *queue) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if q.waiting--; q.waiting == 0 {
		delete(qs.m, u)
	}
}

// recent keeps the newest of what it is given, at most twice size of them: what
// was not asked for while size others came is dropped.
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

func (r *recent[K, V]) put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(k, v)
}

// add is put, with mu held.
func (r *recent[K, V]) add(k K, v V) {
	if len(r.young) >= r.size {
		r.old, r.young = r.young, make(map[K]V)
	}
	r.young[k] = v
}

func (r *recent[K, V]) evict(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, k)
	delete(r.old, k)
}
