// Package hub delivers committed changes to the streams that follow their users. It has
// the subscriptions, each stream's coalescing queue, cursors to resume from, and
// keepalives; it sends a connection typed events, and knows no dialect's encoding.
//
// It is separate from publish so that nothing can be delivered that is not durable:
// the two share only the store; and from the dialects so that one hub serves any
// number of them, each with an [Encoder] of its own. It guarantees that each viewer is
// shown what presence.View allows and nothing more, that the newest of each user is
// never lost, that an event is encoded once for each dialect and view, and that a
// cursor never covers what was not sent.
//
// It must not wait for a reader, and must not decide anything about presence.
package hub

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/telemetry"
	"porchlight.dev/porchlight/internal/view"
)

// Options are what a Hub is made of.
type Options struct {
	Store     store.Store
	Directory Directory
	Access    Access
	Turns     Turns             // nil: every viewer may read at once
	Tracer    *telemetry.Tracer // nil: deliveries are not traced
	Clock     func() time.Time
	Log       *slog.Logger
}

// A Directory reads users, their groups and their contacts.
type Directory interface {
	// Exists reports whether a user without a record exists.
	Exists(context.Context, store.User) (bool, error)
	// Members returns the next users of an account by id: at most limit, after the id after.
	Members(ctx context.Context, account presence.AccountID, after presence.UserID, limit int) ([]Member, error)
	// MembersByID reads users; those who do not exist are left out.
	MembersByID(context.Context, presence.AccountID, []presence.UserID) ([]Member, error)
	// UnloggedMembers returns changes of an account's members that the log may lack: those
	// that are not in it yet, and those whose entries were erased since a time.
	UnloggedMembers(ctx context.Context, account presence.AccountID, erasedSince time.Time) ([]MemberChange, error)
	// GroupKey is the key of the group with a name.
	GroupKey(name string) string
	// ContactLists reads the contacts of many users of an account at once; those
	// without any are left out.
	ContactLists(context.Context, presence.AccountID, []presence.UserID) (map[presence.UserID]ContactList, error)
	// ContactVersions is the Version of the lists that ContactLists would give.
	ContactVersions(context.Context, presence.AccountID, []presence.UserID) (map[presence.UserID]string, error)
}

// Access checks that viewers still have access.
type Access interface {
	// Revoked is for each viewer why it has lost access: CloseUnauthorized or
	// CloseSuspended. It is 0 for viewers that have access or cannot be checked now.
	Revoked(context.Context, []view.Viewer) []Close
}

// Turns bound how many large reads run at once.
type Turns interface {
	// Wait waits until the viewer may read as many users; done ends the read.
	Wait(ctx context.Context, v view.Viewer, users int) (done func(), err error)
}

// Intervals of the work that is done for all streams together.
const (
	sweepEvery    = time.Second
	checkEvery    = 3 * time.Second
	contactsEvery = 3 * time.Second
	// PingEvery is the longest time without an event on a stream, and silentFor how
	// long its client may be silent.
	PingEvery = 25 * time.Second
	silentFor = 3 * PingEvery
)

