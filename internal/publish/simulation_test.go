package publish_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

// A simulation is two hours of many clients of three nodes: of sessions that are refreshed
// about every minute through any node that answers, and of sessions of connections. Clients
// go away at random. Nodes are killed or stand still, and their clocks differ.
type simulation struct {
	*cluster
	random *rand.Rand
	leased []*leasedClient
	bound  []*boundClient
	lost   int // runs of nodes that were declared dead
	// left are connections to a node that stands still. It finds later that they are lost.
	left []*publish.Binding
}

// A leasedClient knows what it was acknowledged, by the time that no node's clock tells.
type leasedClient struct {
	user   store.User
	active bool
	next   time.Time // it refreshes, or comes back
	leaves bool      // instead of refreshing

	mu sync.Mutex // held to write acknowledged, and to read it on another goroutine
	acknowledged
}

type acknowledged struct {
	ends  time.Time // of its session; zero: it has none
	idles time.Time
	fresh bool // never refreshed: its end is as exact as the clocks
}

func (x *leasedClient) set(told acknowledged) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.acknowledged = told
}

// A boundClient has a connection, or has lost it and comes back.
type boundClient struct {
	user   store.User
	on     *member // nil: not connected
	b      *publish.Binding
	ended  atomic.Bool // the server said that the session has ended
	back   time.Time
	lostAt time.Time
	// offline are the times at which it may be shown offline: after it was away for
	// longer than the grace period.
	offline int
}

// live is a node that answers, chosen at random.
func (s *simulation) live() *member {
	nodes := s.answering()
	return nodes[s.random.IntN(len(nodes))]
}

func (s *simulation) between(a, b time.Duration) time.Duration {
	return a + time.Duration(s.random.Int64N(int64(b-a)))
}

// step lets a client do what it does now.
func (s *simulation) stepLeased(x *leasedClient) {
	now := time.Now()
	if now.Before(x.next) {
		return
	}
	lease, told := presence.DefaultLease, x.acknowledged
	switch {
	case x.ends.IsZero():
		s.live().must(x.user, presence.SignIn{Session: "s", Client: presence.Desktop, App: "a"})
		told.idles, x.leaves, told.fresh = now.Add(15*time.Minute), s.random.IntN(12) == 0, true
	case x.leaves: // it comes back when its session has ended for certain
		x.set(acknowledged{})
		x.next = now.Add(s.between(time.Minute, 5*time.Minute))
		return
	default:
		e := presence.Refresh{Session: "s"}
		if x.active {
			e.Activity, told.idles = presence.ActivityActive, now.Add(15*time.Minute)
		}
		s.live().must(x.user, e) // an error is an early end
		x.leaves, told.fresh = s.random.IntN(40) == 0, false
	}
	told.ends, x.next = now.Add(lease), now.Add(s.between(55*time.Second, 65*time.Second))
	x.set(told)
	if x.leaves {
		x.next = x.ends.Add(lease*2/3 + 3*time.Second)
	}
}

func (s *simulation) stepBound(x *boundClient) {
	now := time.Now()
	switch {
	case x.on != nil && (x.on.stopped.Load() || x.ended.Load()):
		s.lose(x)
	case x.on != nil && s.random.IntN(300) == 0:
		if err := x.b.Release(s.ctx); err != nil && !errors.Is(err, store.ErrUnavailable) {
			s.Error(err)
		}
		s.lose(x)
	case x.on != nil && s.random.IntN(30) == 0:
		if err := x.b.ReportActivity(s.ctx, presence.ActivityActive); err != nil && !x.on.stopped.Load() {
			s.Error(err)
		}
	case x.on == nil && !now.Before(x.back):
		x.on = s.live()
		x.ended.Store(false)
		x.b = x.on.connect(x.user, "s", func(error) { x.ended.Store(true) })
	}
}

// lose is the loss of a connection. Most clients come back at once, some after their
// session has ended.
func (s *simulation) lose(x *boundClient) {
	if x.on.stopped.Load() {
		s.left = append(s.left, x.b)
	}
	x.on, x.lostAt = nil, time.Now()
	x.back = x.lostAt.Add(s.between(time.Second, 20*time.Second))
	if s.random.IntN(5) == 0 {
		x.back = x.lostAt.Add(s.between(90*time.Second, 2*time.Minute))
		x.offline++
	}
}

// killed ends a run and, as the membership of nodes does after 30 s, lets a node that lives
// end its sessions.
func (s *simulation) killed(m *member) {
	m.kill()
	s.lost++
	s.running.Go(func() {
		time.Sleep(publish.Grace)
		if err := s.answering()[0].EndHolders(s.ctx, []string{m.name}, nil); err != nil && s.ctx.Err() == nil {
			s.Error(err)
		}
	})
}

// release lets the nodes that stood still find which connections are lost, some of whose
// sessions another node holds by now.
func (s *simulation) release() {
	for _, b := range s.left {
		if err := b.Release(s.ctx); err != nil && !errors.Is(err, store.ErrUnavailable) {
			s.Error(err)
		}
	}
	s.left = nil
}

