package publish

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// maxHeld bounds the events that wait for one user.
const maxHeld = 64

// holds are the users whose sessions change faster than damping allows. Their events are
// queued in order and committed together when damping allows it. The publishers of the
// events wait for that commit.
type holds struct {
	mu   sync.Mutex
	held map[store.User]*hold
}

type hold struct {
	waiters []*waiter
}

// A waiter is one queued event. Its outcome is set before done is closed.
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

// join queues e behind the events that are already queued for u, if there are any.
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

// waiting reports whether events are queued for u.
func (h *holds) waiting(u store.User) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held[u] != nil
}

// hold queues e until the instant that damping names.
func (p *Publisher) hold(ctx context.Context, u store.User, by store.By, e presence.Event, until presence.Instant) (Result, error) {
	p.holds.mu.Lock()
	waiting, ok := p.holds.held[u]
	if !ok {
		waiting = &hold{}
		if p.holds.held == nil {
			p.holds.held = make(map[store.User]*hold)
		}
		p.holds.held[u] = waiting
		// Not bound to ctx: others may join, and a queued event is applied even if its
		// publisher has disconnected. After the clock was set back, until may be far away.
		wait := min(until.Sub(p.now()), p.policy.Damping)
		time.AfterFunc(wait, func() { p.release(context.WithoutCancel(ctx), u) })
	}
	w := waiting.add(by, e)
	p.holds.mu.Unlock()
	return w.wait(ctx)
}

// release commits the events that are queued for u as one change, on behalf of the first
// that is accepted. If none is, the change is what expired meanwhile.
func (p *Publisher) release(ctx context.Context, u store.User) {
	p.holds.mu.Lock()
	waiters := p.holds.held[u].waiters
	delete(p.holds.held, u)
	p.holds.mu.Unlock()

	policy := p.policy
	policy.Damping = 0
	now := p.now()
	seen := p.soft.of(u)
	events := []presence.Event{presence.Tick{Soft: seen}}
	for _, w := range waiters {
		events = append(events, w.event)
	}
	var errs []error
	result, err := p.update(ctx, update{user: u, seen: seen, decide: func(was presence.Recorded) (store.Change, error) {
		var next presence.Change
		var err error
		next, errs, err = presence.ApplyEach(was, events, policy, now)
		return p.changeOfGroup(&was, &next, waiters, errs[1:]), err
	}})
	for i, w := range waiters {
		w.result, w.err = result, err
		if err == nil && errs != nil {
			w.result, w.err = outcome(result, errs[i+1])
		}
		close(w.done)
	}
}

// changeOfGroup is the change of queued events that are committed together.
func (p *Publisher) changeOfGroup(was *presence.Recorded, next *presence.Change, waiters []*waiter, errs []error) store.Change {
	c := p.changeOf(was, next, firstAccepted(waiters, errs))
	for i, w := range waiters {
		if errs[i] == nil && w.by.Cause != store.CauseRefresh {
			c.Unlogged = false // it stands for more than its first event
		}
	}
	return c
}

// firstAccepted is on whose behalf a group is committed. errs are the waiters' errors.
func firstAccepted(waiters []*waiter, errs []error) store.By {
	i := slices.Index(errs, nil)
	if i < 0 {
		return store.By{Cause: store.CauseTime}
	}
	return waiters[i].by
}

// outcome is the result of one queued event: accepted, refused, or a repeat of a request
// that was answered earlier or was queued with it.
func outcome(result Result, err error) (Result, error) {
	var repeat *presence.RepeatError
	if !errors.As(err, &repeat) {
		return result, err
	}
	answer := repeat.Answer
	if answer.Revision == 0 {
		answer.Revision = result.Record.State.Revision
	}
	result.Answer = &answer
	return result, nil
}
