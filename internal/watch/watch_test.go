package watch_test

import (
	"context"
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

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/tail/tailtest"
	"porchlight.dev/porchlight/internal/watch"
)

var errNobody = errors.New("nobody")

// A logStore is a store with the log that the consumer reads.
type logStore interface {
	store.Store
	store.Log
}

// A watchNode is a registry on a store that may have other nodes. It records what it
// delivered.
type watchNode struct {
	*testing.T
	*watch.Registry
	store     logStore
	node      *tailtest.Node // Nodes, or nil
	consumers *tail.Runtime
	stop      func()

	mu        sync.Mutex
	delivered []watch.Watch
	opened    bool // whether owners have a stream on this node
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
		Store: st, Clock: time.Now, Log: slog.New(slog.DiscardHandler), Deliver: n.deliver,
		Known: func(_ context.Context, u store.User) error {
			if u.ID == "nobody" {
				return errNobody
			}
			return nil
		},
	}
	return n
}

// startShared starts one of several nodes on a store.
func startShared(t *testing.T, st logStore, cluster *tailtest.Cluster) *watchNode {
	n := newWatchNode(t, st)
	n.node = cluster.Join()
	n.Nodes = n.node
	n.run()
	return n
}

// startPair starts two nodes on a store, and returns the one that fires watches first.
func startPair(t *testing.T, st logStore) (firing, other *watchNode) {
	t.Helper()
	var cluster tailtest.Cluster
	firing, other = startShared(t, st, &cluster), startShared(t, st, &cluster)
	advanceTime(3 * time.Second)
	if other.consumers.Running() > 0 {
		firing, other = other, firing
	}
	if firing.consumers.Running() != 1 || other.consumers.Running() != 0 {
		t.Error("not exactly one node fires watches")
	}
	return firing, other
}

// startWatches starts a node without streams.
func startWatches(t *testing.T, st logStore) *watchNode {
	n := newWatchNode(t, st)
	n.run()
	return n
}

func (n *watchNode) run() {
	ctx, cancel := context.WithCancel(n.Context())
	ended := make(chan error, 2)
	n.consumers = tail.New(tail.Options{Store: n.store, Nodes: n.Nodes, Clock: time.Now, Log: n.Log}, n.Consumer())
	go func() { ended <- n.Registry.Run(ctx) }()
	go func() { ended <- n.consumers.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		if n.node != nil {
			n.node.Drain()
		}
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

// createWatch creates a watch of bob for target that lasts an hour.
func (n *watchNode) createWatch(target presence.UserID, until presence.Status) watch.Watch {
	n.Helper()
	w, err := n.Create(n.Context(), watch.Watch{
		Account: "a", Owner: "bob", Target: target, Until: until, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		n.Fatal(err)
	}
	return w
}

// ownWatches lists bob's watches.
func (n *watchNode) ownWatches() []watch.Watch {
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

// applyEvents applies events to a user of account "a".
func (n *watchNode) applyEvents(id presence.UserID, events ...presence.Event) {
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

// watchBubble runs a test on a store in memory, in fake time.
func watchBubble(t *testing.T, test func(t *testing.T, st logStore)) {
	t.Helper()
	enginetest.Embedded(t)
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

func advanceTime(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// deliveryTime is enough to deliver a change, and less than the interval of the
// refresh.
const deliveryTime = 100 * time.Millisecond

func TestWatchFiresOnce(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.open()
		n.applyEvents("alice", arrives, leaves)
		made := n.createWatch("alice", presence.Available)
		n.createWatch("carol", presence.Busy)
		advanceTime(deliveryTime)
		if n.deliveredCount() != 0 || !made.Fired.IsZero() || len(n.ownWatches()) != 2 {
			t.Fatalf("before: %+v", n.delivered)
		}
		n.applyEvents("alice", arrives, presence.SetNote{Text: "Here"})
		advanceTime(deliveryTime)
		n.applyEvents("alice", leaves, arrives)
		advanceTime(time.Minute)
		if n.deliveredCount() != 1 || n.delivered[0].ID != made.ID || n.delivered[0].Status != presence.Available || n.delivered[0].Fired.Before(made.Created) {
			t.Fatalf("delivered %+v", n.delivered)
		}
		if left := n.ownWatches(); len(left) != 1 || left[0].Target != "carol" {
			t.Errorf("remaining: %+v", left)
		}
	})
}

// TestWatchFiresAtOnce: a watch for a status that its target already has fires at once;
// a user without a record is offline.
func TestWatchFiresAtOnce(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := newWatchNode(t, st)
		n.applyEvents("alice", arrives, presence.SetNote{Text: "Here"})
		if w := n.createWatch("alice", presence.Available); w.Fired.IsZero() || w.Status != presence.Available || w.Note != "Here" {
			t.Errorf("alice: %+v", w)
		}
		if w := n.createWatch("carol", presence.Offline); w.Fired.IsZero() || w.Status != presence.Offline {
			t.Errorf("carol: %+v", w)
		}
		if pending := n.pending(); len(pending) != 2 {
			t.Errorf("pending: %+v", pending)
		}
		n.open()
		n.createWatch("alice", presence.Available)
		if n.deliveredCount() != 1 || len(n.ownWatches()) != 2 {
			t.Errorf("delivered %+v of %+v", n.delivered, n.ownWatches())
		}
	})
}

// TestFiredWatchWaitsForStream: a watch that fires while no stream is open is kept for
// a day.
func TestFiredWatchWaitsForStream(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		first, second := n.createWatch("alice", presence.Available), n.createWatch("alice", presence.Available)
		n.applyEvents("alice", arrives)
		advanceTime(deliveryTime)
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
			t.Errorf("remaining: %+v, of %s and %s", left, first.ID, second.ID)
		}
		if err := n.Acknowledge(t.Context(), pending[1]); err != nil || len(n.ownWatches()) != 0 {
			t.Errorf("%v, remaining %+v", err, n.ownWatches())
		}
	})
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.createWatch("alice", presence.Offline)
		advanceTime(24*time.Hour - time.Minute)
		if len(n.pending()) != 1 {
			t.Error("the fired watch was not kept")
		}
		advanceTime(2 * time.Minute)
		if len(n.ownWatches()) != 0 {
			t.Error("the fired watch was kept for ever")
		}
	})
}

