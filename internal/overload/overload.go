// Package overload refuses some requests while more arrive than the server can answer, so
// that the queue of the others stays short (load shedding).
//
// It is separate from quota, which limits what one client may use: here the server as a
// whole has too much to do, whoever asks. It measures how long a request waits until it is
// read, and controls the share of requests to refuse by that delay, as RFC 8033 (PIE)
// controls the queue of a router. It guarantees that nothing is refused while the delay is
// short, and that reads are refused before updates are: a read can be repeated, but who
// cannot refresh a session in time is shown as offline. Only updates are refused while they
// wait for each other in the store, where reads do not wait.
//
// It must not know HTTP, a dialect or a connection.
package overload

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/quota"
)

// A Gate decides whether a request is answered or refused. A nil Gate admits every one.
type Gate struct {
	limit     *quota.Limit // of the delay, in milliseconds
	intervals intervals
	clock     func() time.Time

	retries retrySpread
	updates updates

	share atomic.Uint64 // of the requests to refuse, as the bits of a float64
	since atomic.Int64  // when the gate began to refuse, in nanoseconds of clock; 0: it does not
}

// intervals are the times between two measurements.
type intervals struct{ busy, idle time.Duration }

// New returns a gate that lets requests wait for the time that limit has, in milliseconds;
// nil if that is 0.
func New(limit *quota.Limit, clock func() time.Time) *Gate {
	if limit.Most == 0 {
		return nil
	}
	return &Gate{limit: limit, clock: clock, intervals: intervals{20 * time.Millisecond, 200 * time.Millisecond}}
}

// Refusing returns for how long the gate has been refusing requests; 0: it does not.
func (g *Gate) Refusing() time.Duration {
	if g == nil {
		return 0
	}
	since := g.since.Load()
	if since == 0 {
		return 0
	}
	return max(1, time.Duration(g.clock().UnixNano()-since))
}

// A Request was admitted. Call End with it.
type Request struct {
	update bool
	others int // updates, when it began
}

// A Kind is what Admit must know of a request.
type Kind struct {
	Update  bool // it changes something
	Commits bool // it only waits for the store, so that its duration is that of a commit
}

// Admit counts a request, or returns the error with which to refuse it.
func (g *Gate) Admit(k Kind) (Request, *quota.Error) {
	if g == nil {
		return Request{}, nil
	}
	g.retries.asked.Add(1)
	if share := math.Float64frombits(g.share.Load()); share > 0 && rand.Float64() < shareOf(k.Update, share) { //nolint:gosec // nobody gains by guessing
		return Request{}, g.limit.Reached(g.retries.next())
	}
	if !k.Commits {
		return Request{}, nil
	}
	others, ok := g.updates.begin()
	if !ok {
		return Request{}, g.limit.Reached(g.retries.next())
	}
	return Request{update: true, others: others}, nil
}

// End records the end of a request and its duration. committed: it has changed something.
func (g *Gate) End(r Request, took time.Duration, committed bool) {
	if r.update {
		g.updates.end(r.others, took, committed)
	}
}

// shareOf divides the share of refusals among reads and updates: no update is refused until
// all reads are.
func shareOf(update bool, share float64) float64 {
	if update {
		return 2*share - 1
	}
	return 2 * share
}

// A retrySpread is the time over which refused clients retry: long enough that refusing them
// again costs little, and short enough that the server never runs out of requests.
type retrySpread struct {
	refused, asked atomic.Uint64 // since the start
	within         atomic.Int64  // nanoseconds

	lastRefused, lastAsked uint64
}

const (
	shortestSpread = time.Second
	longestSpread  = 8 * time.Second
)

// next counts a refusal and returns when its client may retry, at random.
func (s *retrySpread) next() time.Duration {
	s.refused.Add(1)
	return time.Duration(rand.Float64() * float64(max(shortestSpread, time.Duration(s.within.Load())))) //nolint:gosec // nobody gains by guessing
}

