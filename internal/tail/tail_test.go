package tail_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/tail/tailtest"
)

// A recorder is a consumer that records what it handled.
type recorder struct {
	mu      sync.Mutex
	handled []store.Position
	starts  int
	fail    func([]store.Entry) error
}

func (c *recorder) Start(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starts++
	return nil
}

func (c *recorder) Handle(_ context.Context, entries []store.Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		if err := c.fail(entries); err != nil {
			return err
		}
	}
	for i := range entries {
		c.handled = append(c.handled, entries[i].At)
	}
	return nil
}

func (c *recorder) handledPositions() []store.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.handled)
}

func (c *recorder) failWith(fail func([]store.Entry) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

// A faultyStore fails and damages entries as a test configures.
type faultyStore struct {
	tail.Store

	mu      sync.Mutex
	damaged map[store.Position]bool
	writes  int
	feedErr error // the next Follow returns it
}

func (s *faultyStore) Feed(ctx context.Context, after store.Position, fn func([]store.Entry) error) error {
	s.mu.Lock()
	err := s.feedErr
	s.feedErr = nil
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.Store.Feed(ctx, after, func(entries []store.Entry) error {
		entries = slices.Clone(entries)
		for i, e := range entries {
			if s.damaged[e.At] {
				entries[i] = store.Entry{At: e.At, Damaged: errors.New("a bit flipped")}
			}
		}
		return fn(entries)
	})
}

func (s *faultyStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	s.mu.Lock()
	s.writes++
	s.mu.Unlock()
	return s.Store.Write(ctx, account, docs...)
}

func (s *faultyStore) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// bubble runs a test on a store in memory, in fake time.
func bubble(t *testing.T, test func(t *testing.T, st *pebblestore.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, err := pebblestore.Open("data", pebblestore.Options{FS: vfs.NewMem(), MinFreeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, st)
	})
}

// commit appends n entries, each of another user.
func commit(t *testing.T, st store.Store, n int) {
	t.Helper()
	for range n {
		if err := commitOne(t.Context(), st, "alice"); err != nil {
			t.Fatal(err)
		}
	}
}

func commitOne(ctx context.Context, st store.Store, id presence.UserID) error {
	note := presence.SetNote{Text: rand.Text()}
	_, err := st.Update(ctx, store.User{Account: "a", ID: id}, storetest.Apply(note, presence.Policy{}, presence.InstantOf(time.Now())))
	return err
}

func advanceTime(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A node is a runtime that can be stopped.
type node struct {
	*tail.Runtime

	stop func() error
}

func start(t *testing.T, o tail.Options, consumers ...tail.Consumer) *node {
	t.Helper()
	o.Clock = time.Now
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	n := &node{Runtime: tail.New(o, consumers...)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// stats returns the stats of the first consumer.
func (n *node) stats(t *testing.T) tail.Stats {
	t.Helper()
	all, err := n.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// entries are the positions of all entries of the log. They are not consecutive:
// documents take positions as well.
func entries(t *testing.T, st store.Log) []store.Position {
	t.Helper()
	log, err := st.Log(t.Context(), 0, store.MaxFeedGroup)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]store.Position, len(log))
	for i := range log {
		all[i] = log[i].At
	}
	return all
}

func TestEveryEntryInOrderOverRestarts(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		commit(t, st, 3)
		c := &recorder{}
		consumer := tail.Consumer{Name: "c", Handler: c}
		var cluster tailtest.Cluster
		for _, alone := range []bool{true, false, false, true} {
			o, drain := tail.Options{Store: st}, func() {}
			if !alone {
				node := cluster.Join()
				drain, o.Nodes = node.Drain, node
			}
			n := start(t, o, consumer)
			advanceTime(time.Second)
			commit(t, st, 2)
			advanceTime(100 * time.Millisecond)
			if err := n.stop(); err != nil { // before the position is saved
				t.Fatal(err)
			}
			drain()
		}
		if got := c.handledPositions(); !slices.Equal(got, entries(t, st)) || len(got) != 11 || c.starts != 4 {
			t.Errorf("handled %v after %d starts", got, c.starts)
		}
	})
}

func TestStartPosition(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		commit(t, st, 3)
		oldest, newest := &recorder{}, &recorder{}
		consumers := []tail.Consumer{{Name: "oldest", Handler: oldest}, {Name: "newest", Handler: newest, Begin: tail.Newest}}
		n := start(t, tail.Options{Store: st}, consumers...)
		advanceTime(time.Millisecond)
		commit(t, st, 1)
		advanceTime(time.Second)
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		// A restored store has another epoch, in which saved positions are invalid.
		start(t, tail.Options{Store: restoredStore{st}}, consumers...)
		advanceTime(time.Millisecond)
		commit(t, st, 1)
		advanceTime(time.Second)
		all := entries(t, st)
		if got := oldest.handledPositions(); !slices.Equal(got, slices.Concat(all[:4], all)) {
			t.Errorf("oldest: %v", got)
		}
		if got := newest.handledPositions(); !slices.Equal(got, all[3:]) {
			t.Errorf("newest: %v", got)
		}
	})
}

