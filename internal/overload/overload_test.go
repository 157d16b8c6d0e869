package overload_test

import (
	"context"
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

// A server is one that answers requests at a rate, whose queue requests and probes join.
type server struct {
	gate  *overload.Gate
	serve time.Duration // for each request

	mu   sync.Mutex // guards free
	free time.Time  // when it has answered all that were admitted
}

// probe waits behind the requests of the queue.
func (s *server) probe() time.Duration {
	s.mu.Lock()
	wait := max(0, time.Until(s.free))
	s.mu.Unlock()
	time.Sleep(wait)
	return wait
}

// admit adds a request to the queue, and returns how long it will wait.
func (s *server) admit() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = time.Now().Add(max(0, time.Until(s.free)) + s.serve)
	return time.Until(s.free)
}

// offer sends requests for a while, rate of them a second, and returns how many of them were
// admitted, and the longest time that one waited in the last half.
func (s *server) offer(rate int, duration time.Duration, kind overload.Kind) (admitted, refused int, longest time.Duration) {
	end := time.Now().Add(duration)
	for begun := time.Now(); time.Now().Before(end); time.Sleep(second / time.Duration(rate)) {
		request, err := s.gate.Admit(kind)
		if err != nil {
			refused++
			continue
		}
		admitted++
		wait := s.admit()
		if time.Since(begun) > duration/2 {
			longest = max(longest, wait)
		}
		time.AfterFunc(wait, func() { s.gate.End(request, wait, true) })
	}
	return admitted, refused, longest
}

func TestGoodput(t *testing.T) {
	const capacity = 1000
	for _, c := range []struct {
		name     string
		kind     overload.Kind
		rate     int
		most     time.Duration // that a request may wait
		refusing bool
	}{
		{"reads below the capacity", overload.Kind{}, capacity / 2, target, false},
		{"reads at five times the capacity", overload.Kind{}, 5 * capacity, 10 * target, true},
		{"updates below the capacity", overload.Kind{Update: true, Commits: true}, capacity / 2, target, false},
		{"updates at five times the capacity", overload.Kind{Update: true, Commits: true}, 5 * capacity, 4 * target, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{gate: newGate(), serve: second / capacity}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				probe := s.probe
				if c.kind.Commits {
					probe = func() time.Duration { return 0 } // the queue is in the store
				}
				go s.gate.Run(ctx, probe)
				const duration = 20 * second
				admitted, refused, longest := s.offer(c.rate, duration, c.kind)
				rate := float64(admitted) / duration.Seconds()
				if want := 0.8 * float64(min(c.rate, capacity)); rate < want || longest > c.most {
					t.Errorf("%.0f requests a second were answered, the last within %v, want %.0f within %v", rate, longest, want, c.most)
				}
				if (refused > 0) != c.refusing || (s.gate.Refusing() > 0) != c.refusing {
					t.Errorf("%d requests were refused, the gate refuses for %v", refused, s.gate.Refusing())
				}
				time.Sleep(2 * time.Minute) // nobody asks
				if got := s.gate.Refusing(); got > 0 {
					t.Errorf("without requests, the gate refuses for %v", got)
				}
				cancel()
				synctest.Wait()
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
		go gate.Run(ctx, func() time.Duration { return 0 })
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
		go gate.Run(ctx, func() time.Duration { return 0 })
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
		go gate.Run(ctx, func() time.Duration { return 0 })
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
		gate := newGate()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go gate.Run(ctx, func() time.Duration { time.Sleep(second); return second })
		for range 100 {
			if _, err := gate.Admit(overload.Kind{}); err != nil {
				t.Fatal("a request was refused")
			}
			time.Sleep(100 * time.Millisecond)
		}
		cancel()
		time.Sleep(2 * second) // for the probe
		synctest.Wait()
	})
}

// Reads are refused before updates.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{gate: newGate(), serve: second / 1000}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.gate.Run(ctx, s.probe)
		refused := map[overload.Kind]int{}
		kinds := []overload.Kind{{}, {Update: true}}
		for range 20_000 {
			for _, kind := range kinds { // half of what comes is updates: those alone can be answered
				_, err := s.gate.Admit(kind)
				if err != nil {
					refused[kind]++
					continue
				}
				s.admit()
			}
			time.Sleep(second / 900)
		}
		if reads, updates := refused[kinds[0]], refused[kinds[1]]; reads < 5000 || updates > reads/3 {
			t.Errorf("%d reads and %d updates were refused", reads, updates)
		}
		cancel()
		time.Sleep(second)
		synctest.Wait()
	})
}

func TestOff(t *testing.T) {
	gate := overload.New(new(quota.Limit), time.Now)
	if _, err := gate.Admit(overload.Kind{}); err != nil || gate.Refusing() != 0 {
		t.Error("a gate without a limit refuses requests")
	}
	gate.Run(t.Context(), nil) // returns
}

func TestPipe(t *testing.T) {
	p, err := overload.OpenPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 3 {
		if got := p.Probe(); got > time.Minute {
			t.Errorf("the probe took %v", got)
		}
	}
	p.Close()
	if got := p.Probe(); got != 0 {
		t.Errorf("a closed pipe gives %v", got)
	}
}
