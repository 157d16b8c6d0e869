package notify_test

import (
	"context"
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

	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/view"
)

// told is a frame as a client has it.
type told struct {
	Type      string       `json:"type"`
	User      string       `json:"user"`
	Status    string       `json:"status"`
	Note      string       `json:"note"`
	Since     int64        `json:"since"`
	Revision  uint64       `json:"revision"`
	Coalesced bool         `json:"coalesced"`
	Reason    string       `json:"reason"`
	Cursor    string       `json:"cursor"`
	Presences []told       `json:"presences"`
	Gone      []string     `json:"gone"`
	Unknown   []string     `json:"unknown"`
	Partial   bool         `json:"partial"`
	Reset     string       `json:"reset"`
	Closed    notify.Close `json:"closed"`
}

// plainFormat writes frames as told has them.
type plainFormat struct{}

func toldOf(u presence.UserID, p *presence.Presence) told {
	return told{
		Type: "presence", User: string(u), Status: p.Status.String(), Note: p.Note, Since: int64(p.Since), Revision: uint64(p.Revision),
	}
}

func body(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text[:len(text)-1]
}

func (plainFormat) AppendPresence(b []byte, u presence.UserID, p *presence.Presence) []byte {
	return append(b, body(toldOf(u, p))...)
}

func (plainFormat) AppendGone(b []byte, u presence.UserID, reason string) []byte {
	return append(b, body(told{Type: "gone", User: string(u), Reason: reason})...)
}

func (plainFormat) Snapshot(s *notify.Snapshot) []notify.Frame {
	frame := told{Type: "snapshot", Partial: s.Partial, Reset: s.Reset, Unknown: s.Unknown}
	for i := range s.Views {
		frame.Presences = append(frame.Presences, toldOf(s.Views[i].User, &s.Views[i].Presence))
	}
	for _, id := range s.Gone {
		frame.Gone = append(frame.Gone, string(id))
	}
	return []notify.Frame{{Kind: "snapshot", Body: body(frame), Mark: &s.Mark}}
}

// A tape is a sink that keeps what it is told, and can be made to take nothing.
type tape struct {
	mu     sync.Mutex
	frames []told
	wrote  int
	stuck  chan struct{} // not nil: nothing is taken until it is closed
	ended  []notify.Close
	last   []bool // for each Finish, whether all that was written was whole
}

func (s *tape) Append(b []byte, f *notify.Frame) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Kind == notify.Ping {
		s.frames = append(s.frames, told{Type: "ping"})
		return append(b, '.')
	}
	var frame told
	if err := json.Unmarshal(append(slices.Clone(f.Body), '}'), &frame); err != nil {
		panic(err)
	}
	frame.Cursor, frame.Coalesced = f.Cursor, f.Coalesced
	s.frames = append(s.frames, frame)
	return append(b, '.')
}

func (s *tape) TryWrite(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck != nil {
		return 0, nil
	}
	s.wrote = len(s.frames)
	return len(b), nil
}

var errStuck = errors.New("nothing is taken")

func (s *tape) Write([]byte, *notify.Pace) error {
	s.mu.Lock()
	stuck := s.stuck
	s.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-time.After(notify.SlowAfter):
			return errStuck
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = len(s.frames)
	return nil
}

func (s *tape) Answers() bool { return true }
func (s *tape) Hears() bool   { return true }

func (s *tape) Finish(whole bool, done func()) {
	s.mu.Lock()
	s.last = append(s.last, whole)
	s.mu.Unlock()
	done()
}

func (s *tape) finished() []bool {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.last)
}

func (s *tape) End(why notify.Close, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, why)
}

func (s *tape) stick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = make(chan struct{})
}

func (s *tape) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.stuck)
	s.stuck = nil
}

// take is what was written since the last take.
func (s *tape) take() []told {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := slices.DeleteFunc(slices.Clone(s.frames[:s.wrote]), func(f told) bool { return f.Type == "ping" })
	s.frames = s.frames[s.wrote:]
	s.wrote = 0
	return got
}

func (s *tape) ends() []notify.Close {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ended)
}

