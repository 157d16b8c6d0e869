package hub_test

import (
	"testing"
	"testing/synctest"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
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
