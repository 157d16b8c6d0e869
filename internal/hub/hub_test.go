package hub_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/view"
)

// A frame is an event in the test encoding.
type frame struct {
	Type      string    `json:"type"`
	User      string    `json:"user"`
	Status    string    `json:"status"`
	Note      string    `json:"note"`
	Since     int64     `json:"since"`
	Revision  uint64    `json:"revision"`
	Coalesced bool      `json:"coalesced"`
	Reason    string    `json:"reason"`
	Cursor    string    `json:"cursor"`
	Presences []frame   `json:"presences"`
	Gone      []string  `json:"gone"`
	Unknown   []string  `json:"unknown"`
	Partial   bool      `json:"partial"`
	Reset     string    `json:"reset"`
	Closed    hub.Close `json:"closed"`
}

func frameOf(u presence.UserID, p *presence.Presence) frame {
	return frame{
		Type: "presence", User: string(u), Status: p.Status.String(), Note: p.Note, Since: int64(p.Since), Revision: uint64(p.Revision),
	}
}

// A testEvent is an event type that the hub does not know.
type testEvent frame

func (r testEvent) Size() int { return len(r.Note) }

// plainEncoder writes events as frames.
type plainEncoder struct{}

func (plainEncoder) Encode(e hub.Event) []byte {
	text, err := json.Marshal(encodeFrame(e))
	if err != nil {
		panic(err)
	}
	return text
}

func encodeFrame(e hub.Event) frame {
	switch e := e.(type) {
	case *hub.Presence:
		return frameOf(e.User, &e.Presence)
	case *hub.Gone:
		return frame{Type: "gone", User: string(e.User), Reason: [...]string{"deleted", "contact_removed", "member_removed"}[e.Reason]}
	case *hub.Reset:
		return frame{Type: "reset", Reset: [...]string{"", "epoch", "unreadable", "contacts", "members"}[e.Reason]}
	case *hub.Snapshot:
		f := frame{Type: "snapshot", Partial: e.Partial, Unknown: e.Unknown}
		for i := range e.Views {
			f.Presences = append(f.Presences, frameOf(e.Views[i].User, &e.Views[i].Presence))
		}
		for _, id := range e.Gone {
			f.Gone = append(f.Gone, string(id))
		}
		return f
	case hub.Ping:
		return frame{Type: "ping"}
	case testEvent:
		return frame(e)
	default:
		panic(fmt.Sprintf("an event %T", e))
	}
}

// A recordingSink records what it delivers, and can block.
type recordingSink struct {
	mu       sync.Mutex
	frames   []frame
	reset    string
	written  int
	blocked  chan struct{} // not nil: writes wait until it is closed
	ended    []hub.Close
	finishes []bool // the argument of each Finish
}

func (s *recordingSink) Append(b []byte, d hub.Delivery) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var f frame
	if err := json.Unmarshal(d.Encoded(plainEncoder{}), &f); err != nil {
		panic(err)
	}
	switch f.Type {
	case "reset": // part of the snapshot that follows
		s.reset = f.Reset
		return append(b, '.')
	case "snapshot":
		f.Reset, s.reset = s.reset, ""
	}
	f.Cursor, f.Coalesced = d.Cursor, d.Coalesced
	s.frames = append(s.frames, f)
	return append(b, '.')
}

func (s *recordingSink) TryWrite(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocked != nil {
		return 0, nil
	}
	s.written = len(s.frames)
	return len(b), nil
}

var errBlocked = errors.New("the sink is blocked")

func (s *recordingSink) Write([]byte, *hub.Pace) error {
	s.mu.Lock()
	stuck := s.blocked
	s.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-time.After(hub.SlowAfter):
			return errBlocked
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = len(s.frames)
	return nil
}

func (s *recordingSink) AnswersPings() bool    { return true }
func (s *recordingSink) TakesBroadcasts() bool { return true }

func (s *recordingSink) Finish(whole bool, done func()) {
	s.mu.Lock()
	s.finishes = append(s.finishes, whole)
	s.mu.Unlock()
	done()
}

func (s *recordingSink) finished() []bool {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.finishes)
}

func (s *recordingSink) End(why hub.Close, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, why)
}

func (s *recordingSink) block() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked = make(chan struct{})
}

func (s *recordingSink) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.blocked)
	s.blocked = nil
}

