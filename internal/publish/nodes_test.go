package publish_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A cluster is several publishers on one store. Whichever of them the store hands a user
// to publishes that user's expiries. Use it in a synctest bubble.
type cluster struct {
	*testing.T
	store   *pebblestore.Store
	commits atomic.Int64 // of all kinds, also unlogged ones
	mu      sync.Mutex   // held to write nodes, and to read them on another goroutine than the test's
	nodes   []*member
	running sync.WaitGroup
	end     context.CancelFunc
	ctx     context.Context
}

// A member is one run of a node.
type member struct {
	*publish.Publisher
	c       *cluster
	name    string
	skew    atomic.Int64 // of its clock
	due     chan dueUsers
	end     context.CancelFunc
	stopped atomic.Bool // neither answers nor writes, or is gone
}

type dueUsers struct {
	users []store.User
	done  chan error
}

// A sharedStore is the store as one node sees it: the store divides what is due among
// nodes, and a stopped one cannot write.
type sharedStore struct {
	store.Store
	m *member
}

func (s sharedStore) Due(ctx context.Context, fn func([]store.User) error) error {
	for {
		select {
		case d := <-s.m.due:
			d.done <- fn(d.users)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s sharedStore) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	if s.m.stopped.Load() {
		return store.Record{}, store.ErrUnavailable
	}
	record, err := s.Store.Update(ctx, u, fn)
	if err == nil {
		s.m.c.commits.Add(1)
	}
	return record, err
}

// runCluster runs a test on n nodes that share a store and record ends ahead.
func runCluster(t *testing.T, n int, test func(c *cluster), change ...func(*publish.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, err := pebblestore.Open("data", pebblestore.Options{FS: vfs.NewMem(), MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		c := &cluster{T: t, store: st}
		c.ctx, c.end = context.WithCancel(t.Context())
		for range n {
			c.nodes = append(c.nodes, nil)
			c.start(len(c.nodes)-1, change...)
		}
		c.running.Go(c.handOut)
		defer func() {
			c.end()
			c.running.Wait()
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait() // nodes watch before they serve
		test(c)
	})
}

// start starts another run of the node at place i.
func (c *cluster) start(i int, change ...func(*publish.Options)) *member {
	m := &member{c: c, name: fmt.Sprintf("node %d at %v", i, time.Now().Unix()), due: make(chan dueUsers)}
	policy := presence.DefaultPolicy()
	policy.Ahead = true
	options := publish.Options{
		Store: sharedStore{c.store, m}, Policy: policy, Log: slog.New(slog.DiscardHandler), Holder: m.name,
		Clock: func() time.Time { return time.Now().Add(time.Duration(m.skew.Load())) },
		Known: func(context.Context, store.User) error { return nil },
	}
	for _, change := range change {
		change(&options)
	}
	m.Publisher = publish.New(options)
	ctx, end := context.WithCancel(c.ctx)
	m.end = end
	c.running.Go(func() {
		if err := m.Run(ctx); err != nil {
			c.Error(err)
		}
	})
	c.running.Go(func() { m.KeepBound(ctx) })
	c.running.Go(func() {
		err := c.store.Watch(ctx, func(group []store.Record, _ store.Cursor) {
			if !m.stopped.Load() {
				m.Observe(group)
			}
		})
		if !errors.Is(err, context.Canceled) {
			c.Error(err)
		}
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if was := c.nodes[i]; was != nil {
		m.skew.Store(was.skew.Load())
	}
	c.nodes[i] = m
	return m
}

// answering are the nodes that answer.
func (c *cluster) answering() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.nodes), func(m *member) bool { return m.stopped.Load() })
}

// kill ends a run as kill -9 does.
func (m *member) kill() {
	m.stopped.Store(true)
	m.end()
}

// handOut divides what is due among the nodes.
func (c *cluster) handOut() {
	next := 0
	err := c.store.Due(c.ctx, func(users []store.User) error {
		if nodes := c.answering(); len(nodes) > 0 {
			next++
			m := nodes[next%len(nodes)]
			d := dueUsers{users, make(chan error, 1)}
			select {
			case m.due <- d:
				return <-d.done
			case <-c.ctx.Done():
				return nil
			}
		}
		time.Sleep(100 * time.Millisecond)
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		c.Error(err)
	}
}

func (c *cluster) user(i int) store.User {
	return store.User{Account: "a", ID: presence.UserID(fmt.Sprintf("user%05d", i))}
}

func (c *cluster) record(u store.User) store.Record {
	c.Helper()
	records, _, err := c.store.Read(c.Context(), []store.User{u}, store.Freshness{})
	if err != nil || len(records) != 1 {
		c.Fatalf("%d records, %v", len(records), err)
	}
	return records[0]
}

// shows reports how often u was shown with a status since the log began.
func (c *cluster) shows(u store.User, status presence.Status) (times int) {
	c.Helper()
	for entry := range c.entries() {
		if entry.User == u && entry.After.Status == status && entry.Before.Status != status {
			times++
		}
	}
	return times
}

func (c *cluster) entries() func(func(store.Entry) bool) {
	return func(yield func(store.Entry) bool) {
		for after := store.Position(0); ; {
			entries, err := c.store.Log(c.Context(), after, 1000)
			if err != nil {
				c.Fatal(err)
			}
			if len(entries) == 0 {
				return
			}
			for _, e := range entries {
				if after = e.At; !yield(e) {
					return
				}
			}
		}
	}
}

func (m *member) must(u store.User, e presence.Event) publish.Result {
	m.c.Helper()
	result, err := m.Publish(m.c.Context(), u, store.Actor{User: u.ID}, e)
	if err != nil {
		m.c.Fatalf("%+v: %v", e, err)
	}
	return result
}

// connect signs in over a connection to m.
func (m *member) connect(u store.User, id presence.SessionID, lost func(error)) *publish.Binding {
	m.c.Helper()
	b, err := m.SignIn(m.c.Context(), u, store.Actor{User: u.ID}, presence.SignIn{Session: id, Client: presence.Desktop}, lost)
	if err != nil {
		m.c.Fatal(err)
	}
	return b
}

func (c *cluster) want(u store.User, status presence.Status) presence.Presence {
	c.Helper()
	p := c.record(u).Shown
	if p.Status != status {
		c.Fatalf("%v, want %v", p.Status, status)
	}
	return p
}

// TestRefreshHereTickThere: a refresh that one node has acknowledged counts on the node that
// publishes the expiry. It did not while the first one kept it in memory.
func TestRefreshHereTickThere(t *testing.T) {
	for _, nodes := range []int{2, 3} {
		runCluster(t, nodes, func(c *cluster) {
			for i := range 20 {
				c.nodes[0].must(c.user(i), presence.SignIn{Session: "s", Client: presence.Desktop, Lease: presence.MinLease})
			}
			advanceTime(14 * time.Second)
			for i := range 20 {
				c.nodes[i%nodes].must(c.user(i), presence.Refresh{Session: "s", Activity: presence.ActivityActive})
			}
			advanceTime(30*time.Second - time.Millisecond)
			for i := range 20 {
				c.want(c.user(i), presence.Available)
			}
			advanceTime(20*time.Second + time.Second)
			for i := range 20 {
				c.want(c.user(i), presence.Offline)
			}
		})
	}
}

// TestNodeStartProlongsNothing: on a store that several nodes share, a node that starts
// gives no session more time.
func TestNodeStartProlongsNothing(t *testing.T) {
	runCluster(t, 2, func(c *cluster) {
		u := c.user(0)
		c.nodes[0].must(u, presence.SignIn{Session: "s", Client: presence.Desktop})
		advanceTime(presence.DefaultLease - time.Second)
		for i := range c.nodes {
			c.nodes[i].kill()
			c.start(i)
		}
		advanceTime(2 * time.Second)
		c.want(u, presence.Offline)
	})
}

// TestKeepAlivesAreNotLogged: refreshes that keep a session alive cost at most one commit
// each 75 s and no entry of the log. An edge is logged.
func TestKeepAlivesAreNotLogged(t *testing.T) {
	runCluster(t, 2, func(c *cluster) {
		u := c.user(0)
		count := func() (n int) {
			for range c.entries() {
				n++
			}
			return n
		}
		c.nodes[0].must(u, presence.SignIn{Session: "s", Client: presence.Desktop})
		commits, logged := c.commits.Load(), count()
		for i := range 60 {
			advanceTime(time.Minute)
			c.nodes[i%2].must(u, presence.Refresh{Session: "s", Activity: presence.ActivityActive})
		}
		if n := c.commits.Load() - commits; n > 31 || n < 20 {
			t.Errorf("%d commits in an hour", n)
		}
		if n := count() - logged; n != 0 {
			t.Errorf("%d entries of keep-alives", n)
		}
		c.nodes[0].must(u, presence.Refresh{Session: "s", Activity: presence.ActivityIdle})
		if n := count() - logged; n != 1 {
			t.Errorf("%d entries of the edge to idle", n)
		}
	})
}

// TestHeldSessionCostsNothing: while nothing changes, an open connection causes no commit,
// and its person becomes idle at the exact instant.
func TestHeldSessionCostsNothing(t *testing.T) {
	runCluster(t, 2, func(c *cluster) {
		u := c.user(0)
		b := c.nodes[0].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
		begun, commits := time.Now(), c.commits.Load()
		for range 600 {
			advanceTime(10 * time.Second)
			if err := b.ReportActivity(c.Context(), presence.ActivityActive); err != nil {
				t.Fatal(err)
			}
		}
		last := time.Now()
		if n := c.commits.Load() - commits; n != 0 {
			t.Errorf("%d commits in %v", n, last.Sub(begun))
		}
		advanceTime(15*time.Minute - time.Millisecond)
		c.want(u, presence.Available)
		advanceTime(2 * time.Millisecond)
		if p := c.want(u, presence.Away); p.Since != presence.InstantOf(last.Add(15*time.Minute)) {
			t.Errorf("away since %v, %v after the last activity", p.Since.Time(), p.Since.Time().Sub(last))
		}
		advanceTime(time.Hour)
		if err := b.ReportActivity(c.Context(), presence.ActivityActive); err != nil {
			t.Fatal(err)
		}
		c.want(u, presence.Available)
		if n := c.commits.Load() - commits; n != 2 {
			t.Errorf("%d commits for two edges", n)
		}
	})
}

// TestConnectionMovesToAnotherNode: the node of the old connection writes nothing more of
// the session, not even when that connection is lost.
func TestConnectionMovesToAnotherNode(t *testing.T) {
	runCluster(t, 2, func(c *cluster) {
		u := c.user(0)
		old := c.nodes[0].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
		advanceTime(time.Minute)
		c.nodes[1].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
		synctest.Wait()
		commits := c.commits.Load()
		if err := old.Release(c.Context()); err != nil {
			t.Error(err)
		}
		if err := old.ReportActivity(c.Context(), presence.ActivityIdle); err != nil {
			t.Error(err)
		}
		advanceTime(14 * time.Minute)
		c.want(u, presence.Available)
		if n := c.commits.Load() - commits; n != 0 {
			t.Errorf("%d commits", n)
		}
	})
}

// TestConnectionsShareASession: connections to two nodes share a session. It lives until the
// last of them is lost, and either may report activity.
func TestConnectionsShareASession(t *testing.T) {
	runCluster(t, 2, func(c *cluster) {
		u := c.user(0)
		told := func(err error) { t.Errorf("lost: %v", err) }
		first := c.nodes[0].connect(u, "s", told)
		advanceTime(time.Minute)
		second := c.nodes[1].connect(u, "s", told)
		advanceTime(time.Minute)
		for _, activity := range []presence.Activity{presence.ActivityIdle, presence.ActivityActive} {
			if err := first.ReportActivity(c.Context(), activity); err != nil {
				t.Error(err)
			}
			c.want(u, map[presence.Activity]presence.Status{presence.ActivityIdle: presence.Away, presence.ActivityActive: presence.Available}[activity])
			advanceTime(2 * time.Second)
		}
		commits := c.commits.Load()
		advanceTime(10 * time.Minute)
		if n := c.commits.Load() - commits; n != 0 {
			t.Errorf("%d commits while both are open", n)
		}
		if err := second.Release(c.Context()); err != nil {
			t.Error(err)
		}
		advanceTime(5 * time.Minute)
		if s := c.record(u).State.Sessions; len(s) != 1 || s[0].Holder != c.nodes[0].name {
			t.Fatalf("%+v", s)
		}
		if err := first.Release(c.Context()); err != nil {
			t.Error(err)
		}
		advanceTime(publish.Grace + time.Second)
		c.want(u, presence.Offline)
	})
}

// TestMovedUnobserved: the node of the old connection has not learnt of the new one. What
// it writes changes nothing.
func TestMovedUnobserved(t *testing.T) {
	for name, write := range map[string]func(*publish.Binding) error{
		"release": func(b *publish.Binding) error { return b.Release(context.Background()) },
		"its edge to idle": func(*publish.Binding) error {
			advanceTime(14*time.Minute + time.Second) // that of the new connection comes a minute later
			return presence.ErrSessionReplaced
		},
	} {
		t.Run(name, func(t *testing.T) {
			runCluster(t, 2, func(c *cluster) {
				u := c.user(0)
				old := c.nodes[0].connect(u, "s", func(error) {})
				advanceTime(time.Minute)
				c.nodes[0].stopped.Store(true)
				c.nodes[1].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
				synctest.Wait()
				c.nodes[0].stopped.Store(false)
				if err := write(old); err != nil && !errors.Is(err, presence.ErrSessionReplaced) {
					t.Errorf("%v", err)
				}
				if s := c.record(u).State.Sessions[0]; s.Holder != c.nodes[1].name {
					t.Errorf("held by %q", s.Holder)
				}
				c.want(u, presence.Available)
			})
		})
	}
}

// TestFailedReleaseIsRepeated: the store fails when a connection is lost. The session does
// not stay for ever.
func TestFailedReleaseIsRepeated(t *testing.T) {
	runCluster(t, 2, func(c *cluster) {
		u := c.user(0)
		b := c.nodes[0].connect(u, "s", func(error) {})
		c.nodes[0].stopped.Store(true)
		if err := b.Release(c.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("INVALID: %v", err)
		}
		advanceTime(10 * time.Second)
		c.nodes[0].stopped.Store(false)
		advanceTime(publish.Grace + 2*time.Second)
		c.want(u, presence.Offline)
	})
}

// A slowAnswer is a store that does something between an update and its answer.
type slowAnswer struct {
	store.Store
	meanwhile func()
}

func (s *slowAnswer) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	record, err := s.Store.Update(ctx, u, fn)
	if do := s.meanwhile; do != nil {
		s.meanwhile = nil
		do()
	}
	return record, err
}

// TestRenamedDuringSignIn: a node that was declared dead serves again under another name
// while a client signs in. The session is held under that name, whether those of the dead
// one are ended before or after that, and ends when its connection is lost.
func TestRenamedDuringSignIn(t *testing.T) {
	for _, reaped := range []bool{false, true} {
		slow := &slowAnswer{}
		runCluster(t, 2, func(c *cluster) {
			u, dead := c.user(0), c.nodes[0].Holder()
			end := func() {
				if err := c.nodes[1].EndHolders(c.Context(), []string{dead}, nil); err != nil {
					t.Error(err)
				}
			}
			slow.meanwhile = func() {
				if c.nodes[0].HoldAs("another name"); reaped {
					end()
				}
			}
			b := c.nodes[0].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
			end()
			if s := c.record(u).State.Sessions; len(s) != 1 || s[0].Holder != "another name" {
				t.Fatalf("%+v", s)
			}
			advanceTime(time.Minute)
			c.want(u, presence.Available)
			if err := b.Release(c.Context()); err != nil {
				t.Error(err)
			}
			advanceTime(publish.Grace + 2*time.Second)
			c.want(u, presence.Offline)
		}, func(o *publish.Options) {
			if slow.Store == nil {
				slow.Store, o.Store = o.Store, slow
			}
		})
	}
}

// A lostAnswer is a store that applies the next update and loses its answer.
type lostAnswer struct {
	store.Store
	lose bool
}

func (s *lostAnswer) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	record, err := s.Store.Update(ctx, u, fn)
	if s.lose && err == nil {
		s.lose = false
		return store.Record{}, store.ErrUnknown
	}
	return record, err
}

// TestSignInWithoutAnswer: a session that was begun although its client got an error ends
// after the grace period, unless the client signs in again.
func TestSignInWithoutAnswer(t *testing.T) {
	for _, again := range []bool{false, true} {
		lossy := &lostAnswer{}
		runCluster(t, 1, func(c *cluster) {
			u := c.user(0)
			lossy.lose = true
			e := presence.SignIn{Session: "s", Client: presence.Desktop}
			if _, err := c.nodes[0].SignIn(c.Context(), u, store.Actor{}, e, nil); !errors.Is(err, store.ErrUnknown) {
				t.Fatalf("INVALID: %v", err)
			}
			c.want(u, presence.Available)
			if again {
				c.nodes[0].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
			}
			advanceTime(2*publish.Grace + 2*time.Second)
			c.want(u, map[bool]presence.Status{false: presence.Offline, true: presence.Available}[again])
		}, func(o *publish.Options) { lossy.Store, o.Store = o.Store, lossy })
	}
}

// TestSignInWithoutAnswerAfterIsolation: it does so too on a node that was isolated, and
// left the sessions of its connections to the run that it gave up. One of those connections
// ends late.
func TestSignInWithoutAnswerAfterIsolation(t *testing.T) {
	lossy := &lostAnswer{}
	runCluster(t, 1, func(c *cluster) {
		early, late, u := c.nodes[0].connect(c.user(0), "s", func(error) {}), c.nodes[0].connect(c.user(1), "s", func(error) {}), c.user(2)
		early.Detach()
		c.nodes[0].HoldAs("another name")
		late.Detach()
		lossy.lose = true
		if _, err := c.nodes[0].SignIn(c.Context(), u, store.Actor{}, presence.SignIn{Session: "s", Client: presence.Desktop}, nil); !errors.Is(err, store.ErrUnknown) {
			t.Fatalf("INVALID: %v", err)
		}
		c.want(u, presence.Available)
		advanceTime(2*publish.Grace + 2*time.Second)
		c.want(u, presence.Offline)
	}, func(o *publish.Options) { lossy.Store, o.Store = o.Store, lossy })
}

// TestEndHolders: two nodes end the sessions of a lost one at once. Each of its users is
// shown offline once, those who came back before not at all, at a limited rate.
func TestEndHolders(t *testing.T) {
	const users = 1000
	runCluster(t, 3, func(c *cluster) {
		for i := range users {
			c.nodes[0].connect(c.user(i), "s", func(error) {})
			if i%2 == 1 { // these have another one elsewhere
				c.nodes[1].connect(c.user(i), "t", func(err error) { t.Errorf("lost: %v", err) })
			}
		}
		c.nodes[0].kill()
		for i := 0; i < users; i += 10 { // these come back
			c.nodes[2].connect(c.user(i), "s", func(err error) { t.Errorf("lost: %v", err) })
		}
		begun := time.Now()
		var ending sync.WaitGroup
		for i, m := range c.nodes[1:] {
			ending.Go(func() {
				first := func(u store.User) bool { return len(u.ID)%2 == i }
				if err := m.EndHolders(c.Context(), []string{c.nodes[0].name}, first); err != nil {
					t.Error(err)
				}
			})
		}
		ending.Wait()
		if took := time.Since(begun); took < 50*time.Millisecond { // each node may end a group at once, and then waits
			t.Errorf("%d users in %v", users, took)
		}
		offline := make(map[store.User]int)
		for e := range c.entries() {
			if e.Before.Status != presence.Offline && e.After.Status == presence.Offline {
				offline[e.User]++
			}
		}
		for i := range users {
			want := 1
			if i%2 == 1 || i%10 == 0 {
				want = 0
			}
			if got := offline[c.user(i)]; got != want {
				t.Fatalf("user %d was shown offline %d times, want %d", i, got, want)
			}
		}
	})
}

// TestReconnectDuringEndHolders: whichever comes first of a client's reconnect and the end
// of its session, it is signed in afterwards, and the record has one holder.
func TestReconnectDuringEndHolders(t *testing.T) {
	const users = 200
	runCluster(t, 2, func(c *cluster) {
		for i := range users {
			c.nodes[0].connect(c.user(i), "s", func(error) {})
		}
		c.nodes[0].kill()
		var work sync.WaitGroup
		work.Go(func() {
			if err := c.nodes[1].EndHolders(c.Context(), []string{c.nodes[0].name}, nil); err != nil {
				t.Error(err)
			}
		})
		for i := range users {
			work.Go(func() { c.nodes[1].connect(c.user(i), "s", func(err error) { t.Errorf("lost: %v", err) }) })
		}
		work.Wait()
		for i := range users {
			r := c.record(c.user(i))
			if len(r.State.Sessions) != 1 || r.State.Sessions[0].Holder != c.nodes[1].name || r.Shown.Status != presence.Available {
				t.Fatalf("%+v", r.State)
			}
		}
	})
}

// TestDeclaredDead: a node that was declared dead although it lives serves again under
// another name. Its connections end, and clients that come back are signed in.
func TestDeclaredDead(t *testing.T) {
	runCluster(t, 2, func(c *cluster) {
		u, lost := c.user(0), 0
		c.nodes[0].connect(u, "s", func(error) { lost++ })
		c.nodes[0].stopped.Store(true)
		dead := c.nodes[0].Holder()
		advanceTime(publish.Grace)
		c.nodes[0].stopped.Store(false)
		c.nodes[0].HoldAs("another name")
		if lost != 1 {
			t.Errorf("told %d times", lost)
		}
		b := c.nodes[0].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
		if err := c.nodes[1].EndHolders(c.Context(), []string{dead}, nil); err != nil {
			t.Error(err)
		}
		if n := c.shows(u, presence.Offline); n != 0 {
			t.Errorf("shown offline %d times", n)
		}
		if s := c.record(u).State.Sessions; len(s) != 1 || s[0].Holder != "another name" || s[0].ID != b.Session() {
			t.Errorf("%+v", s)
		}
	})
}
