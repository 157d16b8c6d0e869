package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// Members implements hub.Directory.
func (n *node) Members(_ context.Context, account presence.AccountID, after presence.UserID, limit int) ([]hub.Member, error) {
	n.mu.Lock()
	var page []hub.Member
	for u, m := range n.members {
		if u.Account == account && u.ID > after {
			page = append(page, m)
		}
	}
	n.mu.Unlock()
	slices.SortFunc(page, func(a, b hub.Member) int { return strings.Compare(string(a.User), string(b.User)) })
	if n.afterMembers != nil {
		n.afterMembers()
	}
	return page[:min(len(page), limit)], n.membersErr
}

// MembersByID implements hub.Directory.
func (n *node) MembersByID(_ context.Context, account presence.AccountID, ids []presence.UserID) ([]hub.Member, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found []hub.Member
	for _, id := range ids {
		if m, ok := n.members[store.User{Account: account, ID: id}]; ok {
			found = append(found, m)
		}
	}
	return found, n.membersErr
}

// GroupKey implements hub.Directory: names of groups are capital here.
func (n *node) GroupKey(name string) string { return strings.ToLower(name) }

// UnloggedMembers implements hub.Directory.
func (n *node) UnloggedMembers(context.Context, presence.AccountID, time.Time) ([]hub.MemberChange, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.unlogged)), nil
}

// setGroups changes a user of the directory, and then commits the change as the API does.
func (n *node) setGroups(account presence.AccountID, id presence.UserID, groups ...string) {
	n.Helper()
	n.writeGroups(account, id, groups...)
	n.logGroups(account, id)
}

// writeGroups changes a user of the directory.
func (n *node) writeGroups(account presence.AccountID, id presence.UserID, groups ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := store.User{Account: account, ID: id}
	change := hub.MemberChange{User: id, Before: n.members[u].Groups, After: groups}
	if earlier, ok := n.unlogged[id]; ok {
		change.Before = earlier.Before
	}
	n.members[u] = hub.Member{User: id, Active: true, Groups: groups}
	n.unlogged[id] = change
}

