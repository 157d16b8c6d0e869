package membership_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// TestDeath: a node that is killed is declared dead after 30 s, once on every node, and the
// others live on.
func TestDeath(t *testing.T) {
	simulate(t, func(w *world) {
		a, b, c := w.start("a"), w.start("b"), w.start("c")
		time.Sleep(10*time.Second + 300*time.Millisecond)
		id := c.Self()
		c.kill()
		<-c.done
		killed := w.elapsed()
		time.Sleep(20 * time.Second)
		if a.Dead(id) || !slices.Contains(a.Live(), id) {
			t.Error("dead after 20 s")
		}
		for _, n := range a.Nodes() {
			if n.ID == id && (n.State != membership.Suspected || n.Beat < 19*time.Second || n.Host != "c") {
				t.Errorf("%+v", n)
			}
		}
		time.Sleep(time.Minute)
		for _, n := range []*node{a, b} {
			w.within(n.name, n.when("dead", id), killed+membership.DeadAfter, killed+membership.DeadAfter+3*membership.Interval)
			if !n.Dead(id) || slices.Contains(n.Live(), id) || len(n.Live()) != 2 {
				t.Errorf("%s: %v", n.name, n.Live())
			}
		}
		w.never("isolated")
	})
}

// TestNotDeadTooEarly: a node that is killed just before it would have beaten again is declared
// dead 30 to 33 s later, and what three calls take, whenever and however often the others look.
func TestNotDeadTooEarly(t *testing.T) {
	for seed := range uint64(200) {
		simulate(t, func(w *world) {
			upTo, jitter := upToRandom(seed, 1), upToRandom(seed, 2) // the nodes call jitter
			w.jitter = func() time.Duration { return jitter(100 * time.Millisecond) }
			a := w.start("a")
			time.Sleep(upTo(membership.Interval))
			b := w.start("b")
			time.Sleep(10 * time.Second)
			last := lastBeat(b)
			for lastBeat(b) == last || w.elapsed()-lastBeat(b) < membership.Interval*9/10 {
				time.Sleep(time.Millisecond)
			}
			b.kill()
			killed := w.elapsed()
			for w.elapsed() < killed+time.Minute {
				time.Sleep(upTo(2 * time.Second))
				if seed%2 == 0 {
					a.Leave(w.Context()) // it looks at once
				}
			}
			w.within("dead", a.when("dead", b.Self()), killed+membership.DeadAfter, killed+membership.DeadAfter+3*membership.Interval+300*time.Millisecond)
		})
	}
}

// upToRandom returns a function for random durations.
func upToRandom(seed, stream uint64) func(time.Duration) time.Duration {
	random := rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // no secret
	return func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
}

// lastBeat is when the newest beat of n was stored.
func lastBeat(n *node) time.Duration {
	beats := n.w.writes(n.Self(), false)
	return beats[len(beats)-1]
}

// TestBeatBeforeTombstone: a beat that arrives while the verdict is on its way wins.
func TestBeatBeforeTombstone(t *testing.T) {
	simulate(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		time.Sleep(5 * time.Second)
		id := b.Self()
		arrive, decide := b.hold(false), a.hold(true)
		time.Sleep(40 * time.Second)
		arrive()
		time.Sleep(10 * latency)
		beat := w.writes(id, false)
		decide()
		time.Sleep(25 * time.Second)
		if at := beat[len(beat)-1]; at < 45*time.Second {
			t.Fatalf("the last beat arrived at %v", at)
		}
		w.never("dead")
		time.Sleep(15 * time.Second) // b had given up the incarnation
		w.within("dead", a.when("dead", id), 73*time.Second, 80*time.Second)
	})
}