// A Hub tails the store and delivers each change to the streams that follow its user.
//
// Lock order: Hub.mu or Hub.rosterMu, then roster.mu, then Stream.mu. A stream's own lock is held for memory
// only, never while anything is read or written.
type Hub struct {
	opts    Options
	epoch   string
	id      uint32 // of this hub, in its cursors
	cursors atomic.Pointer[Cursors]
	recent  *recent
	// at is the low-water mark: every change at or below it is in the queues of
	// those who follow.
	at lowWater
	// fresh is a second, by the clocks of those who commit: everything committed before it
	// was delivered. Zero: not known.
	fresh atomic.Int64
	// ahead is by how much those clocks are ahead of this node's, less the time until the
	// newest commit was delivered, in seconds.
	ahead     atomic.Int64
	delivered atomic.Bool // something, since the last sweep
	// quietRounds counts the rounds of advanceFresh in a row in which the store was
	// healthy and delivered nothing. Only advanceFresh uses it.
	quietRounds int
	ready       chan struct{} // closed when the first group has arrived
	drained     chan struct{} // closed when draining is set
	onChange    func([]store.Record)

	mu       sync.Mutex // guards the fields below
	targets  map[store.User]*target
	owners   map[store.User]*Stream // by whom they act for, linked by next and prev
	streams  map[*Stream]struct{}
	draining bool
	// suspended: no streams for now.
	suspended bool
	// allClosed is closed when closing is zero; nil while none waits for it.
	allClosed chan struct{}

	closing atomic.Int64 // streams that were ended and are not closed yet

	contactsChanged chan store.User

	rosterMu sync.Mutex // guards the fields below
	rosters  map[presence.AccountID]*roster
	// membersAt is the position up to which the rosters that exist are kept up to date.
	membersAt store.Position
	behind    streamSet
	memberLog *memberLog

	dirty   []*Stream // of the group that is delivered; the deliverer's alone
	buffers sync.Pool // of *[]byte, to encode into
	stats   counters
}

// A lowWater is a position that rises.
type lowWater struct {
	atomic.Uint64

	mu    sync.Mutex
	risen chan struct{} // closed when it rises; nil: nobody waits
}

func (w *lowWater) raise(to store.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Store(max(w.Load(), uint64(to)))
	if w.risen != nil {
		close(w.risen)
		w.risen = nil
	}
}

