package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"porchlight.dev/porchlight/internal/store"
)

// TestFenceCrash: at any operation on the disk, while the store opens, writes,
// flushes, moves its fence and closes, a crash leaves a directory that opens with
// everything acknowledged, and that Verify finds nothing in. The fence never says
// more than there is.
func TestFenceCrash(t *testing.T) {
	for _, durability := range []Durability{Fsync, OS} {
		t.Run(durability.String(), func(t *testing.T) {
			every := 3
			if soaking() {
				every = 1
			}
			points := fenceCrashes(t, durability, every)
			for _, p := range points {
				checkFenceCrash(t, p, durability)
			}
			if len(points) < 300/every {
				t.Errorf("only %d crashes", len(points))
			}
			t.Logf("%d crashes", len(points))
		})
	}
}

// fenceCrashes runs the script and takes what a crash would leave.
func fenceCrashes(t *testing.T, durability Durability, every int) []crashPoint {
	t.Helper()
	j := newJournal()
	mem := vfs.NewCrashableMem()
	rng := rand.New(rand.NewPCG(11, uint64(durability)))
	var mu sync.Mutex // guards points, op and rng
	var points []crashPoint
	op := 0
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(o errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op++; o.Kind.ReadOrWrite() != errorfs.OpIsWrite || op%every != 0 {
			return nil
		}
		p := crashPoint{op: op, keep: []int{0, 50, 100}[rng.IntN(3)], known: j.known()}
		p.fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.keep, RNG: rng})
		points = append(points, p)
		return nil
	}))
	steps := rand.New(rand.NewPCG(3, 3))
	for range 3 {
		o := small()
		o.FS, o.Durability = fs, durability
		s := mustOpen(t, "data", o)
		for i := range 30 {
			if err := j.step(s, i%crashUsers, steps); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				s.moveFence()
			}
			if i%10 == 9 {
				if err := s.db.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		mustClose(t, s)
	}
	return points
}

func checkFenceCrash(t *testing.T, p crashPoint, durability Durability) {
	t.Helper()
	when := fmt.Sprintf("operation %d, %d%% of the unsynced kept", p.op, p.keep)
	ctx := context.Background()
	if _, err := Verify(ctx, "data", VerifyOptions{FS: p.fs}); err != nil && p.known != (known{}) {
		t.Errorf("%s: Verify: %v", when, err)
	}
	o := small()
	o.FS, o.Durability = p.fs, durability
	s, err := Open("data", o)
	if errors.Is(err, ErrUnfinished) && p.known == (known{}) {
		return
	}
	if err != nil {
		t.Errorf("%s: %v", when, err)
		return
	}
	defer mustClose(t, s)
	for i, revision := range p.acknowledged {
		it, err := s.readItem(crashUser(i))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if durability == Fsync && revision > 0 && (it == nil || it.State.Revision < revision) {
			t.Errorf("%s: an acknowledged change of %s is lost", when, crashUser(i).ID)
		}
	}
}

// TestFenceWindow states what damage can still pass for a torn write: only what
// was written in the last group before an unclean end, and only until the fence
// has moved. Everything before it is refused, though Pebble alone would open
// without the last 32 KiB of the log.
func TestFenceWindow(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
	const updates = 60
	var before string
	for i := range updates {
		before = goldenListing(t, s)
		goldenUpdate(t, s, i%12, i/12)
	}
	sp := &specimen{name: "killed at once", want: goldenListing(t, s)}
	all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
	atOnce := contents(t, mem.CrashClone(all))
	s.moveFence()
	later := contents(t, mem.CrashClone(all))
	name := logName(slices.Max(s.fence.logs.take()))
	end := lastChunk([]byte(atOnce[name]), 0, slices.Max(s.fence.logs.take()))
	if end == 0 || end > chunkBlock {
		t.Fatalf("the log has %d bytes: not within one block", end)
	}

	// Everywhere in the last updates, and here and there before them.
	const closely = 450 // the last update takes 385
	step := 331
	if soaking() {
		step = 1
	}
	lost, flips := 0, 0
	for at := 0; at < end; at += step {
		if at+step > end-closely {
			step = 1
		}
		flips++
		files := maps.Clone(atOnce)
		files[name] = flipped(files[name], at)
		got, err := openAndList(t, files)
		switch {
		case err != nil:
			sp.explained(t, err, name)
		case got == before:
			lost++
		case got != sp.want:
			t.Fatalf("a flip at %d of %d loses more than the last update", at, end)
		}
		files = maps.Clone(later)
		files[name] = flipped(files[name], at)
		if got, err := openAndList(t, files); err == nil && got != sp.want {
			t.Fatalf("a flip at %d of %d gives a wrong answer though the fence has moved", at, end)
		}
	}
	if lost == 0 || lost > 2*end/updates {
		t.Errorf("%d of %d flips pass for a torn write, want those in the last of %d updates", lost, flips, updates)
	}
	t.Logf("%d of %d flips pass for a torn write before the fence has moved, none after", lost, flips)
}

