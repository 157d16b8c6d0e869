package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/webhook"
)

func userNumber(i int) presence.UserID { return presence.UserID(fmt.Sprint("u", i)) }

// TestLive: every event of the account arrives once, in order for each user, soon after
// its commit.
func TestLive(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		f := newFixture(t, st, subscription("one"), subscription("two"))
		f.start()
		e := f.network.endpoint("https://one.example")
		e.set(func(int, *webhook.Request) reply { return reply{status: 200, after: 10 * time.Millisecond} })
		for i := range 200 {
			f.change(userNumber(i % 7))
		}
		advance(5 * time.Second)
		for _, url := range []string{"https://one.example", "https://two.example"} {
			e := f.network.endpoint(url)
			if n, lost := e.count(), f.missing(e); n != 200 || len(lost) > 0 {
				t.Errorf("%s got %d requests; missing: %v", url, n, lost)
			}
			f.inOrder(e)
		}
		if e.most != 7 {
			t.Errorf("%d requests at a time, want one for each of 7 users", e.most)
		}
	})
}

// TestBurst: a subscription has no pauses while there is something to send, whether it
// keeps up, is behind, or has one user whose events follow one another.
func TestBurst(t *testing.T) {
	for _, users := range []int{1, 200} { // fewer than a window has, and more
		for _, behind := range []bool{false, true} {
			t.Run(fmt.Sprint(users, " users, behind ", behind), func(t *testing.T) {
				bubble(t, func(t *testing.T, st *pebblestore.Store) {
					s := subscription("one")
					f := newFixture(t, st, s)
					e := f.network.endpoint(s.URL)
					e.set(func(n int, _ *webhook.Request) reply { // a slow request holds up what waits for it alone
						return reply{status: 200, after: time.Duration(n%64/63) * 10 * time.Millisecond}
					})
					if !behind {
						f.start()
						advance(time.Second)
					}
					const n = 3000
					for i := range n {
						f.change(userNumber(i % users))
					}
					if behind {
						f.start()
					}
					advance(time.Second)
					if lost := f.missing(e); len(lost) > 0 {
						t.Errorf("after a second %d events were not sent", len(lost))
					}
				})
			})
		}
	}
}

// TestConcurrency: an endpoint is never sent more requests at a time than its
// subscription says, and one user's first attempts never overlap.
func TestConcurrency(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.Concurrency = 3
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(func(n int, _ *webhook.Request) reply {
			if n%3 == 0 {
				return reply{status: 500, after: 50 * time.Millisecond}
			}
			return reply{status: 200, after: 50 * time.Millisecond}
		})
		for i := range 300 {
			f.change(userNumber(i % 20))
		}
		advance(30 * time.Hour)
		if lost := f.missing(e); e.most != 3 || len(lost) > 0 {
			t.Errorf("%d requests at a time; missing: %v", e.most, lost)
		}
		f.inOrder(e)
	})
}

// TestOneBadEndpoint: of ten endpoints, one that is dead, slow or hangs delays no other.
func TestOneBadEndpoint(t *testing.T) {
	for name, bad := range map[string]reply{
		"dead": {}, "refusing": {status: 500}, "slow": {status: 200, after: 10 * time.Second}, "hanging": {after: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				var all []*webhook.Subscription
				for i := range 10 {
					all = append(all, subscription(fmt.Sprint("s", i)))
				}
				f := newFixture(t, st, all...)
				f.start()
				f.network.endpoint(all[4].URL).set(func(int, *webhook.Request) reply { return bad })
				committed := make(map[store.Position]time.Time)
				for i := range 3000 {
					committed[f.change(userNumber(i%30))] = time.Now()
					time.Sleep(time.Millisecond)
				}
				advance(time.Second)
				for i, s := range all {
					e := f.network.endpoint(s.URL)
					if i == 4 {
						continue
					}
					if lost := f.missing(e); len(lost) > 0 {
						t.Errorf("%s misses %d events", s.ID, len(lost))
					}
					for _, a := range e.all() {
						if late := a.at.Sub(committed[a.Event.At]); late > 0 {
							t.Fatalf("%s got an event %v after its commit", s.ID, late)
						}
					}
				}
			})
		})
	}
}

