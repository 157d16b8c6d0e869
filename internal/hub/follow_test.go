package hub_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// followContacts follows the owner's contacts.
func (n *node) followContacts(s *hub.Stream, cursor string) {
	n.Helper()
	if err := s.Follow(n.Context(), hub.Follow{Contacts: true, Cursor: cursor}); err != nil {
		n.Fatal(err)
	}
}

// TestFormerContactFollowedByName: a client that resumes, and that follows a user by name
// in one Follow, is not told in the next that the user is gone because the user is no longer
// a contact.
func TestFormerContactFollowedByName(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		n.contacts["alice"] = hub.ContactList{Gen: 1, Edges: []hub.ContactEdge{{User: "bob", Gen: 1}}}
		synctest.Wait()
		s, sink := n.open("alice")
		n.follow(s, "", "bob")
		n.followContacts(s, "")
		cursor := sink.takeFrames()[1].Cursor
		s.End(hub.CloseGone, 0)
		n.contacts["alice"] = hub.ContactList{Gen: 2, Ended: []hub.ContactEdge{{User: "bob", Gen: 2}}}
		s, sink = n.open("alice")
		n.follow(s, cursor, "bob")
		n.followContacts(s, cursor)
		n.want(sink, "[gone[] unknown[] partial=true] [gone[] unknown[] partial=true] ")
		n.applyEvents("bob", setStatus(presence.Busy, ""))
		n.want(sink, "bob:busy ")
	})
}

// failFollow has a Follow fail because of the store, and answers it as the API does.
func (n *node) failFollow(s *hub.Stream, f hub.Follow) {
	n.Helper()
	n.reads.err = store.ErrUnavailable
	if err := s.Follow(n.Context(), f); !errors.Is(err, store.ErrUnavailable) {
		n.Errorf("a Follow without the store: %v", err)
	}
	n.reads.err = nil
	s.Send(hub.Message{Event: testEvent{Type: "error"}, Answers: true})
}

// TestChangeDuringFailedFollow: a change that is committed while a Follow of the same user
// fails is delivered, unless the viewer may not see it.
func TestChangeDuringFailedFollow(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop, presence.SetVisibility{Everyone: presence.VisibilityOffline})
		n.applyEvents("carol", desktop)
		s, sink := n.open("alice")
		n.follow(s, "", "bob", "carol", "dave")
		n.want(sink, "[bob:offline carol:available dave:offline gone[] unknown[] partial=false] ")
		n.reads.afterRead = func() {
			n.reads.afterRead = nil
			n.applyEvents("bob", setStatus(presence.Busy, "secret"))
			n.applyEvents("carol", setStatus(presence.Busy, ""))
			n.applyEvents("dave", presence.SetUserState{State: presence.UserDeleted})
			synctest.Wait()
		}
		n.failFollow(s, hub.Follow{Users: []hub.NamedUser{{ID: "bob"}, {ID: "carol"}, {ID: "dave"}}})
		n.want(sink, "carol:busy dave:offline gone davedeleted error  ")
	})
}

// TestFailedFollowIsNoReason: a Follow that failed is no reason to follow users who were
// followed before.
func TestFailedFollowIsNoReason(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		n.contacts["alice"] = hub.ContactList{Gen: 1, Edges: []hub.ContactEdge{{User: "bob", Gen: 1}}}
		s, sink := n.open("alice")
		n.follow(s, "", "bob")
		sink.takeFrames()
		n.failFollow(s, hub.Follow{Contacts: true})
		s.Unfollow([]presence.UserID{"bob"})
		n.applyEvents("bob", setStatus(presence.Busy, ""))
		n.want(sink, "error  ")
		if s.Follows("bob") {
			n.Error("bob is still followed")
		}
	})
}

