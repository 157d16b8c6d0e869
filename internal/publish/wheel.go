package publish

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	// boundTick is the longest wait of KeepBound, in case the clock is set.
	boundTick = time.Second
	// boundWorkers is how many edges are written at once: enough to fill commit groups.
	boundWorkers = 256
)

// KeepBound writes when held sessions become idle, and releases what could not be released,
// until ctx ends.
func (p *Publisher) KeepBound(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.bound.wake:
		case <-ctx.Done():
			return
		}
		each(p.bound.takeDue(p.now()), boundWorkers, func(key heldSession) { p.visit(ctx, key) })
		timer.Reset(p.bound.wait(p.now()))
	}
}

// each calls do for each of all, on at most as many goroutines as workers.
func each[T any](all []T, workers int, do func(T)) {
	var group sync.WaitGroup
	work := make(chan T)
	for range min(len(all), workers) {
		group.Go(func() {
			for x := range work {
				do(x)
			}
		})
	}
	for _, x := range all {
		work <- x
	}
	close(work)
	group.Wait()
}

// takeDue takes what is due from the queue. Sessions whose person was active meanwhile
// return to it.
func (s *bindings) takeDue(now presence.Instant) []heldSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []heldSession
	for len(s.due) > 0 && s.due[0].at <= now {
		h := s.due[0]
		if len(h.bindings) > 0 && !h.guest && (h.idle || h.idleAt > now) {
			s.arm(h, h.edge())
			continue
		}
		heap.Pop(&s.due)
		due = append(due, h.heldSession)
	}
	return due
}

// wait is how long it takes until something is due, but at most boundTick.
func (s *bindings) wait(now presence.Instant) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.due) == 0 {
		return boundTick
	}
	return min(max(s.due[0].at.Sub(now), 0), boundTick)
}

// visit writes what is due for one session.
func (p *Publisher) visit(ctx context.Context, key heldSession) {
	unlock, err := p.bound.lock(ctx, key.user)
	if err != nil {
		return
	}
	defer unlock()
	idleAt, what := p.bound.beginVisit(key, p.now())
	switch what {
	case nothing:
		return
	case holdAgain:
		err = p.holdAgain(ctx, key)
	case becomesIdle:
		err = p.tick(ctx, key.user, presence.HeldIdle{Session: key.id, Holder: p.Holder(), At: idleAt})
	case isReleased:
		err = p.releaseSession(ctx, key, store.Actor{User: key.user.ID}, idleAt)
	}
	if err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "a connection's session could not be updated; will retry", slog.String("user", string(key.user.ID)), slog.Any("err", err))
	}
	p.bound.endVisit(key, p.now().Add(releaseRetry))
}

// holdAgain holds a session that this node shares with another one, if that has released it,
// or may be dead.
func (p *Publisher) holdAgain(ctx context.Context, key heldSession) error {
	records, _, err := p.store.Read(ctx, []store.User{key.user}, store.Freshness{})
	if err != nil || len(records) == 0 {
		return err
	}
	session := findSession(records[0].State, key.id)
	if session == nil || session.Held() && !p.inherits(session.Holder) {
		p.reconcile(key.user, records[0].State)
		return nil
	}
	_, err = p.publishRecorded(ctx, key.user, store.Actor{User: key.user.ID}, presence.SignIn{
		// A session that was signed out meanwhile must not begin again.
		Request: presence.Request{IfMatch: []presence.Revision{records[0].State.Revision}},
		Session: session.ID, Client: session.Client, Version: session.Version, Lease: presence.DefaultLease,
		App: session.App, Via: session.Via, Holder: p.Holder(),
	})
	if errors.Is(err, presence.ErrPrecondition) {
		return nil // the next visit looks again
	}
	return err
}

// inherits reports whether this run is to hold what another one holds, before the sessions of
// that end.
func (p *Publisher) inherits(from string) bool {
	if p.serves == nil {
		return false
	}
	serving := p.serves()
	return slices.Contains(serving, p.Holder()) && !slices.Contains(serving, from)
}

// What is to be written of a held session.
type visitKind uint8

const (
	nothing visitKind = iota
	becomesIdle
	isReleased
	holdAgain
)

// beginVisit reports what is to be written of a session, and when it becomes idle.
func (s *bindings) beginVisit(key heldSession, now presence.Instant) (presence.Instant, visitKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.find(key)
	switch {
	case h == nil:
		return 0, nothing
	case len(h.bindings) == 0:
		return h.idleAt, isReleased
	case h.guest:
		return 0, holdAgain
	case h.idle || h.idleAt == 0 || h.idleAt > now: // the person was active meanwhile
		s.arm(h, h.edge())
		return 0, nothing
	default:
		h.writing = true
		return h.idleAt, becomesIdle
	}
}

// endVisit returns the session to the queue if it is not idle on record, or not released.
func (s *bindings) endVisit(key heldSession, retry presence.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.find(key)
	if h == nil {
		return
	}
	h.writing = false
	switch {
	case h.guest:
		s.arm(h, retry.Add(guestEvery-releaseRetry))
	case len(h.bindings) == 0 || !h.idle && h.idleAt <= retry:
		s.arm(h, retry)
	default:
		s.arm(h, h.edge())
	}
}
