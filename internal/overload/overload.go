// Package overload refuses some requests while more arrive than the server can answer, so
// that the queue of the others stays short (load shedding).
//
// It is separate from quota, which limits what one client may use: here the server as a
// whole has too much to do, whoever asks. There are two queues: requests wait for a
// processor, and updates for each other in the store. It measures how long, and limits the
// length of each queue to what is served in a part of the time that a request may wait. It
// guarantees that nothing is refused while the wait is short, and that reads are refused before
// updates are: a read can be repeated, but a user whose client cannot refresh its session in
// time is shown as offline.
//
// It must not know HTTP, a dialect or a connection.
package overload

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/quota"
)

// A Gate decides whether a request is answered or refused. A nil Gate admits every one.
type Gate struct {
	// Yield returns when all requests that were read before have had a turn on the processor.
	// It is runtime.Gosched, unless a test sets it before the first Admit.
	Yield func()

	limit *quota.Limit // of the wait, in milliseconds
	clock func() time.Time

	retries retrySpread
	turns   turns
	updates updates

	since atomic.Int64 // when the gate began to refuse, in nanoseconds of clock; 0: it does not
}

// New returns a gate that lets requests wait for the time that limit has, in milliseconds;
// nil if that is 0.
func New(limit *quota.Limit, clock func() time.Time) *Gate {
	if limit.Most == 0 {
		return nil
	}
	return &Gate{Yield: runtime.Gosched, limit: limit, clock: clock}
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

// Admit waits for the turn of a request that was just read, or returns the error with which
// to refuse it.
func (g *Gate) Admit(k Kind) (Request, *quota.Error) {
	if g == nil {
		return Request{}, nil
	}
	var r Request
	ok := true
	if k.Commits {
		r.update = true
		r.others, ok = g.updates.begin()
	}
	if ok && !g.turns.await(k.Update, g.Yield) {
		g.End(r, 0, false)
		ok = false
	}
	if !ok {
		return Request{}, g.limit.Reached(g.retries.next())
	}
	return r, nil
}

// End records the end of a request and its duration. committed: it has changed something.
func (g *Gate) End(r Request, took time.Duration, committed bool) {
	if r.update {
		g.updates.end(r.others, took, committed)
	}
}

// The times between two measurements.
const (
	busyInterval = 20 * time.Millisecond
	idleInterval = 200 * time.Millisecond
)

// Run measures the queues until ctx ends.
func (g *Gate) Run(ctx context.Context) {
	if g == nil {
		return
	}
	target := time.Duration(g.limit.Most) * time.Millisecond
	timer := time.NewTimer(idleInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		passed := g.turns.adapt(target)
		g.updates.adapt(target)
		g.retries.adapt(passed, max(g.turns.wait, g.updates.wait) < target/8)
		if g.noteRefusing() || passed >= fewRequests {
			timer.Reset(busyInterval)
		} else {
			timer.Reset(idleInterval)
		}
	}
}

// fewRequests is the number of requests between two measurements below which there is no
// queue.
const fewRequests = 4

// noteRefusing reports whether a queue is limited, and keeps the time since when.
func (g *Gate) noteRefusing() (limited bool) {
	limited = g.turns.limit.Load() > 0 || g.updates.limit.Load() > 0
	switch {
	case !limited:
		g.since.Store(0)
	case g.since.Load() == 0:
		g.since.Store(g.clock().UnixNano())
	}
	return limited
}

const (
	// Bursts of at most this many measurements are served.
	burstSamples = 5
	// A rate is an average over this many measurements, 0.3 s.
	rateSamples = 15
	// A limit ends after this many measurements without a refusal, two seconds.
	calmSamples = 100
)

// A bound is the limit of a queue. It is set when requests have waited too long for a while, and
// lifted when none was refused for a while.
type bound struct {
	limit   atomic.Int64 // 0: none
	refused atomic.Bool  // since the last measurement

	rate    float64 // of what was served between two measurements, on average
	tooLong int     // measurements in a row with too long a wait
	calm    int     // measurements in a row without a refusal
}

// refuse notes a refusal.
func (b *bound) refuse() { b.refused.Store(true) }

// adapt sets the limit to the number that is served within most, but no lower than least.
// served and tooLong are of the time since the last measurement.
func (b *bound) adapt(served uint64, tooLong bool, most time.Duration, least int64) {
	b.rate += (float64(served) - b.rate) / rateSamples
	if tooLong {
		b.tooLong++
	} else {
		b.tooLong = 0
	}
	if b.refused.Swap(false) {
		b.calm = 0
	} else {
		b.calm++
	}
	switch limited := b.limit.Load() > 0; {
	case !limited && b.tooLong <= burstSamples, limited && b.calm >= calmSamples:
		b.limit.Store(0)
	default:
		b.limit.Store(max(least, int64(b.rate*float64(most)/float64(busyInterval))))
	}
}

// A retrySpread is the time over which refused clients retry: long enough that refusing them
// again costs little, and short enough that the server never runs out of requests.
type retrySpread struct {
	refused atomic.Uint64 // since the start
	within  atomic.Int64  // nanoseconds

	last     uint64
	refusals float64 // between two measurements, on average
	passed   float64 // likewise
}

const (
	shortestSpread = time.Second
	longestSpread  = 16 * time.Second
)

// next counts a refusal and returns when its client may retry, at random.
func (s *retrySpread) next() time.Duration {
	s.refused.Add(1)
	return time.Duration(rand.Float64() * float64(max(shortestSpread, time.Duration(s.within.Load())))) //nolint:gosec // nobody gains by guessing
}

// adapt lengthens the time while many requests are refused, and shortens it while too few come.
// idle means that the admitted requests hardly waited.
func (s *retrySpread) adapt(passed uint64, idle bool) {
	total := s.refused.Load()
	refused := total - s.last
	s.last = total
	s.refusals += (float64(refused) - s.refusals) / rateSamples
	s.passed += (float64(passed) - s.passed) / rateSamples
	within := max(shortestSpread, time.Duration(s.within.Load()))
	switch {
	case refused == 0 && idle:
		within -= within / 50
	case 4*s.refusals > s.passed:
		within += within / 25
	}
	s.within.Store(int64(min(max(within, shortestSpread), longestSpread)))
}
