package publish_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

// bound runs a test on a node that keeps bound sessions live, and that publishes
// what ends by itself.
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
		defer func() {
			stop()
			<-ended
		}()
		test(n)
	})
}

// connect signs in over a connection. Was is the session of a lost one, or "".
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

// TestASessionLivesInItsConnection: as long as it is open, far beyond its lease; and
// for the grace after it was lost.
func TestASessionLivesInItsConnection(t *testing.T) {
	runWithConnections(t, func(n *node) {
		b := n.connect("s", "")
		shown := n.want(presence.Available)
		advanceTime(4 * presence.DefaultLease)
		if again := n.want(presence.Available); again != shown {
			n.Errorf("while it was kept live, something was told: %+v, %+v", shown, again)
		}
		n.release(b)
		advanceTime(publish.Grace - 2*time.Second)
		n.want(presence.Available)
		advanceTime(4 * time.Second)
		n.want(presence.Offline)
	})
}

// TestALostConnectionGoesOn: who comes back within the grace has the same session,
// nobody is told anything, and it lives in the new connection.
func TestALostConnectionGoesOn(t *testing.T) {
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
			n.Errorf("something was told: %+v, %+v", shown, again)
		}
		n.release(b)
		advanceTime(publish.Grace + 2*time.Second)
		n.want(presence.Offline)
		if b = n.connect("new", "s"); b.Session() != "new" {
			n.Errorf("after its end the session %s goes on", b.Session())
		}
		n.want(presence.Available)
		n.release(b)
	})
}

// TestTwoConnectionsOfOneSession: the new one came before the old one was known to
// be lost. It ends with the last.
func TestTwoConnectionsOfOneSession(t *testing.T) {
	runWithConnections(t, func(n *node) {
		old := n.connect("s", "")
		again := n.connect("another", old.Session())
		n.release(old)
		n.release(old) // twice does no harm
		advanceTime(2 * presence.DefaultLease)
		n.want(presence.Available)
		n.release(again)
		advanceTime(publish.Grace + 2*time.Second)
		n.want(presence.Offline)
	})
}

// TestTwoConnectionsLostTogether: what is remembered of both sessions, from while
// they were kept live, gives neither its lease again.
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

// TestSignOutEndsAtOnce: and what is left of the connection changes nothing.
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

// TestADrainKeepsTheLease: a server that stops leaves its sessions their lease, so
// that who comes back to the next one within it was never gone.
func TestADrainKeepsTheLease(t *testing.T) {
	runWithConnections(t, func(n *node) {
		b := n.connect("s", "")
		advanceTime(10 * time.Minute)
		b.Detach()
		advanceTime(presence.DefaultLease - 22*time.Second) // it was kept live within the last 20
		n.want(presence.Available)
		advanceTime(24 * time.Second)
		n.want(presence.Offline)
	})
}

// TestActivityOnItsWayDoesNotOutliveTheConnection: what was said of the person's
// activity is held back by damping when the connection is lost. The session has its
// grace all the same, and not a whole lease.
func TestActivityOnItsWayDoesNotOutliveTheConnection(t *testing.T) {
	runWithConnections(t, func(n *node) {
		b := n.connect("s", "")
		advanceTime(time.Minute)
		said := make(chan error, 4)
		say := func(a presence.Activity) {
			go func() { said <- b.ReportActivity(n.Context(), a) }()
			synctest.Wait()
		}
		say(presence.ActivityIdle)
		n.release(b)                 // at once, or behind what is held
		say(presence.ActivityActive) // it was read before the connection was lost
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

// TestASessionThatEndsUnderItsConnection: somebody signs it out by its id. Whoever
// holds the connection is told, once, and does not go on keeping what is not there.
func TestASessionThatEndsUnderItsConnection(t *testing.T) {
	runWithConnections(t, func(n *node) {
		n.connect("s", "")
		advanceTime(time.Minute)
		n.must(presence.SignOut{Session: "s"})
		if n.endedSessions.Load() != 0 {
			n.Error("lost before anybody looked")
		}
		advanceTime(time.Minute)
		if got := n.endedSessions.Load(); got != 1 {
			n.Errorf("told %d times, want once", got)
		}
		n.want(presence.Offline)
	})
}
