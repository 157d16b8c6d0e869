package watch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/watch"
)

var errNobody = errors.New("nobody")

// A logStore is a store whose log the consumer reads.
type logStore interface {
	store.Store
	store.Log
}

// A watchNode is a registry on a store that may have other nodes, with what it delivered.
type watchNode struct {
	*testing.T
	*watch.Registry
	store logStore
	stop  func()

	mu        sync.Mutex
	delivered []watch.Watch
	opened    bool // whether owners have a stream here
	arrived   chan struct{}
}

func openEngine(t *testing.T) logStore {
	t.Helper()
	st, ok := enginetest.Open(t, time.Now).(logStore)
	if !ok {
		t.Fatal("the engine has no log")
	}
	return st
}

func newWatchNode(t *testing.T, st logStore) *watchNode {
	t.Helper()
	n := &watchNode{T: t, store: st, stop: func() {}, arrived: make(chan struct{}, 1000)}
	n.Registry = &watch.Registry{
		Store: st, Exclusive: !enginetest.OnNATS(), Clock: time.Now, Log: slog.New(slog.DiscardHandler), Deliver: n.deliver,
		Known: func(_ context.Context, u store.User) error {
			if u.ID == "nobody" {
				return errNobody
			}
			return nil
		},
	}
	return n
}

// startShared is a node of several on one store.
func startShared(t *testing.T, st logStore) *watchNode {
	n := newWatchNode(t, st)
	n.Exclusive = false
	n.run()
	return n
}

// startWatches is a running node without streams.
func startWatches(t *testing.T, st logStore) *watchNode {
	n := newWatchNode(t, st)
	n.run()
	return n
}

func (n *watchNode) run() {
	ctx, cancel := context.WithCancel(n.Context())
	ended := make(chan error, 2)
	consumers := tail.New(tail.Options{Store: n.store, Exclusive: n.Exclusive, Clock: time.Now, Log: n.Log}, n.Consumer())
	go func() { ended <- n.Registry.Run(ctx) }()
	go func() { ended <- consumers.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			n.Error(err)
		}
	})
	n.Cleanup(n.stop)
}

func (n *watchNode) deliver(account presence.AccountID, owner presence.UserID, w watch.Watch) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w.Account != account || w.Owner != owner || w.Fired.IsZero() {
		n.Errorf("%s/%s got %+v delivered", account, owner, w)
	}
	if n.opened {
		n.delivered = append(n.delivered, w)
		n.arrived <- struct{}{}
	}
	return n.opened
}

func (n *watchNode) open() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.opened = true
}

func (n *watchNode) deliveredCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.delivered)
}

// ask makes a watch of bob's for target that lasts an hour.
func (n *watchNode) ask(target presence.UserID, until presence.Status) watch.Watch {
	n.Helper()
	w, err := n.Create(n.Context(), watch.Watch{
		Account: "a", Owner: "bob", Target: target, Until: until, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		n.Fatal(err)
	}
	return w
}

// own is what bob has.
func (n *watchNode) own() []watch.Watch {
	n.Helper()
	list, err := n.List(n.Context(), "a", "bob", "", 1000)
	if err != nil {
		n.Fatal(err)
	}
	return list
}

func (n *watchNode) pending() []watch.Watch {
	n.Helper()
	list, err := n.Pending(n.Context(), "a", "bob")
	if err != nil {
		n.Fatal(err)
	}
	return list
}

// play makes events part of a user of account "a".
func (n *watchNode) play(id presence.UserID, events ...presence.Event) {
	n.Helper()
	for _, e := range events {
		_, err := n.Store.Update(n.Context(), store.User{Account: "a", ID: id}, storetest.Apply(e, presence.Policy{}, presence.InstantOf(time.Now())))
		if err != nil {
			n.Fatal(err)
		}
	}
}

var (
	arrives = presence.SignIn{Session: "s", Client: presence.Desktop, Lease: time.Hour}
	leaves  = presence.SignOut{Session: "s"}
)

// watchBubble runs a test on a store in memory, whose time passes by itself.
func watchBubble(t *testing.T, test func(t *testing.T, st logStore)) {
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

func letPass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// promptly is enough for a change to be delivered, and less than until the next refresh.
const promptly = 100 * time.Millisecond

func TestAWatchFiresOnce(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.open()
		n.play("alice", arrives, leaves)
		made := n.ask("alice", presence.Available)
		n.ask("carol", presence.Busy)
		letPass(promptly)
		if n.deliveredCount() != 0 || !made.Fired.IsZero() || len(n.own()) != 2 {
			t.Fatalf("before: %+v", n.delivered)
		}
		n.play("alice", arrives, presence.SetNote{Text: "Here"})
		letPass(promptly)
		n.play("alice", leaves, arrives)
		letPass(time.Minute)
		if n.deliveredCount() != 1 || n.delivered[0].ID != made.ID || n.delivered[0].Status != presence.Available || n.delivered[0].Fired.Before(made.Created) {
			t.Fatalf("delivered %+v", n.delivered)
		}
		if left := n.own(); len(left) != 1 || left[0].Target != "carol" {
			t.Errorf("left %+v", left)
		}
	})
}

