package zoomapi

import (
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

const (
	// maxFailures is how often a client may fail within failureWindow before it
	// is told to wait.
	maxFailures   = 20
	failureWindow = time.Minute
	// maxFailing is how many clients are counted at a time.
	maxFailing = 4096
)

// failures counts failed authentications by client id, whether or not such a
// client exists. The zero failures is ready.
type failures struct {
	mu     sync.Mutex
	counts map[presence.AppID]failureCount // guarded by mu
}

type failureCount struct {
	since time.Time
	n     int
}

// add counts a failure of id and says how long the client is to wait: zero while
// there were no more than maxFailures.
func (f *failures) add(id presence.AppID, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	count, known := f.counts[id]
	if age := now.Sub(count.since); !known || age < 0 || age >= failureWindow {
		count = failureCount{since: now}
	}
	if !known {
		f.makeRoom(now)
	}
	count.n++
	if f.counts == nil {
		f.counts = make(map[presence.AppID]failureCount)
	}
	f.counts[id] = count
	if count.n <= maxFailures {
		return 0
	}
	return failureWindow - now.Sub(count.since)
}

// makeRoom drops a few counts when there are too many: those that are over, or
// else any.
func (f *failures) makeRoom(now time.Time) {
	if len(f.counts) < maxFailing {
		return
	}
	looked := 0
	for id, count := range f.counts {
		if looked++; looked > 16 {
			break
		}
		if looked == 1 || now.Sub(count.since) >= failureWindow {
			delete(f.counts, id)
		}
	}
}
