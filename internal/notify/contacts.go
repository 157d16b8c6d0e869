package notify

import (
	"context"
	"log/slog"
	"slices"

	"porchlight.dev/porchlight/internal/presence"
)

// A ContactList is whom a user follows: the edges there are, and those that ended
// lately. Every change raises Gen, and each edge has the one at which it began or
// ended.
type ContactList struct {
	Gen     uint64
	Edges   []ContactEdge
	Ended   []ContactEdge
	Pruned  uint64 // edges that ended up to here may be missing
	Version string // another for each list of the user
}

// A ContactEdge is one contact.
type ContactEdge struct {
	User presence.UserID
	Gen  uint64
}

func (c *ContactList) has(id presence.UserID) bool {
	return slices.ContainsFunc(c.Edges, func(e ContactEdge) bool { return e.User == id })
}

// less is the edges of c that o does not have.
func (c *ContactList) less(o *ContactList) []ContactEdge {
	var rest []ContactEdge
	for _, e := range c.Edges {
		if !o.has(e.User) {
			rest = append(rest, e)
		}
	}
	return rest
}

// addContacts makes the owner's contacts part of a Follow: those who are new since
// the cursor whole, and those who were removed as gone.
func (l *loading) addContacts(ctx context.Context) error {
	s := l.stream
	lists, err := s.hub.opts.Contacts(ctx, s.account, []presence.UserID{s.owner})
	if err != nil {
		return err
	}
	list := lists[s.owner]
	l.contacts = &list
	if l.from.resumes && list.Pruned > l.from.Contacts {
		l.unusable(ResetContacts)
	}
	for _, c := range list.Edges {
		l.wanted = append(l.wanted, wanted{id: c.User, resumes: l.from.resumes && c.Gen <= l.from.Contacts, contact: true})
	}
	for _, c := range list.Ended {
		named := slices.ContainsFunc(l.wanted, func(w wanted) bool { return w.id == c.User })
		if l.from.resumes && c.Gen > l.from.Contacts && !named {
			l.snapshot.Gone = append(l.snapshot.Gone, c.User)
		}
	}
	return nil
}

// UnfollowContacts stops following the owner's contacts, but those who are also
// followed by name.
func (s *Stream) UnfollowContacts() {
	s.following.Lock()
	defer s.following.Unlock()
	s.mu.Lock()
	list := s.contacts
	s.contacts, s.told = nil, nil
	s.mu.Unlock()
	if list != nil {
		s.dropContacts(list.Edges)
	}
}

func (s *Stream) dropContacts(edges []ContactEdge) {
	ids := make([]presence.UserID, len(edges))
	for i := range edges {
		ids[i] = edges[i].User
	}
	s.drop(ids, func(e *edge) bool {
		e.byContact = false
		return !e.byName
	})
}

// ContactsMoved says that the contacts of a user changed: the user's streams follow
// those that there are now. It does not wait. Changes that another node made are
// found within contactsEvery.
func (h *Hub) ContactsMoved(account presence.AccountID, owner presence.UserID) {
	streams := h.ofContacts(account, owner)
	if len(streams) == 0 {
		return
	}
	select {
	case h.moved <- userOf(account, owner):
	default: // the next round finds it
	}
}

func (h *Hub) ofContacts(account presence.AccountID, owner presence.UserID) []*Stream {
	return slices.DeleteFunc(h.of(userOf(account, owner)), func(s *Stream) bool { return s.contactList() == nil })
}

func (s *Stream) contactList() *ContactList {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.contacts
}

// maxOwners is of how many users the contacts are read at once.
const maxOwners = 500

// refreshAllContacts looks for changes of the contacts of all streams.
func (h *Hub) refreshAllContacts(ctx context.Context) {
	byAccount := make(map[presence.AccountID]map[presence.UserID][]*Stream)
	h.swept = h.appendAll(h.swept[:0])
	defer clear(h.swept)
	for _, s := range h.swept {
		if s.contactList() == nil {
			continue
		}
		if byAccount[s.account] == nil {
			byAccount[s.account] = make(map[presence.UserID][]*Stream)
		}
		byAccount[s.account][s.owner] = append(byAccount[s.account][s.owner], s)
	}
	for account, owners := range byAccount {
		h.refreshContacts(ctx, account, owners)
	}
}

func (h *Hub) refreshContacts(ctx context.Context, account presence.AccountID, owners map[presence.UserID][]*Stream) {
	ids := make([]presence.UserID, 0, len(owners))
	for id := range owners {
		ids = append(ids, id)
	}
	for part := range slices.Chunk(ids, maxOwners) {
		versions, err := h.opts.ContactVersions(ctx, account, part)
		part = slices.DeleteFunc(part, func(id presence.UserID) bool {
			return !slices.ContainsFunc(owners[id], func(s *Stream) bool { return s.hasOther(versions[id]) })
		})
		var lists map[presence.UserID]ContactList
		if err == nil && len(part) > 0 {
			lists, err = h.opts.Contacts(ctx, account, part)
		}
		if err != nil {
			h.opts.Log.WarnContext(ctx, "contacts cannot be read now", slog.Any("err", err))
			return
		}
		for _, id := range part {
			for _, s := range owners[id] {
				s.followContacts(ctx, lists[id])
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

// followContacts follows the contacts of a newer list. Whoever was added comes as
// a snapshot, whoever was removed as gone; the cursor goes on with the last frame.
func (s *Stream) followContacts(ctx context.Context, list ContactList) {
	s.following.Lock()
	defer s.following.Unlock()
	before := s.contactList()
	if before == nil || list.Gen < before.Gen {
		return
	}
	if list.Gen == before.Gen { // written, and with the same in it
		s.mu.Lock()
		s.contacts = &list
		s.mu.Unlock()
		return
	}
	l := &loading{stream: s, contacts: &list, snapshot: &Snapshot{Partial: true}}
	for _, c := range list.less(before) {
		l.wanted = append(l.wanted, wanted{id: c.User, contact: true})
	}
	s.Expect()
	removed := before.less(&list)
	s.dropContacts(removed)
	var gone []Frame
	for _, c := range removed {
		if !s.Follows(c.User) {
			gone = append(gone, Frame{Kind: "gone", Body: s.hub.opts.Format.AppendGone(nil, c.User, GoneContactRemoved)})
		}
	}
	s.Send(gone...)
	if err := l.run(ctx); err != nil {
		s.End(CloseUnavailable, retryWithin(sweepEvery))
	}
}

// Follows reports whether the stream follows a user.
func (s *Stream) Follows(id presence.UserID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := s.find(id)
	return found
}
