package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/tail/tailtest"
	"porchlight.dev/porchlight/internal/webhook"
)

// nodes are two deliverers on one store, of which the first delivers.
type nodes struct {
	*testing.T

	bus         storetest.Bus
	here, there *fixture // the latter does not deliver
	delivers    *tailtest.Node
}

func runNodesTest(t *testing.T, test func(n *nodes), subs ...*webhook.Subscription) {
	t.Helper()
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		n := &nodes{T: t}
		first, second := newFixture(t, st, subs...), newFixture(t, st)
		second.subs, second.network = first.subs, first.network
		var cluster tailtest.Cluster
		for _, f := range []*fixture{first, second} {
			f.nodes, f.messenger = cluster.Join(), n.bus.Node()
			f.start()
		}
		advance(3 * time.Second)
		n.here, n.there = first, second
		if _, err := first.d.Status(subs[0]); err != nil {
			n.here, n.there = second, first
		}
		n.delivers = n.here.nodes.(*tailtest.Node) //nolint:errcheck // it is one
		test(n)
		for _, f := range []*fixture{first, second} {
			f.stop()
		}
		advance(time.Minute) // for messages that are delayed
	})
}

// TestForward: a client of a node that does not deliver gets what one of the node that does
// would.
func TestForward(t *testing.T) {
	s := waiting("one")
	runNodesTest(t, func(n *nodes) {
		n.here.note("ann", "a")
		n.here.note("ben", "two b")
		first := n.there.listen(s)
		first.want(t, "changed a", "changed two b", "second ben")
		if st, err := n.here.d.Status(s); err != nil || !st.Attached {
			t.Errorf("%+v, %v", st, err)
		}
		first.Acknowledge(1)
		advance(time.Second)
		first.Close()
		advance(time.Second)
		if st, err := n.here.d.Status(s); err != nil || st.Attached {
			t.Errorf("after its end: %+v, %v", st, err)
		}
		n.here.note("ann", "c")
		second := n.here.listen(s)
		second.want(t, "changed two b", "second ben", "changed c")
		second.Acknowledge(3)
		advance(time.Minute)
		n.here.note("ann", "d")
		third := n.there.listen(s)
		third.want(t, "changed d")
	}, s)
}

// TestForwardReplaces: a subscription has one client over all nodes, the latest one.
func TestForwardReplaces(t *testing.T) {
	s := waiting("one")
	runNodesTest(t, func(n *nodes) {
		var last *listener
		for i, f := range []*fixture{n.there, n.here, n.there, n.there, n.here} {
			l := f.listen(s)
			advance(10 * time.Millisecond)
			if last != nil && !errors.Is(last.Err(), webhook.ErrReplaced) {
				t.Errorf("client %d ended with %v, want %v", i-1, last.Err(), webhook.ErrReplaced)
			}
			last = l
		}
		advance(time.Minute)
		if err := last.Err(); err != nil {
			t.Errorf("the last client ended with %v", err)
		}
	}, s)
}

// TestForwardEnds: a client of another node is told that there will be no more events.
func TestForwardEnds(t *testing.T) {
	for name, c := range map[string]struct {
		after  time.Duration // the client has connected
		change func(subs *subscriptions)
		want   error
	}{
		"deleted":         {2 * time.Second, func(subs *subscriptions) { subs.set() }, webhook.ErrRemoved},
		"deleted at once": {0, func(subs *subscriptions) { subs.set() }, webhook.ErrRemoved},
		"given a URL": {2 * time.Second, func(subs *subscriptions) {
			subs.update("one", func(s *webhook.Subscription) { s.URL = "https://one.example" })
		}, webhook.ErrHasEndpoint},
	} {
		t.Run(name, func(t *testing.T) {
			s := waiting("one")
			runNodesTest(t, func(n *nodes) {
				l := n.there.listen(s)
				advance(c.after)
				n.bus.SetFaults(storetest.Faults{Lose: func() bool { return true }})
				c.change(n.here.subs)
				advance(2 * time.Second)
				if !errors.Is(l.Err(), c.want) {
					t.Errorf("the client ended with %v, want %v", l.Err(), c.want)
				}
			}, s)
		})
	}
}

// TestForwardFails: a client whose connection fails, or whose node falls silent, ends, and the
// next one gets what it had not acknowledged.
func TestForwardFails(t *testing.T) {
	s := waiting("one")
	runNodesTest(t, func(n *nodes) {
		broken := errors.New("the connection is broken")
		first := n.there.listen(s)
		first.fail = broken
		n.here.note("ann", "a")
		advance(time.Second)
		if !errors.Is(first.Err(), broken) {
			t.Errorf("the client ended with %v", first.Err())
		}
		second := n.there.listen(s)
		second.want(t, "changed a")
		n.bus.SetFaults(storetest.Faults{Lose: func() bool { return true }})
		n.here.note("ann", "b")
		advance(7 * time.Second)
		if st, err := n.here.d.Status(s); err != nil || st.Attached {
			t.Errorf("the client of a silent node: %+v, %v", st, err)
		}
		n.bus.SetFaults(storetest.Faults{})
		advance(2 * time.Second)
		second.want(t, "changed a", "changed a", "changed b")
	}, s)
}

