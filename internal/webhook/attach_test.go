package webhook_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/webhook"
)

// A listener is a client that takes the events of a subscription.
type listener struct {
	*webhook.Attachment

	mu   sync.Mutex
	got  []string // type and body of each event
	fail error
}

// waiting is a subscription without an endpoint.
func waiting(id string) *webhook.Subscription {
	s := subscription(id)
	s.URL = ""
	return s
}

func (f *fixture) listen(s *webhook.Subscription) *listener {
	f.Helper()
	l := new(listener)
	var err error
	if l.Attachment, err = f.d.Attach(context.Background(), s, l.take); err != nil {
		f.Fatal(err)
	}
	return l
}

func (l *listener) take(_ context.Context, r *webhook.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail == nil {
		l.got = append(l.got, r.Event.Type+" "+string(r.Event.Body))
	}
	return l.fail
}

func (l *listener) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.got, want) {
		t.Errorf("received %q, want %q", l.got, want)
	}
}

// TestAttach: a client gets what was missed while none was connected, in order, and what
// an earlier client did not acknowledge. That includes the later events of an entry, and
// survives a restart.
func TestAttach(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := waiting("one")
		f := newFixture(t, st, s)
		f.start()
		f.note("ann", "a")
		f.note("ben", "two b")
		f.note("ann", "c")
		advance(time.Minute)

		first := f.listen(s)
		first.want(t, "changed a", "changed two b", "second ben", "changed c")
		first.Acknowledge(2) // not the second event of the entry
		advance(time.Second)
		second := f.listen(s)
		<-first.Done()
		if err := first.Err(); !errors.Is(err, webhook.ErrReplaced) {
			t.Errorf("the first client ended with %v, want %v", err, webhook.ErrReplaced)
		}
		second.want(t, "changed two b", "second ben", "changed c")
		second.Acknowledge(3)
		f.note("ann", "d")
		second.want(t, "changed two b", "second ben", "changed c", "changed d")
		f.stop()
		if err := second.Err(); !errors.Is(err, webhook.ErrNotDelivering) {
			t.Errorf("the second client ended with %v, want %v", err, webhook.ErrNotDelivering)
		}

		f.note("ben", "e")
		f.start()
		third := f.listen(s)
		third.want(t, "changed d", "changed e")
		third.Close()
		f.note("ben", "f")
		advance(time.Second)
		f.listen(s).want(t, "changed d", "changed e", "changed f")
	})
}

// TestAttachFails: a client whose connection fails ends, and loses nothing.
func TestAttachFails(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := waiting("one")
		f := newFixture(t, st, s)
		f.start()
		broken := errors.New("the connection is broken")
		l := f.listen(s)
		l.fail = broken
		f.note("ann", "a")
		<-l.Done()
		if !errors.Is(l.Err(), broken) {
			t.Errorf("the client ended with %v", l.Err())
		}
		f.listen(s).want(t, "changed a")
	})
}

// TestAttachEnds: a client is told that there will be no more events.
func TestAttachEnds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *fixture)
		want   error
	}{
		"deleted": {func(f *fixture) { f.subs.set() }, webhook.ErrRemoved},
		"given a URL": {func(f *fixture) {
			f.subs.update("one", func(s *webhook.Subscription) { s.URL = "https://one.example" })
		}, webhook.ErrHasEndpoint},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				s := waiting("one")
				f := newFixture(t, st, s)
				f.start()
				l := f.listen(s)
				f.note("ann", "a")
				l.want(t, "changed a")
				c.change(f)
				<-l.Done()
				if !errors.Is(l.Err(), c.want) {
					t.Errorf("the client ended with %v, want %v", l.Err(), c.want)
				}
			})
		})
	}
}

// otherEpoch is a store that was restored.
type otherEpoch struct{ tail.Store }

func (otherEpoch) Epoch() string { return "another" }

