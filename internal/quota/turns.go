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
	lines   []*line // of those who wait; the first has the next turn
	waiting int     // in bounded lines
}

// A line is the queue of one caller's requests, the oldest first. Bounded
// requests have a line of their own: only they count, and may be refused.
type line struct {
	who     string
	bounded bool
	waiting []chan error // each gets nil for its turn, or why it gets none
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
		err = <-turn // it came meanwhile
	}
	if err != nil {
		return nil, err
	}
	return t.release, nil
}

// enqueue takes a turn that is free, or a place in the line of who.
func (t *Turns) enqueue(who string, bounded bool) (chan error, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	turn := make(chan error, 1)
	if t.free > 0 {
		t.free--
		turn <- nil
		return turn, nil
	}
	own := t.lineOf(who, bounded)
	if bounded && t.limit.Most > 0 && t.waiting >= t.limit.Most {
		if err := t.refuseNewestOfLongest(own); err != nil {
			return nil, err
		}
	}
	if own == nil {
		own = &line{who: who, bounded: bounded}
		t.lines = append(t.lines, own)
	}
	own.waiting = append(own.waiting, turn)
	t.count(own, 1)
	return turn, nil
}

// retryAfter is when whoever is refused may try again: a few turns later.
const retryAfter = time.Second

// refuseNewestOfLongest refuses the newest of the longest line, or else is the error for one
// more of own; t.mu is held.
func (t *Turns) refuseNewestOfLongest(own *line) error {
	var longest *line // there is one: as many wait as may
	for _, l := range t.lines {
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

func (t *Turns) lineOf(who string, bounded bool) *line {
	for _, l := range t.lines {
		if l.who == who && l.bounded == bounded {
			return l
		}
	}
	return nil
}

// count notes that n more requests wait in l.
func (t *Turns) count(l *line, n int) {
	if l.bounded {
		t.waiting += n
	}
}

// release gives a turn that has ended to the next request.
func (t *Turns) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		t.free++
		return
	}
	l := t.lines[0]
	t.lines = t.lines[1:]
	l.waiting[0] <- nil
	if l.waiting = l.waiting[1:]; len(l.waiting) > 0 {
		t.lines = append(t.lines, l)
	}
	t.count(l, -1)
}

// dequeue removes a request from its line, and reports whether it was still there.
func (t *Turns) dequeue(who string, bounded bool, turn chan error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lineOf(who, bounded)
	if l == nil {
		return false
	}
	at := slices.Index(l.waiting, turn)
	if at < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, at, at+1)
	if len(l.waiting) == 0 {
		t.lines = slices.DeleteFunc(t.lines, func(other *line) bool { return other == l })
	}
	t.count(l, -1)
	return true
}