// A node is a hub on a store in memory, within a bubble.
type node struct {
	*testing.T
	store    store.Store
	late     *lateReads
	hub      *notify.Hub
	contacts map[presence.UserID]notify.ContactList
	invalid  map[presence.UserID]bool
	mu       sync.Mutex // guards contacts and invalid
}

func bubble(t *testing.T, test func(n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, err := pebblestore.Open("store", pebblestore.Options{FS: vfs.NewMem(), Clock: time.Now, MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		late := &lateReads{Store: st}
		n := &node{T: t, store: st, late: late, contacts: make(map[presence.UserID]notify.ContactList), invalid: make(map[presence.UserID]bool)}
		n.hub = notify.NewHub(notify.Options{
			Store: late, Gone: errNobody, Format: plainFormat{}, Clock: time.Now, Log: slog.New(slog.DiscardHandler),
			Known: func(_ context.Context, u store.User) error {
				if u.ID == "nobody" {
					return errNobody
				}
				return nil
			},
			Contacts: func(_ context.Context, _ presence.AccountID, owners []presence.UserID) (map[presence.UserID]notify.ContactList, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				found := make(map[presence.UserID]notify.ContactList)
				for _, id := range owners {
					if list, ok := n.contacts[id]; ok {
						list.Version = fmt.Sprint(list.Gen)
						found[id] = list
					}
				}
				return found, nil
			},
			ContactVersions: func(_ context.Context, _ presence.AccountID, owners []presence.UserID) (map[presence.UserID]string, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				found := make(map[presence.UserID]string)
				for _, id := range owners {
					if list, ok := n.contacts[id]; ok {
						found[id] = fmt.Sprint(list.Gen)
					}
				}
				return found, nil
			},
			Valid: func(_ context.Context, all []view.Viewer) []error {
				n.mu.Lock()
				defer n.mu.Unlock()
				errs := make([]error, len(all))
				for i, l := range all {
					if n.invalid[l.Watcher("").User] {
						errs[i] = errGone
					}
				}
				return errs
			},
			Forbidden: func(err error) bool { return errors.Is(err, errGone) },
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.hub.Run(ctx) }()
		defer func() {
			stop()
			if err := errors.Join(<-ended, st.Close()); err != nil {
				t.Error(err)
			}
		}()
		test(n)
	})
}

// lateReads is a store whose reads are old when they come.
type lateReads struct {
	store.Store
	meanwhile func() // nil: nothing
	fails     error  // what reads answer, nil: nothing
	// stuck: reads of this user wait until released is closed, or for ever.
	stuck    presence.UserID
	released chan struct{}
}

func (l *lateReads) Read(ctx context.Context, us []store.User) ([]store.Record, store.Cursor, error) {
	if l.stuck != "" && slices.Contains(us, store.User{Account: "a", ID: l.stuck}) {
		select {
		case <-l.released:
		case <-ctx.Done():
			return nil, store.Cursor{}, ctx.Err()
		}
	}
	records, cursor, err := l.Store.Read(ctx, us)
	if l.meanwhile != nil {
		l.meanwhile()
	}
	if l.fails != nil {
		return nil, cursor, l.fails
	}
	return records, cursor, err
}

func (n *node) play(id presence.UserID, events ...presence.Event) store.Record {
	n.Helper()
	var last store.Record
	for _, e := range events {
		var err error
		last, err = n.store.Update(n.Context(), store.User{Account: "a", ID: id}, storetest.Apply(e, presence.Policy{}, presence.InstantOf(time.Now())))
		if err != nil && !errors.Is(err, presence.ErrNoChange) {
			n.Fatalf("%s: %T: %v", id, e, err)
		}
	}
	return last
}

func (n *node) open(owner presence.UserID) (*notify.Stream, *tape) {
	n.Helper()
	sink := new(tape)
	s, err := n.hub.Open(n.Context(), "a", owner, viewer(owner), sink)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { s.End(notify.CloseGone, 0) })
	return s, sink
}

func (n *node) follow(s *notify.Stream, cursor string, ids ...presence.UserID) {
	n.Helper()
	f := notify.Follow{Cursor: cursor}
	for _, id := range ids {
		f.Users = append(f.Users, notify.Asked{ID: id})
	}
	if err := s.Follow(n.Context(), f); err != nil {
		n.Fatal(err)
	}
}

var desktop = presence.SignIn{Session: "s", Client: presence.Desktop}

func says(status presence.Status, note string) presence.SetClaim {
	return presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: status, Note: note}
}

