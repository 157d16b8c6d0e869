package hub

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// MaxFollowed is how many users one stream follows.
const MaxFollowed = 10_000

// A Follow is a request to follow users, the owner's contacts, or audiences, from a cursor
// on.
type Follow struct {
	Users     []NamedUser
	Contacts  bool
	Audiences []Audience
	Cursor    string // "" for everything
	// Unknown and ID are copied into the answer.
	Unknown []string
	ID      string
	// Expected reports whether Expect was called for this.
	Expected bool
}

// A NamedUser is a user and how the client named it.
type NamedUser struct {
	ID  presence.UserID
	Ref string // "" for the id
}

// margin is the longest time between a commit and its delivery to the hub.
const margin = 60

// A resumePoint is where a Follow resumes.
type resumePoint struct {
	Cursor

	resumes bool
	reset   ResetReason
}

// Follow subscribes the stream and queues the answer. Changes that are committed
// meanwhile are queued behind it. If it fails, the caller ends the stream or sends a
// message with Answers set.
func (s *Stream) Follow(ctx context.Context, f Follow) error {
	if !f.Expected {
		s.Expect()
	}
	s.following.Lock()
	defer s.unlockFollowing()
	from, err := s.hub.resumePointOf(ctx, f.Cursor)
	if err != nil {
		return err
	}
	l := &followJob{stream: s, from: from, reset: from.reset, answer: Snapshot{
		ID: f.ID, Unknown: f.Unknown, Names: namesOf(f.Users), Partial: from.resumes,
	}}
	for _, u := range f.Users {
		l.wanted = append(l.wanted, wanted{id: u.ID, resumes: from.resumes, reasons: byName})
	}
	if f.Contacts {
		if err := l.addContacts(ctx); err != nil {
			return err
		}
	}
	var added []Audience
	if len(f.Audiences) > 0 {
		if added, err = l.addMembers(ctx, f.Audiences); err != nil {
			return err
		}
	}
	l.dropFollowedFromGone()
	if err := l.run(ctx); err != nil {
		s.dropAudiences(added)
		return err
	}
	return nil
}

// dropFollowedFromGone removes from the answer's Gone the users who are followed for
// another reason.
func (l *followJob) dropFollowedFromGone() {
	if len(l.answer.Gone) == 0 {
		return
	}
	want := make(map[presence.UserID]bool, len(l.wanted))
	for i := range l.wanted {
		want[l.wanted[i].id] = true
	}
	l.answer.Gone = slices.DeleteFunc(l.answer.Gone, func(id presence.UserID) bool { return want[id] || l.stream.Follows(id) })
}

// namesOf lists the names that the client used for each user it did not name by id,
// each once.
func namesOf(users []NamedUser) map[presence.UserID][]string {
	names := make(map[presence.UserID][]string)
	for _, u := range users {
		if u.Ref != "" && u.Ref != string(u.ID) && !slices.Contains(names[u.ID], u.Ref) {
			names[u.ID] = append(names[u.ID], u.Ref)
		}
	}
	for _, u := range users {
		if len(names[u.ID]) > 0 && u.Ref == string(u.ID) && !slices.Contains(names[u.ID], u.Ref) {
			names[u.ID] = append(names[u.ID], u.Ref)
		}
	}
	return names
}

// A followJob is the work of one Follow, during which its stream's following is locked.
type followJob struct {
	stream   *Stream
	from     resumePoint
	reset    ResetReason
	contacts *ContactList // to be followed from now on; nil: as before
	wanted   []wanted
	answer   Snapshot // whole, before it is cut into parts

	edges   []*edge // for each of wanted; their changes are deferred meanwhile
	records map[presence.UserID]*store.Record
	unknown *Cursor // from before some users were found not to exist; nil: all do
}

type wanted struct {
	id       presence.UserID
	resumes  bool // only if it changed since from
	reasons  followReasons
	added    followReasons // those of reasons that are new
	followed bool          // before this Follow
	queued   bool          // a change was in the queue, and is part of the answer
}