// await waits until the position is at least to, or ctx ends.
func (w *lowWater) await(ctx context.Context, to store.Position) error {
	for w.Load() < uint64(to) {
		w.mu.Lock()
		if w.risen == nil {
			w.risen = make(chan struct{})
		}
		risen := w.risen
		w.mu.Unlock()
		if w.Load() >= uint64(to) {
			return nil
		}
		select {
		case <-risen:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

type counters struct{ delivered, coalesced, slow, resets atomic.Uint64 }

// A target is a user that streams follow.
type target struct {
	user  store.User
	edges []*edge
}

// New is a hub; Run delivers.
func New(o Options) *Hub {
	h := &Hub{
		opts: o, epoch: o.Store.Epoch(), ready: make(chan struct{}), drained: make(chan struct{}), id: newHubID(), recent: newRecent(),
		contactsChanged: make(chan store.User, 256),
		rosters:         make(map[presence.AccountID]*roster), behind: streamSet{wake: make(chan struct{}, 1), m: make(map[*Stream]struct{})},
		buffers: sync.Pool{New: func() any { return new([]byte) }},
		targets: make(map[store.User]*target), owners: make(map[store.User]*Stream), streams: make(map[*Stream]struct{}),
	}
	h.memberLog = newMemberLog(h)
	return h
}

// newHubID is a random number other than zero.
func newHubID() uint32 { return 1 + rand.Uint32N(math.MaxUint32) } //nolint:gosec // no secret

// Run delivers until ctx ends or the store fails. If the store cannot be read for a
// while, streams lose their connection but no change: clients reconnect with their
// cursors.
func (h *Hub) Run(ctx context.Context) error {
	var sweeping sync.WaitGroup
	work, stop := context.WithCancel(ctx)
	defer sweeping.Wait()
	defer stop()
	sweeping.Go(func() { h.sweepAll(work) })
	for again := false; ; again = true {
		err := h.watch(work, again)
		switch {
		case ctx.Err() != nil || errors.Is(err, store.ErrClosed):
			return nil // it was stopped
		case errors.Is(err, store.ErrFailed):
			h.CloseAll(CloseUnavailable, time.Second)
			return err
		}
		h.opts.Log.WarnContext(ctx, "changes cannot be read; ending all streams, which will reconnect", slog.Any("err", err))
		h.CloseAll(CloseUnavailable, time.Second)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// watch delivers the store's changes. When it is called again after a failure, streams
// that are open have missed changes and must reconnect.
func (h *Hub) watch(ctx context.Context, again bool) error {
	if _, err := h.Cursors(ctx); err != nil {
		return err
	}
	begins := true
	return h.opts.Store.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
		if begins {
			begins = false
			at, _ := upTo.Position(h.epoch) // as in deliver
			h.recent.begin(at, presence.InstantOf(h.opts.Clock()))
			if again {
				h.dropRosters(at)
				h.CloseAll(CloseUnavailable, time.Second)
			}
		}
		h.deliver(ctx, group, upTo)
	})
}

// OnChange sets a function that is given each group of records before it is delivered to
// streams. It must be set before Run, and be quick.
func (h *Hub) OnChange(fn func([]store.Record)) { h.onChange = fn }

// deliver queues a group of changes on the streams that follow their users and flushes
// them before the next group. Changes that arrive while it writes form the next group,
// and leave each socket in one write.
func (h *Hub) deliver(ctx context.Context, group []store.Record, upTo store.Cursor) {
	at, _ := upTo.Position(h.epoch) // a store has one epoch while it is open
	defer h.trace(group)()
	h.refreshMembers(ctx, group, at)
	if len(group) > 0 {
		if h.onChange != nil {
			h.onChange(group)
		}
		h.enqueue(group)
	}
	h.at.raise(at)
	select {
	case <-h.ready:
	default:
		close(h.ready)
	}
	h.flush()
	h.behind.signal()
}

// trace begins the spans of the changes in a group whose requests are traced, and returns
// a function that ends them, to be called when the group was sent to all streams.
func (h *Hub) trace(group []store.Record) (end func()) {
	if !h.opts.Tracer.Any() {
		return func() {}
	}
	var spans []*telemetry.Span
	for i := range group {
		u := group[i].User
		c := telemetry.Commit{Account: string(u.Account), User: string(u.ID), Revision: uint64(group[i].State.Revision)}
		if s := h.opts.Tracer.Follow("deliver to streams", c); s != nil {
			s.Number("porchlight.streams", h.followers(u))
			spans = append(spans, s)
		}
	}
	return func() {
		for _, s := range spans {
			s.End()
		}
	}
}

// followers is how many streams follow a user.
func (h *Hub) followers(u store.User) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.targets[u]; t != nil {
		return len(t.edges)
	}
	return 0
}

func (h *Hub) enqueue(group []store.Record) {
	h.recent.add(group)
	h.mu.Lock()
	defer h.mu.Unlock()
	second := h.advanceTo(group)
	for i := range group {
		t := h.targets[group[i].User]
		if t == nil {
			continue
		}
		c := &change{
			record: group[i], cursor: Cursor{At: group[i].At, Second: second, Hub: h.id},
			gone: Gone{User: group[i].User.ID, Reason: GoneDeleted},
		}
		c.text = h.cursors.Load().Text(c.cursor)
		for _, e := range t.edges {
			if e.stream.enqueue(e, c) {
				h.dirty = append(h.dirty, e.stream)
			}
		}
		if group[i].State.UserState == presence.UserDeleted {
			delete(h.targets, t.user) // an id is never used again
		}
	}
}

// advanceTo moves fresh to the commit times of a group, and returns a second for cursors
// within the group: what a commit of the group replaced is no older than the group before.
func (h *Hub) advanceTo(group []store.Record) int64 {
	oldest := group[0].State.At.Time().Unix()
	for i := range group {
		oldest = min(oldest, group[i].State.At.Time().Unix())
	}
	h.ahead.Store(oldest - h.opts.Clock().Unix())
	before := h.fresh.Swap(oldest)
	h.delivered.Store(true)
	if len(group) == 1 || before == 0 {
		return oldest
	}
	return min(before, oldest)
}

// fewStreams is how many streams one goroutine flushes by itself.
const fewStreams = 32

// flush writes what the group queued. No write waits for a reader. It uses half of the
// processors and leaves the others to requests and to readers.
func (h *Hub) flush() {
	dirty := h.dirty
	defer func() { clear(dirty); h.dirty = dirty[:0] }()
	workers := runtime.GOMAXPROCS(0) / 2
	if len(dirty) < fewStreams || workers <= 1 {
		for _, s := range dirty {
			s.flush()
		}
		return
	}
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				from := int(next.Add(fewStreams)) - fewStreams
				if from >= len(dirty) {
					return
				}
				for _, s := range dirty[from:min(from+fewStreams, len(dirty))] {
					s.flush()
				}
			}
		})
	}
	group.Wait()
}

