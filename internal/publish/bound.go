package publish

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// guestEvery is how often a node checks a session that a connection to it shares with a
// connection to another node: whether that node still holds it. It is well within Grace.
const guestEvery = 10 * time.Second

// releaseRetry is how long after a failure a release or an idle edge is tried again.
const releaseRetry = time.Second

// bindings are the sessions that connections of this node hold. One goroutine waits for
// the earliest of their instants, so that no session needs a timer: activity only moves
// the instant in memory, and its session returns to the queue when the earlier one comes.
type bindings struct {
	wake chan struct{} // the earliest instant has changed

	mu       sync.Mutex // guards the fields below; never held during I/O
	held     map[store.User][]*held
	busy     map[store.User]*userLock
	due      dueHeap
	detached string // the name under which connections were held when Detach was called last
}

type heldSession struct {
	user store.User
	id   presence.SessionID
}

// A held is a session that this node holds. Its fields are guarded by bindings.mu.
type held struct {
	heldSession
	bindings []*Binding // none: it is to be released
	idle     bool       // on record
	writing  bool       // an idle edge is being written
	guest    bool       // another node holds the session for a connection that shares it
	idleAt   presence.Instant
	revision presence.Revision // of the newest record that was seen

	at    presence.Instant // when to look at it
	index int              // in the heap; -1: it is not in it
}

// A userLock orders what this node writes of one user's held sessions. It exists while
// somebody has it or waits for it.
type userLock struct {
	turn   chan struct{}
	refs   int
	newest *presence.State // that was seen meanwhile
}

func (s *bindings) init() {
	s.wake = make(chan struct{}, 1)
	s.held = make(map[store.User][]*held)
	s.busy = make(map[store.User]*userLock)
}

// lock waits until nothing else is written of u's held sessions by this node.
func (s *bindings) lock(ctx context.Context, u store.User) (unlock func(), err error) {
	s.mu.Lock()
	l := s.busy[u]
	if l == nil {
		l = &userLock{turn: make(chan struct{}, 1)}
		s.busy[u] = l
	}
	l.refs++
	s.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn; s.leave(u, l) }, nil
	case <-ctx.Done():
		s.leave(u, l)
		return nil, ctx.Err()
	}
}

func (s *bindings) leave(u store.User, l *userLock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.refs--; l.refs == 0 {
		delete(s.busy, u)
	}
}

// find is the held session with a key, or nil. The caller has mu.
func (s *bindings) find(key heldSession) *held {
	for _, h := range s.held[key.user] {
		if h.id == key.id {
			return h
		}
	}
	return nil
}

// make is find for a session that may be new.
func (s *bindings) make(key heldSession) *held {
	h := s.find(key)
	if h == nil {
		h = &held{heldSession: key, index: -1}
		s.held[key.user] = append(s.held[key.user], h)
	}
	return h
}

// drop removes a held session. The caller has mu.
func (s *bindings) drop(h *held) {
	s.arm(h, 0)
	rest := slices.DeleteFunc(s.held[h.user], func(other *held) bool { return other == h })
	if len(rest) == 0 {
		delete(s.held, h.user)
		return
	}
	s.held[h.user] = rest
}