// TestNoChangeIsLostDuringCreate: a watch that is created while its target changes
// fires, whether the change comes first as a record or as a log entry.
func TestNoChangeIsLostDuringCreate(t *testing.T) {
	n := startWatches(t, openEngine(t))
	n.open()
	rounds := 200
	if testing.Short() || enginetest.OnNATS() {
		rounds = 30
	}
	for i := range rounds {
		target := presence.UserID(fmt.Sprintf("u%d", i%7))
		n.applyEvents(target, arrives, leaves)
		before := n.deliveredCount()
		var both sync.WaitGroup
		both.Go(func() { n.applyEvents(target, arrives) })
		both.Go(func() { n.createWatch(target, presence.Available) })
		both.Wait()
		select {
		case <-n.arrived:
		case <-time.After(time.Minute):
			t.Fatalf("round %d: the change is lost", i)
		}
		if got := n.deliveredCount() - before; got != 1 {
			t.Fatalf("round %d: delivered %d times", i, got)
		}
		n.applyEvents(target, leaves)
	}
}

// TestChangeRightAfterRead: the same, with the change at the worst time: after the
// record was read, and delivered by the log before Create continues.
func TestChangeRightAfterRead(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		slow := &hookedReads{logStore: st}
		n := startWatches(t, slow)
		n.open()
		advanceTime(deliveryTime)
		slow.after = func() {
			n.applyEvents("alice", arrives)
			advanceTime(deliveryTime)
		}
		if w := n.createWatch("alice", presence.Available); !w.Fired.IsZero() || n.deliveredCount() != 1 {
			t.Errorf("%+v, delivered %+v", w, n.delivered)
		}
	})
}

// hookedReads calls a function once, between a read and its return.
type hookedReads struct {
	logStore

	after func()
}

func (s *hookedReads) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	records, cursor, err := s.logStore.Read(ctx, us, fresh)
	if after := s.after; after != nil {
		s.after = nil
		after()
	}
	return records, cursor, err
}

