package natsstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
)

// TestWatchOverLostConnections: while this node's connection is cut, or hears
// nothing, another node changes some users, one of them more often than the
// stream keeps versions. This node is given the newest of each, and reads it.
func TestWatchOverLostConnections(t *testing.T) {
	t.Parallel()
	const hot = 24
	servers := startServers(t, 1)
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	o := servers.options()
	o.Timeout = 500 * time.Millisecond
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := natsstore.Open(t.Context(), p.url(), o)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, s)
	other := closing(t, servers.open(t, servers.options()))

	given, ended, begun := make(chan store.Record, 1<<12), make(chan error, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		first := true
		ended <- s.Watch(ctx, func(group []store.Record, _ store.Cursor) {
			if first {
				first = false
				close(begun)
			}
			for _, r := range group {
				given <- r
			}
		})
	}()
	<-begun
	seen := make(map[store.User]store.Position)
	last := store.Position(0)
	for round := range 6 {
		if round%2 == 0 {
			p.cut()
		} else {
			p.deaf.Store(true)
		}
		want := make(map[store.User]store.Position)
		for i := range hot {
			for _, u := range []store.User{named("hot"), named(strconv.Itoa(i))} {
				want[u] = update(t, other, u, nothing).At
			}
		}
		p.hear()
		for u, at := range want {
			for seen[u] < at {
				select {
				case r := <-given:
					if r.At <= last {
						t.Fatalf("round %d: position %d came after %d", round, r.At, last)
					}
					last, seen[r.User] = r.At, r.At
				case err := <-ended:
					t.Fatalf("round %d: Watch ended with %v", round, err)
				case <-time.After(patience):
					t.Fatalf("round %d: %s was given at %d, and is at %d", round, u.ID, seen[u], at)
				}
			}
		}
		var records []store.Record
		waitFor(t, "an answer after the cut", func() bool {
			records, _, err = s.Read(t.Context(), []store.User{named("hot")})
			return err == nil
		})
		if len(records) != 1 || records[0].At < seen[named("hot")] {
			t.Errorf("round %d: Watch gave %d, and Read %+v", round, seen[named("hot")], records)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v, want its context's error", err)
	}
}