func flipped(text string, at int) string {
	data := []byte(text)
	data[at] ^= 0x10
	return string(data)
}

func openAndList(t *testing.T, files map[string]string) (string, error) {
	t.Helper()
	s, err := Open("data", goldenOptions(onDisk(t, files), goldenNow))
	if err != nil {
		return "", err
	}
	defer func() { _ = s.Close() }()
	return listing(s)
}

// TestFenceNeedsOne: a directory opens with either of the fence's copies, and
// with neither it is refused.
func TestFenceNeedsOne(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
	goldenContent(t, s)
	want := goldenListing(t, s)
	mustClose(t, s)
	whole := contents(t, mem)
	for spoilt, wants := range map[string]bool{"first": true, "second": true, "both": false} {
		files := maps.Clone(whole)
		if spoilt != "second" {
			files[fenceName] = flipped(files[fenceName], 100)
		}
		if spoilt != "first" {
			files[fenceName] = flipped(files[fenceName], fenceSlot+100)
		}
		got, err := openAndList(t, files)
		if opened := err == nil && got == want; opened != wants {
			t.Errorf("%s spoilt: opened %t, %v", spoilt, opened, err)
		}
	}
}

// TestFenceEncoding: what is written is read, however much there is of it.
func TestFenceEncoding(t *testing.T) {
	st := fenceState{turn: 1 << 60, clean: true, relaxed: true, seq: 1 << 62}
	for i := range uint64(keptManifests) {
		st.manifests = append(st.manifests, manifestMark{1<<50 + i, 1 << 40, 0xffffffff})
	}
	for i := range uint64(fenceFiles) {
		st.logs = append(st.logs, 1<<60+i)
	}
	slot := st.encode()
	got, ok := decodeFence(slot)
	if !ok || fmt.Sprint(got) != fmt.Sprint(st) || len(slot) != fenceSlot {
		t.Errorf("%d bytes: %t, %+v", len(slot), ok, got)
	}
	for at := range slot {
		if _, ok := decodeFence([]byte(flipped(string(slot), at))); ok {
			t.Fatalf("a flip at %d is not seen", at)
		}
	}
}

// TestFenceLogs: the fence states a write-ahead log when its name is durable, not
// before, and no longer when it is gone.
func TestFenceLogs(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll("data", 0o755); err != nil {
		t.Fatal(err)
	}
	f := newFence(mem, "data")
	if err := f.begin(fenceState{logs: []uint64{4}}, false); err != nil {
		t.Fatal(err)
	}
	fs := &fenceFS{FS: mem, fence: f}
	states := func(when string, seq store.Position, want ...uint64) {
		t.Helper()
		if err := f.advance(seq); err != nil {
			t.Fatal(err)
		}
		if st, err := readFence(mem, "data"); err != nil || !slices.Equal(st.logs, want) || st.seq != seq {
			t.Errorf("%s: %+v, %v, want logs %v", when, st, err, want)
		}
	}
	log, err := fs.Create("data/000007.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	states("made", 1, 4)
	if err := errors.Join(log.Close(), syncDir(fs, "data")); err != nil {
		t.Fatal(err)
	}
	states("in place", 1, 4, 7)
	log, err = fs.ReuseForWrite("data/000007.log", "data/000009.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	states("used again", 2, 4)
	if err := errors.Join(log.Close(), syncDir(fs, "data")); err != nil {
		t.Fatal(err)
	}
	states("in place again", 2, 4, 9)
	if err := fs.Remove("data/000009.log"); err != nil {
		t.Fatal(err)
	}
	states("removed", 3, 4)
	if err := f.end(); err != nil {
		t.Fatal(err)
	}
}

// TestFenceCutStarts: starts that are cut off one after another, each when its
// MANIFEST is on the disk and not yet in place, leave a directory that opens.
func TestFenceCutStarts(t *testing.T) {
	disk := vfs.NewCrashableMem()
	s := mustOpen(t, "data", Options{FS: disk})
	mustUpdate(t, s, crashUser(0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for start := range 4 {
		var cut *vfs.MemFS
		s := mustOpen(t, "data", Options{FS: errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && strings.HasPrefix(disk.PathBase(op.Path), "marker.manifest") && cut == nil {
				cut = disk.CrashClone(vfs.CrashCloneCfg{})
			}
			return nil
		}))})
		if records, _, err := s.Read(t.Context(), []store.User{crashUser(0)}); err != nil || len(records) != 1 {
			t.Errorf("start %d: %d records, %v", start, len(records), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if cut == nil {
			t.Fatal("the start put no MANIFEST in place: the test shows nothing")
		}
		disk = cut
	}
}
