package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestCrashEverywhere: a crash before any disk operation of a script loses nothing that
// was acknowledged or shown and invents nothing, whichever unsynced data the disk kept.
// The log has no hole and ends at the records, documents belong to one write, the
// expiry index matches the records, and cursors, readers and expiries continue as if
// nothing had happened.
func TestCrashEverywhere(t *testing.T) {
	seeds := leveltest.Count(t, "scripts that crash everywhere", 1, 1, 4)
	each := leveltest.Count(t, "images of the disk at each crash", 2, 2, int(imageKinds))
	// TestPlantedBugs shows that 300 are enough to catch each of its bugs.
	ops := min(scriptOps, leveltest.Count(t, "operations of a script that crashes everywhere", 300, 2000, 2000))
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { crashEverywhere(t, ops, each, seed) })
	}
}

// A crasher takes images of a disk and checks the store that opens on each.
type crasher struct {
	b            *storeModel
	fs           *crashFS
	rng          *rand.Rand
	perOperation int // images at each operation
	seed         uint64

	images chan *image
	ctx    context.Context // of all checks; the first failure cancels it
	cancel context.CancelFunc

	mu             sync.Mutex // guards the fields below
	failures       []string
	opened         int
	duringRecovery int // images taken while a store was recovering
	unfinished     int // images from before the store's first start was complete
	kinds          [imageKinds]int
	covered        coverage
}

// A coverage counts what was checked, so that a run that checks nothing fails.
type coverage struct{ entries, redacted, cursors, expiries, trimmed, ahead int }

// An image is the disk after a crash, with what was known before the crash.
type image struct {
	fs   *vfs.MemFS
	op   int
	kind imageKind
	time time.Time
	seed uint64
	// What must be on the disk: commits, a write, cursors and versions of documents, up to these numbers.
	acknowledged, acknowledgedWrite, cursors, versions int
	mustBeRedacted                                     [crashUsers]int // likewise, by user
	// What the reader confirmed.
	consumed   int
	consumedAt store.Position
	// What may be on the disk: attempted writes.
	attemptedWrite int
	recovering     bool
}

func (p *image) String() string {
	text := fmt.Sprintf("crash at operation %d that kept %v", p.op, p.kind)
	if p.recovering {
		text += ", after another crash"
	}
	return text
}

func crashEverywhere(t *testing.T, ops, each int, seed uint64) {
	c := &crasher{
		b: newStoreModel(), rng: rand.New(rand.NewPCG(seed, 1)), perOperation: each, seed: seed,
		images: make(chan *image),
	}
	c.ctx, c.cancel = context.WithCancel(t.Context())
	defer c.cancel()
	c.fs = newCrashFS(vfs.NewCrashableMem(), c.takeImages)
	var checking sync.WaitGroup
	for range 2 {
		checking.Go(func() {
			for p := range c.images {
				c.checkImage(p)
			}
		})
	}
	x := &script{b: c.b, rng: rand.New(rand.NewPCG(seed, 2)), opts: smallOptions()}
	x.opts.FS, x.opts.Retention, x.opts.BlockBytes = c.fs, scriptRetention, 64<<10
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		if err := x.run(ops); err != nil {
			t.Errorf("script: %v", err)
		}
	})
	close(c.images)
	checking.Wait()
	for _, fault := range append(c.b.failures, c.failures...) {
		t.Errorf("seed %d: %s", seed, fault)
	}
	t.Logf("%d operations made %d commits, %d expiries, %d writes, %d conflicts, %d refusals and %d cursors; the disk did %d operations",
		x.ops, len(c.b.commits), c.b.expiries, c.b.acknowledgedWrite, c.b.conflicts, c.b.refused, len(c.b.cursors), c.fs.n)
	t.Logf("%d crashes, %d of them during recovery from another, in %v: %v %v; checked: %+v",
		c.opened, c.duringRecovery, time.Since(began).Round(time.Millisecond), c.kinds, imageNames, c.covered)
	c.checkCoverage(t, x)
}