// takeFrames returns what was written since the last call.
func (s *recordingSink) takeFrames() []frame {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := slices.DeleteFunc(slices.Clone(s.frames[:s.written]), func(f frame) bool { return f.Type == "ping" })
	s.frames = s.frames[s.written:]
	s.written = 0
	return got
}

func (s *recordingSink) ends() []hub.Close {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ended)
}

// A node is a hub on a store in memory, within a synctest bubble.
type node struct {
	*testing.T
	store    store.Store
	reads    *staleReads
	hub      *hub.Hub
	contacts map[presence.UserID]hub.ContactList
	members  map[store.User]hub.Member
	// afterMembers is called after each page of Members, if not nil; membersErr is what
	// reads of members answer.
	afterMembers func()
	membersErr   error
	invalid      map[presence.UserID]bool
	unlogged     map[presence.UserID]hub.MemberChange
	mu           *sync.Mutex // guards contacts, members, invalid and unlogged
}

func bubble(t *testing.T, test func(n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		late := &staleReads{Store: st}
		n := &node{T: t, store: st, reads: late, contacts: make(map[presence.UserID]hub.ContactList), members: make(map[store.User]hub.Member), invalid: make(map[presence.UserID]bool), unlogged: make(map[presence.UserID]hub.MemberChange), mu: new(sync.Mutex)}
		n.hub = hub.New(hub.Options{Store: late, Directory: n, Access: n, Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.hub.Run(ctx) }()
		defer func() {
			stop()
			if err := errors.Join(<-ended, st.Close()); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait() // what is committed before a hub begins may be sent again within a minute
		test(n)
	})
}

// Exists implements hub.Directory.
func (n *node) Exists(_ context.Context, u store.User) (bool, error) { return u.ID != "nobody", nil }

// ContactLists implements hub.Directory.
func (n *node) ContactLists(_ context.Context, _ presence.AccountID, owners []presence.UserID) (map[presence.UserID]hub.ContactList, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := make(map[presence.UserID]hub.ContactList)
	for _, id := range owners {
		if list, ok := n.contacts[id]; ok {
			list.Version = fmt.Sprint(list.Gen)
			found[id] = list
		}
	}
	return found, nil
}

// ContactVersions implements hub.Directory.
func (n *node) ContactVersions(_ context.Context, _ presence.AccountID, owners []presence.UserID) (map[presence.UserID]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := make(map[presence.UserID]string)
	for _, id := range owners {
		if list, ok := n.contacts[id]; ok {
			found[id] = fmt.Sprint(list.Gen)
		}
	}
	return found, nil
}

// Revoked implements hub.Access.
func (n *node) Revoked(_ context.Context, viewers []view.Viewer) []hub.Close {
	n.mu.Lock()
	defer n.mu.Unlock()
	revoked := make([]hub.Close, len(viewers))
	for i, v := range viewers {
		if n.invalid[v.Watcher("").User] {
			revoked[i] = hub.CloseUnauthorized
		}
	}
	return revoked
}

// staleReads is a store whose reads are stale when they return.
type staleReads struct {
	store.Store
	afterRead func() // called after each read, if not nil
	err       error  // what reads answer, nil: nothing
	// Reads of blockedUser wait until released is closed or the context ends.
	blockedUser presence.UserID
	released    chan struct{}
}

func (l *staleReads) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if l.blockedUser != "" && slices.Contains(us, store.User{Account: "a", ID: l.blockedUser}) {
		select {
		case <-l.released:
		case <-ctx.Done():
			return nil, store.Cursor{}, ctx.Err()
		}
	}
	records, cursor, err := l.Store.Read(ctx, us, fresh)
	if l.afterRead != nil {
		l.afterRead()
	}
	if l.err != nil {
		return nil, cursor, l.err
	}
	return records, cursor, err
}

func (n *node) applyEvents(id presence.UserID, events ...presence.Event) store.Record {
	n.Helper()
	var last store.Record
	for _, e := range events {
		var err error
		last, err = n.store.Update(n.Context(), store.User{Account: "a", ID: id}, n.logged(id, e))
		if err != nil && !errors.Is(err, presence.ErrNoChange) {
			n.Fatalf("%s: %T: %v", id, e, err)
		}
	}
	return last
}

