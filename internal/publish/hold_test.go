package publish_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

var (
	idle   = presence.Refresh{Session: "s", Activity: presence.ActivityIdle}
	active = presence.Refresh{Session: "s", Activity: presence.ActivityActive}
)

func keyedRequest(key byte) presence.Request {
	return presence.Request{Key: [16]byte{key}, Body: [16]byte{key}}
}

// TestQueuedEventsKeepTheirOrder: queued events are committed in the order of arrival,
// and the log names the actor of the first.
func TestQueuedEventsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		begun := time.Now()
		n.must(signIn("s", time.Hour))
		phone := store.Actor{User: "alice", App: "phone"}
		var group sync.WaitGroup
		for _, held := range []struct {
			actor store.Actor
			e     presence.Event
		}{
			{phone, presence.SignOut{Session: "s"}},
			{store.Actor{User: "admin"}, signIn("s", time.Hour)},
			{store.Actor{App: "desk"}, signIn("t", time.Hour)},
			{store.Actor{App: "desk"}, presence.SignOut{Session: "t"}},
			{store.Actor{App: "desk"}, idle},
		} {
			group.Go(func() {
				if _, err := n.Publish(t.Context(), alice, held.actor, held.e); err != nil {
					t.Errorf("%+v: %v", held.e, err)
				}
			})
			synctest.Wait()
		}
		group.Wait()
		n.want(presence.Away)
		sessions := n.record(alice).Sessions
		if len(sessions) != 1 || sessions[0].ID != "s" || sessions[0].Since == presence.InstantOf(begun) {
			t.Errorf("%+v", sessions)
		}
		log := entries(n, alice)
		if by := log[len(log)-1].By; len(log) != 2 || by != (store.By{Cause: store.CauseSignOut, Actor: phone}) {
			t.Errorf("%d entries, the last by %+v", len(log), by)
		}
	})
}

// TestClaimsAreNotQueued: only changes by sessions are queued. A claim is committed at
// once, together with soft state, while session events wait.
func TestClaimsAreNotQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		advanceTime(100 * time.Millisecond)
		n.must(active)
		wantAtOnce := func(status presence.Status) {
			t.Helper()
			begun := time.Now()
			n.must(presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: status})
			n.want(status)
			if waited := time.Since(begun); waited > 0 {
				t.Errorf("%v waited %v", status, waited)
			}
		}
		wantAtOnce(presence.Busy)
		n.must(presence.EndClaim{ID: presence.ManualClaim})
		var group sync.WaitGroup
		group.Go(func() { n.try(presence.SignOut{Session: "s"}) })
		synctest.Wait()
		wantAtOnce(presence.Presenting)
		group.Wait()
		n.want(presence.Offline)
	})
}

func TestTooManyQueuedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() { n.try(idle) })
		}
		synctest.Wait()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := n.Publish(ctx, alice, store.Actor{}, idle)
		var limit *presence.LimitError
		if !errors.As(err, &limit) || limit.Limit != 64 || time.Since(begun) > 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		group.Wait()
		n.want(presence.Away)
		advanceTime(time.Second)
		n.must(active) // the queue has capacity again
	})
}

// TestQueuedEventOutlivesItsPublisher: a queued event is applied although its publisher
// has stopped waiting; the publisher gets ErrUnknown.
func TestQueuedEventOutlivesItsPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := n.Publish(ctx, alice, store.Actor{}, idle); !errors.Is(err, store.ErrUnknown) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		cancel()
		group.Wait()
		n.want(presence.Available)
		advanceTime(time.Second)
		n.want(presence.Away)
	})
}

// TestRepeatsAmongQueuedEvents: the repeat of a request that was answered or is queued
// gets the same answer.
func TestRepeatsAmongQueuedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		in := signIn("s", time.Hour)
		in.Request = keyedRequest(1)
		out := presence.SignOut{Session: "s", Request: keyedRequest(2)}
		misused := out
		misused.Body = [16]byte{9}

		first := n.must(in)
		var group sync.WaitGroup
		var held, again, before publish.Result
		for _, do := range []func(){
			func() { held = n.try(out) },
			func() { again = n.try(out) },
			func() { before = n.try(in) },
			func() {
				if _, err := n.publish(misused); !errors.Is(err, presence.ErrKeyReused) {
					t.Errorf("a reused key: %v", err)
				}
			},
		} {
			group.Go(do)
			synctest.Wait()
		}
		group.Wait()
		committed := n.record(alice).Revision
		if held.Answer != nil || held.Revision() != committed {
			t.Errorf("the sign-out: %+v", held.Answer)
		}
		if again.Answer == nil || again.Revision() != committed {
			t.Errorf("its repeat: %+v, want revision %d", again.Answer, committed)
		}
		if before.Answer == nil || before.Revision() != first.Revision() {
			t.Errorf("the repeat of the sign-in: %+v, want revision %d", before.Answer, first.Revision())
		}
	})
}

