package hub_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// epochStore is a store with another epoch.
type epochStore struct {
	store.Store

	epoch string
}

func (s epochStore) Epoch() string { return s.epoch }

// cursors is the cursor codec of another node of the store, or of the same store after
// a restore.
func (n *node) cursors(epoch string) *hub.Cursors {
	n.Helper()
	cs, err := hub.NewCursors(n.Context(), epochStore{n.store, epoch})
	if err != nil {
		n.Fatal(err)
	}
	return cs
}

// TestCursorsCannotBeForged: a store accepts only cursors that it issued, on any node
// and after a restart.
func TestCursorsCannotBeForged(t *testing.T) {
	bubble(t, func(n *node) {
		given := hub.Cursor{At: 300, Second: 1_700_000_000, Hub: 7, Contacts: 3}
		text := n.cursors("e1").Text(given)
		other := n.cursors("e1")
		if got, err := other.Parse(text); err != nil || got != given {
			n.Fatalf("another node parses %+v, %v", got, err)
		}
		if _, err := n.cursors("e2").Parse(text); !errors.Is(err, store.ErrEpoch) {
			n.Errorf("after a restore: %v", err)
		}
		const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
		for i := range text {
			for _, digit := range digits {
				altered := text[:i] + string(digit) + text[i+1:]
				if _, err := other.Parse(altered); err == nil && altered != text {
					n.Errorf("%q is accepted as %q", altered, text)
				}
			}
		}
	})
}

// FuzzParseCursor: text from a client is an issued cursor or is refused.
func FuzzParseCursor(f *testing.F) {
	st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = st.Close() })
	cs, err := hub.NewCursors(f.Context(), st)
	if err != nil {
		f.Fatal(err)
	}
	given := map[string]bool{}
	for _, c := range []hub.Cursor{{}, {At: 1, Second: 1_700_000_000, Hub: 7}, {At: 1 << 40, Second: 1_800_000_000, Hub: 1 << 31, Contacts: 500}} {
		given[cs.Text(c)] = true
		f.Add(cs.Text(c))
	}
	for _, text := range []string{"", ".", "ZEk2Nw.tp26qi.5", strings.Repeat("A", 300)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		switch c, err := cs.Parse(text); {
		case err == nil && !given[text]:
			t.Errorf("%q was not issued but is accepted as %+v", text, c)
		case err != nil && (given[text] || !errors.Is(err, hub.ErrCursor) && !errors.Is(err, store.ErrEpoch)):
			t.Errorf("%q: %v", text, err)
		}
	})
}

// TestNoCursorBeforeEveryFollowIsAnswered: a client may resume from any cursor, so a
// cursor covers every user whom the client asked to follow.
func TestNoCursorBeforeEveryFollowIsAnswered(t *testing.T) {
	bubble(t, func(n *node) {
		for _, id := range []presence.UserID{"bob", "carol"} {
			n.applyEvents(id, desktop)
		}
		s, sink := n.open("alice")
		pong := func() string {
			s.Send(hub.Message{Event: testEvent{Type: "pong"}, Mark: s.Cursor()})
			frames := sink.takeFrames()
			return frames[len(frames)-1].Cursor
		}
		if c := pong(); c != "" {
			n.Errorf("a cursor before any follow: %q", c)
		}
		s.Expect()
		s.Expect() // two follow frames arrived together
		follow := func(id presence.UserID) error {
			return s.Follow(n.Context(), hub.Follow{Users: []hub.NamedUser{{ID: id}}, Expected: true})
		}
		if err := follow("bob"); err != nil {
			n.Fatal(err)
		}
		n.applyEvents("bob", setStatus(presence.Busy, ""))
		frames := n.want(sink, "[bob:available gone[] unknown[] partial=false] bob:busy ")
		n.applyEvents("bob", presence.SetUserState{State: presence.UserDeleted})
		for _, f := range append(frames, n.want(sink, "bob:offline gone bobdeleted ")...) {
			if f.Cursor != "" {
				n.Errorf("a cursor that does not cover carol: %+v", f)
			}
		}
		if c := pong(); c != "" {
			n.Errorf("a pong has a cursor: %q", c)
		}
		if err := follow("carol"); err != nil {
			n.Fatal(err)
		}
		if f := n.want(sink, "[carol:available gone[] unknown[] partial=false] "); f[0].Cursor == "" {
			n.Error("no cursor when both are answered")
		}
		if c := pong(); c == "" {
			n.Error("no cursor in a pong")
		}

		s.Expect()
		n.want(sink, "")
		s.Send(hub.Message{Event: testEvent{Type: "error"}, Answers: true})
		if c := pong(); c == "" {
			n.Error("an error is an answer")
		}
	})
}