// TestTombstoneBeforeBeat: a beat that arrives after the verdict fails. The node becomes a
// new incarnation, and the old one is dead for everybody, itself included.
func TestTombstoneBeforeBeat(t *testing.T) {
	simulate(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		time.Sleep(5 * time.Second)
		old := b.Self()
		b.pause()
		time.Sleep(40 * time.Second)
		if !a.Dead(old) {
			t.Fatal("not dead after 40 s")
		}
		if b.Isolated() == 0 {
			t.Error("not isolated")
		}
		b.resume()
		time.Sleep(5 * time.Second)
		if b.Self() == old || b.Isolated() != 0 {
			t.Errorf("incarnation %s, isolated for %v", b.Self(), b.Isolated())
		}
		w.within("isolated", b.when("isolated", ""), 19*time.Second, 50*time.Second)
		w.within("rejoined", b.when("rejoined", b.Self()), 45*time.Second, 48*time.Second)
		w.within("dead on itself", b.when("dead", old), 45*time.Second, 50*time.Second)
		if live := a.Live(); len(live) != 2 || !slices.Contains(live, b.Self()) {
			t.Error(live)
		}
	})
}

// TestIsolation: a node that is cut off gives its incarnation up after 15 s, and comes back
// as another one as soon as its beats are acknowledged. The one before ends like any other.
func TestIsolation(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			simulate(t, func(w *world) {
				a, b := w.start("a"), w.start("b")
				time.Sleep(5 * time.Second)
				old := b.Self()
				b.setCut(!deaf, deaf)
				before := len(w.writes(old, false))
				time.Sleep(25 * time.Second)
				if landed := len(w.writes(old, false)) - before; landed > 1 {
					t.Errorf("%d beats landed that were not acknowledged", landed)
				}
				if got := b.Isolated(); got < 24*time.Second || got > 27*time.Second {
					t.Errorf("isolated for %v", got)
				}
				b.setCut(false, false)
				time.Sleep(5 * time.Second)
				if b.Isolated() != 0 || b.Self() == old {
					t.Errorf("isolated for %v as %s", b.Isolated(), b.Self())
				}
				time.Sleep(time.Minute)
				w.within("isolated", b.when("isolated", ""), 19*time.Second, 22*time.Second)
				w.within("rejoined", b.when("rejoined", ""), 30*time.Second, 36*time.Second)
				w.within("dead", a.when("dead", old), 34*time.Second, 40*time.Second)
			})
		})
	}
}

// TestOutage: while the store has no quorum, the silence of the others counts for nothing,
// whether replicas answer reads or not.
func TestOutage(t *testing.T) {
	for _, reads := range []bool{false, true} {
		for _, lasts := range []time.Duration{20 * time.Second, 5 * time.Minute} {
			t.Run(fmt.Sprintf("%v, reads=%v", lasts, reads), func(t *testing.T) {
				simulate(t, func(w *world) { testOutage(w, lasts, reads) })
			})
		}
	}
}

func testOutage(w *world, lasts time.Duration, reads bool) {
	for i := range 3 {
		w.start(fmt.Sprint(i))
		time.Sleep(300 * time.Millisecond)
	}
	time.Sleep(10 * time.Second)
	w.setDown(true, reads)
	time.Sleep(lasts)
	w.setDown(false, false)
	time.Sleep(20 * time.Second)
	w.never("dead") // in particular none of those that were given up
	for _, n := range w.nodes {
		if n.Isolated() != 0 {
			w.Errorf("%s is isolated", n.name)
		}
	}
	if n := len(w.nodes[0].Live()); n != 6 {
		w.Errorf("%d incarnations, want the three and those that were given up", n)
	}
}

// TestElection: nobody is isolated while a leader is elected.
func TestElection(t *testing.T) {
	simulate(t, func(w *world) {
		w.start("a")
		w.start("b")
		for range 20 {
			time.Sleep(5 * time.Second)
			w.setDown(true, false)
			time.Sleep(10 * time.Second)
			w.setDown(false, false)
		}
		w.never("dead", "isolated")
	})
}

// TestObserverPaused: the pauses of an observer are not the silence of a node that was
// paused with it.
func TestObserverPaused(t *testing.T) {
	simulate(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		time.Sleep(5 * time.Second)
		release := b.hold(false)
		for range 5 {
			a.pause()
			time.Sleep(13 * time.Second)
			a.resume()
			time.Sleep(2 * membership.Interval)
		}
		release()
		time.Sleep(2 * time.Second)
		w.never("dead")
		if at := a.when("isolated", ""); len(at) > 0 {
			t.Errorf("the observer was isolated at %v", at)
		}
	})
}