// TestForwardFaults: while messages are lost, late and repeated, and the consumer moves between
// the nodes, one client stays connected and gets every event, in order but for those that come
// again.
func TestForwardFaults(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := waiting("one")
			runNodesTest(t, func(n *nodes) {
				random, faults := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test repeats it
				n.bus.SetFaults(storetest.Faults{
					Delay: time.Millisecond, Lose: storetest.Sometimes(0.1, faults), Repeat: storetest.Sometimes(0.1, faults),
				})
				l := n.there.listen(s)
				var want []string
				for i := range 300 {
					text := fmt.Sprint(i)
					n.here.note(userNumber(i%3), text)
					want = append(want, "changed "+text)
					advance(time.Duration(random.IntN(200)) * time.Millisecond)
					if random.IntN(3) == 0 {
						l.acknowledgeAll()
					}
					if i%100 == 50 {
						n.move()
					}
				}
				for range 60 {
					l.acknowledgeAll()
					advance(time.Second)
				}
				if err := l.Err(); err != nil {
					t.Errorf("the client ended with %v", err)
				}
				l.wantAll(t, want)
				entries := n.here.entries()
				if at := n.position(s); at != entries[len(entries)-1].At {
					t.Errorf("after all was acknowledged, the position is %d, want %d", at, entries[len(entries)-1].At)
				}
			}, s)
		})
	}
}

// move lets the other node deliver, because this one falls silent until it is declared dead.
func (n *nodes) move() {
	n.Helper()
	n.delivers.Silence()
	advance(tailtest.DeadAfter + 5*time.Second)
	n.delivers.Return()
	n.here, n.there = n.there, n.here
	if _, err := n.here.d.Status(n.here.subs.current("one")); err != nil {
		n.Fatalf("INVALID: the other node does not deliver: %v", err)
	}
	n.delivers = n.here.nodes.(*tailtest.Node) //nolint:errcheck // it is one
}

// TestForwardWhileSending: a client whose node begins to deliver while it is still sent a forwarded
// event gets the next one afterwards, and what it confirms is not taken for another event.
func TestForwardWhileSending(t *testing.T) {
	s := waiting("one")
	runNodesTest(t, func(n *nodes) {
		l, gate := new(listener), make(chan struct{})
		var running, most atomic.Int32
		send := func(ctx context.Context, r *webhook.Request) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			if r.Event.User == "ann" {
				<-gate
			}
			return l.take(ctx, r)
		}
		var err error
		if l.Attachment, err = n.there.d.Attach(context.Background(), s, send); err != nil {
			t.Fatal(err)
		}
		n.here.note("ann", "a")
		advance(time.Second)
		n.delivers.Silence() // until the other node delivers
		advance(tailtest.DeadAfter + 5*time.Second)
		n.there.note("ben", "b")
		advance(time.Second)
		if st, err := n.there.d.Status(s); err != nil || !st.Attached {
			t.Errorf("INVALID: the client's node does not deliver: %+v, %v", st, err)
		}
		close(gate)
		l.want(t, "changed a", "changed a", "changed b")
		if most.Load() != 1 {
			t.Errorf("%d events were sent at once", most.Load())
		}
		l.Acknowledge(1)
		advance(time.Second)
		l.Close()
		advance(time.Second)
		n.there.listen(s).want(t, "changed a", "changed b")
	}, s)
}

// TestForwardFeeds: two nodes that deliver one after the other, and heard the same reports of a
// client, do not number their feeds alike: what the client has of one would count for the other.
func TestForwardFeeds(t *testing.T) {
	s := waiting("one")
	runNodesTest(t, func(n *nodes) {
		node := n.bus.Node() // of the client, whose answers are lost
		feeds := make(map[int64]bool)
		_, err := node.Subscribe("eventsnode", func(b []byte) {
			var m struct{ Feed int64 }
			if err := json.Unmarshal(b, &m); err != nil {
				t.Error(err)
			}
			feeds[m.Feed] = true
		})
		if err != nil {
			t.Fatal(err)
		}
		report := fmt.Appendf(nil, `{"clients":[{"subscription":"a/one","client":"x","inbox":"eventsnode","order":1,"feed":%d}]}`,
			time.Now().Add(time.Hour).UnixMicro()) // of a node whose clock is ahead
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go func() {
			for ctx.Err() == nil {
				_ = node.Broadcast("eventclients", report)
				time.Sleep(time.Second)
			}
		}()
		n.here.note("ann", "a")
		advance(3 * time.Second)
		n.move()
		advance(3 * time.Second)
		if len(feeds) < 2 {
			t.Errorf("the feeds are %v, want one of each node", feeds)
		}
	}, s)
}