type restoredStore struct{ tail.Store }

func (restoredStore) Epoch() string { return "another" }

// TestPositionWrites: an idle runtime on an exclusive store writes nothing, and a
// position is not saved for each entry.
func TestPositionWrites(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		counting := &faultyStore{Store: st}
		start(t, tail.Options{Store: counting}, tail.Consumer{Name: "c", Handler: &recorder{}})
		advanceTime(time.Hour)
		if got := counting.written(); got != 1 { // the document itself
			t.Errorf("%d writes while idle", got)
		}
		for range 100 {
			commit(t, st, 1)
			advanceTime(20 * time.Millisecond)
		}
		advanceTime(time.Hour)
		if got := counting.written() - 1; got < 4 || got > 6 {
			t.Errorf("%d writes in 2 s", got)
		}
	})
}

// TestRetries: an error that does not depend on an entry is retried and never skips it,
// even if the consumer wraps it as permanent.
func TestRetries(t *testing.T) {
	permanent := func(entries []store.Entry, err error) error {
		return &tail.PermanentError{At: entries[0].At, Err: err}
	}
	for name, fail := range map[string]func([]store.Entry) error{
		"unavailable":                func([]store.Entry) error { return store.ErrUnavailable },
		"full":                       func([]store.Entry) error { return store.ErrFull },
		"unknown":                    func([]store.Entry) error { return fmt.Errorf("wrapped: %w", store.ErrUnknown) },
		"conflict":                   func([]store.Entry) error { return store.ErrConflict },
		"a cancelled context":        func([]store.Entry) error { return context.Canceled },
		"permanent, but unavailable": func(e []store.Entry) error { return permanent(e, store.ErrUnavailable) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				var log strings.Builder
				bad, good := &recorder{fail: fail}, &recorder{}
				n := start(t, tail.Options{Store: st, Log: slog.New(slog.NewTextHandler(&log, nil))},
					tail.Consumer{Name: "bad", Handler: bad}, tail.Consumer{Name: "good", Handler: good})
				commit(t, st, 5)
				advanceTime(10 * time.Minute)
				if got := good.handledPositions(); !slices.Equal(got, entries(t, st)) {
					t.Errorf("the other consumer handled %v", got)
				}
				s := n.stats(t)
				if s.LagEntries < 5 || s.Lag < 9*time.Minute || s.Quarantined != 0 || s.Retries < 300 || s.Retries > 620 {
					t.Errorf("%+v", s)
				}
				bad.failWith(nil)
				advanceTime(time.Minute)
				if got := bad.handledPositions(); !slices.Equal(got, entries(t, st)) {
					t.Errorf("handled %v", got)
				}
				if s := n.stats(t); s.LagEntries != 0 || s.Lag != 0 || s.Position != entries(t, st)[4] {
					t.Errorf("%+v", s)
				}
				if begun, ended := strings.Count(log.String(), "will retry"), strings.Count(log.String(), "recovered"); begun != 1 || ended != 1 {
					t.Errorf("%s", log.String())
				}
			})
		})
	}
}

// TestLogFailure: consuming resumes after the log was unreadable for a while.
func TestLogFailure(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		c := &recorder{}
		faulty := &faultyStore{Store: st, feedErr: store.ErrUnavailable}
		n := start(t, tail.Options{Store: faulty}, tail.Consumer{Name: "c", Handler: c})
		commit(t, st, 3)
		advanceTime(time.Second)
		if got := c.handledPositions(); !slices.Equal(got, entries(t, st)) {
			t.Errorf("handled %v", got)
		}
		if s := n.stats(t); s.Retries != 1 {
			t.Errorf("%+v", s)
		}
	})
	for want, fault := range map[error]error{nil: store.ErrClosed, store.ErrFailed: store.ErrFailed} {
		bubble(t, func(t *testing.T, st *pebblestore.Store) {
			r := tail.New(tail.Options{Store: &faultyStore{Store: st, feedErr: fault}, Clock: time.Now, Log: slog.New(slog.DiscardHandler)},
				tail.Consumer{Name: "c", Handler: &recorder{}}, tail.Consumer{Name: "d", Handler: &recorder{}})
			if err := r.Run(t.Context()); !errors.Is(err, want) {
				t.Errorf("%v: %v", fault, err)
			}
		})
	}
}