// logGroups commits what writeGroups has changed.
func (n *node) logGroups(account presence.AccountID, id presence.UserID) {
	n.Helper()
	n.mu.Lock()
	change := n.unlogged[id]
	n.mu.Unlock()
	profiles := presence.Profiles{Profile: profileOf(change.After), ProfileBefore: profileOf(change.Before)}
	for _, e := range []presence.Event{presence.SetUserState{Profiles: profiles}, presence.ProfileChanged{Groups: true, Profiles: profiles}} {
		_, err := n.store.Update(n.Context(), store.User{Account: account, ID: id}, n.logged(id, e))
		if err != nil && !errors.Is(err, presence.ErrNoChange) {
			n.Error(err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(n.unlogged[id].After, change.After) {
		delete(n.unlogged, id)
	}
}

func profileOf(groups []string) *presence.Profile {
	p := &presence.Profile{}
	for _, key := range groups {
		p.Groups = append(p.Groups, strings.ToUpper(key))
	}
	return p
}

// logged is the update that publish makes of an event.
func (n *node) logged(id presence.UserID, e presence.Event) store.Decide {
	n.mu.Lock()
	groups := n.members[store.User{Account: "a", ID: id}].Groups
	n.mu.Unlock()
	return func(was presence.Recorded) (store.Change, error) {
		by := store.By{Cause: store.CauseTime}
		switch x := e.(type) {
		case presence.ProfileChanged:
			by.Cause = store.CauseGroups
		case presence.SetUserState:
			by.Cause = map[presence.UserState]store.Cause{presence.UserActive: store.CauseActivated, presence.UserDeactivated: store.CauseDeactivated, presence.UserDeleted: store.CauseDeleted}[x.State]
			if !was.State.Exists() {
				by.Cause = store.CauseCreated
			}
			if x.Profile == nil {
				x.Profile = profileOf(groups)
			}
			e = x
		}
		change, err := storetest.Apply(e, presence.Policy{}, presence.InstantOf(time.Now()))(was)
		change.By = by
		return change, err
	}
}

func (n *node) followAudiences(s *hub.Stream, cursor string, audiences ...hub.Audience) {
	n.Helper()
	if err := s.Follow(n.Context(), hub.Follow{Audiences: audiences, Cursor: cursor}); err != nil {
		n.Fatal(err)
	}
}

var (
	everyone = hub.Audience{Everyone: true}
	support  = hub.Audience{Group: "support"}
	sales    = hub.Audience{Group: "sales"}
)

func TestFollowEveryone(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("a", "bob")
		n.setGroups("a", "carol")
		n.applyEvents("bob", desktop)
		s, sink := n.open("alice")
		n.followAudiences(s, "", everyone)
		n.want(sink, "[bob:available carol:offline gone[] unknown[] partial=false] ")
		n.setGroups("a", "dave")
		n.want(sink, "[dave:offline gone[] unknown[] partial=true] ")
		n.applyEvents("dave", desktop)
		n.want(sink, "dave:available ")
		n.applyEvents("dave", presence.SetUserState{State: presence.UserDeactivated})
		frames := n.want(sink, "dave:offline gone davemember_removed [gone[] unknown[] partial=true] ")
		if frames[0].Cursor != "" || frames[2].Cursor == "" {
			n.Errorf("a cursor covers the removal before it was sent: %+v", frames)
		}
		n.applyEvents("dave", presence.SetUserState{State: presence.UserActive})
		n.want(sink, "[dave:offline gone[] unknown[] partial=true] ")
		n.applyEvents("carol", presence.SetUserState{State: presence.UserDeleted})
		n.want(sink, "carol:offline gone caroldeleted [gone[] unknown[] partial=true] ")
		s.UnfollowAudiences([]hub.Audience{everyone})
		n.setGroups("a", "erin")
		n.applyEvents("bob", setStatus(presence.Busy, ""))
		n.want(sink, "")
	})
}

// TestMemberDeletedOnce: a deleted member is sent as offline and as gone, once, whenever the
// hub compares the members.
func TestMemberDeletedOnce(t *testing.T) {
	deleted := presence.SetUserState{State: presence.UserDeleted}
	for name, deleteCarol := range map[string]func(n *node, s *hub.Stream, sink *recordingSink){
		"before the delivery": func(n *node, _ *hub.Stream, _ *recordingSink) {
			n.hub.OnChange(func([]store.Record) { time.Sleep(time.Millisecond) })
			n.applyEvents("carol", deleted)
		},
		"before the delivery, since a group was unfollowed": func(n *node, s *hub.Stream, _ *recordingSink) {
			n.hub.OnChange(func([]store.Record) {
				s.UnfollowAudiences([]hub.Audience{support})
				time.Sleep(time.Millisecond)
			})
			n.applyEvents("carol", deleted)
		},
		"while the client does not read": func(n *node, _ *hub.Stream, sink *recordingSink) {
			sink.block()
			n.applyEvents("bob", setStatus(presence.Busy, "")) // is being written
			synctest.Wait()
			n.applyEvents("carol", deleted)
			synctest.Wait()
			sink.release()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				n.setGroups("a", "bob", "support")
				n.setGroups("a", "carol", "support")
				n.applyEvents("bob", desktop)
				s, sink := n.open("alice")
				n.followAudiences(s, "", everyone, support)
				sink.takeFrames()
				deleteCarol(n, s, sink)
				time.Sleep(time.Second)
				got := strings.TrimPrefix(formatFrames(sink.takeFrames()), "bob:busy ")
				if want := "carol:offline gone caroldeleted [gone[] unknown[] partial=true] "; got != want {
					t.Errorf("delivered\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}

func TestFollowGroups(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("a", "bob", "support")
		n.setGroups("a", "carol", "sales")
		s, sink := n.open("alice")
		n.followAudiences(s, "", support)
		n.want(sink, "[bob:offline gone[] unknown[] partial=false] ")
		n.setGroups("a", "carol", "sales", "support")
		n.want(sink, "[carol:offline gone[] unknown[] partial=true] ")
		n.followAudiences(s, "", sales)
		n.want(sink, "[carol:offline gone[] unknown[] partial=false] ")
		n.setGroups("a", "carol", "sales") // one of the two is left
		n.setGroups("a", "bob", "other")
		n.want(sink, "gone bobmember_removed [gone[] unknown[] partial=true] ")
		n.applyEvents("bob", desktop)
		n.applyEvents("carol", desktop)
		n.want(sink, "carol:available ")
		s.UnfollowAudiences([]hub.Audience{support})
		n.setGroups("a", "carol")
		n.want(sink, "gone carolmember_removed [gone[] unknown[] partial=true] ")
	})
}

// A user who is followed for several reasons stays until there is none.
func TestFollowedForSeveralReasons(t *testing.T) {
	bubble(t, func(n *node) {
		for _, id := range []presence.UserID{"bob", "carol"} {
			n.setGroups("a", id, "support")
			n.applyEvents(id, desktop)
		}
		n.contacts["alice"] = hub.ContactList{Gen: 1, Edges: []hub.ContactEdge{{User: "bob", Gen: 1}}}
		s, sink := n.open("alice")
		if err := s.Follow(n.Context(), hub.Follow{Users: []hub.NamedUser{{ID: "bob"}}, Contacts: true, Audiences: []hub.Audience{support, everyone}}); err != nil {
			n.Fatal(err)
		}
		n.want(sink, "[bob:available carol:available gone[] unknown[] partial=false] ")
		status := presence.Away
		for _, stop := range []func(){
			func() { n.setGroups("a", "bob") },
			func() { s.UnfollowAudiences([]hub.Audience{everyone}) },
			s.UnfollowContacts,
		} {
			stop()
			sink.takeFrames()
			status++
			n.applyEvents("bob", setStatus(status, ""))
			n.want(sink, "bob:"+status.String()+" ")
		}
		s.Unfollow([]presence.UserID{"bob"})
		n.applyEvents("bob", setStatus(presence.Away, ""))
		n.applyEvents("carol", setStatus(presence.Away, ""))
		n.want(sink, "carol:away ")
	})
}

// TestMembersOfOtherAccountsAreNotSent: the same id in another account is another user.
func TestMembersOfOtherAccountsAreNotSent(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("a", "bob", "support")
		n.setGroups("b", "mallory", "support")
		s, sink := n.open("alice")
		n.followAudiences(s, "", everyone, support)
		n.want(sink, "[bob:offline gone[] unknown[] partial=false] ")
		n.setGroups("b", "trudy", "support")
		n.setGroups("b", "mallory")
		n.setGroups("b", "bob")
		other := store.User{Account: "b", ID: "bob"}
		for _, e := range []presence.Event{desktop, presence.SetUserState{State: presence.UserDeleted}} {
			if _, err := n.store.Update(n.Context(), other, storetest.Apply(e, presence.Policy{}, presence.InstantOf(time.Now()))); err != nil {
				n.Fatal(err)
			}
		}
		n.want(sink, "")
		if s.Follows("trudy") || s.Follows("mallory") || !s.Follows("bob") {
			n.Error("the stream follows a user of another account")
		}
	})
}

// A member who hides appears offline, and sends nothing.
func TestMembersThroughVisibility(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("a", "bob", "support")
		n.applyEvents("bob", desktop, presence.SetVisibility{Everyone: presence.VisibilityOffline})
		s, sink := n.open("alice")
		n.followAudiences(s, "", support)
		n.want(sink, "[bob:offline gone[] unknown[] partial=false] ")
		n.applyEvents("bob", setStatus(presence.Busy, "secret"))
		n.want(sink, "")
		n.setGroups("a", "bob")
		n.setGroups("a", "bob", "support")
		frames := sink.takeFrames()
		if got := fmt.Sprint(frames); strings.Contains(got, "secret") || strings.Contains(got, "busy") {
			n.Errorf("delivered %s", got)
		}
	})
}