// A target that already has the status fires at once; a user about whom nothing is recorded
// is offline.
func TestAWatchFiresAtOnce(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := newWatchNode(t, st)
		n.play("alice", arrives, presence.SetNote{Text: "Here"})
		if w := n.ask("alice", presence.Available); w.Fired.IsZero() || w.Status != presence.Available || w.Note != "Here" {
			t.Errorf("alice: %+v", w)
		}
		if w := n.ask("carol", presence.Offline); w.Fired.IsZero() || w.Status != presence.Offline {
			t.Errorf("carol: %+v", w)
		}
		if pending := n.pending(); len(pending) != 2 {
			t.Errorf("pending: %+v", pending)
		}
		n.open()
		n.ask("alice", presence.Available)
		if n.deliveredCount() != 1 || len(n.own()) != 2 {
			t.Errorf("delivered %+v of %+v", n.delivered, n.own())
		}
	})
}

// A watch that fired while no stream was open waits a day for one.
func TestAFiredWatchWaitsForAStream(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		first, second := n.ask("alice", presence.Available), n.ask("alice", presence.Available)
		n.play("alice", arrives)
		letPass(promptly)
		pending := n.pending()
		if len(pending) != 2 {
			t.Fatalf("pending: %+v", pending)
		}
		if got, err := n.Get(t.Context(), "a", "bob", first.ID); err != nil || got.Fired.IsZero() {
			t.Errorf("%+v, %v", got, err)
		}
		if err := n.Acknowledge(t.Context(), pending[0]); err != nil {
			t.Fatal(err)
		}
		if left := n.pending(); len(left) != 1 || left[0].ID != pending[1].ID {
			t.Errorf("left: %+v, of %s and %s", left, first.ID, second.ID)
		}
		if err := n.Acknowledge(t.Context(), pending[1]); err != nil || len(n.own()) != 0 {
			t.Errorf("%v, left %+v", err, n.own())
		}
	})
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.ask("alice", presence.Offline)
		letPass(24*time.Hour - time.Minute)
		if len(n.pending()) != 1 {
			t.Error("it does not wait")
		}
		letPass(2 * time.Minute)
		if len(n.own()) != 0 {
			t.Error("it waits for ever")
		}
	})
}