// TestIsolatedObserver: a node that was isolated while the store answered its reads declares
// nobody dead before it beats again.
func TestIsolatedObserver(t *testing.T) {
	simulate(t, func(w *world) {
		a := w.start("a")
		w.start("b")
		time.Sleep(5*time.Second + membership.Interval/2)
		a.pause() // its last beat was acknowledged
		time.Sleep(16 * time.Second)
		w.setDown(true, true)
		a.resume()
		time.Sleep(2 * time.Minute)
		w.setDown(false, false)
		time.Sleep(10 * time.Second) // b had counted the silence of a before
		w.never("dead")
	})
}

// TestRestart: the successor at the same address is another incarnation, and that of the run
// before ends in its time.
func TestRestart(t *testing.T) {
	simulate(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		time.Sleep(5 * time.Second)
		old := b.Self()
		b.kill()
		again := w.start("b")
		restarted := w.elapsed()
		time.Sleep(time.Minute)
		if again.Self() == old || !slices.Contains(a.Live(), again.Self()) {
			t.Errorf("%s after %s; live: %v", again.Self(), old, a.Live())
		}
		for _, n := range []*node{a, again} {
			w.within(n.name, n.when("dead", old), restarted+28*time.Second, restarted+34*time.Second)
		}
	})
}

// TestRestartAll: nodes that all start anew end what the earlier runs held, each once.
func TestRestartAll(t *testing.T) {
	simulate(t, func(w *world) {
		var old []string
		for i := range 5 {
			old = append(old, w.start(fmt.Sprint(i)).Self())
		}
		time.Sleep(5 * time.Second)
		for _, n := range w.nodes {
			n.kill()
		}
		time.Sleep(time.Hour)
		started := make(chan *node, 5)
		for i := range 5 {
			n := w.add(fmt.Sprint(i))
			go func() {
				if err := n.join(); err != nil {
					t.Error(err)
				}
				started <- n
			}()
		}
		at := w.elapsed()
		time.Sleep(time.Minute)
		for range 5 {
			n := <-started
			for _, id := range old {
				w.within(n.name, n.when("dead", id), at+29*time.Second, at+34*time.Second)
			}
			if len(n.Live()) != 5 {
				t.Errorf("%s: %v", n.name, n.Live())
			}
		}
	})
}