// TestFilters: a subscription is sent the events of its users, groups and types.
func TestFilters(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		users, types, other := subscription("users"), subscription("types"), subscription("other")
		users.Users = []presence.UserID{"u1", "u2"}
		types.Events = []string{"second"}
		other.Account = "b"
		f := newFixture(t, st, users, types, other)
		f.start()
		for i := range 5 {
			f.note(userNumber(i), "two events")
		}
		advance(time.Second)
		for url, want := range map[string][]string{
			users.URL: {"u1 changed 0", "u1 second 1", "u2 changed 0", "u2 second 1"},
			types.URL: {"u0 second 1", "u1 second 1", "u2 second 1", "u3 second 1", "u4 second 1"},
			other.URL: nil,
		} {
			var got []string
			for _, a := range f.network.endpoint(url).all() {
				got = append(got, fmt.Sprint(a.Event.User, " ", a.Event.Type, " ", a.Event.Index))
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s got %q, want %q", url, got, want)
			}
		}
	})
}

// TestIDs: each event has one ID, which no other event has, also beside other
// subscriptions and after a restart.
func TestIDs(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		f := newFixture(t, st, subscription("one"), subscription("two"))
		f.network.endpoint("https://one.example").set(always(500))
		f.start()
		for i := range 10 {
			f.note(userNumber(i), "two events")
		}
		advance(time.Minute)
		f.stop()
		f.start()
		advance(time.Hour)
		type event struct {
			at    store.Position
			index int
		}
		ids, events := make(map[string]event), make(map[event]string)
		for _, url := range []string{"https://one.example", "https://two.example"} {
			for _, a := range f.network.endpoint(url).all() {
				e := event{a.Event.At, a.Event.Index}
				if id, ok := events[e]; ok && id != a.ID || ids[a.ID] != (event{}) && ids[a.ID] != e {
					t.Errorf("the event %v has the IDs %s and %s", e, a.ID, id)
				}
				ids[a.ID], events[e] = e, a.ID
			}
		}
		if len(ids) != 20 || len(events) != 20 {
			t.Errorf("%d IDs for %d events", len(ids), len(events))
		}
	})
}

// TestErased: what waits for an endpoint is not sent after its user was erased.
func TestErased(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(always(0))
		for range 20 { // some wait for a retry, others in the log
			f.change("gone")
			f.change("kept")
		}
		advance(time.Minute)
		if err := st.Erase(context.Background(), store.User{Account: "a", ID: "gone"}); err != nil {
			t.Fatal(err)
		}
		sent := e.count()
		e.set(nil)
		advance(2 * time.Hour)
		for _, a := range e.all()[sent:] {
			if a.Event.User == "gone" {
				t.Errorf("the event at %d was sent after it was erased", a.Event.At)
			}
		}
		if lost := f.missing(e); len(lost) > 0 {
			t.Errorf("missing: %v", lost)
		}
		if st := f.d.Stats(); st.Pending > 0 || st.Gaps > 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestDisabled: a subscription that is disabled is sent nothing and goes on where it
// stopped.
func TestDisabled(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(func(n int, _ *webhook.Request) reply {
			if n == 0 {
				return reply{status: 500}
			}
			return reply{status: 200}
		})
		f.change("u")
		f.change("u")
		advance(time.Second)
		f.subs.update(s.ID, func(s *webhook.Subscription) { s.Health.Disabled = time.Now() })
		advance(time.Second)
		sent := e.count()
		for i := range 3000 {
			f.change(userNumber(i % 10))
		}
		advance(time.Hour)
		if n := e.count(); n != sent {
			t.Errorf("%d requests while it was disabled", n-sent)
		}
		f.stop()
		f.start()
		advance(time.Hour)
		if status, err := f.d.Status(s); e.count() != sent || err != nil || !status.Disabled {
			t.Errorf("after a restart: %+v, %v", status, err)
		}
		f.subs.update(s.ID, func(s *webhook.Subscription) { s.Health.Disabled = time.Time{} })
		advance(time.Minute)
		if lost, n := f.missing(e), e.count(); len(lost) > 0 || n != 3003 {
			t.Errorf("%d requests; missing: %v", n, lost)
		}
		f.inOrder(e)
	})
}

