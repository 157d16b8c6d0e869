package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

const crashUsers = 6

// A journal is what a client knows of its updates, in its own memory.
type journal struct {
	mu sync.Mutex // guards the fields below
	// made are the notes of all states that an update function ever made.
	made [crashUsers]map[presence.Revision]string
	// acknowledged is the newest revision that was answered, or shown in any way.
	acknowledged [crashUsers]presence.Revision
	pair         int // the newest such number in the pair of documents
	count        int // of acknowledged updates
	shown        int // of records that were shown
}

func newJournal() *journal {
	j := &journal{}
	for i := range j.made {
		j.made[i] = make(map[presence.Revision]string)
	}
	return j
}

// updates counts those that were acknowledged.
func (j *journal) updates() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.count
}

// known is a copy of what was acknowledged by now.
type known struct {
	acknowledged [crashUsers]presence.Revision
	pair         int
}

func (j *journal) known() known {
	j.mu.Lock()
	defer j.mu.Unlock()
	return known{j.acknowledged, j.pair}
}

func crashUser(i int) store.User {
	return store.User{Account: "acme", ID: presence.UserID(fmt.Sprint("user", i))}
}

// step makes one update of user i, whose next moves about, and journals it.
func (j *journal) step(s *Store, i int, rng *rand.Rand) error {
	until := time.Duration(rng.IntN(1000)) * time.Second
	var revision presence.Revision
	_, err := s.Update(context.Background(), crashUser(i), storetest.UpdateFunc(store.By{Cause: store.CauseClaim}, func(st presence.State) (presence.State, error) {
		st.At = max(st.At, presence.InstantOf(time.Now()))
		st.Revision = max(st.Revision+1, presence.Revision(st.At))
		st.Note.Text = fmt.Sprint("made ", st.Revision)
		st.Claims = nil
		if until > 0 {
			st.Claims = []presence.Claim{{
				ID: presence.ManualClaim, Source: presence.Manual, Status: presence.OutOfOffice, Since: st.At, Until: st.At.Add(until),
			}}
		}
		revision = st.Revision
		j.mu.Lock()
		j.made[i][revision] = st.Note.Text
		j.mu.Unlock()
		return st, nil
	}))
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acknowledged[i] = max(j.acknowledged[i], revision)
	j.count++
	return nil
}

// saw journals that a revision of user i was shown: it must be durable.
func (j *journal) saw(i int, revision presence.Revision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acknowledged[i] = max(j.acknowledged[i], revision)
	j.shown++
}

func (j *journal) sawUser(u store.User, revision presence.Revision) {
	for i := range crashUsers {
		if crashUser(i) == u {
			j.saw(i, revision)
		}
	}
}

var errNo = errors.New("refused")

// watch looks at the store in every way there is, and journals what it shows,
// until ctx ends.
func (j *journal) watch(ctx context.Context, s *Store) (wait func()) {
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ctx.Err() == nil; i = (i + 1) % crashUsers {
			if records, _, err := s.Read(ctx, []store.User{crashUser(i)}); err == nil && len(records) == 1 {
				j.saw(i, records[0].State.Revision)
			}
		}
	})
	group.Go(func() {
		for i := 0; ctx.Err() == nil; i = (i + 1) % crashUsers {
			r, err := s.Update(ctx, crashUser(i), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) { return st, errNo }))
			if errors.Is(err, errNo) {
				j.saw(i, r.State.Revision)
			}
		}
	})
	group.Go(func() {
		for ctx.Err() == nil {
			docs, err := s.List(ctx, "acme", "pair", "", 2)
			if err != nil || len(docs) == 0 {
				continue
			}
			var n int
			fmt.Sscan(string(docs[0].Value), &n)
			j.mu.Lock()
			j.pair = max(j.pair, n)
			j.mu.Unlock()
		}
	})
	group.Go(func() {
		_ = s.Feed(ctx, 0, func(entries []store.Entry) error {
			for _, e := range entries {
				j.sawUser(e.User, e.Revision)
			}
			return nil
		})
	})
	return group.Wait
}

func pairKeys() []store.Key {
	return []store.Key{{Collection: "pair", Key: "a"}, {Collection: "pair", Key: "b"}}
}

