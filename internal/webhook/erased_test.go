package webhook_test

import (
	"context"
	"fmt"
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

// rereads counts the reads of single entries.
type rereads struct {
	store.Store

	n       atomic.Int64
	without bool // the log has nothing of what was erased
}

func (r *rereads) Log(ctx context.Context, after store.Position, limit int) ([]store.Entry, error) {
	if limit == 1 {
		r.n.Add(1)
	}
	entries, err := r.Store.Log(ctx, after, limit)
	if r.without {
		entries = slices.DeleteFunc(entries, func(e store.Entry) bool { return e.Erased })
	}
	return entries, err
}

func (f *fixture) erase(user presence.UserID) {
	f.Helper()
	if err := f.store.Erase(context.Background(), store.User{Account: "a", ID: user}); err != nil {
		f.Fatal(err)
	}
}

// slowly accepts everything after a time.
func slowly(after time.Duration) func(int, *webhook.Request) reply {
	return func(int, *webhook.Request) reply { return reply{status: http.StatusOK, after: after} }
}

// TestErasedInMemory: what waits in memory for a slow endpoint is not sent after its user
// was erased, whether it came from the queue or from the log.
func TestErasedInMemory(t *testing.T) {
	for name, c := range map[string]struct{ behind, without bool }{
		"queue": {}, "log": {behind: true}, "queue, nothing left": {without: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				s := subscription("one")
				s.Concurrency = 1
				f := newFixture(t, st, s)
				f.use = &rereads{Store: st, without: c.without}
				e := f.network.endpoint(s.URL)
				e.set(slowly(2 * time.Second))
				if !c.behind {
					f.start()
					advance(time.Second)
				}
				for range 100 {
					f.change("gone")
					f.note("kept", "two")
					f.change("kept")
				}
				if c.behind {
					f.start()
				}
				advance(time.Minute)
				f.erase("gone")
				erased := time.Now()
				advance(time.Hour)
				for _, a := range e.all() {
					if a.Event.User == "gone" && a.at.Sub(erased) > 2*time.Second {
						t.Errorf("the event at %d was sent %v after it was erased", a.Event.At, a.at.Sub(erased))
					}
				}
				if lost := f.missing(e); len(lost) > 0 {
					t.Errorf("missing: %v", lost)
				}
				if st := f.d.Stats(); st.Gaps > 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestErasedBetweenEvents: the second event of an entry is not sent if its user was erased
// during the attempt of the first.
func TestErasedBetweenEvents(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(slowly(12 * time.Second))
		f.note("gone", "two")
		advance(time.Second)
		f.erase("gone")
		advance(time.Hour)
		if n := e.count(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestHealthyReadsOnce: an endpoint that keeps up costs no second read of an entry.
func TestHealthyReadsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		counted := &rereads{Store: st}
		f.use = counted
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(slowly(time.Second))
		for i := range 50 {
			f.change("u")
			f.note("v", fmt.Sprint("two ", i))
			advance(3 * time.Second)
		}
		if lost, n := f.missing(e), counted.n.Load(); len(lost) > 0 || n > 0 {
			t.Errorf("%d entries were read again, missing: %v", n, lost)
		}
	})
}

// TestErasedBeforeClient: a slow client is not sent what was erased while it waited.
func TestErasedBeforeClient(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := waiting("one")
		f := newFixture(t, st, s)
		f.start()
		for range 10 {
			f.change("gone")
			f.change("kept")
		}
		var taken []presence.UserID
		a, err := f.d.Attach(context.Background(), s, func(_ context.Context, r *webhook.Request) error {
			taken = append(taken, r.Event.User)
			time.Sleep(5 * time.Second)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		advance(21 * time.Second)
		f.erase("gone")
		advance(time.Hour)
		a.Close()
		advance(time.Second)
		if want := "gone kept gone kept gone" + strings.Repeat(" kept", 8); want != join(taken) {
			t.Errorf("sent %q, want %q", join(taken), want)
		}
	})
}

func join(users []presence.UserID) string {
	var names []string
	for _, u := range users {
		names = append(names, string(u))
	}
	return strings.Join(names, " ")
}