// checkCoverage fails a run that checked less than intended.
func (c *crasher) checkCoverage(t *testing.T, x *script) {
	for _, kind := range c.kinds {
		if kind == 0 {
			t.Errorf("images by kind: %v of %v", c.kinds, imageNames)
		}
	}
	for what, n := range map[string]int{
		"expiries": c.b.expiries, "conflicts": c.b.conflicts, "refused updates": c.b.refused, "cursors": len(c.b.cursors),
		"reads": x.reads, "restarts": x.reopened, "crashes during recovery": c.duringRecovery,
		"entries checked": c.covered.entries, "redacted entries checked": c.covered.redacted, "cursors checked": c.covered.cursors, "expiries after a crash": c.covered.expiries,
		"images with more than was acknowledged": c.covered.ahead,
	} {
		if n == 0 && x.ops >= 300 {
			t.Errorf("INVALID: the run had no %s", what)
		}
	}
	if x.ops >= 1000 && c.covered.trimmed == 0 {
		t.Error("INVALID: no image has a trimmed log")
	}
	if c.opened < 3*x.ops/2 {
		t.Errorf("only %d crashes in %d operations", c.opened, x.ops)
	}
	if c.unfinished > 40 {
		t.Errorf("%d images could not be opened because the store's first start was incomplete", c.unfinished)
	}
}

// takeImages takes images before an operation and waits until their checks have
// started.
func (c *crasher) takeImages(op diskOp) {
	c.mu.Lock()
	done := len(c.failures) >= maxFailures
	c.mu.Unlock()
	if done {
		return
	}
	kinds := c.fs.kindsAt(op)
	c.rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for _, kind := range kinds[:min(c.perOperation, len(kinds))] {
		p := &image{op: op.n, kind: kind, time: time.Now(), seed: c.rng.Uint64()}
		// This is read before the image is taken: later commits may be in the image or not.
		c.b.mu.Lock()
		p.acknowledged, p.acknowledgedWrite, p.cursors, p.mustBeRedacted = c.b.acknowledged, c.b.acknowledgedWrite, len(c.b.cursors), c.b.mustBeRedacted
		p.versions = len(c.b.versions)
		p.consumed, p.consumedAt = c.b.consumed, c.b.consumedAt
		c.b.mu.Unlock()
		p.fs = c.fs.image(op, kind, c.rng)
		c.b.mu.Lock()
		p.attemptedWrite = len(c.b.writes) - 1
		c.b.mu.Unlock()
		c.images <- p
	}
}

func (c *crasher) addFailure(p *image, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel()
	if len(c.failures) < maxFailures {
		c.failures = append(c.failures, fmt.Sprintf("%v: ", p)+fmt.Sprintf(format, args...))
	}
}

// checkImage opens an image. One in eight crashes again during recovery.
func (c *crasher) checkImage(p *image) {
	rng := rand.New(rand.NewPCG(p.seed, 3))
	var fs vfs.FS = p.fs
	var second *image
	var recovered atomic.Bool
	if !p.recovering && rng.IntN(8) == 0 {
		at := 1 + rng.IntN(30)
		var again *crashFS
		again = newCrashFS(p.fs, func(op diskOp) {
			if op.n != at || recovered.Load() {
				return
			}
			also := *p
			kinds := again.kindsAt(op)
			also.kind = kinds[rng.IntN(len(kinds))]
			also.fs, also.recovering = again.image(op, also.kind, rng), true
			second = &also
		})
		fs = again
	}
	c.checkDisk(p, fs, &recovered)
	if second != nil {
		c.checkDisk(second, second.fs, &recovered)
	}
}

