package overload_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/overload"
	"porchlight.dev/porchlight/internal/quota"
)

const (
	target = 50 * time.Millisecond
	second = time.Second
)

func newGate() *overload.Gate {
	return overload.New(&quota.Limit{Name: "queue-delay", Most: int(target / time.Millisecond)}, time.Now)
}

// A processor runs one request at a time, in the order in which they come.
type processor struct {
	serve time.Duration // for each request

	mu   sync.Mutex // guards free
	free time.Time  // when it has run all that came
}

// run returns when a request that comes now has run.
func (p *processor) run(serve time.Duration) {
	p.mu.Lock()
	p.free = time.Now().Add(max(0, time.Until(p.free)) + serve)
	wait := time.Until(p.free)
	p.mu.Unlock()
	time.Sleep(wait)
}

// A server is one whose requests need a processor, and wait for it again when they yield.
type server struct {
	*processor

	gate *overload.Gate
}

func newServer(t *testing.T, serve time.Duration) *server {
	s := &server{&processor{serve: serve}, newGate()}
	s.gate.Yield = func() { s.run(0) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.gate.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

// request is what a client sees of a request.
func (s *server) request(kind overload.Kind) (took time.Duration, refused bool) {
	begun := time.Now()
	s.run(0) // it is read
	r, err := s.gate.Admit(kind)
	if err == nil {
		s.run(s.serve)
		s.gate.End(r, time.Since(begun), true)
	}
	return time.Since(begun), err != nil
}

// A tally counts requests.
type tally struct {
	answered, refused atomic.Int64
	longest           atomic.Int64 // nanoseconds that a request took in the last half
}

// offer sends requests for a while, rate of them a second.
func (s *server) offer(rate int, duration time.Duration, kind overload.Kind) *tally {
	var sum tally
	var all sync.WaitGroup
	for begun := time.Now(); time.Since(begun) < duration; time.Sleep(second / time.Duration(rate)) {
		all.Go(func() {
			took, refused := s.request(kind)
			if refused {
				sum.refused.Add(1)
				return
			}
			sum.answered.Add(1)
			for longest := sum.longest.Load(); time.Since(begun) > duration/2 && int64(took) > longest; longest = sum.longest.Load() {
				sum.longest.CompareAndSwap(longest, int64(took))
			}
		})
	}
	all.Wait()
	return &sum
}

func TestGoodput(t *testing.T) {
	const (
		slow = 1000 // requests a second; the fewest that may wait count here
		fast = 5000
	)
	reads, updates := overload.Kind{}, overload.Kind{Update: true, Commits: true}
	for _, c := range []struct {
		name     string
		capacity int
		kind     overload.Kind
		rate     int
		most     time.Duration // that a request may take
		refusing bool
	}{
		{"reads below the capacity", slow, reads, slow / 2, target, false},
		{"reads at five times the capacity", slow, reads, 5 * slow, 2 * target, true},
		{"updates below the capacity", slow, updates, slow / 2, target, false},
		{"updates at five times the capacity", slow, updates, 5 * slow, 3 * target, true},
		{"reads at five times the capacity of a fast server", fast, reads, 5 * fast, target / 2, true},
		{"updates at five times the capacity of a fast server", fast, updates, 5 * fast, target, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, second/time.Duration(c.capacity))
				const duration = 20 * second
				got := s.offer(c.rate, duration, c.kind)
				rate := float64(got.answered.Load()) / duration.Seconds()
				if want := 0.95 * float64(min(c.rate, c.capacity)); rate < want || got.longest.Load() > int64(c.most) {
					t.Errorf("%.0f requests a second were answered, the last within %v, want %.0f within %v", rate, time.Duration(got.longest.Load()), want, c.most)
				}
				if (got.refused.Load() > 0) != c.refusing {
					t.Errorf("%d requests were refused", got.refused.Load())
				}
				time.Sleep(2 * time.Minute) // nobody asks
				if got := s.gate.Refusing(); got > 0 {
					t.Errorf("without requests, the gate refuses for %v", got)
				}
			})
		})
	}
}

