package pebblestore

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// failing is fs with the nth writing operation, and all after it, failing.
func failing(fs vfs.FS, nth int) vfs.FS {
	var count atomic.Int64
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && count.Add(1) >= int64(nth) {
			return errDisk
		}
		return nil
	}))
}

// A gate holds the syncs of the disk back while it is shut. It blocks on channels
// alone, so that synctest.Wait sees who waits at it.
type gate struct {
	vfs.FS
	mu      sync.Mutex    // guards barrier
	barrier chan struct{} // nil: open
}

func (g *gate) wrap() vfs.FS {
	return errorfs.Wrap(g.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync {
			g.mu.Lock()
			barrier := g.barrier
			g.mu.Unlock()
			if barrier != nil {
				<-barrier
			}
		}
		return nil
	}))
}

// shut stops syncs from now on. What it gives lets them go on.
func (g *gate) shut() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	barrier := make(chan struct{})
	g.barrier = barrier
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.barrier = nil
		close(barrier)
	}
}

// empty drops every record, decoded and packed.
func (c *cache) empty() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.m, s.ring, s.hand = make(map[store.User]int), nil, 0
		s.packed = newPacked(slotPage)
		s.mu.Unlock()
	}
}

// TestNothingShownBeforeTheSync: while the disk has not answered, no way of
// looking shows the change, and all of them do after it.
func TestNothingShownBeforeTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{FS: vfs.NewMem()}
		s := mustOpen(t, "data", Options{FS: g.wrap()})
		old := mustUpdate(t, s, crashUser(0))
		x := &lookers{t: t, s: s, old: old.At, given: make(chan store.Record, 1)}
		go func() { _ = s.Watch(t.Context(), x.watch) }()
		synctest.Wait() // reading ahead after the start has ended, and Watch has begun
		if x.begins != store.NewCursor(s.Epoch(), old.At) {
			t.Errorf("Watch begins at %v, want the durable position", x.begins)
		}
		open := g.shut()
		x.expect("Update", func() bool {
			r, err := s.Update(t.Context(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState))
			return err == nil && r.At > old.At
		})
		x.expect("Watch", func() bool { return (<-x.given).At > old.At })
		synctest.Wait() // the update is in the database, and waits for the disk
		x.seeOld()
		x.seeOldLog()
		s.cache.empty()
		x.expectAll()
		synctest.Wait()
		x.seeOldLog()
		x.opened = true
		open()
		x.group.Wait()
	})
}

// lookers look for a change in every way there is.
type lookers struct {
	t      *testing.T
	s      *Store
	old    store.Position
	begins store.Cursor
	given  chan store.Record // by Watch
	opened bool              // the disk has answered; set while everybody waits
	group  sync.WaitGroup
}

func (x *lookers) watch(group []store.Record, upTo store.Cursor) {
	if len(group) == 0 {
		x.begins = upTo
	}
	for _, r := range group {
		x.given <- r
	}
}

// expect runs f, which must return after the disk has answered, and then show the
// change.
func (x *lookers) expect(what string, f func() bool) {
	x.group.Go(func() {
		shown := f()
		if !x.opened {
			x.t.Errorf("%s came back before the change was durable", what)
		}
		if !shown {
			x.t.Errorf("%s did not show the change after it was durable", what)
		}
	})
}

// seeOld: records that are in the cache are the durable ones.
func (x *lookers) seeOld() {
	x.t.Helper()
	if it, err := x.s.readItem(crashUser(0)); err != nil || it.at == x.old {
		x.t.Fatalf("INVALID: the database shows %+v, %v; want the change, which is not durable", it, err)
	}
	if r, _, err := x.s.Read(x.t.Context(), []store.User{crashUser(0)}); err != nil || len(r) != 1 || r[0].At != x.old {
		x.t.Errorf("Read of a cached record: %+v, %v; want the durable one", r, err)
	}
	if h, err := x.s.History(x.t.Context(), crashUser(0), 0, 10); err != nil || len(h) != 1 || h[0].At != x.old {
		x.t.Errorf("History of a cached record: %+v, %v; want the durable one", h, err)
	}
}