func short(frames []told) string {
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

func (n *node) want(s *tape, want string) []told {
	n.Helper()
	frames := s.take()
	if got := short(frames); got != want {
		n.Errorf("told\n%s\nwant\n%s", got, want)
	}
	return frames
}

func TestAStreamIsTold(t *testing.T) {
	bubble(t, func(n *node) {
		n.play("bob", desktop)
		s, sink := n.open("alice")
		n.follow(s, "", "bob", "carol", "nobody")
		n.want(sink, "[bob:available carol:offline gone[] unknown[nobody] partial=false] ")
		n.play("bob", says(presence.Busy, "x"))
		n.play("carol", desktop)
		n.play("dave", desktop)
		n.play("nobody", desktop)
		n.want(sink, "bob:busy carol:available ")
		s.Unfollow([]presence.UserID{"bob"})
		n.play("bob", says(presence.Away, ""))
		n.play("carol", presence.SetStanding{Standing: presence.Deleted})
		n.want(sink, "carol:offline gone caroldeleted ")
		n.play("bob", says(presence.Busy, "y"))
		n.want(sink, "")
	})
}

// What happens while a snapshot is read is in it, or comes after it, once.
func TestAChangeWhileFollowing(t *testing.T) {
	bubble(t, func(n *node) {
		n.play("bob", desktop)
		s, sink := n.open("alice")
		n.late.meanwhile = func() {
			n.late.meanwhile = nil
			n.play("bob", says(presence.Busy, "meanwhile"))
			n.play("carol", desktop)
			synctest.Wait()
		}
		n.follow(s, "", "bob", "carol")
		frames := n.want(sink, "[bob:busy carol:available gone[] unknown[] partial=false] ")
		n.resumedFrom(frames, []presence.UserID{"bob", "carol"})
	})
}

// A reader that does not keep up gets the newest of each user, in the order of
// the commits, and not what lay between; one that takes nothing is ended.
func TestASlowReader(t *testing.T) {
	bubble(t, func(n *node) {
		n.play("bob", desktop)
		n.play("carol", desktop)
		s, sink := n.open("alice")
		n.follow(s, "", "bob", "carol")
		sink.take()
		sink.stick()
		n.play("bob", says(presence.Busy, "1")) // on its way already
		synctest.Wait()
		n.play("bob", says(presence.Away, "2"))
		n.play("carol", says(presence.Busy, "3"))
		n.play("bob", says(presence.DoNotDisturb, "4"))
		synctest.Wait()
		sink.release()
		frames := n.want(sink, "bob:busy carol:busy bob:do_not_disturb+ ")
		if c := frames[len(frames)-1].Cursor; c == "" {
			n.Error("no cursor")
		}
		sink.stick()
		n.play("bob", says(presence.Away, "5"))
		n.play("carol", says(presence.Away, "6"))
		time.Sleep(notify.SlowAfter + time.Millisecond)
		if got := sink.ends(); !slices.Equal(got, []notify.Close{notify.CloseSlow}) {
			n.Errorf("ended %v", got)
		}
		if st := n.hub.Stats(); st.Streams != 0 || st.Edges != 0 || st.Followed != 0 || st.Slow != 1 {
			n.Errorf("left behind: %+v", st)
		}
	})
}

// TestLastWords: they come once, after what is being written and never into the
// middle of it, whoever ends the stream; and the server waits for them a while.
func TestLastWords(t *testing.T) {
	bubble(t, func(n *node) {
		n.play("bob", desktop)
		stuck := func(change string) (*notify.Stream, *tape) {
			s, sink := n.open("alice")
			n.follow(s, "", "bob")
			sink.take()
			sink.stick()
			n.play("bob", says(presence.Busy, change))
			synctest.Wait()
			return s, sink
		}
		for why, want := range map[notify.Close]string{
			notify.CloseUnauthorized: "bob:busy ", // and nothing any more
			notify.CloseTooFast:      "bob:busy bob:away ",
		} {
			s, sink := stuck(fmt.Sprint(why))
			n.play("bob", says(presence.Away, "waits"))
			synctest.Wait()
			s.End(why, 0)
			if got := sink.finished(); len(got) != 0 {
				n.Errorf("the last words came into the middle: %v", got)
			}
			sink.release()
			if got := sink.finished(); !slices.Equal(got, []bool{true}) {
				n.Errorf("after what was written: %v", got)
			}
			n.want(sink, want)
		}

		s, sink := stuck("2")
		s.End(notify.CloseUnauthorized, 0)
		time.Sleep(notify.SlowAfter + time.Millisecond)
		if got := sink.finished(); !slices.Equal(got, []bool{false}) || len(sink.ends()) != 1 {
			n.Errorf("of a reader that takes nothing: %v, %v", got, sink.ends())
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
			n.Errorf("of an idle stream: %v", got)
		}
	})
}

// TestDrainDoesNotWaitForEver: for who takes nothing.
func TestDrainDoesNotWaitForEver(t *testing.T) {
	bubble(t, func(n *node) {
		n.play("bob", desktop)
		s, sink := n.open("alice")
		n.follow(s, "", "bob")
		sink.take()
		sink.stick()
		n.play("bob", says(presence.Busy, "1"))
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
			n.play(id, desktop)
		}
		synctest.Wait() // the hub has them, so that the cursor covers them
		s, sink := n.open("alice")
		n.follow(s, "", "bob", "carol", "dave", "erin")
		cursor := sink.take()[0].Cursor
		s.End(notify.CloseGone, 0)
		n.play("bob", says(presence.Busy, "1"), says(presence.Away, "2"))
		n.play("dave", presence.SetStanding{Standing: presence.Deleted})
		time.Sleep(time.Minute)

		s, sink = n.open("alice")
		n.follow(s, cursor, "bob", "carol", "dave", "erin")
		n.want(sink, "[bob:away gone[dave] unknown[] partial=true] ")
		n.play("erin", says(presence.Busy, ""))
		n.want(sink, "erin:busy ")

		now := time.Now().Unix()
		for text, want := range map[string]string{
			"nonsense!": "unreadable", "A" + cursor[1:]: "unreadable",
			"ZEk2NwBlcG9jaA.tp26qi": "unreadable", // as before there were tags
			n.cursors(n.store.Epoch()).Text(notify.Cursor{At: 1, Second: now + 100}): "unreadable",
			n.cursors("elsewhere").Text(notify.Cursor{At: 1, Second: now}):           "epoch",
			n.cursors(n.store.Epoch()).Text(notify.Cursor{At: 1 << 40, Second: now}): "epoch",
		} {
			s, sink = n.open("alice")
			n.follow(s, text, "bob", "carol", "dave")
			n.want(sink, "[bob:away carol:available gone[] unknown[dave] partial=false"+want+"] ")
		}
	})
}

