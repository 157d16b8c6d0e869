package natsstore_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// TestWatchOverLostConnections: while this node is disconnected, or gets no responses,
// another node changes users, one of them more often than the stream keeps versions.
// Watch then delivers the newest record of each, and Read returns it.
func TestWatchOverLostConnections(t *testing.T) {
	t.Parallel()
	const hot = 24
	servers := startServers(t, 1)
	p := startProxy(t, func() string { return servers.servers[0].Addr().String() })
	o := servers.options()
	o.Timeout = 2 * time.Second
	o.Logger = slog.New(slog.DiscardHandler)
	s := openSoon(t, p.url(), o)
	closeAtEnd(t, s)
	other := closeAtEnd(t, servers.open(t, servers.options()))

	delivered, ended, begun := make(chan store.Record, 1<<12), make(chan error, 1), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		first := true
		ended <- s.Watch(ctx, func(group []store.Record, _ store.Cursor) {
			if first {
				first = false
				close(begun)
			}
			for _, r := range group {
				delivered <- r
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
			p.dropResponses.Store(true)
		}
		want := make(map[store.User]store.Position)
		for i := range hot {
			for _, u := range []store.User{userNamed("hot"), userNamed(strconv.Itoa(i))} {
				want[u] = update(t, other, u, noEdit).At
			}
		}
		p.restore()
		for u, at := range want {
			for seen[u] < at {
				select {
				case r := <-delivered:
					if r.At <= last {
						t.Fatalf("round %d: position %d came after %d", round, r.At, last)
					}
					last, seen[r.User] = r.At, r.At
				case err := <-ended:
					t.Fatalf("round %d: Watch ended with %v", round, err)
				case <-time.After(waitLimit):
					t.Fatalf("round %d: %s was delivered at %d, and is at %d", round, u.ID, seen[u], at)
				}
			}
		}
		var records []store.Record
		waitFor(t, "a response after the cut", func() bool {
			var err error
			records, _, err = s.Read(t.Context(), []store.User{userNamed("hot")}, store.Freshness{})
			return err == nil
		})
		if len(records) != 1 || records[0].At < seen[userNamed("hot")] {
			t.Errorf("round %d: Watch gave %d, and Read %+v", round, seen[userNamed("hot")], records)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v, want its context's error", err)
	}
}