// TestRemoved: a subscription that is removed is sent nothing, and what it still had to
// be sent is deleted.
func TestRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(always(500))
		f.change("u")
		advance(time.Second)
		states := func() int {
			docs, err := st.List(context.Background(), "", "webhook-delivery", "", 10)
			if err != nil {
				t.Fatal(err)
			}
			return len(docs)
		}
		if states() != 1 {
			t.Fatal("the delivery state was not saved")
		}
		f.subs.set()
		advance(time.Minute)
		f.change("u")
		advance(time.Hour)
		if n := e.count(); n != 1 || states() != 0 {
			t.Errorf("%d requests, %d states", n, states())
		}
		if _, err := f.d.Status(s); !errors.Is(err, webhook.ErrNotDelivering) {
			t.Errorf("Status: %v", err)
		}
	})
}

// TestValidation: an endpoint is validated every 72 hours, and disabled after six
// failures in a row.
func TestValidation(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.URL += "/hooks?key=hidden"
		f := newFixture(t, st, s)
		var log bytes.Buffer
		f.log = slog.New(slog.NewTextHandler(&log, nil))
		f.start()
		health := func() (webhook.Health, int) {
			synctestWait()
			all, _ := f.subs.get()
			f.network.mu.Lock()
			defer f.network.mu.Unlock()
			return all[0].Health, f.network.validated
		}
		fail := func(err error) {
			f.network.mu.Lock()
			defer f.network.mu.Unlock()
			f.network.valid = err
		}
		began := time.Now()
		ago := func(passed time.Duration, failures int) {
			f.subs.update(s.ID, func(s *webhook.Subscription) {
				s.Health = webhook.Health{Validated: time.Now().Add(-passed), Failures: failures}
			})
		}
		const every = 72 * time.Hour
		ago(every-2*time.Second, 0)
		advance(time.Second)
		if _, n := health(); n != 0 {
			t.Errorf("validated %d times before 72 hours", n)
		}
		advance(2 * time.Second)
		if h, n := health(); n != 1 || h.Validated.Before(began) || h.Failures != 0 {
			t.Errorf("%+v after %d", h, n)
		}
		fail(errors.New("the store is unavailable"))
		ago(every, 0)
		advance(11 * time.Minute)
		if h, n := health(); n != 2 || h.Failures != 0 {
			t.Errorf("an error of the server itself counts: %+v after %d", h, n)
		}
		fail(&webhook.ValidationError{Method: http.MethodPost, URL: s.URL, Reason: "no answer"})
		advance(time.Hour)
		for i := range 5 {
			if h, n := health(); h.Failures != i+1 || !h.Disabled.IsZero() {
				t.Errorf("after %d failures: %+v; validated %d times", i+1, h, n)
			}
			ago(time.Duration(i+2)*every-time.Minute, i+1)
			advance(30 * time.Minute)
		}
		h, n := health()
		if h.Failures != 6 || h.Disabled.IsZero() || h.Reason == "" {
			t.Errorf("after six failures: %+v", h)
		}
		f.change("u")
		advance(10 * time.Hour)
		if _, later := health(); later != n || f.network.endpoint(s.URL).count() != 0 {
			t.Error("it is validated or sent events while it is disabled")
		}
		if f.stop(); !strings.Contains(log.String(), "subscription disabled") || strings.Contains(log.String(), "hidden") {
			t.Errorf("the log does not say that it is disabled, or has its URL:\n%s", &log)
		}
	})
}

// TestDirectoryUnavailable: while the people of events cannot be read, several events that
// are being prepared fail one after the other. None is lost.
func TestDirectoryUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		var calls atomic.Int64
		f.people.fail = func(*store.Entry) bool {
			n := calls.Add(1)
			time.Sleep(time.Duration(n) * time.Millisecond) // so that they end one after the other
			return n <= 8
		}
		for i := range 20 {
			f.change(userNumber(i))
		}
		f.start()
		advance(time.Minute)
		f.stop()
		f.start() // an event that was saved as attempted would be lost for good
		advance(time.Minute)
		if lost := f.missing(f.network.endpoint(s.URL)); len(lost) > 0 {
			t.Errorf("lost %v", lost)
		}
	})
}

