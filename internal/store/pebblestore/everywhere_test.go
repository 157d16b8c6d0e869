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

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// TestCrashEverywhere: a crash before any operation on the disk of a script,
// whatever of the unsynced the disk kept, loses nothing that was answered or
// shown, and invents nothing. The log goes on without a hole and ends at the
// records, documents are of one write, the index says what the records say, and
// cursors, readers and ends go on as if nothing had happened.
func TestCrashEverywhere(t *testing.T) {
	seeds, each, ops := 1, 2, scriptOps
	if soaking() {
		seeds, each = 4, int(imageKinds)
	}
	if testing.Short() {
		ops = min(ops, 300)
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { crashEverywhere(t, ops, each, seed) })
	}
}

// A crasher takes images of a disk, and checks what a store makes of each.
type crasher struct {
	b    *book
	fs   *crashFS
	rng  *rand.Rand
	each int // images at an operation
	seed uint64

	images chan *image
	ctx    context.Context // of all checks: the first fault ends what others wait for
	cancel context.CancelFunc

	mu     sync.Mutex // guards the fields below
	faults []string
	opened int
	again  int // images of a disk while a store was recovering
	young  int // of a disk from before the store's first start had ended
	kinds  [imageKinds]int
	tally  tally
}

// A tally counts what was looked at, so that looking at nothing fails.
type tally struct{ entries, redacted, cursors, ends, trimmed, ahead int }

// An image is what a crash left, and what was known then.
type image struct {
	fs   *vfs.MemFS
	op   int
	kind imageKind
	time time.Time
	seed uint64
	// What must be there: commits, a write, and cursors, up to here.
	shown, wrote, cursors int
	erased                [crashUsers]int // likewise, whose entries must be redacted
	// What the reader took.
	seen   int
	seenAt store.Position
	// What may be: writes that were tried.
	tried      int
	recovering bool
}

func (p *image) String() string {
	text := fmt.Sprintf("a crash at operation %d that left %v", p.op, p.kind)
	if p.recovering {
		text += ", after another crash"
	}
	return text
}

func crashEverywhere(t *testing.T, ops, each int, seed uint64) {
	c := &crasher{
		b: newBook(), rng: rand.New(rand.NewPCG(seed, 1)), each: each, seed: seed,
		images: make(chan *image),
	}
	c.ctx, c.cancel = context.WithCancel(t.Context())
	defer c.cancel()
	c.fs = newCrashFS(vfs.NewCrashableMem(), c.take)
	var checking sync.WaitGroup
	for range 2 {
		checking.Go(func() {
			for p := range c.images {
				c.check(p)
			}
		})
	}
	x := &script{b: c.b, rng: rand.New(rand.NewPCG(seed, 2)), opts: small()}
	x.opts.FS, x.opts.Retention, x.opts.BlockBytes = c.fs, scriptRetention, 64<<10
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		if err := x.run(ops); err != nil {
			t.Errorf("the script: %v", err)
		}
	})
	close(c.images)
	checking.Wait()
	for _, fault := range append(c.b.faults, c.faults...) {
		t.Errorf("seed %d: %s", seed, fault)
	}
	t.Logf("%d operations made %d commits, %d ends, %d writes, %d conflicts, %d refusals and %d cursors; the disk did %d operations",
		x.ops, len(c.b.made), c.b.ends, c.b.wrote, c.b.conflict, c.b.refused, len(c.b.cursors), c.fs.n)
	t.Logf("%d crashes, %d of them while recovering from another, in %v: %v %v; looked at: %+v",
		c.opened, c.again, time.Since(began).Round(time.Millisecond), c.kinds, imageNames, c.tally)
	c.enough(t, x)
}