// arm sets when to look at h; zero: never. The caller has mu.
func (s *bindings) arm(h *held, at presence.Instant) {
	h.at = at
	switch {
	case at == 0 && h.index >= 0:
		heap.Remove(&s.due, h.index)
	case at == 0:
	case h.index >= 0:
		heap.Fix(&s.due, h.index)
	default:
		heap.Push(&s.due, h)
	}
	if len(s.due) > 0 && s.due[0] == h {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// add adds a binding. Its session becomes idle at idleAt if it is active, unless that is
// known already and the sign-in was no activity. It does nothing and reports false if the
// node meanwhile has another name than the record says.
func (s *bindings) add(b *Binding, idleAt presence.Instant, active bool, current func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !current() {
		return false
	}
	h := s.make(heldSession{b.user, b.id})
	if active || h.idleAt == 0 {
		h.idleAt = idleAt
	}
	h.bindings = append(h.bindings, b)
	s.arm(h, h.edge())
	return true
}

// edge is when an active session becomes idle; zero: never, or it is idle.
func (h *held) edge() presence.Instant {
	if h.idle || h.guest {
		return 0
	}
	return h.idleAt
}

// shared reports whether another node holds the session of a binding.
func (s *bindings) shared(b *Binding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.find(heldSession{b.user, b.id})
	return h != nil && h.guest
}

// stays reports whether a report changes nothing on record. Of activity it remembers when
// the session becomes idle.
func (s *bindings) stays(b *Binding, activity presence.Activity, idleAt presence.Instant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.find(heldSession{b.user, b.id})
	switch {
	case h == nil || !slices.Contains(h.bindings, b) || h.writing || h.guest:
		return false
	case activity == presence.ActivityActive && !h.idle:
		h.idleAt = idleAt
		return true
	default:
		return activity == presence.ActivityUnspecified || activity == presence.ActivityIdle && h.idle
	}
}

// touch notes activity that was reported otherwise than through the connection. It reports
// false if an idle edge is being written.
func (s *bindings) touch(key heldSession, idleAt presence.Instant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.find(key)
	if h != nil && h.writing {
		return false
	}
	if h != nil {
		h.idleAt = idleAt
	}
	return true
}

// release removes a binding. If it was the last of its session, the session is released at
// retry unless it is released before.
func (s *bindings) release(b *Binding, retry presence.Instant) (idleAt presence.Instant, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.find(heldSession{b.user, b.id})
	switch {
	case h == nil || !h.remove(b) || len(h.bindings) > 0:
		return 0, false
	case h.guest:
		s.drop(h)
		return 0, false
	}
	s.arm(h, retry)
	return h.idleAt, true
}

func (h *held) remove(b *Binding) bool {
	i := slices.Index(h.bindings, b)
	if i >= 0 {
		h.bindings = slices.Delete(h.bindings, i, i+1)
	}
	return i >= 0
}

// remove removes a binding whose session needs no release.
func (s *bindings) remove(b *Binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.find(heldSession{b.user, b.id}); h != nil && h.remove(b) && len(h.bindings) == 0 {
		s.drop(h)
	}
}

func (s *bindings) detach(b *Binding) {
	s.mu.Lock()
	s.detached = b.holder
	s.mu.Unlock()
	s.remove(b)
}

// holds reports whether a connection holds the session.
func (s *bindings) holds(key heldSession) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.find(key)
	return h != nil && len(h.bindings) > 0
}

// dropReleased drops a session that was released.
func (s *bindings) dropReleased(key heldSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.find(key); h != nil && len(h.bindings) == 0 {
		s.drop(h)
	}
}

// releaseLater releases sessions that holder may hold at an instant, unless connections hold
// them then.
func (s *bindings) releaseLater(u store.User, holder string, at presence.Instant, ids ...presence.SessionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if id == "" || s.detached == holder {
			continue
		}
		if h := s.make(heldSession{u, id}); len(h.bindings) == 0 && h.index < 0 {
			s.arm(h, at)
		}
	}
}

// Observe is given records as they become durable, in the order of the log, including
// those that other nodes wrote: it is how a connection learns that its session has ended. No
// record depends on it: whatever this node writes of a session names it as the holder.
func (p *Publisher) Observe(records []store.Record) {
	for i := range records {
		p.reconcile(records[i].User, records[i].State)
	}
}

// Holder names this run of the node in records.
func (p *Publisher) Holder() string { return *p.holder.Load() }

// HoldAs is for a node that was declared dead and serves again under another name. The
// sessions that it held end with the earlier name, so their connections end: their clients
// come back to it or to another node.
func (p *Publisher) HoldAs(holder string) {
	p.drop(p.bound.rename(func() { p.holder.Store(&holder) }), presence.ErrUnknownSession)
}

