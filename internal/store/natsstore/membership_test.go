package natsstore_test

import (
	"context"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/membership"
)

// TestMembership: the verdict over a node holds on real servers: the node that is silent gets
// a tombstone, its next beat fails, and it comes back as another incarnation.
func TestMembership(t *testing.T) {
	t.Parallel()
	c := startServers(t, 1)
	one, two := newMember(t, c), newMember(t, c)
	stopOne, stopTwo := one.run(t), two.run(t)
	defer stopOne()
	old := two.Self()
	stopTwo()
	select {
	case id := <-one.dead:
		if id != old || !one.Dead(old) {
			t.Fatalf("%s is dead, want %s", id, old)
		}
	case <-time.After(waitLimit):
		t.Fatal("the node was not declared dead")
	}
	defer two.run(t)() // it goes on as if it had been paused
	select {
	case id := <-two.rejoined:
		if id == old || id != two.Self() {
			t.Fatalf("it came back as %s, before: %s", id, old)
		}
	case <-time.After(waitLimit):
		t.Fatal("the node did not find its tombstone")
	}
	select {
	case id := <-two.dead:
		if id != old {
			t.Fatalf("%s is dead on the node itself", id)
		}
	case <-time.After(waitLimit):
		t.Fatal("the node did not report its own tombstone")
	}
}

type member struct {
	*membership.Members

	dead, rejoined chan string
}

func newMember(t *testing.T, c *cluster) *member {
	t.Helper()
	st := c.open(t, c.options())
	t.Cleanup(func() { closeStore(t, st) })
	m := &member{dead: make(chan string, 8), rejoined: make(chan string, 8)}
	m.Members = membership.New(membership.Options{
		Store: st, Clock: time.Now, Facts: membership.Facts{Reads: membership.ThisVersion()},
		Times: membership.Times{Interval: 50 * time.Millisecond, DeadAfter: 3 * time.Second},
	})
	m.OnDead = func(id string) { m.dead <- id }
	m.OnRejoined = func(id string) { m.rejoined <- id }
	if err := m.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// run runs a node until the returned function is called.
func (m *member) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
