package natsstore_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

func userNamed(id string) store.User { return store.User{Account: "acme", ID: presence.UserID(id)} }

// edit makes an update function that applies change to the next revision of a state.
func edit(change func(s *presence.State)) func(presence.State) (presence.State, error) {
	return func(s presence.State) (presence.State, error) {
		s.At = max(s.At, presence.InstantOf(time.Now()))
		s.Revision = max(s.Revision+1, presence.Revision(s.At))
		change(&s)
		return s, nil
	}
}

func noEdit(*presence.State) {}

func update(tb testing.TB, s *natsstore.Store, u store.User, change func(*presence.State)) store.Record {
	tb.Helper()
	r, err := s.Update(tb.Context(), u, storetest.UpdateFunc(store.By{}, edit(change)))
	if err != nil {
		tb.Fatalf("Update(%v): %v", u, err)
	}
	return r
}

// closeAtEnd closes a store when the test ends.
func closeAtEnd(tb testing.TB, s *natsstore.Store) *natsstore.Store {
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return s
}

// stopServer stops server i, and startServer restarts it with the same settings, data and
// address.
func (c *cluster) stopServer(i int) {
	c.servers[i].Shutdown()
	c.servers[i].WaitForShutdown()
}

func (c *cluster) startServer(tb testing.TB, i int) {
	tb.Helper()
	s, err := server.NewServer(c.settings[i])
	if err != nil {
		tb.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(waitLimit) {
		tb.Fatal("a NATS server did not start again")
	}
	c.servers[i] = s
}

// TestAHistoryThatAgedOut: after all entries of the history expired, a restart of the
// servers does not repeat them.
func TestAHistoryThatAgedOut(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	o.Retention = retention
	s := closeAtEnd(t, servers.open(t, o))
	for range 3 {
		update(t, s, userNamed("u"), noEdit)
	}
	last := follow(t, s, 0, 3)[2].At
	a := servers.admin(t)
	waitFor(t, "the end of the history", func() bool { return a.messages("porchlight-history") == 0 })
	servers.stopServer(0)
	servers.startServer(t, 0)
	waitFor(t, "an update", func() bool {
		_, err := s.Update(t.Context(), userNamed("v"), storetest.UpdateFunc(store.By{}, edit(noEdit)))
		return err == nil
	})
	for _, e := range follow(t, s, last, 1) {
		if e.User != userNamed("v") || e.Gap {
			t.Errorf("after the restart Feed gave %v at %d, gap %v", e.User.ID, e.At, e.Gap)
		}
	}
}

// TestGaps: an entry after dropped ones has a Gap, unless the reader had read them.
func TestGaps(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := servers.open(t, servers.options())
	for _, u := range []string{"a", "b", "a"} {
		update(t, s, userNamed(u), noEdit)
	}
	last := follow(t, s, 0, 3)[2].At
	update(t, s, userNamed("b"), noEdit) // dropped below, before it is delivered
	update(t, s, userNamed("c"), noEdit) // also
	history, err := servers.admin(t).Stream(t.Context(), "porchlight-history")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the history", func() bool {
		info, err := history.Info(t.Context())
		return err == nil && info.State.Msgs == 5
	})
	if err := history.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = closeAtEnd(t, servers.open(t, servers.options()))
	for _, u := range []string{"a", "b", "c", "d", "a", "b"} {
		update(t, s, userNamed(u), noEdit)
	}
	for after, want := range map[store.Position][]bool{
		last: {false, true, true, false, false, false},
		0:    {true, true, true, false, false, false},
	} {
		for i, e := range follow(t, s, after, len(want)) {
			if e.Gap != want[i] {
				t.Errorf("after %d, entry %d, of %s: gap %v, want %v", after, i, e.User.ID, e.Gap, want[i])
			}
		}
	}
}

// TestReadOfMany: a read that takes several queries returns all users in order, and its
// cursor skips no concurrent change.
func TestReadOfMany(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	o.Timeout = 5 * waitLimit
	s := closeAtEnd(t, servers.open(t, o))
	const many, callers = 1100, 32
	us := make([]store.User, many)
	made := make([][]store.Position, many) // each user's versions
	for i := range us {
		us[i] = userNamed("u" + strconv.Itoa(i))
	}
	var group sync.WaitGroup
	for part := range callers {
		group.Go(func() {
			for i := part; i < many; i += callers {
				made[i] = append(made[i], update(t, s, us[i], noEdit).At)
			}
		})
	}
	group.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	for part := range 4 {
		group.Go(func() {
			for i := part; ctx.Err() == nil; i = (i + 4*17) % many {
				made[i] = append(made[i], update(t, s, us[i], noEdit).At)
			}
		})
	}
	type view struct {
		records []store.Record
		upTo    store.Position
	}
	views := make([]view, 50)
	for i := range views {
		records, cursor, err := s.Read(t.Context(), us, store.Freshness{})
		if err != nil || len(records) != many {
			t.Fatalf("Read gave %d of %d: %v", len(records), many, err)
		}
		upTo, err := cursor.Position(s.Epoch())
		if err != nil {
			t.Fatal(err)
		}
		views[i] = view{records, upTo}
	}
	cancel()
	group.Wait()
	for _, v := range views {
		for i, r := range v.records {
			if r.User != us[i] {
				t.Fatalf("record %d is of %s", i, r.User.ID)
			}
			for _, at := range made[i] {
				if at <= v.upTo && at > r.At {
					t.Fatalf("%s was read at %d, with a cursor at %d, and was stored at %d", r.User.ID, r.At, v.upTo, at)
				}
			}
		}
	}
}