// rename calls do, and returns the bindings that were added before. Those that are added
// afterwards know the new name.
func (s *bindings) rename(do func()) (all []*Binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	for _, sessions := range s.held {
		for _, h := range sessions {
			all = append(all, h.bindings...)
		}
	}
	return all
}

// reconcile compares the sessions that this node holds with a record.
func (p *Publisher) reconcile(u store.User, state *presence.State) {
	if state != nil {
		p.drop(p.bound.reconcile(u, state, p.Holder(), p.now(), p.policy.IdleAfter))
	}
}

// drop ends bindings whose sessions have ended, each once.
func (p *Publisher) drop(lost []*Binding, why error) {
	for _, b := range lost {
		p.bound.remove(b)
		if !b.released.Load() && b.ended.CompareAndSwap(nil, &why) {
			b.lost(why)
		}
	}
}

func (s *bindings) reconcile(u store.User, state *presence.State, holder string, now presence.Instant, idleAfter time.Duration) (lost []*Binding, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.busy[u]; l != nil {
		if l.newest == nil || l.newest.Revision < state.Revision {
			l.newest = state
		}
		state = l.newest
	}
	for _, h := range slices.Clone(s.held[u]) {
		if h.revision > state.Revision || h.revision == state.Revision && len(h.bindings) == 0 {
			continue
		}
		h.revision = state.Revision
		session := findSession(state, h.id)
		switch {
		case session != nil && session.Holder == holder:
			s.follow(h, session, now, idleAfter)
		case session != nil && session.Live(now) && len(h.bindings) > 0:
			s.share(h, session, now)
		default:
			lost, why = append(lost, h.bindings...), lostBecause(state, h.id)
			h.bindings = nil
			s.drop(h)
		}
	}
	s.scheduleRelease(u, state, holder, now)
	return lost, why
}

// follow notes whether a held session is idle on record.
func (s *bindings) follow(h *held, session *presence.Session, now presence.Instant, idleAfter time.Duration) {
	idle := !session.ActiveAt(now)
	if idle == h.idle && !h.guest || len(h.bindings) == 0 {
		return
	}
	h.idle, h.guest = idle, false
	if !idle && h.idleAt <= now && idleAfter > 0 {
		h.idleAt = now.Add(idleAfter)
	}
	s.arm(h, h.edge())
}

// share leaves a session to the node that holds it for another connection, until that one
// is lost.
func (s *bindings) share(h *held, session *presence.Session, now presence.Instant) {
	h.guest, h.idle = true, !session.ActiveAt(now)
	if session.Held() {
		now = now.Add(guestEvery)
	}
	s.arm(h, now)
}

// lostBecause is why a session has ended.
func lostBecause(state *presence.State, id presence.SessionID) error {
	if slices.ContainsFunc(state.Replaced, func(r presence.Replaced) bool { return r.ID == id }) {
		return presence.ErrSessionReplaced
	}
	return presence.ErrUnknownSession
}

// scheduleRelease has sessions released after Grace that are on record as held by this node
// although no connection holds them: the response to a sign-in was lost.
func (s *bindings) scheduleRelease(u store.User, state *presence.State, holder string, now presence.Instant) {
	if s.detached == holder || s.busy[u] != nil {
		return
	}
	for i := range state.Sessions {
		x := &state.Sessions[i]
		if x.Holder != holder {
			continue
		}
		key := heldSession{u, x.ID}
		if s.find(key) == nil {
			s.arm(s.make(key), now.Add(Grace))
		}
	}
}

// A dueHeap orders held sessions by when to look at them.
type dueHeap []*held

func (d dueHeap) Len() int           { return len(d) }
func (d dueHeap) Less(i, j int) bool { return d[i].at < d[j].at }
func (d dueHeap) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

// Push implements heap.Interface.
func (d *dueHeap) Push(x any) {
	if h, ok := x.(*held); ok {
		h.index = len(*d)
		*d = append(*d, h)
	}
}

// Pop implements heap.Interface.
func (d *dueHeap) Pop() any {
	last := len(*d) - 1
	h := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	h.index = -1
	return h
}
