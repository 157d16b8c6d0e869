package client

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"porchlight.dev/porchlight/api"
)

// A View has the latest presences of the users that a [Stream] follows. It is always
// consistent: a reader sees a whole snapshot or none of it, and a user's presence never
// goes back to an older one. While the stream is disconnected, the view stays as it
// was. It is safe for concurrent use, and readers do not block the stream.
type View struct {
	mu      *sync.Mutex // the stream's
	users   map[string]*seen
	names   map[string]string // the ids of users, by the names that they were followed by
	folded  map[string]string // the same for addresses in lower case
	holds   map[string]int    // for an id, how many of the names are its
	early   map[string]api.Presence
	clock   uint64 // counts what was applied
	missing int    // of the wanted, how many have no snapshot yet
	readers map[*reader]struct{}
	ended   chan struct{}
}

// What was seen of one user.
type seen struct {
	api.Presence
	lists []string // that have the user, as far as it is known
	// someList: one of several lists has the user. The server does not say which.
	someList bool
	stale    bool   // from before a reset: any new presence replaces it
	touched  uint64 // when, by View.clock
}

func newView(mu *sync.Mutex) *View {
	return &View{
		mu: mu, users: make(map[string]*seen), names: make(map[string]string), folded: make(map[string]string), holds: make(map[string]int),
		early: make(map[string]api.Presence), readers: make(map[*reader]struct{}), ended: make(chan struct{}),
	}
}

// Get returns the presence of a user, by id or by the name that it was followed by.
// The case of ASCII letters in an address does not matter. It is false for users that
// are not followed, that do not exist, or whose presence has not arrived yet.
func (v *View) Get(user string) (api.Presence, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s, ok := v.users[v.meant(user)]
	if !ok {
		return api.Presence{}, false
	}
	return s.Presence, true
}

// All returns the presences, by id.
func (v *View) All() []api.Presence {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]api.Presence, 0, len(v.users))
	for _, id := range slices.Sorted(maps.Keys(v.users)) {
		all = append(all, v.users[id].Presence)
	}
	return all
}

// Complete reports whether the server has answered for all followed users. After a
// reset it is false until the next snapshot arrives.
func (v *View) Complete() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.missing == 0
}

// A Change is a user whose presence has changed, or who is no longer followed.
type Change struct {
	api.Presence      // if Gone, the last known
	Gone         bool // deleted, removed from the contacts or members, or unfollowed
}

// Changes yields all users of the view, and then each change, until ctx or the stream
// ends. A slow loop gets only the newest change of each user.
func (v *View) Changes(ctx context.Context) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		r := v.join()
		defer v.leave(r)
		for last := false; ; {
			change, ok := v.next(r)
			switch {
			case ok && (ctx.Err() != nil || !yield(change)):
				return
			case ok:
			case last:
				return
			default:
				last = !r.wait(ctx, v.ended) // the changes just before the end need no wait
			}
		}
	}
}

// A reader is one loop over the changes.
type reader struct {
	queue    []string // ids that changed, each once
	queued   map[string]bool
	received map[string]api.Presence // by the loop, last
	wake     chan struct{}
}

func (v *View) join() *reader {
	r := &reader{queued: make(map[string]bool), received: make(map[string]api.Presence), wake: make(chan struct{}, 1)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.readers[r] = struct{}{}
	for _, id := range slices.Sorted(maps.Keys(v.users)) {
		r.note(id)
	}
	return r
}

func (v *View) leave(r *reader) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.readers, r)
}

func (v *View) next(r *reader) (Change, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(r.queue) > 0 {
		id := r.queue[0]
		r.queue = r.queue[1:]
		delete(r.queued, id)
		last, known := r.received[id]
		now, there := v.users[id]
		switch {
		case there && (!known || last != now.Presence):
			r.received[id] = now.Presence
			return Change{Presence: now.Presence}, true
		case !there && known:
			delete(r.received, id)
			return Change{Presence: last, Gone: true}, true
		}
	}
	return Change{}, false
}

func (r *reader) note(id string) {
	if r.queued[id] {
		return
	}
	r.queued[id] = true
	r.queue = append(r.queue, id)
	notify(r.wake)
}

