package membership_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A world is a store of documents in memory and the nodes that use it.
type world struct {
	*testing.T

	began time.Time
	nodes []*node

	mu      sync.Mutex
	down    bool                 // the store has no quorum
	reads   bool                 // and answers reads nevertheless
	jitter  func() time.Duration // what a call takes more than latency; nil: nothing
	docs    map[store.Key]store.Doc
	seq     int
	history []stored
}

// A stored is one document as it was written.
type stored struct {
	at   time.Duration // since the world began
	key  string
	by   *node
	tomb bool
}

// latency is that of each way of a call.
const latency = time.Millisecond

// simulate runs a test in fake time. The nodes end with it.
func simulate(t *testing.T, run func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, began: time.Now(), docs: make(map[store.Key]store.Doc)}
		defer func() {
			for _, n := range w.nodes {
				n.kill()
			}
			for _, n := range w.nodes {
				<-n.done
			}
			w.check()
		}()
		run(w)
	})
}

func (w *world) elapsed() time.Duration { return time.Since(w.began) }

func (w *world) setDown(down, reads bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down, w.reads = down, reads
}

func (w *world) extra() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.jitter == nil {
		return 0
	}
	return w.jitter()
}

func (w *world) refuses(read bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down && (!read || !w.reads)
}

// write is what the servers do.
func (w *world) write(by *node, docs []store.Doc) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range docs {
		if w.docs[d.Key].Version != d.Version {
			return store.ErrConflict
		}
	}
	for _, d := range docs {
		w.seq++
		d.Version = strconv.Itoa(w.seq)
		w.docs[d.Key] = d
		w.history = append(w.history, stored{w.elapsed(), d.Key.Key, by, !d.Until.IsZero()})
	}
	return nil
}

// written returns the documents written so far.
func (w *world) written() []stored {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.history)
}

func (w *world) list(collection, after string, limit int) []store.Doc {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []store.Doc
	for key, d := range w.docs {
		if !d.Until.IsZero() && !time.Now().Before(d.Until) {
			delete(w.docs, key)
			continue
		}
		if key.Collection == collection && key.Key > after {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b store.Doc) int { return cmp.Compare(a.Key.Key, b.Key.Key) })
	return found[:min(len(found), limit)]
}

// An event is a callback of a node.
type event struct {
	at   time.Duration
	what string // dead, isolated, rejoined
	id   string
}

// A node is a process with its connection to the store.
type node struct {
	*membership.Members

	w    *world
	name string
	end  context.CancelFunc
	done chan struct{} // closed when Run has ended
	// alone says that no other node can use the store, and that this one does not beat.
	alone bool

	mu     sync.Mutex
	holds  [2]chan struct{} // of beats and of tombstones on their way; nil: they pass
	frozen chan struct{}    // closed when the process goes on; nil: it is not paused
	cut    bool             // nothing passes
	deaf   bool             // calls arrive, answers do not
	events []event
}

// start starts a node that reads these levels, or the only one there is.
func (w *world) start(name string, levels ...membership.Levels) *node {
	w.Helper()
	n, err := w.tryStart(name, levels...)
	if err != nil {
		w.Fatalf("%s: %v", name, err)
	}
	return n
}

func (w *world) tryStart(name string, levels ...membership.Levels) (*node, error) {
	w.Helper()
	n := w.add(name, levels...)
	return n, n.join()
}

// join joins, and runs the node until it is killed.
func (n *node) join() error {
	ctx, end := context.WithCancel(n.w.Context())
	n.end = end
	if err := n.Join(ctx); err != nil {
		return err
	}
	n.done = make(chan struct{})
	go func() {
		defer close(n.done)
		if err := n.Run(ctx); err != nil {
			n.w.Errorf("%s: %v", n.name, err)
		}
	}()
	return nil
}

func (w *world) add(name string, levels ...membership.Levels) *node {
	reads := membership.ThisVersion()
	if len(levels) > 0 {
		reads = levels[0]
	}
	n := &node{w: w, name: name, end: func() {}, done: make(chan struct{})}
	close(n.done)
	n.Members = membership.New(membership.Options{
		Store: n, Clock: time.Now, Log: slog.New(slog.DiscardHandler),
		Facts: membership.Facts{Version: "1", Host: name, Address: "10.0.0.1:8443", Reads: reads},
	})
	n.OnDead = func(id string) {
		if !n.Dead(id) {
			w.Errorf("%s: OnDead of a node that is not dead", name)
		}
		n.note("dead", id)
	}
	n.OnIsolated = func() { n.note("isolated", "") }
	n.OnRejoined = func(id string) {
		if n.Isolated() == 0 {
			n.w.Error("Isolated is 0 before OnRejoined has returned")
		}
		n.note("rejoined", id)
	}
	w.nodes = append(w.nodes, n)
	return n
}

func (n *node) note(what, id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, event{n.w.elapsed(), what, id})
}

// when is when something happened to a node, each time.
func (n *node) when(what, id string) []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []time.Duration
	for _, e := range n.events {
		if e.what == what && (id == "" || e.id == id) {
			all = append(all, e.at)
		}
	}
	return all
}

func (n *node) kill() {
	n.resume()
	n.end()
}

