package publish

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Grace is how long a session outlives the connection that it was bound to.
const Grace = presence.MinLease

const (
	// boundRefresh is how often a bound session is kept live: well within its lease,
	// and within Grace, for another connection may just have been lost with it.
	boundRefresh = 20 * time.Second
	boundTick    = time.Second
	boundSlots   = int(boundRefresh / boundTick)
)

// bindings are the sessions that connections hold live. One ticker goes round
// their slots, so that none has a timer and they do not come all at once.
type bindings struct {
	mu    sync.Mutex // guards the fields below
	slots [boundSlots]map[*Binding]struct{}
	next  int
	held  map[heldSession]int // how many connections hold it
}

type heldSession struct {
	user store.User
	id   presence.SessionID
}

// A Binding is a session that lives in a connection.
type Binding struct {
	p     *Publisher
	user  store.User
	actor store.Actor
	id    presence.SessionID
	slot  int

	speaking sync.RWMutex // held for reading by Say
	released bool         // guarded by speaking
	lost     func()       // the session has ended
}

// Session is the id of the session in its user's record.
func (b *Binding) Session() presence.SessionID { return b.id }

// SignIn begins a session that is kept live until Release or End. Was is that of a
// connection that was lost, or "": when it is still live it goes on, and nobody is
// told; that is no activity, unless said says so. lost is called if the session
// ends all the same.
func (p *Publisher) SignIn(ctx context.Context, u store.User, actor store.Actor, e presence.SignIn, was presence.SessionID, said presence.Activity, lost func()) (*Binding, error) {
	id := was
	err := presence.ErrUnknownSession
	if was != "" {
		_, err = p.Publish(ctx, u, actor, presence.Refresh{Session: was, Activity: said, Lease: presence.DefaultLease})
	}
	if errors.Is(err, presence.ErrUnknownSession) {
		e.Lease = presence.DefaultLease
		id = e.Session
		_, err = p.Publish(ctx, u, actor, e)
		if err == nil && said == presence.IsIdle {
			_, err = p.Publish(ctx, u, actor, presence.Refresh{Session: id, Activity: said})
		}
	}
	if err != nil {
		return nil, err
	}
	b := &Binding{p: p, user: u, actor: actor, id: id, lost: lost}
	p.bound.add(b)
	return b, nil
}

// Say reports whether the person is active. After Release it does nothing: it would
// give the session its lease again, of a connection that is lost.
func (b *Binding) Say(ctx context.Context, said presence.Activity) error {
	b.speaking.RLock()
	defer b.speaking.RUnlock()
	if b.released {
		return nil
	}
	_, err := b.p.Publish(ctx, b.user, b.actor, presence.Refresh{Session: b.id, Activity: said, Lease: presence.DefaultLease})
	return err
}

// End signs out.
func (b *Binding) End(ctx context.Context) error {
	_, err := b.p.Publish(ctx, b.user, b.actor, presence.SignOut{Session: b.id})
	if err == nil || over(err) {
		b.p.bound.remove(b)
	}
	return err
}

// over reports whether an error says that there is no such session any more.
func over(err error) bool {
	return errors.Is(err, presence.ErrUnknownSession) || errors.Is(err, presence.ErrDeactivated) || errors.Is(err, presence.ErrDeleted)
}

// Release is for a connection that was lost: the session ends after Grace, unless
// another connection goes on with it.
func (b *Binding) Release(ctx context.Context) error {
	if !b.p.bound.remove(b) {
		return nil // another connection went on with it
	}
	b.speaking.Lock() // what is being said comes before
	b.released = true
	b.speaking.Unlock()
	_, err := b.p.Publish(ctx, b.user, b.actor, presence.Refresh{Session: b.id, Lease: Grace})
	if errors.Is(err, presence.ErrUnknownSession) {
		return nil // it has ended otherwise
	}
	return err
}

// Leave is for a server that stops: the session has its lease, for a client that
// comes back to another server or to the next one.
func (b *Binding) Leave() { b.p.bound.remove(b) }

func (s *bindings) add(b *Binding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The slot that has just been: it comes again after a whole round.
	b.slot = (s.next + boundSlots - 1) % boundSlots
	if s.slots[b.slot] == nil {
		s.slots[b.slot] = make(map[*Binding]struct{})
	}
	s.slots[b.slot][b] = struct{}{}
	if s.held == nil {
		s.held = make(map[heldSession]int)
	}
	s.held[heldSession{b.user, b.id}]++
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
	s.held[key]--
	if s.held[key] > 0 {
		return false
	}
	delete(s.held, key)
	return true
}

// turn gives those whose turn it is.
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
				switch err := b.Say(ctx, presence.Unsaid); {
				case err == nil || ctx.Err() != nil:
				case over(err):
					p.bound.remove(b)
					b.lost()
				default:
					p.log.WarnContext(ctx, "a session of a connection could not be kept live", slog.String("user", string(b.user.ID)), slog.Any("err", err))
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
