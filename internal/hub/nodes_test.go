package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// A replica is a store as a node sees it that is behind: what Watch and Read give is older
// by lag than what others have written.
type replica struct {
	store.Store

	lag func() time.Duration

	mu      sync.Mutex // guards the fields below
	records map[store.User]store.Record
	at      store.Position
}

func (r *replica) Watch(ctx context.Context, fn func([]store.Record, store.Cursor)) error {
	return r.Store.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
		time.Sleep(r.lag())
		r.mu.Lock()
		for _, record := range group {
			r.records[record.User] = record
		}
		at, _ := upTo.Position(r.Epoch())
		r.at = max(r.at, at)
		r.mu.Unlock()
		fn(group, upTo)
	})
}

func (r *replica) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	// The other nodes know whether the store has issued the cursor.
	if _, _, err := r.Store.Read(ctx, nil, fresh); err != nil {
		return nil, store.Cursor{}, err
	}
	least, _ := fresh.AtLeast.Position(r.Epoch())
	for range 2000 {
		if records, at := r.content(us); at >= least {
			return records, store.NewCursor(r.Epoch(), at), nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil, store.Cursor{}, store.ErrUnavailable
}

func (r *replica) content(us []store.User) (records []store.Record, at store.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range us {
		if record, ok := r.records[u]; ok {
			records = append(records, record)
		}
	}
	return records, r.at
}

// behind is another node on n's store, which lags behind, and whose clock is ahead.
func (n *node) behind(lag func() time.Duration, ahead time.Duration) *node {
	n.Helper()
	clock := func() time.Time { return time.Now().Add(ahead) }
	return n.another(&replica{Store: n.store, lag: lag, records: make(map[store.User]store.Record)}, clock)
}

// another is another node on n's store, as that node sees it.
func (n *node) another(st store.Store, clock func() time.Time) *node {
	n.Helper()
	other := &node{T: n.T, store: n.store, contacts: n.contacts, members: n.members, invalid: n.invalid, unlogged: n.unlogged, mu: n.mu}
	other.hub = hub.New(hub.Options{Store: st, Directory: other, Access: other, Clock: clock, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(n.Context())
	ended := make(chan error, 1)
	go func() { ended <- other.hub.Run(ctx) }()
	n.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			n.Error(err)
		}
	})
	synctest.Wait() // until it watches: a replica has only what it is sent
	return other
}

// A lateWatch is a store as a node sees it whose hub is behind what the node reads.
type lateWatch struct{ store.Store }

func (l lateWatch) Watch(ctx context.Context, fn func([]store.Record, store.Cursor)) error {
	return l.Store.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
		time.Sleep(100 * time.Millisecond)
		fn(group, upTo)
	})
}

// A partedRead is a store that reads one user after the other, as an engine may, and whose
// cursor is of the first of them.
type partedRead struct {
	store.Store

	afterFirst func() // nil: nothing
}

func (p *partedRead) Read(ctx context.Context, us []store.User, fresh store.Freshness) (records []store.Record, at store.Cursor, err error) {
	if len(us) == 0 {
		return p.Store.Read(ctx, us, fresh)
	}
	for i := range us {
		record, cursor, err := p.Store.Read(ctx, us[i:i+1], fresh)
		if err != nil {
			return nil, cursor, err
		}
		records = append(records, record...)
		if i > 0 {
			continue
		}
		at = cursor
		if then := p.afterFirst; then != nil {
			p.afterFirst = nil
			then()
		}
	}
	return records, at, nil
}

// resume follows bob and carol as alice from the client's cursor.
func (m *mover) resume(n *node, want string) {
	m.Helper()
	s, sink := n.open("alice")
	defer s.End(hub.CloseGone, 0)
	n.follow(s, m.cursor, "bob", "carol")
	m.learn(n.want(sink, want))
}

const (
	bothChanged = "[bob:available carol:busy gone[] unknown[] partial=false] "
	noneChanged = "[gone[] unknown[] partial=true] "
)

