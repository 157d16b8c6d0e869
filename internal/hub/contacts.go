package hub

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// A ContactList is the contacts of a user: the current edges, and those removed
// recently. Every change raises Gen; each edge has the Gen at which it was added or
// removed.
type ContactList struct {
	Gen     uint64
	Edges   []ContactEdge
	Ended   []ContactEdge
	Pruned  uint64 // edges removed up to this Gen may be missing
	Version string // changes with the list
}

// A ContactEdge is one contact.
type ContactEdge struct {
	User presence.UserID
	Gen  uint64
}

func (c *ContactList) has(id presence.UserID) bool {
	return slices.ContainsFunc(c.Edges, func(e ContactEdge) bool { return e.User == id })
}

// less lists the edges of c that o does not have.
func (c *ContactList) less(o *ContactList) []ContactEdge {
	var rest []ContactEdge
	for _, e := range c.Edges {
		if !o.has(e.User) {
			rest = append(rest, e)
		}
	}
	return rest
}

// addContacts adds the owner's contacts to a Follow: those added since the cursor with a
// full view, and those removed since as gone.
func (l *followJob) addContacts(ctx context.Context) error {
	s := l.stream
	lists, err := s.hub.opts.Directory.ContactLists(ctx, s.account, []presence.UserID{s.owner})
	if err != nil {
		return err
	}
	list := lists[s.owner]
	l.contacts = &list
	if l.from.resumes && list.Pruned > l.from.Contacts {
		l.unusable(ResetContacts)
	}
	for _, c := range list.Edges {
		l.wanted = append(l.wanted, wanted{id: c.User, resumes: l.from.resumes && c.Gen <= l.from.Contacts, reasons: byContact})
	}
	for _, c := range list.Ended {
		named := slices.ContainsFunc(l.wanted, func(w wanted) bool { return w.id == c.User })
		if l.from.resumes && c.Gen > l.from.Contacts && !named {
			l.answer.Gone = append(l.answer.Gone, c.User)
		}
	}
	return nil
}

// UnfollowContacts stops following the owner's contacts, except those that are followed
// for another reason.
func (s *Stream) UnfollowContacts() {
	s.following.Lock()
	defer s.unlockFollowing()
	s.mu.Lock()
	list := s.contacts
	s.contacts, s.sentContacts = nil, nil
	s.mu.Unlock()
	if list != nil {
		s.removeEdgesFor(usersOf(list.Edges), byContact)
	}
}

func usersOf(edges []ContactEdge) []presence.UserID {
	ids := make([]presence.UserID, len(edges))
	for i := range edges {
		ids[i] = edges[i].User
	}
	return ids
}

// ContactsChanged has a user's streams follow the user's present contacts. It does not
// wait. Changes of which nobody calls it are found within contactsEvery.
func (h *Hub) ContactsChanged(account presence.AccountID, owner presence.UserID) {
	streams := h.followingContacts(account, owner)
	if len(streams) == 0 {
		return
	}
	select {
	case h.contactsChanged <- userOf(account, owner):
	default: // the next round finds it
	}
}

func (h *Hub) followingContacts(account presence.AccountID, owner presence.UserID) []*Stream {
	return slices.DeleteFunc(h.streamsOf(userOf(account, owner)), func(s *Stream) bool { return s.contactList() == nil })
}

func (s *Stream) contactList() *ContactList {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contacts
}

// maxOwners is how many users' contacts are read at once.
const maxOwners = 500

// Bounds of the concurrency and the duration of refreshing contacts: a slow account or
// stream delays no other.
const (
	readAtOnce     = 16
	followedAtOnce = 64
	refreshTimeout = 30 * time.Second
)

// slots bound concurrency: the channel has one element for each running goroutine.
type slots chan struct{}

// start runs do on a goroutine of its own as soon as a slot is free.
func (s slots) start(ctx context.Context, group *sync.WaitGroup, do func(context.Context)) {
	select {
	case s <- struct{}{}:
	case <-ctx.Done():
		return
	}
	group.Go(func() {
		defer func() { <-s }()
		ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
		defer cancel()
		do(ctx)
	})
}

// A contactRefresher has streams follow their owners' present contacts.
type contactRefresher struct {
	hub     *Hub
	reads   slots
	follows slots
	group   sync.WaitGroup
	late    sync.Map // accounts whose contacts are being read
}

// keepContacts refreshes contacts until ctx ends.
func (h *Hub) keepContacts(ctx context.Context) {
	ticker := time.NewTicker(contactsEvery)
	defer ticker.Stop()
	r := &contactRefresher{hub: h, reads: make(slots, readAtOnce), follows: make(slots, followedAtOnce)}
	defer r.group.Wait()
	var buffer streamBuffer
	for {
		select {
		case <-ticker.C:
			r.refreshAll(ctx, &buffer)
		case u := <-h.contactsChanged:
			owners := map[presence.UserID][]*Stream{u.ID: h.followingContacts(u.Account, u.ID)}
			r.reads.start(ctx, &r.group, func(read context.Context) { r.refresh(ctx, read, u.Account, owners) })
		case <-ctx.Done():
			return
		}
	}
}