func (n *node) open(owner presence.UserID) (*hub.Stream, *recordingSink) {
	n.Helper()
	sink := new(recordingSink)
	s, err := n.hub.Open(n.Context(), "a", owner, viewer(owner), sink)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { s.End(hub.CloseGone, 0) })
	return s, sink
}

func (n *node) follow(s *hub.Stream, cursor string, ids ...presence.UserID) {
	n.Helper()
	f := hub.Follow{Cursor: cursor}
	for _, id := range ids {
		f.Users = append(f.Users, hub.NamedUser{ID: id})
	}
	if err := s.Follow(n.Context(), f); err != nil {
		n.Fatal(err)
	}
}

var desktop = presence.SignIn{Session: "s", Client: presence.Desktop}

func setStatus(status presence.Status, note string) presence.SetClaim {
	return presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: status, Note: note}
}

func formatFrames(frames []frame) string {
	var text string
	for _, f := range frames {
		switch f.Type {
		case "presence":
			text += f.User + ":" + f.Status
			if f.Coalesced {
				text += "+"
			}
		case "snapshot":
			text += "["
			for _, p := range f.Presences {
				text += p.User + ":" + p.Status + " "
			}
			text += fmt.Sprintf("gone%v unknown%v partial=%v%s]", f.Gone, f.Unknown, f.Partial, f.Reset)
		default:
			text += f.Type + " " + f.User + f.Reason
		}
		text += " "
	}
	return text
}

func (n *node) want(s *recordingSink, want string) []frame {
	n.Helper()
	frames := s.takeFrames()
	if got := formatFrames(frames); got != want {
		n.Errorf("delivered\n%s\nwant\n%s", got, want)
	}
	return frames
}

func TestStreamDelivers(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		s, sink := n.open("alice")
		n.follow(s, "", "bob", "carol", "nobody")
		n.want(sink, "[bob:available carol:offline gone[] unknown[nobody] partial=false] ")
		n.applyEvents("bob", setStatus(presence.Busy, "x"))
		n.applyEvents("carol", desktop)
		n.applyEvents("dave", desktop)
		n.applyEvents("nobody", desktop)
		n.want(sink, "bob:busy carol:available ")
		s.Unfollow([]presence.UserID{"bob"})
		n.applyEvents("bob", setStatus(presence.Away, ""))
		n.applyEvents("carol", presence.SetUserState{State: presence.UserDeleted})
		n.want(sink, "carol:offline gone caroldeleted ")
		n.applyEvents("bob", setStatus(presence.Busy, "y"))
		n.want(sink, "")
	})
}

// TestChangeDuringFollow: a change during a Follow is in the snapshot or delivered
// after it, once.
func TestChangeDuringFollow(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		s, sink := n.open("alice")
		n.reads.afterRead = func() {
			n.reads.afterRead = nil
			n.applyEvents("bob", setStatus(presence.Busy, "meanwhile"))
			n.applyEvents("carol", desktop)
			synctest.Wait()
		}
		n.follow(s, "", "bob", "carol")
		frames := n.want(sink, "[bob:busy carol:available gone[] unknown[] partial=false] ")
		n.checkResumed(frames, []presence.UserID{"bob", "carol"})
	})
}

// TestSlowReader: a slow reader gets the newest change of each user, in the order of
// the commits, and not those between; a reader that accepts nothing is disconnected.
func TestSlowReader(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		n.applyEvents("carol", desktop)
		s, sink := n.open("alice")
		n.follow(s, "", "bob", "carol")
		sink.takeFrames()
		sink.block()
		n.applyEvents("bob", setStatus(presence.Busy, "1")) // already being written
		synctest.Wait()
		n.applyEvents("bob", setStatus(presence.Away, "2"))
		n.applyEvents("carol", setStatus(presence.Busy, "3"))
		n.applyEvents("bob", setStatus(presence.DoNotDisturb, "4"))
		synctest.Wait()
		sink.release()
		frames := n.want(sink, "bob:busy carol:busy bob:do_not_disturb+ ")
		if c := frames[len(frames)-1].Cursor; c == "" {
			n.Error("no cursor")
		}
		sink.block()
		n.applyEvents("bob", setStatus(presence.Away, "5"))
		n.applyEvents("carol", setStatus(presence.Away, "6"))
		time.Sleep(hub.SlowAfter + time.Millisecond)
		if got := sink.ends(); !slices.Equal(got, []hub.Close{hub.CloseSlow}) {
			n.Errorf("ended with %v", got)
		}
		if st := n.hub.Stats(); st.Streams != 0 || st.Edges != 0 || st.Followed != 0 || st.Slow != 1 {
			n.Errorf("stats after the end: %+v", st)
		}
	})
}