// TestReturning: clients that were refused come again when they were told to. So many keep
// away that refusing them costs little, and so few that the server always has something to do.
func TestReturning(t *testing.T) {
	const (
		clients  = 4000
		serve    = 300 * time.Microsecond
		refuse   = 100 * time.Microsecond
		peak     = int(second / serve)
		duration = 60 * second
		pause    = 300 * time.Millisecond // each 1.8 s; 63 % of the peak are usual, and 0 without limits
	)
	for _, c := range []struct {
		name  string
		times float64 // the peak, which clients ask for
		pause time.Duration
		want  int // percent of the peak
	}{
		{"at the peak", 1, 0, 80},
		{"at twice the peak", 2, 0, 80},
		{"at five times the peak", 5, 0, 80},
		{"at twice the peak, with pauses", 2, pause, 35},
		{"at five times the peak, with pauses", 5, pause, 35},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, serve)
				var good, refused atomic.Int64
				var all sync.WaitGroup
				begun := time.Now()
				for range clients {
					all.Go(func() {
						for time.Since(begun) < duration {
							time.Sleep(time.Duration(rand.ExpFloat64() * clients / (c.times * float64(peak)) * float64(second)))
							sent := time.Now()
							s.run(0)
							_, err := s.gate.Admit(overload.Kind{})
							if err != nil {
								s.run(refuse)
								refused.Add(1)
								time.Sleep((err.RetryAfter + second - 1).Truncate(second))
								continue
							}
							if s.run(serve); time.Since(sent) <= 5*target {
								good.Add(1)
							}
						}
					})
				}
				for c.pause > 0 && time.Since(begun) < duration {
					time.Sleep(1500 * time.Millisecond)
					s.run(c.pause)
				}
				all.Wait()
				share := int(good.Load()) * 100 / (peak * int(duration/second))
				if share < c.want {
					t.Errorf("%d %% of the peak were answered in time, and %d refusals a second", share, refused.Load()/int64(duration/second))
				}
			})
		})
	}
}

// Updates share a write to the disk: the fewer are under way, the fewer are committed.
func TestGroups(t *testing.T) {
	const (
		write, each = 10 * time.Millisecond, 300 * time.Microsecond      // of a group, and of each update in it
		atOnce      = 256                                                // at the peak: half of them in each group
		peak        = int(atOnce / 2 * second / (write + atOnce/2*each)) // a second
		duration    = 20 * second
	)
	synctest.Test(t, func(t *testing.T) {
		gate := newGate()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go gate.Run(ctx)
		queue := make(chan func(), 100_000)
		go func() {
			for first := range queue {
				group := []func(){first}
				for range len(queue) {
					group = append(group, <-queue)
				}
				time.Sleep(write + time.Duration(len(group))*each)
				for _, reply := range group {
					reply()
				}
			}
		}()
		good := 0
		for begun := time.Now(); time.Since(begun) < duration; time.Sleep(second / time.Duration(5*peak)) {
			request, err := gate.Admit(overload.Kind{Update: true, Commits: true})
			if err != nil {
				continue
			}
			sent := time.Now()
			queue <- func() {
				took := time.Since(sent)
				gate.End(request, took, true)
				if took <= 5*target {
					good++
				}
			}
		}
		close(queue)
		time.Sleep(second) // the last group
		synctest.Wait()
		if got := good / int(duration/second); got < peak*8/10 {
			t.Errorf("%d updates a second were committed in time, want 80 %% of %d", got, peak)
		}
	})
}

