package webhook_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/webhook"
)

// eventually waits until a condition holds.
func (f *fixture) eventually(what string, holds func() bool) {
	f.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatalf("not in time: %s", what)
		}
	}
}

// TestEngines is one flow on either engine: live delivery, retries, an outage, a stop, a
// crash, a client that connects, a replay, erasure and the list of attempts.
func TestEngines(t *testing.T) {
	s, waiting := subscription("one"), subscription("waiting")
	s.Profile, waiting.URL = "quick", ""
	st := enginetest.Open(t, time.Now)
	f := newFixture(t, st, s, waiting)
	mortal := &mortalStore{Store: st}
	f.use = mortal
	f.start()
	e := f.network.endpoint(s.URL)
	arrived := func() bool { return len(f.missing(e)) == 0 }

	for i := range 30 {
		f.change(userNumber(i % 3))
	}
	f.eventually("live delivery", arrived)
	f.inOrder(e)

	f.subs.update(s.ID, func(n *webhook.Subscription) { n.Paused = true })
	f.eventually("the pause", func() bool { return f.d.Stats().Paused == 1 })
	paused := e.count()
	for i := range 30 {
		f.change(userNumber(i % 3))
	}
	f.stop() // a pause survives a restart
	f.start()
	if n := e.count(); n != paused {
		t.Errorf("%d requests while it is paused", n-paused)
	}
	f.subs.update(s.ID, func(n *webhook.Subscription) { n.Paused = false })
	f.eventually("delivery after the pause", arrived)
	f.inOrder(e)

	var outage atomic.Bool
	outage.Store(true)
	e.set(func(int, *webhook.Request) reply {
		if outage.Load() {
			return reply{status: http.StatusBadGateway}
		}
		return reply{status: http.StatusOK}
	})
	for i := range 100 {
		f.change(userNumber(i % 30))
	}
	f.eventually("the endpoint is down", func() bool { return f.d.Stats().Down == 1 })
	f.stop()
	f.change("u")
	f.start()
	outage.Store(false)
	f.eventually("delivery after the outage", arrived)

	f.change("u")
	f.crash(mortal)
	f.change("u")
	f.use = st
	f.start()
	f.eventually("delivery after a crash", arrived)

	f.takeAll(waiting)
	f.replayAll(s, e)
	f.eventually("the list of attempts", func() bool { return len(f.deliveries(s, 100)) >= len(f.entries()) })

	f.eraseDuringRetry(e)
}

// eraseDuringRetry erases a user while the endpoint has an attempt, so that no other one has
// read the event and is about to send it.
func (f *fixture) eraseDuringRetry(e *endpoint) {
	f.Helper()
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	e.set(func(_ int, r *webhook.Request) reply {
		if r.Event.User == "gone" && r.Number > 1 {
			return reply{status: http.StatusServiceUnavailable, when: held}
		}
		return reply{status: http.StatusServiceUnavailable}
	})
	f.change("gone")
	f.eventually("a retry", func() bool {
		return slices.ContainsFunc(e.all(), func(a arrival) bool { return a.Event.User == "gone" && a.Number > 1 })
	})
	f.erase("gone")
	e.set(nil)
	sent := e.count()
	release()
	last := f.change("u")
	f.eventually("delivery after an erasure", func() bool {
		return slices.ContainsFunc(e.all(), func(a arrival) bool { return a.Event.At == last && a.accepted })
	})
	f.eventually("nothing pending", func() bool { return f.d.Stats().Pending == 0 })
	for _, a := range e.all()[sent:] {
		if a.Event.User == "gone" {
			f.Errorf("the event at %d was sent after it was erased", a.Event.At)
		}
	}
}

// takeAll takes all events as a client that connects twice.
func (f *fixture) takeAll(s *webhook.Subscription) {
	f.Helper()
	take := func() (*webhook.Attachment, <-chan store.Position) {
		got := make(chan store.Position, 1000) // of this client: the first may still be sent an event
		a, err := f.d.Attach(context.Background(), s, func(_ context.Context, r *webhook.Request) error {
			got <- r.Event.At
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
		return a, got
	}
	entries := f.entries()
	receive := func(got <-chan store.Position, want []store.Entry) {
		f.Helper()
		for i := range want {
			select {
			case at := <-got:
				if at != want[i].At {
					f.Fatalf("event %d is at %d, want %d", i, at, want[i].At)
				}
			case <-time.After(2 * time.Minute):
				f.Fatalf("event %d did not come", i)
			}
		}
	}
	first, got := take()
	receive(got, entries[:50])
	first.Acknowledge(20)
	f.eventually("the acknowledgement", func() bool {
		status, err := f.d.Status(s)
		return err == nil && status.Position == entries[20].At-1
	})
	first.Close()
	f.eventually("the end of the first client", func() bool {
		status, err := f.d.Status(s)
		return err == nil && !status.Attached
	})
	second, got := take()
	defer second.Close()
	done := uint64(0)
	for rest := entries[20:]; len(rest) > 0; {
		n := min(30, len(rest))
		receive(got, rest[:n])
		rest = rest[n:]
		done += uint64(n)
		second.Acknowledge(done)
	}
}

// replayAll replays everything to an endpoint that accepts it.
func (f *fixture) replayAll(s *webhook.Subscription, e *endpoint) {
	f.Helper()
	if _, err := f.d.Replay(context.Background(), s, 0); err != nil {
		f.Fatal(err)
	}
	entries := f.entries()
	f.eventually("the replay", func() bool {
		again := make(map[store.Position]bool)
		for _, a := range e.all() {
			if a.Replayed && a.accepted {
				again[a.Event.At] = true
			}
		}
		return len(again) == len(entries)
	})
}
