package overload

import (
	"sync"
	"sync/atomic"
	"time"
)

// updates limits how many updates are under way while each waits too long for others in
// the store, whose queue a probe does not see. The limit is what the store commits in the
// time that an update may take.
type updates struct {
	running atomic.Int64
	limit   atomic.Int64 // 0: none
	refused atomic.Bool  // since the last measurement

	mu     sync.Mutex    // guards what follows
	alone  time.Duration // shortest recent duration of an update with few others
	ended  int           // updates since the last measurement
	waited time.Duration // by them, for others

	rate    float64 // of ended updates, between two measurements, on average
	waiting time.Duration
	tooLong int // measurements in a row with too long a wait
	calm    int // measurements in a row without a refusal
}

const (
	// An update with fewer others has waited for the disk or the network, and for no queue.
	// While no more are admitted, it is learned whether the disk itself has become slow.
	fewUpdates = smallestLimit
	// One slow update counts for no more than this.
	longestUpdate = time.Second
	// A slower update moves alone by this part of the difference.
	aloneWeight = 256
	// This many updates are always admitted: they share a write to the disk.
	smallestLimit = 16
	// The rate is an average over this many measurements, half a second.
	rateSamples = 25
	// The limit ends after this many measurements without a refusal, two seconds.
	calmSamples = 100
)

// begin counts an update that the store commits, unless there are too many already.
func (u *updates) begin() (others int, ok bool) {
	n := u.running.Add(1)
	if limit := u.limit.Load(); limit > 0 && n > limit {
		u.running.Add(-1)
		u.refused.Store(true)
		return 0, false
	}
	return int(n) - 1, true
}

// end counts the end of an update that had others when it began.
func (u *updates) end(others int, took time.Duration, committed bool) {
	u.running.Add(-1)
	if !committed {
		return
	}
	took = min(took, longestUpdate)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case others >= fewUpdates:
	case u.alone == 0 || took < u.alone:
		u.alone = took
	default:
		u.alone += (took - u.alone) / aloneWeight
	}
	if others >= shortestQueue {
		u.waited += max(0, took-2*u.alone) // it waits for the group under way, and for its own
	}
	u.ended++
}

// adapt sets the limit from what ended since the last measurement, an interval of every.
func (u *updates) adapt(target, every time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rate += (float64(u.ended) - u.rate) / rateSamples
	switch {
	case u.ended > 0:
		u.waiting = u.waited / time.Duration(u.ended)
	case u.running.Load() == 0:
		u.waiting = 0
	}
	u.ended, u.waited = 0, 0
	if u.waiting <= target {
		u.tooLong = 0
	} else {
		u.tooLong++
	}
	if u.refused.Swap(false) {
		u.calm = 0
	} else {
		u.calm++
	}
	switch limited := u.limit.Load() > 0; {
	case !limited && u.tooLong <= burstSamples, limited && u.calm >= calmSamples:
		u.limit.Store(0)
	default:
		perTarget := float64(target+2*u.alone) / float64(every)
		u.limit.Store(max(smallestLimit, int64(u.rate*perTarget)))
	}
}
