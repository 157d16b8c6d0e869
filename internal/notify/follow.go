package notify

import (
	"context"
	"errors"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// MaxFollowed is how many users one stream follows.
const MaxFollowed = 10_000

// A Follow asks to follow users, or the owner's contacts, from a cursor on.
type Follow struct {
	Users    []Asked
	Contacts bool
	Cursor   string // "" for everything
	// Unknown and ID go into the answer as they are.
	Unknown []string
	ID      string
	// Into takes the answer in place of the queue, if it is set. It runs while the
	// stream is locked.
	Into func(*Snapshot)
}

// Asked is a user and how the client named it.
type Asked struct {
	ID  presence.UserID
	Ref string // "" for the id
}

// A Snapshot answers a Follow.
type Snapshot struct {
	ID      string
	Views   []View
	Asked   map[presence.UserID]string // how users were named otherwise than by id
	Gone    []presence.UserID
	Unknown []string
	Partial bool   // only what changed since the cursor
	Changed bool   // one of Views is surely new, and not only may be
	Reset   string // why the cursor could not be used; "": it could, or there was none
	Cursor  string
	// FullCursor is the cursor with how far the contacts are known: a frame's own
	// gets that when it is written.
	FullCursor string
}

// Why a cursor cannot be used.
const (
	ResetEpoch      = "epoch"
	ResetUnreadable = "unreadable"
	ResetContacts   = "contacts" // more were removed since than are remembered
)

// margin is by how much the time of a commit may lie before it was seen.
const margin = 60

// A place is from where a Follow goes on.
type place struct {
	Cursor
	position store.Position
	resumes  bool
	reset    string
}

func (h *Hub) place(text string) place {
	if text == "" {
		return place{}
	}
	c, err := ParseCursor(text)
	if err != nil {
		return place{reset: ResetUnreadable}
	}
	at, err := c.At.Position(h.epoch)
	if err != nil {
		return place{reset: ResetEpoch}
	}
	return place{Cursor: c, position: at, resumes: true}
}

// Follow follows, and puts the answer into the queue. What happens meanwhile comes
// behind it.
func (s *Stream) Follow(ctx context.Context, f Follow) error {
	s.following.Lock()
	defer s.following.Unlock()
	from := s.hub.place(f.Cursor)
	l := &loading{stream: s, from: from, into: f.Into, snapshot: &Snapshot{
		ID: f.ID, Unknown: f.Unknown, Asked: make(map[presence.UserID]string), Partial: from.resumes, Reset: from.reset,
	}}
	for _, u := range f.Users {
		l.wanted = append(l.wanted, wanted{id: u.ID, resumes: from.resumes, named: true})
		if u.Ref != "" && u.Ref != string(u.ID) {
			l.snapshot.Asked[u.ID] = u.Ref
		}
	}
	if f.Contacts {
		if err := l.addContacts(ctx); err != nil {
			return err
		}
	}
	return l.run(ctx)
}

// A loading is the work of one Follow. Its stream's following is held.
type loading struct {
	stream   *Stream
	from     place
	contacts *ContactList // to be followed from now on; nil: as before
	wanted   []wanted
	snapshot *Snapshot
	into     func(*Snapshot)

	edges []*edge // for each of wanted
	read  map[presence.UserID]*store.Record
	upTo  store.Position // of what was read
}

type wanted struct {
	id      presence.UserID
	resumes bool // only if it changed since from
	named   bool // by the client
	contact bool // of the owner's
}

// merge makes one of those who are wanted twice.
func (l *loading) merge() {
	slices.SortStableFunc(l.wanted, func(a, b wanted) int { return strings.Compare(string(a.id), string(b.id)) })
	merged := l.wanted[:0]
	for _, w := range l.wanted {
		if n := len(merged) - 1; n >= 0 && merged[n].id == w.id {
			merged[n].resumes = merged[n].resumes && w.resumes
			merged[n].named, merged[n].contact = merged[n].named || w.named, merged[n].contact || w.contact
			continue
		}
		merged = append(merged, w)
	}
	l.wanted = merged
}

// run reads what is there and answers. Edges come first: what is committed while
// it reads is held back at them.
func (l *loading) run(ctx context.Context) error {
	if err := l.join(); err != nil {
		return err
	}
	err := l.load(ctx)
	if err == nil {
		err = l.known(ctx)
	}
	if err != nil {
		l.giveUp()
		return err
	}
	if l.answer() {
		l.stream.flush()
	}
	return nil
}

// join makes edges for who is not followed yet.
func (l *loading) join() error {
	l.merge()
	s, h := l.stream, l.stream.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrEnded
	}
	fresh := 0
	for _, w := range l.wanted {
		if _, found := s.find(w.id); !found {
			fresh++
		}
	}
	if len(s.edges)+fresh > MaxFollowed {
		return &presence.LimitError{What: "users followed on one stream", Limit: MaxFollowed}
	}
	if fresh > 0 {
		s.edges = slices.Grow(s.edges, fresh)
	}
	for _, w := range l.wanted {
		i, found := s.find(w.id)
		if !found {
			s.edges = slices.Insert(s.edges, i, h.join(s, store.User{Account: s.account, ID: w.id}))
		}
		e := s.edges[i]
		e.byName, e.byContact = e.byName || w.named, e.byContact || w.contact
		l.edges = append(l.edges, e)
	}
	return nil
}

