package natsstore_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestExclusive: nobody else can use a store exclusively, with the holder in the error,
// until the first one has closed.
func TestExclusive(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	first := servers.open(t, natsstore.WithExclusiveLease(servers.options(), 40*time.Second))
	_, err := natsstore.Open(t.Context(), servers.url(), natsstore.WithExclusiveLease(servers.options(), time.Hour))
	if !errors.Is(err, natsstore.ErrLeaseHeld) {
		t.Fatalf("a second node: %v, want ErrLeaseHeld", err)
	}
	host, _ := os.Hostname()
	for _, part := range []string{"host " + host, "uses the store exclusively", "choose another store", "127.0.0.1"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("the error contains the password: %v", err)
	}
	if _, err := first.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
		t.Errorf("the first node: %v", err)
	}
	closeStore(t, first)
	second := servers.open(t, natsstore.WithExclusiveLease(servers.options(), time.Hour)) // it does not wait for the term
	closeStore(t, second)
}

// TestHolderGone: a crashed node holds the lease for its term.
func TestHolderGone(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	const term = time.Second
	first := servers.open(t, natsstore.WithExclusiveLease(servers.options(), term))
	first.Disconnect()
	<-first.Failed()
	begun := time.Now()
	second := servers.open(t, natsstore.WithExclusiveLease(servers.options(), term))
	if took := time.Since(begun); took < term {
		t.Errorf("the lease was acquired after %v, before the term of %v passed", took, term)
	}
	closeStore(t, second)
	closeStore(t, first)
}

// TestHolderCutOff: a disconnected node stops serving before another one begins, and
// fails when it reconnects.
func TestHolderCutOff(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	const term = 2 * time.Second
	first, err := natsstore.Open(t.Context(), p.url(), natsstore.WithExclusiveLease(servers.options(), term))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, first)
	updated := func(s *natsstore.Store) func() bool {
		return func() bool { // a slow machine may renew a lease late
			_, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch))
			return err == nil
		}
	}
	waitFor(t, "an update through the first node", updated(first))
	p.dropResponses.Store(true) // its requests still arrive: the harder case
	second := servers.open(t, natsstore.WithExclusiveLease(servers.options(), term))
	defer closeStore(t, second)
	if _, err := first.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Update through the first node while the second serves: %v, want ErrUnavailable", err)
	}
	waitFor(t, "an update through the second node", updated(second))
	p.dropResponses.Store(false)
	p.cut() // the node reconnects
	select {
	case <-first.Failed():
	case <-time.After(waitLimit):
		t.Fatal("the first node did not fail")
	}
	if err := first.Check(t.Context()); !errors.Is(err, natsstore.ErrLeaseHeld) {
		t.Errorf("Check of the first: %v, want ErrLeaseHeld", err)
	}
}

// TestHolderComesBack: a node that was disconnected for longer than its term continues if
// no other node acquired the lease.
func TestHolderComesBack(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	first, err := natsstore.Open(t.Context(), p.url(), natsstore.WithExclusiveLease(servers.options(), time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, first)
	p.closed.Store(true)
	p.cut()
	waitFor(t, "the end of the term", func() bool {
		_, err := first.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch))
		return errors.Is(err, store.ErrUnavailable)
	})
	p.closed.Store(false)
	waitFor(t, "an update", func() bool {
		_, err := first.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch))
		return err == nil
	})
}

// TestNodesShareTheLease: nodes start beside each other, and nobody who uses the store
// exclusively gets it before all of them have ended.
func TestNodesShareTheLease(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	const term = 4 * time.Second
	node := natsstore.WithSharedLease(servers.options(), term)
	command := natsstore.WithExclusiveLease(servers.options(), term)
	refused := func(beside string) {
		t.Helper()
		epoch := servers.options()
		epoch.MustExist, epoch.NewEpoch = true, true
		for what, o := range map[string]natsstore.Options{"a command": command, "a new epoch": epoch} {
			_, err := natsstore.Open(t.Context(), servers.url(), o)
			if !errors.Is(err, natsstore.ErrLeaseHeld) || !strings.Contains(err.Error(), "stop all nodes") {
				t.Errorf("%s beside %s: %v, want ErrLeaseHeld with what to do", what, beside, err)
			}
		}
		if _, err := natsstore.OpenSource(t.Context(), servers.url(), servers.options()); !errors.Is(err, natsstore.ErrLeaseHeld) {
			t.Errorf("a migration beside %s: %v, want ErrLeaseHeld", beside, err)
		}
	}
	first := servers.open(t, node)
	second := servers.open(t, node)
	refused("two nodes")
	closeStore(t, first)
	refused("the node that is left")
	begun := time.Now()
	closeStore(t, second)
	alone := servers.open(t, command)
	if took := time.Since(begun); took < term/2 {
		t.Errorf("the lease of nodes was acquired %v after the last one, before it can have expired", took)
	}
	_, err := natsstore.Open(t.Context(), servers.url(), node)
	if !errors.Is(err, natsstore.ErrLeaseHeld) || !strings.Contains(err.Error(), "uses the store exclusively") {
		t.Errorf("a node beside a command: %v, want ErrLeaseHeld with what to do", err)
	}
	closeStore(t, alone)
	closeStore(t, servers.open(t, node))
}

// TestNodeFindsTheStoreTaken: a node that was cut off for longer than the term fails when
// somebody uses the store exclusively.
func TestNodeFindsTheStoreTaken(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	const term = 2 * time.Second
	node, err := natsstore.Open(t.Context(), p.url(), natsstore.WithSharedLease(servers.options(), term))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, node)
	p.closed.Store(true)
	p.cut()
	defer closeStore(t, servers.open(t, natsstore.WithExclusiveLease(servers.options(), term)))
	p.closed.Store(false)
	select {
	case <-node.Failed():
	case <-time.After(waitLimit):
		t.Fatal("the node did not fail")
	}
	if err := node.Check(t.Context()); !errors.Is(err, natsstore.ErrLeaseHeld) {
		t.Errorf("Check: %v, want ErrLeaseHeld", err)
	}
}

// TestHolderGoneAfterSlowStart: the time that Open waits for the servers does not count towards the
// term of a crashed holder, for which it waits as well.
func TestHolderGoneAfterSlowStart(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	const term = 12 * time.Second
	first := servers.open(t, natsstore.WithExclusiveLease(servers.options(), term))
	first.Disconnect()
	<-first.Failed()
	second := servers.open(t, natsstore.WithOpenTimeout(natsstore.WithExclusiveLease(servers.options(), term), term-time.Second))
	closeStore(t, second)
	closeStore(t, first)
}