// TestCursorCoversItsAnswer: a client that resumes is not sent again what came with its
// cursor, also if the hub had yet to deliver it when it was read, or delivered it meanwhile.
func TestCursorCoversItsAnswer(t *testing.T) {
	busy := setStatus(presence.Busy, "")
	for name, test := range map[string]func(n *node) *node{
		"read before it is delivered": func(n *node) *node {
			n.applyEvents("carol", busy)
			return n.another(lateWatch{n.store}, time.Now)
		},
		"delivered after it is read": func(n *node) *node {
			n.reads.afterRead = func() {
				n.reads.afterRead = nil
				n.applyEvents("carol", busy)
				synctest.Wait()
			}
			return n
		},
		"committed while users are read": func(n *node) *node {
			return n.another(&partedRead{n.store, func() { n.applyEvents("carol", busy) }}, time.Now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(n *node) {
				n.applyEvents("bob", desktop)
				n.applyEvents("carol", desktop)
				synctest.Wait()
				on := test(n)
				m := &mover{T: t, known: make(map[string]frame)}
				m.resume(on, bothChanged)
				m.resume(on, noneChanged)
				n.applyEvents("carol", setStatus(presence.Away, ""))
				m.resume(on, "[carol:away gone[] unknown[] partial=true] ")
				m.resume(on, noneChanged)
			})
		})
	}
}

// TestCursorOfUnknownUsers: a user who is created while a Follow finds that there is none is
// sent to a client that resumes.
func TestCursorOfUnknownUsers(t *testing.T) {
	bubble(t, func(n *node) {
		m := &mover{T: t, known: make(map[string]frame)}
		n.reads.afterRead = func() {
			n.reads.afterRead = nil
			n.applyEvents("nobody", desktop)
			synctest.Wait()
		}
		for _, want := range []string{
			"[gone[] unknown[nobody] partial=false] ",
			"[nobody:available gone[] unknown[] partial=true] ",
			noneChanged,
		} {
			s, sink := n.open("alice")
			n.follow(s, m.cursor, "nobody")
			m.learn(n.want(sink, want))
			s.End(hub.CloseGone, 0)
		}
	})
}

// TestResumeAfterRefresh: the refresh of a session, which is not delivered, changes nothing
// for a client that resumes.
func TestResumeAfterRefresh(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		n.applyEvents("carol", desktop, presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{"alice": presence.VisibilityStatus}}, setStatus(presence.Busy, ""))
		m := &mover{T: t, known: make(map[string]frame)}
		m.resume(n, bothChanged)
		n.applyEvents("carol", setStatus(presence.Busy, "hidden"))
		time.Sleep(time.Second) // so that the refresh changes something
		_, err := n.store.Update(n.Context(), store.User{Account: "a", ID: "carol"}, func(was presence.Recorded) (store.Change, error) {
			c, err := n.logged("carol", presence.Refresh{Session: "s"})(was)
			c.Unlogged = true
			return c, err
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m.resume(n, noneChanged)
	})
}

// A mover is a client that resumes on one node what another node sent.
type mover struct {
	*testing.T
	cursor string
	known  map[string]frame
	resets int
}

func (m *mover) learn(frames []frame) {
	m.Helper()
	for _, f := range frames {
		if f.Reset != "" {
			m.resets++
		}
		for _, p := range append(slices.Clone(f.Presences), f) {
			if p.User == "" || p.Type == "gone" {
				continue
			}
			if was := m.known[p.User]; p.Revision < was.Revision {
				m.Errorf("%s went back from revision %d to %d", p.User, was.Revision, p.Revision)
			}
			m.known[p.User] = p
		}
		if f.Cursor != "" {
			m.cursor = f.Cursor
		}
	}
}

// visit follows users on a node for a while.
func (m *mover) visit(n *node, during func(), ids ...presence.UserID) {
	m.Helper()
	s, sink := n.open("alice")
	defer s.End(hub.CloseGone, 0)
	n.follow(s, m.cursor, ids...)
	during()
	m.learn(sink.takeFrames())
}

