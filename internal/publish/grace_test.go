package publish_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

// runWithConnections runs a test on a node that keeps bound sessions live and publishes
// expiries.
func runWithConnections(t *testing.T, test func(n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := start(t, vfs.NewMem())
		defer n.stop()
		n.must(presence.SetUserState{State: presence.UserActive})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.KeepBound(ctx)
		}()
		watched := make(chan error, 1)
		go func() {
			watched <- n.store.Watch(ctx, func(group []store.Record, _ store.Cursor) { n.Observe(group) })
		}()
		defer func() {
			stop()
			<-ended
			if err := <-watched; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
		test(n)
	})
}

// connect signs in over a connection. was is the session of a lost one, or "".
func (n *node) connect(id, was presence.SessionID) *publish.Binding {
	n.Helper()
	b, err := n.SignIn(n.Context(), alice, store.Actor{User: "alice"}, presence.SignIn{Session: id, Was: was, Client: presence.Desktop}, func(error) { n.endedSessions.Add(1) })
	if err != nil {
		n.Fatal(err)
	}
	return b
}

func (n *node) release(b *publish.Binding) {
	n.Helper()
	if err := b.Release(n.Context()); err != nil {
		n.Fatal(err)
	}
}

// TestSessionLivesWithItsConnection: a session lives while its connection is open, far
// beyond its lease, and for the grace period after the connection is lost.
func TestSessionLivesWithItsConnection(t *testing.T) {
	runWithConnections(t, func(n *node) {
		b := n.connect("s", "")
		shown := n.want(presence.Available)
		advanceTime(4 * presence.DefaultLease)
		if again := n.want(presence.Available); again != shown {
			n.Errorf("renewing the lease changed the presence: %+v, %+v", shown, again)
		}
		n.release(b)
		advanceTime(publish.Grace - 2*time.Second)
		n.want(presence.Available)
		advanceTime(4 * time.Second)
		n.want(presence.Offline)
	})
}

// TestReconnectKeepsSession: a client that reconnects within the grace period has the
// same session, no watcher is notified, and the session lives with the new connection.
func TestReconnectKeepsSession(t *testing.T) {
	runWithConnections(t, func(n *node) {
		b := n.connect("s", "")
		shown := n.want(presence.Available)
		advanceTime(time.Minute)
		for range 3 {
			n.release(b)
			advanceTime(publish.Grace - 2*time.Second)
			if b = n.connect("another", b.Session()); b.Session() != "s" {
				n.Fatalf("the session is %s", b.Session())
			}
		}
		advanceTime(3 * presence.DefaultLease)
		if again := n.want(presence.Available); again != shown {
			n.Errorf("the presence changed: %+v, %+v", shown, again)
		}
		n.release(b)
		advanceTime(publish.Grace + 2*time.Second)
		n.want(presence.Offline)
		if b = n.connect("new", "s"); b.Session() != "new" {
			n.Errorf("the session %s continues after its end", b.Session())
		}
		n.want(presence.Available)
		n.release(b)
	})
}

// TestTwoConnectionsOfOneSession: the new connection opens before the old one is known
// to be lost. The session ends with the last.
func TestTwoConnectionsOfOneSession(t *testing.T) {
	runWithConnections(t, func(n *node) {
		old := n.connect("s", "")
		again := n.connect("another", old.Session())
		n.release(old)
		n.release(old) // a second release has no effect
		advanceTime(2 * presence.DefaultLease)
		n.want(presence.Available)
		n.release(again)
		advanceTime(publish.Grace + 2*time.Second)
		n.want(presence.Offline)
	})
}

// TestTwoConnectionsLostTogether: soft state of both sessions, from while they were
// renewed, restores neither lease.
func TestTwoConnectionsLostTogether(t *testing.T) {
	for range 10 {
		runWithConnections(t, func(n *node) {
			a, b := n.connect("a", ""), n.connect("b", "")
			advanceTime(70 * time.Second)
			var losing sync.WaitGroup
			losing.Go(func() { n.release(a) })
			losing.Go(func() { n.release(b) })
			losing.Wait()
			advanceTime(publish.Grace - 2*time.Second)
			n.want(presence.Available)
			advanceTime(4 * time.Second)
			n.want(presence.Offline)
		})
	}
}

