package natsstore_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

func withNote(text string) func(*presence.State) {
	return func(s *presence.State) { s.Note.Text = text }
}

func positions(entries []store.Entry) []store.Position {
	list := make([]store.Position, len(entries))
	for i, e := range entries {
		list[i] = e.At
	}
	return list
}

// follow reads n entries above a position.
func follow(tb testing.TB, s *natsstore.Store, after store.Position, n int) (got []store.Entry) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), waitLimit)
	defer cancel()
	err := s.Feed(ctx, after, func(entries []store.Entry) error {
		if got = append(got, entries...); len(got) >= n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		tb.Fatalf("Feed ended with %v after %d entries of %d", err, len(got), n)
	}
	return got
}

// TestErase: after Erase no stream contains old content of the user, even if it was not
// copied before. The record and the entries of other users are unchanged.
func TestErase(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	a := servers.admin(t)
	other := update(t, s, userNamed("v"), withNote("kept")).At
	for range 5 {
		update(t, s, userNamed("u"), withNote("confidential"))
	}
	// The next entries are copied only after the call begins.
	waitFor(t, "the history", func() bool { return a.messages("porchlight-history") == 6 })
	var sources []*jetstream.StreamSource
	a.change("porchlight-history", func(c *jetstream.StreamConfig) { sources, c.Sources = c.Sources, nil })
	update(t, s, userNamed("u"), withNote("confidential"))
	last := update(t, s, userNamed("u"), withNote(""))
	erased := make(chan error, 1)
	go func() { erased <- s.Erase(t.Context(), userNamed("u")) }()
	waitFor(t, "the new message of the record", func() bool { return a.messages("porchlight-state") == 3 }) // and the identity
	a.change("porchlight-history", func(c *jetstream.StreamConfig) { c.Sources, c.Subjects = sources, nil })
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"porchlight-state", "porchlight-history"} {
		for _, text := range bodies(t, a, stream) {
			if bytes.Contains(text, []byte("confidential")) {
				t.Errorf("stream %s has %q", stream, text)
			}
		}
	}
	if entries, err := s.History(t.Context(), userNamed("u"), 0, 10); err != nil || len(entries) != 0 {
		t.Errorf("History gave %+v, %v", entries, err)
	}
	if entries, err := s.Log(t.Context(), 0, 10); err != nil || len(entries) != 1 || entries[0].At != other {
		t.Errorf("Log gave %+v, %v; want the other user's entry at %d", entries, err, other)
	}
	records, _, err := s.Read(t.Context(), []store.User{userNamed("u")}, store.Freshness{})
	if err != nil || len(records) != 1 || records[0].At != last.At || records[0].State.Revision != last.State.Revision {
		t.Errorf("Read gave %+v, %v; want %+v", records, err, last)
	}
	next := update(t, s, userNamed("u"), noEdit).At
	for after, gap := range map[store.Position]bool{0: true, last.At: false} {
		entries := follow(t, s, after, map[bool]int{true: 2, false: 1}[gap]) // the first is the other user's
		if e := entries[len(entries)-1]; e.At != next || e.Gap != gap {
			t.Errorf("after %d: the next entry is at %d, gap %v; want %d, %v", after, e.At, e.Gap, next, gap)
		}
	}
	entries, err := s.History(t.Context(), userNamed("u"), 0, 10)
	if err != nil || len(entries) != 1 || entries[0].At != next || !entries[0].Gap {
		t.Errorf("History gave %+v, %v; want an entry after a gap", entries, err)
	}
	// One message at a time, of which the first has no entry.
	if entries, err := s.Log(t.Context(), other, 1); err != nil || len(entries) != 1 || entries[0].At != next || !entries[0].Gap {
		t.Errorf("Log gave %+v, %v; want an entry after a gap", entries, err)
	}
	// Restarted servers copy nothing again.
	servers.stopServer(0)
	servers.startServer(t, 0)
	waitFor(t, "an update", func() bool {
		_, err := s.Update(t.Context(), userNamed("w"), storetest.UpdateFunc(store.By{}, edit(noEdit)))
		return err == nil
	})
	entries, err = s.Log(t.Context(), 0, 10)
	if err != nil || len(entries) != 3 || entries[0].At != other || entries[1].At != next {
		t.Errorf("after a restart Log gave %v, %v", positions(entries), err)
	}
}

// bodies returns the bodies of the messages in a stream.
func bodies(t *testing.T, a admin, stream string) (list [][]byte) {
	t.Helper()
	s, err := a.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m.Data)
	}
	return list
}

// TestLogAfterGaps: Log, History and PositionAt skip missing messages of the history.
func TestLogAfterGaps(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	var made []store.Position
	var times []time.Time
	for _, u := range []string{"a", "b", "a", "c", "b", "a", "b"} {
		r := update(t, s, userNamed(u), noEdit)
		made, times = append(made, r.At), append(times, r.State.At.Time())
		time.Sleep(time.Millisecond) // instants differ
	}
	if err := s.Erase(t.Context(), userNamed("b")); err != nil {
		t.Fatal(err)
	}
	kept := []int{0, 2, 3, 5}
	for i, want := range kept {
		after := store.Position(0)
		if i > 0 {
			after = made[kept[i]-1] // erased, or the previous one
		}
		entries, err := s.Log(t.Context(), after, 1)
		if err != nil || len(entries) != 1 || entries[0].At != made[want] || entries[0].Gap {
			t.Errorf("after %d Log gave %+v, %v; want %d", after, entries, err, made[want])
		}
		at, err := s.PositionAt(t.Context(), times[want])
		if err != nil || at >= made[want] || i > 0 && at < made[kept[i-1]] {
			t.Errorf("PositionAt of entry %d gave %d, %v", want, at, err)
		}
	}
	var got []store.Position
	for before := store.Position(0); ; {
		entries, err := s.History(t.Context(), userNamed("a"), before, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		before = entries[0].At
		got = append(got, before)
		if entries[0].Gap {
			t.Errorf("a gap before the entry at %d", before)
		}
	}
	if len(got) != 3 || got[0] != made[5] || got[1] != made[2] || got[2] != made[0] {
		t.Errorf("History of a gave %v, of %v", got, made)
	}
}

// TestDamagedEntry: a damaged entry is delivered in order, and the entries after it
// follow.
func TestDamagedEntry(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	first := update(t, s, userNamed("u"), noEdit).At
	a := servers.admin(t)
	ack, err := a.Publish(t.Context(), natsstore.StateSubject(userNamed("u")), []byte("not ours"))
	if err != nil {
		t.Fatal(err)
	}
	last := update(t, s, userNamed("v"), noEdit).At
	want := []store.Position{first, store.Position(ack.Sequence), last}
	entries, err := s.Log(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for name, entries := range map[string][]store.Entry{"Log": entries, "Feed": follow(t, s, 0, 3)} {
		if len(entries) != 3 {
			t.Fatalf("%s gave %+v", name, entries)
		}
		for i, e := range entries {
			if e.At != want[i] || (e.Damaged != nil) != (i == 1) || i == 1 && e.User != (store.User{}) {
				t.Errorf("%s: entry %d is %+v", name, i, e)
			}
		}
	}
	entries, err = s.History(t.Context(), userNamed("u"), 0, 10)
	if err != nil || len(entries) != 2 || entries[0].Damaged == nil || entries[1].At != first {
		t.Errorf("History gave %+v, %v", entries, err)
	}
	if at, err := s.PositionAt(t.Context(), time.Now().Add(time.Hour)); err != nil || at != last {
		t.Errorf("PositionAt of the end gave %d, %v; want %d", at, err, last)
	}
}