// enough fails a run that showed less than it is meant to.
func (c *crasher) enough(t *testing.T, x *script) {
	for _, kind := range c.kinds {
		if kind == 0 {
			t.Errorf("images by kind: %v of %v", c.kinds, imageNames)
		}
	}
	for what, n := range map[string]int{
		"ends": c.b.ends, "conflicts": c.b.conflict, "refused updates": c.b.refused, "cursors": len(c.b.cursors),
		"looks": x.looks, "reopenings": x.reopened, "crashes while recovering": c.again,
		"entries looked at": c.tally.entries, "redacted entries looked at": c.tally.redacted, "cursors looked at": c.tally.cursors, "ends after a crash": c.tally.ends,
		"images ahead of what was known": c.tally.ahead,
	} {
		if n == 0 && x.ops >= 300 {
			t.Errorf("no %s: the run showed nothing of them", what)
		}
	}
	if x.ops >= 1000 && c.tally.trimmed == 0 {
		t.Error("no image of a log that was trimmed")
	}
	if c.opened < 3*x.ops/2 {
		t.Errorf("only %d crashes in %d operations", c.opened, x.ops)
	}
	if c.young > 40 {
		t.Errorf("%d images could not be opened for being of a store's creation", c.young)
	}
}

// take takes images before an operation, and waits until they are being checked.
func (c *crasher) take(op diskOp) {
	c.mu.Lock()
	done := len(c.faults) >= maxFaults
	c.mu.Unlock()
	if done {
		return
	}
	kinds := c.fs.kindsAt(op)
	c.rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for _, kind := range kinds[:min(c.each, len(kinds))] {
		p := &image{op: op.n, kind: kind, time: time.Now(), seed: c.rng.Uint64()}
		// What is known is read first: what comes after may be in the image or not.
		c.b.mu.Lock()
		p.shown, p.wrote, p.cursors, p.erased = c.b.shown, c.b.wrote, len(c.b.cursors), c.b.erased
		p.seen, p.seenAt = c.b.seen, c.b.seenAt
		c.b.mu.Unlock()
		p.fs = c.fs.image(op, kind, c.rng)
		c.b.mu.Lock()
		p.tried = len(c.b.writes) - 1
		c.b.mu.Unlock()
		c.images <- p
	}
}

func (c *crasher) fault(p *image, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel()
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, fmt.Sprintf("%v: ", p)+fmt.Sprintf(format, args...))
	}
}

// check opens an image. One in eight is of a disk that crashes again while it
// is recovered.
func (c *crasher) check(p *image) {
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
	c.checkOn(p, fs, &recovered)
	if second != nil {
		c.checkOn(second, second.fs, &recovered)
	}
}

