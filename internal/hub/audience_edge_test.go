package hub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestPollsKeepRoster: a client that polls every 5 s keeps its roster, although no poll is
// open for long.
func TestPollsKeepRoster(t *testing.T) {
	bubble(t, func(n *node) {
		synctest.Wait()
		n.setGroups("a", "bob", "support")
		synctest.Wait()
		s, sink := n.open("alice")
		n.followAudiences(s, "", support)
		cursor := n.want(sink, "[bob:offline gone[] unknown[] partial=false] ")[0].Cursor
		s.End(hub.CloseGone, 0)
		time.Sleep(100 * time.Millisecond)
		for i := range 60 {
			time.Sleep(5 * time.Second)
			n.applyEvents("zed", setStatus([]presence.Status{presence.Busy, presence.Away}[i%2], ""))
			synctest.Wait()
			s, sink := n.open("alice")
			n.followAudiences(s, cursor, support)
			f := sink.takeFrames()
			s.End(hub.CloseGone, 0)
			if f[0].Reset != "" {
				t.Fatalf("poll %d after %ds: %+v", i, 5*(i+1), f)
			}
			cursor = f[0].Cursor
		}
	})
}

// TestSlowDeliveryDelaysNoOther: streams whose members change with a slow delivery do not
// delay a stream whose members were delivered before.
func TestSlowDeliveryDelaysNoOther(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("b", "bob", "support")
		synctest.Wait()
		var others []*hub.Stream
		for range 100 {
			s, err := n.hub.Open(n.Context(), "b", "erin", viewer("erin"), new(recordingSink))
			if err != nil {
				t.Fatal(err)
			}
			n.followAudiences(s, "", support, sales)
			others = append(others, s)
		}
		s, sink := n.open("alice")
		n.followAudiences(s, "", everyone)
		n.reads.blockedUser, n.reads.released = "zed", make(chan struct{})
		go func() { _ = s.Follow(n.Context(), hub.Follow{Users: []hub.NamedUser{{ID: "zed"}}}) }() // the members wait for it
		synctest.Wait()
		n.setGroups("a", "carol")
		synctest.Wait()
		sink.takeFrames()
		n.hub.OnChange(func([]store.Record) { time.Sleep(10 * time.Second) })
		n.setGroups("b", "carol", "support")
		synctest.Wait()
		others[0].UnfollowAudiences([]hub.Audience{sales}) // follows the members next
		synctest.Wait()
		close(n.reads.released)
		time.Sleep(time.Second)
		n.want(sink, "[zed:offline gone[] unknown[] partial=false] [carol:offline gone[] unknown[] partial=true] ")
		time.Sleep(time.Minute)
		for i, s := range others {
			if !s.Follows("carol") {
				t.Errorf("stream %d does not follow carol", i)
			}
		}
	})
}

// TestUnfollowKeepsDepartures: a member who left is announced, whatever the client
// unfollows before that.
func TestUnfollowKeepsDepartures(t *testing.T) {
	bubble(t, func(n *node) {
		synctest.Wait()
		n.setGroups("a", "bob", "support")
		n.setGroups("a", "carol", "sales")
		n.setGroups("a", "erin", "support")
		n.applyEvents("bob", desktop)
		synctest.Wait()
		s, sink := n.open("alice")
		n.followAudiences(s, "", support, sales)
		sink.takeFrames()
		n.reads.afterRead = func() {
			n.reads.afterRead = nil
			n.setGroups("a", "bob")
			synctest.Wait()
		}
		n.follow(s, "", "zed")
		s.UnfollowAudiences([]hub.Audience{sales})
		time.Sleep(10 * time.Second)
		frames := sink.takeFrames()
		for _, f := range frames {
			if f.Type == "gone" && f.User == "bob" {
				return
			}
		}
		t.Errorf("no frame says that bob has left support: %s", formatFrames(frames))
	})
}

// TestResumeTwoGroupsOneByOne: a user who left one of two groups is still a member of the
// other, when each group has a follow of its own.
func TestResumeTwoGroupsOneByOne(t *testing.T) {
	bubble(t, func(n *node) {
		synctest.Wait()
		n.setGroups("a", "bob", "support", "sales")
		n.setGroups("a", "carol", "support")
		n.setGroups("a", "dave", "sales")
		synctest.Wait()
		s, sink := n.open("alice")
		n.followAudiences(s, "", support)
		n.followAudiences(s, "", sales)
		all := sink.takeFrames()
		all[0].Partial, all[1].Partial = true, true // for the model, which knows one Follow only
		cursor := all[len(all)-1].Cursor
		if cursor == "" {
			t.Fatal("no cursor")
		}
		s.End(hub.CloseGone, 0)
		n.setGroups("a", "bob", "sales")
		synctest.Wait()
		s, sink = n.open("alice")
		n.followAudiences(s, cursor, support)
		n.followAudiences(s, cursor, sales)
		all = append(all, sink.takeFrames()...)
		if got := followed(all); got != "[bob carol dave]" {
			t.Errorf("the client knows %s; the stream follows bob: %t", got, s.Follows("bob"))
		}
	})
}
