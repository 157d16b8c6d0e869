// Package publish is where facts enter: sign-ins, activity, claims, notes and the
// passing of time. It applies the rules of package presence to each inside the store's
// update, and publishes expiries at their instant.
//
// It is separate from the wire so that all dialects share one path, and from store
// because it holds soft state: between commits, refreshes and continuing activity stay
// in memory, and changes of a user whose devices flap are damped. It guarantees that
// whatever it acknowledges is durable, except for soft refreshes, and that no session
// expires before this node has been up for the session's lease.
//
// It must not deliver changes to anybody: consumers and subscribers read the store.
package publish

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/telemetry"
)

// Options are what a Publisher is made of.
type Options struct {
	Store  store.Store
	Policy presence.Policy
	// Known reports whether the directory has a user who has no record yet: nil, or
	// the error to return.
	Known func(context.Context, store.User) error
	Clock func() time.Time
	Log   *slog.Logger
	// Holder names this run of the node in the records of the sessions that its
	// connections hold, until HoldAs. Each run needs another one. "": a random one.
	Holder string
	// Serving are the runs of nodes that neither drain nor were silent for a while. It is well
	// before a run is known to have ended. nil: this one alone has connections.
	Serving func() []string
}

// Publisher takes events. It is safe for concurrent use.
type Publisher struct {
	store  store.Store
	policy presence.Policy
	known  func(context.Context, store.User) error
	clock  func() time.Time
	log    *slog.Logger
	holder atomic.Pointer[string]
	serves func() []string

	soft  soft
	holds holds
	bound bindings
}

// New returns a publisher that serves from now on: recorded sessions get a full lease
// from this instant, unless several nodes share the store.
func New(o Options) *Publisher {
	p := &Publisher{store: o.Store, policy: o.Policy, known: o.Known, clock: o.Clock, log: o.Log, serves: o.Serving}
	p.soft.seed = maphash.MakeSeed()
	p.bound.init()
	holder := cmp.Or(o.Holder, rand.Text())
	p.holder.Store(&holder)
	if !p.policy.Ahead {
		p.policy.Ready = p.now()
	}
	return p
}

func (p *Publisher) now() presence.Instant { return presence.InstantOf(p.clock()) }

// Policy is the policy in force.
func (p *Publisher) Policy() presence.Policy { return p.policy }

// A Result is what an accepted event led to.
type Result struct {
	Record store.Record
	// Answer is set if the request repeats an earlier one: this is the earlier answer,
	// and nothing changed now.
	Answer *presence.Answer
}

// Revision is that of the commit that the request led to, earlier or now.
func (r *Result) Revision() presence.Revision {
	if r.Answer != nil {
		return r.Answer.Revision
	}
	return r.Record.State.Revision
}

// Publish applies e to u's state, durably, on behalf of actor. The errors are those of
// presence.Apply, of the store and of Known. After an error other than
// store.ErrUnknown nothing has changed.
func (p *Publisher) Publish(ctx context.Context, u store.User, actor store.Actor, e presence.Event) (Result, error) {
	refresh, ok := e.(presence.Refresh)
	if !ok {
		return p.publishRecorded(ctx, u, actor, e)
	}
	result, err := p.publishRefresh(ctx, u, actor, refresh)
	if err != nil || result.Answer != nil || p.noteActivity(u, refresh) {
		return result, err
	}
	unlock, err := p.bound.lock(ctx, u)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	refresh.Request = presence.Request{} // it was carried out
	if result, err = p.publishRecorded(ctx, u, actor, refresh); err == nil {
		p.noteActivity(u, refresh)
	}
	return result, err
}

// publishRefresh is Publish for a refresh, which may need no commit.
func (p *Publisher) publishRefresh(ctx context.Context, u store.User, actor store.Actor, e presence.Refresh) (Result, error) {
	if !p.holds.waiting(u) {
		if record, ok, err := p.refreshUnrecorded(ctx, u, e); ok || err != nil {
			return Result{Record: record}, err
		}
	}
	return p.publishRecorded(ctx, u, actor, e)
}

// noteActivity notes activity that was reported of a session that a connection holds. It
// reports false if this node is writing that the session became idle: the activity is to be
// recorded after that.
func (p *Publisher) noteActivity(u store.User, e presence.Refresh) bool {
	return e.Activity != presence.ActivityActive || p.bound.touch(heldSession{u, e.Session}, p.idleAt(p.now()))
}

// publishRecorded is Publish with a commit, even for refreshes.
func (p *Publisher) publishRecorded(ctx context.Context, u store.User, actor store.Actor, e presence.Event) (Result, error) {
	by := store.By{Cause: causeOf(e, true), Actor: actor}
	if sessionEvent(e) {
		if waiter, held := p.holds.join(u, by, e); held {
			return waiter.wait(ctx)
		}
	}
	result, err := p.commit(ctx, u, by, e)
	if damped, ok := errors.AsType[*presence.DampedError](err); ok {
		return p.hold(ctx, u, by, e, damped.Until)
	}
	return result, err
}

// commit applies e, and what memory holds of u's sessions, in one update.
func (p *Publisher) commit(ctx context.Context, u store.User, by store.By, e presence.Event) (Result, error) {
	c := p.newCommit(u, by.Actor, e)
	return p.update(ctx, update{user: u, seen: c.seen, unlisted: isDirectory(e), decide: c.decide})
}

// A commit is one event to be applied.
type commit struct {
	p     *Publisher
	actor store.Actor
	event presence.Event
	now   presence.Instant
	seen  []presence.SoftState // of the user's sessions
}

