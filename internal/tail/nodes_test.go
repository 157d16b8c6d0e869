package tail_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/tail"
	"porchlight.dev/porchlight/internal/tail/tailtest"
)

// A world is several processes with the same consumers on one store.
type world struct {
	*testing.T

	st      *pebblestore.Store
	cluster tailtest.Cluster
	names   []string      // of the consumers
	takes   time.Duration // a group takes it to handle

	mu      sync.Mutex
	handled map[string][]store.Position // by consumer
	groups  map[string][]int            // how many entries were handled at once
	starts  map[string][]*process       // who began to run a consumer
	all     []*process
}

func worlds(t *testing.T, names []string, test func(w *world)) {
	t.Helper()
	bubble(t, func(t *testing.T, st *pebblestore.Store) {
		test(&world{
			T: t, st: st, names: names, takes: 10 * time.Millisecond,
			handled: make(map[string][]store.Position), groups: make(map[string][]int), starts: make(map[string][]*process),
		})
	})
}

// A process is one run of a node.
type process struct {
	*tail.Runtime
	*tailtest.Node

	w    *world
	end  func()
	lies bool // it believes that it is alone and never isolated

	mu      sync.Mutex
	dead    bool          // it was killed, or is cut off: no call reaches the store
	lossy   bool          // every third answer to a write is lost
	frozen  chan struct{} // closed when it goes on; nil: it is not paused
	writes  int
	refused int // writes because of a conflict
}

// start starts a process.
func (w *world) start() *process {
	p := &process{Node: w.cluster.Join(), w: w}
	p.run()
	return p
}

// startAll starts processes that know each other from the beginning.
func (w *world) startAll(n int, lossy bool) (all []*process) {
	for range n {
		all = append(all, &process{Node: w.cluster.Join(), w: w, lossy: lossy})
	}
	for _, p := range all {
		p.run()
	}
	return all
}

func (p *process) run() {
	var consumers []tail.Consumer
	for _, name := range p.w.names {
		consumers = append(consumers, tail.Consumer{Name: name, Handler: worldHandler{p, name}})
	}
	p.Runtime = tail.New(tail.Options{Store: processStore{p.w.st, p}, Nodes: p, Clock: time.Now, Log: slog.New(slog.DiscardHandler)}, consumers...)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := p.Run(ctx); err != nil {
			p.w.Error(err)
		}
	}()
	p.end = sync.OnceFunc(func() {
		cancel()
		p.resume()
		<-ended
	})
	p.w.Cleanup(p.end)
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.all = append(p.w.all, p)
}

// kill ends the process at once: nothing of it reaches the store any more.
func (p *process) kill() {
	p.Silence()
	p.cut(true)
	p.end()
}

// cut separates the process from the store, or connects it again.
func (p *process) cut(off bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = off
}

// pause stops all of the process.
func (p *process) pause() {
	p.Silence()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = make(chan struct{})
}

// resume lets it go on. It beats again when Return is called.
func (p *process) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// stop drains the process and ends it.
func (p *process) stop() {
	p.Drain()
	advanceTime(3 * time.Second)
	p.end()
	p.Silence()
}

// step waits while the process is paused.
func (p *process) step() {
	p.mu.Lock()
	frozen := p.frozen
	p.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

// The methods of tail.Nodes.

func (p *process) Self() string {
	p.step()
	return p.Node.Self()
}

func (p *process) Isolated() time.Duration {
	p.step()
	if p.lies {
		return 0
	}
	return p.Node.Isolated()
}

func (p *process) Serving() []string {
	p.step()
	if p.lies {
		return []string{p.Node.Self()}
	}
	return p.Node.Serving()
}

func (p *process) runs(name string) bool {
	all, _ := p.Stats(context.Background()) // a process that is cut off still knows it
	for i := range all {
		if all[i].Name == name {
			return all[i].Running
		}
	}
	return false
}

// runner is the process that runs a consumer, which the test must have given time to settle.
func (w *world) runner(name string) *process {
	w.Helper()
	var found *process
	for _, p := range w.all {
		if p.runs(name) {
			if found != nil {
				w.Errorf("%s and %s run %s", found.Node.Self(), p.Node.Self(), name)
			}
			found = p
		}
	}
	if found == nil {
		w.Fatalf("nobody runs %s", name)
	}
	return found
}

// A processStore is the store as one process sees it.
type processStore struct {
	tail.Store

	p *process
}

func (s processStore) reach() error {
	s.p.step()
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.dead {
		return store.ErrUnavailable
	}
	return nil
}

func (s processStore) Feed(ctx context.Context, after store.Position, fn func([]store.Entry) error) error {
	return s.Store.Feed(ctx, after, func(entries []store.Entry) error {
		if err := s.reach(); err != nil {
			return err
		}
		return fn(entries)
	})
}

func (s processStore) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	if err := s.reach(); err != nil {
		return nil, err
	}
	return s.Store.Load(ctx, account, keys...)
}

