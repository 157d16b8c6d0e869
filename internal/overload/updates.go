package overload

import (
	"sync"
	"sync/atomic"
	"time"
)

// updates limits how many updates are under way while each waits too long for others in
// the store.
type updates struct {
	bound

	running atomic.Int64

	mu     sync.Mutex    // guards what follows
	alone  time.Duration // shortest recent duration of an update with few others
	ended  int           // updates since the last measurement
	waited time.Duration // by them, for others

	wait time.Duration // of each, at the last measurement
}

const (
	// An update with fewer others has waited for the disk or the network, and for no queue.
	// While no more are admitted, it is learned whether the disk itself has become slow.
	fewUpdates = leastRunning
	// One slow update counts for no more than this.
	longestUpdate = time.Second
	// A slower update moves alone by this part of the difference.
	aloneWeight = 256
	// This many updates are always admitted: they share a write to the disk.
	leastRunning = 16
)

// begin counts an update that the store commits, unless there are too many already.
func (u *updates) begin() (others int, ok bool) {
	n := u.running.Add(1)
	if limit := u.limit.Load(); limit > 0 && n > limit {
		u.running.Add(-1)
		u.refuse()
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
	if others >= leastRunning {
		u.waited += max(0, took-2*u.alone) // it waits for the group under way, and for its own
	}
	u.ended++
}

// adapt sets the limit from what ended since the last measurement. An update may wait here for
// three quarters of the target.
func (u *updates) adapt(target time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.ended > 0:
		u.wait = u.waited / time.Duration(u.ended)
	case u.running.Load() == 0:
		u.wait = 0
	}
	u.bound.adapt(uint64(u.ended), u.wait > target, target*3/4+2*u.alone, leastRunning) //nolint:gosec // not negative
	u.ended, u.waited = 0, 0
}
