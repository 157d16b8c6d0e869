package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
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

// replyTimeout only bounds how long a test that fails takes.
const replyTimeout = 30 * time.Second

// A tally counts the replies to updates that were begun, each by its user.
type tally struct {
	t       *testing.T
	begun   int
	replies []atomic.Int64
	errs    []error
	records []store.Record
	left    sync.WaitGroup
}

func newTally(t *testing.T, n int) *tally {
	x := &tally{t: t, begun: n, replies: make([]atomic.Int64, n), errs: make([]error, n), records: make([]store.Record, n)}
	x.left.Add(n)
	return x
}

func (x *tally) reply(i int) store.Reply {
	return func(r store.Record, err error) {
		if x.replies[i].Add(1) == 1 {
			x.records[i], x.errs[i] = r, err
			x.left.Done()
		}
	}
}

// wait waits until every update has its reply.
func (x *tally) wait() {
	x.t.Helper()
	all := make(chan struct{})
	go func() {
		x.left.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-time.After(replyTimeout):
		x.t.Fatalf("not every update had a reply within %v", replyTimeout)
	}
}

// check checks the replies of a store that has failed and was closed. An update that was
// begun after the failure was refused.
func (x *tally) check() {
	x.t.Helper()
	for i := range x.begun {
		if n := x.replies[i].Load(); n != 1 {
			x.t.Errorf("update %d: %d replies", i, n)
		}
		if err := x.errs[i]; err != nil && !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrFailed) {
			x.t.Errorf("update %d: %v", i, err)
		}
	}
}

// TestBegunOnABrokenDisk: when a write or a sync fails, every update that was begun has
// one reply, and none that was acknowledged is lost.
func TestBegunOnABrokenDisk(t *testing.T) {
	for name, kinds := range map[string][]errorfs.OpKind{
		"write": {errorfs.OpFileWrite, errorfs.OpFileWriteAt},
		"sync":  {errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo},
	} {
		for _, nth := range []int{1, 2, 3, 5} {
			t.Run(fmt.Sprint(name, " ", nth), func(t *testing.T) {
				mem := vfs.NewCrashableMem()
				var armed atomic.Bool
				var fired atomic.Int64
				o := Options{MinFreeBytes: -1} // no memtable fills up: the log alone fails
				o.FS = diskFault{kinds, nth, math.MaxInt64, syscall.EIO}.inject(mem, &armed, &fired)
				s, err := Open("data", o)
				if err != nil {
					t.Fatal(err)
				}
				armed.Store(true)
				x := newTally(t, 6000)
				for caller := range 4 {
					go func() {
						for i := caller; i < x.begun; i += 4 {
							s.Begin(benchUser(i), storetest.UpdateFunc(store.By{}, benchState), x.reply(i))
						}
					}()
				}
				x.wait()
				o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
				_ = s.Close() // reports the injected fault
				x.check()
				if !s.isFailed() || fired.Load() == 0 {
					t.Error("INVALID: the store did not fail")
				}
				checkAcknowledged(t, mustOpen(t, "data", o), x)
			})
		}
	}
}

// TestCloseWhileStalled: when tables cannot be written, the store fails, and Pebble stalls
// the committer once memtables are full. Every update has a reply, and Close returns.
func TestCloseWhileStalled(t *testing.T) {
	var armed atomic.Bool
	o := smallOptions()
	o.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && op.Kind == errorfs.OpFileWrite && isTable(op.Path) {
			return errDisk
		}
		return nil
	}))
	s, err := Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	x := newTally(t, 6000)
	go func() {
		for i := range x.begun {
			s.Begin(benchUser(i), storetest.UpdateFunc(store.By{}, benchState), x.reply(i))
		}
	}()
	x.wait()
	awaitClose(t, startClose(s))
	x.check()
	if !s.isFailed() {
		t.Error("INVALID: the store did not fail")
	}
}

// TestCloseDuringAReadThatNeverReturns: a read of a broken database may never return. Close
// does, whether the store failed before it or during it.
func TestCloseDuringAReadThatNeverReturns(t *testing.T) {
	t.Parallel() // it waits for failedCloseTimeout
	for name, breakStore := range map[string]func(*Store){
		"failed":    func(s *Store) { s.fail(errDisk) },
		"abandoned": func(s *Store) { go s.stop(errDisk) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open("data", Options{FS: vfs.NewMem()})
			if err != nil {
				t.Fatal(err)
			}
			<-s.warmUpDone
			if err := s.acquireDB(); err != nil {
				t.Fatal(err)
			}
			closed := startClose(s)
			for s.guard.TryRLock() { // until Close waits for the read
				s.guard.RUnlock()
				runtime.Gosched()
			}
			breakStore(s)
			awaitClose(t, closed)
			s.releaseDB()
		})
	}
}

