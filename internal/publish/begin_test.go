package publish_test

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

type outcome struct {
	result publish.Result
	err    error
}

// begin is Publish through a Begun.
func begin(b *publish.Begun, results <-chan outcome, u store.User, e presence.Event) (publish.Result, error) {
	b.Begin(u, store.Actor{User: "alice"}, e)
	o := <-results
	return o.result, o.err
}

func newBegun(p *publish.Publisher) (*publish.Begun, <-chan outcome) {
	results := make(chan outcome, 1)
	return p.NewBegun(func(r publish.Result, err error) { results <- outcome{r, err} }), results
}

// TestBeginIsPublish: in every situation Begin has the outcome of Publish, and leaves the
// same record, log entry and soft state.
func TestBeginIsPublish(t *testing.T) {
	keyed := func(e presence.SetClaim, body byte) presence.SetClaim {
		e.Key, e.Body, e.Result = [16]byte{1}, [16]byte{body}, "made"
		return e
	}
	claim := doNotDisturb(time.Hour)
	stale := claim
	stale.IfMatch = []presence.Revision{1}
	meeting := presence.SetClaim{ID: "m", Source: presence.Meeting, Status: presence.InMeeting, Lasts: time.Hour}
	for _, row := range []struct {
		name    string
		before  func(*node)
		event   presence.Event
		refused error
	}{
		{"first claim", nil, claim, nil},
		{"claim too soon", func(n *node) { n.must(claim) }, doNotDisturb(time.Minute), &presence.RateLimitedError{RetryAfter: time.Minute}},
		{"precondition", nil, stale, presence.ErrPrecondition},
		{"no change", func(n *node) { n.must(presence.SetNote{Text: "n"}) }, presence.SetNote{Text: "n"}, nil},
		{"repeat", func(n *node) { n.must(keyed(claim, 1)) }, keyed(claim, 1), nil},
		{"key of another request", func(n *node) { n.must(keyed(claim, 1)) }, keyed(claim, 2), presence.ErrKeyReused},
		{"end of a claim", func(n *node) { n.must(meeting) }, presence.EndClaim{ID: "m"}, nil},
		{"end of no claim", nil, presence.EndClaim{ID: "m"}, presence.ErrUnknownClaim},
		{"with soft state", func(n *node) {
			advanceTime(30 * time.Second)
			n.must(presence.Refresh{Session: "s", Activity: presence.ActivityActive})
			if advanceTime(10 * time.Second); len(n.Remembered(alice)) == 0 {
				n.Error("INVALID: no soft state")
			}
		}, claim, nil},
		{"by the directory", nil, presence.SetUserState{State: presence.UserDeactivated}, nil},
		{"deactivated user", func(n *node) { n.must(presence.SetUserState{State: presence.UserDeactivated}) }, claim, presence.ErrDeactivated},
	} {
		t.Run(row.name, func(t *testing.T) {
			play := func(publishEvent func(*node, presence.Event) (publish.Result, error)) (got string) {
				synctest.Test(t, func(t *testing.T) {
					n := open(t, vfs.NewMem())
					defer n.stop()
					n.must(signIn("s", 2*time.Minute))
					if row.before != nil {
						row.before(n)
					}
					result, err := publishEvent(n, row.event)
					if fmt.Sprint(err) != fmt.Sprint(row.refused) {
						t.Errorf("the error is %v, want %v", err, row.refused)
					}
					synctest.Wait()
					got = fmt.Sprintf("error %v\nanswer %+v\nresult %d %+v\nrecord %+v\nlog %+v\nsoft state %+v", err, result.Answer,
						result.Record.At, result.Record.State, n.record(alice), entries(n, alice), n.Remembered(alice))
				})
				return got
			}
			want, got := play((*node).publish), play((*node).begin)
			if got != want {
				t.Errorf("Begin:\n%s\n\nPublish:\n%s", got, want)
			}
		})
	}
}

// begin is publish through a Begun.
func (n *node) begin(e presence.Event) (publish.Result, error) {
	b, results := newBegun(n.Publisher)
	return begin(b, results, alice, e)
}