// TestReplicaBehind: a watch for a status that another node has just stored fires at once: no
// change follows that would fire it.
func TestReplicaBehind(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, &behindStore{st})
		n.open()
		n.applyEvents("alice", arrives)
		advanceTime(deliveryTime)
		if w := n.createWatch("alice", presence.Available); w.Fired.IsZero() {
			t.Error("the watch did not fire")
		}
	})
}

// behindStore is a replica that has no record yet. Strong reads wait until it has.
type behindStore struct{ logStore }

func (s *behindStore) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if !fresh.Strong {
		return nil, store.Cursor{}, nil
	}
	return s.logStore.Read(ctx, us, fresh)
}

// TestWatchFollowsVisibility: a watch does not fire on what its owner may not see.
func TestWatchFollowsVisibility(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.open()
		n.applyEvents("alice", presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{"bob": presence.VisibilityOffline}})
		n.applyEvents("carol", presence.SetVisibility{Everyone: presence.VisibilityStatus})
		n.createWatch("alice", presence.Available)
		n.createWatch("carol", presence.Available)
		n.applyEvents("alice", arrives, presence.SetNote{Text: "Here"})
		n.applyEvents("carol", arrives, presence.SetNote{Text: "Here"})
		n.createWatch("alice", presence.Available)
		advanceTime(time.Minute)
		if n.deliveredCount() != 1 || n.delivered[0].Target != "carol" || n.delivered[0].Note != "" {
			t.Fatalf("delivered %+v", n.delivered)
		}
		n.applyEvents("alice", presence.SetVisibility{})
		advanceTime(deliveryTime)
		if n.deliveredCount() != 3 || n.delivered[1].Target != "alice" || n.delivered[1].Note != "Here" {
			t.Errorf("delivered %+v", n.delivered)
		}
		n.applyEvents("bob", presence.SetVisibility{Everyone: presence.VisibilityOffline}, arrives)
		if w := n.createWatch("bob", presence.Available); w.Fired.IsZero() {
			t.Error("a watch on oneself did not fire")
		}
	})
}

// TestWatchesSurviveRestart: a watch fires at the next start on a change while no node
// ran, although its log entry is not delivered again. A watch that another node created
// is loaded.
func TestWatchesSurviveRestart(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		first := startWatches(t, st)
		first.createWatch("alice", presence.Available)
		first.createWatch("carol", presence.Available)
		advanceTime(deliveryTime)
		first.stop()
		first.applyEvents("alice", arrives)

		second := newWatchNode(t, st)
		second.open()
		second.run()
		advanceTime(deliveryTime)
		if second.deliveredCount() != 1 || second.delivered[0].Target != "alice" {
			t.Fatalf("delivered %+v", second.delivered)
		}
		second.applyEvents("carol", arrives)
		advanceTime(deliveryTime)
		if second.deliveredCount() != 2 || second.delivered[1].Target != "carol" {
			t.Errorf("delivered %+v", second.delivered)
		}
	})
}

// TestWatchesOfTwoNodes: the node that runs the consumer fires watches that another node
// created, and the node with the stream delivers them.
func TestWatchesOfTwoNodes(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		reader, other := startPair(t, st)
		other.open()
		other.createWatch("alice", presence.Available)
		deleted := other.createWatch("dave", presence.Available)
		advanceTime(3 * time.Second)
		other.applyEvents("alice", arrives)
		advanceTime(3 * time.Second)
		if reader.deliveredCount() != 0 || other.deliveredCount() != 1 {
			t.Fatalf("%d and %d", reader.deliveredCount(), other.deliveredCount())
		}
		if err := other.Delete(t.Context(), "a", "bob", deleted.ID); err != nil {
			t.Fatal(err)
		}
		other.applyEvents("dave", arrives)
		advanceTime(3 * time.Second)
		reader.stop()
		other.createWatch("carol", presence.Available)
		advanceTime(3 * time.Second) // the other node takes over
		other.applyEvents("carol", arrives)
		advanceTime(deliveryTime)
		if other.deliveredCount() != 2 || len(other.ownWatches()) != 0 {
			t.Errorf("delivered %+v, remaining %+v", other.delivered, other.ownWatches())
		}
	})
}

