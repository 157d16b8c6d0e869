package watch

import (
	"context"
	"errors"
	"sync"

	"porchlight.dev/porchlight/internal/store"
)

// owed is what this node has to do again. The zero value is nothing.
type owed struct {
	mu      sync.Mutex
	targets map[store.User]struct{} // to be evaluated: they could not be read
	owners  map[store.User]struct{} // whose pending watches could not be listed
	told    map[string]struct{}     // delivered watches whose documents are not removed yet
}

func remember[K comparable](m *map[K]struct{}, keys ...K) {
	if *m == nil {
		*m = make(map[K]struct{})
	}
	for _, k := range keys {
		(*m)[k] = struct{}{}
	}
}

func take[K comparable](m map[K]struct{}) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	clear(m)
	return keys
}

func (r *Registry) owe(targets ...store.User) {
	r.owed.mu.Lock()
	defer r.owed.mu.Unlock()
	remember(&r.owed.targets, targets...)
}

func (r *Registry) takeOwed() []store.User {
	r.owed.mu.Lock()
	defer r.owed.mu.Unlock()
	return take(r.owed.targets)
}

func (r *Registry) oweOwner(owner store.User) {
	r.owed.mu.Lock()
	defer r.owed.mu.Unlock()
	remember(&r.owed.owners, owner)
}

// deliverOwed delivers what could not be listed when a stream opened.
func (r *Registry) deliverOwed(ctx context.Context) error {
	r.owed.mu.Lock()
	owners := take(r.owed.owners)
	r.owed.mu.Unlock()
	var failed error
	for _, o := range owners {
		pending, err := r.Pending(ctx, o.Account, o.ID)
		failed = errors.Join(failed, err)
		for i := range pending {
			r.deliver(ctx, &pending[i])
		}
	}
	return failed
}

func (r *Registry) isTold(key string) bool {
	r.owed.mu.Lock()
	defer r.owed.mu.Unlock()
	_, told := r.owed.told[key]
	return told
}

// Told ends a watch that was delivered to its owner. If that fails, Run does it later.
func (r *Registry) Told(ctx context.Context, w Watch) error {
	r.owed.mu.Lock()
	remember(&r.owed.told, w.key())
	r.owed.mu.Unlock()
	return r.endTold(ctx, w.key())
}

func (r *Registry) endTold(ctx context.Context, key string) error {
	if err := r.remove(ctx, key); err != nil {
		return err
	}
	r.owed.mu.Lock()
	defer r.owed.mu.Unlock()
	delete(r.owed.told, key)
	return nil
}

func (r *Registry) removeTold(ctx context.Context) error {
	r.owed.mu.Lock()
	keys := make([]string, 0, len(r.owed.told))
	for key := range r.owed.told {
		keys = append(keys, key)
	}
	r.owed.mu.Unlock()
	var failed error
	for _, key := range keys {
		failed = errors.Join(failed, r.endTold(ctx, key))
	}
	return failed
}
