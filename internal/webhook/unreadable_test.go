package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/webhook"
)

// noDocuments is a store whose documents cannot be read for a while.
type noDocuments struct {
	store.Store

	fails atomic.Bool
}

func (n *noDocuments) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	if n.fails.Load() {
		return nil, errors.New("no documents")
	}
	return n.Store.Load(ctx, account, keys...)
}

// TestUnreadableUser: a user who cannot be read for long does not stop a subscription.
// The user's events are given up, with a gap, until the user can be read again.
func TestUnreadableUser(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		var broken atomic.Bool
		broken.Store(true)
		f.people.fail = func(e *store.Entry) bool { return broken.Load() && e.User.ID == "bad" }
		f.start()
		lost := []store.Position{f.change("bad"), f.change("bad")}
		for i := range 200 {
			f.change(userNumber(i))
		}
		advance(9 * time.Minute)
		if st := f.d.Stats(); st.Gaps > 0 {
			t.Errorf("after nine minutes: %+v", st)
		}
		advance(3 * time.Minute)
		e := f.network.endpoint(s.URL)
		f.wantMissing(e, lost...)
		lost = append(lost, f.change("bad")) // the next one does not wait as long
		advance(10 * time.Second)
		f.change("fine")
		advance(10 * time.Second)
		if st, _ := f.d.Status(s); st.Position < lost[2] {
			t.Errorf("another event waits: %+v", st)
		}
		broken.Store(false)
		f.change("bad")
		advance(time.Minute)
		f.wantMissing(e, lost...)
		broken.Store(true) // from here on it is another failure
		last := f.change("bad")
		advance(5 * time.Minute)
		broken.Store(false)
		advance(time.Minute)
		f.wantMissing(e, lost...)
		for _, a := range e.all() {
			if a.Event.Type == "gap" && !strings.HasSuffix(string(a.Event.Body), "the directory's record of a user cannot be read") {
				t.Errorf("%s", a.Event.Body)
			}
		}
		if st, _ := f.d.Status(s); st.Position < last || f.d.Stats().Gaps == 0 {
			t.Errorf("%+v, %+v", st, f.d.Stats())
		}
	})
}

// TestUnreadableStore: nothing is given up while the store does not answer.
func TestUnreadableStore(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s := subscription("one")
		f := newFixture(t, st, s)
		outage := &noDocuments{Store: st}
		f.use = outage
		f.people.fail = func(*store.Entry) bool { return outage.fails.Load() }
		f.start()
		advance(time.Second)
		outage.fails.Store(true)
		for i := range 100 {
			f.change(userNumber(i))
		}
		advance(time.Hour)
		outage.fails.Store(false)
		advance(time.Minute)
		f.wantMissing(f.network.endpoint(s.URL))
		if st := f.d.Stats(); st.Gaps > 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestUnreadableRetryAndClient: a retry and a client do not wait for ever either.
func TestUnreadableRetryAndClient(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		s, w := subscription("one"), waiting("two")
		f := newFixture(t, st, s, w)
		var broken atomic.Bool
		f.people.fail = func(e *store.Entry) bool { return broken.Load() && e.User.ID == "bad" }
		f.start()
		e := f.network.endpoint(s.URL)
		e.set(func(n int, _ *webhook.Request) reply {
			return reply{status: map[bool]int{true: 500, false: 200}[n == 0]}
		})
		at := f.note("bad", "x")
		advance(100 * time.Millisecond)
		broken.Store(true)
		f.note("fine", "y")
		l := f.listen(w)
		advance(30 * time.Minute)
		if st, _ := f.d.Status(s); st.Pending > 0 {
			t.Errorf("%+v", st)
		}
		l.want(t, fmt.Sprintf("gap two %d-%d: the directory's record of a user cannot be read", at-1, at), "changed y")
	})
}

func (f *fixture) wantMissing(e *endpoint, want ...store.Position) {
	f.Helper()
	if lost := f.missing(e); len(lost) != len(want) {
		f.Errorf("missing %v, want %v", lost, want)
	}
}