// Whoever is not to see a change is told nothing, by a stream or by a cursor.
func TestVisibilityOnStreams(t *testing.T) {
	bubble(t, func(n *node) {
		n.play("bob", desktop)
		hidden, hiddenSink := n.open("carol")
		partly, partlySink := n.open("dave")
		n.follow(hidden, "", "bob")
		n.follow(partly, "", "bob")
		hiddenSink.take()
		partlySink.take()
		time.Sleep(time.Minute)
		n.play("bob", presence.SetRules{Watchers: map[presence.UserID]presence.Sight{"carol": presence.SeesOffline, "dave": presence.SeesStatus}})
		first := n.want(hiddenSink, "bob:offline ")
		n.want(partlySink, "bob:available ") // its since went
		cursor := first[0].Cursor
		time.Sleep(10 * time.Second)
		n.play("bob", says(presence.Busy, "1"), says(presence.Busy, "2"))
		n.want(hiddenSink, "")
		if got := n.want(partlySink, "bob:busy "); got[0].Note != "" || got[0].Since != 0 {
			n.Errorf("%+v", got)
		}
		n.play("bob", presence.SignOut{Session: "s"})
		n.want(hiddenSink, "")
		n.want(partlySink, "bob:offline ")
		again, sink := n.open("carol")
		n.follow(again, cursor, "bob") // just as if nothing had happened
		resumed := sink.take()
		n.play("bob", desktop)
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
		n.play("bob", desktop)
		n.play("carol", desktop)
		set := func(list notify.ContactList) {
			n.mu.Lock()
			n.contacts["alice"] = list
			n.mu.Unlock()
			n.hub.ContactsMoved("a", "alice")
		}
		set(notify.ContactList{Gen: 1, Edges: []notify.ContactEdge{{"bob", 1}}})
		s, sink := n.open("alice")
		if err := s.Follow(n.Context(), notify.Follow{Contacts: true}); err != nil {
			n.Fatal(err)
		}
		cursor := n.want(sink, "[bob:available gone[] unknown[] partial=false] ")[0].Cursor
		set(notify.ContactList{Gen: 2, Edges: []notify.ContactEdge{{"bob", 1}, {"carol", 2}}})
		n.want(sink, "[carol:available gone[] unknown[] partial=true] ")
		set(notify.ContactList{Gen: 3, Edges: []notify.ContactEdge{{"carol", 2}}, Ended: []notify.ContactEdge{{"bob", 3}}})
		n.want(sink, "gone bobcontact_removed [gone[] unknown[] partial=true] ")
		n.play("bob", says(presence.Busy, ""))
		n.play("carol", says(presence.Busy, ""))
		n.want(sink, "carol:busy ")

		// The first cursor knows nothing of that, and brings it.
		s, sink = n.open("alice")
		if err := s.Follow(n.Context(), notify.Follow{Contacts: true, Cursor: cursor}); err != nil {
			n.Fatal(err)
		}
		n.want(sink, "[carol:busy gone[bob] unknown[] partial=true] ")
	})
}