// adapt makes the time longer while many requests are refused, and shorter while few are.
func (s *retrySpread) adapt() {
	refused, asked := s.refused.Load(), s.asked.Load()
	r, admitted := refused-s.lastRefused, asked-s.lastAsked-(refused-s.lastRefused)
	s.lastRefused, s.lastAsked = refused, asked
	within := max(shortestSpread, time.Duration(s.within.Load()))
	switch {
	case 4*r > admitted:
		within += within / 25
	case 16*r < admitted:
		within -= within / 25
	}
	s.within.Store(int64(min(max(within, shortestSpread), longestSpread)))
}

// A Probe waits in the same queue as requests, and returns how long that took.
type Probe func() time.Duration

// Run watches the delay until ctx ends.
func (g *Gate) Run(ctx context.Context, probe Probe) {
	if g == nil {
		return
	}
	var c controller
	target := time.Duration(g.limit.Most) * time.Millisecond
	timer := time.NewTimer(g.intervals.idle)
	defer timer.Stop()
	s := sampler{probe: probe, results: make(chan time.Duration, 1)}
	for last := g.retries.asked.Load(); ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		asked := g.retries.asked.Load()
		busy := asked-last >= fewRequests || c.share > 0 || g.updates.limit.Load() > 0
		last = asked
		sample := s.next(asked, busy)
		g.updates.adapt(target, g.intervals.busy)
		g.retries.adapt()
		g.apply(c.next(target, sample))
		if busy || s.waiting {
			timer.Reset(g.intervals.busy)
		} else {
			timer.Reset(g.intervals.idle)
		}
	}
}

// fewRequests is the number of requests between two measurements below which there is no
// queue.
const fewRequests = 4

// apply publishes the share of requests to refuse.
func (g *Gate) apply(share float64) {
	g.share.Store(math.Float64bits(share))
	switch {
	case share == 0 && g.updates.limit.Load() == 0:
		g.since.Store(0)
	case g.since.Load() == 0:
		g.since.Store(g.clock().UnixNano())
	}
}

// A sampler measures the delay, with at most one probe under way.
type sampler struct {
	probe   Probe
	results chan time.Duration
	waiting bool
	began   time.Time
	asked   uint64 // when it began
}

// A sample is what is known of the delay.
type sample struct {
	delay time.Duration // until requests are read, at least
	ahead uint64        // requests that were read before the probe
	known bool          // a probe has returned or is under way
}

// next returns the delay that the last probe measured, or has measured so far, and starts
// another probe if the server is busy.
func (s *sampler) next(asked uint64, busy bool) (found sample) {
	select {
	case delay := <-s.results:
		found = sample{delay: delay, ahead: asked - s.asked, known: true}
		s.waiting = false
	default:
		found = sample{delay: time.Since(s.began), ahead: asked - s.asked, known: s.waiting}
	}
	if busy && !s.waiting {
		s.waiting, s.began, s.asked = true, time.Now(), asked
		go func() { s.results <- s.probe() }()
	}
	return found
}

// A controller finds the share of requests to refuse.
type controller struct {
	share   float64
	recent  [5]time.Duration // delays, of which the shortest is that of a queue
	at      int
	delay   time.Duration // of the last sample
	tooLong int           // samples in a row with too long a delay
}

const (
	// Bursts of at most this many samples are served.
	burstSamples = 5
	// A queue has at least this many requests: a longer delay is that of a machine which
	// is busy with something else, and would not end if requests were refused.
	shortestQueue = 16
	// How the share follows the distance to the target and its change, per second of delay.
	alpha, beta = 0.5, 2.0
	// Some requests are always served.
	largestShare = 0.98
)

// next returns the share after another sample.
func (c *controller) next(target time.Duration, found sample) float64 {
	delay := 2 * found.delay // half of the time is for what follows
	if !found.known || found.ahead < shortestQueue {
		delay = min(delay, target/2)
	}
	c.recent[c.at] = delay
	c.at = (c.at + 1) % len(c.recent)
	delay = slices.Min(c.recent[:])
	delay = min(delay, 3*target) // a pause of the process must not refuse everything
	if delay <= target {
		c.tooLong = 0
	} else {
		c.tooLong++
	}
	if c.share > 0 || c.tooLong > burstSamples {
		c.share += alpha*(delay-target).Seconds() + beta*(delay-c.delay).Seconds()
		c.share = min(max(c.share, 0), largestShare)
	}
	c.delay = delay
	return c.share
}
