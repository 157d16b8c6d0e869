package webhook_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/tail/tailtest"
	"porchlight.dev/porchlight/internal/webhook"
)

// A mortalStore fails every call after a crash of the process that uses it. Entries with
// the note "damaged" are; those with the note "dropped" are missing before the next one.
type mortalStore struct {
	tail.Store

	dead   atomic.Bool
	epoch  string // if not empty
	writes atomic.Int64
}

func (s *mortalStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if s.dead.Load() {
		return errCrash
	}
	s.writes.Add(1)
	return s.Store.Write(ctx, account, docs...)
}

func (s *mortalStore) Epoch() string {
	if s.epoch != "" {
		return s.epoch
	}
	return s.Store.Epoch()
}

func (s *mortalStore) Log(ctx context.Context, after store.Position, limit int) ([]store.Entry, error) {
	if s.dead.Load() {
		return nil, errCrash
	}
	entries, err := s.Store.Log(ctx, after, limit)
	return s.damage(entries), err
}

func (s *mortalStore) Feed(ctx context.Context, after store.Position, fn func([]store.Entry) error) error {
	return s.Store.Feed(ctx, after, func(entries []store.Entry) error {
		if s.dead.Load() {
			return errCrash
		}
		return fn(s.damage(entries))
	})
}

func (s *mortalStore) damage(entries []store.Entry) []store.Entry {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e store.Entry) bool { return e.UserAfter.Note == "dropped" })
	for i, e := range entries {
		entries[i].Gap = e.UserBefore.Note == "dropped"
		if e.UserAfter.Note == "damaged" {
			entries[i] = store.Entry{At: e.At, Damaged: errCrash}
		}
	}
	return entries
}

// crash ends the deliverer without its last writes.
func (f *fixture) crash(s *mortalStore) {
	s.dead.Store(true)
	f.stop()
}

// TestRestarts: over stops and crashes at any point, with an endpoint and a directory that
// fail now and then, and while a subscription is disabled and enabled, every event is
// accepted at least once. First attempts after a clean stop repeat
// nothing that was accepted.
func TestRestarts(t *testing.T) {
	seeds := leveltest.Count(t, "random series of restarts", 4, 20, 20)
	for _, crashes := range []bool{false, true} {
		t.Run(fmt.Sprint("crashes ", crashes), func(t *testing.T) {
			for seed := range uint64(seeds) {
				bubble(t, func(t *testing.T, st *pebblestore.Store) { testRestarts(t, st, seed, crashes) })
			}
		})
	}
}

func testRestarts(t *testing.T, st *pebblestore.Store, seed uint64, crashes bool) {
	random := rand.New(rand.NewPCG(seed, 0))
	one, two := subscription("one"), subscription("two")
	one.Profile, two.Profile, two.Concurrency = "patient", "quick", 2
	f := newFixture(t, st, one, two)
	for i, s := range []*webhook.Subscription{one, two} {
		answer := rand.New(rand.NewPCG(seed, uint64(i)+1)) // guarded by the endpoint
		f.network.endpoint(s.URL).set(func(int, *webhook.Request) reply {
			re := reply{status: http.StatusOK, after: time.Duration(answer.IntN(300)) * time.Millisecond}
			switch answer.IntN(10) {
			case 0:
				re.status = http.StatusServiceUnavailable
			case 1:
				re.after = 3 * time.Second
			}
			return re
		})
	}
	disabled := map[bool]time.Time{true: time.Now()}
	directory := rand.New(rand.NewPCG(seed, 2))
	var mu sync.Mutex
	f.people.fail = func(*store.Entry) bool {
		mu.Lock()
		defer mu.Unlock()
		return directory.IntN(20) == 0
	}
	for range 15 {
		mortal := &mortalStore{Store: st}
		f.use = mortal
		f.start()
		for range random.IntN(60) {
			f.change(userNumber(random.IntN(5)))
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
			if random.IntN(30) == 0 {
				f.subs.update("one", func(s *webhook.Subscription) { s.Health.Disabled = disabled[s.Health.Disabled.IsZero()] })
			}
		}
		f.subs.update("one", func(s *webhook.Subscription) { s.Health.Disabled = time.Time{} })
		time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
		if crashes && random.IntN(3) > 0 {
			f.crash(mortal)
		} else {
			f.stop()
		}
	}
	f.use = st
	f.start()
	advance(15 * time.Minute)
	for _, s := range []*webhook.Subscription{one, two} {
		e := f.network.endpoint(s.URL)
		if lost := f.missing(e); len(lost) > 0 {
			t.Errorf("seed %d: %s misses %v", seed, s.ID, lost)
		}
		if status, err := f.d.Status(s); err != nil || status.Pending > 0 {
			t.Errorf("seed %d: %+v, %v", seed, status, err)
		}
		repeated := 0
		accepted := make(map[string]bool)
		for _, a := range e.all() {
			if a.accepted && accepted[a.ID] {
				repeated++
				if !crashes {
					for _, b := range e.all() {
						if b.ID == a.ID {
							t.Logf("%s %d #%d %v %v", s.ID, b.Event.At, b.Number, b.accepted, b.at)
						}
					}
				}
			}
			accepted[a.ID] = accepted[a.ID] || a.accepted
		}
		if repeated > 0 && !crashes {
			t.Errorf("seed %d: %s got %d events again that it had accepted", seed, s.ID, repeated)
		}
	}
	if st := f.d.Stats(); st.Gaps > 0 {
		t.Errorf("seed %d: %+v", seed, st)
	}
}