// TestSignOutEndsAtOnce: a sign-out ends the session at once, and the rest of its
// connection changes nothing.
func TestSignOutEndsAtOnce(t *testing.T) {
	runWithConnections(t, func(n *node) {
		b := n.connect("s", "")
		if err := b.End(n.Context()); err != nil {
			n.Fatal(err)
		}
		n.want(presence.Offline)
		n.release(b)
		advanceTime(publish.Grace)
		n.want(presence.Offline)
	})
}

// TestDrainWritesNothing: a server that stops leaves its sessions to the next one, without
// a commit for each.
func TestDrainWritesNothing(t *testing.T) {
	runWithConnections(t, func(n *node) {
		b := n.connect("s", "")
		advanceTime(10 * time.Minute)
		before := n.record(alice).Revision
		b.Detach()
		advanceTime(10 * time.Minute) // even the edge to idle is left to the next server
		n.want(presence.Available)
		if after := n.record(alice).Revision; after != before {
			t.Errorf("revision %d became %d", before, after)
		}
	})
}

// TestQueuedActivityDoesNotExtendSession: an activity report is queued by damping when
// the connection is lost. The session still has its grace period, and not a whole
// lease.
func TestQueuedActivityDoesNotExtendSession(t *testing.T) {
	runWithConnections(t, func(n *node) {
		b := n.connect("s", "")
		advanceTime(time.Minute)
		said := make(chan error, 4)
		report := func(a presence.Activity) {
			go func() { said <- b.ReportActivity(n.Context(), a) }()
			synctest.Wait()
		}
		report(presence.ActivityIdle)
		n.release(b)                    // at once, or behind queued events
		report(presence.ActivityActive) // it was read before the connection was lost
		advanceTime(3 * time.Second)
		for range 2 {
			if err := <-said; err != nil {
				n.Error(err)
			}
		}
		advanceTime(publish.Grace)
		n.want(presence.Offline)
	})
}

// TestSignOutOfConnectedSession: a session is signed out by its id. The owner of its
// connection is notified once, and no longer renews it.
func TestSignOutOfConnectedSession(t *testing.T) {
	runWithConnections(t, func(n *node) {
		n.connect("s", "")
		advanceTime(time.Minute)
		n.must(presence.SignOut{Session: "s"})
		advanceTime(time.Minute)
		if got := n.endedSessions.Load(); got != 1 {
			n.Errorf("notified %d times, want once", got)
		}
		n.want(presence.Offline)
	})
}

// TestEarlierRuns: after a start, the sessions of connections to the earlier run have the
// grace period. A client that reconnects in it is never shown offline; leased sessions are
// not affected.
func TestEarlierRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		bob, carol := store.User{Account: "a", ID: "bob"}, store.User{Account: "a", ID: "carol"}
		signIn := func(n *node, u store.User) {
			if _, err := n.SignIn(t.Context(), u, store.Actor{}, presence.SignIn{Session: "s", Client: presence.Desktop}, func(error) {}); err != nil {
				t.Fatal(err)
			}
		}
		n := start(t, disk)
		signIn(n, alice)
		signIn(n, bob)
		if _, err := n.Publish(t.Context(), carol, store.Actor{}, presence.SignIn{Session: "leased", Client: presence.Desktop}); err != nil {
			t.Fatal(err)
		}
		n.stop() // nothing is released

		advanceTime(time.Minute)
		n = start(t, disk)
		defer n.stop()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.EndEarlier(ctx)
		}()
		defer func() {
			stop()
			<-ended
		}()
		advanceTime(20 * time.Second)
		signIn(n, bob)
		status := func(u store.User) presence.Status { return presence.RecordedOf(*n.record(u)).Shown.Status }
		for _, row := range []struct {
			after time.Duration
			want  [3]presence.Status
		}{
			{publish.Grace - 21*time.Second, [3]presence.Status{presence.Available, presence.Available, presence.Available}},
			{2 * time.Second, [3]presence.Status{presence.Offline, presence.Available, presence.Available}},
			{presence.DefaultLease, [3]presence.Status{presence.Offline, presence.Available, presence.Offline}},
		} {
			advanceTime(row.after)
			if got := [3]presence.Status{status(alice), status(bob), status(carol)}; got != row.want {
				t.Errorf("%v: %v, want %v", row.after, got, row.want)
			}
		}
		entries, err := n.store.Log(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.User == bob && e.Before.Status == presence.Available && e.After.Status != presence.Available {
				t.Errorf("bob was shown %v", e.After.Status)
			}
		}
	})
}