func (c *crasher) checkOn(p *image, fs vfs.FS, recovered *atomic.Bool) {
	var ahead atomic.Int64 // of the crash, in nanoseconds
	ahead.Store(int64(time.Second))
	o := small()
	if p.seed%4 != 0 {
		o.CacheRecords = 64
	}
	o.FS, o.Retention, o.BlockBytes = fs, scriptRetention, 1<<20
	o.Clock = func() time.Time { return p.time.Add(time.Duration(ahead.Load())) }
	s, err := Open("data", o)
	recovered.Store(true)
	if errors.Is(err, ErrUnfinished) && p.shown == 0 && p.wrote == 0 && p.cursors == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.young++
		return
	}
	if err != nil {
		c.fault(p, "it does not open: %v", err)
		return
	}
	l := &looker{crasher: c, p: p, s: s}
	if l.look() {
		ahead.Store(int64(2 * time.Hour)) // all ends have come
		l.goOn()
	}
	if err := s.Close(); err != nil {
		c.fault(p, "Close: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened++
	c.kinds[p.kind]++
	if p.recovering {
		c.again++
	}
	c.tally.entries += l.entries
	c.tally.redacted += l.redacted
	c.tally.cursors += l.cursors
	c.tally.ends += l.ends
	c.tally.trimmed += l.trimmed
	c.tally.ahead += l.ahead
}

// A looker holds the store that was opened on an image against the book.
type looker struct {
	*crasher
	tally
	p *image
	s *Store

	first, last int // commits in the log; first is last+1 if there is none
	newest      [crashUsers]int
	items       [crashUsers]*item
	at          map[int]store.Position
}

func (l *looker) bad(format string, args ...any) bool {
	l.fault(l.p, format, args...)
	return false
}

// look holds what is there against what was known.
func (l *looker) look() bool {
	log, err := l.s.readLog(0, 1<<20)
	if err != nil {
		return l.bad("the log: %v", err)
	}
	for i := range crashUsers {
		if l.items[i], err = l.s.readItem(crashUser(i)); err != nil {
			return l.bad("%v", err)
		}
	}
	// Held for the rest: the book's commits do not change, but for their places.
	l.b.mu.Lock()
	ok := l.log(log) && l.records()
	l.b.mu.Unlock()
	return ok && l.index()
}

// log: its entries are commits one after another, up to one that is no older
// than what was known.
func (l *looker) log(log []chainedEntry) bool {
	l.at = make(map[int]store.Position)
	for k := range log {
		e := &log[k]
		n := l.b.placeOf(indexOf(e.User), e.Revision)
		switch {
		case n == 0:
			return l.bad("the log has revision %d of %s, which nobody made", e.Revision, e.User.ID)
		case k == 0:
			l.first = n
		case n != l.last+1:
			return l.bad("the log has a hole, or something twice: commit %d is followed by %d", l.last, n)
		}
		if !l.entry(n, e) {
			return false
		}
		l.last = n
		l.at[n] = e.At
		l.newest[l.b.made[n-1].user] = n
	}
	l.entries += len(log)
	return l.beginning(len(log))
}

// beginning: what is not there any more was old enough to go, and taken.
func (l *looker) beginning(length int) bool {
	if length == 0 {
		for i, it := range l.items {
			if it != nil {
				l.last = max(l.last, l.b.placeOf(i, it.State.Revision))
			}
		}
		l.first = l.last + 1
	}
	if l.last < l.p.shown {
		return l.bad("acknowledged changes are lost: the log ends at commit %d, and %d was answered or shown", l.last, l.p.shown)
	}
	if l.last > l.p.shown {
		l.ahead++
	}
	if l.first <= 1 {
		return true
	}
	l.trimmed++
	gone := l.b.made[l.first-2]
	if age := l.p.time.Sub(gone.state.At.Time()); age < scriptRetention {
		return l.bad("commit %d was dropped from the log after %v", l.first-1, age)
	}
	if gone.at != 0 && gone.at > l.s.trimmedTo() {
		return l.bad("commit %d is not in the log, which was trimmed up to %d", l.first-1, l.s.trimmedTo())
	}
	return true
}

func (l *looker) entry(n int, e *chainedEntry) bool {
	c := l.b.made[n-1]
	if c.at != 0 && c.at != e.At {
		return l.bad("commit %d is at %d in the log, and was given out at %d", n, e.At, c.at)
	}
	if n > l.first && e.At <= l.at[l.last] {
		return l.bad("position %d after %d", e.At, l.at[l.last])
	}
	if want, ok := l.at[c.before]; ok && e.previous != want || c.before == 0 && e.previous != 0 {
		return l.bad("commit %d follows the entry at %d, want %d", n, e.previous, want)
	}
	want := l.b.entry(n, &e.Entry)
	switch {
	case e.Entry == store.Anonymize(want) && n <= l.b.mayBeErased[c.user]:
		l.redacted++
	case n <= l.p.erased[c.user]:
		return l.bad("the log has %+v, which was erased", e.Entry)
	case e.Entry != want:
		return l.bad("the log has %+v, made was %+v", e.Entry, want)
	}
	return true
}

// records: each is the last commit of its user.
func (l *looker) records() bool {
	for i, it := range l.items {
		if it == nil {
			it = &item{user: crashUser(i)}
			l.items[i] = it
		}
		n := 0
		if it.State.Revision != 0 {
			n = l.b.placeOf(i, it.State.Revision)
		}
		if l.newest[i] == 0 && n < l.first {
			l.newest[i] = n // its entry was dropped
		}
		if n != l.newest[i] {
			return l.bad("%s: the log ends with commit %d, the record is of %d, revision %d", it.user.ID, l.newest[i], n, it.State.Revision)
		}
		if n == 0 {
			continue
		}
		if c := l.b.made[n-1]; !reflect.DeepEqual(c.state, it.State) || c.shown != it.Shown {
			return l.bad("%s has the record %+v, made was %+v", it.user.ID, it.State, c.state)
		}
		if at, ok := l.at[n]; ok && at != it.at {
			return l.bad("%s: the record is at %d, its entry at %d", it.user.ID, it.at, at)
		}
	}
	return true
}

// index: there is one entry for each record that is armed, no later than next,
// and no other.
func (l *looker) index() bool {
	armed := make(map[store.User][]presence.Instant)
	err := l.s.scan([]byte{expiryPrefix}, upperBound([]byte{expiryPrefix}), func(key, _ []byte) (bool, error) {
		at, u, ok := cutExpiryKey(key)
		if !ok || indexOf(u) < 0 {
			return false, errValue
		}
		armed[u] = append(armed[u], at)
		return true, nil
	})
	if err != nil {
		return l.bad("the expiry index: %v", err)
	}
	for _, it := range l.items {
		var want []presence.Instant
		if !it.armed.IsZero() {
			want = append(want, it.armed)
		}
		if fmt.Sprint(armed[it.user]) != fmt.Sprint(want) {
			return l.bad("%s: the expiry index has %v, the record says %v", it.user.ID, armed[it.user], want)
		}
		if !it.Next.IsZero() && (it.armed.IsZero() || it.armed > it.Next) {
			return l.bad("%s: armed at %d, but next is %d", it.user.ID, it.armed, it.Next)
		}
	}
	return l.documentEnds()
}

// documentEnds: there is one entry for each document that ends.
func (l *looker) documentEnds() bool {
	want := make(map[string]bool)
	err := l.s.scan([]byte{documentPrefix}, upperBound([]byte{documentPrefix}), func(key, value []byte) (bool, error) {
		head, _, err := decodeDoc(value)
		if err == nil && !head.until.IsZero() {
			want[string(appendDocExpiryKey(nil, head.until, key))] = true
		}
		return true, err
	})
	if err != nil {
		return l.bad("the documents: %v", err)
	}
	ends := 0
	err = l.s.scan([]byte{docExpiryPrefix}, upperBound([]byte{docExpiryPrefix}), func(key, _ []byte) (bool, error) {
		ends++
		return want[string(key)], nil
	})
	if err != nil || ends != len(want) {
		return l.bad("%d documents have an end, the index of ends has %d or others: %v", len(want), ends, err)
	}
	return true
}

// goOn goes on with the store as if nothing had happened. The faults it finds
// are those of a new book.
func (l *looker) goOn() {
	reading := l.b.sequel(l.last, l.newest, l.p.tried)
	write, found := reading.documents(l.s)
	for _, fault := range reading.faults {
		l.bad("%s", fault)
	}
	if !found {
		return
	}
	if write < l.p.wrote {
		l.bad("acknowledged changes are lost: the documents are of write %d, and %d was answered", write, l.p.wrote)
		return
	}
	b := l.b.sequel(l.last, l.newest, write)
	l.b.mu.Lock()
	b.seen, b.seenAt = l.p.seen, l.p.seenAt
	cursors := l.b.cursors[:l.p.cursors]
	l.b.mu.Unlock()
	l.cursors += len(cursors)
	b.resume(l.s, cursors)
	ended, err := l.goOnAs(b)
	l.ends += ended
	if err != nil && l.ctx.Err() == nil {
		l.bad("going on: %v", err)
	}
	for _, fault := range b.faults {
		l.bad("going on: %s", fault)
	}
}

// goOnAs lets ends come, makes an update of every user and a write, and reads
// all of the log after what the reader took.
func (l *looker) goOnAs(b *book) (ended int, err error) {
	if err := endAll(l.ctx, b, l.s); err != nil {
		return 0, err
	}
	ended = b.ends
	x := &script{b: b, s: l.s, rng: rand.New(rand.NewPCG(l.p.seed, 4)), made: 1 << 20}
	for i := range crashUsers {
		if err := b.update(l.s, i, x.by(), x.change()); err != nil {
			return ended, err
		}
	}
	if err := errors.Join(x.write(), b.clash(l.s, "always")); err != nil {
		return ended, err
	}
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	err = b.read(ctx, l.s, func(entries []store.Entry) error {
		b.take(l.s, entries)
		b.took(entries)
		if b.seen == len(b.made) {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) {
		return ended, fmt.Errorf("the reader did not get everything: %w", err)
	}
	return ended, nil
}

// endAll runs Due until everything that ends by itself has.
func endAll(ctx context.Context, b *book, s *Store) error {
	left := func() (users []string) {
		for i := range crashUsers {
			if it, _, err := s.lookup(context.Background(), crashUser(i)); err == nil && it != nil && !it.Next.IsZero() {
				users = append(users, string(it.user.ID))
			}
		}
		return users
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for range 2 * crashUsers { // each has two ends at most
		if len(left()) == 0 {
			return nil
		}
		err := s.Due(ctx, func(us []store.User) error {
			for _, u := range us {
				_ = b.tick(s, indexOf(u))
			}
			return errStop
		})
		if !errors.Is(err, errStop) {
			return fmt.Errorf("the ends of %s do not come: %w", strings.Join(left(), ", "), err)
		}
	}
	return fmt.Errorf("the ends of %s come again and again", strings.Join(left(), ", "))
}

// TestCrashWhileOpening: a crash before any operation of a start, with many
// chances for what was not synced, leaves what the next start opens, with
// everything in it.
func TestCrashWhileOpening(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := small()
	o.FS = mem
	s := mustOpen(t, "data", o)
	j := newJournal()
	j.load(s, 4, 60, 1)
	before := j.known()
	left := mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, s)
	crashes := 0
	for round := range uint64(openings) {
		for _, begin := range []*vfs.MemFS{left, mem} { // after a crash, and after a stop
			rng := rand.New(rand.NewPCG(round, 1))
			var images []*image
			var fs *crashFS
			fs = newCrashFS(begin.CrashClone(vfs.CrashCloneCfg{}), func(op diskOp) {
				for _, kind := range fs.kindsAt(op) {
					images = append(images, &image{op: op.n, kind: kind, fs: fs.image(op, kind, rng)})
				}
			})
			o := small()
			o.FS = fs
			mustClose(t, mustOpen(t, "data", o))
			for _, p := range images {
				o := small()
				o.FS = p.fs
				s, err := Open("data", o)
				if err != nil {
					t.Errorf("%v of a start: it does not open: %v", p, err)
					continue
				}
				if lost := j.check(t, s, before, p.String()); lost > 0 {
					t.Errorf("%v of a start: %d acknowledged changes are lost", p, lost)
				}
				mustClose(t, s)
				crashes++
			}
		}
	}
	if crashes < 200*openings {
		t.Errorf("only %d crashes", crashes)
	}
	t.Logf("%d crashes", crashes)
}

// TestCursorIsNoNewer: a cursor covers no change that the records given with it
// do not show.
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
	defer func() { <-done }() // whose errors would come after the end
	for looks := 0; ; looks++ {
		records, cursor, err := s.Read(context.Background(), []store.User{crashUser(0)})
		if err != nil || len(records) != 1 {
			t.Fatalf("Read: %+v, %v", records, err)
		}
		if at, err := cursor.Position(s.Epoch()); err != nil || at > records[0].At {
			t.Fatalf("a cursor of %d came with a record at %d (%v)", at, records[0].At, err)
		}
		select {
		case <-done:
			if looks == 0 {
				t.Error("nobody looked")
			}
			return
		default:
		}
	}
}