// A client that resumes is sent who joined and who left, or a complete snapshot if that is
// not known.
func TestResumeMembers(t *testing.T) {
	for name, row := range map[string]struct {
		meanwhile func(n *node)
		want      string
	}{
		"nothing": {func(*node) {}, "[gone[] unknown[] partial=true] "},
		"a status": {
			func(n *node) { n.applyEvents("bob", desktop) },
			"[bob:available gone[] unknown[] partial=true] ",
		},
		"a join": {
			func(n *node) { n.setGroups("a", "dave", "support") },
			"[dave:offline gone[] unknown[] partial=true] ",
		},
		"a departure": {
			func(n *node) { n.setGroups("a", "bob") },
			"[gone[bob] unknown[] partial=true] ",
		},
		"a deletion": {
			func(n *node) { n.applyEvents("bob", presence.SetUserState{State: presence.UserDeleted}) },
			"[gone[bob] unknown[] partial=true] ",
		},
		"a join that was taken back": {
			func(n *node) { n.setGroups("a", "dave", "support"); synctest.Wait(); n.setGroups("a", "dave") },
			"[gone[dave] unknown[] partial=true] ",
		},
		"a change of another group": {
			func(n *node) { n.setGroups("a", "dave", "sales"); n.setGroups("a", "bob", "support", "sales") },
			"[gone[] unknown[] partial=true] ",
		},
		"too many changes": {
			func(n *node) {
				for range 2050 {
					n.setGroups("a", "dave", "sales")
					synctest.Wait()
					n.setGroups("a", "dave")
					synctest.Wait()
				}
			},
			"[gone[] unknown[] partial=true] ",
		},
		"a long time": {
			func(n *node) { time.Sleep(4 * time.Minute); n.setGroups("a", "dave", "support") },
			"[dave:offline gone[] unknown[] partial=true] ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				synctest.Wait() // the hub has begun, so that it knows all revisions
				n.setGroups("a", "bob", "support")
				n.setGroups("a", "carol", "support")
				n.setGroups("a", "dave")
				synctest.Wait()
				s, sink := n.open("alice")
				n.followAudiences(s, "", support)
				frames := n.want(sink, "[bob:offline carol:offline gone[] unknown[] partial=false] ")
				s.End(hub.CloseGone, 0)
				row.meanwhile(n)
				synctest.Wait()
				s, sink = n.open("alice")
				n.followAudiences(s, frames[0].Cursor, support)
				n.want(sink, row.want)
			})
		})
	}
}

