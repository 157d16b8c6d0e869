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

// TestOneNodeServes: a store that is served is refused to a second node, which says
// by whom, and is there for it at once when the first has closed.
func TestOneNodeServes(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	first := servers.open(t, natsstore.WithExclusiveLease(servers.options(), time.Second))
	_, err := natsstore.Open(t.Context(), servers.url(), natsstore.WithExclusiveLease(servers.options(), time.Hour))
	if !errors.Is(err, natsstore.ErrLeaseHeld) {
		t.Fatalf("a second node: %v, want ErrLeaseHeld", err)
	}
	host, _ := os.Hostname()
	for _, part := range []string{"host " + host, "stop the other one", "its own store", "127.0.0.1"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message does not say %q: %v", part, err)
		}
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("the message has the password: %v", err)
	}
	if _, err := first.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
		t.Errorf("the first node: %v", err)
	}
	closed(t, first)
	second := servers.open(t, natsstore.WithExclusiveLease(servers.options(), time.Hour)) // for which it need not wait
	closed(t, second)
}

// TestHolderGone: a node that ended without a word keeps the store for the term of
// its lease, and no longer.
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
		t.Errorf("it was taken over after %v, before the term of %v had passed", took, term)
	}
	closed(t, second)
	closed(t, first)
}

// TestHolderCutOff: a node that is cut off from the servers has stopped when
// another one begins, and ends when it hears of that.
func TestHolderCutOff(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	const term = 2 * time.Second
	first, err := natsstore.Open(t.Context(), p.url(), natsstore.WithExclusiveLease(servers.options(), term))
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, first)
	if _, err := first.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
		t.Fatal(err)
	}
	p.deaf.Store(true) // what it sends arrives for a while: the harder case
	second := servers.open(t, natsstore.WithExclusiveLease(servers.options(), term))
	defer closed(t, second)
	if _, err := first.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Update through the first when the second had begun: %v, want ErrUnavailable", err)
	}
	if _, err := second.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
		t.Errorf("Update through the second: %v", err)
	}
	p.deaf.Store(false)
	p.cut() // it connects again
	select {
	case <-first.Failed():
	case <-time.After(patience):
		t.Fatal("the first node goes on")
	}
	if err := first.Check(t.Context()); !errors.Is(err, natsstore.ErrLeaseHeld) {
		t.Errorf("Check of the first: %v, want ErrLeaseHeld", err)
	}
}

// TestHolderComesBack: a node that was cut off for longer than its term goes on
// when nobody has taken the store over.
func TestHolderComesBack(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	first, err := natsstore.Open(t.Context(), p.url(), natsstore.WithExclusiveLease(servers.options(), time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, first)
	p.closed.Store(true)
	p.cut()
	waitFor(t, "the end of the term", func() bool {
		_, err := first.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch))
		return errors.Is(err, store.ErrUnavailable)
	})
	p.closed.Store(false)
	waitFor(t, "an update", func() bool {
		_, err := first.Update(t.Context(), someone(1), storetest.UpdateFunc(store.By{}, touch))
		return err == nil
	})
}