// run is the simulation, in steps of a second.
func (s *simulation) run(length time.Duration) {
	begun := time.Now()
	s.running.Go(s.watch)
	fault := begun.Add(4 * time.Minute)
	var heal time.Time
	var heals func()
	for now := begun; now.Before(begun.Add(length)); now = time.Now() {
		for _, x := range s.leased {
			s.stepLeased(x)
		}
		for _, x := range s.bound {
			s.stepBound(x)
		}
		if heals != nil && !now.Before(heal) {
			heals()
			heals = nil
		}
		if !now.Before(fault) {
			fault = now.Add(4 * time.Minute)
			i := s.random.IntN(len(s.nodes))
			if s.random.IntN(2) == 0 {
				s.killed(s.nodes[i])
				heal, heals = now.Add(5*time.Second), func() { s.start(i) }
			} else {
				m := s.nodes[i]
				m.stopped.Store(true)
				heal, heals = now.Add(s.between(5*time.Second, 25*time.Second)), func() {
					m.stopped.Store(false)
					s.release()
				}
			}
		}
		advanceTime(time.Second)
	}
}

// watch compares each change with what clients were acknowledged.
func (s *simulation) watch() {
	clients := make(map[store.User]*leasedClient)
	for _, x := range s.leased {
		clients[x.user] = x
	}
	_ = s.store.Watch(s.ctx, func(group []store.Record, _ store.Cursor) {
		for _, r := range group {
			if x := clients[r.User]; x != nil {
				s.check(x, r.Shown.Status)
			}
		}
	})
}

// clocksApart is how far the clocks of two nodes may be apart.
const clocksApart = 2 * time.Second

func (s *simulation) check(x *leasedClient, shown presence.Status) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now, lease := time.Now(), presence.DefaultLease
	exact := time.Duration(0)
	if x.fresh { // exact, by a clock that may be fast
		exact = clocksApart
	}
	switch shown {
	case presence.Offline:
		if early := x.ends.Sub(now); early > exact {
			s.Errorf("%s ended %v early", x.user.ID, early)
		}
		if late := now.Sub(x.ends); late > lease*2/3+clocksApart+200*time.Millisecond {
			s.Errorf("%s ended %v late", x.user.ID, late)
		}
	case presence.Away:
		if early := x.idles.Sub(now); early > 0 {
			s.Errorf("%s became idle %v early", x.user.ID, early)
		}
		if late := now.Sub(x.idles); late > 90*time.Second+clocksApart+200*time.Millisecond {
			s.Errorf("%s became idle %v late", x.user.ID, late)
		}
	default:
	}
}

// TestSimulation: nobody's session ends or idles before an instant that was acknowledged,
// whatever happens to a node. Users of connections are shown offline only when they were
// away for longer than the grace period, once each time.
func TestSimulation(t *testing.T) {
	length, seeds := 30*time.Minute, 1
	if leveltest.Full(t, "five simulations of two hours") {
		length, seeds = 2*time.Hour, 5
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			runCluster(t, 3, func(c *cluster) {
				s := &simulation{cluster: c, random: rand.New(rand.NewPCG(seed, 17))}
				for i := range c.nodes {
					c.nodes[i].skew.Store(int64(time.Duration(i-1) * clocksApart / 2))
				}
				for i := range 300 {
					s.leased = append(s.leased, &leasedClient{
						user: c.user(i), active: i%3 > 0, next: time.Now().Add(s.between(time.Millisecond, time.Minute)),
					})
				}
				for i := range 200 {
					s.bound = append(s.bound, &boundClient{user: c.user(1000 + i), back: time.Now().Add(s.between(time.Millisecond, time.Minute))})
				}
				s.run(length)
				synctest.Wait()
				s.summarize(t, length)
			})
		})
	}
}

// summarize checks the log, and that enough has happened.
func (s *simulation) summarize(t *testing.T, length time.Duration) {
	offline := make(map[store.User]int)
	ended := 0
	for e := range s.entries() {
		if e.Before.Status != presence.Offline && e.After.Status == presence.Offline {
			offline[e.User]++
			ended++
		}
	}
	away := 0
	for _, x := range s.bound {
		want := x.offline
		if x.on == nil && time.Since(x.lostAt) < 70*time.Second && x.back.Sub(x.lostAt) > publish.Grace {
			continue // it may not have ended yet
		}
		if got := offline[x.user]; got != want {
			t.Errorf("%s was shown offline %d times, want %d", x.user.ID, got, want)
		}
		away += want
	}
	if ended < 100 || away < 20 || s.lost < 3 {
		t.Errorf("INVALID: %d sessions ended, %d of connections, %d nodes were lost", ended, away, s.lost)
	}
	t.Logf("%d sessions ended, %d of connections; %d nodes were lost; %d commits in %v", ended, away, s.lost, s.commits.Load(), length)
}