// ErrDraining: the hub accepts no more streams.
var ErrDraining = errors.New("the server is shutting down")

// ErrSuspended: the hub accepts no streams for now.
var ErrSuspended = errors.New("this node cannot reach the store; connect to another node, or retry later")

// Open adds a stream with its first messages, which are sent with the next flush. The
// caller ends it.
func (h *Hub) Open(ctx context.Context, account presence.AccountID, owner presence.UserID, viewer view.Viewer, sink Sink, first ...Message) (*Stream, error) {
	select {
	case <-h.ready:
	case <-h.drained: // Run may have ended before the first group
		return nil, ErrDraining
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s := &Stream{hub: h, account: account, owner: owner, viewer: viewer, sink: sink}
	now := h.opts.Clock().UnixNano()
	s.lastReceived.Store(now)
	s.lastSent.Store(now)
	s.lastPing.Store(now)
	s.enqueueMessages(first) // no lock: the stream is not shared yet
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.draining:
		return nil, ErrDraining
	case h.suspended:
		return nil, ErrSuspended
	}
	h.streams[s] = struct{}{}
	key := store.User{Account: account, ID: owner}
	if s.next = h.owners[key]; s.next != nil {
		s.next.prev = s
	}
	h.owners[key] = s
	return s, nil
}

// removeStream removes a stream and its edges.
func (h *Hub) removeStream(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.streams[s]; !ok {
		return
	}
	delete(h.streams, s)
	key := store.User{Account: s.account, ID: s.owner}
	if s.next != nil {
		s.next.prev = s.prev
	}
	switch {
	case s.prev != nil:
		s.prev.next = s.next
	case s.next != nil:
		h.owners[key] = s.next
	default:
		delete(h.owners, key)
	}
	s.next, s.prev = nil, nil
	s.mu.Lock()
	edges, followed := s.edges, s.audiences
	s.edges, s.audiences = nil, nil
	s.mu.Unlock()
	for _, e := range edges {
		h.removeEdge(e)
	}
	if followed != nil {
		followed.roster.mu.Lock()
		defer followed.roster.mu.Unlock()
		delete(followed.roster.followers, s)
	}
}

// addEdge adds an edge to the index; the caller holds h.mu.
func (h *Hub) addEdge(s *Stream, u store.User) *edge {
	t := h.targets[u]
	if t == nil {
		t = &target{user: u}
		h.targets[u] = t
	}
	e := &edge{stream: s, target: t, index: int32(len(t.edges)), slot: noSlot, loading: true}
	t.edges = append(t.edges, e)
	return e
}

// removeEdge removes an edge from the index; the caller holds h.mu.
func (h *Hub) removeEdge(e *edge) {
	t := e.target
	last := len(t.edges) - 1
	if int(e.index) > last || t.edges[e.index] != e {
		return
	}
	t.edges[e.index] = t.edges[last]
	t.edges[e.index].index = e.index
	t.edges[last] = nil
	t.edges = t.edges[:last]
	if last == 0 && h.targets[t.user] == t {
		delete(h.targets, t.user)
	}
}

// Broadcast sends messages to every stream of a user that accepts broadcasts. They are
// encoded once for each dialect.
func (h *Hub) Broadcast(account presence.AccountID, owner presence.UserID, messages ...Message) {
	for i := range messages {
		messages[i].encodings = new(encodings)
	}
	for _, s := range h.streamsOf(store.User{Account: account, ID: owner}) {
		if s.TakesBroadcasts() {
			s.Send(slices.Clone(messages)...) // the queue retains its argument
		}
	}
}

