package publish

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Grace is how long a session outlives the connection that held it, or the node.
// It must be a valid lease: at least presence.MinLease.
const Grace = 30 * time.Second

// A Binding is a connection that holds a session. While it does, the session has no end
// and costs no commits except when its person becomes active or idle.
type Binding struct {
	p      *Publisher
	user   store.User
	actor  store.Actor
	holder string // the name of this run of the node when the session was bound
	id     presence.SessionID

	released atomic.Bool
	lost     func(error)           // the session has ended
	ended    atomic.Pointer[error] // lost was called with it
}

// Ended reports whether the session has ended under the connection.
func (b *Binding) Ended() bool { return b.ended.Load() != nil }

// Session is the id of the session in its user's record.
func (b *Binding) Session() presence.SessionID { return b.id }

// SignIn begins a session, or resumes that of a lost connection, and holds it until
// Release or End. lost is called if the session ends otherwise, with the reason:
// presence.ErrSessionReplaced or presence.ErrUnknownSession, for example. If a connection to
// another node resumes the session, that node holds it until its connection is lost.
func (p *Publisher) SignIn(ctx context.Context, u store.User, actor store.Actor, e presence.SignIn, lost func(error)) (*Binding, error) {
	e.Lease = presence.DefaultLease
	unlock, err := p.bound.lock(ctx, u)
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, _, err := p.store.Read(ctx, []store.User{u}, store.Freshness{ForUpdate: true})
	if err != nil {
		return nil, err
	}
	for {
		e.Holder = p.Holder()
		result, err := p.Publish(ctx, u, actor, e)
		if err != nil {
			if errors.Is(err, store.ErrUnknown) { // it may be on record, although nobody holds it
				p.bound.releaseLater(u, e.Holder, p.now().Add(Grace), e.Session, e.Was)
			}
			return nil, err
		}
		b := &Binding{p: p, user: u, actor: actor, holder: e.Holder, id: e.SessionIn(result.Record.State), lost: lost}
		if p.bound.add(b, p.idleAfterSignIn(&e, b.id, before), e.Activity == presence.ActivityActive, p.isHolder(e.Holder)) {
			p.reconcile(u, result.Record.State)
			return b, nil
		}
		e.Request = presence.Request{} // it was carried out: the session now needs another holder
	}
}

// isHolder reports, when it is called, whether this run of the node still has a name.
func (p *Publisher) isHolder(name string) func() bool {
	return func() bool { return p.Holder() == name }
}

// idleAfterSignIn is when a session becomes idle that is active after a sign-in. A sign-in
// without activity leaves that as it was, where the record still says so.
func (p *Publisher) idleAfterSignIn(e *presence.SignIn, id presence.SessionID, before []store.Record) presence.Instant {
	now := p.now()
	if len(before) > 0 && e.Activity != presence.ActivityActive {
		if s := findSession(before[0].State, id); s != nil && s.IdleAt > now {
			return s.IdleAt
		}
	}
	return p.idleAt(now)
}

// idleAt is when a session becomes idle that is active now; zero: never.
func (p *Publisher) idleAt(now presence.Instant) presence.Instant {
	if p.policy.IdleAfter <= 0 {
		return 0
	}
	return now.Add(p.policy.IdleAfter)
}

func findSession(s *presence.State, id presence.SessionID) *presence.Session {
	i := slices.IndexFunc(s.Sessions, func(s presence.Session) bool { return s.ID == id })
	if i < 0 {
		return nil
	}
	return &s.Sessions[i]
}

// ReportActivity reports whether the person is active. Only a change of that is a commit.
// After Release it does nothing.
func (b *Binding) ReportActivity(ctx context.Context, activity presence.Activity) error {
	if b.p.bound.stays(b, activity, b.p.idleAt(b.p.now())) {
		return nil
	}
	unlock, err := b.p.bound.lock(ctx, b.user)
	if err != nil {
		return err
	}
	defer unlock()
	if why := b.ended.Load(); why != nil {
		return *why
	}
	if b.released.Load() || b.p.bound.stays(b, activity, b.p.idleAt(b.p.now())) {
		return nil
	}
	if b.p.bound.shared(b) {
		_, err = b.p.Publish(ctx, b.user, b.actor, presence.Refresh{Session: b.id, Activity: activity})
	} else {
		_, err = b.p.publishRecorded(ctx, b.user, b.actor, presence.Refresh{Session: b.id, Activity: activity, Holder: b.p.Holder()})
	}
	if sessionEnded(err) {
		b.p.drop([]*Binding{b}, err)
	}
	return err
}

// End signs out.
func (b *Binding) End(ctx context.Context) error {
	unlock, err := b.p.bound.lock(ctx, b.user)
	if err != nil {
		return err
	}
	defer unlock()
	b.released.Store(true) // not lost
	_, err = b.p.Publish(ctx, b.user, b.actor, presence.SignOut{Session: b.id})
	if err == nil || sessionEnded(err) {
		b.p.bound.remove(b)
		return err
	}
	b.released.Store(false)
	return err
}

// sessionEnded reports whether an error says that the session no longer exists.
func sessionEnded(err error) bool {
	return errors.Is(err, presence.ErrUnknownSession) || errors.Is(err, presence.ErrSessionReplaced) ||
		errors.Is(err, presence.ErrDeactivated) || errors.Is(err, presence.ErrDeleted)
}

// Release is for a connection that was lost: the session ends after Grace unless another
// connection resumes it. After an error the node tries again until it succeeds.
func (b *Binding) Release(ctx context.Context) error {
	if b.released.Swap(true) || b.Ended() {
		return nil
	}
	idleAt, last := b.p.bound.release(b, b.p.now().Add(releaseRetry))
	if !last {
		return nil // another connection holds it too
	}
	unlock, err := b.p.bound.lock(ctx, b.user)
	if err != nil {
		return err
	}
	defer unlock()
	return b.p.releaseSession(ctx, heldSession{b.user, b.id}, b.actor, idleAt)
}

// releaseSession gives a session that no connection holds its grace period. The caller has
// the lock of its user.
func (p *Publisher) releaseSession(ctx context.Context, key heldSession, actor store.Actor, idleAt presence.Instant) error {
	if p.bound.holds(key) {
		return nil // another connection resumed it meanwhile
	}
	_, err := p.Publish(ctx, key.user, actor, presence.Release{Session: key.id, Holder: p.Holder(), Lease: Grace, IdleAt: idleAt})
	if err == nil || sessionEnded(err) {
		p.bound.dropReleased(key)
		return nil
	}
	return err
}

// Detach is for a server that shuts down. The session stays with this run of the node, for
// a client that reconnects to another node or to the restarted one. Without one it ends
// when the run is known to have ended, as EndHolders says.
func (b *Binding) Detach() {
	b.released.Store(true)
	b.p.bound.detach(b)
}
