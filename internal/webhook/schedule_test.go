package webhook_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/webhook"
)

// offsets are the times of requests since the first one.
func offsets(arrivals []arrival) (all []time.Duration) {
	for _, a := range arrivals {
		all = append(all, a.at.Sub(arrivals[0].at))
	}
	return all
}

// TestSchedules: an endpoint that never accepts an event gets it at the times of its
// profile, or once if the profile does not retry its answer.
func TestSchedules(t *testing.T) {
	durable := []time.Duration{
		0, 5 * time.Second, 5*time.Minute + 5*time.Second, 35*time.Minute + 5*time.Second, 155*time.Minute + 5*time.Second,
		455*time.Minute + 5*time.Second, 1055*time.Minute + 5*time.Second, 1655*time.Minute + 5*time.Second,
	}
	if last := durable[7]; last != 27*time.Hour+35*time.Minute+5*time.Second {
		t.Fatalf("the schedule lasts %v", last)
	}
	strict := []time.Duration{0, 5 * time.Minute, 25 * time.Minute, 85 * time.Minute}
	once := []time.Duration{0}
	for _, test := range []struct {
		profile string
		status  int
		want    []time.Duration
	}{
		{"durable", 500, durable},
		{"durable", 0, durable[:5]}, // days of fake time take long
		{"durable", 404, durable[:5]},
		{"durable", 302, durable[:5]},
		{"durable", 204, once},
		{"strict", 503, strict},
		{"strict", 0, strict},
		{"strict", 429, once},
		{"strict", 302, once},
		{"strict", 202, once},
	} {
		t.Run(fmt.Sprint(test.profile, " ", test.status), func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				s := subscription("one")
				s.Profile = test.profile
				f := newFixture(t, st, s)
				f.start()
				e := f.network.endpoint(s.URL)
				e.set(always(test.status))
				f.change("u")
				advance(test.want[len(test.want)-1] + 2*time.Hour)
				got := e.all()
				if !slices.Equal(offsets(got), test.want) {
					t.Errorf("attempts at %v, want %v", offsets(got), test.want)
				}
				for i, a := range got {
					if a.Number != i+1 || a.ID != got[0].ID || string(a.Event.Body) != string(got[0].Event.Body) {
						t.Errorf("attempt %d has number %d, id %s and body %q", i+1, a.Number, a.ID, a.Event.Body)
					}
				}
				left := 0
				if len(test.want) == 5 {
					left = 1
				}
				if status, err := f.d.Status(s); err != nil || status.Pending != left || status.Position != f.entries()[0].At {
					t.Errorf("at the end: %+v, %v", status, err)
				}
			})
		})
	}
}

// TestScheduleAfterRestart: a restart between two attempts does not change the schedule,
// except that a time is rounded up to a second.
func TestScheduleAfterRestart(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.Profile = "strict"
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(always(500))
		f.change("u")
		for range 10 {
			advance(7 * time.Minute)
			f.stop()
			advance(time.Minute)
			f.start()
		}
		advance(time.Hour)
		want := []time.Duration{0, 5 * time.Minute, 25 * time.Minute, 85 * time.Minute}
		got := offsets(e.all())
		if len(got) != len(want) {
			t.Fatalf("attempts at %v, want %v", got, want)
		}
		for i := range want {
			// A retry that is due while nothing runs is made at the next start.
			if late := got[i] - want[i]; late < 0 || late > 2*time.Minute {
				t.Errorf("attempt %d at %v, want %v", i+1, got[i], want[i])
			}
		}
	})
}

// TestRetryAfter: a profile that honours Retry-After waits as long as the endpoint asks,
// if that is longer than its own delay and at most an hour.
func TestRetryAfter(t *testing.T) {
	for _, test := range []struct {
		profile     string
		asked, want time.Duration
	}{
		{"durable", time.Nanosecond, 5 * time.Second},
		{"durable", 4 * time.Second, 5 * time.Second},
		{"durable", 90 * time.Second, 90 * time.Second},
		{"durable", 1000 * time.Hour, time.Hour},
		{"strict", time.Hour, 5 * time.Minute},
	} {
		t.Run(fmt.Sprint(test.profile, test.asked), func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				s := subscription("one")
				s.Profile = test.profile
				f := newFixture(t, st, s)
				f.start()
				e := f.network.endpoint(s.URL)
				e.set(func(n int, _ *webhook.Request) reply {
					if n == 0 {
						return reply{status: 503, retryAfter: test.asked}
					}
					return reply{status: 200}
				})
				f.change("u")
				advance(2 * time.Hour)
				if got := offsets(e.all()); len(got) != 2 || got[1] != test.want {
					t.Errorf("attempts at %v, want %v", got, test.want)
				}
			})
		})
	}
}

