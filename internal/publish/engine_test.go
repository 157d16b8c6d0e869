package publish_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

// openNodes opens a store on the chosen engine, and n publishers on it.
func openNodes(tb testing.TB, n int) (store.Store, []*publish.Publisher) {
	tb.Helper()
	st := enginetest.Open(tb, time.Now)
	policy := presence.DefaultPolicy()
	policy.Ahead = true
	nodes := make([]*publish.Publisher, n)
	for i := range nodes {
		nodes[i] = newNode(st, policy, fmt.Sprint("node ", i))
	}
	return st, nodes
}

func newNode(st store.Store, policy presence.Policy, holder string) *publish.Publisher {
	return publish.New(publish.Options{
		Store: st, Policy: policy, Log: slog.New(slog.DiscardHandler), Holder: holder, Clock: time.Now,
		Known: func(context.Context, store.User) error { return nil },
	})
}

// connectMany signs users in over connections to a node.
func connectMany(tb testing.TB, p *publish.Publisher, users []store.User) {
	tb.Helper()
	var group sync.WaitGroup
	work := make(chan store.User)
	for range min(256, len(users)) {
		group.Go(func() {
			for u := range work {
				if _, err := p.SignIn(tb.Context(), u, store.Actor{User: u.ID}, presence.SignIn{Session: "s", Client: presence.Desktop}, func(error) {}); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	for _, u := range users {
		work <- u
	}
	close(work)
	group.Wait()
}

func manyUsers(n int) []store.User {
	users := make([]store.User, n)
	for i := range users {
		users[i] = store.User{Account: "a", ID: presence.UserID(fmt.Sprintf("user%05d", i))}
	}
	return users
}

// TestSessionsOnEngine: on either engine, a refresh that changes nothing is not logged, a
// session moves to the node that its client connects to, and those of lost nodes end once.
func TestSessionsOnEngine(t *testing.T) {
	st, nodes := openNodes(t, 3)
	users := manyUsers(60)
	connectMany(t, nodes[0], users[:30])
	connectMany(t, nodes[1], users[30:])
	connectMany(t, nodes[2], users[:10]) // the same sessions
	leased := store.User{Account: "a", ID: "leased"}
	for _, e := range []presence.Event{presence.SignIn{Session: "s", Client: presence.Web, Lease: time.Hour}, presence.Refresh{Session: "s"}, presence.Refresh{Session: "s"}} {
		if _, err := nodes[0].Publish(t.Context(), leased, store.Actor{User: leased.ID}, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := nodes[2].EndHolders(t.Context(), []string{nodes[0].Holder(), nodes[1].Holder()}, nil); err != nil {
		t.Fatal(err)
	}
	entries, err := st.Log(t.Context(), 0, store.MaxFeedGroup)
	if err != nil {
		t.Fatal(err)
	}
	refreshes, offline := 0, make(map[store.User]int)
	for i := range entries {
		switch e := &entries[i]; {
		case e.By.Cause == store.CauseRefresh:
			refreshes++
		case e.Before.Status != presence.Offline && e.After.Status == presence.Offline:
			offline[e.User]++
		}
	}
	for i, u := range users {
		if want := min(1, i/10); offline[u] != want {
			t.Errorf("user %d was shown offline %d times, want %d", i, offline[u], want)
		}
	}
	if refreshes+offline[leased] > 0 {
		t.Errorf("%d refreshes are in the log, and the leased session was ended %d times", refreshes, offline[leased])
	}
}

// TestManyLostSessions: the sessions of two dead nodes, 20,000 together, end within 3 s. The
// records are read once to find them, and once to see that none is left.
func TestManyLostSessions(t *testing.T) {
	const users = 20_000
	runCluster(t, 3, func(c *cluster) {
		for i, m := range c.nodes[:2] {
			connectMany(c, m.Publisher, manyUsers(users)[i*users/2:(i+1)*users/2])
			m.kill()
		}
		counted := &countedScans{Store: c.store}
		begun := time.Now()
		if err := newNode(counted, presence.DefaultPolicy(), "survivor").EndHolders(c.Context(), []string{c.nodes[0].name, c.nodes[1].name}, nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		if counted.scans > 2 {
			t.Errorf("%d scans", counted.scans)
		}
		offline := 0
		for e := range c.entries() {
			if e.After.Status == presence.Offline {
				offline++
			}
		}
		if offline != users {
			t.Errorf("%d users were shown offline, want %d", offline, users)
		}
	})
}

// countedScans counts scans.
type countedScans struct {
	store.Store

	scans int
}

func (s *countedScans) Scan(ctx context.Context, fn func([]store.Record) error) error {
	s.scans++
	return s.Store.Scan(ctx, fn)
}

// BenchmarkEndHolders ends 20,000 sessions of two dead nodes, from finding them on.
func BenchmarkEndHolders(b *testing.B) {
	const users = 20_000
	for b.Loop() {
		b.StopTimer()
		_, nodes := openNodes(b, 3)
		connectMany(b, nodes[0], manyUsers(users)[:users/2])
		connectMany(b, nodes[1], manyUsers(users)[users/2:])
		b.StartTimer()
		if err := nodes[2].EndHolders(b.Context(), []string{nodes[0].Holder(), nodes[1].Holder()}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