// TestPausedDelivery: nothing is sent while a subscription is paused, and everything after.
func TestPausedDelivery(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		f.change("ada")
		advance(time.Second)
		f.subs.update(s.ID, func(n *webhook.Subscription) { n.Paused = true })
		advance(time.Second)
		f.change("ada")
		f.change("bob")
		advance(100 * time.Hour) // nor is it validated
		if n := e.count(); n != 1 || f.network.validated > 0 {
			t.Errorf("%d requests and %d validations while it is paused", n-1, f.network.validated)
		}
		f.subs.update(s.ID, func(n *webhook.Subscription) { n.Paused = false })
		advance(time.Minute)
		f.wantMissing(e)
	})
}

// TestInternalFailureOfProbe: an event whose request cannot be prepared does not remain the
// probe of an endpoint that is down, and does not make one count as down.
func TestInternalFailureOfProbe(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		up, probes := false, 0
		e.set(func(_ int, r *webhook.Request) reply {
			switch {
			case r.Event.User == "bad":
				if r.Number == 1 && !up {
					probes++
				}
				return reply{failure: webhook.FailureInternal}
			case up:
				return reply{status: 200}
			default:
				return reply{}
			}
		})
		for i := range 10 { // none of these remains to be the probe
			f.change(userNumber(i))
		}
		advance(time.Second)
		if f.d.Stats().Down != 1 {
			t.Fatal("the endpoint is not down")
		}
		bad := f.change("bad")
		advance(time.Hour)
		if probes != 5 {
			t.Errorf("%d probes with the event, want 5", probes)
		}
		up = true
		last := f.change("fine")
		advance(48 * time.Hour)
		f.wantMissing(e, bad)
		if f.d.Stats().Down != 0 || f.d.Stats().Pending != 0 {
			t.Errorf("%+v after %d", f.d.Stats(), last)
		}
		for range 30 {
			f.change("bad")
		}
		advance(time.Second)
		if f.d.Stats().Down != 0 {
			t.Error("the endpoint counts as down, because requests were not prepared")
		}
	})
}

// TestProbeOfSeveralEvents: an event that was refused too often as the probe leaves that to
// the next event of the same entry.
func TestProbeOfSeveralEvents(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		probes := make(map[int]int) // by the index of the event
		e := f.network.endpoint(s.URL)
		e.set(func(_ int, r *webhook.Request) reply {
			if r.Event.User == "two" && r.Number == 1 {
				probes[r.Event.Index]++
			}
			return reply{status: 500}
		})
		for i := range 10 { // none of these remains to be the probe
			f.change(userNumber(i))
		}
		advance(time.Second)
		f.note("two", "two events")
		advance(2 * time.Hour)
		if probes[0] != 5 || probes[1] == 0 || f.d.Stats().Down != 1 {
			t.Errorf("%v probes with the events of the entry, want 5 with the first one and then some with the second one: %+v", probes, f.d.Stats())
		}
		e.set(always(200))
		advance(48 * time.Hour)
		f.wantMissing(e)
	})
}

// TestInternalFailure: an event whose request cannot be prepared is given up when its
// schedule ends, and delays no other event.
func TestInternalFailure(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.Profile = "strict"
		f := newFixture(t, st, s)
		f.start()
		e, attempts := f.network.endpoint(s.URL), 0
		e.set(func(_ int, r *webhook.Request) reply {
			if r.Event.User == "bad" {
				attempts++
				return reply{failure: webhook.FailureInternal}
			}
			return reply{status: 200}
		})
		bad := f.change("bad")
		f.change("fine")
		advance(time.Second)
		f.wantMissing(e, bad)
		advance(48 * time.Hour)
		if attempts != 4 {
			t.Errorf("%d attempts, want 4", attempts)
		}
		if st, _ := f.d.Status(s); st.Pending > 0 || f.d.Stats().GivenUp != 1 {
			t.Errorf("%+v, %+v", st, f.d.Stats())
		}
	})
}