// TestTakeover: of two nodes only the one that runs the consumer delivers. When it dies, the
// other one goes on, and nothing is lost.
func TestTakeover(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		first, second := newFixture(t, st, s), newFixture(t, st, s)
		second.network = first.network
		var cluster tailtest.Cluster
		node := cluster.Join()
		mortal := &mortalStore{Store: st}
		first.use, first.nodes = mortal, node
		first.start()
		advance(time.Second)
		e := first.network.endpoint(s.URL)
		for i := range 50 {
			first.change(userNumber(i % 3))
		}
		advance(time.Minute)
		if n := e.count(); n != 50 {
			t.Errorf("%d requests for 50 events", n)
		}
		mortal.dead.Store(true)
		node.Silence()
		second.nodes = cluster.Join()
		second.start()
		advance(time.Second)
		if _, err := second.d.Status(s); err == nil {
			t.Error("another node delivers before the first was declared dead")
		}
		for i := range 50 {
			first.change(userNumber(i % 3))
			time.Sleep(500 * time.Millisecond)
		}
		advance(time.Minute)
		if lost := first.missing(e); len(lost) > 0 {
			t.Errorf("missing: %v", lost)
		}
		if _, err := first.d.Status(s); err == nil {
			t.Error("the node that was declared dead delivers")
		}
		if _, err := second.d.Status(s); err != nil {
			t.Error(err)
		}
	})
}

// TestHandover: when a consumer moves to another node, in the middle of deliveries, every
// event is delivered once.
func TestHandover(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		first, second := newFixture(t, st, s), newFixture(t, st, s)
		second.network = first.network
		var cluster tailtest.Cluster
		node := cluster.Join()
		first.nodes, second.nodes = node, cluster.Join()
		first.start()
		second.start()
		advance(3 * time.Second)
		e := first.network.endpoint(s.URL)
		e.set(func(int, *webhook.Request) reply { return reply{status: 204, after: 1900 * time.Millisecond} })
		for i := range 100 {
			if i == 50 {
				if _, err := first.d.Status(s); err != nil { // the other one delivers: let that move
					node = second.nodes.(*tailtest.Node) //nolint:errcheck // it is one
				}
				node.Drain()
			}
			first.change(userNumber(i % 3))
			time.Sleep(20 * time.Millisecond)
		}
		advance(2 * time.Minute)
		if lost := first.missing(e); len(lost) > 0 || e.count() != 100 {
			t.Errorf("%d requests for 100 events, missing: %v", e.count(), lost)
		}
	})
}

// slowSaves is a store whose saves of delivery states are confirmed late, whether or not the
// caller still waits.
type slowSaves struct {
	tail.Store

	delay time.Duration
}

