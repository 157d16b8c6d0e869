package erasure_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/erasure"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/tail"
)

var alice = store.User{Account: "acct", ID: "alice"}

// An eraser is the store's, unless it is held up.
type eraser struct {
	store.Store
	err   error
	calls atomic.Int64
}

func (e *eraser) AwaitConsumers(context.Context) error {
	e.calls.Add(1)
	return e.err
}

func newRegistry(e *eraser, clock func() time.Time) *erasure.Registry {
	return erasure.New(e, e, clock, slog.New(slog.DiscardHandler))
}

// commit makes an entry of alice with a note.
func commit(t *testing.T, st store.Store) {
	t.Helper()
	note := presence.SetNote{Text: "secret"}
	if _, err := st.Update(t.Context(), alice, storetest.Apply(note, presence.DefaultPolicy(), presence.InstantOf(apptest.Noon().Now()))); err != nil {
		t.Fatal(err)
	}
}

// secrets counts the entries of alice that have the note.
func secrets(t *testing.T, st store.Store) (n int) {
	t.Helper()
	entries, err := st.History(t.Context(), alice, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if entries[i].After.Note != "" {
			n++
		}
	}
	return n
}

// TestErasure: an erasure that is held up says why, survives a restart of the server, and
// is then done.
func TestErasure(t *testing.T) {
	clock := apptest.Noon()
	st := enginetest.Open(t, clock.Now)
	commit(t, st)
	e := &eraser{Store: st, err: errors.New(`consumer "webhook" has not passed position 7` + strings.Repeat("x", 300))}
	r := newRegistry(e, clock.Now)
	if _, err := r.Find(t.Context(), alice); !errors.Is(err, erasure.ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	asked, err := r.Request(t.Context(), alice)
	if err != nil || !asked.Requested.Equal(clock.Now()) || !asked.Done.IsZero() {
		t.Fatalf("%+v, %v", asked, err)
	}
	apptest.Check(t, r.Complete(t.Context()))
	if got, err := r.Find(t.Context(), alice); err != nil || !got.Done.IsZero() || !strings.HasPrefix(got.Delay, `consumer "webhook"`) || len(got.Delay) > 200 || secrets(t, st) != 1 {
		t.Errorf("held up: %+v, %v", got, err)
	}
	clock.Advance(time.Hour)
	if again, err := r.Request(t.Context(), alice); err != nil || !again.Requested.Equal(asked.Requested) {
		t.Errorf("requested again: %+v, %v", again, err)
	}

	r = newRegistry(&eraser{Store: st}, clock.Now) // after a restart
	apptest.Check(t, r.Complete(t.Context()))
	got, err := r.Find(t.Context(), alice)
	if err != nil || !got.Done.Equal(clock.Now()) || got.Delay != "" || got.User != alice || secrets(t, st) != 0 {
		t.Errorf("done: %+v, %v; %d entries", got, err, secrets(t, st))
	}
	if _, err := r.Find(t.Context(), store.User{Account: "other", ID: alice.ID}); !errors.Is(err, erasure.ErrNotFound) {
		t.Errorf("in another account: %v", err)
	}
	clock.Advance(erasure.Kept + time.Hour)
	if _, err := r.Find(t.Context(), alice); !errors.Is(err, erasure.ErrNotFound) {
		t.Errorf("long after: %v", err)
	}
}

// A consumer of the log that waits in its first Handle.
type consumer struct{ begun, release chan struct{} }

func (c *consumer) Handle(ctx context.Context, _ []store.Entry) error {
	select {
	case c.begun <- struct{}{}:
	default:
	}
	select {
	case <-c.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestErasureWaitsForConsumers: nothing is erased before a consumer has handled it.
func TestErasureWaitsForConsumers(t *testing.T) {
	st := enginetest.Open(t, time.Now)
	commit(t, st)
	c := &consumer{begun: make(chan struct{}, 1), release: make(chan struct{})}
	log := slog.New(slog.DiscardHandler)
	consumers := tail.New(tail.Options{Store: st, Clock: time.Now, Log: log}, tail.Consumer{Name: "slow", Handler: c})
	r := erasure.New(st, consumers, time.Now, log)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	running.Go(func() {
		if err := consumers.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer stop()

	<-c.begun
	if _, err := r.Request(ctx, alice); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // a wrong erasure would have time to happen; a right one needs none
	if e, err := r.Find(ctx, alice); err != nil || !e.Done.IsZero() || secrets(t, st) != 1 {
		t.Fatalf("before the consumer has passed: %+v, %v, %d entries", e, err, secrets(t, st))
	}
	close(c.release)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		e, err := r.Find(ctx, alice)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", e, err)
		}
		if !e.Done.IsZero() {
			break
		}
	}
	if n := secrets(t, st); n != 0 {
		t.Errorf("%d entries have the text", n)
	}
}

// TestOneNodeErases: an erasure is left to the node that it falls to, until it falls to this
// one.
func TestOneNodeErases(t *testing.T) {
	clock := apptest.Noon()
	e := &eraser{Store: enginetest.Open(t, clock.Now)}
	r := newRegistry(e, clock.Now)
	preferred := false
	r.Preferred = func(string) bool { return preferred }
	_, err := r.Request(t.Context(), alice)
	apptest.Check(t, err)
	for _, preferred = range []bool{false, true} {
		apptest.Check(t, r.Complete(t.Context()))
		if got, err := r.Find(t.Context(), alice); err != nil || got.Done.IsZero() == preferred {
			t.Errorf("preferred: %t, %+v, %v", preferred, got, err)
		}
	}
}

// TestUnreadableErasure: one that a newer server wrote does not hold up others.
func TestUnreadableErasure(t *testing.T) {
	clock := apptest.Noon()
	st := enginetest.Open(t, clock.Now)
	newer := store.Doc{Key: store.Key{Collection: "erasure", Key: "acct/aaron"}, Value: []byte(`{"v":99}`)}
	apptest.Check(t, st.Write(t.Context(), "", newer))
	r := newRegistry(&eraser{Store: st}, clock.Now)
	if _, err := r.Request(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	apptest.Check(t, r.Complete(t.Context()))
	if e, err := r.Find(t.Context(), alice); err != nil || e.Done.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestRun: an erasure is attempted at once, and again while it is held up.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		docs := &memory{}
		e := &eraser{err: errors.New("held up")}
		r := erasure.New(docs, e, time.Now, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			r.Run(ctx)
			close(ended)
		}()
		synctest.Wait()
		if _, err := r.Request(ctx, alice); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := e.calls.Load(); n != 1 {
			t.Errorf("%d attempts at once", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := e.calls.Load(); n < 12 || n > 14 {
			t.Errorf("%d attempts within a minute", n)
		}
		stop()
		<-ended
	})
}

// memory keeps one document.
type memory struct {
	doc   *store.Doc
	write int
}

func (m *memory) Load(context.Context, presence.AccountID, ...store.Key) ([]store.Doc, error) {
	if m.doc == nil {
		return nil, nil
	}
	return []store.Doc{*m.doc}, nil
}

func (m *memory) List(ctx context.Context, account presence.AccountID, _, after string, _ int) ([]store.Doc, error) {
	if after != "" {
		return nil, nil
	}
	return m.Load(ctx, account)
}

func (m *memory) Write(_ context.Context, _ presence.AccountID, docs ...store.Doc) error {
	if m.doc != nil && m.doc.Version != docs[0].Version {
		return store.ErrConflict
	}
	m.write++
	m.doc = &docs[0]
	m.doc.Version = string(rune('0' + m.write))
	return nil
}

// TestRequestedSince: the erasures of an account since an instant are listed, done or not, and those
// of no other account.
func TestRequestedSince(t *testing.T) {
	clock := apptest.Noon()
	st := enginetest.Open(t, clock.Now)
	r := newRegistry(&eraser{Store: st}, clock.Now)
	for _, u := range []store.User{{Account: "acct", ID: "early"}, alice, {Account: "acct", ID: "bob"}, {Account: "acct2", ID: "eve"}, {Account: "aaaa", ID: "eve"}} {
		if _, err := r.Request(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Second)
	}
	users, err := erasure.RequestedSince(t.Context(), st, "acct", clock.Now().Add(-4*time.Second))
	if err != nil || !slices.Equal(users, []presence.UserID{"alice", "bob"}) {
		t.Errorf("%v, %v", users, err)
	}
}