func (h *Hub) streamsOf(owner store.User) []*Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*Stream
	for s := h.owners[owner]; s != nil; s = s.next {
		all = append(all, s)
	}
	return all
}

func (h *Hub) all() []*Stream { return h.appendAll(nil) }

func (h *Hub) appendAll(all []*Stream) []*Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	all = slices.Grow(all, len(h.streams))
	for s := range h.streams {
		all = append(all, s)
	}
	return all
}

// CloseAll ends every open stream and tells each client to reconnect after a random
// delay of up to spread.
func (h *Hub) CloseAll(why Close, spread time.Duration) {
	for _, s := range h.all() {
		s.End(why, retryWithin(spread))
	}
}

// retryWithin is a random delay, so that clients that disconnect together do not
// reconnect together.
func retryWithin(spread time.Duration) time.Duration {
	return time.Millisecond + time.Duration(rand.Int64N(int64(max(spread, time.Millisecond)))) //nolint:gosec // no secret
}

// reconnectSpacing is by how much each stream delays the last to reconnect, within
// minSpread and maxSpread.
const (
	reconnectSpacing = 500 * time.Microsecond
	minSpread        = 200 * time.Millisecond
	maxSpread        = 10 * time.Second
)

// Drain accepts no more streams and ends the open ones. Clients reconnect, to another
// server or to this one, over a time that grows with their number.
func (h *Hub) Drain(ctx context.Context) {
	h.mu.Lock()
	if !h.draining {
		h.draining = true
		close(h.drained)
	}
	h.mu.Unlock()
	h.sendAway(CloseDraining)
	h.awaitClosed(ctx)
}

// sendAway ends the open streams, which reconnect over a time that grows with their number.
func (h *Hub) sendAway(why Close) {
	h.mu.Lock()
	n := len(h.streams)
	h.mu.Unlock()
	h.CloseAll(why, min(max(time.Duration(n)*reconnectSpacing, minSpread), maxSpread))
}

// Suspend accepts no streams until Resume, and ends the open ones. Clients reconnect, to
// another server if they can.
func (h *Hub) Suspend() {
	h.setSuspended(true)
	h.sendAway(CloseIsolated)
}

// Resume accepts streams again.
func (h *Hub) Resume() { h.setSuspended(false) }

func (h *Hub) setSuspended(suspended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.suspended = suspended
}

// closeTimeout is how long sending the close reasons may take.
const closeTimeout = 2 * time.Second

// awaitClosed waits until the streams that were ended are closed, for half of the
// time that ctx has at most: other parts of the shutdown need the rest.
func (h *Hub) awaitClosed(ctx context.Context) {
	allClosed := make(chan struct{})
	h.mu.Lock()
	h.allClosed = allClosed
	h.mu.Unlock()
	if h.closing.Load() == 0 {
		return
	}
	wait := closeTimeout
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/2)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-allClosed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// noteClosed notes that the connection of an ended stream is closed.
func (h *Hub) noteClosed() {
	if h.closing.Add(-1) > 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.allClosed != nil {
		close(h.allClosed)
		h.allClosed = nil
	}
}

// Draining reports whether the server sends its clients to other servers, because it shuts
// down or was suspended.
func (h *Hub) Draining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining || h.suspended
}

// Epoch is that of the store.
func (h *Hub) Epoch() string { return h.epoch }

// Stats are the hub's counters since it began, and what is open.
type Stats struct {
	Streams, Followed, Edges           int
	Delivered, Coalesced, Slow, Resets uint64
}

// Stats counts.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	st := Stats{Streams: len(h.streams), Followed: len(h.targets)}
	for _, t := range h.targets {
		st.Edges += len(t.edges)
	}
	h.mu.Unlock()
	st.Delivered, st.Coalesced = h.stats.delivered.Load(), h.stats.coalesced.Load()
	st.Slow, st.Resets = h.stats.slow.Load(), h.stats.resets.Load()
	return st
}