// A change that is sent before the contacts are must not come with a cursor that
// knows them.
func TestACutBeforeTheContacts(t *testing.T) {
	bubble(t, func(n *node) {
		for _, id := range []presence.UserID{"bob", "carol"} {
			n.play(id, desktop)
		}
		n.contacts["alice"] = notify.ContactList{Gen: 1, Edges: []notify.ContactEdge{{User: "bob", Gen: 1}}}
		s, sink := n.open("alice")
		if err := s.Follow(n.Context(), notify.Follow{Contacts: true}); err != nil {
			n.Fatal(err)
		}
		sink.take()
		sink.stick()
		n.play("bob", says(presence.Busy, "1"))
		synctest.Wait()
		n.play("bob", says(presence.Away, "2"))
		synctest.Wait()
		n.mu.Lock()
		n.contacts["alice"] = notify.ContactList{Gen: 2, Edges: []notify.ContactEdge{{User: "bob", Gen: 1}, {User: "carol", Gen: 2}}}
		n.mu.Unlock()
		n.hub.ContactsMoved("a", "alice")
		synctest.Wait()
		sink.release()
		frames := n.want(sink, "bob:busy bob:away [carol:available gone[] unknown[] partial=true] ")
		s, sink = n.open("alice")
		if frames[1].Cursor != "" {
			n.Errorf("%+v covers contacts that are still to come", frames[1])
		}
		if err := s.Follow(n.Context(), notify.Follow{Contacts: true, Cursor: frames[0].Cursor}); err != nil {
			n.Fatal(err)
		}
		n.want(sink, "[bob:away carol:available gone[] unknown[] partial=true] ")
	})
}

// Who was told that a user is gone is not told again by each cursor.
func TestGoneOnce(t *testing.T) {
	bubble(t, func(n *node) {
		n.play("bob", desktop, presence.SetStanding{Standing: presence.Deleted})
		n.play("carol", desktop)
		synctest.Wait()
		s, sink := n.open("alice")
		n.follow(s, "", "carol")
		cursor := sink.take()[0].Cursor
		s, sink = n.open("alice")
		n.follow(s, cursor, "bob", "carol")
		n.want(sink, "[gone[] unknown[] partial=true] ")
	})
}

// Who asks and does not read is ended before what waits is too much.
func TestAnswersThatNobodyReads(t *testing.T) {
	bubble(t, func(n *node) {
		s, sink := n.open("alice")
		sink.stick()
		s.Send(notify.Frame{Kind: "done", Body: body(told{})})
		synctest.Wait()
		text := body(told{Note: strings.Repeat("x", 1<<20)})
		for range 20 {
			s.Send(notify.Frame{Kind: "done", Body: text})
		}
		if got := sink.ends(); !slices.Equal(got, []notify.Close{notify.CloseSlow}) {
			n.Errorf("ended %v", got)
		}
		sink.release()
		s, sink = n.open("alice")
		sink.stick()
		for range 1 << 17 {
			s.Send(notify.Frame{Kind: notify.Ping})
		}
		if got := sink.ends(); !slices.Equal(got, []notify.Close{notify.CloseSlow}) {
			n.Errorf("ended %v", got)
		}
		sink.release()
	})
}