// TestCloseReasonIsSentLast: whatever ends the stream, the reason is sent once, after
// the current write and never inside it; and a drain waits a while for that.
func TestCloseReasonIsSentLast(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		stuck := func(change string) (*hub.Stream, *recordingSink) {
			s, sink := n.open("alice")
			n.follow(s, "", "bob")
			sink.takeFrames()
			sink.block()
			n.applyEvents("bob", setStatus(presence.Busy, change))
			synctest.Wait()
			return s, sink
		}
		for why, want := range map[hub.Close]string{
			hub.CloseUnauthorized: "bob:busy ", // nothing after it
			hub.CloseTooFast:      "bob:busy bob:away ",
		} {
			s, sink := stuck(fmt.Sprint(why))
			n.applyEvents("bob", setStatus(presence.Away, "waits"))
			synctest.Wait()
			s.End(why, 0)
			if got := sink.finished(); len(got) != 0 {
				n.Errorf("the close reason was written inside another write: %v", got)
			}
			sink.release()
			if got := sink.finished(); !slices.Equal(got, []bool{true}) {
				n.Errorf("after the write: %v", got)
			}
			n.want(sink, want)
		}

		s, sink := stuck("2")
		s.End(hub.CloseUnauthorized, 0)
		time.Sleep(hub.SlowAfter + time.Millisecond)
		if got := sink.finished(); !slices.Equal(got, []bool{false}) || len(sink.ends()) != 1 {
			n.Errorf("with a blocked reader: %v, %v", got, sink.ends())
		}

		_, idle := n.open("alice")
		_, sink = stuck("3")
		began := time.Now()
		go func() {
			time.Sleep(time.Second)
			sink.release()
		}()
		n.hub.Drain(n.Context())
		if got := sink.finished(); !slices.Equal(got, []bool{true}) || time.Since(began) != time.Second {
			n.Errorf("drained after %v: %v", time.Since(began), got)
		}
		if got := idle.finished(); !slices.Equal(got, []bool{true}) {
			n.Errorf("with an idle stream: %v", got)
		}
	})
}

// TestDrainIsBounded: a drain does not wait for blocked readers for ever.
func TestDrainIsBounded(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		s, sink := n.open("alice")
		n.follow(s, "", "bob")
		sink.takeFrames()
		sink.block()
		n.applyEvents("bob", setStatus(presence.Busy, "1"))
		synctest.Wait()
		short, stop := context.WithTimeout(n.Context(), time.Second)
		defer stop()
		for _, c := range []struct {
			ctx  context.Context
			want time.Duration
		}{{short, time.Second / 2}, {n.Context(), 2 * time.Second}} {
			began := time.Now()
			n.hub.Drain(c.ctx)
			if waited := time.Since(began); waited != c.want {
				n.Errorf("drained after %v, want %v", waited, c.want)
			}
		}
		sink.release()
	})
}

