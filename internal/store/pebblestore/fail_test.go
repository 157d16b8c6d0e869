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

// failFrom is fs with the nth write operation, and all after it, failing.
func failFrom(fs vfs.FS, nth int) vfs.FS {
	var count atomic.Int64
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && count.Add(1) >= int64(nth) {
			return errDisk
		}
		return nil
	}))
}

// A gate delays syncs of the disk while it is closed. It blocks on channels alone, so
// that synctest.Wait detects who waits at it.
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

// close delays syncs from now on, until the returned function is called.
func (g *gate) close() (open func()) {
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

// TestNothingShownBeforeTheSync: until the disk has synced a change, no method shows
// it; after that, all do.
func TestNothingShownBeforeTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{FS: vfs.NewMem()}
		s := mustOpen(t, "data", Options{FS: g.wrap()})
		old := mustUpdate(t, s, crashUser(0))
		x := &visibilityCheck{t: t, s: s, old: old.At, given: make(chan store.Record, 1)}
		go func() { _ = s.Watch(t.Context(), x.watch) }()
		synctest.Wait() // the cache is warm, and Watch has begun
		if x.begins != store.NewCursor(s.Epoch(), old.At) {
			t.Errorf("Watch begins at %v, want the durable position", x.begins)
		}
		open := g.close()
		x.expect("Update", func() bool {
			r, err := s.Update(t.Context(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState))
			return err == nil && r.At > old.At
		})
		x.expect("Watch", func() bool { return (<-x.given).At > old.At })
		synctest.Wait() // the update is in the database and waits for the disk
		x.checkOldRecords()
		x.checkOldLog()
		s.cache.empty()
		x.expectAll()
		synctest.Wait()
		x.checkOldLog()
		x.released = true
		open()
		x.group.Wait()
	})
}

// TestNoUnloggedStateBeforeTheSync: the position of an unlogged record does not tell
// whether it is durable.
func TestNoUnloggedStateBeforeTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{FS: vfs.NewMem()}
		s := mustOpen(t, "data", Options{FS: g.wrap()})
		old := mustUpdate(t, s, crashUser(0))
		mustUpdate(t, s, crashUser(1))
		synctest.Wait() // the cache is warm
		x := &visibilityCheck{t: t, s: s, old: old.At}
		open := g.close()
		x.expect("Update", func() bool {
			r, err := s.Update(t.Context(), crashUser(0), storetest.Unlogged(storetest.UpdateFunc(store.By{}, benchState)))
			return err == nil && r.At == old.At && r.State.Revision > old.State.Revision
		})
		synctest.Wait() // the update is in the database and waits for the disk
		if it, err := s.readItem(crashUser(0)); err != nil || it.State.Revision == old.State.Revision {
			t.Fatalf("INVALID: the database shows %+v, %v; want the change, which is not durable", it, err)
		}
		s.cache.empty()
		isNew := func(r store.Record) bool { return r.State != nil && r.State.Revision > old.State.Revision }
		x.expect("Read", func() bool {
			r, _, err := s.Read(t.Context(), []store.User{crashUser(0)}, store.Freshness{})
			return err == nil && len(r) == 1 && isNew(r[0])
		})
		x.expect("a refused Update", func() bool {
			r, err := s.Update(t.Context(), crashUser(0), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) { return st, errRefused }))
			return errors.Is(err, errRefused) && isNew(r)
		})
		x.expect("Scan", func() bool {
			var r []store.Record
			err := s.Scan(t.Context(), func(group []store.Record) error { r = append(r, group...); return nil })
			return err == nil && len(r) == 2 && isNew(r[0])
		})
		// Others need not wait.
		if r, _, err := s.Read(t.Context(), []store.User{crashUser(1)}, store.Freshness{}); err != nil || len(r) != 1 {
			t.Errorf("Read of another user: %+v, %v", r, err)
		}
		synctest.Wait()
		x.released = true
		open()
		x.group.Wait()
	})
}

// A visibilityCheck looks for a change with every method.
type visibilityCheck struct {
	t        *testing.T
	s        *Store
	old      store.Position
	begins   store.Cursor
	given    chan store.Record // by Watch
	released bool              // the disk may sync; set while all goroutines wait
	group    sync.WaitGroup
}

func (x *visibilityCheck) watch(group []store.Record, upTo store.Cursor) {
	if len(group) == 0 {
		x.begins = upTo
	}
	for _, r := range group {
		x.given <- r
	}
}

// expect runs f, which must return after the sync and show the change.
func (x *visibilityCheck) expect(what string, f func() bool) {
	x.group.Go(func() {
		shown := f()
		if !x.released {
			x.t.Errorf("%s returned before the change was durable", what)
		}
		if !shown {
			x.t.Errorf("%s did not show the change after it was durable", what)
		}
	})
}