func TestWatchExpires(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.open()
		w := n.createWatch("alice", presence.Available)
		advanceTime(time.Hour + time.Millisecond)
		n.applyEvents("alice", arrives)
		advanceTime(time.Minute)
		if _, err := n.Get(t.Context(), "a", "bob", w.ID); !errors.Is(err, watch.ErrNotFound) || n.deliveredCount() != 0 || len(n.ownWatches()) != 0 {
			t.Errorf("%v, delivered %+v", err, n.delivered)
		}
	})
}

func TestDeletedWatchesAndTargetsDoNotFire(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, st)
		n.open()
		w := n.createWatch("alice", presence.Available)
		n.createWatch("carol", presence.Available)
		n.applyEvents("dave", arrives)
		n.createWatch("dave", presence.Offline)
		advanceTime(deliveryTime)
		if err := n.Delete(t.Context(), "a", "bob", w.ID); err != nil {
			t.Fatal(err)
		}
		if err := n.Delete(t.Context(), "a", "bob", w.ID); !errors.Is(err, watch.ErrNotFound) {
			t.Errorf("delete again: %v", err)
		}
		n.applyEvents("alice", arrives)
		// A deletion is not a change to any status, not even to offline.
		n.applyEvents("carol", arrives, presence.SetUserState{State: presence.UserDeleted})
		n.applyEvents("dave", presence.SetUserState{State: presence.UserDeleted})
		advanceTime(3 * time.Second)
		for _, w := range n.delivered {
			if w.Target != "carol" { // carol was offline for a moment: either result is right
				t.Errorf("delivered %+v", w)
			}
		}
	})
}

func TestWatchQuota(t *testing.T) {
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
	if have := len(n.ownWatches()); have > watch.MaxPerOwner {
		t.Errorf("%d watches", have)
	}
	for len(n.ownWatches()) < watch.MaxPerOwner {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if limit, limited := errors.AsType[*presence.LimitError](ask()); !limited || limit.Limit != watch.MaxPerOwner {
		t.Errorf("one watch more: %v", limit)
	}
	// The quota is per owner.
	_, err := n.Create(t.Context(), watch.Watch{Account: "a", Owner: "carol", Target: "alice", Until: presence.Busy, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Error(err)
	}
}

// TestWatchesArePrivate: owners whose ids have a common prefix, or who are in other
// accounts, do not see each other's watches.
func TestWatchesArePrivate(t *testing.T) {
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
func TestDamagedWatch(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		key := store.Key{Collection: "watch", Key: "a/aaron/" + strings.Repeat("A", 26)}
		doc := document.New(key, "", struct{ document.Format }{document.Format{V: document.FormatVersion + 1}})
		if err := st.Write(t.Context(), "", doc); err != nil {
			t.Fatal(err)
		}
		n := startWatches(t, st)
		n.open()
		n.createWatch("alice", presence.Available)
		advanceTime(time.Minute)
		n.applyEvents("alice", arrives)
		advanceTime(deliveryTime)
		if n.deliveredCount() != 1 {
			t.Errorf("delivered %+v", n.delivered)
		}
	})
}

// The store refuses writes for a while: a watch is delivered once it accepts them again.
func TestWatchesAreDeliveredAfterTheStoreRefusesWrites(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		refusing := &refusingStore{logStore: st}
		n := startWatches(t, refusing)
		n.open()
		n.createWatch("alice", presence.Available)
		advanceTime(deliveryTime)
		refusing.setRefusing(true)
		n.applyEvents("alice", arrives)
		advanceTime(time.Minute)
		if n.deliveredCount() != 0 {
			t.Fatalf("delivered before the write was durable: %+v", n.delivered)
		}
		refusing.setRefusing(false)
		advanceTime(3 * time.Second)
		if n.deliveredCount() != 1 || len(n.ownWatches()) != 0 {
			t.Fatalf("delivered %+v, remaining %+v", n.delivered, n.ownWatches())
		}
		// The watch cannot be deleted, and is not delivered repeatedly.
		refusing.refusingDeletes = true
		n.applyEvents("carol", arrives)
		n.createWatch("carol", presence.Available)
		advanceTime(time.Minute)
		refusing.setRefusing(false)
		advanceTime(3 * time.Second)
		if n.deliveredCount() != 2 || len(n.ownWatches()) != 0 {
			t.Errorf("delivered %+v, remaining %+v", n.delivered, n.ownWatches())
		}
	})
}