func TestResume(t *testing.T) {
	bubble(t, func(n *node) {
		for _, id := range []presence.UserID{"bob", "carol", "dave", "erin"} {
			n.applyEvents(id, desktop)
		}
		synctest.Wait() // the hub has delivered them, so that the cursor covers them
		s, sink := n.open("alice")
		n.follow(s, "", "bob", "carol", "dave", "erin")
		cursor := sink.takeFrames()[0].Cursor
		s.End(hub.CloseGone, 0)
		n.applyEvents("bob", setStatus(presence.Busy, "1"), setStatus(presence.Away, "2"))
		n.applyEvents("dave", presence.SetUserState{State: presence.UserDeleted})
		time.Sleep(time.Minute)

		s, sink = n.open("alice")
		n.follow(s, cursor, "bob", "carol", "dave", "erin")
		n.want(sink, "[bob:away gone[dave] unknown[] partial=true] ")
		n.applyEvents("erin", setStatus(presence.Busy, ""))
		n.want(sink, "erin:busy ")

		now := time.Now().Unix()
		for text, want := range map[string]string{
			"nonsense!": "unreadable", altered(cursor): "unreadable",
			"ZEk2NwBlcG9jaA.tp26qi": "unreadable", // the format before cursors had tags
			n.cursors("elsewhere").Text(hub.Cursor{At: 1, Second: now}):           "epoch",
			n.cursors(n.store.Epoch()).Text(hub.Cursor{At: 1 << 40, Second: now}): "epoch",
		} {
			s, sink = n.open("alice")
			n.follow(s, text, "bob", "carol", "dave")
			n.want(sink, "[bob:away carol:available gone[] unknown[dave] partial=false"+want+"] ")
		}

		// A cursor from a node whose clock is ahead is good.
		s, sink = n.open("alice")
		n.follow(s, n.cursors(n.store.Epoch()).Text(hub.Cursor{At: 1, Second: now + 100}), "carol")
		n.want(sink, "[carol:available gone[] unknown[] partial=true] ")
	})
}

// altered is a cursor with another position.
func altered(cursor string) string {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		panic(err)
	}
	raw[4] ^= 1
	return base64.RawURLEncoding.EncodeToString(raw)
}

// TestVisibilityOnStreams: a watcher who may not see a change cannot detect it from a
// stream or a cursor.
func TestVisibilityOnStreams(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		hidden, hiddenSink := n.open("carol")
		partly, partlySink := n.open("dave")
		n.follow(hidden, "", "bob")
		n.follow(partly, "", "bob")
		hiddenSink.takeFrames()
		partlySink.takeFrames()
		time.Sleep(time.Minute)
		n.applyEvents("bob", presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{"carol": presence.VisibilityOffline, "dave": presence.VisibilityStatus}})
		first := n.want(hiddenSink, "bob:offline ")
		n.want(partlySink, "bob:available ") // Since is gone
		cursor := first[0].Cursor
		time.Sleep(10 * time.Second)
		n.applyEvents("bob", setStatus(presence.Busy, "1"), setStatus(presence.Busy, "2"))
		n.want(hiddenSink, "")
		if got := n.want(partlySink, "bob:busy "); got[0].Note != "" || got[0].Since != 0 {
			n.Errorf("%+v", got)
		}
		n.applyEvents("bob", presence.SignOut{Session: "s"})
		n.want(hiddenSink, "")
		n.want(partlySink, "bob:offline ")
		again, sink := n.open("carol")
		n.follow(again, cursor, "bob") // as if nothing had happened
		resumed := sink.takeFrames()
		n.applyEvents("bob", desktop)
		n.want(sink, "")
		time.Sleep(10 * time.Minute)
		later, sink := n.open("carol")
		n.follow(later, cursor, "bob")
		n.want(sink, "[gone[] unknown[] partial=true] ")
		if len(resumed) != 1 || len(resumed[0].Presences) > 0 {
			n.Errorf("%+v", resumed)
		}
	})
}

func TestContactsOnStreams(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		n.applyEvents("carol", desktop)
		set := func(list hub.ContactList) {
			n.mu.Lock()
			n.contacts["alice"] = list
			n.mu.Unlock()
			n.hub.ContactsChanged("a", "alice")
		}
		set(hub.ContactList{Gen: 1, Edges: []hub.ContactEdge{{"bob", 1}}})
		s, sink := n.open("alice")
		if err := s.Follow(n.Context(), hub.Follow{Contacts: true}); err != nil {
			n.Fatal(err)
		}
		cursor := n.want(sink, "[bob:available gone[] unknown[] partial=false] ")[0].Cursor
		set(hub.ContactList{Gen: 2, Edges: []hub.ContactEdge{{"bob", 1}, {"carol", 2}}})
		n.want(sink, "[carol:available gone[] unknown[] partial=true] ")
		set(hub.ContactList{Gen: 3, Edges: []hub.ContactEdge{{"carol", 2}}, Ended: []hub.ContactEdge{{"bob", 3}}})
		n.want(sink, "gone bobcontact_removed [gone[] unknown[] partial=true] ")
		n.applyEvents("bob", setStatus(presence.Busy, ""))
		n.applyEvents("carol", setStatus(presence.Busy, ""))
		n.want(sink, "carol:busy ")

		// The first cursor does not cover that, so it is delivered.
		s, sink = n.open("alice")
		if err := s.Follow(n.Context(), hub.Follow{Contacts: true, Cursor: cursor}); err != nil {
			n.Fatal(err)
		}
		n.want(sink, "[carol:busy gone[bob] unknown[] partial=true] ")
	})
}