// checkOldRecords checks that cached records are the durable ones.
func (x *visibilityCheck) checkOldRecords() {
	x.t.Helper()
	if it, err := x.s.readItem(crashUser(0)); err != nil || it.at == x.old {
		x.t.Fatalf("INVALID: the database shows %+v, %v; want the change, which is not durable", it, err)
	}
	if r, _, err := x.s.Read(x.t.Context(), []store.User{crashUser(0)}, store.Freshness{}); err != nil || len(r) != 1 || r[0].At != x.old {
		x.t.Errorf("Read of a cached record: %+v, %v; want the durable one", r, err)
	}
	if h, err := x.s.History(x.t.Context(), crashUser(0), 0, 10); err != nil || len(h) != 1 || h[0].At != x.old {
		x.t.Errorf("History of a cached record: %+v, %v; want the durable one", h, err)
	}
}

// expectAll checks the methods that must wait because nothing is cached.
func (x *visibilityCheck) expectAll() {
	ctx := x.t.Context()
	x.expect("Read", func() bool {
		r, _, err := x.s.Read(ctx, []store.User{crashUser(0)}, store.Freshness{})
		return err == nil && len(r) == 1 && r[0].At > x.old
	})
	x.expect("a refused Update", func() bool {
		r, err := x.s.Update(ctx, crashUser(0), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) { return st, errRefused }))
		return errors.Is(err, errRefused) && r.At > x.old
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

// checkOldLog checks that neither the cursor nor the log is beyond the durable
// position.
func (x *visibilityCheck) checkOldLog() {
	x.t.Helper()
	if _, cursor, err := x.s.Read(x.t.Context(), nil, store.Freshness{}); err != nil || cursor != store.NewCursor(x.s.Epoch(), x.old) {
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

// TestContextEndsWhileStaged: a caller that stops waiting for the disk gets ErrUnknown;
// a caller that is still queued gets its context's error, and nothing happens.
func TestContextEndsWhileStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{FS: vfs.NewMem()}
		s := mustOpen(t, "data", Options{FS: g.wrap()})
		synctest.Wait()
		open := g.close()
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
		// A blocked function occupies the committer, so later updates are queued.
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
		records, _, err := s.Read(t.Context(), []store.User{crashUser(0), crashUser(1), crashUser(2)}, store.Freshness{})
		if err != nil || len(records) != 2 || records[1].User != crashUser(1) {
			t.Errorf("Read: %+v, %v; want the two staged updates, without the cancelled one", records, err)
		}
	})
}

// TestFunctionEndsItsGoroutine: if an update function ends its goroutine, as t.FailNow
// does, the store fails instead of blocking all callers.
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

// TestFatal: Pebble's Fatalf fails the store. It neither ends the process nor returns
// to Pebble.
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
		t.Error("Fatalf returned")
	default:
	}
}

// TestDiskFull: writes are refused while space is short, reads are not, and the
// refusals end when there is space.
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
		if r, _, err := s.Read(ctx, []store.User{crashUser(0)}, store.Freshness{}); err != nil || len(r) != 1 {
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

// TestDiskFullAtOpen: the free space is measured before the first write.
func TestDiskFullAtOpen(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem(), FreeBytes: func() (uint64, error) { return 1, nil }})
	if _, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); !errors.Is(err, store.ErrFull) {
		t.Errorf("Update: %v, want ErrFull", err)
	}
	unlimited := mustOpen(t, "data", Options{FS: vfs.NewMem(), MinFreeBytes: -1, FreeBytes: func() (uint64, error) { return 1, nil }})
	mustUpdate(t, unlimited, crashUser(0))
}

// TestTablesOnAFullDisk: while there is no space for a table, its creation is retried
// with pauses, and nothing is lost.
func TestTablesOnAFullDisk(t *testing.T) {
	var full atomic.Bool
	tries := make(chan time.Time, 1<<16)
	mem := vfs.NewCrashableMem()
	o := smallOptions()
	o.MinFreeBytes = -1 // updates are not refused meanwhile
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
	group.Go(func() { j.runLoad(s, 4, 200, 1) })
	last := <-tries
	for range 4 {
		next := <-tries
		if after := next.Sub(last); after < tableRetryDelay/2 {
			t.Errorf("a table was retried after %v", after)
		}
		last = next
	}
	full.Store(false)
	group.Wait()
	if j.updates != 800 {
		t.Errorf("%d of 800 updates were acknowledged", j.updates)
	}
	o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
	if lost := j.check(t, mustOpen(t, "data", o), j.known(), "after the disk was full"); lost > 0 {
		t.Errorf("%d acknowledged changes are lost", lost)
	}
}