// A refusingStore refuses to write documents while refusing is set.
type refusingStore struct {
	logStore

	mu              sync.Mutex
	refusing        bool
	refusingDeletes bool
}

func (r *refusingStore) setRefusing(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing, r.refusingDeletes = yes, false
}

func (r *refusingStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	r.mu.Lock()
	refused := r.refusing || r.refusingDeletes && docs[0].Value == nil
	r.mu.Unlock()
	if refused {
		return store.ErrFull
	}
	return r.logStore.Write(ctx, account, docs...)
}

// TestPendingWatchesAreRetried: a stream that opens while the store cannot be read gets
// its pending watches later.
func TestPendingWatchesAreRetried(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		counting := &countingStore{logStore: st}
		n := startWatches(t, counting)
		n.createWatch("alice", presence.Available)
		n.applyEvents("alice", arrives)
		advanceTime(deliveryTime)
		counting.failListings(store.ErrUnavailable)
		n.open()
		if _, err := n.Pending(t.Context(), "a", "bob"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		advanceTime(3 * time.Second)
		counting.failListings(nil)
		advanceTime(3 * time.Second)
		if n.deliveredCount() != 1 || len(n.ownWatches()) != 0 {
			t.Errorf("delivered %+v, remaining %+v", n.delivered, n.ownWatches())
		}
	})
}

// TestMoreChangesThanTheDocumentHolds: more watches are created and fire between two
// reads of the nodes' shared document than it holds, and none is missed.
func TestMoreChangesThanTheDocumentHolds(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		holder, other := startPair(t, st)
		other.open()
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
		advanceTime(3 * time.Second)
		other.applyEvents("alice", arrives)
		advanceTime(10 * time.Second)
		if holder.deliveredCount() != 0 || other.deliveredCount() != owners {
			t.Errorf("delivered %d here and %d there", holder.deliveredCount(), other.deliveredCount())
		}
	})
}

// TestWithoutWatchesNothingIsRead: the record of a user without watches is not read.
func TestWithoutWatchesNothingIsRead(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		counting := &countingStore{logStore: st}
		n := startWatches(t, counting)
		n.createWatch("carol", presence.Busy)
		advanceTime(3 * time.Second)
		before := counting.countReads()
		n.applyEvents("alice", arrives, leaves)
		advanceTime(time.Minute)
		if got := counting.countReads() - before; got != 0 {
			t.Errorf("%d reads", got)
		}
		if got := counting.countListings(); got != 3 { // at the start, and twice for bob's quota
			t.Errorf("%d listings", got)
		}
	})
}

// A countingStore counts reads of records and listings, and can fail listings.
type countingStore struct {
	logStore

	mu              sync.Mutex
	reads, listings int
	failure         error
}

func (c *countingStore) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	c.mu.Lock()
	c.reads++
	c.mu.Unlock()
	return c.logStore.Read(ctx, us, fresh)
}

func (c *countingStore) List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error) {
	c.mu.Lock()
	c.listings++
	err := c.failure
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.logStore.List(ctx, account, collection, after, limit)
}

func (c *countingStore) countReads() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads
}

func (c *countingStore) countListings() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listings
}

func (c *countingStore) failListings(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = err
}

// TestDamagedTarget: a damaged record or watch delays no other watch, neither at a
// start nor later.
func TestDamagedTarget(t *testing.T) {
	for _, damage := range []func(*damagedStore){
		func(d *damagedStore) { d.target = "dora" },
		func(d *damagedStore) { d.watches = true },
		func(d *damagedStore) { d.poison = "dora" },
	} {
		watchBubble(t, func(t *testing.T, st logStore) {
			damaged := &damagedStore{logStore: st}
			n := startWatches(t, damaged)
			n.open()
			n.createWatch("dora", presence.Available)
			advanceTime(deliveryTime)
			damaged.set(damage)
			n.applyEvents("dora", arrives)
			n.createWatch("alice", presence.Available)
			n.applyEvents("alice", arrives)
			advanceTime(time.Minute)
			if n.deliveredCount() != 1 || n.delivered[0].Target != "alice" {
				t.Fatalf("delivered %+v", n.delivered)
			}
			n.stop()
			n.applyEvents("carol", arrives)
			n.createWatch("carol", presence.Offline)
			again := startWatches(t, damaged)
			again.open()
			advanceTime(time.Minute)
			again.applyEvents("carol", leaves)
			advanceTime(time.Minute)
			if again.deliveredCount() != 1 || again.delivered[0].Target != "carol" {
				t.Fatalf("delivered after a restart: %+v", again.delivered)
			}
			damaged.set(func(d *damagedStore) { d.target, d.watches, d.poison = "", false, "" })
			advanceTime(3 * time.Second)
			if again.deliveredCount() != 2 || again.delivered[1].Target != "dora" {
				t.Errorf("delivered after the repair: %+v", again.delivered)
			}
		})
	}
}