// TestBeginNotOnRecord: Begin leaves it to the caller to check the directory.
func TestBeginNotOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem())
		defer n.stop()
		b, results := newBegun(n.Publisher)
		claim := doNotDisturb(time.Hour)
		claim.Update = false
		if _, err := begin(b, results, alice, claim); !errors.Is(err, publish.ErrNotOnRecord) {
			t.Errorf("a user without a record: %v", err)
		}
		if records, _, err := n.store.Read(t.Context(), []store.User{alice}, store.Freshness{}); err != nil || len(records) != 0 {
			t.Errorf("%d records, %v", len(records), err)
		}
		if result, err := begin(b, results, alice, presence.SetUserState{State: presence.UserActive}); err != nil || !result.Record.State.Exists() {
			t.Errorf("the directory creates a user: %+v, %v", result, err)
		}
	})
}

// TestBeginAfterUnknown: a store that lost an answer may still run the function of that
// update, so the next one must not change what it reads.
func TestBeginAfterUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late lateStore
		n := open(t, vfs.NewMem(), func(o *publish.Options) { late.Store, o.Store = o.Store, &late })
		defer n.stop()
		n.must(signIn("s", time.Hour))
		b, results := newBegun(n.Publisher)
		late.lose = true
		if _, err := begin(b, results, alice, presence.SetNote{Text: "first"}); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("a lost answer: %v", err)
		}
		if _, err := begin(b, results, alice, presence.SetNote{Text: "second"}); err != nil {
			t.Error(err)
		}
		change, err := late.fn(presence.Recorded{State: *n.record(alice)})
		if err != nil || change.State.Note.Text != "first" {
			t.Errorf("the first update makes the note %q, %v", change.State.Note.Text, err)
		}
	})
}

// A lateStore loses the answer to one update, and keeps its function.
type lateStore struct {
	store.Store
	lose bool
	fn   store.Decide
}

func (l *lateStore) Begin(u store.User, fn store.Decide, reply store.Reply) {
	if !l.lose {
		l.Store.Begin(u, fn, reply)
		return
	}
	l.lose, l.fn = false, fn
	reply(store.Record{}, store.ErrUnknown)
}

// TestBegunInParallel: many connections publish for the same users, each with a Begun that
// it reuses.
func TestBegunInParallel(t *testing.T) {
	n := open(t, vfs.NewMem())
	defer n.stop()
	n.must(signIn("s", time.Hour))
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			b, results := newBegun(n.Publisher)
			for i := range 50 {
				if _, err := begin(b, results, alice, presence.SetNote{Text: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// TestBegunIsReused guards the fast routes: a Begun allocates nothing for each event.
func TestBegunIsReused(t *testing.T) {
	n := open(t, vfs.NewMem())
	defer n.stop()
	n.must(signIn("s", time.Hour))
	var e presence.Event = presence.SetNote{} // no change
	replied := make(chan struct{}, 1)
	b := n.NewBegun(func(publish.Result, error) { replied <- struct{}{} })
	begun := testing.AllocsPerRun(1000, func() {
		b.Begin(alice, store.Actor{}, e)
		<-replied
	})
	published := testing.AllocsPerRun(1000, func() { _, _ = n.Publish(t.Context(), alice, store.Actor{}, e) })
	if begun > published {
		t.Errorf("%v allocations with Begin, %v with Publish", begun, published)
	}
	t.Logf("%v allocations with Begin, %v with Publish", begun, published)
}

// A brokenStore replies to what is begun with an error that panics.
type brokenStore struct{ store.Store }

func (brokenStore) Begin(_ store.User, _ store.Decide, reply store.Reply) {
	reply.Call(slog.New(slog.DiscardHandler), store.Record{}, panickingError{})
}

type panickingError struct{}

func (panickingError) Error() string { return "planted" }
func (panickingError) Is(error) bool { panic("planted") }

// TestBeginPanics: a panic while the reply is handled gives an error, and no success without
// a result.
func TestBeginPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := open(t, vfs.NewMem(), func(o *publish.Options) { o.Store = brokenStore{o.Store} })
		defer n.stop()
		if result, err := n.begin(presence.SetNote{Text: "n"}); err == nil {
			t.Errorf("%+v", result)
		}
	})
}