// A slow disk or network is no queue: refusing requests would make nothing faster.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := newGate()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go gate.Run(ctx)
		const commit = 300 * time.Millisecond
		refused := 0
		send := func(atOnce int) {
			for i := range atOnce {
				request, err := gate.Admit(overload.Kind{Update: true, Commits: true})
				if err != nil {
					refused++
					continue
				}
				took := commit + time.Duration(i)*commit/time.Duration(atOnce) // the rest of the group on its way, and its own
				time.AfterFunc(took, func() { gate.End(request, took, true) })
			}
			time.Sleep(commit)
		}
		for range 10 {
			send(4)
		}
		for range 100 {
			send(200)
		}
		if refused > 0 {
			t.Errorf("%d updates were refused", refused)
		}
		time.Sleep(second)
		cancel()
		synctest.Wait()
	})
}

// A disk commits all updates that have come while it committed the ones before them.
type disk struct {
	mu     sync.Mutex
	commit time.Duration
	group  chan struct{} // closed when the updates that come now are committed
}

func (d *disk) run(done <-chan struct{}) {
	for {
		d.mu.Lock()
		group, commit := d.group, d.commit
		d.group = make(chan struct{})
		d.mu.Unlock()
		time.Sleep(commit)
		close(group)
		select {
		case <-done:
			return
		default:
		}
	}
}

func (d *disk) update() {
	d.mu.Lock()
	group := d.group
	d.mu.Unlock()
	<-group
}

// A disk that becomes slow while many clients wait for it is no queue for long: the gate
// learns how long an update takes now.
func TestDiskBecomesSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := newGate()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go gate.Run(ctx)
		d, done := &disk{commit: 2 * time.Millisecond, group: make(chan struct{})}, make(chan struct{})
		go d.run(done)
		var clients sync.WaitGroup
		var committed atomic.Int64
		const many = 200
		for range many {
			clients.Go(func() {
				for ctx.Err() == nil {
					request, err := gate.Admit(overload.Kind{Update: true, Commits: true})
					if err != nil {
						time.Sleep(err.RetryAfter)
						continue
					}
					begun := time.Now()
					d.update()
					committed.Add(1)
					gate.End(request, time.Since(begun), true)
				}
			})
		}
		time.Sleep(5 * second)
		d.mu.Lock()
		d.commit = 300 * time.Millisecond
		d.mu.Unlock()
		time.Sleep(60 * second)
		before := committed.Load()
		time.Sleep(60 * second)
		const each = 600 * time.Millisecond // at most: the rest of the group on its way, and its own
		if got, want := committed.Load()-before, int64(many*60*second/each); got < want/2 {
			t.Errorf("%d updates were committed in a minute, want half of %d", got, want)
		}
		cancel()
		clients.Wait()
		close(done)
		time.Sleep(second)
		synctest.Wait()
	})
}

// A process that gets no processor for a while has no queue either.
func TestBusyMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, 0)
		s.gate.Yield = func() { time.Sleep(second) }
		if got := s.offer(10, 20*second, overload.Kind{}); got.refused.Load() > 0 {
			t.Errorf("%d requests were refused", got.refused.Load())
		}
	})
}

// Reads are refused before updates.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, second/1000)
		var reads, updates *tally
		var both sync.WaitGroup // half of what comes is updates: those alone can be answered
		both.Go(func() { reads = s.offer(900, 20*second, overload.Kind{}) })
		both.Go(func() { updates = s.offer(900, 20*second, overload.Kind{Update: true}) })
		both.Wait()
		if reads, updates := reads.refused.Load(), updates.refused.Load(); reads < 5000 || updates > reads/10 {
			t.Errorf("%d reads and %d updates were refused", reads, updates)
		}
	})
}

func TestOff(t *testing.T) {
	gate := overload.New(new(quota.Limit), time.Now)
	if _, err := gate.Admit(overload.Kind{}); err != nil || gate.Refusing() != 0 {
		t.Error("a gate without a limit refuses requests")
	}
	gate.Run(t.Context()) // returns
}

// BenchmarkAdmit is what the gate costs a request while nothing is refused.
func BenchmarkAdmit(b *testing.B) {
	gate := newGate()
	for b.Loop() {
		request, _ := gate.Admit(overload.Kind{Update: true, Commits: true})
		gate.End(request, time.Microsecond, true)
	}
}
