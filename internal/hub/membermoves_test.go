package hub_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestMembersMoveBetweenNodes: a client that follows audiences and moves between nodes, of
// which one is behind, resumes each time. It knows the present members in the end, also
// those whose change a node sees in the directory before it is in the log.
func TestMembersMoveBetweenNodes(t *testing.T) {
	bubble(t, func(n *node) {
		const users, moves = 12, 1500
		random, lag := rand.New(rand.NewPCG(5, 6)), rand.New(rand.NewPCG(7, 8)) // of two goroutines
		nodes := []*node{n, n.behind(func() time.Duration { return time.Duration(lag.IntN(200)) * time.Millisecond }, 0)}
		synctest.Wait()
		ids := make([]presence.UserID, users)
		for i := range ids {
			ids[i] = presence.UserID(fmt.Sprintf("u%02d", i))
			n.setGroups("a", ids[i], "support")
		}
		pause := func(ms int) { time.Sleep(time.Duration(random.IntN(ms)) * time.Millisecond) }
		change := func() {
			for range random.IntN(3) {
				switch id := ids[random.IntN(users)]; random.IntN(6) {
				case 0: // something else commits the record before the change of its groups
					n.writeGroups("a", id, [][]string{{"support"}, {"sales"}}[random.IntN(2)]...)
					n.applyEvents(id, presence.SetUserState{}, setStatus(presence.Status(1+random.IntN(3)), ""))
					pause(100)
					n.logGroups("a", id)
				case 1: // so does it stop after that
					n.writeGroups("a", id, [][]string{{"support"}, {"sales"}}[random.IntN(2)]...)
				default:
					n.changeAtRandom(random, id)
				}
				pause(100)
			}
		}
		for name, audiences := range map[string][]hub.Audience{"everyone": {everyone}, "groups": {support, sales}, "a group": {support}} {
			m, known := &mover{T: t, known: make(map[string]frame)}, make(map[string]bool)
			visit := func(on *node) {
				s, sink := on.open("alice")
				defer s.End(hub.CloseGone, 0)
				on.followAudiences(s, m.cursor, audiences...)
				change()
				pause(300)
				frames := sink.takeFrames()
				m.learn(frames)
				for i := range frames {
					applyTo(known, &frames[i])
				}
			}
			for range moves {
				visit(nodes[random.IntN(2)])
				change()
				if random.IntN(200) == 0 {
					time.Sleep(4 * time.Minute) // the rosters are dropped
				}
			}
			for _, id := range ids {
				n.logGroups("a", id)
			}
			time.Sleep(time.Second)
			for _, on := range nodes {
				visit(on)
			}
			for _, id := range ids {
				n.logGroups("a", id)
			}
			change = func() {}
			visit(n)
			if m.resets > 0 {
				t.Errorf("%s: %d of %d moves were answered by a reset", name, m.resets, moves)
			}
			var want []string
			for _, id := range ids {
				if n.isMember(id, audiences) {
					want = append(want, string(id))
				}
			}
			if got := followed([]frame{{Type: "snapshot", Presences: framesOf(known)}}); got != fmt.Sprint(want) {
				t.Errorf("%s: the client knows %s, want %v", name, got, want)
			}
		}
	})
}

// A loggingStore can have a log that lacks something.
type loggingStore struct {
	store.Store

	oldest  store.Position
	damaged bool
	endless bool
	err     error
	reads   atomic.Int64
}

func (s *loggingStore) PositionAt(ctx context.Context, t time.Time) (store.Position, error) {
	at, err := s.Store.PositionAt(ctx, t)
	return max(at, s.oldest), err
}

func (s *loggingStore) Log(ctx context.Context, after store.Position, limit int) ([]store.Entry, error) {
	s.reads.Add(1)
	entries, err := s.Store.Log(ctx, after, limit)
	if s.endless {
		entries = make([]store.Entry, limit)
		for i := range entries {
			entries[i].At = after + store.Position(1+i)
		}
	}
	if s.damaged && len(entries) > 0 {
		entries[0] = store.Entry{At: entries[0].At, Damaged: errors.New("planted")}
	}
	return entries, errors.Join(err, s.err)
}

