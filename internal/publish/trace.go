package publish

import (
	"errors"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/telemetry"
)

// A timing observes an update that is traced: how long it waited in the store's queue, for
// the rules, and until it was durable. A nil timing observes nothing.
type timing struct {
	span  *telemetry.Span // of the update
	clock func() time.Time
	user  store.User

	mu      sync.Mutex // the store may decide after the caller has given up
	since   time.Time  // of what is waited for now
	decided int        // how often the rules ran: again after a conflict
	ended   bool
}

// newTiming returns nil without a span.
func (p *Publisher) newTiming(parent *telemetry.Span, u store.User) *timing {
	if parent == nil {
		return nil
	}
	now := p.clock()
	return &timing{span: parent.ChildAt("publish", now), clock: p.clock, user: u, since: now}
}

// around returns decide, observed.
func (t *timing) around(decide store.Decide) store.Decide {
	if t == nil {
		return decide
	}
	return func(was presence.Recorded) (store.Change, error) {
		begin := t.clock()
		next, err := decide(was)
		t.noteDecided(begin, &next, err)
		return next, err
	}
}

func (t *timing) noteDecided(begin time.Time, next *store.Change, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	end := t.clock()
	t.span.Stage("queue", t.since, begin)
	t.span.Stage("decide", begin, end)
	t.since = end
	t.decided++
	if err == nil {
		t.span.Commits(telemetry.Commit{Account: string(t.user.Account), User: string(t.user.ID), Revision: uint64(next.State.Revision)})
	}
}

// end ends the observation with the result of the update.
func (t *timing) end(err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	now := t.clock()
	if err == nil {
		t.span.Stage("commit", t.since, now)
	}
	t.span.Number("porchlight.decisions", t.decided)
	if unavailable := errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrUnknown); unavailable {
		t.span.Fail("store")
	}
	t.span.EndAt(now)
}