// TestCutBeforeContacts: a change that is sent before the contacts must not have a
// cursor that covers them.
func TestCutBeforeContacts(t *testing.T) {
	bubble(t, func(n *node) {
		for _, id := range []presence.UserID{"bob", "carol"} {
			n.applyEvents(id, desktop)
		}
		n.contacts["alice"] = hub.ContactList{Gen: 1, Edges: []hub.ContactEdge{{User: "bob", Gen: 1}}}
		s, sink := n.open("alice")
		if err := s.Follow(n.Context(), hub.Follow{Contacts: true}); err != nil {
			n.Fatal(err)
		}
		sink.takeFrames()
		sink.block()
		n.applyEvents("bob", setStatus(presence.Busy, "1"))
		synctest.Wait()
		n.applyEvents("bob", setStatus(presence.Away, "2"))
		synctest.Wait()
		n.mu.Lock()
		n.contacts["alice"] = hub.ContactList{Gen: 2, Edges: []hub.ContactEdge{{User: "bob", Gen: 1}, {User: "carol", Gen: 2}}}
		n.mu.Unlock()
		n.hub.ContactsChanged("a", "alice")
		synctest.Wait()
		sink.release()
		frames := n.want(sink, "bob:busy bob:away [carol:available gone[] unknown[] partial=true] ")
		s, sink = n.open("alice")
		if frames[1].Cursor != "" {
			n.Errorf("%+v covers contacts that are not sent yet", frames[1])
		}
		if err := s.Follow(n.Context(), hub.Follow{Contacts: true, Cursor: frames[0].Cursor}); err != nil {
			n.Fatal(err)
		}
		n.want(sink, "[bob:away carol:available gone[] unknown[] partial=true] ")
	})
}

// TestGoneOnce: a client that knows of a deletion is not sent it again with each
// cursor.
func TestGoneOnce(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop, presence.SetUserState{State: presence.UserDeleted})
		n.applyEvents("carol", desktop)
		synctest.Wait()
		s, sink := n.open("alice")
		n.follow(s, "", "carol")
		cursor := sink.takeFrames()[0].Cursor
		s, sink = n.open("alice")
		n.follow(s, cursor, "bob", "carol")
		n.want(sink, "[gone[] unknown[] partial=true] ")
	})
}

// TestBackpressureOfAnswers: a client that sends requests and does not read is
// disconnected before its queue is too large.
func TestBackpressureOfAnswers(t *testing.T) {
	bubble(t, func(n *node) {
		s, sink := n.open("alice")
		sink.block()
		s.Send(hub.Message{Event: testEvent{}})
		synctest.Wait()
		large := testEvent{Note: strings.Repeat("x", 1<<20)}
		for range 20 {
			s.Send(hub.Message{Event: large})
		}
		if got := sink.ends(); !slices.Equal(got, []hub.Close{hub.CloseSlow}) {
			n.Errorf("ended with %v", got)
		}
		sink.release()
		s, sink = n.open("alice")
		sink.block()
		for range 1 << 17 {
			s.Send(hub.Message{Event: hub.Ping{}})
		}
		if got := sink.ends(); !slices.Equal(got, []hub.Close{hub.CloseSlow}) {
			n.Errorf("ended with %v", got)
		}
		sink.release()
	})
}

// TestOnDelivered: a delivery is confirmed when the client acknowledges it, and not
// before.
func TestOnDelivered(t *testing.T) {
	bubble(t, func(n *node) {
		s, sink := n.open("alice")
		var times atomic.Int64
		s.Send(hub.Message{Event: testEvent{Type: "watch"}, OnDelivered: func() { times.Add(1) }})
		n.want(sink, "watch  ")
		s.NoteReceived()
		synctest.Wait()
		if times.Load() != 0 {
			n.Error("delivered before the acknowledgement")
		}
		s.Acknowledge()
		s.Acknowledge()
		synctest.Wait()
		if got := times.Load(); got != 1 {
			n.Errorf("delivered %d times", got)
		}
	})
}

