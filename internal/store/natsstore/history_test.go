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

func named(id string) store.User { return store.User{Account: "acme", ID: presence.UserID(id)} }

// edit is the next revision of a state, with change made to it.
func edit(change func(s *presence.State)) func(presence.State) (presence.State, error) {
	return func(s presence.State) (presence.State, error) {
		s.At = max(s.At, presence.InstantOf(time.Now()))
		s.Revision = max(s.Revision+1, presence.Revision(s.At))
		change(&s)
		return s, nil
	}
}

func nothing(*presence.State) {}

func update(tb testing.TB, s *natsstore.Store, u store.User, change func(*presence.State)) store.Record {
	tb.Helper()
	r, err := s.Update(tb.Context(), u, storetest.UpdateFunc(store.By{}, edit(change)))
	if err != nil {
		tb.Fatalf("Update(%v): %v", u, err)
	}
	return r
}

// closing closes a store when the test ends.
func closing(tb testing.TB, s *natsstore.Store) *natsstore.Store {
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return s
}

// off ends server i, and on starts it again with its settings: the same data at the
// same address.
func (c *cluster) off(i int) {
	c.servers[i].Shutdown()
	c.servers[i].WaitForShutdown()
}

func (c *cluster) on(tb testing.TB, i int) {
	tb.Helper()
	s, err := server.NewServer(c.settings[i])
	if err != nil {
		tb.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(patience) {
		tb.Fatal("a NATS server did not start again")
	}
	c.servers[i] = s
}

// TestAHistoryThatAgedOut: when everything in the history was past the retention,
// nothing comes again after a restart of the servers.
func TestAHistoryThatAgedOut(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	o.Retention = 2 * time.Second
	s := closing(t, servers.open(t, o))
	for range 3 {
		update(t, s, named("u"), nothing)
	}
	last := follow(t, s, 0, 3)[2].At
	waitFor(t, "the end of the history", func() bool {
		stream, err := servers.admin(t).Stream(t.Context(), "porchlight-history")
		return err == nil && stream.CachedInfo().State.Msgs == 0
	})
	servers.off(0)
	servers.on(t, 0)
	waitFor(t, "an update", func() bool {
		_, err := s.Update(t.Context(), named("v"), storetest.UpdateFunc(store.By{}, edit(nothing)))
		return err == nil
	})
	for _, e := range follow(t, s, last, 1) {
		if e.User != named("v") || e.Gap {
			t.Errorf("after the restart %v came, at %d, gap %v", e.User.ID, e.At, e.Gap)
		}
	}
}

// TestGaps: what the history dropped before an entry is said of it, unless the
// reader was given it.
func TestGaps(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := servers.open(t, servers.options())
	for _, u := range []string{"a", "b", "a"} {
		update(t, s, named(u), nothing)
	}
	last := follow(t, s, 0, 3)[2].At
	update(t, s, named("b"), nothing) // dropped below, before it is given
	update(t, s, named("c"), nothing) // also
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
	s = closing(t, servers.open(t, servers.options()))
	for _, u := range []string{"a", "b", "c", "d", "a", "b"} {
		update(t, s, named(u), nothing)
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

// TestReadOfMany: a call that takes several questions gives everybody, in order, and
// its cursor skips nothing that comes between them.
func TestReadOfMany(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closing(t, servers.open(t, servers.options()))
	const many, callers = 2300, 32
	us := make([]store.User, many)
	made := make([][]store.Position, many) // each user's versions
	for i := range us {
		us[i] = named("u" + strconv.Itoa(i))
	}
	var group sync.WaitGroup
	for part := range callers {
		group.Go(func() {
			for i := part; i < many; i += callers {
				made[i] = append(made[i], update(t, s, us[i], nothing).At)
			}
		})
	}
	group.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	for part := range 4 {
		group.Go(func() {
			for i := part; ctx.Err() == nil; i = (i + 4*17) % many {
				made[i] = append(made[i], update(t, s, us[i], nothing).At)
			}
		})
	}
	type view struct {
		records []store.Record
		upTo    store.Position
	}
	views := make([]view, 50)
	for i := range views {
		records, cursor, err := s.Read(t.Context(), us)
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