// wait reports whether there may be more.
func (r *reader) wait(ctx context.Context, ended <-chan struct{}) bool {
	select {
	case <-r.wake:
		return true
	case <-ctx.Done():
		return false
	case <-ended:
		return false
	}
}

// notify wakes the waiting goroutine. If it is not waiting, its next wait returns at once.
func notify(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// The functions below are called with the lock held.

// meant is the id of the user that an id or a name refers to.
func (v *View) meant(user string) string {
	if id, ok := v.names[user]; ok {
		return id
	}
	if strings.Contains(user, "@") {
		return v.folded[foldAddress(user)]
	}
	return user
}

// put stores a presence if it is newer than the known one.
func (v *View) put(p api.Presence) *seen {
	p.Cursor = ""
	v.clock++
	s, ok := v.users[p.User]
	switch {
	case !ok:
		s = &seen{Presence: p}
		v.users[p.User] = s
	case p.Revision < s.Revision && !s.stale:
		return s // it arrived out of order
	}
	if p.AskedAs == "" {
		p.AskedAs = s.AskedAs // only the first snapshot has it
	}
	if !ok || s.Presence != p {
		s.Presence = p
		v.changed(p.User)
	}
	s.stale, s.touched = false, v.clock
	return s
}

func (v *View) changed(id string) {
	for r := range v.readers {
		r.note(id)
	}
}

// name sets the user that a name refers to; "" for none.
func (v *View) name(as, id string) {
	old := v.names[as]
	if old == id {
		return
	}
	v.removeName(as)
	if id != "" {
		v.names[as] = id
		v.holds[id]++
		if strings.Contains(as, "@") {
			v.folded[foldAddress(as)] = id
		}
	}
	if old == "" {
		return
	}
	if v.holds[old]--; v.holds[old] == 0 {
		delete(v.holds, old)
	}
	v.release(old)
}

// removeName removes a name. An address that differs only in case may remain.
func (v *View) removeName(as string) {
	delete(v.names, as)
	form := foldAddress(as)
	if _, ok := v.folded[form]; !ok {
		return
	}
	delete(v.folded, form)
	for other, id := range v.names {
		if len(other) == len(as) && foldAddress(other) == form {
			v.folded[form] = id
		}
	}
}

// foldAddress converts ASCII letters to lower case, as the server does to compare
// addresses.
func foldAddress(address string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, address)
}

// release removes a user without names who is in no list.
func (v *View) release(id string) {
	if s, ok := v.users[id]; ok && len(s.lists) == 0 && !s.someList && v.holds[id] == 0 {
		delete(v.users, id)
		v.changed(id)
	}
}

// drop removes a user, and returns the names that referred to it.
func (v *View) drop(id string) (names []string) {
	for as, named := range v.names {
		if named == id {
			v.removeName(as)
			names = append(names, as)
		}
	}
	delete(v.holds, id)
	if _, ok := v.users[id]; ok {
		delete(v.users, id)
		v.changed(id)
	}
	return names
}

// add puts a user into a list, or into one of several.
func (s *seen) add(lists ...string) {
	switch {
	case len(lists) > 1:
		s.someList = true
	case !slices.Contains(s.lists, lists[0]):
		s.lists = append(s.lists, lists[0])
	}
}

// removeFrom removes a user from a list. It reports whether the user may be in another one
// that has to be requested.
func (v *View) removeFrom(id, list string) (unsure bool) {
	s, ok := v.users[id]
	if !ok || !s.someList && !slices.Contains(s.lists, list) {
		return false
	}
	unsure, s.someList = s.someList, false
	s.lists = slices.DeleteFunc(s.lists, func(name string) bool { return name == list })
	v.release(id)
	return unsure
}

// absentFrom are the users of a list that are not in a full snapshot of it, without those
// that arrived while it was being sent.
func (v *View) absentFrom(list string, since uint64, present map[string]bool) []string {
	var absent []string
	for id, s := range v.users {
		if slices.Contains(s.lists, list) && !present[id] && s.touched <= since {
			absent = append(absent, id)
		}
	}
	return absent
}

// expire marks presences as older than a reset. Readers still get them until newer ones
// arrive.
func (v *View) expire(ids iter.Seq[string]) {
	for id := range ids {
		if s, ok := v.users[id]; ok {
			s.stale = true
		}
	}
}