// TestCutWithinCommit: only the last frame of a commit has its cursor.
func TestCutWithinCommit(t *testing.T) {
	bubble(t, func(n *node) {
		for _, id := range []presence.UserID{"bob", "carol", "dave"} {
			n.applyEvents(id, desktop)
		}
		s, sink := n.open("alice")
		n.follow(s, "", "bob", "carol", "dave")
		cursor := sink.takeFrames()[0].Cursor
		sink.block()
		n.applyEvents("carol", setStatus(presence.Busy, "taken"))
		synctest.Wait()
		n.applyEvents("bob", setStatus(presence.Busy, ""))
		n.applyEvents("carol", presence.SetUserState{State: presence.UserDeleted})
		n.applyEvents("dave", setStatus(presence.Busy, ""))
		n.applyEvents("bob", presence.SetUserState{State: presence.UserDeleted})
		synctest.Wait()
		sink.release()
		frames := n.want(sink, "carol:busy carol:offline gone caroldeleted dave:busy bob:offline+ gone bobdeleted ")
		for cut := range len(frames) + 1 {
			gone, at := map[string]bool{}, cursor
			for _, f := range frames[:cut] {
				if f.Type == "gone" {
					gone[f.User] = true
				}
				if f.Cursor != "" {
					at = f.Cursor
				}
			}
			s, sink := n.open("alice")
			n.follow(s, at, "bob", "carol", "dave")
			for _, f := range sink.takeFrames() {
				for _, id := range f.Gone {
					gone[id] = true
				}
			}
			s.End(hub.CloseGone, 0)
			if !gone["bob"] || !gone["carol"] {
				n.Errorf("cut after %d frames: gone %v", cut, gone)
			}
		}
	})
}

// TestHidingIsNotObservable: a watcher to whom a user appears offline cannot tell
// whether the user is offline, hides, or has a rule about another watcher.
func TestHidingIsNotObservable(t *testing.T) {
	for name, rules := range map[string]presence.SetVisibility{
		"from everybody":      {Everyone: presence.VisibilityOffline},
		"from the watcher":    {Watchers: map[presence.UserID]presence.Visibility{"carol": presence.VisibilityOffline}},
		"from a third":        {Watchers: map[presence.UserID]presence.Visibility{"dave": presence.VisibilityOffline}},
		"the note from all":   {Everyone: presence.VisibilityStatus},
		"nothing from anyone": {Watchers: map[presence.UserID]presence.Visibility{"dave": presence.VisibilityAll}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				n.applyEvents("bob", desktop)
				time.Sleep(time.Second)
				n.applyEvents("bob", presence.SignOut{Session: "s"})
				synctest.Wait()
				s, sink := n.open("carol")
				n.follow(s, "", "bob")
				cursor := sink.takeFrames()[0].Cursor
				s.End(hub.CloseGone, 0)
				time.Sleep(time.Second)
				n.applyEvents("bob", rules)
				if rules.Everyone == presence.VisibilityStatus {
					synctest.Wait() // otherwise the first answer does not cover it, and it is delivered twice
				}
				sees := "[gone[] unknown[] partial=true] "
				if rules.Everyone == presence.VisibilityStatus {
					sees = "[bob:offline gone[] unknown[] partial=true] " // Since is gone
				}
				for range 3 {
					s, sink = n.open("carol")
					n.follow(s, cursor, "bob")
					cursor = n.want(sink, sees)[0].Cursor
					sees = "[gone[] unknown[] partial=true] "
					if rules.Everyone == presence.VisibilityOffline || len(rules.Watchers) > 0 && name == "from the watcher" {
						n.applyEvents("bob", desktop, setStatus(presence.Busy, "x"), presence.SignOut{Session: "s"})
						n.want(sink, "")
					}
					s.End(hub.CloseGone, 0)
				}
			})
		})
	}
}