// TestStale: a retry that a newer event of its user and type has overtaken is marked, or
// not made if the subscription wants the latest only.
func TestStale(t *testing.T) {
	for _, latestOnly := range []bool{false, true} {
		t.Run(fmt.Sprint(latestOnly), func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				s := subscription("one")
				s.LatestOnly = latestOnly
				f := newFixture(t, st, s)
				f.start()
				e := f.network.endpoint(s.URL)
				e.set(func(n int, r *webhook.Request) reply {
					if r.Number == 1 && r.Event.User == "u" && n < 2 {
						return reply{status: 500}
					}
					return reply{status: 200}
				})
				old := f.note("u", "two events")
				advance(time.Second)
				f.change("v")
				newer := f.change("u")
				advance(time.Hour)
				retried := map[string]bool{} // types that were retried, and whether as stale
				for _, a := range e.all() {
					if a.Number == 2 {
						if a.Event.At != old || a.Event.At == newer {
							t.Errorf("the event at %d was retried", a.Event.At)
						}
						retried[a.Event.Type] = a.Stale
					} else if a.Stale {
						t.Errorf("attempt %d at %d is stale", a.Number, a.Event.At)
					}
				}
				stale, again := retried["changed"]
				if second, ok := retried["second"]; !ok || second {
					t.Errorf("retries: %v; the second type was not overtaken", retried)
				}
				if again == latestOnly || again && !stale {
					t.Errorf("retries: %v", retried)
				}
				if st := f.d.Stats(); st.Pending != 0 || st.Overtaken != uint64(len(retried)%2) {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestOutages: an endpoint that is down for any time gets everything that was committed
// meanwhile, in order, and not much later than it is back.
func TestOutages(t *testing.T) {
	all := []time.Duration{time.Second, 2 * time.Hour, 3 * time.Second, 20 * time.Second, 5 * time.Minute}
	for _, profile := range []string{"durable", "strict"} {
		for _, outage := range all[:leveltest.Count(t, "outages of an endpoint", 2, 5, 5)] {
			for name, broken := range map[string]reply{
				"unreachable": {}, "refusing": {status: 503}, "hanging": {after: time.Hour},
			} {
				t.Run(fmt.Sprint(profile, outage, name), func(t *testing.T) {
					testOutage(t, profile, outage, broken)
				})
			}
		}
	}
}

func testOutage(t *testing.T, profile string, outage time.Duration, broken reply) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.Profile = profile
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		f.change("u0")
		advance(time.Second)
		began := time.Now()
		e.set(func(int, *webhook.Request) reply {
			if time.Since(began) < outage {
				return broken
			}
			return reply{status: 200}
		})
		const changes = 2000 // more than memory holds
		for i := range changes {
			f.change(userNumber(i % 20))
			if i%100 == 0 {
				time.Sleep(outage / (changes / 100))
			}
		}
		advance(max(0, outage-time.Since(began)) + 2*time.Minute)
		lost := f.missing(e)
		if status, err := f.d.Status(s); err != nil || status.Down || len(lost) > 40 {
			t.Errorf("2 minutes after the outage %d events are missing: %+v, %v", len(lost), status, err)
		}
		advance(3 * time.Hour)
		if lost := f.missing(e); len(lost) > 0 {
			t.Errorf("missing: %v", lost)
		}
		f.inOrder(e)
		if st := f.d.Stats(); st.Gaps > 0 || st.GivenUp > 0 || st.Pending > 0 {
			t.Errorf("%+v", st)
		}
		if probes := e.count() - changes; outage >= 5*time.Minute && probes > 50+6*int(outage.Minutes()) {
			t.Errorf("%d requests beside the first one that was accepted of each event", probes)
		}
	})
}

// TestPoison: an endpoint that refuses one event, whichever it is of those that waited
// for it, gets all others, and that one by its schedule.
func TestPoison(t *testing.T) {
	for _, nth := range []int{5, 0, 11}[:leveltest.Count(t, "places of an event that is refused", 1, 3, 3)] {
		t.Run(fmt.Sprint(nth), func(t *testing.T) { testPoison(t, nth) })
	}
}

func testPoison(t *testing.T, nth int) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		s.Concurrency = 1
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		var down atomic.Bool
		var poison atomic.Uint64
		down.Store(true)
		e.set(func(_ int, r *webhook.Request) reply {
			if down.Load() || uint64(r.Event.At) == poison.Load() {
				return reply{status: http.StatusInternalServerError}
			}
			return reply{status: 200}
		})
		var changes [12]store.Position
		for i := range changes {
			changes[i] = f.change("u")
		}
		refused := changes[nth]
		poison.Store(uint64(refused))
		advance(2 * time.Second)
		down.Store(false)
		advance(time.Hour)
		if lost := f.missing(e); !slices.Equal(lost, []store.Position{refused}) && len(lost) > 0 {
			t.Errorf("missing %v, refused %d", lost, refused)
		}
		advance(30 * time.Hour)
		n := 0
		for _, a := range e.all() {
			if a.Event.At == refused {
				n++
			}
		}
		if n < 8 || n > 8+5 {
			t.Errorf("the refused event was sent %d times", n)
		}
		if st := f.d.Stats(); st.GivenUp != 1 || st.Pending != 0 || st.Down != 0 {
			t.Errorf("%+v", st)
		}
	})
}
