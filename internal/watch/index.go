package watch

import (
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// An index holds the watches in memory on the node that fires them, so that a change of
// a user without watches costs no read. The zero value is empty.
//
// It may hold watches that no longer exist: the document decides what fires.
type index struct {
	mu      sync.Mutex
	term    uint64                          // of this node; it fires watches while waiting is not nil
	waiting map[store.User]map[string]Watch // those that have not fired, by target and key
}

// begin empties the index and returns the number of the new term.
func (x *index) begin() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.term++
	x.waiting = make(map[store.User]map[string]Watch)
	return x.term
}

// end drops the index because another node fires watches, unless a later term has begun.
func (x *index) end(term uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.term == term {
		x.waiting = nil
	}
}

func (x *index) active() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.waiting != nil
}

// add adds a watch that has not fired, if this node fires watches.
func (x *index) add(w *Watch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.waiting == nil {
		return
	}
	target := w.target()
	if x.waiting[target] == nil {
		x.waiting[target] = make(map[string]Watch)
	}
	x.waiting[target][w.key()] = *w
}

// remove removes a watch that was deleted or has fired.
func (x *index) remove(w *Watch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeKey(w.target(), w.key())
}

func (x *index) removeKey(target store.User, key string) {
	delete(x.waiting[target], key)
	if len(x.waiting[target]) == 0 {
		delete(x.waiting, target)
	}
}

// dropExpired removes the watches that have expired.
func (x *index) dropExpired(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for target, watches := range x.waiting {
		for key := range watches {
			if now.After(watches[key].Expires) {
				x.removeKey(target, key)
			}
		}
	}
}

// of lists the watches that wait for a user.
func (x *index) of(target store.User) []Watch {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []Watch
	for _, w := range x.waiting[target] {
		list = append(list, w)
	}
	return list
}

// targets lists the users that have watches.
func (x *index) targets() []store.User {
	x.mu.Lock()
	defer x.mu.Unlock()
	users := make([]store.User, 0, len(x.waiting))
	for u := range x.waiting {
		users = append(users, u)
	}
	return users
}

// watched lists the users of entries that have watches, each once.
func (x *index) watched(entries []store.Entry) []store.User {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.waiting) == 0 {
		return nil
	}
	var users []store.User
	seen := make(map[store.User]bool)
	for i := range entries {
		u := entries[i].User
		if x.waiting[u] != nil && !seen[u] {
			seen[u] = true
			users = append(users, u)
		}
	}
	return users
}