// TestForwardStaleSnapshot: a client may connect to a node that has yet to learn that the
// subscription has no URL any more.
func TestForwardStaleSnapshot(t *testing.T) {
	s, before := waiting("one"), subscription("one")
	runNodesTest(t, func(n *nodes) {
		n.there.subs.set(before)
		advance(time.Second)
		l := n.there.listen(s)
		advance(2 * time.Second)
		if err := l.Err(); err != nil {
			t.Errorf("the client ended with %v", err)
		}
		n.there.subs.set(s)
		n.here.note("ann", "a")
		advance(time.Second)
		l.want(t, "changed a")
	}, s)
}

// TestReplayAfterDowngrade: a replay is carried out although an older version has dropped the
// number of the one before from the subscription.
func TestReplayAfterDowngrade(t *testing.T) {
	s := subscription("one")
	runNodesTest(t, func(n *nodes) {
		n.here.change("ann")
		for i := range 2 {
			advance(3 * time.Second)
			if _, err := n.there.d.Replay(context.Background(), n.here.subs.current("one"), 0); err != nil {
				t.Fatal(err)
			}
			advance(3 * time.Second)
			if got := replayed(n.here.network.endpoint(s.URL)); got != i+1 {
				t.Errorf("after replay %d, %d events were replayed", i+1, got)
			}
			n.here.subs.update("one", func(s *webhook.Subscription) { s.Replay = webhook.ReplayRequest{} })
		}
	}, s)
}

// position is that of a subscription, on the node that delivers.
func (n *nodes) position(s *webhook.Subscription) (at store.Position) {
	for _, f := range []*fixture{n.here, n.there} {
		if st, err := f.d.Status(s); err == nil {
			at = max(at, st.Position)
		}
	}
	return at
}

func (l *listener) acknowledgeAll() {
	l.mu.Lock()
	n := len(l.got)
	l.mu.Unlock()
	l.Acknowledge(uint64(n))
}

// wantAll fails the test unless events came in order, those that came again aside: whenever
// one does, all that follow it come again too.
func (l *listener) wantAll(t *testing.T, want []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	next := 0
	for i, got := range l.got {
		at := slices.Index(want, got)
		if at < 0 || at > next {
			t.Fatalf("event %d is %q, want %q or an earlier one", i, got, want[next])
		}
		next = at + 1
	}
	if next < len(want) {
		t.Errorf("the last event is %q, want %q", want[max(next, 1)-1], want[len(want)-1])
	}
	t.Logf("%d events, %d of them again", len(l.got), len(l.got)-len(want))
}

// TestReplayElsewhere: a replay that was asked for on a node that does not deliver is carried
// out, also if no node delivers at that time; another one is refused until it has ended.
func TestReplayElsewhere(t *testing.T) {
	s := subscription("one")
	runNodesTest(t, func(n *nodes) {
		for range 10 {
			n.here.change("ann")
		}
		advance(time.Second)
		e := n.here.network.endpoint(s.URL)
		e.set(func(int, *webhook.Request) reply { return reply{status: 200, after: time.Second} })
		ask := func(f *fixture) error {
			_, err := f.d.Replay(context.Background(), f.subs.current("one"), 0)
			return err
		}
		n.here.stop() // nobody delivers
		if err := ask(n.there); err != nil {
			t.Fatal(err)
		}
		if err := ask(n.there); !errors.Is(err, webhook.ErrReplaying) {
			t.Errorf("a second replay before the first one began: %v", err)
		}
		n.here.start()
		advance(3 * time.Second)
		if err := ask(n.there); !errors.Is(err, webhook.ErrReplaying) {
			t.Errorf("a second replay during the first one: %v", err)
		}
		advance(time.Minute)
		if n := replayed(e); n != 10 {
			t.Errorf("%d of 10 events were replayed", n)
		}
		if err := ask(n.there); err != nil {
			t.Errorf("a replay after the first one: %v", err)
		}
		advance(time.Minute)
		if n := replayed(e); n != 20 {
			t.Errorf("%d of 20 events were replayed", n)
		}
	}, s)
}

func replayed(e *endpoint) (n int) {
	for _, a := range e.all() {
		if a.Replayed {
			n++
		}
	}
	return n
}
