package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var dueTests = []namedTest{
	{"OnTime", dueOnTime},
	{"InThePast", dueInThePast},
	{"MovedLater", dueMovedLater},
	{"MovedEarlier", dueMovedEarlier},
	{"Cancelled", dueCancelled},
	{"UntilUpdated", dueUntilUpdated},
	{"ManyAtOnce", dueManyAtOnce},
	{"ErrorEnds", dueErrorEnds},
}

// A firing is a user that Due reported, and when.
type firing struct {
	user store.User
	at   time.Time
}

// clearClaims is the update of a user that is due: nothing is due afterwards.
var clearClaims = edit(func(s *presence.State) { s.Claims = nil })

// runDue runs Due. It applies change to each reported user whose record is due, and
// sends that user to fired.
func (x *suite) runDue(change func(presence.State) (presence.State, error)) (fired chan firing, stop func() error) {
	fired = make(chan firing, 1<<16)
	stop = x.background(func(ctx context.Context) error {
		return x.Store.Due(ctx, func(us []store.User) error {
			if len(us) == 0 || len(us) > store.MaxDueGroup {
				x.Errorf("Due gave %d users", len(us))
			}
			now := time.Now()
			var group sync.WaitGroup
			for part := range x.Callers {
				group.Go(func() {
					for i := part; i < len(us); i += x.Callers {
						x.updateIfDue(ctx, us[i], now, change, fired)
					}
				})
			}
			group.Wait()
			return nil
		})
	})
	return fired, stop
}

func (x *suite) updateIfDue(ctx context.Context, u store.User, now time.Time, change func(presence.State) (presence.State, error), fired chan<- firing) {
	// Not with the context of Due: an update that it cut short may be done, and fired would not tell.
	_, err := x.Store.Update(x.ctx, u, UpdateFunc(store.By{Cause: store.CauseTime}, func(s presence.State) (presence.State, error) {
		if _, next := presence.Compose(s, s.At); next.IsZero() || next > presence.InstantOf(now) {
			return s, presence.ErrNoChange
		}
		return change(s)
	}))
	if err == nil {
		fired <- firing{u, now}
	} else if !errors.Is(err, presence.ErrNoChange) && ctx.Err() == nil {
		x.Errorf("Update when due: %v", err)
	}
}

// storeInTime calls put with two new users and an instant that is x.Ahead ahead, until it
// returns before that instant: a machine may stall meanwhile. Firings of earlier users are
// dropped.
func (x *suite) storeInTime(put func(a, b store.User, first time.Time)) (a, b store.User, first time.Time) {
	x.Helper()
	for i := range 10 {
		a, b, first = user(fmt.Sprint("a", i)), user(fmt.Sprint("b", i)), instant(x.Ahead)
		put(a, b, first)
		if time.Now().Before(first) {
			return a, b, first
		}
		x.dropped = append(x.dropped, a, b)
	}
	x.Fatalf("storing two users took longer than %v, again and again", x.Ahead)
	return a, b, first
}

// outIn gives a user a claim that ends d from now, and returns when. The store decides before that:
// otherwise, as when the machine stalls, nothing would become due.
func (x *suite) outIn(u store.User, d time.Duration) (until time.Time) {
	x.Helper()
	for range 10 {
		until = instant(d)
		if r := x.update(u, outUntil(until)); r.State.At < presence.InstantOf(until) {
			return until
		}
	}
	x.Fatalf("an update took longer than %v, again and again", d)
	return until
}

// wantFired receives the next firings. They must be those of these users, each between
// its instant and Lateness after it. Firings that are late have no order.
func (x *suite) wantFired(fired <-chan firing, due map[store.User]time.Time) {
	x.Helper()
	for len(due) > 0 {
		f := receive(x, fired, fmt.Sprint("the firing of one of ", due))
		if slices.Contains(x.dropped, f.user) {
			continue
		}
		at, ok := due[f.user]
		if !ok {
			x.Fatalf("%s fired, want one of %v", f.user.ID, due)
		}
		if late := f.at.Sub(at); late < 0 || late > x.Lateness {
			x.Errorf("%s fired %v after it was due, want at most %v", f.user.ID, late, x.Lateness)
		}
		delete(due, f.user)
	}
}

// wantNoneFired waits until an instant, and requires that nothing has fired.
func (x *suite) wantNoneFired(fired <-chan firing, until time.Time) {
	x.Helper()
	x.pause(until)
	for len(fired) > 0 {
		if f := <-fired; !slices.Contains(x.dropped, f.user) {
			x.Errorf("%s fired at %v, though nothing was due", f.user.ID, f.at)
		}
	}
}

// instant is d from now, in the resolution of records.
func instant(d time.Duration) time.Time { return time.Now().Add(d).Truncate(time.Microsecond) }