func (p *Publisher) newCommit(u store.User, actor store.Actor, e presence.Event) commit {
	return commit{p: p, actor: actor, event: e, now: p.now(), seen: p.soft.of(u)}
}

func (c *commit) decide(was presence.Recorded) (store.Change, error) {
	by := store.By{Cause: causeOf(c.event, was.State.Exists()), Actor: c.actor}
	if len(c.seen) == 0 {
		next, err := presence.Apply(was, c.event, c.p.policy, c.now)
		return c.p.changeOf(&was, &next, by), err
	}
	next, errs, err := presence.ApplyEach(was, []presence.Event{presence.Tick{Soft: c.seen}, c.event}, c.p.policy, c.now)
	return c.p.changeOf(&was, &next, by), cmp.Or(errs[1], err)
}

// changeOf is the change of a commit. A commit that only keeps sessions alive is not
// logged.
func (p *Publisher) changeOf(was *presence.Recorded, next *presence.Change, by store.By) store.Change {
	c := store.Change{Change: *next, By: by}
	switch by.Cause {
	case store.CauseRefresh:
		c.Unlogged = keepsAlive(was, next, false)
	case store.CauseTime:
		c.Unlogged = keepsAlive(was, next, true)
	default:
	}
	return c
}

// keepsAlive reports whether nothing changed but the instants of sessions. A client's
// report that its user became active or idle is logged, even if the presence does not change
// because of another client.
func keepsAlive(was *presence.Recorded, next *presence.Change, byTime bool) bool {
	before, after := &was.State, &next.State
	same := func(a, b presence.Session) bool {
		return a.ID == b.ID && a.Since == b.Since && (byTime || a.ActiveAt(after.At) == b.ActiveAt(after.At))
	}
	return before.Exists() && was.Shown == next.Shown && before.UserState == after.UserState && before.Note.Text == after.Note.Text &&
		slices.EqualFunc(before.Sessions, after.Sessions, same)
}

// ErrNotOnRecord asks the caller to check the directory. Only Begin returns it.
var ErrNotOnRecord = errors.New("nothing is recorded about this user")

// An update is a change of a user's record to be made.
type update struct {
	user store.User
	seen []presence.SoftState // what memory holds of the sessions, which decide carries into the record
	// unlisted says that the directory need not know a user without a record, because
	// the directory itself asks, or the user is known already.
	unlisted bool
	decide   store.Decide
}

// guarded is decide, restricted to users who have a record.
func (o *update) guarded(was presence.Recorded) (store.Change, error) {
	if !o.unlisted && !was.State.Exists() {
		return store.Change{}, ErrNotOnRecord
	}
	return o.decide(was)
}

func (p *Publisher) update(ctx context.Context, o update) (Result, error) {
	t := p.newTiming(telemetry.From(ctx), o.user)
	record, err := p.store.Update(ctx, o.user, t.around(o.guarded))
	defer func() { t.end(err) }()
	if errors.Is(err, ErrNotOnRecord) {
		if err := p.known(ctx, o.user); err != nil {
			return Result{}, err
		}
		o.unlisted = true
		record, err = p.store.Update(ctx, o.user, t.around(o.guarded))
	}
	p.reconcile(o.user, record.State)
	return p.resultOf(&o, record, err)
}

// resultOf is the result of an update that the store has answered.
func (p *Publisher) resultOf(o *update, record store.Record, err error) (Result, error) {
	if err == nil {
		p.soft.drop(o.user, o.seen, record.State)
		return Result{Record: record}, nil
	}
	if errors.Is(err, presence.ErrNoChange) {
		return Result{Record: record}, nil
	}
	if repeat, ok := errors.AsType[*presence.RepeatError](err); ok {
		return Result{Record: record, Answer: &repeat.Answer}, nil
	}
	return Result{Record: record}, err
}

func isDirectory(e presence.Event) bool {
	switch e.(type) {
	case presence.SetUserState, presence.ProfileChanged:
		return true
	default:
		return false
	}
}

func sessionEvent(e presence.Event) bool {
	switch e.(type) {
	case presence.SignIn, presence.Refresh, presence.SignOut, presence.Release:
		return true
	default:
		return false
	}
}

// causeOf is the cause of a commit of e for a user who exists on record, or does not.
func causeOf(e presence.Event, exists bool) store.Cause {
	switch e := e.(type) {
	case presence.SignIn:
		return store.CauseSignIn
	case presence.Refresh, presence.Release:
		return store.CauseRefresh
	case presence.SignOut:
		return store.CauseSignOut
	case presence.SetClaim:
		return store.CauseClaim
	case presence.EndClaim:
		return store.CauseEndClaim
	case presence.SetNote:
		return store.CauseNote
	case presence.SetVisibility:
		return store.CauseVisibility
	case presence.ProfileChanged:
		return causeOfProfile(e)
	case presence.SetUserState:
		return causeOfState(e.State, exists)
	default:
		return store.CauseTime
	}
}

func causeOfProfile(e presence.ProfileChanged) store.Cause {
	switch {
	case e.Email:
		return store.CauseEmail
	case e.Groups:
		return store.CauseGroups
	default:
		return store.CauseRenamed
	}
}

func causeOfState(state presence.UserState, exists bool) store.Cause {
	switch {
	case state == presence.UserDeleted:
		return store.CauseDeleted
	case state == presence.UserDeactivated:
		return store.CauseDeactivated
	case exists:
		return store.CauseActivated
	default:
		return store.CauseCreated
	}
}