func (s slowSaves) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	err := s.Store.Write(ctx, account, docs...)
	if err == nil && docs[0].Key.Collection == "webhook-delivery" {
		time.Sleep(s.delay)
	}
	return err
}

// TestStopWhileSaving: a stop repeats no event, although the state is being saved.
func TestStopWhileSaving(t *testing.T) {
	for _, delay := range []time.Duration{time.Second, 5 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				s := subscription("one")
				f := newFixture(t, st, s)
				f.use = slowSaves{st, delay}
				f.start()
				e := f.network.endpoint(s.URL)
				const changes = 20
				for range changes {
					f.change("ann")
					advance(100 * time.Millisecond)
				}
				f.stop()
				f.start()
				advance(time.Minute)
				if n := e.count(); n != changes {
					t.Errorf("%d requests for %d events", n, changes)
				}
			})
		})
	}
}

// gaps lists the bodies of gap events that an endpoint accepted.
func gaps(e *endpoint) (all []string) {
	for _, a := range e.all() {
		if a.Event.Type == "gap" && a.accepted {
			all = append(all, string(a.Event.Body))
		}
	}
	return all
}

// TestRetention: a subscription that was stopped for longer than the retention gets a
// gap, and then what the log still has.
func TestRetention(t *testing.T) {
	for _, how := range []string{"disabled", "down", "stopped"} {
		t.Run(how, func(t *testing.T) {
			bubbleWith(t, pebblestore.Options{Retention: 6 * time.Hour}, func(t *testing.T, st *pebblestore.Store) {
				s := subscription("one")
				f := newFixture(t, st, s)
				f.start()
				e := f.network.endpoint(s.URL)
				before := f.change("u")
				advance(time.Second)
				switch how {
				case "disabled":
					f.subs.update(s.ID, func(s *webhook.Subscription) { s.Health.Disabled = time.Now() })
				case "down":
					e.set(always(0))
				case "stopped":
					f.stop()
				}
				advance(time.Second)
				for i := range 100 {
					f.change(userNumber(i))
				}
				advance(20 * time.Hour)
				last := f.change("late")
				switch how {
				case "disabled":
					f.subs.update(s.ID, func(s *webhook.Subscription) { s.Health.Disabled = time.Time{} })
				case "down":
					e.set(nil)
				case "stopped":
					f.start()
				}
				advance(2 * time.Hour)
				found := gaps(e)
				if how != "down" && !slices.Equal(found, []string{fmt.Sprintf("one %d-%d: the events are older than the retention of the log", before, last-1)}) ||
					len(found) == 0 {
					t.Errorf("gaps: %q", found)
				}
				if lost := f.missing(e); len(lost) > 0 {
					t.Errorf("missing of what the log has: %v", lost)
				}
				all := e.all()
				if at := slices.IndexFunc(all, func(a arrival) bool { return a.Event.Type == "gap" }); at < 0 ||
					!slices.ContainsFunc(all[at:], func(a arrival) bool { return a.Event.At == last }) {
					t.Error("the gap did not come before what followed it")
				}
			})
		})
	}
}

// TestPendingOverflow: if an endpoint refuses events forever, the oldest that wait for a
// retry are given up and announced.
func TestPendingOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(func(n int, r *webhook.Request) reply { // never ten failures in a row
			if r.Event.User == "good" || r.Event.Type == "gap" {
				return reply{status: 200}
			}
			return reply{status: 503}
		})
		const refused = webhook.MaxPending + 200
		for i := range refused {
			f.change(presence.UserID(fmt.Sprintf("user-with-an-id-%d", i)))
			f.change("good")
			time.Sleep(10 * time.Millisecond)
		}
		advance(time.Second)
		status, err := f.d.Status(s)
		if err != nil || status.Pending > webhook.MaxPending || status.Pending < webhook.MaxPending*19/20 {
			t.Errorf("%+v, %v", status, err)
		}
		found := gaps(e)
		if len(found) == 0 || !strings.Contains(found[0], "too many events waited for a retry") {
			t.Errorf("gaps: %q", found)
		}
		if n := len(found); n > 10 {
			t.Errorf("%d gaps", n)
		}
		f.stop()
		f.start()
		advance(time.Second)
		if status, err = f.d.Status(s); err != nil || status.Pending < webhook.MaxPending*9/10 {
			t.Errorf("after a restart: %+v, %v", status, err)
		}
		e.set(nil)
		advance(28 * time.Hour)
		lost := f.missing(e)
		if len(lost) == 0 || len(lost) > refused-webhook.MaxPending*9/10 {
			t.Errorf("%d events are missing", len(lost))
		}
		for _, at := range lost {
			if !announced(gaps(e), at) {
				t.Errorf("the event at %d is missing, and no gap has it", at)
			}
		}
	})
}