// TestMovesBetweenNodes: a client that moves between two nodes, of which one is behind,
// resumes from its cursor each time. It skips nothing, and no user goes back.
func TestMovesBetweenNodes(t *testing.T) {
	bubble(t, func(n *node) {
		random, lag := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4)) // of two goroutines
		for _, id := range []presence.UserID{"bob", "carol", "dave"} {
			n.applyEvents(id, desktop)
		}
		ids := []presence.UserID{"bob", "carol", "dave", "erin"}
		n.applyEvents("dave", presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{"alice": presence.VisibilityStatus}})
		nodes := []*node{n, n.behind(func() time.Duration { return time.Duration(lag.IntN(400)) * time.Millisecond }, 0)}
		statuses := []presence.Status{presence.Busy, presence.Away, presence.DoNotDisturb, presence.Available}
		change := func() {
			for range random.IntN(4) {
				n.applyEvents(ids[random.IntN(len(ids))], setStatus(statuses[random.IntN(len(statuses))], fmt.Sprint(random.IntN(3))))
				time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
			}
		}
		m := &mover{T: t, known: make(map[string]frame)}
		const moves = 4000
		for i := range moves {
			m.visit(nodes[i%2], change, ids...)
			change()
		}
		m.visit(n, func() { time.Sleep(time.Second) }, ids...)
		if m.resets > 0 {
			t.Errorf("%d of %d moves were answered by a reset", m.resets, moves)
		}
		records, _, err := n.store.Read(n.Context(), usersOf(ids), store.Freshness{})
		if err != nil || len(records) != len(ids) {
			t.Fatal(len(records), err)
		}
		for i := range records {
			seen := view.Of(&records[i], viewer("alice"))
			if want, got := frameOf(records[i].User.ID, &seen), m.known[string(records[i].User.ID)]; got.Revision != want.Revision || got.Status != want.Status || got.Note != want.Note {
				t.Errorf("the client knows %+v, want %+v", got, want)
			}
		}
		for name, text := range map[string]string{
			"of another store": n.cursors("elsewhere").Text(hub.Cursor{At: 1}), "that was not issued": n.cursors(n.store.Epoch()).Text(hub.Cursor{At: 1 << 40}),
		} {
			foreign := &mover{T: t, cursor: text, known: make(map[string]frame)}
			if foreign.visit(nodes[1], func() {}, ids...); foreign.resets != 1 {
				t.Errorf("a cursor %s: %d resets, want one", name, foreign.resets)
			}
		}
	})
}

// TestNodeFarBehind: a Follow fails, rather than reset, on a node that does not reach the
// cursor in time.
func TestNodeFarBehind(t *testing.T) {
	bubble(t, func(n *node) {
		lag := time.Duration(0)
		far := n.behind(func() time.Duration { return lag }, 0)
		synctest.Wait()
		lag = time.Hour
		m := &mover{T: t, known: make(map[string]frame)}
		n.applyEvents("bob", desktop)
		synctest.Wait() // the hub has delivered it, so that the cursor covers it
		m.visit(n, func() {}, "bob")
		s, sink := far.open("alice")
		err := s.Follow(n.Context(), hub.Follow{Users: []hub.NamedUser{{ID: "bob"}}, Cursor: m.cursor})
		if !errors.Is(err, store.ErrUnavailable) || len(sink.takeFrames()) > 0 {
			t.Errorf("Follow: %v, want ErrUnavailable", err)
		}
	})
}

// TestCursorOfAClockAhead: the time in a cursor is of commits. A node whose clock is ahead
// does not make its clients skip changes on another node.
func TestCursorOfAClockAhead(t *testing.T) {
	bubble(t, func(n *node) {
		ahead := n.behind(func() time.Duration { return 0 }, 100*time.Second)
		signIn := desktop
		signIn.Lease = 30 * time.Minute
		n.applyEvents("bob", signIn, presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{"alice": presence.VisibilityStatus}})
		// cursorAfter is the cursor of a client of a node that has seen no change for 70 s.
		cursorAfter := func(on *node) string {
			s, sink := on.open("alice")
			defer s.End(hub.CloseGone, 0)
			on.follow(s, "", "bob")
			time.Sleep(70 * time.Second)
			s.Send(hub.Message{Event: testEvent{Type: "pong"}, Mark: s.Cursor()})
			frames := sink.takeFrames()
			return frames[len(frames)-1].Cursor
		}
		cursor := cursorAfter(ahead)
		n.applyEvents("bob", setStatus(presence.Busy, "1"), setStatus(presence.Busy, "2")) // alice sees no note
		time.Sleep(2 * time.Minute)
		s, sink := n.open("alice")
		n.follow(s, cursor, "bob")
		n.want(sink, "[bob:busy gone[] unknown[] partial=true] ")

		// Nor is sent again what was seen long before the cursor.
		cursor = cursorAfter(ahead)
		n.applyEvents("bob", setStatus(presence.Busy, "3"))
		s, sink = n.open("alice")
		n.follow(s, cursor, "bob")
		n.want(sink, "[gone[] unknown[] partial=true] ")
	})
}