// merge merges users that are wanted twice.
func (l *followJob) merge() {
	slices.SortStableFunc(l.wanted, func(a, b wanted) int { return strings.Compare(string(a.id), string(b.id)) })
	merged := l.wanted[:0]
	for _, w := range l.wanted {
		if n := len(merged) - 1; n >= 0 && merged[n].id == w.id {
			merged[n].resumes = merged[n].resumes && w.resumes
			merged[n].reasons |= w.reasons
			continue
		}
		merged = append(merged, w)
	}
	l.wanted = merged
}

// run reads the records and answers. It adds the edges first, which defer what is
// committed while it reads.
func (l *followJob) run(ctx context.Context) error {
	if err := l.addEdges(); err != nil {
		return err
	}
	err := l.read(ctx)
	if err == nil {
		l.awaitDelivery(ctx)
	}
	if err != nil {
		l.abort()
		return err
	}
	if l.enqueueAnswer() {
		l.stream.flush()
	}
	return nil
}

// read reads the wanted users, taking turns with other large reads.
func (l *followJob) read(ctx context.Context) error {
	if turns := l.stream.hub.opts.Turns; turns != nil {
		done, err := turns.Wait(ctx, l.stream.viewer, len(l.wanted))
		if err != nil {
			return err
		}
		defer done()
	}
	before := l.stream.Cursor()
	if err := l.load(ctx); err != nil {
		return err
	}
	return l.dropUnknown(ctx, before)
}

// addEdges adds edges for users not followed yet. Pending changes of those that are
// become part of the answer.
func (l *followJob) addEdges() error {
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
		if _, found := s.findEdge(w.id); !found {
			fresh++
		}
	}
	if len(s.edges)+fresh > MaxFollowed {
		s.edges = slices.DeleteFunc(s.edges, (*edge).isOver)
	}
	if len(s.edges)+fresh > MaxFollowed {
		return errTooManyFollowed()
	}
	if fresh > 0 {
		s.edges = slices.Grow(s.edges, fresh)
	}
	for n := range l.wanted {
		w := &l.wanted[n]
		i, found := s.findEdge(w.id)
		if !found {
			w.resumes = w.resumes && !s.sentGone
			s.edges = slices.Insert(s.edges, i, h.addEdge(s, store.User{Account: s.account, ID: w.id}))
		}
		e := s.edges[i]
		w.followed = found
		w.added = w.reasons &^ e.reasons
		e.reasons |= w.reasons
		w.queued = s.deferChanges(e)
		l.edges = append(l.edges, e)
	}
	return nil
}

// deferChanges defers changes of a user and removes a queued one. It reports whether there
// was one. The caller holds s.mu.
func (s *Stream) deferChanges(e *edge) bool {
	e.loading = true
	if e.slot == noSlot {
		return false
	}
	s.queue[e.slot] = item{}
	s.queued--
	e.slot = noSlot
	return true
}

// ErrEnded: the stream has ended.
var ErrEnded = errors.New("the stream has ended")

// findEdge is the index of a user's edge; the caller holds s.mu.
func (s *Stream) findEdge(id presence.UserID) (int, bool) {
	return slices.BinarySearchFunc(s.edges, id, func(e *edge, id presence.UserID) int {
		return strings.Compare(string(e.target.user.ID), string(id))
	})
}

func (l *followJob) load(ctx context.Context) error {
	users := make([]store.User, len(l.wanted))
	for i := range l.wanted {
		users[i] = store.User{Account: l.stream.account, ID: l.wanted[i].id}
	}
	records, _, err := l.stream.hub.opts.Store.Read(ctx, users, store.Freshness{})
	if err != nil {
		return err
	}
	l.records = make(map[presence.UserID]*store.Record, len(records))
	for i := range records {
		l.records[records[i].User.ID] = &records[i]
	}
	return nil
}

// unusable makes the answer a full snapshot.
func (l *followJob) unusable(why ResetReason) {
	l.from = resumePoint{reset: why}
	l.reset, l.answer.Partial, l.answer.Gone = why, false, nil
	for i := range l.wanted {
		l.wanted[i].resumes = false
	}
}