// ErrEnded: the stream has ended.
var ErrEnded = errors.New("the stream has ended")

// find is the place of a user's edge; s.mu is held.
func (s *Stream) find(id presence.UserID) (int, bool) {
	return slices.BinarySearchFunc(s.edges, id, func(e *edge, id presence.UserID) int {
		return strings.Compare(string(e.target.user.ID), string(id))
	})
}

func (l *loading) load(ctx context.Context) error {
	users := make([]store.User, len(l.wanted))
	for i := range l.wanted {
		users[i] = store.User{Account: l.stream.account, ID: l.wanted[i].id}
	}
	records, cursor, err := l.stream.hub.opts.Store.Read(ctx, users)
	if err != nil {
		return err
	}
	l.read = make(map[presence.UserID]*store.Record, len(records))
	for i := range records {
		l.read[records[i].User.ID] = &records[i]
	}
	l.upTo, err = cursor.Position(l.stream.hub.epoch)
	if err == nil && l.from.resumes && l.from.position > max(l.upTo, store.Position(l.stream.hub.at.Load())) {
		// A place that this store has not come to was not given by it.
		l.unusable(ResetEpoch)
	}
	return err
}

// unusable makes the answer a full one.
func (l *loading) unusable(why string) {
	l.from = place{reset: why}
	l.snapshot.Reset, l.snapshot.Partial, l.snapshot.Gone = why, false, nil
	for i := range l.wanted {
		l.wanted[i].resumes = false
	}
}

