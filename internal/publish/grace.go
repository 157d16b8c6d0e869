package publish

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Grace is how long a session outlives the connection that it was bound to.
// It must be a valid lease: at least presence.MinLease.
const Grace = 30 * time.Second

const (
	// boundRefresh is how often a bound session is refreshed: well within its lease,
	// and within Grace, because another connection may just have been lost with it.
	boundRefresh = 20 * time.Second
	boundTick    = time.Second
	boundSlots   = int(boundRefresh / boundTick)
)

// bindings are the sessions that are bound to connections. One ticker goes round their
// slots, so that no session needs a timer and refreshes are spread evenly.
type bindings struct {
	mu    sync.Mutex // guards the fields below
	slots [boundSlots]map[*Binding]struct{}
	next  int
	held  map[heldSession][]*Binding // the connections that hold it
}

type heldSession struct {
	user store.User
	id   presence.SessionID
}

// A Binding is a session that is bound to a connection.
type Binding struct {
	p     *Publisher
	user  store.User
	actor store.Actor
	id    presence.SessionID
	slot  int

	reporting sync.RWMutex // held for reading by ReportActivity
	released  bool         // guarded by reporting
	lost      func(error)  // the session has ended
	ended     atomic.Bool  // lost was called
}

// Ended reports whether the session has ended under the connection.
func (b *Binding) Ended() bool { return b.ended.Load() }

// Session is the id of the session in its user's record.
func (b *Binding) Session() presence.SessionID { return b.id }

// SignIn begins a session, or resumes that of a lost connection, and keeps it live until
// Release or End. lost is called if the session ends otherwise, with the reason:
// presence.ErrSessionReplaced or presence.ErrUnknownSession, for example.
func (p *Publisher) SignIn(ctx context.Context, u store.User, actor store.Actor, e presence.SignIn, lost func(error)) (*Binding, error) {
	e.Lease = presence.DefaultLease
	result, err := p.Publish(ctx, u, actor, e)
	if err != nil {
		return nil, err
	}
	b := &Binding{p: p, user: u, actor: actor, id: e.SessionIn(result.Record.State), lost: lost}
	p.bound.add(b)
	return b, nil
}

// ReportActivity reports whether the person is active. After Release it does nothing,
// because it would extend the session of a lost connection by its lease.
func (b *Binding) ReportActivity(ctx context.Context, activity presence.Activity) error {
	b.reporting.RLock()
	defer b.reporting.RUnlock()
	if b.released {
		return nil
	}
	_, err := b.p.Publish(ctx, b.user, b.actor, presence.Refresh{Session: b.id, Activity: activity, Lease: presence.DefaultLease})
	return err
}

// End signs out.
func (b *Binding) End(ctx context.Context) error {
	_, err := b.p.Publish(ctx, b.user, b.actor, presence.SignOut{Session: b.id})
	if err == nil || sessionEnded(err) {
		b.p.bound.remove(b)
	}
	return err
}

// sessionEnded reports whether an error says that the session no longer exists.
func sessionEnded(err error) bool {
	return errors.Is(err, presence.ErrUnknownSession) || errors.Is(err, presence.ErrSessionReplaced) ||
		errors.Is(err, presence.ErrDeactivated) || errors.Is(err, presence.ErrDeleted)
}

// Release is for a connection that was lost: the session ends after Grace unless another
// connection resumes it.
func (b *Binding) Release(ctx context.Context) error {
	if !b.p.bound.remove(b) {
		return nil // another connection resumed it
	}
	b.reporting.Lock() // reports in flight come first
	b.released = true
	b.reporting.Unlock()
	_, err := b.p.Publish(ctx, b.user, b.actor, presence.Refresh{Session: b.id, Lease: Grace})
	if errors.Is(err, presence.ErrUnknownSession) || errors.Is(err, presence.ErrSessionReplaced) {
		return nil // it has already ended
	}
	return err
}

// Detach is for a server that shuts down: the session keeps its lease, for a client that
// reconnects to another server or to the restarted one.
func (b *Binding) Detach() { b.p.bound.remove(b) }

func (s *bindings) add(b *Binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The slot that was refreshed last: its turn comes again after a whole round.
	b.slot = (s.next + boundSlots - 1) % boundSlots
	if s.slots[b.slot] == nil {
		s.slots[b.slot] = make(map[*Binding]struct{})
	}
	s.slots[b.slot][b] = struct{}{}
	if s.held == nil {
		s.held = make(map[heldSession][]*Binding)
	}
	key := heldSession{b.user, b.id}
	s.held[key] = append(s.held[key], b)
}

// remove reports whether b was the last that held its session.
func (s *bindings) remove(b *Binding) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.slots[b.slot][b]; !ok {
		return false
	}
	delete(s.slots[b.slot], b)
	key := heldSession{b.user, b.id}
	s.held[key] = slices.DeleteFunc(s.held[key], func(other *Binding) bool { return other == b })
	if len(s.held[key]) > 0 {
		return false
	}
	delete(s.held, key)
	return true
}

// holding returns the bindings of a session.
func (s *bindings) holding(u store.User, id presence.SessionID) []*Binding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.held[heldSession{u, id}])
}

// dropReplaced ends the bindings on this node of sessions that a commit replaced.
// Bindings on other nodes end at their next refresh.
func (p *Publisher) dropReplaced(u store.User, s *presence.State) {
	for i := range s.Replaced {
		for _, b := range p.bound.holding(u, s.Replaced[i].ID) {
			p.bound.drop(b, presence.ErrSessionReplaced)
		}
	}
}

// drop ends a binding whose session has ended, once.
func (s *bindings) drop(b *Binding, why error) {
	s.remove(b)
	if b.ended.CompareAndSwap(false, true) {
		b.lost(why)
	}
}

// turn returns the bindings that are to be refreshed now.
func (s *bindings) turn() []*Binding {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := make([]*Binding, 0, len(s.slots[s.next]))
	for b := range s.slots[s.next] {
		due = append(due, b)
	}
	s.next = (s.next + 1) % boundSlots
	return due
}

// KeepBound keeps bound sessions live until ctx ends.
func (p *Publisher) KeepBound(ctx context.Context) {
	ticker := time.NewTicker(boundTick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.refreshBound(ctx, p.bound.turn())
		case <-ctx.Done():
			return
		}
	}
}

func (p *Publisher) refreshBound(ctx context.Context, due []*Binding) {
	var group sync.WaitGroup
	work := make(chan *Binding)
	for range min(len(due), boundWorkers) {
		group.Go(func() {
			for b := range work {
				switch err := b.ReportActivity(ctx, presence.ActivityUnspecified); {
				case err == nil || ctx.Err() != nil:
				case sessionEnded(err):
					p.bound.drop(b, err)
				default:
					p.log.WarnContext(ctx, "refresh of a bound session failed; will retry", slog.String("user", string(b.user.ID)), slog.Any("err", err))
				}
			}
		})
	}
	for _, b := range due {
		work <- b
	}
	close(work)
	group.Wait()
}

// boundWorkers is how many are refreshed at once: most need no commit.
const boundWorkers = 32