func (s processStore) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if err := s.reach(); err != nil {
		return err
	}
	err := s.Store.Write(ctx, account, docs...)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.writes++
	if errors.Is(err, store.ErrConflict) {
		s.p.refused++
	}
	if err == nil && s.p.lossy && s.p.writes%3 == 0 {
		return store.ErrUnknown
	}
	return err
}

func (p *process) conflicts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// A positionDocument is what is stored for a consumer.
type positionDocument struct {
	Position store.Position `json:"position"`
	Holder   string         `json:"holder"`
}

func (w *world) document(name string) (v positionDocument) {
	docs, err := w.st.Load(context.Background(), "", store.Key{Collection: "consumer", Key: name})
	if err == nil && len(docs) > 0 {
		err = json.Unmarshal(docs[0].Value, &v)
	}
	if err != nil {
		w.Error(err)
	}
	return v
}

// A worldHandler is a consumer in one process.
type worldHandler struct {
	p    *process
	name string
}

func (h worldHandler) Start(context.Context) error {
	h.p.step()
	h.p.w.mu.Lock()
	defer h.p.w.mu.Unlock()
	h.p.w.starts[h.name] = append(h.p.w.starts[h.name], h.p)
	return nil
}

// Handle fails the test if another process has the consumer.
func (h worldHandler) Handle(ctx context.Context, entries []store.Entry) error {
	h.p.step()
	w := h.p.w
	if doc := w.document(h.name); doc.Holder != h.p.Node.Self() && !h.p.lies {
		w.Errorf("%s handles entries of %s, which %q has", h.p.Node.Self(), h.name, doc.Holder)
	}
	select {
	case <-time.After(w.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	h.p.step()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.groups[h.name] = append(w.groups[h.name], len(entries))
	for i := range entries {
		w.handled[h.name] = append(w.handled[h.name], entries[i].At)
	}
	return nil
}

func (w *world) startsOf(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.starts[name])
}

// check compares what a consumer handled with the log: nothing is missing or early, and a
// take-over repeats at most one group. It returns the number of repeated entries.
func (w *world) check(name string) (repeated int) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	index := make(map[store.Position]int)
	var after store.Position
	for {
		log, err := w.st.Log(context.Background(), after, store.MaxFeedGroup)
		if err != nil {
			w.Fatal(err)
		}
		if len(log) == 0 {
			break
		}
		for i := range log {
			after = log[i].At
			index[after] = len(index)
		}
	}
	furthest := -1
	for _, at := range w.handled[name] {
		i := index[at]
		if i > furthest+1 {
			w.Fatalf("%s: entry %d was skipped", name, furthest+1)
		}
		if i <= furthest {
			repeated++
			if i+store.MaxFeedGroup <= furthest {
				w.Fatalf("%s: entry %d was repeated after entry %d", name, i, furthest)
			}
		}
		furthest = max(furthest, i)
	}
	if furthest != len(index)-1 {
		w.Errorf("%s: handled %d of %d entries", name, furthest+1, len(index))
	}
	return repeated
}

func (w *world) commit(n int) {
	w.Helper()
	commit(w.T, w.st, n)
}

// TestTakeover: a consumer of a node that has died runs elsewhere soon after the verdict, and
// not before; after a drain it does at once, and then nothing is repeated.
func TestTakeover(t *testing.T) {
	for how, c := range map[string]struct {
		end          func(*process)
		after, until time.Duration
	}{
		"killed":    {(*process).kill, tailtest.DeadAfter, 35 * time.Second},
		"paused":    {(*process).pause, tailtest.DeadAfter, 35 * time.Second},
		"cut off":   {func(p *process) { p.Silence(); p.cut(true) }, tailtest.DeadAfter, 35 * time.Second},
		"drained":   {func(p *process) { p.Drain() }, 0, 3 * time.Second},
		"shut down": {func(p *process) { p.Drain(); p.end() }, 0, 3 * time.Second},
	} {
		t.Run(how, func(t *testing.T) {
			worlds(t, []string{"c"}, func(w *world) {
				w.startAll(3, false)
				for range 100 {
					w.commit(1)
					advanceTime(100 * time.Millisecond)
				}
				holder := w.runner("c")
				if starts := w.startsOf("c"); starts != 1 {
					t.Errorf("%d starts", starts)
				}
				c.end(holder)
				began := time.Now()
				for w.startsOf("c") == 1 && time.Since(began) < time.Minute {
					w.commit(1)
					advanceTime(100 * time.Millisecond)
				}
				if took := time.Since(began); took < c.after || took > c.until {
					t.Errorf("taken over after %v", took)
				}
				advanceTime(time.Second)
				if how == "paused" { // it notices when it goes on
					holder.resume()
					advanceTime(1100 * time.Millisecond)
				}
				if w.runner("c") == holder {
					t.Error("the same process runs it")
				}
				repeated := w.check("c")
				t.Logf("%d repeated", repeated)
				if c.after == 0 && repeated > 0 {
					t.Errorf("%d entries were repeated", repeated)
				}
			})
		})
	}
}