// Another hub, as after a restart, finds in the log who joined and who left.
func TestResumeMembersOnAnotherHub(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("a", "bob", "support")
		s, sink := n.open("alice")
		n.followAudiences(s, "", support)
		cursor := n.want(sink, "[bob:offline gone[] unknown[] partial=false] ")[0].Cursor
		n.setGroups("a", "bob")
		n.setGroups("a", "carol", "support")
		first := n.hub
		defer func() { n.hub = first }()
		n.hub = hub.New(hub.Options{Store: n.store, Directory: n, Access: n, Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(n.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.hub.Run(ctx) }()
		s, sink = n.open("alice")
		n.followAudiences(s, cursor, support)
		n.want(sink, "[carol:offline gone[bob] unknown[] partial=true] ")
		stop()
		if err := <-ended; err != nil {
			n.Error(err)
		}
	})
}

// TestMembersChangeDuringFollow: who joins or leaves while the members are read, or while
// their records are, is in the answer or follows it.
func TestMembersChangeDuringFollow(t *testing.T) {
	change := func(n *node) {
		n.setGroups("a", "bob")
		n.setGroups("a", "dave", "support")
		n.applyEvents("carol", presence.SetUserState{State: presence.UserDeleted})
		synctest.Wait()
	}
	for name, plant := range map[string]func(n *node){
		"members": func(n *node) { n.afterMembers = func() { n.afterMembers = nil; change(n) } },
		"records": func(n *node) {
			reads := 0
			n.reads.afterRead = func() {
				if reads++; reads == 2 { // the first is of the roster
					change(n)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				for _, id := range []presence.UserID{"bob", "carol", "erin"} {
					n.setGroups("a", id, "support")
				}
				s, sink := n.open("alice")
				plant(n)
				n.followAudiences(s, "", support)
				if got := followed(sink.takeFrames()); got != "[dave erin]" {
					n.Errorf("the client knows %s", got)
				}
				for _, id := range []presence.UserID{"bob", "carol"} {
					if s.Follows(id) {
						n.Errorf("%s is followed", id)
					}
				}
			})
		})
	}
}

