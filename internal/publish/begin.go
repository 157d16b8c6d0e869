package publish

import (
	"errors"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/telemetry"
)

// A Begun publishes one event at a time without waiting for it. It may be reused after
// each result, and then needs no memory of its own.
type Begun struct {
	p     *Publisher
	done  func(Result, error)
	reply store.Reply // bound once, as attempt.run is
	*attempt

	parent *telemetry.Span // of the next update; nil: it is not traced
	timing *timing
}

// An attempt is what the store's update function reads.
type attempt struct {
	commit commit
	update update
	run    store.Decide
}

func newAttempt() *attempt {
	a := &attempt{}
	a.update.decide = a.commit.decide
	a.run = a.update.guarded
	return a
}

// NewBegun returns a Begun that calls done with each result. done must be quick and must
// not block: see store.Store.Begin.
func (p *Publisher) NewBegun(done func(Result, error)) *Begun {
	b := &Begun{p: p, done: done, attempt: newAttempt()}
	b.reply = b.replied
	return b
}

// Trace makes the next update a stage of a span, if there is one.
func (b *Begun) Trace(parent *telemetry.Span) { b.parent = parent }

// Begin is Publish for a caller that does not wait, and for all events but those of
// sessions, which may be held or kept in memory. Checking the directory is left to the
// caller: after ErrNotOnRecord nothing has changed.
func (b *Begun) Begin(u store.User, actor store.Actor, e presence.Event) {
	b.commit = b.p.newCommit(u, actor, e)
	b.update.user, b.update.seen, b.update.unlisted = u, b.commit.seen, isDirectory(e)
	b.timing, b.parent = b.p.newTiming(b.parent, u), nil
	b.p.store.Begin(u, b.timing.around(b.run), b.reply)
}

// errNoResult: something panicked, and the store logs it.
var errNoResult = errors.New("the result could not be read")

func (b *Begun) replied(record store.Record, err error) {
	result, failure := Result{}, errNoResult
	b.timing.end(err)
	defer func() { b.done(result, failure) }()
	result, failure = b.p.resultOf(&b.update, record, err)
	if errors.Is(err, store.ErrUnknown) {
		b.attempt = newAttempt() // the store may still read the old one
	}
}
