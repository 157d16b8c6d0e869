// Package overload refuses requests while more of them come than the server can answer,
// before the time that each waits grows.
//
// It is separate from quota, which limits what one client may use: here the server as a
// whole has too much to do, whoever asks. It measures how long a request waits until it is
// read, and controls the share of requests to refuse by that delay, as RFC 8033 (PIE)
// controls the queue of a router. It guarantees that nothing is refused while the delay is
// short, and that reads are refused before updates are: a read can be repeated, but who
// is not heard in time is shown as away.
//
// It must not know a request, a dialect or a connection.
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
	limit *quota.Limit // of the delay, in milliseconds
	pace  pace
	clock func() time.Time

	spread  spread
	updates updates

	share atomic.Uint64 // of them to refuse, as the bits of a float64
	since atomic.Int64  // when the gate began to refuse, in nanoseconds of clock; 0: it does not
}

// A pace is how often the gate looks.
type pace struct{ busy, idle time.Duration }

// New returns a gate that lets requests wait for as long as limit, in milliseconds, and nil
// if that is 0.
func New(limit *quota.Limit, clock func() time.Time) *Gate {
	if limit.Most == 0 {
		return nil
	}
	return &Gate{limit: limit, clock: clock, pace: pace{20 * time.Millisecond, 200 * time.Millisecond}}
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

// A Request is one that was admitted. End it.
type Request struct {
	update bool
	others int // updates, when it began
}

// A Kind is what Admit distinguishes.
type Kind struct {
	Update  bool // it changes something
	Commits bool // that is all it does: it takes as long as the store does
}

// Admit counts a request, or returns the error with which to refuse it.
func (g *Gate) Admit(k Kind) (Request, *quota.Error) {
	if g == nil {
		return Request{}, nil
	}
	g.spread.asked.Add(1)
	if share := math.Float64frombits(g.share.Load()); share > 0 && rand.Float64() < shareOf(k.Update, share) { //nolint:gosec // nobody gains by guessing
		return Request{}, g.limit.Reached(g.spread.next())
	}
	if !k.Commits {
		return Request{}, nil
	}
	others, ok := g.updates.begin()
	if !ok {
		return Request{}, g.limit.Reached(g.spread.next())
	}
	return Request{update: true, others: others}, nil
}

// End ends a request, which took so long. committed: it has changed something.
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

// A spread is over how long the clients that were refused come back: so long that those who
// are refused again do not cost what the refusal spares, and so short that there is always
// something to do.
type spread struct {
	refused, asked atomic.Uint64 // since the start
	within         atomic.Int64  // nanoseconds

	lastRefused, lastAsked uint64
}

const (
	shortestSpread = time.Second
	longestSpread  = 8 * time.Second
)

func (s *spread) next() time.Duration {
	s.refused.Add(1)
	return time.Duration(rand.Float64() * float64(max(shortestSpread, time.Duration(s.within.Load())))) //nolint:gosec // nobody gains by guessing
}

// look adapts the spread.
func (s *spread) look() {
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

// A Probe waits behind the requests that wait at the moment, and returns how long that took.
type Probe func() time.Duration

// Run watches the delay until ctx ends.
func (g *Gate) Run(ctx context.Context, probe Probe) {
	if g == nil {
		return
	}
	var c controller
	target := time.Duration(g.limit.Most) * time.Millisecond
	timer := time.NewTimer(g.pace.idle)
	defer timer.Stop()
	w := watcher{probe: probe, results: make(chan time.Duration, 1)}
	for last := g.spread.asked.Load(); ; {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		asked := g.spread.asked.Load()
		busy := asked-last >= fewRequests || c.share > 0 || g.updates.limit.Load() > 0
		last = asked
		l := w.look(asked, busy)
		g.updates.look(target, g.pace.busy)
		g.spread.look()
		g.apply(c.next(target, l))
		if busy || w.waiting {
			timer.Reset(g.pace.busy)
		} else {
			timer.Reset(g.pace.idle)
		}
	}
}

// fewRequests is how many requests there are between two looks while there is no queue.
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

// A watcher has at most one probe under way.
type watcher struct {
	probe   Probe
	results chan time.Duration
	waiting bool
	began   time.Time
	asked   uint64 // when it began
}

// A look is what is known of the delay.
type look struct {
	delay time.Duration // until requests are read, at least
	ahead uint64        // requests that were read meanwhile
	known bool          // there is a probe
}

// look returns the delay that the last probe found, or has found so far, and sends
// another one if the server is busy.
func (w *watcher) look(asked uint64, busy bool) (seen look) {
	select {
	case delay := <-w.results:
		seen = look{delay: delay, ahead: asked - w.asked, known: true}
		w.waiting = false
	default:
		seen = look{delay: time.Since(w.began), ahead: asked - w.asked, known: w.waiting}
	}
	if busy && !w.waiting {
		w.waiting, w.began, w.asked = true, time.Now(), asked
		go func() { w.results <- w.probe() }()
	}
	return seen
}

// A controller finds the share of requests to refuse.
type controller struct {
	share   float64
	recent  [5]time.Duration // delays, of which the shortest is that of a queue
	at      int
	delay   time.Duration // last seen
	tooLong int           // looks in a row that found too long a delay
}

const (
	// Bursts shorter than this many looks are served.
	patience = 5
	// A queue has at least this many requests: a longer delay is that of a machine which
	// is busy with something else, and would not end if requests were refused.
	shortestQueue = 16
	// How the share follows the distance to the target and its change, per second of delay.
	alpha, beta = 0.5, 2.0
	// Some requests are always served.
	largestShare = 0.98
)

// next returns the share after another look.
func (c *controller) next(target time.Duration, l look) float64 {
	delay := 2 * l.delay // half of the time is for what follows
	if !l.known || l.ahead < shortestQueue {
		delay = min(delay, target/2)
	}
	c.recent[c.at] = delay
	c.at = (c.at + 1) % len(c.recent)
	delay = slices.Min(c.recent[:])
	delay = min(delay, 3*target) // a pause of the process must not have all refused
	if delay <= target {
		c.tooLong = 0
	} else {
		c.tooLong++
	}
	if c.share > 0 || c.tooLong > patience {
		c.share += alpha*(delay-target).Seconds() + beta*(delay-c.delay).Seconds()
		c.share = min(max(c.share, 0), largestShare)
	}
	c.delay = delay
	return c.share
}