// TestFiftyNodes: that many join at once, and ten die at once.
func TestFiftyNodes(t *testing.T) {
	simulate(t, func(w *world) {
		for i := range 50 {
			n := w.add(fmt.Sprint(i))
			go func() {
				if err := n.join(); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(15 * time.Second)
		var dead []string
		for _, n := range w.nodes[:10] {
			dead = append(dead, n.Self())
			n.kill()
		}
		time.Sleep(40 * time.Second)
		for _, n := range w.nodes[10:] {
			if got := len(n.when("dead", "")); got != 10 || len(n.Live()) != 40 {
				t.Fatalf("%s: %d dead, %d live", n.name, got, len(n.Live()))
			}
		}
		for _, id := range dead {
			w.within(id, w.writes(id, true), 40*time.Second, 50*time.Second)
		}
		w.never("isolated")
	})
}

// TestLeave: a node that drains says so, and what it held ends 30 s after its last beat.
func TestLeave(t *testing.T) {
	simulate(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		time.Sleep(5 * time.Second)
		id := b.Self()
		b.Leave(w.Context())
		time.Sleep(2 * membership.Interval)
		for _, n := range a.Nodes() {
			if n.ID == id && n.State != membership.Leaving {
				t.Errorf("%+v", n)
			}
		}
		time.Sleep(time.Minute) // drains may take long
		b.kill()
		at := w.elapsed()
		time.Sleep(time.Minute)
		w.within("dead", a.when("dead", id), at+28*time.Second, at+33*time.Second)
	})
}

// TestLeaveWithoutStore: a drain does not wait for a store that does not answer.
func TestLeaveWithoutStore(t *testing.T) {
	simulate(t, func(w *world) {
		a := w.start("a")
		time.Sleep(2 * time.Second)
		w.setDown(true, false)
		ctx, cancel := context.WithTimeout(w.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		a.Leave(ctx)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestJoinDuringElection: a start waits while the store has no leader, but not forever.
func TestJoinDuringElection(t *testing.T) {
	for _, c := range []struct {
		down time.Duration
		ok   bool
	}{{9 * time.Second, true}, {40 * time.Second, false}} {
		simulate(t, func(w *world) {
			w.setDown(true, true)
			time.AfterFunc(c.down, func() { w.setDown(false, false) })
			began := time.Now()
			if _, err := w.tryStart("a"); (err == nil) != c.ok || !c.ok && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("down for %v: Join returned %v", c.down, err)
			}
			if took := time.Since(began); took < min(c.down, 28*time.Second) || took > 31*time.Second {
				t.Errorf("down for %v: Join took %v", c.down, took)
			}
			time.Sleep(c.down) // until the timer has fired
		})
	}
}

// TestJoinUnanswered: a start that does not learn that it has registered does so as the same
// incarnation, so that nobody takes it for a node that died.
func TestJoinUnanswered(t *testing.T) {
	simulate(t, func(w *world) {
		a, b := w.start("a"), w.add("b")
		time.AfterFunc(5*latency/2, func() { b.setCut(false, true) }) // during the write that follows the reading
		time.AfterFunc(7*time.Second, func() { b.setCut(false, false) })
		if err := b.join(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, n := range []*node{a, b} {
			if all := n.Nodes(); len(all) != 2 || len(n.Live()) != 2 || len(n.when("dead", "")) > 0 {
				t.Errorf("%s knows the nodes %+v, and of them live %q", n.name, all, n.Live())
			}
		}
	})
}

// TestUnknown: an incarnation without a document had a tombstone, which has expired.
func TestUnknown(t *testing.T) {
	simulate(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		id := b.Self()
		b.kill()
		time.Sleep(35 * time.Second)
		a.kill() // before it ended what b held
		time.Sleep(membership.TombstoneFor + time.Hour)
		c := w.start("c")
		time.Sleep(2 * time.Second)
		if c.Dead(id) {
			t.Error("dead before the documents were read again")
		}
		time.Sleep(2 * time.Second)
		if !c.Dead(id) || len(c.when("dead", id)) != 1 {
			t.Error("not dead")
		}
		if c.Dead("") {
			t.Error("a session without a holder")
		}
	})
}

// TestTombstonesAfterRestart: a node learns of every tombstone of the last day.
func TestTombstonesAfterRestart(t *testing.T) {
	simulate(t, func(w *world) {
		a, b := w.start("a"), w.start("b")
		id := b.Self()
		b.kill()
		time.Sleep(35 * time.Second)
		a.kill()
		time.Sleep(20 * time.Hour)
		c := w.start("c")
		time.Sleep(time.Millisecond)
		if !c.Dead(id) || len(c.when("dead", id)) != 1 {
			t.Error("not dead")
		}
	})
}

// TestSleepOfTheMachine: time during which the machine was suspended isolates a node, which
// others have declared dead by then.
func TestSleepOfTheMachine(t *testing.T) {
	simulate(t, func(w *world) {
		n := w.add("a")
		var asleep time.Duration
		n.Members = membership.New(membership.Options{
			Store: n, Clock: time.Now, Facts: membership.Facts{Reads: membership.ThisVersion()},
			Asleep: func() time.Duration { return asleep },
		})
		if err := n.Join(w.Context()); err != nil {
			t.Fatal(err)
		}
		if n.Isolated() != 0 {
			t.Error("isolated at the start")
		}
		asleep = time.Hour
		if got := n.Isolated().Round(time.Second); got != time.Hour {
			t.Errorf("isolated for %v", got)
		}
	})
}

// TestExclusive: without other nodes nothing is written but the incarnation, and what
// earlier runs held ends after 30 s.
func TestExclusive(t *testing.T) {
	simulate(t, func(w *world) {
		start := func() *node {
			n := w.add("a")
			n.alone = true
			n.Members = membership.New(membership.Options{
				Store: n, Clock: time.Now, Exclusive: true, Facts: membership.Facts{Host: "a", Reads: membership.ThisVersion()},
			})
			n.OnDead = func(id string) { n.note("dead", id) }
			n.OnIsolated = func() { n.note("isolated", "") }
			if err := n.join(); err != nil {
				t.Fatal(err)
			}
			return n
		}
		first := start()
		time.Sleep(time.Hour)
		id := first.Self()
		first.kill()
		second := start()
		at := w.elapsed()
		time.Sleep(time.Hour)
		w.within("dead", second.when("dead", id), at+30*time.Second, at+50*time.Second)
		w.never("isolated")
		if got := len(w.written()); got != 5 { // two documents at each start, and a tombstone
			t.Errorf("%d documents were written in two hours", got)
		}
		nodes := second.Nodes()
		if len(nodes) != 2 || nodes[0].State != membership.Dead || nodes[1].State != membership.Live || !nodes[1].Self || nodes[1].Beat != 0 {
			t.Errorf("%+v", nodes)
		}
	})
}

// A fullDisk refuses writes while it is full.
type fullDisk struct {
	*node

	full atomic.Bool
}

func (d *fullDisk) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if d.full.Load() {
		return store.ErrFull
	}
	return d.node.Write(ctx, account, docs...)
}

// TestFullDisk: a server starts on a full disk, since reads work, and registers when there
// is space. On a store that others share it does not: they would not know of it.
func TestFullDisk(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		t.Run(fmt.Sprintf("exclusive: %t", exclusive), func(t *testing.T) {
			simulate(t, func(w *world) {
				n := w.add("a")
				n.alone = true
				disk := &fullDisk{node: n}
				disk.full.Store(true)
				n.Members = membership.New(membership.Options{
					Store: disk, Clock: time.Now, Exclusive: exclusive, Facts: membership.Facts{Host: "a", Reads: membership.ThisVersion()},
				})
				n.OnIsolated = func() { n.note("isolated", "") }
				n.OnRejoined = func(id string) { n.note("rejoined", id) }
				err := n.join()
				if exclusive == errors.Is(err, store.ErrFull) {
					t.Fatalf("Join returned %v", err)
				}
				if err != nil {
					n.done = make(chan struct{}) // it does not run
					close(n.done)
					return
				}
				id := n.Self()
				time.Sleep(time.Hour)
				disk.full.Store(false)
				time.Sleep(time.Minute)
				if got := len(w.written()); got != 2 { // the node, and the level
					t.Errorf("%d documents were written", got)
				}
				w.never("isolated") // its clients stay
				if n.Self() != id {
					t.Error("the node serves under another name")
				}
			})
		})
	}
}

// TestFaults: whatever faults come in whatever order, what world.check demands holds, and
// nodes serve again when the faults are over.
func TestFaults(t *testing.T) {
	for seed := range uint64(leveltest.Count(t, "random sequences of faults", 6, 200, 2000)) { //nolint:gosec // it is positive
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			simulate(t, func(w *world) {
				random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // no secret
				for i := range 4 {
					w.start(fmt.Sprint(i))
				}
				for range 60 {
					w.fault(random)
					time.Sleep(time.Duration(random.Int64N(int64(20 * time.Second))))
				}
				w.setDown(false, false)
				for _, n := range w.nodes {
					n.setCut(false, false)
					n.resume()
				}
				time.Sleep(2 * time.Minute)
				live := w.nodes[len(w.nodes)-4:]
				for _, n := range live {
					if n.Isolated() != 0 || len(n.Live()) != 4 {
						t.Errorf("%s: isolated for %v, live: %v", n.name, n.Isolated(), n.Live())
					}
				}
				if dead := len(w.incarnations()) - 4; dead < 10 {
					t.Errorf("only %d incarnations died", dead)
				}
			})
		})
	}
}