// stepPair raises the number that two documents share.
func (j *journal) stepPair(s *Store) error {
	ctx := context.Background()
	docs, err := s.Load(ctx, "acme", pairKeys()...)
	if err != nil {
		return err
	}
	if len(docs) == 0 {
		docs = []store.Doc{{Key: pairKeys()[0]}, {Key: pairKeys()[1]}}
	}
	n := 1
	if len(docs) == 2 && docs[0].Version != "" {
		fmt.Sscan(string(docs[0].Value), &n)
		n++
	}
	for i := range docs {
		docs[i].Value = []byte(fmt.Sprint(n))
		docs[i].Until = time.Now().Add(time.Duration(n) * time.Hour)
	}
	if err := s.Write(ctx, "acme", docs...); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pair = max(j.pair, n)
	return nil
}

// load runs concurrent updates until each writer made steps of them, or failed.
func (j *journal) load(s *Store, writers, steps int, seed uint64) {
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for range steps {
				if err := j.step(s, rng.IntN(crashUsers), rng); err != nil {
					return
				}
			}
		})
	}
	group.Go(func() {
		for range steps / 4 {
			if err := j.stepPair(s); err != nil {
				return
			}
		}
	})
	group.Wait()
}

// check holds a store that was opened after a crash against what was known
// before it. It returns what it finds to have been lost, and fails the test for
// all else.
func (j *journal) check(t *testing.T, s *Store, before known, when string) (lost int) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	log := readWholeLog(t, s)
	armed := readIndex(t, s)
	for i := range crashUsers {
		u := crashUser(i)
		it, err := s.readItem(u)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if it == nil {
			it = &item{user: u}
		}
		if it.State.Revision < before.acknowledged[i] {
			lost++
		}
		if it.State.Revision != 0 && j.made[i][it.State.Revision] != it.State.Note.Text {
			t.Errorf("%s: %s has revision %d %q, which nobody made", when, u.ID, it.State.Revision, it.State.Note.Text)
		}
		checkChain(t, log[u], it, when)
		checkArmed(t, armed[u], it, when)
	}
	docs, err := s.Load(context.Background(), "acme", pairKeys()...)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	n := 0
	if len(docs) == 2 {
		if string(docs[0].Value) != string(docs[1].Value) {
			t.Errorf("%s: half of a write: %s and %s", when, docs[0].Value, docs[1].Value)
		}
		fmt.Sscan(string(docs[0].Value), &n)
	} else if len(docs) != 0 {
		t.Errorf("%s: half of a write: %+v", when, docs)
	}
	if n < before.pair {
		lost++
	}
	return lost
}

// readWholeLog gives the log by user, in order.
func readWholeLog(t *testing.T, s *Store) map[store.User][]chainedEntry {
	t.Helper()
	log := make(map[store.User][]chainedEntry)
	for at := store.Position(0); ; {
		found, err := s.readLog(at, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			return log
		}
		for _, e := range found {
			log[e.User] = append(log[e.User], e)
			at = e.At
		}
	}
}

// checkChain: a user's entries follow each other without a hole, and end at the
// record.
func checkChain(t *testing.T, chain []chainedEntry, it *item, when string) {
	t.Helper()
	var last chainedEntry
	for _, e := range chain {
		if e.previous != last.At || e.Revision <= last.Revision || e.At <= last.At {
			t.Errorf("%s: %s: the log has %+v after %+v", when, it.user.ID, e, last)
		}
		last = e
	}
	if last.At != it.at || last.Revision != it.State.Revision {
		t.Errorf("%s: %s: the log ends at %d with revision %d, the record is of %d with %d",
			when, it.user.ID, last.At, last.Revision, it.at, it.State.Revision)
	}
	if it.at != 0 && last.After != it.Shown {
		t.Errorf("%s: %s: the log ends with %+v, the record shows %+v", when, it.user.ID, last.After, it.Shown)
	}
}