// TestPoison: an entry that fails without a reason, or with a panic, is tried three times
// alone and then quarantined. Nothing else is, and the entries after it are handled.
func TestPoison(t *testing.T) {
	for name, fail := range map[string]func(store.Entry) error{
		"an error":                    func(store.Entry) error { return errors.New("anything") },
		"a panic":                     func(store.Entry) error { panic("anything") },
		"permanent, of no such entry": func(store.Entry) error { return &tail.PermanentError{At: 9999, Err: errors.New("anything")} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, st *pebblestore.Store) {
				commit(t, st, 10)
				at := entries(t, st)
				poison := []store.Position{at[4], at[5]}
				tries := make(map[store.Position]int)
				var log strings.Builder
				c := &recorder{fail: func(entries []store.Entry) error {
					for _, e := range entries {
						if slices.Contains(poison, e.At) {
							if len(entries) == 1 {
								tries[e.At]++
							}
							return fail(e)
						}
					}
					return nil
				}}
				n := start(t, tail.Options{Store: st, Log: slog.New(slog.NewTextHandler(&log, nil))}, tail.Consumer{Name: "c", Handler: c})
				advanceTime(10 * time.Second)
				commit(t, st, 3)
				advanceTime(10 * time.Second)
				want := slices.DeleteFunc(entries(t, st), func(at store.Position) bool { return slices.Contains(poison, at) })
				if got := c.handledPositions(); !slices.Equal(got, want) {
					t.Errorf("handled %v, want %v", got, want)
				}
				q, err := n.Quarantined(t.Context(), "c")
				if err != nil || q.Count != 2 || q.Entries[0].Position != poison[0] || !strings.Contains(q.Entries[0].Reason, "anything") {
					t.Errorf("%+v, %v", q, err)
				}
				if tries[poison[0]] != 3 || tries[poison[1]] != 3 {
					t.Errorf("tries: %v", tries)
				}
				if s := n.stats(t); s.LagEntries != 0 || s.Quarantined != 2 {
					t.Errorf("%+v", s)
				}
				checkStack(t, log.String(), name == "a panic")
			})
		})
	}
}

// checkStack checks that an error's line has the stack of a panic, and no warning has.
func checkStack(t *testing.T, log string, panicked bool) {
	t.Helper()
	stacks := 0
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "goroutine") {
			continue
		}
		if stacks++; !strings.Contains(line, "level=ERROR") {
			t.Errorf("a line below ERROR has a stack: %s", line)
		}
	}
	if panicked != (stacks == 1) {
		t.Errorf("%d stacks in the log:\n%s", stacks, log)
	}
}

// TestQuarantine: a poison entry is quarantined, and no other.
func TestQuarantine(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		commit(t, st, 10)
		at := entries(t, st)
		faulty := &faultyStore{Store: st, damaged: map[store.Position]bool{at[1]: true, at[6]: true}}
		c, all := &recorder{}, &recorder{}
		c.fail = func(entries []store.Entry) error {
			for _, e := range entries {
				if e.At == at[4] || e.At == at[5] {
					return &tail.PermanentError{At: e.At, Err: errors.New("poison")}
				}
			}
			return nil
		}
		consumers := []tail.Consumer{{Name: "c", Handler: c}, {Name: "all", Handler: all, Damaged: true}}
		n := start(t, tail.Options{Store: faulty}, consumers...)
		advanceTime(time.Second)
		if got := c.handledPositions(); !slices.Equal(got, []store.Position{at[0], at[2], at[3], at[7], at[8], at[9]}) {
			t.Errorf("handled %v", got)
		}
		if got := all.handledPositions(); !slices.Equal(got, entries(t, st)) {
			t.Errorf("the consumer of damaged entries handled %v", got)
		}
		q, err := n.Quarantined(t.Context(), "c")
		if err != nil || q.Count != 4 || len(q.Entries) != 4 || n.stats(t).Quarantined != 4 {
			t.Fatalf("%+v, %v", q, err)
		}
		for i, want := range []struct {
			at     store.Position
			reason string
		}{{at[1], "a bit flipped"}, {at[6], "a bit flipped"}, {at[4], "poison"}, {at[5], "poison"}} {
			if e := q.Entries[i]; e.Position != want.at || e.Reason != want.reason || e.Time.IsZero() {
				t.Errorf("%+v, want %v", e, want)
			}
		}
		if q, err := n.Quarantined(t.Context(), "all"); err != nil || q.Count != 0 {
			t.Errorf("%+v, %v", q, err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		// An entry that is handled again is not counted again.
		again := start(t, tail.Options{Store: lostPositions{faulty}}, consumers[0])
		advanceTime(time.Second)
		if q, err := again.Quarantined(t.Context(), "c"); err != nil || q.Count != 4 || len(c.handledPositions()) != 12 {
			t.Errorf("%+v, %v, %v", q, err, c.handledPositions())
		}
	})
}

