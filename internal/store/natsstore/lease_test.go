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

// TestOneNodeServes: a second node is refused, with the holder in the error, until the
// first one has closed.
func TestOneNodeServes(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	first := servers.open(t, natsstore.WithExclusiveLease(servers.options(), 10*time.Second))
	_, err := natsstore.Open(t.Context(), servers.url(), natsstore.WithExclusiveLease(servers.options(), time.Hour))
	if !errors.Is(err, natsstore.ErrLeaseHeld) {
		t.Fatalf("a second node: %v, want ErrLeaseHeld", err)
	}
	host, _ := os.Hostname()
	for _, part := range []string{"host " + host, "stop the other one", "its own store", "127.0.0.1"} {
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
