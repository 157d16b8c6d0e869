package quota

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Turns is a fair semaphore for requests that need much CPU. A few run at once, the
// others are queued, and callers are served round robin, however many requests each
// has. A nil Turns admits every request.
type Turns struct {
	limit *Limit // of how many wait

	mu      sync.Mutex // guards the fields below
	free    int
	queues  []*queue // of callers with waiting requests; the first has the next turn
	waiting int      // in bounded queues
}

// LightRead is how many users or items a request may read without waiting for a turn.
// Reading so few does not delay other requests noticeably.
const LightRead = 200

// A queue has one caller's requests, the oldest first. Bounded requests have a queue
// of their own: only they count for the limit, and may be refused.
type queue struct {
	who     string
	bounded bool
	waiting []chan error // each receives nil for its turn, or the error of a refusal
}

// NewTurns returns Turns that admit atOnce requests at a time. The limit bounds the
// queued requests.
func NewTurns(atOnce int, limit *Limit) *Turns { return &Turns{limit: limit, free: atOnce} }

// Take waits for a turn of the caller who; done ends it. When the queue is full, the
// newest request of the caller with the most queued requests is refused, so that a
// caller with few requests is still served.
func (t *Turns) Take(ctx context.Context, who string) (done func(), err error) {
	return t.wait(ctx, who, true)
}

// Wait is Take for callers that have another limit: they are never refused.
func (t *Turns) Wait(ctx context.Context, who string) (done func(), err error) {
	return t.wait(ctx, who, false)
}

func (t *Turns) wait(ctx context.Context, who string, bounded bool) (done func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	turn, err := t.enqueue(who, bounded)
	if err != nil {
		return nil, err
	}
	select {
	case err = <-turn:
	case <-ctx.Done():
		if t.dequeue(who, bounded, turn) {
			return nil, ctx.Err()
		}
		err = <-turn // its turn began, or it was refused, just before
	}
	if err != nil {
		return nil, err
	}
	return t.release, nil
}

// enqueue takes a free turn, or appends a request to the queue of who.
func (t *Turns) enqueue(who string, bounded bool) (chan error, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	turn := make(chan error, 1)
	if t.free > 0 {
		t.free--
		turn <- nil
		return turn, nil
	}
	own := t.queueOf(who, bounded)
	if bounded && t.limit.Most > 0 && t.waiting >= t.limit.Most {
		if err := t.refuseNewestOfLongest(own); err != nil {
			return nil, err
		}
	}
	if own == nil {
		own = &queue{who: who, bounded: bounded}
		t.queues = append(t.queues, own)
	}
	own.waiting = append(own.waiting, turn)
	t.count(own, 1)
	return turn, nil
}

// retryAfter is when a refused client may try again: a few turns later.
const retryAfter = time.Second

// refuseNewestOfLongest refuses the newest request of the longest queue. It returns an
// error if the request that is about to join own must be refused instead. t.mu is locked.
func (t *Turns) refuseNewestOfLongest(own *queue) error {
	var longest *queue // not nil: the limit is reached
	for _, l := range t.queues {
		if l.bounded && (longest == nil || len(l.waiting) > len(longest.waiting)) {
			longest = l
		}
	}
	if own != nil && len(own.waiting) >= len(longest.waiting) || len(longest.waiting) == 1 {
		return t.limit.Reached(retryAfter)
	}
	last := len(longest.waiting) - 1
	longest.waiting[last] <- t.limit.Reached(retryAfter)
	longest.waiting = longest.waiting[:last]
	t.waiting--
	return nil
}

func (t *Turns) queueOf(who string, bounded bool) *queue {
	for _, l := range t.queues {
		if l.who == who && l.bounded == bounded {
			return l
		}
	}
	return nil
}

// count adds n to the number of waiting requests, if those of l count.
func (t *Turns) count(l *queue, n int) {
	if l.bounded {
		t.waiting += n
	}
}

// release gives a turn that has ended to the next request.
func (t *Turns) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queues) == 0 {
		t.free++
		return
	}
	l := t.queues[0]
	t.queues = t.queues[1:]
	l.waiting[0] <- nil
	if l.waiting = l.waiting[1:]; len(l.waiting) > 0 {
		t.queues = append(t.queues, l)
	}
	t.count(l, -1)
}

// dequeue removes a request from its queue, and reports whether it was still there.
func (t *Turns) dequeue(who string, bounded bool, turn chan error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.queueOf(who, bounded)
	if l == nil {
		return false
	}
	at := slices.Index(l.waiting, turn)
	if at < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, at, at+1)
	if len(l.waiting) == 0 {
		t.queues = slices.DeleteFunc(t.queues, func(other *queue) bool { return other == l })
	}
	t.count(l, -1)
	return true
}
