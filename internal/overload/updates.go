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
	refused atomic.Bool  // since the last look

	mu     sync.Mutex    // guards what follows
	alone  time.Duration // that an update takes with few others, at best lately
	ended  int           // updates since the last look
	waited time.Duration // by them, for others

	rate    float64 // of ended updates, for each look, on average
	waiting time.Duration
	tooLong int // looks in a row that found too long a wait
	calm    int // looks in a row in which none was refused
}

const (
	// An update with fewer others has waited for the disk or the network, and for no queue.
	fewUpdates = 8
	// One slow update counts for no more than this.
	longestUpdate = time.Second
	// The shortest time is forgotten over some hundreds of updates.
	slowly = 256
	// So many updates are always admitted: they share a write to the disk.
	smallestLimit = 16
	// The rate is an average over as many looks, half a second.
	rateLooks = 25
	// The limit ends after as many looks without a refusal, two seconds.
	calmLooks = 100
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
		u.alone += (took - u.alone) / slowly
	}
	if others >= shortestQueue {
		u.waited += max(0, took-2*u.alone) // it joins the group after the one on its way
	}
	u.ended++
}

// look sets the limit.
func (u *updates) look(target time.Duration, every time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rate += (float64(u.ended) - u.rate) / rateLooks
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
	case !limited && u.tooLong <= patience, limited && u.calm >= calmLooks:
		u.limit.Store(0)
	default:
		may := float64(target+2*u.alone) / float64(every)
		u.limit.Store(max(smallestLimit, int64(u.rate*may)))
	}
}