// dropUnknown drops users that have no record and are not in the directory. before is a
// cursor from before their records were read.
func (l *followJob) dropUnknown(ctx context.Context, before *Cursor) error {
	h := l.stream.hub
	for i, w := range l.wanted {
		if l.records[w.id] != nil || w.resumes {
			continue
		}
		exists, err := h.opts.Directory.Exists(ctx, store.User{Account: l.stream.account, ID: w.id})
		if err != nil {
			return err
		}
		if !exists {
			l.unknown = before
			l.addUnknown(w)
			l.edges[i] = nil
			l.stream.removeEdges([]presence.UserID{w.id}, func(*edge) bool { return true })
		}
	}
	return nil
}

// addUnknown reports a user who does not exist as unknown. The client did not name a user
// who is only a member of an audience: it is told that the user is gone, if it follows the
// user already.
func (l *followJob) addUnknown(w wanted) {
	if w.reasons == byMember {
		if w.followed {
			l.answer.Gone = append(l.answer.Gone, w.id)
		}
		return
	}
	names := l.answer.Names[w.id]
	if len(names) == 0 {
		names = []string{string(w.id)}
	}
	for _, name := range names {
		if !slices.Contains(l.answer.Unknown, name) {
			l.answer.Unknown = append(l.answer.Unknown, name)
		}
	}
}

// deliveryTime is how long awaitDelivery waits: the hub is behind the store by
// milliseconds.
const deliveryTime = time.Second