// A damagedStore cannot read the record of one target, or the watches for dora, or gives a
// record of a target over which the evaluation panics.
type damagedStore struct {
	logStore

	mu      sync.Mutex
	target  presence.UserID
	poison  presence.UserID
	watches bool
}

func (d *damagedStore) set(f func(*damagedStore)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

var errDamage = errors.New("what is stored is damaged")

func (d *damagedStore) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	d.mu.Lock()
	target, poison := d.target, d.poison
	d.mu.Unlock()
	for _, u := range us {
		if target != "" && u.ID == target {
			return nil, store.Cursor{}, errDamage
		}
	}
	records, at, err := d.logStore.Read(ctx, us, fresh)
	records = slices.Clone(records)
	for i := range records {
		if records[i].User.ID == poison {
			records[i].State = nil
		}
	}
	return records, at, err
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

// TestLostAnswerOfFiring: if the answer to the write that fires a watch is lost, the
// watch is delivered, on this node and on others.
func TestLostAnswerOfFiring(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		watchBubble(t, func(t *testing.T, st logStore) {
			losing := &lostAnswers{logStore: st, left: 1}
			n, other := startPair(t, losing)
			for _, node := range []*watchNode{n, other} {
				node.open()
			}
			if atOnce {
				n.applyEvents("alice", arrives)
			}
			n.createWatch("alice", presence.Available)
			if !atOnce {
				n.applyEvents("alice", arrives)
			}
			advanceTime(time.Millisecond)
			n.applyEvents("alice", leaves) // it is no longer due at the retry
			advanceTime(5 * time.Second)
			if n.deliveredCount()+other.deliveredCount() == 0 || len(n.ownWatches()) != 0 || losing.left != 0 {
				t.Errorf("at once %v: delivered %+v and %+v, left %+v", atOnce, n.delivered, other.delivered, n.ownWatches())
			}
		})
	}
}

// A lostAnswers makes the writes that fire watches and loses the answers.
type lostAnswers struct {
	logStore

	mu   sync.Mutex
	left int
}

func (l *lostAnswers) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	err := l.logStore.Write(ctx, account, docs...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.left > 0 && docs[0].Collection == "watch" && strings.Contains(string(docs[0].Value), `"fired"`) {
		l.left--
		return store.ErrUnknown
	}
	return err
}

// TestDamagedEntry: a damaged entry is quarantined, and its watches fire, like those of
// other entries.
func TestDamagedEntry(t *testing.T) {
	watchBubble(t, func(t *testing.T, st logStore) {
		n := startWatches(t, &damagedEntries{st})
		n.open()
		for _, target := range []presence.UserID{"dora", "alice"} {
			n.createWatch(target, presence.Available)
		}
		advanceTime(deliveryTime)
		n.applyEvents("dora", arrives)
		advanceTime(deliveryTime)
		n.applyEvents("alice", arrives)
		advanceTime(deliveryTime)
		if n.deliveredCount() != 2 || n.delivered[0].Target != "dora" || n.delivered[1].Target != "alice" {
			t.Errorf("delivered %+v", n.delivered)
		}
		docs, err := st.Load(t.Context(), "", store.Key{Collection: "quarantine", Key: "watch"})
		if err != nil || len(docs) != 1 || !strings.Contains(string(docs[0].Value), `"count":1,`) {
			t.Errorf("quarantined: %v, %v", docs, err)
		}
	})
}

// A damagedEntries damages the log entries of dora.
type damagedEntries struct{ logStore }

func (d *damagedEntries) Feed(ctx context.Context, after store.Position, fn func([]store.Entry) error) error {
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