// fault begins or ends a fault of one of the last four nodes, or of the store.
func (w *world) fault(random *rand.Rand) {
	last := len(w.nodes) - 4
	n := w.nodes[last+random.IntN(4)]
	switch random.IntN(10) {
	case 0:
		n.kill()
		w.nodes = slices.DeleteFunc(w.nodes, func(other *node) bool { return other == n })
		w.nodes = slices.Insert(w.nodes, last, n) // it remains to be checked
		w.setDown(false, false)
		w.start(n.name)
	case 1, 2:
		n.resume()
		n.pause()
	case 3:
		n.setCut(true, false)
	case 4:
		n.setCut(false, true)
	case 5:
		w.setDown(true, random.IntN(2) == 0)
	case 6:
		w.setDown(false, false)
	default:
		w.setDown(false, false)
		n.setCut(false, false)
		n.resume()
	}
}

// TestLevels: a level rises when every live node has read it for ten minutes, and never
// while one does not.
func TestLevels(t *testing.T) {
	one, two := membership.Levels{Oldest: 1, Newest: 1}, membership.Levels{Oldest: 1, Newest: 2}
	simulate(t, func(w *world) {
		old := w.start("old", one)
		b := w.start("b", two)
		time.Sleep(time.Hour)
		if b.Level() != 1 {
			t.Fatalf("level %d, which a node cannot read", b.Level())
		}
		if level, err := b.Upgrade(w.Context()); level != 1 || !errors.Is(err, membership.ErrNotUnderstood) {
			t.Errorf("upgraded to %d: %v", level, err)
		}
		old.kill()
		time.Sleep(membership.DeadAfter + membership.RaiseAfter - 5*time.Second)
		if b.Level() != 1 {
			t.Error("the level rose too early")
		}
		time.Sleep(15 * time.Second)
		if b.Level() != 2 {
			t.Error("the level did not rise")
		}
		before := len(w.written())
		n, err := w.tryStart("old again", one)
		if !errors.Is(err, membership.ErrLevel) {
			t.Errorf("a node started that cannot read the level: %v", err)
		}
		for _, s := range w.written()[before:] {
			if s.by == n {
				t.Errorf("it wrote %s", s.key)
			}
		}
		c := w.start("c", membership.Levels{Oldest: 2, Newest: 3})
		if c.Level() != 2 {
			t.Errorf("level %d", c.Level())
		}
	})
}