func readIndex(t *testing.T, s *Store) map[store.User][]presence.Instant {
	t.Helper()
	armed := make(map[store.User][]presence.Instant)
	err := s.scan([]byte{expiryPrefix}, upperBound([]byte{expiryPrefix}), func(key, _ []byte) (bool, error) {
		at, u, ok := cutExpiryKey(key)
		if !ok {
			return false, errValue
		}
		armed[u] = append(armed[u], at)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return armed
}

// checkArmed: the index has exactly what the record says, which is no later than
// its next.
func checkArmed(t *testing.T, armed []presence.Instant, it *item, when string) {
	t.Helper()
	var want []presence.Instant
	if !it.armed.IsZero() {
		want = append(want, it.armed)
	}
	if fmt.Sprint(armed) != fmt.Sprint(want) {
		t.Errorf("%s: %s: the index has %v, the record says %v", when, it.user.ID, armed, want)
	}
	if !it.Next.IsZero() && (it.armed.IsZero() || it.armed > it.Next) {
		t.Errorf("%s: %s: armed at %d, but next is %d", when, it.user.ID, it.armed, it.Next)
	}
}

// crashPoint is the state of the disk at one operation, and what was known then.
type crashPoint struct {
	fs   *vfs.MemFS
	op   int
	keep int
	known
}

// diskTime is what a sync takes, so that there is something between what is
// written and what is durable.
const diskTime = 200 * time.Microsecond

// crashes runs a load and takes what a crash would leave at every nth operation
// on the disk.
func crashes(t *testing.T, o Options, writers, steps, every int, seed uint64) (*journal, []crashPoint) {
	t.Helper()
	j := newJournal()
	mem := vfs.NewCrashableMem()
	var ops atomic.Int64
	var mu sync.Mutex // guards points and rng
	var points []crashPoint
	rng := rand.New(rand.NewPCG(seed, 7))
	o.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		n := int(ops.Add(1))
		if op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync {
			time.Sleep(diskTime)
		}
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || n%every != 0 {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		// What is known is read first: what is acknowledged after that may be in
		// the clone or not.
		p := crashPoint{op: n, keep: []int{0, 0, 25, 50, 75, 100}[rng.IntN(6)], known: j.known()}
		p.fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.keep, RNG: rng})
		points = append(points, p)
		return nil
	}))
	s, err := Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	wait := j.watch(ctx, s)
	j.load(s, writers, steps, seed)
	cancel()
	wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if j.count < writers*steps || j.shown == j.count {
		t.Fatalf("%d of %d updates were acknowledged, %d records shown", j.count, writers*steps, j.shown)
	}
	mu.Lock()
	defer mu.Unlock()
	return j, points
}

// small makes memtables rotate and flush during the test.
func small() Options { return Options{MemTableBytes: 64 << 10, CacheRecords: 3, CacheBytes: 1} }

// TestCrash: at any operation on the disk, a crash that keeps anything between
// none and all of what was not synced loses nothing that was acknowledged,
// invents nothing, and leaves log, records and index in agreement.
func TestCrash(t *testing.T) {
	rounds := 2
	if testing.Short() {
		rounds = 1
	}
	opened := 0
	for seed := range uint64(rounds) {
		o := small()
		if seed%2 == 1 {
			o.CacheBytes = 1 << 20
		}
		j, points := crashes(t, o, 4, 60, 1, seed)
		for _, p := range points {
			when := fmt.Sprintf("seed %d, operation %d, %d%% of the unsynced kept", seed, p.op, p.keep)
			o := small()
			o.FS = p.fs
			s, err := Open("data", o)
			if errors.Is(err, ErrUnfinished) && p.known == (known{}) {
				continue // the crash was before the store's first start had ended
			}
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if lost := j.check(t, s, p.known, when); lost > 0 {
				t.Errorf("%s: %d acknowledged changes are lost", when, lost)
			}
			j.goOn(t, s, p.known, when)
			if err := s.Close(); err != nil {
				t.Errorf("%s: Close: %v", when, err)
			}
			opened++
		}
	}
	if opened < 100*rounds {
		t.Errorf("only %d crashes", opened)
	}
	t.Logf("%d crashes", opened)
}