// TestDeletedDuringFollowOfMembers: a client that follows a user by name learns that the
// user was deleted, even while it follows an audience that the user is in, or joins.
func TestDeletedDuringFollowOfMembers(t *testing.T) {
	for name, follow := range map[string]func(n *node, s *hub.Stream, during func()){
		"follow": func(n *node, s *hub.Stream, during func()) {
			n.setGroups("a", "bob", "support")
			synctest.Wait()
			reads := 0
			n.reads.afterRead = func() {
				if reads++; reads == 2 { // the first is of the roster
					during()
				}
			}
			n.followAudiences(s, "", support)
		},
		"join": func(n *node, s *hub.Stream, during func()) {
			n.followAudiences(s, "", support)
			n.reads.afterRead = func() { n.reads.afterRead = nil; during() }
			n.setGroups("a", "bob", "support")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				n.applyEvents("bob", desktop)
				s, sink := n.open("alice")
				n.follow(s, "", "bob")
				follow(n, s, func() {
					n.applyEvents("bob", presence.SetUserState{State: presence.UserDeleted})
					time.Sleep(time.Millisecond)
				})
				time.Sleep(time.Second)
				frames := sink.takeFrames()
				for i := range frames {
					frames[i].Partial = true // the answers are of different users
				}
				if got := followed(frames); got != "[]" || s.Follows("bob") {
					t.Errorf("the client knows %s: %s", got, formatFrames(frames))
				}
			})
		})
	}
}

// TestFollowOfManyLongNotes: an answer of any size is sent to a client that has read what
// came before, and what comes during that does not end the stream.
func TestFollowOfManyLongNotes(t *testing.T) {
	bubble(t, func(n *node) {
		const users = 4000
		note := strings.Repeat("\U0001F600", presence.MaxNoteRunes)
		for i := range users {
			id := presence.UserID(fmt.Sprint("u", i))
			n.members[store.User{Account: "a", ID: id}] = hub.Member{User: id, Active: true}
			n.applyEvents(id, desktop, setStatus(presence.Busy, note))
		}
		s, sink := n.open("alice")
		sink.block()
		n.followAudiences(s, "", everyone)
		s.Send(hub.Message{Event: hub.Ping{}})
		synctest.Wait()
		sink.release()
		received := 0
		for _, f := range sink.takeFrames() {
			received += len(f.Presences)
		}
		if ends := sink.ends(); received != users || len(ends) > 0 {
			t.Errorf("%d of %d users, and the stream ended with %v", received, users, ends)
		}
	})
}

// TestTooManyContacts: a stream whose owner's contacts grow past what a stream may follow
// ends with the code that tells the client not to reconnect.
func TestTooManyContacts(t *testing.T) {
	bubble(t, func(n *node) {
		s, sink := n.open("alice")
		n.followContacts(s, "")
		ids := make([]presence.UserID, hub.MaxFollowed)
		for i := range ids {
			ids[i] = presence.UserID(fmt.Sprint("u", i))
		}
		n.follow(s, "", ids...)
		n.mu.Lock()
		n.contacts["alice"] = hub.ContactList{Gen: 1, Edges: []hub.ContactEdge{{User: "bob", Gen: 1}}}
		n.mu.Unlock()
		n.hub.ContactsChanged("a", "alice")
		if got := sink.ends(); !slices.Equal(got, []hub.Close{hub.CloseTooMany}) {
			t.Errorf("ended with %v", got)
		}
	})
}

// TestDeletedAreNotCounted: a user who was deleted is not followed any more, so a stream at
// its limit can follow another one.
func TestDeletedAreNotCounted(t *testing.T) {
	bubble(t, func(n *node) {
		s, sink := n.open("alice")
		ids := make([]presence.UserID, hub.MaxFollowed)
		for i := range ids {
			ids[i] = presence.UserID(fmt.Sprint("u", i))
		}
		n.follow(s, "", ids...)
		sink.takeFrames()
		n.applyEvents("u7", desktop)
		n.want(sink, "u7:available ")
		n.applyEvents("u7", presence.SetUserState{State: presence.UserDeleted})
		n.want(sink, "u7:offline gone u7deleted ")
		n.applyEvents("bob", desktop)
		n.follow(s, "", "bob")
		n.want(sink, "[bob:available gone[] unknown[] partial=false] ")
		if err := s.Follow(n.Context(), hub.Follow{Users: []hub.NamedUser{{ID: "carol"}}}); err == nil {
			t.Error("the stream follows one too many")
		}
	})
}