// TestShortPause: a node that is silent for less than the verdict takes keeps its consumers
// or, if it was isolated, has them again under its new incarnation; nobody waits for the
// verdict on the old one.
func TestShortPause(t *testing.T) {
	for _, pause := range []time.Duration{10 * time.Second, 20 * time.Second} {
		worlds(t, []string{"a", "b", "c"}, func(w *world) {
			w.startAll(3, false)
			advanceTime(3 * time.Second)
			holder := w.runner("a")
			before := w.startsOf("a")
			holder.pause()
			w.commit(1)
			advanceTime(pause)
			holder.Return() // the first that it does is to beat
			holder.resume()
			advanceTime(5 * time.Second)
			isolated := pause > tailtest.IsolatedAfter
			if moved := w.startsOf("a") > before; moved != isolated {
				t.Errorf("paused for %v: moved: %v", pause, moved)
			}
			for _, name := range w.names {
				w.runner(name)
				w.check(name)
			}
		})
	}
}

// TestGiveBack: when a node joins and a consumer is assigned to it, the consumer moves there
// between two groups.
func TestGiveBack(t *testing.T) {
	worlds(t, []string{"a", "b", "c", "d"}, func(w *world) {
		w.takes = 900 * time.Millisecond // it moves while a group is being handled
		first := w.start()
		advanceTime(2 * time.Second)
		second := w.start()
		for range 50 {
			w.commit(1)
			advanceTime(100 * time.Millisecond)
		}
		advanceTime(3 * time.Second)
		if first.Running() != 2 || second.Running() != 2 {
			t.Errorf("%d and %d consumers", first.Running(), second.Running())
		}
		for _, name := range w.names {
			if repeated := w.check(name); repeated > 0 {
				t.Errorf("%d entries of %s were repeated", repeated, name)
			}
		}
	})
}

// TestSpread: every consumer runs on one node, and no node runs two more than another,
// whichever nodes come and go.
func TestSpread(t *testing.T) {
	names := make([]string, 20)
	for i := range names {
		names[i] = fmt.Sprint("consumer ", i)
	}
	worlds(t, names, func(w *world) {
		live := w.startAll(3, false)
		check := func() {
			t.Helper()
			w.commit(1)
			advanceTime(4 * time.Second)
			var most, least, all int
			for i, p := range live {
				n := p.Running()
				if i == 0 || n < least {
					least = n
				}
				most, all = max(most, n), all+n
			}
			if most-least > 1 || all != len(names) {
				t.Errorf("%d nodes run %d consumers, between %d and %d each", len(live), all, least, most)
			}
		}
		check()
		live = append(live, w.start())
		check()
		live[0].stop()
		live = live[1:]
		check()
		live[1].kill()
		live = slices.Delete(live, 1, 2)
		advanceTime(tailtest.DeadAfter)
		check()
		for _, name := range names {
			w.check(name)
		}
	})
}

// TestStartTogether: nodes that start at the same time do not run a consumer twice.
func TestStartTogether(t *testing.T) {
	worlds(t, []string{"a", "b"}, func(w *world) {
		w.commit(10)
		w.startAll(5, false)
		advanceTime(5 * time.Second)
		for _, name := range w.names {
			if starts, repeated := w.startsOf(name), w.check(name); starts != 1 || repeated > 0 {
				t.Errorf("%s: %d starts, %d entries repeated", name, starts, repeated)
			}
		}
	})
}

// TestOldHolderIsRefused: a holder that never learns that it was declared dead stops at its
// first write, which changes nothing.
func TestOldHolderIsRefused(t *testing.T) {
	worlds(t, []string{"c"}, func(w *world) {
		old := &process{Node: w.cluster.Join(), w: w, lies: true}
		old.run()
		advanceTime(time.Second)
		w.start()
		w.commit(3)
		advanceTime(5 * time.Second)
		if old.conflicts() != 0 || w.runner("c") != old {
			t.Fatal("the consumer moved")
		}
		old.Silence()
		old.cut(true)
		advanceTime(tailtest.DeadAfter)
		w.commit(3)
		advanceTime(5 * time.Second)
		before := w.document("c")
		old.cut(false)
		advanceTime(5 * time.Second)
		if after := w.document("c"); after != before || old.conflicts() == 0 {
			t.Errorf("%+v became %+v after %d refused writes", before, after, old.conflicts())
		}
		if w.runner("c") == old {
			t.Error("the old holder goes on")
		}
		if repeated := w.check("c"); repeated > 3 {
			t.Errorf("%d entries were repeated", repeated)
		}
	})
}