// TestUpgrade: the command raises the level as far as every node reads it.
func TestUpgrade(t *testing.T) {
	simulate(t, func(w *world) {
		a := w.start("a", membership.Levels{Oldest: 1, Newest: 4})
		b := w.start("b", membership.Levels{Oldest: 1, Newest: 3})
		time.Sleep(2 * time.Second)
		if level, err := a.Upgrade(w.Context()); level != 3 || !errors.Is(err, membership.ErrNotUnderstood) {
			t.Errorf("upgraded to %d: %v", level, err)
		}
		time.Sleep(2 * time.Second)
		if level, err := b.Upgrade(w.Context()); level != 3 || err != nil || b.Level() != 3 {
			t.Errorf("upgraded to %d: %v", level, err)
		}
	})
}

// TestJoinWhileTheLevelRises: a node that joins between the reading and the rise prevents it.
func TestJoinWhileTheLevelRises(t *testing.T) {
	simulate(t, func(w *world) {
		a := w.start("a", membership.Levels{Oldest: 1, Newest: 2})
		time.Sleep(time.Second + 100*time.Millisecond)
		for i := range 40 { // at every point of the upgrade, which takes four latencies
			delay := time.Duration(i) * latency / 5
			done := make(chan int)
			go func() {
				level, _ := a.Upgrade(w.Context()) // if it is refused, the level tells
				done <- level
			}()
			time.Sleep(delay)
			n, err := w.tryStart("old", membership.Levels{Oldest: 1, Newest: 1})
			level := <-done
			if err == nil && level > 1 {
				t.Fatalf("after %v: a node joined that cannot read the level", delay)
			}
			if err != nil {
				return // the level rose before it came
			}
			n.kill()
			time.Sleep(40 * time.Second)
			if a.Level() != 1 {
				t.Fatal("the level rose")
			}
		}
	})
}
