package watch

import (
	"sync"

	"porchlight.dev/porchlight/internal/store"
)

// An index is what memory holds of the watches in the store, so that a change
// of a user whom nobody waits for costs no read. The zero value is empty.
//
// It may be behind the store: what fires is decided on the document.
type index struct {
	mu      sync.Mutex
	entries map[string]*indexed                // by key
	waiting map[store.User]map[string]*indexed // by target: those that have not fired
	// owed are targets to look at though they did not change: their watches are
	// new here, or looking failed.
	owed  map[store.User]struct{}
	round uint64 // of refreshes
}

type indexed struct {
	watch   Watch
	version string // of the document; "": made here, and not listed yet
	round   uint64 // in which it was listed or made
	broken  error  // the document cannot be read
}

// add puts a watch in that has not fired.
func (x *index) add(w Watch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.put(w.key(), &indexed{watch: w, round: x.round})
}

func (x *index) put(key string, e *indexed) {
	if x.entries == nil {
		x.entries, x.owed = make(map[string]*indexed), make(map[store.User]struct{})
		x.waiting = make(map[store.User]map[string]*indexed)
	}
	x.remove(key)
	x.entries[key] = e
	if e.broken != nil || !e.watch.Fired.IsZero() {
		return
	}
	target := e.watch.target()
	if x.waiting[target] == nil {
		x.waiting[target] = make(map[string]*indexed)
	}
	x.waiting[target][key] = e
}

// drop takes a watch out that is gone, or has fired.
func (x *index) drop(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(key)
}

func (x *index) remove(key string) {
	e := x.entries[key]
	if e == nil {
		return
	}
	delete(x.entries, key)
	target := e.watch.target()
	delete(x.waiting[target], key)
	if len(x.waiting[target]) == 0 {
		delete(x.waiting, target)
	}
}

// of is the watches that wait for a user.
func (x *index) of(target store.User) []Watch {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []Watch
	for _, e := range x.waiting[target] {
		list = append(list, e.watch)
	}
	return list
}

// watched is the users of entries whom somebody waits for, each once.
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

// owe asks for a look at targets with the next refresh.
func (x *index) owe(targets ...store.User) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, u := range targets {
		if x.waiting[u] != nil {
			x.owed[u] = struct{}{}
		}
	}
}

// takeOwed is the targets that are owed a look.
func (x *index) takeOwed() []store.User {
	x.mu.Lock()
	defer x.mu.Unlock()
	users := make([]store.User, 0, len(x.owed))
	for u := range x.owed {
		users = append(users, u)
	}
	clear(x.owed)
	return users
}

// begin starts a refresh, and gives its round.
func (x *index) begin() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.round++
	return x.round
}

// merge takes what a refresh listed, and gives the watch. A document that cannot
// be read is an error when it is seen first, and no watch after that.
func (x *index) merge(doc *store.Doc, round uint64) (Watch, error) {
	key := doc.Key.Key
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.entries[key]
	if before != nil && before.version == doc.Version {
		before.round = round
		return before.watch, nil
	}
	w, err := watchOf(doc)
	x.put(key, &indexed{watch: w, version: doc.Version, round: round, broken: err})
	if err == nil && before == nil && w.Fired.IsZero() {
		x.owed[w.target()] = struct{}{}
	}
	return w, err
}

// end takes out what a whole refresh did not list: it is gone. What was made here
// since it began may be missing in it, and stays.
func (x *index) end(round uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key, e := range x.entries {
		if e.round < round {
			x.remove(key)
		}
	}
}

// tellings are the watches that are being told, or were and may be listed still:
// a refresh must not tell them again. The zero value is empty.
type tellings struct {
	mu   sync.Mutex
	busy map[string]int // how many are at it
	told map[string]int // for how many refreshes it is remembered
}

type telling uint8

const (
	untold telling = iota
	beingTold
	told
)

func (t *tellings) of(key string) telling {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.busy[key] > 0:
		return beingTold
	case t.told[key] > 0:
		return told
	default:
		return untold
	}
}

func (t *tellings) enter(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy == nil {
		t.busy, t.told = make(map[string]int), make(map[string]int)
	}
	t.busy[key]++
}

func (t *tellings) leave(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[key]--; t.busy[key] <= 0 {
		delete(t.busy, key)
	}
}

// mark remembers that a watch was told, until refreshes list it no more: its
// document is gone then.
func (t *tellings) mark(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told == nil {
		t.busy, t.told = make(map[string]int), make(map[string]int)
	}
	t.told[key] = 2
}

// age ends a refresh: what it listed was marked again.
func (t *tellings) age() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.told {
		if t.told[key]--; t.told[key] <= 0 {
			delete(t.told, key)
		}
	}
}