// TestEarlierVersion: a consumer continues at the position that the version before stored,
// whose holder is nobody that membership knows.
func TestEarlierVersion(t *testing.T) {
	worlds(t, []string{"c"}, func(w *world) {
		w.commit(5)
		at := entries(w.T, w.st)
		value := fmt.Sprintf(`{"v":1,"position":%d,"epoch":%q,"holder":"ASPF6WJ2","lease_ms":10000}`, at[2], w.st.Epoch())
		if err := w.st.Write(w.Context(), "", store.Doc{Key: store.Key{Collection: "consumer", Key: "c"}, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		w.start()
		advanceTime(2 * time.Second)
		if got := w.handled["c"]; !slices.Equal(got, at[3:]) {
			t.Errorf("handled %v, want %v", got, at[3:])
		}
	})
}

// TestRepeatsAreBounded: a node that dies in the middle of a flood has the next one repeat no
// more entries than one group has.
func TestRepeatsAreBounded(t *testing.T) {
	worlds(t, []string{"c"}, func(w *world) {
		const all = 4*store.MaxFeedGroup + 500
		w.commit(all)
		first := w.start()
		for len(w.handledBy("c")) < all {
			advanceTime(time.Millisecond)
		}
		first.kill()
		w.start()
		advanceTime(tailtest.DeadAfter + 5*time.Second)
		if repeated := w.check("c"); repeated == 0 || repeated > store.MaxFeedGroup {
			t.Errorf("%d entries were repeated", repeated)
		}
	})
}

func (w *world) handledBy(name string) []store.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.handled[name])
}

// TestLostAnswers: answers to writes may be lost; the node continues, and gives back.
func TestLostAnswers(t *testing.T) {
	worlds(t, []string{"a", "b"}, func(w *world) {
		w.startAll(3, true)
		for range 200 {
			w.commit(1)
			advanceTime(100 * time.Millisecond)
		}
		for _, name := range w.names {
			if starts, repeated := w.startsOf(name), w.check(name); starts != 1 || repeated > 0 {
				t.Errorf("%s: %d starts, %d entries repeated", name, starts, repeated)
			}
			w.runner(name).Drain()
		}
		advanceTime(5 * time.Second)
		for _, name := range w.names {
			if starts := w.startsOf(name); starts != 2 {
				t.Errorf("%s: %d starts", name, starts)
			}
		}
	})
}

// TestFaults: processes are killed, paused, cut off, drained and started again in any order,
// and each consumer handles every entry on one node at a time.
func TestFaults(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			worlds(t, []string{"a", "b"}, func(w *world) {
				random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test repeats it
				live := w.startAll(3, true)
				faults := 0
				for range 12 {
					w.commitDuring(time.Duration(1+random.IntN(20)) * time.Second)
					i := random.IntN(len(live))
					w.fault(live, i, random)
					faults++
				}
				w.commitDuring(40 * time.Second)
				starts := 0
				for _, name := range w.names {
					w.runner(name)
					repeated := w.check(name)
					starts += w.startsOf(name)
					t.Logf("%s: %d entries, %d repeated, %d starts", name, len(w.handled[name]), repeated, w.startsOf(name))
				}
				if starts < faults/2 {
					t.Errorf("only %d starts with %d faults", starts, faults)
				}
			})
		})
	}
}

// fault does something to a process, and undoes it later.
func (w *world) fault(live []*process, i int, random *rand.Rand) {
	p := live[i]
	d := time.Duration(5+random.IntN(40)) * time.Second
	switch random.IntN(4) {
	case 0:
		p.kill()
		w.commitDuring(d)
		live[i] = w.start()
	case 1:
		p.pause()
		w.commitDuring(d)
		p.resume()
		synctest.Wait()
		p.Return()
	case 2:
		p.Silence()
		p.cut(true)
		w.commitDuring(d)
		p.cut(false)
		p.Return()
	default:
		p.stop()
		live[i] = w.start()
	}
}

func (w *world) commitDuring(d time.Duration) {
	w.Helper()
	for began := time.Now(); time.Since(began) < d; {
		w.commit(1)
		advanceTime(500 * time.Millisecond)
	}
}
