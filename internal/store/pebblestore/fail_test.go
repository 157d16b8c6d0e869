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

// A gate holds the syncs of the disk back while it is shut.
type gate struct {
	vfs.FS
	mu      sync.RWMutex  // held for writing while shut
	waiting chan struct{} // told of each sync that begins
}

func newGate(fs vfs.FS) *gate { return &gate{FS: fs, waiting: make(chan struct{}, 1<<16)} }

func (g *gate) wrap() vfs.FS {
	return errorfs.Wrap(g.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync {
			g.waiting <- struct{}{}
			g.mu.RLock()
			g.mu.RUnlock() //nolint:staticcheck // passing the gate is all
		}
		return nil
	}))
}

// shut stops syncs from now on. What it gives lets them go on.
func (g *gate) shut() (open func()) {
	g.mu.Lock()
	for len(g.waiting) > 0 {
		<-g.waiting
	}
	return g.mu.Unlock
}

// TestNothingShownBeforeTheSync: while the disk has not answered, no way of
// looking shows the change, and all of them do after it.
func TestNothingShownBeforeTheSync(t *testing.T) {
	g := newGate(vfs.NewMem())
	s := mustOpen(t, "data", Options{FS: g.wrap(), CacheRecords: 1, CacheBytes: 1})
	ctx := context.Background()
	old := mustUpdate(t, s, crashUser(0))
	begun, given := make(chan store.Cursor), make(chan store.Record, 1)
	go func() {
		_ = s.Watch(ctx, func(group []store.Record, upTo store.Cursor) {
			if len(group) == 0 {
				begun <- upTo
			}
			for _, r := range group {
				given <- r
			}
		})
	}()
	if cursor := <-begun; cursor != store.NewCursor(s.Epoch(), old.At) {
		t.Errorf("Watch begins at %v, want the durable position", cursor)
	}
	open := g.shut()
	var opened atomic.Bool
	var group sync.WaitGroup
	must := func(what string, f func() bool) {
		group.Go(func() {
			if !f() {
				t.Errorf("%s did not show the change after it was durable", what)
			}
			if !opened.Load() {
				t.Errorf("%s came back before the change was durable", what)
			}
		})
	}
	must("Update", func() bool {
		r, err := s.Update(ctx, crashUser(0), store.By{}, benchState)
		return err == nil && r.At > old.At
	})
	must("Watch", func() bool { return (<-given).At > old.At })
	<-g.waiting // it is applied, and at the disk
	// Records that are in the cache are the durable ones.
	if r, _, err := s.Read(ctx, []store.User{crashUser(0)}); err != nil || len(r) != 1 || r[0].At != old.At {
		t.Errorf("Read of a cached record: %+v, %v; want the durable one", r, err)
	}
	// Those that are not have to wait.
	for i := range s.cache.shards {
		s.cache.shards[i].m, s.cache.shards[i].ring = make(map[store.User]int), nil
	}
	must("Read", func() bool {
		r, _, err := s.Read(ctx, []store.User{crashUser(0)})
		return err == nil && len(r) == 1 && r[0].At > old.At
	})
	must("a refused Update", func() bool {
		r, err := s.Update(ctx, crashUser(0), store.By{}, func(st presence.State) (presence.State, error) { return st, errNo })
		return errors.Is(err, errNo) && r.At > old.At
	})
	must("Write", func() bool {
		return s.Write(ctx, "acme", store.Doc{Key: store.Key{Collection: "c", Key: "k"}, Value: []byte("v")}) == nil
	})
	must("Check", func() bool { return s.Check(ctx) == nil })
	if _, cursor, err := s.Read(ctx, nil); err != nil || cursor != store.NewCursor(s.Epoch(), old.At) {
		t.Errorf("the cursor is %v, %v; want the durable position", cursor, err)
	}
	if found, err := s.readLog(0, 10); err != nil || len(found) != 1 {
		t.Errorf("the log shows %d entries, %v; want the durable one", len(found), err)
	}
	// A fair chance to be wrong.
	for range 1000 {
		runtime.Gosched()
	}
	opened.Store(true)
	open()
	group.Wait()
}

// TestContextEndsWhileStaged: a caller that stops waiting for the disk learns
// that the outcome is unknown; one that was still queued, that nothing happened.
func TestContextEndsWhileStaged(t *testing.T) {
	g := newGate(vfs.NewMem())
	s := mustOpen(t, "data", Options{FS: g.wrap()})
	open := g.shut()
	ctx, cancel := context.WithCancel(context.Background())
	answer := make(chan error, 1)
	go func() {
		_, err := s.Update(ctx, crashUser(0), store.By{}, benchState)
		answer <- err
	}()
	<-g.waiting
	cancel()
	if err := <-answer; !errors.Is(err, store.ErrUnknown) {
		t.Errorf("Update of an ended context, staged: %v, want ErrUnknown", err)
	}
	// A function that does not end keeps the committer, so what comes is queued.
	running, leave := make(chan struct{}), make(chan struct{})
	go func() {
		_, err := s.Update(context.Background(), crashUser(1), store.By{}, func(st presence.State) (presence.State, error) {
			close(running)
			<-leave
			return benchState(st)
		})
		answer <- err
	}()
	<-running
	ctx, cancel = context.WithCancel(context.Background())
	go func() {
		_, err := s.Update(ctx, crashUser(2), store.By{}, benchState)
		answer <- err
	}()
	for len(s.queue) == 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("Update of an ended context, queued: %v, want context.Canceled", err)
	}
	close(leave)
	open()
	if err := <-answer; err != nil {
		t.Errorf("Update: %v", err)
	}
	records, _, err := s.Read(context.Background(), []store.User{crashUser(0), crashUser(1), crashUser(2)})
	if err != nil || len(records) != 2 || records[1].User != crashUser(1) {
		t.Errorf("Read: %+v, %v; want the staged two, without the withdrawn", records, err)
	}
}

// TestFunctionEndsItsGoroutine: as t.FailNow does. The store says so and ends,
// instead of leaving everybody waiting.
func TestFunctionEndsItsGoroutine(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	_, err := s.Update(context.Background(), crashUser(0), store.By{}, func(presence.State) (presence.State, error) {
		runtime.Goexit()
		panic("not reached")
	})
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
	if _, err := s.Update(context.Background(), crashUser(0), store.By{}, benchState); !errors.Is(err, store.ErrFailed) {
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
		if _, err := s.Update(ctx, crashUser(0), store.By{}, benchState); !errors.Is(err, store.ErrFull) {
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
	if _, err := s.Update(context.Background(), crashUser(0), store.By{}, benchState); !errors.Is(err, store.ErrFull) {
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
		if after := next.Sub(last); after < tableAgain/2 {
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