// A watch that is made while its target changes sees the change, whichever is
// first: as the record that it reads, or as an entry of the log.
func TestNoChangeIsLostWhileAWatchIsMade(t *testing.T) {
	n := startWatches(t, openEngine(t))
	n.open()
	rounds := 200
	if testing.Short() || enginetest.OnNATS() {
		rounds = 30
	}
	for i := range rounds {
		target := presence.UserID(fmt.Sprintf("u%d", i%7))
		n.play(target, arrives, leaves)
		before := n.deliveredCount()
		var both sync.WaitGroup
		both.Go(func() { n.play(target, arrives) })
		both.Go(func() { n.ask(target, presence.Available) })
		both.Wait()
		select {
		case <-n.arrived:
		case <-time.After(10 * time.Second):
			t.Fatalf("round %d: the change is lost", i)
		}
		if got := n.deliveredCount() - before; got != 1 {
			t.Fatalf("round %d: delivered %d times", i, got)
		}
		n.play(target, leaves)
	}
}

// The same, with the change where it is easiest to miss: after the record was read,
// and given by the log before Create goes on.
func TestAChangeRightAfterTheRead(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		slow := &slowReads{logStore: st}
		n := startWatches(t, slow)
		n.open()
		letPass(promptly)
		slow.after = func() {
			n.play("alice", arrives)
			letPass(promptly)
		}
		if w := n.ask("alice", presence.Available); !w.Fired.IsZero() || n.deliveredCount() != 1 {
			t.Errorf("%+v, delivered %+v", w, n.delivered)
		}
	})
}

// slowReads does something after a read, once, before it gives what it read.
type slowReads struct {
	logStore

	after func()
}

func (s *slowReads) Read(ctx context.Context, us []store.User) ([]store.Record, store.Cursor, error) {
	records, cursor, err := s.logStore.Read(ctx, us)
	if after := s.after; after != nil {
		s.after = nil
		after()
	}
	return records, cursor, err
}

// A watch fires on what its owner may see: on a hidden target it does not fire.
func TestAWatchSeesWhatItsOwnerSees(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.open()
		n.play("alice", presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{"bob": presence.VisibilityOffline}})
		n.play("carol", presence.SetVisibility{Everyone: presence.VisibilityStatus})
		n.ask("alice", presence.Available)
		n.ask("carol", presence.Available)
		n.play("alice", arrives, presence.SetNote{Text: "Here"})
		n.play("carol", arrives, presence.SetNote{Text: "Here"})
		n.ask("alice", presence.Available)
		letPass(time.Minute)
		if n.deliveredCount() != 1 || n.delivered[0].Target != "carol" || n.delivered[0].Note != "" {
			t.Fatalf("delivered %+v", n.delivered)
		}
		n.play("alice", presence.SetVisibility{})
		letPass(promptly)
		if n.deliveredCount() != 3 || n.delivered[1].Target != "alice" || n.delivered[1].Note != "Here" {
			t.Errorf("delivered %+v", n.delivered)
		}
		n.play("bob", presence.SetVisibility{Everyone: presence.VisibilityOffline}, arrives)
		if w := n.ask("bob", presence.Available); w.Fired.IsZero() {
			t.Error("users do not see themselves")
		}
	})
}

// A change while no node ran is seen at the next start, although its entry is
// not given again; and what was made on another node is seen there.
func TestWatchesSurviveARestart(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		first := startWatches(t, st)
		first.ask("alice", presence.Available)
		first.ask("carol", presence.Available)
		letPass(promptly)
		first.stop()
		first.play("alice", arrives)

		second := newWatchNode(t, st)
		second.open()
		second.run()
		letPass(promptly)
		if second.deliveredCount() != 1 || second.delivered[0].Target != "alice" {
			t.Fatalf("delivered %+v", second.delivered)
		}
		second.play("carol", arrives)
		letPass(promptly)
		if second.deliveredCount() != 2 || second.delivered[1].Target != "carol" {
			t.Errorf("delivered %+v", second.delivered)
		}
	})
}