// TestHidingIsNotObservableElsewhere: nor can the watcher tell on another node, where whoever
// has changed within a minute before the cursor is sent again.
func TestHidingIsNotObservableElsewhere(t *testing.T) {
	for _, ago := range []time.Duration{10 * time.Second, 2 * time.Minute} {
		var received []string
		for name, change := range map[string]struct{ offline, later presence.Event }{
			"is offline":             {presence.SignOut{Session: "s"}, nil},
			"hides":                  {presence.SetVisibility{Everyone: presence.VisibilityOffline}, setStatus(presence.Busy, "x")},
			"hides from a third":     {presence.SignOut{Session: "s"}, presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{"dave": presence.VisibilityOffline}}},
			"hides and does nothing": {presence.SetVisibility{Everyone: presence.VisibilityOffline}, nil},
		} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(n *node) {
					other := n.behind(func() time.Duration { return 0 }, 0)
					signIn := desktop
					signIn.Lease = 30 * time.Minute
					n.applyEvents("bob", signIn)
					n.applyEvents("bob", change.offline)
					time.Sleep(ago)
					n.applyEvents("erin", signIn)
					synctest.Wait()
					s, sink := n.open("carol")
					n.follow(s, "", "bob")
					cursor := sink.takeFrames()[0].Cursor
					s.End(hub.CloseGone, 0)
					if change.later != nil {
						n.applyEvents("bob", change.later)
					}
					synctest.Wait()
					s, sink = other.open("carol")
					other.follow(s, cursor, "bob")
					received = append(received, formatFrames(sink.takeFrames()))
				})
			})
		}
		if slices.Sort(received); received[0] != received[len(received)-1] {
			t.Errorf("%v after bob was seen to go offline, the watcher is sent one of %q", ago, received)
		}
	}
}

// TestFollowedTwice: each Follow is answered with the users that it names, whatever was
// followed before or is queued.
func TestFollowedTwice(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		s, sink := n.open("alice")
		n.follow(s, "", "bob")
		cursor := sink.takeFrames()[0].Cursor
		sink.block()
		n.applyEvents("bob", setStatus(presence.Busy, "1"))
		synctest.Wait()
		n.applyEvents("bob", setStatus(presence.Away, "2"))
		synctest.Wait()
		n.follow(s, cursor, "bob") // the queued change is part of the answer
		n.follow(s, "", "bob")
		n.applyEvents("bob", setStatus(presence.Busy, "3"))
		synctest.Wait()
		sink.release()
		frames := n.want(sink, "bob:busy [bob:away gone[] unknown[] partial=true] [bob:away gone[] unknown[] partial=false] bob:busy ")
		for cut := 1; cut <= len(frames); cut++ {
			n.checkResumed(frames[:cut], []presence.UserID{"bob"})
		}

		// A failed Follow changes nothing.
		n.reads.err = errBlocked
		sink.block()
		n.applyEvents("bob", setStatus(presence.DoNotDisturb, "4"))
		synctest.Wait()
		n.applyEvents("bob", setStatus(presence.Away, "5"))
		synctest.Wait()
		if err := s.Follow(n.Context(), hub.Follow{Users: []hub.NamedUser{{ID: "bob"}}}); !errors.Is(err, errBlocked) {
			n.Fatal(err)
		}
		s.Send(hub.Message{Event: testEvent{Type: "error"}, Answers: true})
		sink.release()
		n.want(sink, "bob:do_not_disturb bob:away error  ")
	})
}