// known drops those of whom nothing is recorded and whom the directory does not
// have.
func (l *loading) known(ctx context.Context) error {
	h := l.stream.hub
	for i, w := range l.wanted {
		if l.read[w.id] != nil || w.resumes {
			continue
		}
		err := h.opts.Known(ctx, store.User{Account: l.stream.account, ID: w.id})
		if errors.Is(err, h.opts.Gone) {
			l.unknown(w.id)
			l.edges[i] = nil
			l.stream.Unfollow([]presence.UserID{w.id})
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (l *loading) unknown(id presence.UserID) {
	ref := string(id)
	if named, ok := l.snapshot.Asked[id]; ok {
		ref = named
	}
	if !slices.Contains(l.snapshot.Unknown, ref) {
		l.snapshot.Unknown = append(l.snapshot.Unknown, ref)
	}
}

// giveUp takes out the edges that were made for nothing.
func (l *loading) giveUp() {
	var ids []presence.UserID
	l.stream.mu.Lock()
	for _, e := range l.edges {
		if e != nil && e.loading {
			ids = append(ids, e.target.user.ID)
		}
	}
	l.stream.mu.Unlock()
	l.stream.drop(ids, func(e *edge) bool { return e.loading })
}

// answer queues the snapshot and lets changes through, at one moment.
func (l *loading) answer() bool {
	s := l.stream
	var deleted []presence.UserID
	s.mu.Lock()
	for i, w := range l.wanted {
		if e := l.edges[i]; e != nil && l.look(e, w) {
			deleted = append(deleted, w.id)
		}
	}
	var removed []ContactEdge // by another node, when they are followed once more
	if l.contacts != nil && s.contacts != nil {
		removed = s.contacts.less(l.contacts)
		l.part(removed)
	}
	if l.contacts != nil {
		s.contacts = l.contacts
	}
	h := s.hub
	l.snapshot.Cursor = h.cursorAt(min(l.upTo, store.Position(h.at.Load())))
	ended, full := s.ended, false
	switch {
	case ended:
	case l.into != nil:
		s.told = s.contacts
		l.snapshot.FullCursor = s.withContacts(l.snapshot.Cursor)
		l.into(l.snapshot)
	default:
		full = s.queueFrames(h.opts.Format.Snapshot(l.snapshot))
		s.queue[len(s.queue)-1].contacts = l.contacts
	}
	if l.snapshot.Reset != "" {
		h.stats.resets.Add(1)
	}
	s.mu.Unlock()
	s.drop(deleted, func(*edge) bool { return true })
	s.dropContacts(removed)
	if full {
		s.End(CloseSlow, 0)
	}
	return !ended && !full
}

// part tells of contacts that are none any more and are followed still; the stream's
// mu is held.
func (l *loading) part(removed []ContactEdge) {
	for _, c := range removed {
		i, found := l.stream.find(c.User)
		if found && !l.stream.edges[i].byName && !slices.Contains(l.snapshot.Gone, c.User) {
			l.snapshot.Gone = append(l.snapshot.Gone, c.User)
		}
	}
}

// look adds what is seen of one user to the snapshot, and reports whether the user
// was deleted; the stream's mu is held.
func (l *loading) look(e *edge, w wanted) bool {
	record := l.read[w.id]
	if e.loading {
		if held := e.pending; held != nil && (record == nil || held.record.At > record.At) {
			record = &held.record
		}
		e.pending, e.loading = nil, false
	}
	switch {
	case record == nil && !w.resumes:
		l.snapshot.Views = append(l.snapshot.Views, View{User: w.id})
		return false
	case record == nil:
		return false
	case record.State.Standing == presence.Deleted:
		switch {
		case !w.resumes:
			l.unknown(w.id)
		case record.At > l.from.position: // else it has been told
			l.snapshot.Gone = append(l.snapshot.Gone, w.id)
		}
		return true
	}
	p := seenBy(record, l.stream.looker)
	if e.seen > p.Revision {
		return false // something newer is on its way already
	}
	e.seen = p.Revision
	if may, surely := l.changed(record, &p); !w.resumes || may {
		l.snapshot.Changed = l.snapshot.Changed || !w.resumes || surely
		l.snapshot.Views = append(l.snapshot.Views, View{User: w.id, Presence: p})
	}
	return false
}

// changed reports whether what is seen may have changed since the cursor, and
// whether it surely has. For who does not see all, it depends on nothing that is
// not seen, and is never sure.
func (l *loading) changed(r *store.Record, p *presence.Presence) (may, surely bool) {
	if r.State.Rules == nil || l.stream.looker.Watcher(r.User.ID).Truth {
		may = r.At > l.from.position
		return may, may
	}
	return int64(p.Revision/1e6) >= l.from.Second-margin, false
}

// Unfollow stops following users by name. Those who are contacts that are followed
// stay.
func (s *Stream) Unfollow(ids []presence.UserID) {
	s.drop(ids, func(e *edge) bool {
		e.byName = false
		return !e.byContact
	})
}

// drop takes out the edges of ids for which really says so.
func (s *Stream) drop(ids []presence.UserID, really func(*edge) bool) {
	if len(ids) == 0 {
		return
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.dropHeld(ids, really)
}

// dropHeld is drop while the hub's mu is held.
func (s *Stream) dropHeld(ids []presence.UserID, really func(*edge) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		i, found := s.find(id)
		if !found || !really(s.edges[i]) {
			continue
		}
		e := s.edges[i]
		s.edges = slices.Delete(s.edges, i, i+1)
		if e.slot != noSlot {
			s.queue[e.slot] = item{}
			s.queued--
			e.slot, e.pending = noSlot, nil
		}
		s.hub.part(e)
	}
}