// Two nodes: the one that has the log fires what was made on the other, and the
// one that has the stream delivers it.
func TestWatchesOfTwoNodes(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		reader := startShared(t, st)
		letPass(promptly)
		other := startShared(t, st)
		other.open()
		letPass(promptly)
		other.ask("alice", presence.Available)
		deleted := other.ask("dave", presence.Available)
		letPass(3 * time.Second)
		other.play("alice", arrives)
		letPass(3 * time.Second)
		if reader.deliveredCount() != 0 || other.deliveredCount() != 1 {
			t.Fatalf("%d and %d", reader.deliveredCount(), other.deliveredCount())
		}
		if err := other.Delete(t.Context(), "a", "bob", deleted.ID); err != nil {
			t.Fatal(err)
		}
		other.play("dave", arrives)
		letPass(3 * time.Second)
		reader.stop()
		other.ask("carol", presence.Available)
		letPass(3 * time.Second) // it takes over
		other.play("carol", arrives)
		letPass(promptly)
		if other.deliveredCount() != 2 || len(other.own()) != 0 {
			t.Errorf("delivered %+v, left %+v", other.delivered, other.own())
		}
	})
}

func TestAWatchExpires(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.open()
		w := n.ask("alice", presence.Available)
		letPass(time.Hour + time.Millisecond)
		n.play("alice", arrives)
		letPass(time.Minute)
		if _, err := n.Get(t.Context(), "a", "bob", w.ID); !errors.Is(err, watch.ErrNotFound) || n.deliveredCount() != 0 || len(n.own()) != 0 {
			t.Errorf("%v, delivered %+v", err, n.delivered)
		}
	})
}

func TestDeletedWatchesAndTargetsDoNotFire(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.open()
		w := n.ask("alice", presence.Available)
		n.ask("carol", presence.Available)
		n.play("dave", arrives)
		n.ask("dave", presence.Offline)
		letPass(promptly)
		if err := n.Delete(t.Context(), "a", "bob", w.ID); err != nil {
			t.Fatal(err)
		}
		if err := n.Delete(t.Context(), "a", "bob", w.ID); !errors.Is(err, watch.ErrNotFound) {
			t.Errorf("again: %v", err)
		}
		n.play("alice", arrives)
		// A deleted user comes to no status, not even offline.
		n.play("carol", arrives, presence.SetUserState{State: presence.UserDeleted})
		n.play("dave", presence.SetUserState{State: presence.UserDeleted})
		letPass(3 * time.Second)
		for _, w := range n.delivered {
			if w.Target != "carol" { // seen for the moment, or not: both are right
				t.Errorf("delivered %+v", w)
			}
		}
	})
}

