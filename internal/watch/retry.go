package watch

import (
	"context"
	"errors"
	"sync"

	"porchlight.dev/porchlight/internal/store"
)

// retries is the work of this node that failed, for Run to try again. The zero value
// is empty.
type retries struct {
	mu        sync.Mutex
	targets   map[store.User]struct{} // whose evaluation failed
	owners    map[store.User]struct{} // whose pending watches could not be listed
	delivered map[string]struct{}     // keys of delivered watches whose documents are not removed yet
}

func addKeys[K comparable](m *map[K]struct{}, keys ...K) {
	if *m == nil {
		*m = make(map[K]struct{})
	}
	for _, k := range keys {
		(*m)[k] = struct{}{}
	}
}

func takeKeys[K comparable](m map[K]struct{}) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	clear(m)
	return keys
}

func (r *Registry) retryLater(targets ...store.User) {
	r.retries.mu.Lock()
	defer r.retries.mu.Unlock()
	addKeys(&r.retries.targets, targets...)
}

func (r *Registry) takeTargets() []store.User {
	r.retries.mu.Lock()
	defer r.retries.mu.Unlock()
	return takeKeys(r.retries.targets)
}

func (r *Registry) retryOwner(owner store.User) {
	r.retries.mu.Lock()
	defer r.retries.mu.Unlock()
	addKeys(&r.retries.owners, owner)
}

// retryPending delivers the watches that could not be listed when a stream opened.
func (r *Registry) retryPending(ctx context.Context) error {
	r.retries.mu.Lock()
	owners := takeKeys(r.retries.owners)
	r.retries.mu.Unlock()
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

func (r *Registry) isDelivered(key string) bool {
	r.retries.mu.Lock()
	defer r.retries.mu.Unlock()
	_, delivered := r.retries.delivered[key]
	return delivered
}

// Acknowledge removes a watch that was delivered to its owner. If that fails, Run
// retries.
func (r *Registry) Acknowledge(ctx context.Context, w Watch) error {
	r.retries.mu.Lock()
	addKeys(&r.retries.delivered, w.key())
	r.retries.mu.Unlock()
	return r.removeDelivered(ctx, w.key())
}

func (r *Registry) removeDelivered(ctx context.Context, key string) error {
	if err := r.remove(ctx, key); err != nil {
		return err
	}
	r.retries.mu.Lock()
	defer r.retries.mu.Unlock()
	delete(r.retries.delivered, key)
	return nil
}

func (r *Registry) retryRemovals(ctx context.Context) error {
	r.retries.mu.Lock()
	keys := make([]string, 0, len(r.retries.delivered))
	for key := range r.retries.delivered {
		keys = append(keys, key)
	}
	r.retries.mu.Unlock()
	var failed error
	for _, key := range keys {
		failed = errors.Join(failed, r.removeDelivered(ctx, key))
	}
	return failed
}