// pause stops the calls of a process before they leave it. Its timers go on.
func (n *node) pause() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = make(chan struct{})
}

func (n *node) resume() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.frozen != nil {
		close(n.frozen)
		n.frozen = nil
	}
}

// hold keeps beats or tombstones on their way, until it is called again.
func (n *node) hold(tombstones bool) (release func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	held, i := make(chan struct{}), kind(tombstones)
	n.holds[i] = held
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.holds[i] = nil
		close(held)
	}
}

func kind(tombstone bool) int {
	if tombstone {
		return 1
	}
	return 0
}

func (n *node) setCut(cut, deaf bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut, n.deaf = cut, deaf
}

func (n *node) state() (frozen chan struct{}, cut, deaf bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.frozen, n.cut, n.deaf
}

// call makes a call of the store as the faults let it. do runs at the servers.
func (n *node) call(ctx context.Context, read bool, do func() error) error {
	if frozen, _, _ := n.state(); frozen != nil {
		<-frozen // a process that is paused sees no timeout
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err() // one that was killed sends nothing more
	}
	time.Sleep(latency + n.w.extra())
	_, cut, deaf := n.state()
	if cut || n.w.refuses(read) {
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
		}
		return store.ErrUnavailable
	}
	err := do()
	if deaf {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
	}
	time.Sleep(latency)
	if frozen, _, _ := n.state(); frozen != nil {
		<-frozen
	}
	return err
}

// Write implements membership.Store.
func (n *node) Write(ctx context.Context, _ presence.AccountID, docs ...store.Doc) error {
	n.mu.Lock()
	held := n.holds[kind(!docs[0].Until.IsZero())]
	n.mu.Unlock()
	if held != nil {
		<-held
	}
	return n.call(ctx, false, func() error { return n.w.write(n, docs) })
}

// List implements membership.Store.
func (n *node) List(ctx context.Context, _ presence.AccountID, collection, after string, limit int) (found []store.Doc, err error) {
	err = n.call(ctx, true, func() error { found = n.w.list(collection, after, limit); return nil })
	if err != nil {
		return nil, err
	}
	return found, nil
}

// writes are the times at which documents of an incarnation were stored.
func (w *world) writes(id string, tomb bool) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []time.Duration
	for _, s := range w.history {
		if s.key == id && s.tomb == tomb {
			all = append(all, s.at)
		}
	}
	return all
}

// check checks what must hold whatever happened: nobody is dead without a tombstone or
// twice, no beat follows a tombstone, and whoever wrote a tombstone had beaten itself for
// long enough since the last beat of the dead.
func (w *world) check() {
	w.Helper()
	w.mu.Lock()
	history := slices.Clone(w.history)
	w.mu.Unlock()
	tombstones := make(map[string]time.Duration)
	last := make(map[string]int) // index of the last beat
	for i, s := range history {
		switch {
		case s.key == "level":
		case s.tomb:
			if _, again := tombstones[s.key]; again {
				w.Errorf("%s has two tombstones", s.key)
			}
			tombstones[s.key] = s.at
			if beats := beatsOf(s.by, history[last[s.key]+1:i]); !s.by.alone && beats < int(membership.DeadAfter/membership.Interval)/2-1 {
				w.Errorf("%v: %s was declared dead by %s, which had beaten %d times since its last beat", s.at, s.key, s.by.name, beats)
			}
		default:
			last[s.key] = i
			if at, dead := tombstones[s.key]; dead {
				w.Errorf("%v: a beat of %s, which has a tombstone since %v", s.at, s.key, at)
			}
		}
	}
	for _, n := range w.nodes {
		n.check(tombstones)
	}
}

// beatsOf counts the beats of a process.
func beatsOf(n *node, history []stored) (count int) {
	for _, s := range history {
		if s.by == n && !s.tomb && s.key != "level" {
			count++
		}
	}
	return count
}

func (n *node) check(tombstones map[string]time.Duration) {
	seen := make(map[string]bool)
	for _, e := range n.events {
		if e.what != "dead" {
			continue
		}
		if at, ok := tombstones[e.id]; !ok || at > e.at {
			n.w.Errorf("%s at %v: %s is dead without a tombstone", n.name, e.at, e.id)
		}
		if seen[e.id] {
			n.w.Errorf("%s at %v: %s is dead again", n.name, e.at, e.id)
		}
		seen[e.id] = true
	}
}

// within checks that something happened once, in an interval.
func (w *world) within(what string, at []time.Duration, least, most time.Duration) {
	w.Helper()
	if len(at) != 1 || at[0] < least || at[0] > most {
		w.Errorf("%s: at %v, want once between %v and %v", what, at, least, most)
	}
}

// never checks that nobody was declared dead or isolated.
func (w *world) never(whats ...string) {
	w.Helper()
	for _, n := range w.nodes {
		for _, what := range whats {
			if at := n.when(what, ""); len(at) > 0 {
				w.Errorf("%s: %s at %v", n.name, what, at)
			}
		}
	}
}

func (w *world) incarnations() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make(map[string]bool)
	for _, s := range w.history {
		if s.key != "level" {
			ids[s.key] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}