func (c *crasher) checkDisk(p *image, fs vfs.FS, recovered *atomic.Bool) {
	var ahead atomic.Int64 // of the crash, in nanoseconds
	ahead.Store(int64(time.Second))
	o := smallOptions()
	if p.seed%4 != 0 {
		o.CacheRecords = 64
	}
	o.FS, o.Retention, o.BlockBytes = fs, scriptRetention, 1<<20
	o.Clock = func() time.Time { return p.time.Add(time.Duration(ahead.Load())) }
	s, err := Open("data", o)
	recovered.Store(true)
	if errors.Is(err, ErrUnfinished) && p.acknowledged == 0 && p.acknowledgedWrite == 0 && p.cursors == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unfinished++
		return
	}
	if err != nil {
		c.addFailure(p, "cannot open the store: %v", err)
		return
	}
	l := &imageChecker{crasher: c, p: p, s: s}
	if l.checkContent() {
		ahead.Store(int64(2 * time.Hour)) // everything has expired
		l.checkContinuation()
	}
	if err := s.Close(); err != nil {
		c.addFailure(p, "Close: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened++
	c.kinds[p.kind]++
	if p.recovering {
		c.duringRecovery++
	}
	c.covered.entries += l.entries
	c.covered.redacted += l.redacted
	c.covered.cursors += l.cursors
	c.covered.expiries += l.expiries
	c.covered.trimmed += l.trimmed
	c.covered.ahead += l.ahead
}

// An imageChecker compares the store that was opened on an image with the model.
type imageChecker struct {
	*crasher
	coverage
	p *image
	s *Store

	first, last int // commits in the log; first is last+1 if there is none
	newest      [crashUsers]int
	items       [crashUsers]*item
	at          map[int]store.Position
}

func (l *imageChecker) failf(format string, args ...any) bool {
	l.addFailure(l.p, format, args...)
	return false
}

// checkContent compares what is on the disk with what was known.
func (l *imageChecker) checkContent() bool {
	log, err := l.s.readLog(0, 1<<20)
	if err != nil {
		return l.failf("read the log: %v", err)
	}
	for i := range crashUsers {
		if l.items[i], err = l.s.readItem(crashUser(i)); err != nil {
			return l.failf("%v", err)
		}
	}
	// The lock is held to the end: the model's commits do not change, except their
	// positions.
	l.b.mu.Lock()
	ok := l.checkLog(log) && l.checkRecords()
	l.b.mu.Unlock()
	return ok && l.checkExpiryIndex()
}

// checkLog checks that the entries are consecutive commits, up to one that is no older
// than what was known.
func (l *imageChecker) checkLog(log []chainedEntry) bool {
	l.at = make(map[int]store.Position)
	for k := range log {
		e := &log[k]
		n := l.b.commitNumber(userIndex(e.User), e.Revision)
		switch {
		case n == 0:
			return l.failf("the log has revision %d of %s, which no update made", e.Revision, e.User.ID)
		case k == 0:
			l.first = n
		case n != l.last+1:
			return l.failf("log entries are missing or repeated: commit %d is followed by %d", l.last, n)
		}
		if !l.checkEntry(n, e) {
			return false
		}
		l.last = n
		l.at[n] = e.At
		l.newest[l.b.commits[n-1].user] = n
	}
	l.entries += len(log)
	return l.checkLogStart(len(log))
}

// checkLogStart checks that dropped entries had reached the retention.
func (l *imageChecker) checkLogStart(length int) bool {
	if length == 0 {
		for i, it := range l.items {
			if it != nil {
				l.last = max(l.last, l.b.commitNumber(i, it.State.Revision))
			}
		}
		l.first = l.last + 1
	}
	if l.last < l.p.acknowledged {
		return l.failf("acknowledged changes are lost: the log ends at commit %d, but %d was acknowledged or shown", l.last, l.p.acknowledged)
	}
	if l.last > l.p.acknowledged {
		l.ahead++
	}
	if l.first <= 1 {
		return true
	}
	l.trimmed++
	gone := l.b.commits[l.first-2]
	if age := l.p.time.Sub(gone.state.At.Time()); age < scriptRetention {
		return l.failf("commit %d was dropped from the log after %v", l.first-1, age)
	}
	if gone.at != 0 && gone.at > l.s.trimmedTo() {
		return l.failf("commit %d is not in the log, which was trimmed up to %d", l.first-1, l.s.trimmedTo())
	}
	return true
}

func (l *imageChecker) checkEntry(n int, e *chainedEntry) bool {
	c := l.b.commits[n-1]
	if c.at != 0 && c.at != e.At {
		return l.failf("commit %d is at %d in the log, but was shown at %d", n, e.At, c.at)
	}
	if n > l.first && e.At <= l.at[l.last] {
		return l.failf("position %d after %d", e.At, l.at[l.last])
	}
	if want, ok := l.at[c.before]; ok && e.previous != want || c.before == 0 && e.previous != 0 {
		return l.failf("commit %d follows the entry at %d, want %d", n, e.previous, want)
	}
	want := l.b.wantEntry(n, &e.Entry)
	switch {
	case reflect.DeepEqual(any(e.Entry), any(store.Anonymize(want))) && n <= l.b.mayBeRedacted[c.user]:
		l.redacted++
	case n <= l.p.mustBeRedacted[c.user]:
		return l.failf("the log has %+v of an erased user", e.Entry)
	case !reflect.DeepEqual(any(e.Entry), any(want)):
		return l.failf("the log has %+v, want %+v", e.Entry, want)
	}
	return true
}

// checkRecords checks that each record is its user's last commit.
func (l *imageChecker) checkRecords() bool {
	for i, it := range l.items {
		if it == nil {
			it = &item{user: crashUser(i)}
			l.items[i] = it
		}
		n := 0
		if it.State.Revision != 0 {
			n = l.b.commitNumber(i, it.State.Revision)
		}
		if l.newest[i] == 0 && n < l.first {
			l.newest[i] = n // its entry was dropped
		}
		if n != l.newest[i] {
			return l.failf("%s: the log ends with commit %d, but the record is of commit %d, revision %d", it.user.ID, l.newest[i], n, it.State.Revision)
		}
		if n == 0 {
			continue
		}
		if c := l.b.commits[n-1]; !reflect.DeepEqual(c.state, it.State) || c.shown != it.Shown {
			return l.failf("%s has the record %+v, want %+v", it.user.ID, it.State, c.state)
		}
		if at, ok := l.at[n]; ok && at != it.at {
			return l.failf("%s: the record is at %d, but its entry at %d", it.user.ID, it.at, at)
		}
	}
	return true
}

// checkExpiryIndex checks that the index has one entry for each record that expires, no
// later than its next change, and no other.
func (l *imageChecker) checkExpiryIndex() bool {
	armed := make(map[store.User][]presence.Instant)
	err := l.s.scan([]byte{expiryPrefix}, upperBound([]byte{expiryPrefix}), func(key, _ []byte) (bool, error) {
		at, u, ok := cutExpiryKey(key)
		if !ok || userIndex(u) < 0 {
			return false, errValue
		}
		armed[u] = append(armed[u], at)
		return true, nil
	})
	if err != nil {
		return l.failf("scan the expiry index: %v", err)
	}
	for _, it := range l.items {
		var want []presence.Instant
		if !it.armed.IsZero() {
			want = append(want, it.armed)
		}
		if fmt.Sprint(armed[it.user]) != fmt.Sprint(want) {
			return l.failf("%s: the expiry index has %v, but the record has %v", it.user.ID, armed[it.user], want)
		}
		if !it.Next.IsZero() && (it.armed.IsZero() || it.armed > it.Next) {
			return l.failf("%s: index entry at %d, but the next change is at %d", it.user.ID, it.armed, it.Next)
		}
	}
	return l.checkDocExpiryIndex()
}

// checkDocExpiryIndex checks that the index has one entry for each document that
// expires.
func (l *imageChecker) checkDocExpiryIndex() bool {
	want := make(map[string]bool)
	err := l.s.scan([]byte{documentPrefix}, upperBound([]byte{documentPrefix}), func(key, value []byte) (bool, error) {
		head, _, err := decodeDoc(value)
		if err == nil && !head.until.IsZero() {
			want[string(appendDocExpiryKey(nil, head.until, key))] = true
		}
		return true, err
	})
	if err != nil {
		return l.failf("scan the documents: %v", err)
	}
	ends := 0
	err = l.s.scan([]byte{docExpiryPrefix}, upperBound([]byte{docExpiryPrefix}), func(key, _ []byte) (bool, error) {
		ends++
		return want[string(key)], nil
	})
	if err != nil || ends != len(want) {
		return l.failf("%d documents expire, but the index has %d or others: %v", len(want), ends, err)
	}
	return true
}

// checkContinuation uses the store as if nothing had happened. The failures are those
// of a new model.
func (l *imageChecker) checkContinuation() {
	reading := l.b.continueFrom(l.last, l.newest, l.p.attemptedWrite)
	reading.baseVersions = l.p.versions
	write, found := reading.findWrite(l.s)
	for _, fault := range reading.failures {
		l.failf("%s", fault)
	}
	if !found {
		return
	}
	if write < l.p.acknowledgedWrite {
		l.failf("acknowledged changes are lost: the documents are of write %d, but %d was acknowledged", write, l.p.acknowledgedWrite)
		return
	}
	b := l.b.continueFrom(l.last, l.newest, write)
	b.baseVersions = l.p.versions
	l.b.mu.Lock()
	b.consumed, b.consumedAt = l.p.consumed, l.p.consumedAt
	cursors := l.b.cursors[:l.p.cursors]
	l.b.mu.Unlock()
	l.cursors += len(cursors)
	b.checkCursors(l.s, cursors)
	ended, err := l.runContinuation(b)
	l.expiries += ended
	if err != nil && l.ctx.Err() == nil {
		l.failf("after the crash: %v", err)
	}
	for _, fault := range b.failures {
		l.failf("after the crash: %s", fault)
	}
}

// runContinuation expires everything, updates every user, writes documents, and reads
// the log after what the reader confirmed.
func (l *imageChecker) runContinuation(b *storeModel) (ended int, err error) {
	if err := expireAll(l.ctx, b, l.s); err != nil {
		return 0, err
	}
	ended = b.expiries
	x := &script{b: b, s: l.s, rng: rand.New(rand.NewPCG(l.p.seed, 4)), created: 1 << 20}
	for i := range crashUsers {
		if err := b.update(l.s, i, x.by(), x.drawChange()); err != nil {
			return ended, err
		}
	}
	if err := errors.Join(x.writeDocs(), b.writeConflict(l.s, "always")); err != nil {
		return ended, err
	}
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	err = b.followLog(ctx, l.s, func(entries []store.Entry) error {
		b.receiveEntries(l.s, entries)
		b.confirmEntries(entries)
		if b.consumed == len(b.commits) {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) {
		return ended, fmt.Errorf("the reader did not get everything: %w", err)
	}
	return ended, nil
}

// expireAll runs Due until everything that expires has.
func expireAll(ctx context.Context, b *storeModel, s *Store) error {
	left := func() (users []string) {
		for i := range crashUsers {
			if it, err := s.lookup(context.Background(), crashUser(i)); err == nil && it != nil && !it.Next.IsZero() {
				users = append(users, string(it.user.ID))
			}
		}
		return users
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for range 2 * crashUsers { // each expires twice at most
		if len(left()) == 0 {
			return nil
		}
		err := s.Due(ctx, func(us []store.User) error {
			for _, u := range us {
				_ = b.expireUser(s, userIndex(u))
			}
			return errStop
		})
		if !errors.Is(err, errStop) {
			return fmt.Errorf("%s do not expire: %w", strings.Join(left(), ", "), err)
		}
	}
	return fmt.Errorf("%s are due again and again", strings.Join(left(), ", "))
}

// TestCrashWhileOpening: after a crash before any operation of a start, with several
// draws of the unsynced data that survives, the next start opens the store with
// everything in it.
func TestCrashWhileOpening(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := smallOptions()
	o.FS = mem
	s := mustOpen(t, "data", o)
	j := newJournal()
	j.runLoad(s, 4, 60, 1)
	before := j.known()
	left := mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	crashes, rounds := 0, min(openings, leveltest.Count(t, "draws of the unsynced data at each crash of a start", 1, 3, 3))
	for round := range uint64(rounds) {
		for _, begin := range []*vfs.MemFS{left, mem} { // after a crash, and after a clean stop
			rng := rand.New(rand.NewPCG(round, 1))
			var images []*image
			var fs *crashFS
			fs = newCrashFS(begin.CrashClone(vfs.CrashCloneCfg{}), func(op diskOp) {
				for _, kind := range fs.kindsAt(op) {
					images = append(images, &image{op: op.n, kind: kind, fs: fs.image(op, kind, rng)})
				}
			})
			o := smallOptions()
			o.FS = fs
			mustClose(t, mustOpen(t, "data", o))
			for _, p := range images {
				o := smallOptions()
				o.FS = p.fs
				s, err := Open("data", o)
				if err != nil {
					t.Errorf("%v during a start: cannot open the store: %v", p, err)
					continue
				}
				if lost := j.check(t, s, before, p.String()); lost > 0 {
					t.Errorf("%v during a start: %d acknowledged changes are lost", p, lost)
				}
				mustClose(t, s)
				crashes++
			}
		}
	}
	if crashes < 200*rounds {
		t.Errorf("only %d crashes", crashes)
	}
	t.Logf("%d crashes", crashes)
}

// TestCursorIsNoNewer: a cursor covers no change that the records returned with it do
// not show.
func TestCursorIsNoNewer(t *testing.T) {
	s := mustOpen(t, "data", Options{FS: vfs.NewMem()})
	mustUpdate(t, s, crashUser(0))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 300 {
			if _, err := s.Update(context.Background(), crashUser(0), storetest.UpdateFunc(store.By{}, benchState)); err != nil {
				t.Errorf("Update: %v", err)
			}
		}
	}()
	defer func() { <-done }() // it must not report errors after the test
	for reads := 0; ; reads++ {
		records, cursor, err := s.Read(context.Background(), []store.User{crashUser(0)}, store.Freshness{})
		if err != nil || len(records) != 1 {
			t.Fatalf("Read: %+v, %v", records, err)
		}
		if at, err := cursor.Position(s.Epoch()); err != nil || at > records[0].At {
			t.Fatalf("a cursor at %d was returned with a record at %d (%v)", at, records[0].At, err)
		}
		select {
		case <-done:
			if reads == 0 {
				t.Error("INVALID: no read before the end")
			}
			return
		default:
		}
	}
}