// refreshAll finds changes of the contacts of all streams. An account whose last round
// still runs waits for the next.
func (r *contactRefresher) refreshAll(ctx context.Context, buffer *streamBuffer) {
	byAccount := make(map[presence.AccountID]map[presence.UserID][]*Stream)
	buffer.forEach(r.hub, func(s *Stream) {
		if s.contactList() == nil {
			return
		}
		if byAccount[s.account] == nil {
			byAccount[s.account] = make(map[presence.UserID][]*Stream)
		}
		byAccount[s.account][s.owner] = append(byAccount[s.account][s.owner], s)
	})
	for account, owners := range byAccount {
		if _, late := r.late.LoadOrStore(account, true); late {
			continue
		}
		r.reads.start(ctx, &r.group, func(read context.Context) {
			defer r.late.Delete(account)
			r.refresh(ctx, read, account, owners)
		})
	}
}

// refresh reads contacts, bounded by read, and updates the streams whose contacts
// changed.
func (r *contactRefresher) refresh(ctx, read context.Context, account presence.AccountID, owners map[presence.UserID][]*Stream) {
	for part := range slices.Chunk(slices.Collect(maps.Keys(owners)), maxOwners) {
		versions, err := r.hub.opts.Directory.ContactVersions(read, account, part)
		part = slices.DeleteFunc(part, func(id presence.UserID) bool {
			return !slices.ContainsFunc(owners[id], func(s *Stream) bool { return s.hasOther(versions[id]) })
		})
		var lists map[presence.UserID]ContactList
		if err == nil && len(part) > 0 {
			lists, err = r.hub.opts.Directory.ContactLists(read, account, part)
		}
		if err != nil {
			r.hub.opts.Log.WarnContext(ctx, "cannot read contacts; will retry", slog.Any("err", err))
			return
		}
		for _, id := range part {
			for _, s := range owners[id] {
				r.follows.start(ctx, &r.group, func(ctx context.Context) { s.followContacts(ctx, lists[id]) })
			}
		}
	}
}

// hasOther reports whether the stream follows other contacts than those of a
// version.
func (s *Stream) hasOther(version string) bool {
	list := s.contactList()
	return list != nil && list.Version != version
}

// followContacts follows the contacts of a newer list. Added contacts are sent as a
// snapshot, removed ones as gone; the last event advances the cursor. A stream with a
// Follow in progress is left to the next round.
func (s *Stream) followContacts(ctx context.Context, list ContactList) {
	if !s.following.TryLock() {
		return
	}
	defer s.unlockFollowing()
	before := s.contactList()
	if before == nil || list.Gen < before.Gen {
		return
	}
	if list.Gen == before.Gen { // rewritten with the same contents
		s.mu.Lock()
		s.contacts = &list
		s.mu.Unlock()
		return
	}
	l := &followJob{stream: s, contacts: &list, answer: Snapshot{Partial: true}}
	var removed []Gone
	for _, id := range usersOf(before.less(&list)) {
		removed = append(removed, Gone{User: id, Reason: GoneContactRemoved})
	}
	s.Expect()
	s.endAfter(l.replace(ctx, usersOf(list.less(before)), removed, byContact))
}

// endAfter ends the stream if it could not follow users who were added, because of err.
func (s *Stream) endAfter(err error) {
	switch {
	case errors.As(err, new(*presence.LimitError)):
		s.End(CloseTooMany, 0)
	case err != nil:
		s.End(CloseUnavailable, retryWithin(sweepEvery))
	}
}

// replace follows added users for a reason, and no longer follows removed ones for it.
// Users with no other reason are sent as gone; then a snapshot of the added ones is sent,
// which advances the cursor.
func (l *followJob) replace(ctx context.Context, added []presence.UserID, removed []Gone, why followReasons) error {
	s := l.stream
	for _, id := range added {
		l.wanted = append(l.wanted, wanted{id: id, reasons: why})
	}
	var gone []Message
	for i := range removed {
		if s.removeReason(removed[i].User, why) {
			gone = append(gone, Message{Event: &removed[i]})
		}
	}
	s.mu.Lock()
	s.sentGone = s.sentGone || len(gone) > 0
	s.mu.Unlock()
	s.Send(gone...)
	return l.run(ctx)
}

// removeReason removes a reason to follow a user, and the edge if it has no other. It reports
// whether the client has to be told: not if another reason is left, or if the user's deletion
// was queued. A deletion that is still queued stays queued.
func (s *Stream) removeReason(id presence.UserID, why followReasons) (announce bool) {
	s.removeEdges([]presence.UserID{id}, func(e *edge) bool {
		e.reasons &^= why
		if e.reasons != 0 {
			return false
		}
		announce = !e.deleted
		if e.deleted {
			e.slot = noSlot // so that removing the edge does not dequeue it
		}
		return true
	})
	return announce
}

// Follows reports whether the stream follows a user.
func (s *Stream) Follows(id presence.UserID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := s.findEdge(id)
	return found
}
