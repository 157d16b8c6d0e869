package audit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

const (
	maxLate            = 4096 // events of Later that wait
	maxDroppedAccounts = 1000 // whose dropped events are counted apart
)

// late are the events of Later that are not durable yet.
type late struct {
	mu      sync.Mutex
	waiting int                        // guarded by mu, as is the rest
	idle    chan struct{}              // closed when none waits; nil: nobody waits for that
	dropped map[presence.AccountID]int // by account, since the last event about it
	total   uint64                     // dropped since the start
}

// Later implements Repeater.
func (l *Log) Later(account presence.AccountID, e *Event) {
	if !l.late.enter() {
		l.late.drop(account, e.count())
		return
	}
	err := l.enqueue(account, e, func(err error) {
		if err != nil {
			l.Log.Error("audit event could not be recorded", slog.String("account", string(account)), slog.String("action", e.Action), slog.Any("err", err))
			l.late.drop(account, e.count())
		}
		l.late.leave()
	})
	if err != nil {
		l.Log.Error("audit event could not be recorded", slog.String("action", e.Action), slog.Any("err", err))
		l.late.drop(account, e.count())
		l.late.leave()
	}
}

func (e *Event) count() int { return max(1, e.Count) }

func (q *late) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == maxLate {
		return false
	}
	q.waiting++
	return true
}

func (q *late) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting--; q.waiting == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}

func (q *late) drop(account presence.AccountID, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.dropped[account]; !known && len(q.dropped) >= maxDroppedAccounts {
		account = System
	}
	q.dropped[account] += n
	q.total += uint64(n) //nolint:gosec // a count is positive
}

func (q *late) takeDropped() map[presence.AccountID]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.dropped
	q.dropped = make(map[presence.AccountID]int)
	return taken
}

// Dropped is how many events of Later were dropped since the start.
func (l *Log) Dropped() uint64 {
	l.late.mu.Lock()
	defer l.late.mu.Unlock()
	return l.late.total
}

// recordDropped records how many events were dropped. Those whose record fails are counted
// again.
func (l *Log) recordDropped(ctx context.Context) {
	for account, n := range l.late.takeDropped() {
		if err := l.Record(ctx, account, &Event{Action: "audit.drop", Reason: "overload", Count: n}); err != nil {
			l.late.restore(account, n)
		}
	}
}

// restore counts dropped events again whose record failed.
func (q *late) restore(account presence.AccountID, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped[account] += n
}

// Flush waits until the events of Later are durable or given up, or ctx ends.
func (l *Log) Flush(ctx context.Context) {
	l.late.mu.Lock()
	if l.late.waiting == 0 {
		l.late.mu.Unlock()
		return
	}
	if l.late.idle == nil {
		l.late.idle = make(chan struct{})
	}
	idle := l.late.idle
	l.late.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// A Window is how often repeated events are recorded.
type Window time.Duration

// The windows.
const (
	EachMinute = Window(time.Minute)
	EachHour   = Window(time.Hour)
)
