package zoomapi

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// sharedNodes are the limits of nodes that exchange what they count.
type sharedNodes struct {
	t      *testing.T
	bus    *storetest.Bus
	ctx    context.Context
	stop   func()
	group  *sync.WaitGroup
	limits []*Limits
	count  int
	random *rand.Rand // of the requests, and of when nodes start
}

// faultsOf makes the faults of a bus, which draws them from random.
type faultsOf func(random *rand.Rand) storetest.Faults

// inTime delays messages by some milliseconds at most.
func inTime(delay, jitter time.Duration) faultsOf {
	return func(random *rand.Rand) storetest.Faults {
		return storetest.Faults{Delay: delay, Jitter: jitter, Random: random}
	}
}

// unreliable delays messages, repeats some, and loses others with a probability.
func unreliable(lose float64) faultsOf {
	return func(random *rand.Rand) storetest.Faults {
		f := inTime(time.Millisecond, 10*time.Millisecond)(random)
		f.Repeat, f.Lose = storetest.Sometimes(0.3, random), storetest.Sometimes(lose, random)
		return f
	}
}

// runSharedNodes logs the seed of everything random but the order of goroutines: put it here to
// repeat a failure.
func runSharedNodes(t *testing.T, n int, faults faultsOf, test func(s *sharedNodes)) {
	t.Helper()
	seed := rand.Uint64() //nolint:gosec // no secret
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &sharedNodes{t: t, bus: new(storetest.Bus), ctx: ctx, stop: stop, group: new(sync.WaitGroup), count: n, random: seeded(seed, 0)}
		s.bus.SetFaults(faults(seeded(seed, 1)))
		for range n {
			s.start()
		}
		time.Sleep(2 * time.Second)
		test(s)
		stop()
		s.group.Wait()
		time.Sleep(10 * time.Second) // for what is delayed
	})
}

func seeded(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // no secret
}

// upTo is a random time below most.
func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// start starts a node, some time after the one before, so that they broadcast at different times.
func (s *sharedNodes) start() *Limits {
	time.Sleep(upTo(s.random, 100*time.Millisecond))
	l := NewLimits(Business, time.Now)
	x := quota.NewExchange(l, s.bus.Node(), func() int { return s.count })
	s.group.Go(func() {
		if err := x.Run(s.ctx); err != nil {
			s.t.Error(err)
		}
	})
	s.limits = append(s.limits, l)
	synctest.Wait()
	return l
}

// may makes a request of an account at a node.
func (s *sharedNodes) may(node int, plan Plan, kind label) bool {
	p := &auth.Principal{Account: "acme", Plan: plan.String()}
	return s.limits[node].takeRequest(http.Header{}, p, kind) == nil
}

// A meter is a bucket that counts how far below empty it gets.
type meter struct {
	allowed   *allowance
	level     float64 // of what was taken; most is the whole bucket
	at        time.Time
	overshoot float64
	admitted  int
}

func (m *meter) take() {
	now := time.Now()
	gained := now.Sub(m.at).Seconds() * float64(m.allowed.n) / m.allowed.per.Seconds()
	m.level, m.at = max(0, m.level-gained)+1, now
	m.overshoot = max(m.overshoot, m.level-float64(m.allowed.n))
	m.admitted++
}

// patterns say at which node the next request is made, and after which time, at a number of
// requests a second.
var patterns = map[string]func(random *rand.Rand, i, nodes int, rate float64) (node int, after time.Duration){
	"all at once": func(_ *rand.Rand, i, nodes int, _ float64) (int, time.Duration) {
		if i%1000 == 0 {
			return i % nodes, 3 * time.Second
		}
		return i % nodes, 0
	},
	"all at once, often": func(_ *rand.Rand, i, nodes int, _ float64) (int, time.Duration) {
		if i%300 == 0 {
			return i % nodes, 300 * time.Millisecond
		}
		return i % nodes, 0
	},
	"bursts at one after the other": func(random *rand.Rand, i, nodes int, _ float64) (int, time.Duration) {
		if i%200 == 0 {
			return i / 200 % nodes, upTo(random, 400*time.Millisecond)
		}
		return i / 200 % nodes, 0
	},
	"a flood": func(random *rand.Rand, _, nodes int, rate float64) (int, time.Duration) {
		return random.IntN(nodes), time.Duration(random.ExpFloat64() / 5 / rate * float64(time.Second))
	},
	"one node and then another": func(_ *rand.Rand, i, nodes int, rate float64) (int, time.Duration) {
		return i / 37 % nodes, time.Duration(float64(time.Second) / 3 / rate)
	},
}