func TestQuotaOfWatches(t *testing.T) {
	n := newWatchNode(t, openEngine(t))
	ask := func() error {
		_, err := n.Create(t.Context(), watch.Watch{
			Account: "a", Owner: "bob", Target: "alice", Until: presence.Busy, Expires: time.Now().Add(time.Hour),
		})
		return err
	}
	for range watch.MaxPerOwner - 1 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, limited := errors.AsType[*presence.LimitError](ask()); !limited {
				t.Log("one was made")
			}
		})
	}
	all.Wait()
	if have := len(n.own()); have > watch.MaxPerOwner {
		t.Errorf("there are %d", have)
	}
	for len(n.own()) < watch.MaxPerOwner {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if limit, limited := errors.AsType[*presence.LimitError](ask()); !limited || limit.Limit != watch.MaxPerOwner {
		t.Errorf("one more: %v", limit)
	}
	// It is the owner's bound, not everybody's.
	_, err := n.Create(t.Context(), watch.Watch{Account: "a", Owner: "carol", Target: "alice", Until: presence.Busy, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Error(err)
	}
}

// Owners whose ids begin alike, or who live in other accounts, do not see each
// other's.
func TestWatchesAreTheirOwners(t *testing.T) {
	n := newWatchNode(t, openEngine(t))
	made := make(map[store.User]string)
	owners := []store.User{{Account: "a", ID: "bob"}, {Account: "a", ID: "bob2"}, {Account: "a", ID: "bo"}, {Account: "b", ID: "bob"}, {Account: "aa", ID: "bob"}}
	for _, o := range owners {
		w, err := n.Create(t.Context(), watch.Watch{Account: o.Account, Owner: o.ID, Target: "alice", Until: presence.Busy, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		made[o] = w.ID
	}
	for _, o := range owners {
		list, err := n.List(t.Context(), o.Account, o.ID, "", 10)
		if err != nil || len(list) != 1 || list[0].ID != made[o] || list[0].Owner != o.ID || list[0].Account != o.Account {
			t.Errorf("%v: %+v, %v", o, list, err)
		}
		for _, other := range owners {
			w, err := n.Get(t.Context(), o.Account, o.ID, made[other])
			if other == o && (err != nil || w.ID != made[o]) || other != o && !errors.Is(err, watch.ErrNotFound) {
				t.Errorf("%v of %v: %+v, %v", o, other, w, err)
			}
		}
	}
	for _, id := range []string{"", "x", strings.Repeat("x", 600), "../" + strings.Repeat("x", 23)} {
		if _, err := n.Get(t.Context(), "a", "bob", id); !errors.Is(err, watch.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
	_, err := n.Create(t.Context(), watch.Watch{Account: "a", Owner: "bob", Target: "nobody", Expires: time.Now().Add(time.Hour)})
	if !errors.Is(err, errNobody) {
		t.Error(err)
	}
}

// One unreadable document does not affect other watches.
func TestADamagedWatch(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		key := store.Key{Collection: "watch", Key: "a/aaron/" + strings.Repeat("A", 26)}
		doc := document.New(key, "", struct{ document.Format }{document.Format{V: document.FormatVersion + 1}})
		if err := st.Write(t.Context(), "", doc); err != nil {
			t.Fatal(err)
		}
		n := startWatches(t, st)
		n.open()
		n.ask("alice", presence.Available)
		letPass(time.Minute)
		n.play("alice", arrives)
		letPass(promptly)
		if n.deliveredCount() != 1 {
			t.Errorf("delivered %+v", n.delivered)
		}
	})
}

// The store refuses writes for a while: a watch is delivered once it accepts them again.
func TestWatchesAreDeliveredAfterTheStoreRefusesWrites(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		refusing := &refusingWatches{logStore: st}
		n := startWatches(t, refusing)
		n.open()
		n.ask("alice", presence.Available)
		letPass(promptly)
		refusing.refuse(true)
		n.play("alice", arrives)
		letPass(time.Minute)
		if n.deliveredCount() != 0 {
			t.Fatalf("delivered what is not durable: %+v", n.delivered)
		}
		refusing.refuse(false)
		letPass(3 * time.Second)
		if n.deliveredCount() != 1 || len(n.own()) != 0 {
			t.Fatalf("delivered %+v, left %+v", n.delivered, n.own())
		}
		// It cannot be removed, and is not delivered repeatedly.
		refusing.refuseRemoval = true
		n.play("carol", arrives)
		n.ask("carol", presence.Available)
		letPass(time.Minute)
		refusing.refuse(false)
		letPass(3 * time.Second)
		if n.deliveredCount() != 2 || len(n.own()) != 0 {
			t.Errorf("delivered %+v, left %+v", n.delivered, n.own())
		}
	})
}

// A refusingWatches refuses to write documents while refuse is set.
type refusingWatches struct {
	logStore

	mu            sync.Mutex
	refuses       bool
	refuseRemoval bool
}

func (r *refusingWatches) refuse(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuses, r.refuseRemoval = yes, false
}

func (r *refusingWatches) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	r.mu.Lock()
	refused := r.refuses || r.refuseRemoval && docs[0].Value == nil
	r.mu.Unlock()
	if refused {
		return store.ErrFull
	}
	return r.logStore.Write(ctx, account, docs...)
}