// announced reports whether a gap includes a position.
func announced(gaps []string, at store.Position) bool {
	return slices.ContainsFunc(gaps, func(text string) bool {
		var id string
		var from, to store.Position
		if _, err := fmt.Sscanf(text, "%s %d-%d:", &id, &from, &to); err != nil {
			return false
		}
		return from < at && at <= to
	})
}

// TestDamaged: an entry that cannot be decoded is announced as a gap, to subscriptions
// that keep up and to those that read the log.
func TestDamaged(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		live, late := subscription("live"), subscription("late")
		f := newFixture(t, st, live)
		f.use = &mortalStore{Store: st}
		f.start()
		f.change("u")
		advance(time.Second)
		damaged := f.note("u", "damaged")
		f.change("u")
		advance(2 * time.Second)
		f.subs.set(live, late)
		advance(2 * time.Second)
		for _, s := range []*webhook.Subscription{live, late} {
			e := f.network.endpoint(s.URL)
			want := fmt.Sprintf("%s %d-%d: an entry of the log is damaged", s.ID, damaged-1, damaged)
			if found := gaps(e); !slices.Equal(found, []string{want}) {
				t.Errorf("%s: gaps %q, want %q", s.ID, found, want)
			}
			for _, a := range e.all() {
				if string(a.Event.Body) == "damaged" {
					t.Errorf("%s was sent a damaged entry", s.ID)
				}
			}
		}
	})
}

// TestFormPanics: an entry that a form panics on is announced as a gap, and stops nothing.
func TestFormPanics(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s, client := subscription("one"), waiting("two")
		f := newFixture(t, st, s, client)
		f.start()
		at := f.note("u", "poison")
		f.note("u", "next")
		l := f.listen(client)
		gap := fmt.Sprintf("%d-%d: an entry of the log is damaged", at-1, at)
		l.want(t, "gap two "+gap, "changed next")
		e := f.network.endpoint(s.URL)
		if found := gaps(e); !slices.Equal(found, []string{"one " + gap}) || e.count() != 2 {
			t.Errorf("gaps %q of %d events", found, e.count())
		}
	})
}

// TestDropped: a gap in the entries of a user is announced from the entry before it on.
func TestDropped(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		live, late := subscription("live"), subscription("late")
		f := newFixture(t, st, live)
		f.use = &mortalStore{Store: st}
		f.start()
		from := f.change("u")
		advance(time.Second)
		to := f.note("u", "dropped")
		f.change("u")
		advance(2 * time.Second)
		f.subs.set(live, late)
		advance(2 * time.Second)
		for _, s := range []*webhook.Subscription{live, late} {
			want := fmt.Sprintf("%s %d-%d: the log dropped older changes of a user", s.ID, from, to)
			if found := gaps(f.network.endpoint(s.URL)); !slices.Equal(found, []string{want}) {
				t.Errorf("%s: gaps %q, want %q", s.ID, found, want)
			}
		}
	})
}

// TestEpoch: in another epoch a subscription goes on with a gap, whatever its position.
func TestEpoch(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.use = &mortalStore{Store: st, epoch: "before"}
		f.start()
		f.change("u")
		advance(time.Second)
		f.stop()
		f.use = st
		f.start()
		advance(time.Second)
		f.change("u")
		advance(time.Second)
		e := f.network.endpoint(s.URL)
		if found := gaps(e); len(found) != 1 || !strings.Contains(found[0], "restored") {
			t.Errorf("gaps: %q", found)
		}
		if lost := f.missing(e); len(lost) > 0 {
			t.Errorf("missing: %v", lost)
		}
	})
}