// TestAccountLimitOverNodes: whatever the pattern of requests, all nodes together admit what
// the account may make, and in addition, for each node but one, at most what it may make in 250 ms,
// or one request; and what it may make in a second more, if messages are lost.
func TestAccountLimitOverNodes(t *testing.T) {
	for name, c := range map[string]struct {
		nodes  int
		faults faultsOf
		within time.Duration
	}{
		"three nodes":                    {3, unreliable(0), quota.ExchangeLag},
		"six nodes":                      {6, unreliable(0), quota.ExchangeLag},
		"three nodes, messages are lost": {3, unreliable(0.4), quota.ExchangeLag + time.Second},
	} {
		for pattern, next := range patterns {
			for plan, kind := range map[Plan]label{Free: heavy, Business: light} {
				allowed := allowances[plan][kind]
				rate := float64(allowed.n) / allowed.per.Seconds()
				t.Run(name+"/"+pattern+"/"+plan.String()+"/"+kind.String(), func(t *testing.T) {
					runSharedNodes(t, c.nodes, c.faults, func(s *sharedNodes) {
						m := meter{allowed: &allowed, at: time.Now()}
						began := time.Now()
						var one quota.Bucket // of a single node
						alone := 0
						for i := 1; time.Since(began) < 20*time.Second; i++ {
							node, after := next(s.random, i, c.nodes, rate)
							time.Sleep(after)
							if _, wait := one.Take(1, allowed.n, allowed.per, time.Now()); wait == 0 {
								alone++
							}
							if s.may(node, plan, kind) {
								m.take()
							}
						}
						most := float64(c.nodes-1) * max(1, rate*c.within.Seconds())
						if m.overshoot > most+1e-6 {
							t.Errorf("%.1f requests too many, want at most %.1f", m.overshoot, most)
						}
						if least := 0.9*float64(alone) - float64(c.nodes); pattern == "a flood" && float64(m.admitted) < least {
							t.Errorf("%d requests, want at least %.0f", m.admitted, least)
						}
						if m.admitted < 10 {
							t.Errorf("INVALID: %d requests", m.admitted)
						}
						t.Logf("%d admitted, at most %.1f too many of %.1f", m.admitted, m.overshoot, most)
					})
				})
			}
		}
	}
}

// TestOneNodeAloneGetsTheWholeRate: a client that uses one node of six is limited to the rate
// of its account, and not to a sixth of it.
func TestOneNodeAloneGetsTheWholeRate(t *testing.T) {
	for _, plan := range []Plan{Free, Pro, Business} {
		runSharedNodes(t, 6, inTime(5*time.Millisecond, 0), func(s *sharedNodes) {
			every := allowances[plan][light].per / time.Duration(allowances[plan][light].n)
			for i := range 1000 {
				if !s.may(0, plan, light) {
					t.Fatalf("plan %v: request %d at the rate is refused", plan, i)
				}
				time.Sleep(every)
			}
		})
	}
}

