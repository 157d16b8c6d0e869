package publish

import (
	"context"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// maxHeld bounds the events that wait for one user.
const maxHeld = 256

// holds are the users whose sessions change faster than damping allows: their
// events wait, in order, and are committed together when the time has come.
// Whoever published one waits for that commit.
type holds struct {
	mu   sync.Mutex
	held map[store.User]*hold
}

type hold struct {
	waiters []*waiter
}

// A waiter is one held event. Its outcome is written before done is closed.
type waiter struct {
	by     store.By
	event  presence.Event
	result Result
	err    error
	done   chan struct{}
}

func (w *waiter) wait(ctx context.Context) (Result, error) {
	select {
	case <-w.done:
		return w.result, w.err
	case <-ctx.Done():
		return Result{}, store.ErrUnknown
	}
}

// join queues e behind the events that already wait for u, if any do.
func (h *holds) join(u store.User, by store.By, e presence.Event) (*waiter, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting, ok := h.held[u]
	if !ok {
		return nil, false
	}
	return waiting.add(by, e), true
}

func (h *hold) add(by store.By, e presence.Event) *waiter {
	w := &waiter{by: by, event: e, done: make(chan struct{})}
	if len(h.waiters) >= maxHeld {
		w.err = &presence.LimitError{What: "session changes waiting", Limit: maxHeld}
		close(w.done)
		return w
	}
	h.waiters = append(h.waiters, w)
	return w
}

// hold lets e wait until the instant that damping names.
func (p *Publisher) hold(ctx context.Context, u store.User, by store.By, e presence.Event, until presence.Instant) (Result, error) {
	p.holds.mu.Lock()
	waiting, ok := p.holds.held[u]
	if !ok {
		waiting = &hold{}
		if p.holds.held == nil {
			p.holds.held = make(map[store.User]*hold)
		}
		p.holds.held[u] = waiting
		// Not bound to ctx: others may join, and an event that was taken is
		// applied even if its publisher has gone.
		time.AfterFunc(until.Sub(p.now()), func() { p.release(context.WithoutCancel(ctx), u) })
	}
	w := waiting.add(by, e)
	p.holds.mu.Unlock()
	return w.wait(ctx)
}

// release commits what waits for u, as one change.
func (p *Publisher) release(ctx context.Context, u store.User) {
	p.holds.mu.Lock()
	waiters := p.holds.held[u].waiters
	delete(p.holds.held, u)
	p.holds.mu.Unlock()

	policy := p.policy
	policy.Damping = 0
	now := p.now()
	seen := p.soft.of(u)
	by := waiters[len(waiters)-1].by
	errs := make([]error, len(waiters))
	result, err := p.update(ctx, u, by, func(s presence.State) (presence.State, error) {
		return applyEach(s, seen, waiters, errs, policy, now)
	}, seen, false)
	for i, w := range waiters {
		w.result, w.err = result, err
		if errs[i] != nil {
			w.err = errs[i]
		}
		close(w.done)
	}
}

// applyEach applies the events together, leaving out those that are refused,
// whose errors it notes.
func applyEach(s presence.State, seen []presence.Seen, waiters []*waiter, errs []error, p presence.Policy, now presence.Instant) (presence.State, error) {
	events := []presence.Event{presence.Tick{Seen: seen}}
	next, err := s, presence.ErrNoChange
	for i, w := range waiters {
		events = append(events, w.event)
		var tried presence.State
		tried, errs[i] = presence.ApplyAll(s, events, p, now)
		switch errs[i] {
		case nil:
			next, err = tried, nil
		case presence.ErrNoChange:
			errs[i] = nil
		default:
			events = events[:len(events)-1]
		}
	}
	return next, err
}
