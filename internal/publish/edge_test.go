package publish_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

// A slowStart is a store that does something before an update.
type slowStart struct {
	store.Store
	meanwhile atomic.Pointer[func()]
}

func (s *slowStart) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	if do := s.meanwhile.Swap(nil); do != nil {
		(*do)()
	}
	return s.Store.Update(ctx, u, fn)
}

// TestActivityWhileBecomingIdle: activity counts that is reported by HTTP while the node writes
// that the session of a connection became idle.
func TestActivityWhileBecomingIdle(t *testing.T) {
	slow := &slowStart{}
	runCluster(t, 1, func(c *cluster) {
		u, n := c.user(0), c.nodes[0]
		n.connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
		reported := make(chan error, 1)
		slow.meanwhile.Store(new(func() {
			go func() {
				_, err := n.Publish(c.Context(), u, store.Actor{User: u.ID}, presence.Refresh{Session: "s", Activity: presence.ActivityActive})
				reported <- err
			}()
			synctest.Wait() // until it was answered, or waits for this update
		}))
		idleAfter := n.Policy().IdleAfter
		advanceTime(idleAfter + time.Second)
		if err := <-reported; err != nil {
			t.Fatal(err)
		}
		c.want(u, presence.Available)
		advanceTime(idleAfter - 2*time.Second)
		c.want(u, presence.Available)
		advanceTime(2 * time.Second)
		c.want(u, presence.Away)
	}, func(o *publish.Options) { slow.Store, o.Store = o.Store, slow })
}

// TestSignedOutWhileHeldAgain: a session that two connections share is signed out while the
// node of one holds it again after the other was lost. It does not come back.
func TestSignedOutWhileHeldAgain(t *testing.T) {
	slow := &slowStart{}
	runCluster(t, 2, func(c *cluster) {
		u := c.user(0)
		lost := make(chan error, 1)
		c.nodes[0].connect(u, "s", func(err error) { lost <- err })
		second := c.nodes[1].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
		synctest.Wait()
		slow.meanwhile.Store(new(func() { c.nodes[1].must(u, presence.SignOut{Session: "s"}) }))
		if err := second.Release(c.Context()); err != nil {
			t.Fatal(err)
		}
		advanceTime(20 * time.Second)
		if slow.meanwhile.Load() != nil {
			t.Fatal("INVALID: the session was not held again")
		}
		c.want(u, presence.Offline)
		if err := <-lost; !errors.Is(err, presence.ErrUnknownSession) {
			t.Errorf("the connection was told %v", err)
		}
	}, func(o *publish.Options) {
		if slow.Store == nil {
			slow.Store, o.Store = o.Store, slow
		}
	})
}

// TestOneOfTwoHoldersDies: two connections share a session, and the node of the one that holds
// it dies. The other node holds it before the sessions of the first end.
func TestOneOfTwoHoldersDies(t *testing.T) {
	var silent atomic.Pointer[string]
	var all []string
	runCluster(t, 3, func(c *cluster) {
		for _, n := range c.nodes {
			all = append(all, n.name)
		}
		u := c.user(0)
		c.nodes[0].connect(u, "s", func(err error) { t.Errorf("lost: %v", err) })
		c.nodes[1].connect(u, "s", func(error) {})
		advanceTime(time.Minute)
		if s := c.record(u).State.Sessions[0]; s.Holder != c.nodes[1].name {
			t.Fatalf("INVALID: held by %q", s.Holder)
		}
		c.nodes[1].kill()
		advanceTime(16 * time.Second)
		silent.Store(&c.nodes[1].name)
		advanceTime(14 * time.Second)
		if err := c.nodes[2].EndHolders(c.Context(), []string{c.nodes[1].name}, nil); err != nil {
			t.Fatal(err)
		}
		advanceTime(time.Minute)
		c.want(u, presence.Available)
		if n := c.shows(u, presence.Offline); n != 0 {
			t.Errorf("shown offline %d times", n)
		}
	}, func(o *publish.Options) {
		o.Serving = func() []string {
			return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return silent.Load() != nil && name == *silent.Load() })
		}
	})
}