// awaitDelivery waits until the hub has delivered what was read. Until then its position
// is older than the answer: a client that resumes from there would be sent the same again.
// Nor can the hub know whether a watcher may see what has changed.
func (l *followJob) awaitDelivery(ctx context.Context) {
	newest := store.Position(0)
	for _, r := range l.records {
		newest = max(newest, r.At)
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	_ = l.stream.hub.at.await(ctx, newest) // otherwise some may be sent again
}

// abort removes the edges and the reasons that this Follow added, and releases the changes
// that the other edges deferred, as far as the viewer sees them.
func (l *followJob) abort() {
	s := l.stream
	var ids []presence.UserID
	s.mu.Lock()
	for i, e := range l.edges {
		w := &l.wanted[i]
		if e != nil && !w.followed {
			ids = append(ids, w.id)
			continue
		}
		if e == nil || s.ended {
			continue
		}
		e.loading = false
		e.reasons &^= w.added
		if v := e.pending; v != nil {
			e.pending = nil
			if w.queued || v.isNews(e) {
				e.deleted = v.deleted()
				s.enqueueView(e, v)
			}
		}
	}
	s.mu.Unlock()
	s.removeEdges(ids, func(e *edge) bool { return e.loading })
}

// enqueueAnswer queues the answer and releases the deferred changes, atomically.
func (l *followJob) enqueueAnswer() bool {
	s := l.stream
	var deleted []presence.UserID
	s.mu.Lock()
	for i, w := range l.wanted {
		if e := l.edges[i]; e != nil && l.addView(e, w) {
			deleted = append(deleted, w.id)
		}
	}
	var removed []ContactEdge // by another node, when they are followed once more
	if l.contacts != nil && s.contacts != nil {
		removed = s.contacts.less(l.contacts)
		l.addRemoved(removed)
	}
	if l.contacts != nil {
		s.contacts = l.contacts
	}
	ended, full := s.ended, false
	if !ended {
		s.covers = true
		s.sentGone = s.sentGone || len(l.answer.Gone) > 0
		full = s.enqueueMessages(l.messages())
		s.queue[len(s.queue)-1].contacts = l.contacts
	}
	if l.reset != NoReset {
		s.hub.stats.resets.Add(1)
	}
	s.mu.Unlock()
	s.removeEdges(deleted, func(*edge) bool { return true })
	s.removeEdgesFor(usersOf(removed), byContact)
	if full {
		s.End(CloseSlow, 0)
	}
	return !ended && !full
}

// messages are the answer as it is sent. The last has its cursor: what the hub has delivered
// by now was read, or is in the answer or the queue, unless it is of a user who was not
// followed any more.
func (l *followJob) messages() []Message {
	var messages []Message
	if l.reset != NoReset {
		messages = append(messages, Message{Event: &Reset{ID: l.answer.ID, Reason: l.reset}})
	}
	last := l.answer
	for len(last.Views) > SnapshotViews {
		messages = append(messages, Message{Event: &Snapshot{
			ID: last.ID, Views: last.Views[:SnapshotViews], Names: last.Names, Partial: last.Partial, Changed: last.Changed, More: true,
		}})
		last.Views = last.Views[SnapshotViews:]
	}
	return append(messages, Message{Event: &last, Mark: cmp.Or(l.unknown, l.stream.Cursor()), Answers: true})
}

// addRemoved adds former contacts that are still followed; the caller holds the
// stream's mu.
func (l *followJob) addRemoved(removed []ContactEdge) {
	for _, c := range removed {
		i, found := l.stream.findEdge(c.User)
		if found && l.stream.edges[i].reasons == byContact && !slices.Contains(l.answer.Gone, c.User) {
			l.answer.Gone = append(l.answer.Gone, c.User)
		}
	}
}

// addView adds the view of one user to the snapshot, and reports whether the user was
// deleted; the caller holds the stream's mu.
func (l *followJob) addView(e *edge, w wanted) bool {
	record := l.records[w.id]
	if e.loading {
		if held := e.pending; held != nil && (record == nil || held.record.At > record.At) {
			record = &held.record
		}
		e.pending, e.loading, e.coalesced = nil, false, false
	}
	switch {
	case record == nil && !w.resumes:
		l.answer.Views = append(l.answer.Views, view.View{User: w.id})
		return false
	case record == nil:
		return false
	case record.State.UserState == presence.UserDeleted:
		switch {
		case !w.resumes:
			l.addUnknown(w)
		case w.queued || record.At > l.from.At: // else the client knows
			l.answer.Gone = append(l.answer.Gone, w.id)
		}
		return true
	}
	p := view.Of(record, l.stream.viewer)
	e.seen = p.Revision
	whole := !w.resumes || w.queued
	if may, surely := l.changed(record, &p); whole || may {
		l.answer.Changed = l.answer.Changed || whole || surely
		l.answer.Views = append(l.answer.Views, view.View{User: w.id, Presence: p})
	}
	return false
}

// changed reports whether the view may have changed since the cursor, and whether it
// certainly has. Commits that changed something else do not count. If the cursor is of
// another hub, or too old, the view's own revision time decides.
func (l *followJob) changed(r *store.Record, p *presence.Presence) (may, surely bool) {
	newer := r.At > l.from.At
	switch {
	case p.Revision == 0 || !newer && !l.mayHide(r, p):
		return false, false
	case newer && p.Revision == r.State.Revision:
		return true, true
	}
	if l.from.Hub == l.stream.hub.id {
		if after, known := l.stream.hub.recent.since(r, p.Revision, l.from.At); known {
			return after, after
		}
	}
	return int64(p.Revision/1e6) >= l.from.Second-margin, false
}

// mayHide reports whether the user looks offline to a viewer who cannot tell whether that is so.
// The record's position does not count then: it moves with the changes of a user who hides.
func (l *followJob) mayHide(r *store.Record, p *presence.Presence) bool {
	return p.Status == presence.Offline && !l.stream.viewer.Watcher(r.User.ID).Truth
}

// Unfollow stops following users by name. Those that are followed for another reason stay.
func (s *Stream) Unfollow(ids []presence.UserID) {
	s.removeEdgesFor(ids, byName)
}

// removeEdgesFor removes a reason to follow users, and the edges that have no other
// reason.
func (s *Stream) removeEdgesFor(ids []presence.UserID, why followReasons) {
	s.removeEdges(ids, func(e *edge) bool {
		e.reasons &^= why
		return e.reasons == 0
	})
}

// removeEdges removes the edges of ids for which match reports true.
func (s *Stream) removeEdges(ids []presence.UserID, match func(*edge) bool) {
	if len(ids) == 0 {
		return
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.removeEdgesLocked(ids, match)
}

// removeEdgesLocked is removeEdges for a caller that holds the hub's mu.
func (s *Stream) removeEdgesLocked(ids []presence.UserID, match func(*edge) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		i, found := s.findEdge(id)
		if !found || !match(s.edges[i]) {
			continue
		}
		e := s.edges[i]
		s.edges = slices.Delete(s.edges, i, i+1)
		if e.slot != noSlot {
			s.queue[e.slot] = item{}
			s.queued--
			e.slot, e.pending = noSlot, nil
		}
		s.hub.removeEdge(e)
	}
}
