package hub_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
)

// TestSlowFollowDelaysNoOther: while the store does not answer for one stream, for a
// Follow or for contacts, others get their contacts at once, and keepalives and token
// expiry on time. The slow stream gets everything once the store answers.
func TestSlowFollowDelaysNoOther(t *testing.T) {
	for name, slow := range map[string]func(n *node, s *hub.Stream, set func(presence.UserID, ...presence.UserID)){
		"asked by the client": func(n *node, s *hub.Stream, set func(presence.UserID, ...presence.UserID)) {
			go func() { _ = s.Follow(n.Context(), hub.Follow{Users: []hub.NamedUser{{ID: "stuck"}}}) }()
			synctest.Wait()
			set("alice", "bob", "carol", "stuck")
		},
		"of contacts": func(_ *node, _ *hub.Stream, set func(presence.UserID, ...presence.UserID)) {
			set("alice", "bob", "carol", "stuck")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				for _, id := range []presence.UserID{"bob", "carol", "stuck"} {
					n.applyEvents(id, desktop)
				}
				gen := uint64(0)
				set := func(owner presence.UserID, contacts ...presence.UserID) {
					gen++
					list := hub.ContactList{Gen: gen}
					for _, id := range contacts {
						list.Edges = append(list.Edges, hub.ContactEdge{User: id, Gen: gen})
					}
					n.mu.Lock()
					n.contacts[owner] = list
					n.mu.Unlock()
					n.hub.ContactsChanged("a", owner)
				}
				open := func(owner presence.UserID) (*hub.Stream, *recordingSink) {
					set(owner, "bob")
					s, sink := n.open(owner)
					if err := s.Follow(n.Context(), hub.Follow{Contacts: true}); err != nil {
						n.Fatal(err)
					}
					sink.takeFrames()
					return s, sink
				}
				s, late := open("alice")
				_, sink := open("grace")
				n.reads.blockedUser, n.reads.released = "stuck", make(chan struct{})
				slow(n, s, set)
				synctest.Wait()
				set("grace", "bob", "carol")
				n.want(sink, "[carol:available gone[] unknown[] partial=true] ")

				n.mu.Lock()
				n.invalid["grace"] = true
				n.mu.Unlock()
				time.Sleep(3*time.Second + time.Millisecond)
				if got := sink.ends(); !slices.Equal(got, []hub.Close{hub.CloseUnauthorized}) {
					n.Errorf("a revoked token: ended with %v", got)
				}
				close(n.reads.released)
				time.Sleep(4 * time.Second)
				late.takeFrames()
				for _, id := range []presence.UserID{"carol", "stuck"} {
					if !s.Follows(id) {
						n.Errorf("the slow stream does not follow %s", id)
					}
				}
			})
		})
	}
}