// TestAttachGap: the notice of a gap waits for its own acknowledgement, and counts for no
// event that follows.
func TestAttachGap(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := waiting("one")
		f := newFixture(t, st, s)
		f.start()
		advance(time.Second)
		f.stop()
		f.note("ann", "a")
		f.note("ann", "b")
		f.use = otherEpoch{st}
		f.start()
		advance(time.Second)
		first := f.listen(s)
		synctest.Wait()
		gaps := len(first.got)
		first.Close()
		advance(time.Second)
		second := f.listen(s)
		synctest.Wait()
		if gaps == 0 || len(second.got) != gaps {
			t.Errorf("received %q, then %q; want the same, with a gap", first.got, second.got)
		}
		second.Acknowledge(1)
		advance(time.Second)
		second.Close()
		third := f.listen(s)
		synctest.Wait()
		if !slices.Equal(third.got, second.got[1:]) {
			t.Errorf("after an acknowledgement of the first of %q, received %q", second.got, third.got)
		}
	})
}

// TestAttachReread: what a client has and did not acknowledge when the log is read again
// is not lost when the client leaves.
func TestAttachReread(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := waiting("one")
		f := newFixture(t, st, s)
		var recovered atomic.Bool
		f.people.fail = func(e *store.Entry) bool { return e.UserAfter.Note == "c" && !recovered.Load() }
		f.start()
		f.note("ann", "a")
		f.note("ann", "b")
		f.note("ann", "c") // the log is read again, one second later
		first := f.listen(s)
		first.want(t, "changed a", "changed b")
		first.Close()
		advance(time.Minute)
		recovered.Store(true)
		f.listen(s).want(t, "changed a", "changed b", "changed c")
	})
}

// TestAttachElsewhere: a client learns that no node delivers, instead of waiting for events in
// vain. It may wait until one begins.
func TestAttachElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := waiting("one")
		f := newFixture(t, st, s)
		d := webhook.NewDeliverer(webhook.DelivererOptions{Store: st, Subscriptions: f.subs.get, Clock: time.Now})
		a, err := d.Attach(t.Context(), s, new(listener).take)
		if err != nil {
			t.Fatal(err)
		}
		advance(50 * time.Second)
		if err := a.Err(); err != nil {
			t.Errorf("ended with %v before another node can have taken over", err)
		}
		advance(20 * time.Second)
		if !errors.Is(a.Err(), webhook.ErrNotDelivering) {
			t.Errorf("while no node delivers: %v, want %v", a.Err(), webhook.ErrNotDelivering)
		}
		f.start()
		l := f.listen(s)
		advance(5 * time.Minute)
		f.note("ann", "a")
		l.want(t, "changed a")
	})
}

// An unreadableState is a store that cannot tell where a subscription begins.
type unreadableState struct{ tail.Store }

func (s unreadableState) PositionAt(ctx context.Context, at time.Time) (store.Position, error) {
	if at.Before(time.Now().Add(time.Hour)) {
		return 0, store.ErrUnavailable
	}
	return s.Store.PositionAt(ctx, at) // the end of the log, for the consumer
}

// TestAttachBeforeDelivery: a client that waits for a delivery that cannot begin does not wait
// for ever: it ends with the server, and with its subscription.
func TestAttachBeforeDelivery(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(f *fixture)
		want error
	}{
		"stopped": {func(f *fixture) { f.stop() }, webhook.ErrNotDelivering},
		"deleted": {func(f *fixture) { f.subs.set() }, webhook.ErrRemoved},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				s := waiting("one")
				f := newFixture(t, st, s)
				f.use = unreadableState{st}
				f.start()
				l := f.listen(s)
				advance(time.Minute)
				if err := l.Err(); err != nil {
					t.Fatalf("INVALID: ended with %v", err)
				}
				c.end(f)
				advance(2 * time.Second)
				if err := l.Err(); !errors.Is(err, c.want) {
					t.Errorf("the client ended with %v, want %v", err, c.want)
				}
			})
		})
	}
}
