package server_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/server"
)

// stormLimit is a failure bound: on two cores the clients need seconds.
const stormLimit = 2 * time.Minute

// openFiles returns how many files this process may have open.
func openFiles(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Cur, 1<<20)) //nolint:gosec // at most 1<<20
}

// TestReconnectStorm: many clients reconnect at once, each with a cursor, and honour
// Retry-After. All receive what they missed.
func TestReconnectStorm(t *testing.T) {
	clients := leveltest.Count(t, "clients that reconnect at once", 1000, 3000, 15_000)
	if most := (openFiles(t) - 500) / 2; most < clients { // both ends are in this process
		t.Logf("%d files may be open: %d clients in place of %d", openFiles(t), most, clients)
		clients = most
	}
	cfg := settings(t)
	cfg.MaxConnections, cfg.MaxConnectionsPerAddress = clients+100, clients+100
	cfg.StreamLimits = quotas(t, "user=none,app=none,account=none,address=none") // all clients share a user, an app and an address
	r := start(t, cfg, server.Options{})
	ids := r.createUsers(t, 20)
	first := r.open(t, r.made.AccessToken, "?users="+strings.Join(ids, ","))
	cursor := first.read(t, api.FrameSnapshot).Cursor
	_ = first.Close()
	if _, err := r.client.SetNote(t.Context(), ids[0], api.SetNote{Text: "missed"}); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithTimeout(t.Context(), stormLimit)
	defer stop()
	resumed := make(chan time.Duration, clients)
	failed := make(chan string, clients)
	var all sync.WaitGroup
	began := time.Now()
	for i := range clients {
		all.Go(func() {
			w := r.watcher(r.made.AccessToken, ids)
			w.cursor, w.more = cursor, make(chan struct{}, 1)
			wait := 50 * time.Millisecond
			for ctx.Err() == nil {
				connected, cut := context.WithCancel(ctx)
				ended := make(chan error, 1)
				go func() {
					_, err := w.connect(connected, route(i%2), neverCut)
					ended <- err
				}()
				var err error
				for err == nil && !w.hasNote(ids[0], "missed") {
					select {
					case err = <-ended:
					case <-w.more:
					}
				}
				if err == nil {
					resumed <- time.Since(began)
					<-ctx.Done() // the stream stays open until all have reconnected
					err = <-ended
					cut()
					if err == nil {
						t.Error("a stream ended without an error")
					}
					return
				}
				cut()
				if !strings.Contains(err.Error(), "status 503") {
					select {
					case failed <- err.Error():
					default: // one example is enough
					}
				}
				wait = min(2*wait, 5*time.Second)
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
			}
		})
	}
	var took []time.Duration
	for len(took) < clients && ctx.Err() == nil {
		select {
		case d := <-resumed:
			took = append(took, d)
		case <-ctx.Done():
		}
	}
	stop()
	all.Wait()
	slices.Sort(took)
	if len(took) < clients {
		t.Fatalf("%d of %d reconnected; %d failed attempts", len(took), clients, len(failed))
	}
	most := took[clients*99/100]
	t.Logf("%d clients: half within %v, 99 of 100 within %v, all within %v; %d failed attempts other than 503",
		clients, took[clients/2], most, took[clients-1], len(failed))
	if len(failed) > 0 {
		t.Logf("an example of a failed attempt: %s", <-failed)
	}
}

// hasNote reports whether the watcher has received a note.
func (w *watcher) hasNote(user, note string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.has[user].Note == note
}