// TestFailureDuringClose: Close returns if the store fails long after it began, and what uses
// the database does not return.
func TestFailureDuringClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore("data", Options{FS: vfs.NewMem()}.withDefaults())
		close(s.committerDone)
		close(s.replier.done)
		close(s.warmUpDone) // but maintenance hangs
		closed := startClose(s)
		time.Sleep(2 * failedCloseTimeout)
		s.fail(errDisk)
		awaitClose(t, closed)
		close(s.maintenanceDone)
	})
}

// startClose closes s, which has failed or will. closed is closed when Close has returned.
func startClose(s *Store) (closed <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Close() // the failure was reported
	}()
	return done
}

func awaitClose(t *testing.T, closed <-chan struct{}) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(replyTimeout):
		t.Errorf("Close did not return within %v", replyTimeout)
	}
}

func checkAcknowledged(t *testing.T, s *Store, x *tally) {
	t.Helper()
	for i := range x.begun {
		if x.errs[i] != nil {
			continue
		}
		records, _, err := s.Read(t.Context(), []store.User{benchUser(i)}, store.Freshness{})
		if err != nil || len(records) != 1 || records[0].At != x.records[i].At {
			t.Errorf("update %d was acknowledged at %d: %+v, %v", i, x.records[i].At, records, err)
		}
	}
}

// TestBegunWhenTheCommitterEnds: an update function that ends its goroutine fails the
// store, and every update that was begun has one reply.
func TestBegunWhenTheCommitterEnds(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	x := newTally(t, 3000)
	begin := func(i int) { s.Begin(benchUser(i), storetest.UpdateFunc(store.By{}, benchState), x.reply(i)) }
	for i := range 100 {
		begin(i)
	}
	s.Begin(benchUser(100), storetest.UpdateFunc(store.By{}, func(presence.State) (presence.State, error) {
		runtime.Goexit()
		panic("not reached")
	}), x.reply(100))
	for i := 101; i < x.begun; i++ { // more than the queue has space for
		begin(i)
	}
	x.wait()
	if !s.isFailed() {
		t.Error("the store did not fail")
	}
	x.check()
	for i := 2900; i < x.begun; i++ {
		if !errors.Is(x.errs[i], store.ErrFailed) {
			t.Errorf("update %d was not started, and its reply is %v", i, x.errs[i])
		}
	}
}

// TestBegunWhileTheDiskHangs: when the store fails while a sync does not return, what
// waits for that sync is unknown, and what is queued was refused.
func TestBegunWhileTheDiskHangs(t *testing.T) {
	g := &gate{FS: vfs.NewMem()}
	s, err := Open("data", Options{FS: g.wrap()})
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, s, crashUser(0))
	open := g.close()
	x := newTally(t, 2)
	staged, leave := make(chan struct{}), make(chan struct{})
	s.Begin(crashUser(0), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) {
		close(staged)
		<-leave
		return benchState(st)
	}), x.reply(0))
	<-staged
	s.Begin(crashUser(1), storetest.UpdateFunc(store.By{}, benchState), x.reply(1))
	s.fail(errDisk)
	x.wait()
	if !errors.Is(x.errs[0], store.ErrUnknown) || !errors.Is(x.errs[1], store.ErrFailed) {
		t.Errorf("replies: %v; want the first unknown, the second refused", x.errs)
	}
	close(leave)
	open()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	x.check()
}

// TestSlowReply: a reply delays other replies, and nothing else.
func TestSlowReply(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	called, leave := make(chan struct{}), make(chan struct{})
	s.Begin(crashUser(0), storetest.UpdateFunc(store.By{}, benchState), func(store.Record, error) {
		close(called)
		<-leave
	})
	<-called
	x := newTally(t, 10)
	for i := range x.begun {
		s.Begin(benchUser(i), storetest.UpdateFunc(store.By{}, benchState), x.reply(i))
	}
	for i := range 10 {
		mustUpdate(t, s, crashUser(i%crashUsers))
	}
	if x.replies[0].Load() != 0 {
		t.Error("INVALID: the slow reply did not delay the next one")
	}
	close(leave)
	x.wait()
	x.check()
}

// TestBeginAllocates guards the path of the fast routes: what Begin adds to the update
// itself needs no memory of its own.
func TestBeginAllocates(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem(), MinFreeBytes: -1})
	mustUpdate(t, s, crashUser(0))
	replied := make(chan struct{}, 1)
	reply := func(store.Record, error) { replied <- struct{}{} }
	refuse := func(presence.Recorded) (store.Change, error) { return store.Change{}, errRefused }
	allocs := testing.AllocsPerRun(1000, func() {
		s.Begin(crashUser(0), refuse, reply)
		<-replied
	})
	waiting := testing.AllocsPerRun(1000, func() { _, _ = s.Update(context.Background(), crashUser(0), refuse) })
	if allocs > waiting+1 {
		t.Errorf("%v allocations of a refused update that was begun, %v of one that was not", allocs, waiting)
	}
	t.Logf("%v allocations, %v with Update", allocs, waiting)
}