// expectAll: whoever finds nothing in the cache has to wait.
func (x *lookers) expectAll() {
	ctx := x.t.Context()
	x.expect("Read", func() bool {
		r, _, err := x.s.Read(ctx, []store.User{crashUser(0)})
		return err == nil && len(r) == 1 && r[0].At > x.old
	})
	x.expect("a refused Update", func() bool {
		r, err := x.s.Update(ctx, crashUser(0), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) { return st, errNo }))
		return errors.Is(err, errNo) && r.At > x.old
	})
	x.expect("Write", func() bool {
		return x.s.Write(ctx, "acme", store.Doc{Key: store.Key{Collection: "c", Key: "k"}, Value: []byte("v")}) == nil
	})
	x.expect("Check", func() bool { return x.s.Check(ctx) == nil })
	x.expect("Feed", func() bool {
		var at store.Position
		err := x.s.Feed(ctx, x.old, func(entries []store.Entry) error {
			at = entries[0].At
			return errStop
		})
		return errors.Is(err, errStop) && at > x.old
	})
	x.expect("History without a cached record", func() bool {
		h, err := x.s.History(ctx, crashUser(0), 0, 10)
		return err == nil && len(h) == 2
	})
	x.expect("Erase", func() bool { return x.s.Erase(ctx, crashUser(1)) == nil })
}

// seeOldLog: neither the cursor nor the log goes beyond what is durable.
func (x *lookers) seeOldLog() {
	x.t.Helper()
	if _, cursor, err := x.s.Read(x.t.Context(), nil); err != nil || cursor != store.NewCursor(x.s.Epoch(), x.old) {
		x.t.Errorf("the cursor is %v, %v; want the durable position", cursor, err)
	}
	if found, err := x.s.readLog(0, 10); err != nil || len(found) != 1 {
		x.t.Errorf("the log in the database shows %d entries, %v; want the durable one", len(found), err)
	}
	if found, err := x.s.Log(x.t.Context(), 0, 10); err != nil || len(found) != 1 {
		x.t.Errorf("Log shows %d entries, %v; want the durable one", len(found), err)
	}
	if at, err := x.s.PositionAt(x.t.Context(), time.Now().Add(time.Hour)); err != nil || at != x.old {
		x.t.Errorf("PositionAt shows %d, %v; want the durable position", at, err)
	}
}

// TestContextEndsWhileStaged: a caller that stops waiting for the disk learns
// that the outcome is unknown; one that was still queued, that nothing happened.
func TestContextEndsWhileStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{FS: vfs.NewMem()}
		s := mustOpen(t, "data", Options{FS: g.wrap()})
		synctest.Wait()
		open := g.shut()
		answer := make(chan error, 1)
		update := func(ctx context.Context, u store.User, fn func(presence.State) (presence.State, error)) {
			go func() {
				_, err := s.Update(ctx, u, storetest.UpdateFunc(store.By{}, fn))
				answer <- err
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		update(ctx, crashUser(0), benchState)
		cancel()
		if err := <-answer; !errors.Is(err, store.ErrUnknown) {
			t.Errorf("Update of an ended context, staged: %v, want ErrUnknown", err)
		}
		// A function that does not end keeps the committer, so what comes is queued.
		leave := make(chan struct{})
		update(t.Context(), crashUser(1), func(st presence.State) (presence.State, error) {
			<-leave
			return benchState(st)
		})
		ctx, cancel = context.WithCancel(t.Context())
		update(ctx, crashUser(2), benchState)
		cancel()
		if err := <-answer; !errors.Is(err, context.Canceled) {
			t.Errorf("Update of an ended context, queued: %v, want context.Canceled", err)
		}
		close(leave)
		open()
		if err := <-answer; err != nil {
			t.Errorf("Update: %v", err)
		}
		records, _, err := s.Read(t.Context(), []store.User{crashUser(0), crashUser(1), crashUser(2)})
		if err != nil || len(records) != 2 || records[1].User != crashUser(1) {
			t.Errorf("Read: %+v, %v; want the staged two, without the withdrawn", records, err)
		}
	})
}

// TestFunctionEndsItsGoroutine: as t.FailNow does. The store says so and ends,
// instead of leaving everybody waiting.
func TestFunctionEndsItsGoroutine(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	_, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, func(presence.State) (presence.State, error) {
		runtime.Goexit()
		panic("not reached")
	}))
	if !errors.Is(err, store.ErrFailed) && !errors.Is(err, store.ErrUnknown) {
		t.Errorf("Update: %v", err)
	}
	<-s.Failed()
	if err := s.Check(context.Background()); !errors.Is(err, store.ErrFailed) {
		t.Errorf("Check: %v, want ErrFailed", err)
	}
}