// goOn: after a crash revisions go on above every one that was acknowledged.
func (j *journal) goOn(t *testing.T, s *Store, before known, when string) {
	t.Helper()
	r, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, func(st presence.State) (presence.State, error) {
		st.At = max(st.At, presence.InstantOf(time.Now()))
		st.Revision = max(st.Revision+1, presence.Revision(st.At))
		return st, nil
	}))
	if err != nil {
		t.Errorf("%s: Update: %v", when, err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, used := j.made[0][r.State.Revision]; used || r.State.Revision <= before.acknowledged[0] {
		t.Errorf("%s: revision %d is used again", when, r.State.Revision)
	}
}

// TestCrashControl shows that TestCrash can see loss, where loss is allowed:
// with durability OS. There too, what is left agrees with itself, and the epoch
// is another.
func TestCrashControl(t *testing.T) {
	lost := 0
	for seed := range uint64(2) {
		o := small()
		o.Durability = OS
		j, points := crashes(t, o, 4, 60, 11, seed)
		for _, p := range points {
			when := fmt.Sprintf("seed %d, operation %d, %d%% of the unsynced kept", seed, p.op, p.keep)
			again := o
			again.FS = p.fs
			s, err := Open("data", again)
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			lost += j.check(t, s, p.known, when)
			if err := s.Close(); err != nil {
				t.Errorf("%s: Close: %v", when, err)
			}
		}
	}
	if lost == 0 {
		t.Error("nothing was lost without syncing: the harness sees no loss")
	}
	t.Logf("%d losses seen", lost)
}

// TestDiskErrors: from the first write or sync that fails, nothing more is
// acknowledged, and everything acknowledged is there after the next start.
func TestDiskErrors(t *testing.T) {
	kinds := map[string][]errorfs.OpKind{
		"write": {errorfs.OpFileWrite, errorfs.OpFileWriteAt},
		"sync":  {errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo},
		"make":  {errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpLink, errorfs.OpRename},
	}
	for name, ops := range kinds {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			for how, times := range map[string]int64{"once": 1, "from then on": math.MaxInt64} {
				t.Run(fmt.Sprint(name, " ", errno, " ", how), func(t *testing.T) {
					failed := 0
					for nth := 1; nth <= 50; nth++ {
						if failAt(t, diskFault{ops, nth, times, errno}) {
							failed++
						}
					}
					// Files are made seldom, and a table that finds the disk full is
					// made again.
					if failed == 0 || name != "make" && failed < 40 {
						t.Errorf("only %d stores failed", failed)
					}
					t.Logf("%d stores failed", failed)
				})
			}
		}
	}
}

// A diskFault makes operations of these kinds fail, from the nth one on.
type diskFault struct {
	kinds []errorfs.OpKind
	nth   int
	times int64
	errno syscall.Errno
}

func (f diskFault) String() string { return fmt.Sprintf("operation %d failed with %v", f.nth, f.errno) }

// inject is fs with the fault once armed. fired counts the operations that failed.
func (f diskFault) inject(fs vfs.FS, armed *atomic.Bool, fired *atomic.Int64) vfs.FS {
	var count atomic.Int64
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !armed.Load() || !slices.Contains(f.kinds, op.Kind) {
			return nil
		}
		if n := count.Add(1) - int64(f.nth); n < 0 || n >= f.times {
			return nil
		}
		fired.Add(1)
		return &os.PathError{Op: "injected", Path: op.Path, Err: f.errno}
	}))
}

var errDisk = errors.New("injected disk error")

// failAt runs a load on a disk with a fault that begins after opening, and
// reports whether that failed the store.
func failAt(t *testing.T, fault diskFault) bool {
	t.Helper()
	mem := vfs.NewCrashableMem()
	var armed atomic.Bool
	var fired atomic.Int64
	o := small()
	o.MinFreeBytes = -1 // a full disk is an error like any other
	o.FS = fault.inject(mem, &armed, &fired)
	s, err := Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal()
	armed.Store(true)
	const writers, steps = 4, 100
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		j.load(s, writers, steps, uint64(fault.nth))
	}()
	select {
	case <-loaded:
	case <-s.abandoned: // who reads at this instant may never come back
	}
	when := fault.String()
	failed := false
	if j.updates() < writers*steps {
		failed = true
		select {
		case <-s.Failed():
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: only %d updates were acknowledged, and the store says that it is well", when, j.updates())
		}
		if fired.Load() == 0 {
			t.Errorf("%s: the store failed of itself", when)
		}
		if err := s.Check(context.Background()); !errors.Is(err, store.ErrFailed) || !strings.Contains(err.Error(), fault.errno.Error()) {
			t.Errorf("%s: Check says %v", when, err)
		}
		err := j.step(s, 0, rand.New(rand.NewPCG(1, 1)))
		if !errors.Is(err, store.ErrFailed) {
			t.Errorf("%s: after the failure an update was answered with %v", when, err)
		}
		if _, _, err := s.Read(context.Background(), []store.User{crashUser(0)}); err != nil && !errors.Is(err, store.ErrFailed) {
			t.Errorf("%s: Read: %v", when, err)
		}
	}
	before := j.known()
	clone := mem.CrashClone(vfs.CrashCloneCfg{})
	if fault.nth%2 == 0 { // only the process ends
		clone = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	}
	_ = s.Close() // reports what it was told to
	o = small()
	o.FS = clone
	again, err := Open("data", o)
	if err != nil {
		t.Fatalf("%s: open again: %v", when, err)
	}
	if lost := j.check(t, again, before, when); lost > 0 {
		t.Errorf("%s: %d acknowledged changes are lost", when, lost)
	}
	if err := again.Close(); err != nil {
		t.Errorf("%s: Close: %v", when, err)
	}
	return failed
}
