package overload

import (
	"sync/atomic"
	"time"
)

// turns limits how many requests wait for a processor while they wait too long.
//
// The queue is that of the Go scheduler: a request that was read yields once, so that others
// are read meanwhile and can be counted. While there is no limit, only one of measureEvery does,
// to measure.
type turns struct {
	bound

	waiting  atomic.Int64
	asked    atomic.Uint64 // since the start
	refusals atomic.Uint64 // since the start

	waited   atomic.Int64 // nanoseconds, by those that were measured since the last measurement
	measured atomic.Int64

	last uint64        // requests that had passed
	wait time.Duration // of each, at the last measurement
}

const (
	// One of this many requests is measured while there is no limit.
	measureEvery = 8
	// This many requests may always wait, so that no processor is idle.
	leastWaiting = 32
)

// await waits for the turn of a request, and reports false if too many wait already.
func (t *turns) await(update bool, yield func()) bool {
	limit := t.limit.Load()
	if asked := t.asked.Add(1); limit == 0 && asked%measureEvery != 0 {
		return true
	}
	others := t.waiting.Add(1) - 1
	defer t.waiting.Add(-1)
	if !update {
		others *= 2 // reads are refused first
	}
	if limit > 0 && others >= limit {
		t.refusals.Add(1)
		t.refuse()
		return false
	}
	begun := time.Now()
	yield()
	t.waited.Add(int64(time.Since(begun)))
	t.measured.Add(1)
	return true
}

// adapt sets the limit, and returns how many requests have passed since the last measurement.
// Updates may wait here for a sixth of the target, and reads for half as long: before a request
// is read, it has already waited about as long, and during a garbage collection several times
// as long. Even a slow server lets leastWaiting wait.
func (t *turns) adapt(target time.Duration) (passed uint64) {
	total := t.asked.Load() - t.refusals.Load()
	passed, t.last = total-t.last, total
	waited, measured := t.waited.Swap(0), t.measured.Swap(0)
	switch {
	case measured > 0:
		t.wait = time.Duration(waited / measured)
	case t.waiting.Load() == 0:
		t.wait = 0
	}
	t.bound.adapt(passed, t.wait > target/2, target/6, leastWaiting)
	return passed
}