// TestIfMatchAmongQueuedEvents: two sign-outs name one revision, and the second is
// refused.
func TestIfMatchAmongQueuedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		n.must(signIn("t", time.Hour))
		n.must(presence.Refresh{Session: "t", Activity: presence.ActivityIdle})
		match := presence.Request{IfMatch: []presence.Revision{n.record(alice).Revision}}
		var group sync.WaitGroup
		group.Go(func() { n.try(presence.SignOut{Session: "s", Request: match}) })
		synctest.Wait()
		if _, err := n.publish(presence.SignOut{Session: "t", Request: match}); !errors.Is(err, presence.ErrPrecondition) {
			t.Errorf("the second sign-out: %v", err)
		}
		group.Wait()
		n.want(presence.Away)
	})
}

// TestClockSetBackDelaysNothing: after the clock was set back, the instant of damping
// is far in the future.
func TestClockSetBackDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offset atomic.Int64
		n := open(t, vfs.NewMem(), func(o *publish.Options) {
			o.Clock = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
		})
		defer n.stop()
		n.must(signIn("s", time.Hour))
		offset.Store(-int64(time.Hour))
		begun := time.Now()
		n.must(idle)
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("queued for %v", waited)
		}
		n.want(presence.Away)
	})
}

// TestCauses: the log records the cause and the actor.
func TestCauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		actor := store.Actor{User: "alice", App: "desk"}
		for _, row := range []struct {
			e    presence.Event
			want store.Cause
		}{
			{presence.SetUserState{State: presence.UserActive}, store.CauseCreated},
			{presence.ProfileChanged{}, store.CauseRenamed},
			{presence.ProfileChanged{Email: true}, store.CauseEmail},
			{presence.SetUserState{State: presence.UserDeactivated}, store.CauseDeactivated},
			{presence.SetUserState{State: presence.UserActive}, store.CauseActivated},
			{signIn("s", time.Hour), store.CauseSignIn},
			{idle, store.CauseRefresh},
			{presence.SetClaim{ID: "c", Source: presence.App, Status: presence.Busy}, store.CauseClaim},
			{presence.EndClaim{ID: "c"}, store.CauseEndClaim},
			{presence.SetNote{Text: "n", Until: presence.InstantOf(time.Now().Add(time.Minute))}, store.CauseNote},
			{presence.SignOut{Session: "s"}, store.CauseSignOut},
		} {
			advanceTime(2 * time.Second)
			if _, err := n.Publish(t.Context(), alice, actor, row.e); err != nil {
				t.Fatalf("%+v: %v", row.e, err)
			}
			log := entries(n, alice)
			if by := log[len(log)-1].By; by != (store.By{Cause: row.want, Actor: actor}) {
				t.Errorf("%T: by %+v", row.e, by)
			}
		}
		advanceTime(time.Minute) // the note expires
		log := entries(n, alice)
		if by := log[len(log)-1].By; by != (store.By{Cause: store.CauseTime}) {
			t.Errorf("an expiry: by %+v", by)
		}
	})
}

// TestQueuedCommitsNameTheAccepted: the log names the actor whose event was accepted,
// and not one whose queued event was refused.
func TestQueuedCommitsNameTheAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		signedIn := n.must(signIn("s", time.Hour))
		var group sync.WaitGroup
		group.Go(func() {
			stale := presence.SignOut{Session: "s"}
			stale.IfMatch = []presence.Revision{signedIn.Revision()}
			_, err := n.Publish(t.Context(), alice, store.Actor{User: "eve"}, stale)
			if !errors.Is(err, presence.ErrPrecondition) {
				t.Errorf("eve: %v", err)
			}
		})
		synctest.Wait()
		n.must(presence.SetNote{Text: "moves the revision on"})
		group.Go(func() {
			if _, err := n.Publish(t.Context(), alice, store.Actor{User: "bob"}, idle); err != nil {
				t.Errorf("bob: %v", err)
			}
		})
		group.Wait()
		n.want(presence.Away)
		all := entries(n, alice)
		if last := all[len(all)-1].By; last != (store.By{Cause: store.CauseRefresh, Actor: store.Actor{User: "bob"}}) {
			t.Errorf("the log names %+v", last)
		}
	})
}

// TestRefusedQueuedCommitsNameNobody: if all queued events are refused, a commit of
// expiries names no actor.
func TestRefusedQueuedCommitsNameNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		n.must(signIn("s", time.Hour))
		n.must(presence.SetNote{Text: "n", Until: presence.InstantOf(time.Now().Add(500 * time.Millisecond))})
		var group sync.WaitGroup
		group.Go(func() {
			stale := presence.SignOut{Session: "s"}
			stale.IfMatch = []presence.Revision{n.record(alice).Revision}
			_, err := n.Publish(t.Context(), alice, store.Actor{User: "eve"}, stale)
			if !errors.Is(err, presence.ErrPrecondition) {
				t.Errorf("eve: %v", err)
			}
		})
		synctest.Wait()
		n.must(presence.SetVisibility{Everyone: presence.VisibilityOffline}) // changes the revision
		group.Wait()
		all := entries(n, alice)
		last := all[len(all)-1]
		if last.UserAfter.Note != "" || last.UserBefore.Note != "n" {
			t.Fatalf("the last entry is not the note's expiry: %+v", last)
		}
		if last.By != (store.By{Cause: store.CauseTime}) {
			t.Errorf("the log names %+v", last.By)
		}
	})
}