// TestMembersNotInTheLog: a cursor is reset if the log cannot tell who joined and left
// since, and the Follow fails if it cannot be read now. A change whose entry was erased, or
// is not written yet, is found elsewhere.
func TestMembersNotInTheLog(t *testing.T) {
	const reset = "[carol:offline gone[] unknown[] partial=falsemembers] "
	for name, row := range map[string]struct {
		plant func(n *node, st *loggingStore)
		want  string
	}{
		"retention":          {func(_ *node, st *loggingStore) { st.oldest = 1000 }, reset},
		"damage":             {func(_ *node, st *loggingStore) { st.damaged = true }, reset},
		"a failure":          {func(_ *node, st *loggingStore) { st.err = store.ErrUnavailable }, "store unavailable"},
		"an erasure":         {func(n *node, _ *loggingStore) { n.unlogged["dave"] = hub.MemberChange{User: "dave", Unknown: true} }, "[carol:offline gone[bob dave] unknown[] partial=true] "},
		"one not logged yet": {func(n *node, _ *loggingStore) { n.writeGroups("a", "erin", "support") }, "[carol:offline erin:offline gone[bob] unknown[] partial=true] "},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				n.setGroups("a", "bob", "support")
				s, sink := n.open("alice")
				n.followAudiences(s, "", support)
				cursor := n.want(sink, "[bob:offline gone[] unknown[] partial=false] ")[0].Cursor
				n.setGroups("a", "bob")
				n.setGroups("a", "carol", "support")
				st := &loggingStore{Store: n.store}
				n.store = st
				other := n.behind(func() time.Duration { return 0 }, 0)
				synctest.Wait()
				row.plant(n, st)
				s, sink = other.open("alice")
				if err := s.Follow(n.Context(), hub.Follow{Audiences: []hub.Audience{support}, Cursor: cursor}); err != nil {
					if err.Error() != row.want {
						t.Error(err)
					}
					return
				}
				frames := sink.takeFrames()
				slices.Sort(frames[0].Gone)
				if got := formatFrames(frames); strings.TrimSpace(got) != strings.TrimSpace(row.want) {
					t.Errorf("%s, want %s", got, row.want)
				}
			})
		})
	}
}

// TestUnreadableLogIsReadOnce: after the log was found to be too long or damaged, it is not
// read for another Follow that begins no later.
func TestUnreadableLogIsReadOnce(t *testing.T) {
	for name, plant := range map[string]func(*loggingStore){
		"too long": func(st *loggingStore) { st.endless = true },
		"damaged":  func(st *loggingStore) { st.damaged = true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				n.setGroups("a", "bob", "support")
				s, sink := n.open("alice")
				n.followAudiences(s, "", support)
				cursor := n.want(sink, "[bob:offline gone[] unknown[] partial=false] ")[0].Cursor
				n.setGroups("a", "carol", "support")
				st := &loggingStore{Store: n.store}
				plant(st)
				n.store = st
				other := n.behind(func() time.Duration { return 0 }, 0)
				synctest.Wait()
				var first int64
				for range 3 {
					s, sink := other.open("alice")
					other.followAudiences(s, cursor, support)
					other.want(sink, "[bob:offline carol:offline gone[] unknown[] partial=falsemembers] ")
					first = cmp.Or(first, st.reads.Load())
				}
				if reads := st.reads.Load(); first == 0 || reads > first {
					t.Errorf("%d reads, and %d for the first Follow", reads, first)
				}
			})
		})
	}
}

// TestMemberLeftBetweenTwoReads: one node reads the directory before a member leaves, and
// another after that, both for the same earlier commit. A client that moves from the former
// to the latter is sent that the member has left.
func TestMemberLeftBetweenTwoReads(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("a", "bob", "support")
		late := n.behind(func() time.Duration { return time.Second }, 0)
		time.Sleep(2 * time.Second)
		warm, _ := late.open("grace")
		late.followAudiences(warm, "", support) // has the roster loaded
		s, sink := n.open("alice")
		n.followAudiences(s, "", support)
		frames := sink.takeFrames()
		n.applyEvents("bob", desktop)
		frames = append(frames, sink.takeFrames()...)
		s.End(hub.CloseGone, 0)
		n.writeGroups("a", "bob", "sales")
		time.Sleep(2 * time.Second)
		n.logGroups("a", "bob")
		s, sink = late.open("alice")
		late.followAudiences(s, frames[len(frames)-1].Cursor, support)
		time.Sleep(2 * time.Second)
		if got := followed(append(frames, sink.takeFrames()...)); got != "[]" {
			t.Errorf("the client knows %s", got)
		}
	})
}

// TestMemberJoinedBetweenTwoRosters: a member who is in the directory but not yet in the log
// when a roster is loaded once more is sent to a client that resumes, even if nothing was
// committed since its cursor.
func TestMemberJoinedBetweenTwoRosters(t *testing.T) {
	bubble(t, func(n *node) {
		n.setGroups("a", "bob", "support")
		n.setGroups("a", "dave")
		synctest.Wait()
		s, sink := n.open("alice")
		n.followAudiences(s, "", support)
		frames := sink.takeFrames()
		s.End(hub.CloseGone, 0)
		n.writeGroups("a", "dave", "support")
		time.Sleep(4 * time.Minute) // the roster is dropped
		s, sink = n.open("alice")
		n.followAudiences(s, frames[0].Cursor, support)
		n.logGroups("a", "dave")
		time.Sleep(time.Second)
		if got := followed(append(frames, sink.takeFrames()...)); got != "[bob dave]" {
			t.Errorf("the client knows %s", got)
		}
	})
}