// TestFatal: Pebble's last resort fails the store; it ends neither the process
// nor, by returning, the disk's agreement with Pebble.
func TestFatal(t *testing.T) {
	s, err := Open("data", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan struct{})
	go func() {
		pebbleLog{s}.Fatalf("MANIFEST flush failed: %v", errDisk)
		close(came)
	}()
	<-s.Failed()
	if _, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrFailed) {
		t.Errorf("Update: %v, want ErrFailed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	select {
	case <-came:
		t.Error("Fatalf came back")
	default:
	}
}

// TestDiskFull: writes are refused at once while space is short, reads are not,
// and it ends by itself.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(1 << 30)
		s := mustOpen(t, "data", Options{FS: vfs.NewMem(), FreeBytes: func() (uint64, error) { return free.Load(), nil }})
		ctx := context.Background()
		mustUpdate(t, s, crashUser(0))
		free.Store(1 << 20)
		time.Sleep(1100 * time.Millisecond)
		if _, err := s.Update(ctx, crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrFull) {
			t.Errorf("Update: %v, want ErrFull", err)
		}
		if err := s.Write(ctx, "acme", store.Doc{Key: store.Key{Collection: "c", Key: "k"}, Value: []byte("v")}); !errors.Is(err, store.ErrFull) {
			t.Errorf("Write: %v, want ErrFull", err)
		}
		if err := s.Check(ctx); !errors.Is(err, store.ErrFull) {
			t.Errorf("Check: %v, want ErrFull", err)
		}
		if r, _, err := s.Read(ctx, []store.User{crashUser(0)}); err != nil || len(r) != 1 {
			t.Errorf("Read: %+v, %v", r, err)
		}
		free.Store(1 << 30)
		time.Sleep(1100 * time.Millisecond)
		mustUpdate(t, s, crashUser(0))
		if err := s.Check(ctx); err != nil {
			t.Errorf("Check: %v", err)
		}
		select {
		case <-s.Failed():
			t.Error("a full disk failed the store")
		default:
		}
	})
}

// TestDiskFullAtOpen: the space is measured before the first write is taken.
func TestDiskFullAtOpen(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem(), FreeBytes: func() (uint64, error) { return 1, nil }})
	if _, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrFull) {
		t.Errorf("Update: %v, want ErrFull", err)
	}
	unlimited := mustOpen(t, "data", Options{FS: vfs.NewMem(), MinFreeBytes: -1, FreeBytes: func() (uint64, error) { return 1, nil }})
	mustUpdate(t, unlimited, crashUser(0))
}

// TestTablesOnAFullDisk: while the disk has no room for a table, making it is
// tried again, now and then; and nothing is lost when there is room.
func TestTablesOnAFullDisk(t *testing.T) {
	var full atomic.Bool
	tries := make(chan time.Time, 1<<16)
	mem := vfs.NewCrashableMem()
	o := small()
	o.MinFreeBytes = -1 // nobody keeps updates away meanwhile
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !full.Load() || op.Kind != errorfs.OpFileWrite || !strings.HasSuffix(op.Path, ".sst") {
			return nil
		}
		tries <- time.Now()
		return &os.PathError{Op: "injected", Path: op.Path, Err: syscall.ENOSPC}
	}))
	s := mustOpen(t, "data", o)
	full.Store(true)
	j := newJournal()
	var group sync.WaitGroup
	group.Go(func() { j.load(s, 4, 200, 1) })
	last := <-tries
	for range 4 {
		next := <-tries
		if after := next.Sub(last); after < tableRetryDelay/2 {
			t.Errorf("a table was tried again after %v", after)
		}
		last = next
	}
	full.Store(false)
	group.Wait()
	if j.count != 800 {
		t.Errorf("%d of 800 updates were acknowledged", j.count)
	}
	o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	if lost := j.check(t, mustOpen(t, "data", o), j.known(), "after the disk was full"); lost > 0 {
		t.Errorf("%d acknowledged changes are lost", lost)
	}
}