// What must have come is known when the other side answers, and not before.
func TestTold(t *testing.T) {
	bubble(t, func(n *node) {
		s, sink := n.open("alice")
		var times atomic.Int64
		s.Send(notify.Frame{Kind: "watch", Body: body(told{Type: "watch"}), Told: func() { times.Add(1) }})
		n.want(sink, "watch  ")
		s.Heard()
		synctest.Wait()
		if times.Load() != 0 {
			n.Error("told before the answer")
		}
		s.Answered()
		s.Answered()
		synctest.Wait()
		if got := times.Load(); got != 1 {
			n.Errorf("told %d times", got)
		}
	})
}

func TestWhoMayNotLookAnyMore(t *testing.T) {
	bubble(t, func(n *node) {
		_, sink := n.open("alice")
		_, other := n.open("bob")
		n.mu.Lock()
		n.invalid["alice"] = true
		n.mu.Unlock()
		time.Sleep(4 * time.Second)
		if got := sink.ends(); !slices.Equal(got, []notify.Close{notify.CloseUnauthorized}) {
			n.Errorf("ended %v", got)
		}
		if got := other.ends(); len(got) != 0 {
			n.Errorf("somebody else's was ended: %v", got)
		}
		// Who is silent for three times the interval has gone.
		time.Sleep(3*notify.PingEvery + 2*time.Second)
		if got := other.ends(); !slices.Equal(got, []notify.Close{notify.CloseSilent}) {
			n.Errorf("ended %v", got)
		}
	})
}

// Wherever a connection is cut, what was told by then and what the cursor then
// brings make up the truth: the cursor is a low-water mark.
func TestCutAnywhere(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(n *node) { n.cutAnywhere(rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func (n *node) cutAnywhere(random *rand.Rand) {
	ids := []presence.UserID{"u0", "u1", "u2", "u3", "u4"}
	statuses := []presence.Status{presence.Busy, presence.Away, presence.DoNotDisturb}
	for _, id := range ids {
		n.play(id, desktop)
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
				sink.stick()
			}
			stuck = !stuck
		case 1:
			n.follow(s, "", ids[3:]...)
		case 2:
			time.Sleep(time.Second)
		default:
			n.play(ids[random.IntN(len(ids))], says(statuses[random.IntN(3)], fmt.Sprint(random.IntN(100))))
			if random.IntN(2) == 0 {
				synctest.Wait()
			}
		}
	}
	if stuck {
		sink.release()
	}
	frames := sink.take()
	s.End(notify.CloseGone, 0)
	for cut := 1; cut <= len(frames); cut++ {
		n.resumedFrom(frames[:cut], ids)
	}
}

// resumedFrom is a client that got frames, lost its connection and came back.
func (n *node) resumedFrom(frames []told, ids []presence.UserID) {
	n.Helper()
	known, cursor := make(map[string]told), ""
	learn := func(f told) {
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
	for _, f := range sink.take() {
		learn(f)
	}
	s.End(notify.CloseGone, 0)
	records, _, err := n.store.Read(n.Context(), usersOf(followed))
	if err != nil {
		n.Fatal(err)
	}
	for i := range records {
		want := toldOf(records[i].User.ID, &records[i].Shown)
		if got := known[want.User]; fmt.Sprint(got) != fmt.Sprint(want) {
			n.Errorf("cut after %d frames at %s:\nknows %+v\nis    %+v", len(frames), cursor, got, want)
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

var (
	errNobody = errors.New("nobody")
	errGone   = errors.New("gone")
)

// viewer sees the truth of one user.
type viewer presence.UserID

func (v viewer) Watcher(target presence.UserID) presence.Watcher {
	return presence.Watcher{User: presence.UserID(v), Truth: presence.UserID(v) == target}
}