func TestRevokedViewersAreDisconnected(t *testing.T) {
	bubble(t, func(n *node) {
		_, sink := n.open("alice")
		_, other := n.open("bob")
		n.mu.Lock()
		n.invalid["alice"] = true
		n.mu.Unlock()
		time.Sleep(4 * time.Second)
		if got := sink.ends(); !slices.Equal(got, []hub.Close{hub.CloseUnauthorized}) {
			n.Errorf("ended with %v", got)
		}
		if got := other.ends(); len(got) != 0 {
			n.Errorf("the stream of another viewer ended with %v", got)
		}
		// A client that is silent for three times the interval is disconnected.
		time.Sleep(3*hub.PingEvery + 2*time.Second)
		if got := other.ends(); !slices.Equal(got, []hub.Close{hub.CloseSilent}) {
			n.Errorf("ended with %v", got)
		}
	})
}

// TestCutAnywhere: wherever a connection is cut, what was delivered before and what the
// cursor brings after are the full state: a cursor is a low-water mark.
func TestCutAnywhere(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(n *node) { n.cutRandomly(rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func (n *node) cutRandomly(random *rand.Rand) {
	ids := []presence.UserID{"u0", "u1", "u2", "u3", "u4"}
	statuses := []presence.Status{presence.Busy, presence.Away, presence.DoNotDisturb}
	for _, id := range ids {
		n.applyEvents(id, desktop)
	}
	s, sink := n.open("alice")
	n.follow(s, "", ids[:3]...)
	stuck := false
	for range 60 {
		switch random.IntN(8) {
		case 0:
			if stuck {
				sink.release()
			} else {
				sink.block()
			}
			stuck = !stuck
		case 1:
			n.follow(s, "", ids[3:]...)
		case 2:
			time.Sleep(time.Second)
		default:
			n.applyEvents(ids[random.IntN(len(ids))], setStatus(statuses[random.IntN(3)], fmt.Sprint(random.IntN(100))))
			if random.IntN(2) == 0 {
				synctest.Wait()
			}
		}
	}
	if stuck {
		sink.release()
	}
	frames := sink.takeFrames()
	s.End(hub.CloseGone, 0)
	for cut := 1; cut <= len(frames); cut++ {
		n.checkResumed(frames[:cut], ids)
	}
}

// checkResumed resumes as a client that got some frames and lost its connection.
func (n *node) checkResumed(frames []frame, ids []presence.UserID) {
	n.Helper()
	known, cursor := make(map[string]frame), ""
	learn := func(f frame) {
		for _, p := range append(f.Presences, f) {
			if p.Type != "presence" {
				continue
			}
			if p.Revision < known[p.User].Revision {
				n.Errorf("%s went back from revision %d to %d", p.User, known[p.User].Revision, p.Revision)
			}
			p.Cursor, p.Coalesced = "", false
			known[p.User] = p
		}
		if f.Cursor != "" {
			cursor = f.Cursor
		}
	}
	for _, f := range frames {
		learn(f)
	}
	var followed []presence.UserID
	for _, id := range ids {
		if _, ok := known[string(id)]; ok {
			followed = append(followed, id)
		}
	}
	s, sink := n.open("alice")
	n.follow(s, cursor, followed...)
	for _, f := range sink.takeFrames() {
		learn(f)
	}
	s.End(hub.CloseGone, 0)
	records, _, err := n.store.Read(n.Context(), usersOf(followed), store.Freshness{})
	if err != nil {
		n.Fatal(err)
	}
	for i := range records {
		want := frameOf(records[i].User.ID, &records[i].Shown)
		if got := known[want.User]; fmt.Sprint(got) != fmt.Sprint(want) {
			n.Errorf("cut after %d frames at %s:\ngot  %+v\nwant %+v", len(frames), cursor, got, want)
		}
	}
}

func usersOf(ids []presence.UserID) []store.User {
	users := make([]store.User, len(ids))
	for i, id := range ids {
		users[i] = store.User{Account: "a", ID: id}
	}
	return users
}

// A viewer has the full view of one user.
type viewer presence.UserID

func (v viewer) Watcher(target presence.UserID) presence.Watcher {
	return presence.Watcher{User: presence.UserID(v), Truth: presence.UserID(v) == target}
}