// followed is whom a client follows after these frames.
func followed(frames []frame) string {
	client := make(map[string]bool)
	for _, f := range frames {
		applyTo(client, &f)
	}
	var ids []string
	for id := range client {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return fmt.Sprint(ids)
}

func applyTo(client map[string]bool, f *frame) {
	switch f.Type {
	case "snapshot":
		if !f.Partial {
			clear(client)
		}
		for _, p := range f.Presences {
			client[p.User] = true
		}
		for _, id := range f.Gone {
			delete(client, id)
		}
	case "gone":
		delete(client, f.User)
	}
}

func TestTooManyMembers(t *testing.T) {
	bubble(t, func(n *node) {
		n.mu.Lock()
		for i := range hub.MaxFollowed {
			id := presence.UserID(fmt.Sprint("u", i))
			n.members[store.User{Account: "a", ID: id}] = hub.Member{User: id, Active: true}
		}
		n.mu.Unlock()
		s, sink := n.open("alice")
		n.followAudiences(s, "", everyone)
		sink.takeFrames()
		n.setGroups("a", "last")
		if got := sink.ends(); !slices.Equal(got, []hub.Close{hub.CloseTooMany}) {
			n.Errorf("past the limit: ended with %v", got)
		}
		s, sink = n.open("alice")
		var limit *presence.LimitError
		if err := s.Follow(n.Context(), hub.Follow{Audiences: []hub.Audience{everyone}}); !errors.As(err, &limit) || limit.Limit != hub.MaxFollowed {
			n.Errorf("a Follow of too many: %v", err)
		}
		s.Send(hub.Message{Event: testEvent{Type: "error"}, Answers: true})
		n.followAudiences(s, "", support)
		n.setGroups("a", "one more")
		n.applyEvents("last", desktop)
		n.want(sink, "error  [gone[] unknown[] partial=false] ")
	})
}

// If members cannot be read, the streams that follow them end and reconnect: a change is
// never missed.
func TestMembersCannotBeRead(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("a", "bob", "support")
		synctest.Wait()
		s, sink := n.open("alice")
		n.followAudiences(s, "", support)
		cursor := sink.takeFrames()[0].Cursor
		named, other := n.open("grace")
		n.follow(named, "", "bob")
		n.membersErr = errBlocked
		n.setGroups("a", "carol", "support")
		if got := sink.ends(); !slices.Equal(got, []hub.Close{hub.CloseUnavailable}) {
			n.Errorf("ended with %v", got)
		}
		if got := other.ends(); len(got) > 0 {
			n.Errorf("a stream without audiences ended with %v", got)
		}
		s, sink = n.open("alice")
		if err := s.Follow(n.Context(), hub.Follow{Audiences: []hub.Audience{support}}); !errors.Is(err, errBlocked) {
			n.Errorf("a Follow meanwhile: %v", err)
		}
		s.Send(hub.Message{Event: testEvent{Type: "error"}, Answers: true})
		n.membersErr = nil
		n.followAudiences(s, cursor, support)
		n.want(sink, "error  [carol:offline gone[] unknown[] partial=true] ")
	})
}