func dueOnTime(x *suite) {
	fired, stop := x.runDue(clearClaims)
	a, b, first := x.storeInTime(func(a, b store.User, first time.Time) {
		x.update(b, outUntil(first.Add(x.Ahead)))
		x.update(a, outUntil(first))
	})
	x.update(user("never"), noEdit)
	x.wantFired(fired, map[store.User]time.Time{a: first, b: first.Add(x.Ahead)})
	x.wantNoneFired(fired, instant(3*x.Ahead))
	if err := stop(); !errors.Is(err, context.Canceled) {
		x.Errorf("Due ended with %v, want its context's error", err)
	}
}

// dueInThePast: Due reports at once who was due before it was called.
func dueInThePast(x *suite) {
	x.outIn(user("a"), x.Ahead)
	x.pause(instant(2 * x.Ahead))
	asked := time.Now()
	fired, _ := x.runDue(clearClaims)
	x.wantFired(fired, map[store.User]time.Time{user("a"): asked})
}

func dueMovedLater(x *suite) {
	fired, _ := x.runDue(clearClaims)
	a, _, first := x.storeInTime(func(a, _ store.User, first time.Time) {
		x.update(a, outUntil(first))
		x.update(a, outUntil(first.Add(2*x.Ahead)))
	})
	x.wantFired(fired, map[store.User]time.Time{a: first.Add(2 * x.Ahead)}) // and not earlier
}

func dueMovedEarlier(x *suite) {
	fired, _ := x.runDue(clearClaims)
	x.update(user("a"), outUntil(instant(time.Hour)))
	earlier := x.outIn(user("a"), x.Ahead)
	x.wantFired(fired, map[store.User]time.Time{user("a"): earlier})
}

func dueCancelled(x *suite) {
	fired, _ := x.runDue(clearClaims)
	a, _, _ := x.storeInTime(func(a, _ store.User, first time.Time) {
		x.update(a, outUntil(first))
		x.update(a, func(s *presence.State) { s.Claims = nil })
	})
	x.wantNoneFired(fired, instant(2*x.Ahead))
	// The stale timer must not prevent the next one.
	due := x.outIn(a, x.Ahead)
	x.wantFired(fired, map[store.User]time.Time{a: due})
}

// dueUntilUpdated: Due reports a user again until the record is due later, and not in
// a busy loop.
func dueUntilUpdated(x *suite) {
	calls := make(chan time.Time, 1000)
	stop := x.background(func(ctx context.Context) error {
		return x.Store.Due(ctx, func(us []store.User) error {
			calls <- time.Now()
			return nil
		})
	})
	x.outIn(user("a"), x.Ahead)
	var last time.Time
	for i := range 3 {
		at := receive(x, calls, "the repeated report of the user")
		if i > 0 && at.Sub(last) < 100*time.Millisecond {
			x.Errorf("the user was reported again after %v", at.Sub(last))
		}
		last = at
	}
	next := x.outIn(user("a"), x.Ahead)
	for at := receive(x, calls, "the report at the later instant"); at.Before(next); {
		at = receive(x, calls, "the report at the later instant")
	}
	x.update(user("a"), func(s *presence.State) { s.Claims = nil })
	_ = stop()
}

// dueManyAtOnce: a slow backend may not store all users before the instant. Those that
// it stored before are due.
func dueManyAtOnce(x *suite) {
	const many = 1500 // more than MaxDueGroup
	fired, _ := x.runDue(clearClaims)
	due := instant(max(10*time.Second, 15*x.Ahead))
	var group sync.WaitGroup
	var inTime atomic.Int64
	for part := range x.Callers {
		group.Go(func() {
			for i := part; i < many; i += x.Callers {
				r, err := x.Store.Update(x.ctx, user(fmt.Sprint("u", i)), UpdateFunc(store.By{}, edit(outUntil(due))))
				if err != nil {
					x.Errorf("Update: %v", err)
					return
				}
				if r.State.At < presence.InstantOf(due) {
					inTime.Add(1)
				}
			}
		})
	}
	group.Wait()
	if inTime.Load() < 10 {
		x.Fatalf("%d users stored before they were due: too few to test anything", inTime.Load())
	}
	seen := make(map[store.User]bool, many)
	for range inTime.Load() {
		f := receive(x, fired, "a firing")
		if f.at.Before(due) {
			x.Fatalf("%s fired %v early", f.user.ID, due.Sub(f.at))
		}
		if seen[f.user] {
			x.Fatalf("%s fired twice", f.user.ID)
		}
		seen[f.user] = true
	}
}

func dueErrorEnds(x *suite) {
	x.outIn(user("a"), x.Ahead)
	err := x.Store.Due(x.ctx, func([]store.User) error { return errEnough })
	if !errors.Is(err, errEnough) {
		x.Errorf("Due ended with %v, want fn's error", err)
	}
	fired, _ := x.runDue(clearClaims)
	if f := receive(x, fired, "the firing"); f.user != user("a") {
		x.Errorf("%s fired", f.user.ID)
	}
}