// TestDailyLimitOverNodes: requests of a day count on all nodes, also on one that starts
// later, and a node that starts again does not begin anew.
func TestDailyLimitOverNodes(t *testing.T) {
	const used = 900
	runSharedNodes(t, 3, inTime(time.Millisecond, 10*time.Millisecond), func(s *sharedNodes) {
		allowed, admitted := allowances[Free][heavy], used
		for _, l := range s.limits {
			l.AddTotals([]quota.Used{{Account: "acme", Kind: uint8(daily + heavy), Amount: used}})
		}
		for range 300 {
			if s.may(s.random.IntN(3), Free, heavy) {
				admitted++
			}
			time.Sleep(500 * time.Millisecond)
		}
		if most := allowed.daily + len(s.limits) - 1; admitted < allowed.daily || admitted > most {
			t.Errorf("%d requests in a day, want %d to %d", admitted, allowed.daily, most)
		}
		s.start()
		time.Sleep(time.Second)
		if s.may(3, Free, heavy) {
			t.Error("a node that has just started does not know what was used today")
		}
		s.stop()
		time.Sleep(24 * time.Hour)
		for node := range s.limits {
			if !s.may(node, Free, heavy) {
				t.Errorf("node %d: on the next day a request is refused", node)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// TestUsageBeyondOneMessage: what many accounts use at once reaches the other nodes a little
// later, and none is left out.
func TestUsageBeyondOneMessage(t *testing.T) {
	const accounts = 1000
	runSharedNodes(t, 2, inTime(time.Millisecond, 0), func(s *sharedNodes) {
		use := func(node int) (admitted int) {
			for i := range accounts {
				p := &auth.Principal{Account: presence.AccountID(strconv.Itoa(i)), Plan: Free.String()}
				if s.limits[node].takeRequest(http.Header{}, p, intensive) == nil {
					admitted++
				}
			}
			return admitted
		}
		for range 5 { // half of the ten that an account may make in a minute
			if n := use(0); n != accounts {
				t.Fatalf("INVALID: %d admitted", n)
			}
			time.Sleep(400 * time.Millisecond)
		}
		second := 0
		for range 10 {
			second += use(1)
			time.Sleep(400 * time.Millisecond)
		}
		if second > 7*accounts {
			t.Errorf("the second node admitted %d requests", second)
		}
	})
}

// A sizer is a messenger that notes the size of the largest message.
type sizer struct {
	quota.Messenger
	largest int
}

func (s *sizer) Broadcast(topic string, payload []byte) error {
	s.largest = max(s.largest, len(payload))
	return s.Messenger.Broadcast(topic, payload)
}

// TestLargestUsageMessage: however many accounts are busy, a message is no larger than the
// smallest limit of NATS servers with which a node starts, 704 KiB.
func TestLargestUsageMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messenger := &sizer{Messenger: new(storetest.Bus).Node()}
		l := NewLimits(Business, time.Now)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- quota.NewExchange(l, messenger, func() int { return 2 }).Run(ctx) }()
		for range 20 {
			for i := range 5000 {
				p := &auth.Principal{Account: presence.AccountID(fmt.Sprintf("KDcuGIm1QgePTO8WbO%04d", i)), Plan: Free.String()}
				for kind := range labelCount {
					_ = l.takeRequest(http.Header{}, p, kind) // some are refused
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if messenger.largest < 100<<10 || messenger.largest > 704<<10 {
			t.Errorf("the largest message has %d bytes", messenger.largest)
		}
	})
}

// TestClocksAtMidnight: two nodes whose clocks differ count the same requests for the same
// day. What the day before had does not count.
func TestClocksAtMidnight(t *testing.T) {
	now := time.Date(2026, 3, 1, 23, 59, 58, 500_000_000, time.UTC)
	slow := NewLimits(Business, func() time.Time { return now })
	fast := NewLimits(Business, func() time.Time { return now.Add(1900 * time.Millisecond) })
	for _, l := range []*Limits{slow, fast} {
		l.SetNodes(2)
	}
	request := func(at *Limits, n int) {
		t.Helper()
		for range n {
			if err := at.takeRequest(http.Header{}, &auth.Principal{Account: "acme"}, heavy); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(when string, here, there int) {
		t.Helper()
		for l, n := range map[*Limits]int{slow: here, fast: there} {
			if got := l.accounts["acme"].spent[heavy]; got != n {
				t.Errorf("%s: %d requests of the day, want %d", when, got, n)
			}
		}
	}
	request(slow, 3) // of the old day, for both
	request(fast, 2) // of the new one
	slow.AddTotals(fast.Totals())
	want("totals", 2, 2)
	yesterday := []quota.Used{{Account: "acme", Kind: uint8(daily + heavy), Amount: 50, Day: dayOf(now)}}
	fast.Add(yesterday)
	fast.AddTotals(yesterday)
	want("of the day before", 2, 2)
	fast.Unsent(100) // which are in the totals
	request(fast, 4)
	slow.Add(fast.Unsent(100))
	want("amounts", 6, 6)
	now = now.Add(time.Minute)
	request(slow, 1)
	fast.Add(slow.Unsent(100))
	want("after midnight", 7, 7)
	now = now.Add(24 * time.Hour)
	request(slow, 1)
	fast.Add(slow.Unsent(100))
	want("the next day", 1, 1)
}

// BenchmarkTakeRequest compares the limits of a single node with those of three.
func BenchmarkTakeRequest(b *testing.B) {
	p := &auth.Principal{Account: "acme", Plan: Business.String()}
	for name, nodes := range map[string]int{"alone": 0, "three nodes": 3} {
		b.Run(name, func(b *testing.B) {
			now := time.Now()
			l := NewLimits(Business, func() time.Time { return now })
			l.SetNodes(nodes)
			h := http.Header{}
			for b.Loop() {
				now = now.Add(time.Second)
				if l.takeRequest(h, p, light) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}