// A stream opens while the store cannot be read: it gets what is pending later.
func TestPendingWatchesThatCouldNotBeListed(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		counting := &countingReads{logStore: st}
		n := startWatches(t, counting)
		n.ask("alice", presence.Available)
		n.play("alice", arrives)
		letPass(promptly)
		counting.fail(store.ErrUnavailable)
		n.open()
		if _, err := n.Pending(t.Context(), "a", "bob"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		letPass(3 * time.Second)
		counting.fail(nil)
		letPass(3 * time.Second)
		if n.deliveredCount() != 1 || len(n.own()) != 0 {
			t.Errorf("delivered %+v, left %+v", n.delivered, n.own())
		}
	})
}

// More watches than the nodes' common document holds are made and fire between two
// looks at it: none is missed.
func TestMoreChangesThanTheDocumentHolds(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		holder := startShared(t, st)
		letPass(promptly)
		other := startShared(t, st)
		other.open()
		letPass(promptly)
		const owners = 600
		for i := range owners {
			_, err := other.Create(t.Context(), watch.Watch{
				Account: "a", Owner: presence.UserID(fmt.Sprintf("owner%d", i)), Target: "alice", Until: presence.Available,
				Expires: time.Now().Add(time.Hour),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		letPass(3 * time.Second)
		other.play("alice", arrives)
		letPass(10 * time.Second)
		if holder.deliveredCount() != 0 || other.deliveredCount() != owners {
			t.Errorf("delivered %d here and %d there", holder.deliveredCount(), other.deliveredCount())
		}
	})
}

// A change of a user without watches is not read.
func TestWithoutWatchesNothingIsRead(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		counting := &countingReads{logStore: st}
		n := startWatches(t, counting)
		n.ask("carol", presence.Busy)
		letPass(3 * time.Second)
		before := counting.count()
		n.play("alice", arrives, leaves)
		letPass(time.Minute)
		if got := counting.count() - before; got != 0 {
			t.Errorf("%d reads", got)
		}
		if got := counting.listed(); got != 3 { // at the start, and twice to see how many bob has
			t.Errorf("%d listings", got)
		}
	})
}

// A countingReads counts reads of records and listings, and fails the latter.
type countingReads struct {
	logStore

	mu              sync.Mutex
	reads, listings int
	failure         error
}

func (c *countingReads) Read(ctx context.Context, us []store.User) ([]store.Record, store.Cursor, error) {
	c.mu.Lock()
	c.reads++
	c.mu.Unlock()
	return c.logStore.Read(ctx, us)
}

func (c *countingReads) List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error) {
	c.mu.Lock()
	c.listings++
	err := c.failure
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.logStore.List(ctx, account, collection, after, limit)
}

func (c *countingReads) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads
}

func (c *countingReads) listed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listings
}

func (c *countingReads) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = err
}

// A damaged record or watch delays no other watch, neither at a start nor later.
func TestADamagedTarget(t *testing.T) {
	for _, damage := range []func(*damagedStore){
		func(d *damagedStore) { d.target = "dora" },
		func(d *damagedStore) { d.watches = true },
	} {
		watchBubble(t, func(t *testing.T, st logStore) {
			damaged := &damagedStore{logStore: st}
			n := startWatches(t, damaged)
			n.open()
			n.ask("dora", presence.Available)
			letPass(promptly)
			damaged.set(damage)
			n.play("dora", arrives)
			n.ask("alice", presence.Available)
			n.play("alice", arrives)
			letPass(time.Minute)
			if n.deliveredCount() != 1 || n.delivered[0].Target != "alice" {
				t.Fatalf("delivered %+v", n.delivered)
			}
			n.stop()
			n.play("carol", arrives)
			n.ask("carol", presence.Offline)
			again := startWatches(t, damaged)
			again.open()
			letPass(time.Minute)
			again.play("carol", leaves)
			letPass(time.Minute)
			if again.deliveredCount() != 1 || again.delivered[0].Target != "carol" {
				t.Fatalf("delivered after a restart: %+v", again.delivered)
			}
			damaged.set(func(d *damagedStore) { d.target, d.watches = "", false })
			letPass(3 * time.Second)
			if again.deliveredCount() != 2 || again.delivered[1].Target != "dora" {
				t.Errorf("delivered when it was repaired: %+v", again.delivered)
			}
		})
	}
}