// TestMembersUnderLoad: while users join, leave, are deactivated and change their status,
// and clients reconnect, each client ends with the present members.
func TestMembersUnderLoad(t *testing.T) {
	bubble(t, func(n *node) {
		const users, clients = 20, 6
		id := func(i int) presence.UserID { return presence.UserID(fmt.Sprintf("u%02d", i)) }
		for i := range users {
			n.setGroups("a", id(i), "support")
		}
		audiences := [][]hub.Audience{{everyone}, {support}, {sales}, {support, sales}}
		known := make([]map[string]bool, clients)
		var changes, streams sync.WaitGroup
		stop := make(chan struct{})
		for c := range clients {
			known[c] = make(map[string]bool)
			streams.Go(func() { n.keepFollowing(c, audiences[c%len(audiences)], known[c], stop) })
		}
		for w := range 4 {
			changes.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(w)))
				for range 300 {
					n.changeAtRandom(random, id(w+4*random.IntN(users/4)))
					time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
				}
			})
		}
		changes.Wait()
		close(stop)
		streams.Wait()
		for c := range clients {
			var want []string
			for i := range users {
				if n.isMember(id(i), audiences[c%len(audiences)]) {
					want = append(want, string(id(i)))
				}
			}
			if got := followed([]frame{{Type: "snapshot", Presences: framesOf(known[c])}}); got != fmt.Sprint(want) {
				n.Errorf("client %d follows %v: knows %s, want %v", c, audiences[c%len(audiences)], got, want)
			}
		}
	})
}

func framesOf(client map[string]bool) (frames []frame) {
	for id := range client {
		frames = append(frames, frame{User: id})
	}
	return frames
}

// keepFollowing is a client that reconnects with its cursor every 20 ms until stop, and
// then reads to the end.
func (n *node) keepFollowing(c int, audiences []hub.Audience, known map[string]bool, stop <-chan struct{}) {
	cursor := ""
	for last := false; !last; {
		s, sink := n.open(presence.UserID(fmt.Sprint("client", c)))
		n.followAudiences(s, cursor, audiences...)
		select {
		case <-stop:
			last = true
			time.Sleep(time.Second)
		case <-time.After(20 * time.Millisecond):
		}
		sink.mu.Lock()
		frames := slices.Clone(sink.frames[:sink.written])
		sink.mu.Unlock()
		for i := range frames {
			applyTo(known, &frames[i])
			if frames[i].Cursor != "" {
				cursor = frames[i].Cursor
			}
		}
		s.End(hub.CloseGone, 0)
	}
}

func (n *node) changeAtRandom(random *rand.Rand, id presence.UserID) {
	switch random.IntN(5) {
	case 0:
		n.setGroups("a", id, "support")
	case 1:
		n.setGroups("a", id, "sales", "support")
	case 2:
		n.setGroups("a", id)
	case 3:
		n.applyEvents(id, presence.SetUserState{State: presence.UserDeactivated})
	case 4:
		n.applyEvents(id, presence.SetUserState{State: presence.UserActive}, desktop, presence.SignOut{Session: "s"})
	}
}

// isMember reports whether a user is active on record, and in one of the audiences.
func (n *node) isMember(id presence.UserID, audiences []hub.Audience) bool {
	u := store.User{Account: "a", ID: id}
	records, _, err := n.store.Read(n.Context(), []store.User{u}, store.Freshness{})
	if err != nil {
		n.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return records[0].State.UserState == presence.UserActive && slices.ContainsFunc(audiences, func(a hub.Audience) bool {
		return a.Everyone || slices.Contains(n.members[u].Groups, a.Group)
	})
}