// lostPositions drops positions, as if the consumer crashed before it could save them.
type lostPositions struct{ tail.Store }

func (r lostPositions) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	docs, err := r.Store.Load(ctx, account, keys...)
	if len(docs) > 0 && docs[0].Collection == "consumer" {
		docs[0].Value = []byte(`{"v":1,"position":0,"epoch":"` + r.Epoch() + `"}`)
	}
	return docs, err
}

// TestReasonsFitTheQuarantine: the list fits its document however long reasons become
// as JSON. Otherwise the consumer could never continue.
func TestReasonsFitTheQuarantine(t *testing.T) {
	for _, text := range []string{"<", "\x01", "\u2028", "\"", "ä", "\xff"} {
		bubble(t, func(t *testing.T, st *pebblestore.Store) {
			commit(t, st, tail.MaxQuarantined+1)
			c := &recorder{fail: func(entries []store.Entry) error {
				return &tail.PermanentError{At: entries[0].At, Err: errors.New(strings.Repeat(text, 1000))}
			}}
			n := start(t, tail.Options{Store: st}, tail.Consumer{Name: "c", Handler: c})
			advanceTime(time.Minute)
			q, err := n.Quarantined(t.Context(), "c")
			if err != nil || q.Count != tail.MaxQuarantined+1 || len(q.Entries) != tail.MaxQuarantined {
				t.Errorf("%q: %d of %d, %v", text, len(q.Entries), q.Count, err)
			}
		})
	}
}

// TestQuarantineIsBounded: the list is bounded; the count is not.
func TestQuarantineIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		commit(t, st, tail.MaxQuarantined+20)
		faulty := &faultyStore{Store: st, damaged: map[store.Position]bool{}}
		for _, at := range entries(t, st)[:tail.MaxQuarantined+10] {
			faulty.damaged[at] = true
		}
		c := &recorder{}
		n := start(t, tail.Options{Store: faulty}, tail.Consumer{Name: "c", Handler: c})
		advanceTime(time.Second)
		q, err := n.Quarantined(t.Context(), "c")
		if err != nil || q.Count != tail.MaxQuarantined+10 || len(q.Entries) != tail.MaxQuarantined || len(c.handledPositions()) != 10 {
			t.Errorf("%d of %d, %v; handled %v", len(q.Entries), q.Count, err, c.handledPositions())
		}
	})
}

// TestErase: Erase waits for every consumer on every node, and no longer than its
// context.
func TestErase(t *testing.T) {
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		commit(t, st, 3)
		stuck := &recorder{fail: func([]store.Entry) error { return store.ErrUnavailable }}
		start(t, tail.Options{Store: st}, tail.Consumer{Name: "other node's", Handler: stuck})
		n := start(t, tail.Options{Store: st}, tail.Consumer{Name: "c", Handler: &recorder{}})
		advanceTime(time.Second)
		alice := store.User{Account: "a", ID: "alice"}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := n.Erase(ctx, alice); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "other node's") {
			t.Fatalf("Erase did not wait: %v", err)
		}
		if countNotes(t, st) != 3 {
			t.Fatal("entries were erased before every consumer had passed them")
		}
		erased := make(chan error, 1)
		go func() { erased <- n.Erase(t.Context(), alice) }()
		advanceTime(time.Second)
		stuck.failWith(nil)
		if err := <-erased; err != nil {
			t.Fatal(err)
		}
		if got := stuck.handledPositions(); !slices.Equal(got, entries(t, st)) || countNotes(t, st) != 0 {
			t.Errorf("handled %v; %d notes remain", got, countNotes(t, st))
		}
	})
}

// countNotes counts the log entries that have a note.
func countNotes(t *testing.T, st store.Log) int {
	t.Helper()
	entries, err := st.Log(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range entries {
		if entries[i].After.Note != "" {
			n++
		}
	}
	return n
}