// A damagedStore cannot read the record of one target, or the watches for dora.
type damagedStore struct {
	logStore

	mu      sync.Mutex
	target  presence.UserID
	watches bool
}

func (d *damagedStore) set(f func(*damagedStore)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

var errDamage = errors.New("what is stored is damaged")

func (d *damagedStore) Read(ctx context.Context, us []store.User) ([]store.Record, store.Cursor, error) {
	d.mu.Lock()
	target := d.target
	d.mu.Unlock()
	for _, u := range us {
		if target != "" && u.ID == target {
			return nil, store.Cursor{}, errDamage
		}
	}
	return d.logStore.Read(ctx, us)
}

func (d *damagedStore) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	docs, err := d.logStore.Load(ctx, account, keys...)
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range docs {
		if d.watches && docs[i].Collection == "watch" && strings.Contains(string(docs[i].Value), "dora") {
			return nil, errDamage
		}
	}
	return docs, err
}

// The answer to the write that fires a watch is lost: it is delivered all the same,
// on this node and on others, whoever was about to fire it.
func TestALostAnswerOfFiring(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		watchBubble(t, func(t *testing.T, st logStore) {
			losing := &losesFirings{logStore: st, left: 1}
			n := startShared(t, losing)
			letPass(promptly)
			other := startShared(t, st)
			for _, node := range []*watchNode{n, other} {
				node.open()
			}
			if atOnce {
				n.play("alice", arrives)
			}
			n.ask("alice", presence.Available)
			if !atOnce {
				n.play("alice", arrives)
			}
			letPass(time.Millisecond)
			n.play("alice", leaves) // it is no longer due at the retry
			letPass(5 * time.Second)
			if n.deliveredCount()+other.deliveredCount() == 0 || len(n.own()) != 0 || losing.left != 0 {
				t.Errorf("at once %v: delivered %+v and %+v, left %+v", atOnce, n.delivered, other.delivered, n.own())
			}
		})
	}
}

// A losesFirings makes the writes that fire watches and loses the answers.
type losesFirings struct {
	logStore

	mu   sync.Mutex
	left int
}

func (l *losesFirings) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	err := l.logStore.Write(ctx, account, docs...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.left > 0 && docs[0].Collection == "watch" && strings.Contains(string(docs[0].Value), `"fired"`) {
		l.left--
		return store.ErrUnknown
	}
	return err
}

// An entry is damaged: it is quarantined, and the watches that it would have fired, and
// those of the other entries, fire all the same.
func TestADamagedEntry(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, &damagesEntries{st})
		n.open()
		for _, target := range []presence.UserID{"dora", "alice"} {
			n.ask(target, presence.Available)
		}
		letPass(promptly)
		n.play("dora", arrives)
		letPass(promptly)
		n.play("alice", arrives)
		letPass(promptly)
		if n.deliveredCount() != 2 || n.delivered[0].Target != "dora" || n.delivered[1].Target != "alice" {
			t.Errorf("delivered %+v", n.delivered)
		}
		docs, err := st.Load(t.Context(), "", store.Key{Collection: "quarantine", Key: "watch"})
		if err != nil || len(docs) != 1 || !strings.Contains(string(docs[0].Value), `"count":1,`) {
			t.Errorf("quarantined: %v, %v", docs, err)
		}
	})
}

// A damagesEntries damages the entries of dora.
type damagesEntries struct{ logStore }

func (d *damagesEntries) Feed(ctx context.Context, after store.Position, fn func([]store.Entry) error) error {
	return d.logStore.Feed(ctx, after, func(entries []store.Entry) error {
		given := make([]store.Entry, len(entries))
		for i, e := range entries {
			if given[i] = e; e.User.ID == "dora" {
				given[i] = store.Entry{At: e.At, Damaged: errDamage}
			}
		}
		return fn(given)
	})
}
