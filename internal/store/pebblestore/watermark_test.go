package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/store"
)

// TestWatermarkCrash: a crash at any disk operation, while the store opens, writes,
// flushes, advances its watermark and closes, leaves a directory that opens with
// everything acknowledged and that Verify accepts. The watermark never exceeds the
// database.
func TestWatermarkCrash(t *testing.T) {
	for _, durability := range []Durability{Fsync, OS} {
		t.Run(durability.String(), func(t *testing.T) {
			every := 6 / leveltest.Count(t, "crashes in six operations of a store with a watermark", 2, 2, 6)
			points := watermarkCrashes(t, durability, every)
			for _, p := range points {
				checkWatermarkCrash(t, p, durability)
			}
			if len(points) < 300/every {
				t.Errorf("only %d crashes", len(points))
			}
			t.Logf("%d crashes", len(points))
		})
	}
}

// watermarkCrashes runs the script and takes crash images.
func watermarkCrashes(t *testing.T, durability Durability, every int) []crashPoint {
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
		o := smallOptions()
		o.FS, o.Durability = fs, durability
		s := mustOpen(t, "data", o)
		for i := range 30 {
			if err := j.updateUser(s, i%crashUsers, steps); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				s.advanceWatermark()
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

func checkWatermarkCrash(t *testing.T, p crashPoint, durability Durability) {
	t.Helper()
	when := fmt.Sprintf("operation %d, %d%% of the unsynced kept", p.op, p.keep)
	ctx := context.Background()
	if _, err := Verify(ctx, "data", VerifyOptions{FS: p.fs}); err != nil && p.known != (known{}) {
		t.Errorf("%s: Verify: %v", when, err)
	}
	o := smallOptions()
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

// TestWatermarkRelaxedUntilOpen: after a crash with durability OS, whose log may end
// anywhere, a start with either durability that is interrupted at any operation leaves
// a directory that opens.
func TestWatermarkRelaxedUntilOpen(t *testing.T) {
	mem := vfs.NewCrashableMem()
	o := goldenOptions(mem, goldenNow)
	o.Durability, o.MemTableBytes = OS, 4<<20
	s := mustOpen(t, "data", o)
	s.watermark.mu.Lock() // maintenance advances it each second, and it must stay before the damage
	defer s.watermark.mu.Unlock()
	for i := range 600 {
		goldenUpdate(t, s, i%12, i/12)
	}
	files := contents(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}))
	name, end := lastLog(t, writeFiles(t, files))
	if end < 4*32<<10 {
		t.Fatalf("INVALID: the log has %d bytes, want several blocks", end)
	}
	files[name] = flipped(files[name], end/2) // a block that never reached the disk
	step := 4 / leveltest.Count(t, "interruptions in four operations of a start", 1, 1, 4)
	for _, durability := range []Durability{Fsync, OS} {
		cuts := 0
		for ; ; cuts++ {
			left := interruptStart(t, files, durability, cuts*step)
			if left == nil {
				break
			}
			if _, err := openAndList(t, left); err != nil {
				t.Errorf("a start with %s, interrupted after %d operations: %v", durability, cuts*step, err)
			}
		}
		if cuts < 5 {
			t.Errorf("INVALID: only %d starts were interrupted", cuts)
		}
	}
}

// interruptStart is the directory after a start has done some operations on files, or
// nil if the start has fewer.
func interruptStart(t *testing.T, files map[string]string, durability Durability, operations int) map[string]string {
	t.Helper()
	disk := writeFiles(t, files)
	var mu sync.Mutex // guards done and left
	var left map[string]string
	done := 0
	o := goldenOptions(errorfs.Wrap(disk, errorfs.InjectorFunc(func(at errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if at.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			if done++; done == operations+1 {
				left = contents(t, disk)
			}
		}
		return nil
	})), goldenNow)
	o.Durability = durability
	s := mustOpen(t, "data", o)
	mu.Lock()
	found := left
	mu.Unlock()
	mustClose(t, s)
	return found
}

// TestWatermarkWindow states what damage can still pass for a torn write: only what was
// written before an unclean end and after the watermark was last advanced, and only as
// a suffix. Everything before that is refused, although Pebble alone would open without
// the last 32 KiB of the log.
func TestWatermarkWindow(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
	s.watermark.mu.Lock() // maintenance advances it each second
	unlock := sync.OnceFunc(s.watermark.mu.Unlock)
	defer unlock()
	const updates = 54
	prefixes := map[string]int{goldenListing(t, s): 0}
	for i := range updates {
		goldenUpdate(t, s, i%12, i/12)
		prefixes[goldenListing(t, s)] = i + 1
	}
	sp := &specimen{name: "killed at once", want: goldenListing(t, s)}
	all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
	atOnce := contents(t, mem.CrashClone(all))
	unlock()
	s.advanceWatermark()
	later := contents(t, mem.CrashClone(all))
	name, end := lastLog(t, writeFiles(t, atOnce))
	if end == 0 || end > 32<<10 {
		t.Fatalf("INVALID: the log has %d bytes, want less than a block", end)
	}

	step := 131 / leveltest.Count(t, "flips in 131 bytes of the log", 1, 1, 18)
	lost, flips := 0, 0
	for at := 0; at < end; at += step {
		flips++
		files := maps.Clone(atOnce)
		files[name] = flipped(files[name], at)
		got, err := openAndList(t, files)
		if err != nil {
			sp.checkError(t, err, name)
		} else if _, prefix := prefixes[got]; !prefix {
			t.Fatalf("a flip at %d of %d loses more than the last updates", at, end)
		} else if got != sp.want {
			lost++
		}
		files = maps.Clone(later)
		files[name] = flipped(files[name], at)
		if got, err := openAndList(t, files); err == nil && got != sp.want {
			t.Fatalf("a flip at %d of %d gives a wrong answer though the watermark was advanced", at, end)
		}
	}
	if lost == 0 {
		t.Error("INVALID: no flip passes for a torn write before the watermark is advanced")
	}
	t.Logf("%d of %d flips pass for a torn write before the watermark is advanced, none after", lost, flips)
}

func flipped(text string, at int) string {
	data := []byte(text)
	data[at] ^= 0x10
	return string(data)
}

func openAndList(t *testing.T, files map[string]string) (string, error) {
	t.Helper()
	s, err := Open("data", goldenOptions(writeFiles(t, files), goldenNow))
	if err != nil {
		return "", err
	}
	defer func() { _ = s.Close() }()
	return listing(s)
}

// TestWatermarkRefusesAgain: every start refuses a truncated database, even after an
// earlier start has replayed the rest.
func TestWatermarkRefusesAgain(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
	for i := range 20 {
		goldenUpdate(t, s, i%12, i/12)
	}
	s.advanceWatermark()
	files := contents(t, mem.CrashClone(vfs.CrashCloneCfg{}))
	name, end := lastLog(t, writeFiles(t, files))
	files[name] = files[name][:end-100]
	fs := writeFiles(t, files)
	for start := range 3 {
		if s, err := Open("data", goldenOptions(fs, goldenNow)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("start %d: %v, %v, want ErrDamaged", start, s, err)
		}
	}
}

// TestWatermarkNeedsOne: a directory opens with either copy of the watermark and is
// refused without both.
func TestWatermarkNeedsOne(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
	goldenContent(t, s)
	want := goldenListing(t, s)
	mustClose(t, s)
	whole := contents(t, mem)
	for corrupted, wants := range map[string]bool{"first": true, "second": true, "both": false} {
		files := maps.Clone(whole)
		if corrupted != "second" {
			files[watermarkName] = flipped(files[watermarkName], 100)
		}
		if corrupted != "first" {
			files[watermarkName] = flipped(files[watermarkName], watermarkSlot+100)
		}
		got, err := openAndList(t, files)
		if opened := err == nil && got == want; opened != wants {
			t.Errorf("%s corrupted: opened %t, %v", corrupted, opened, err)
		}
	}
}

// TestWatermarkEncoding: a watermark is read as written, and a changed byte is
// detected.
func TestWatermarkEncoding(t *testing.T) {
	st := watermarkState{writes: 1 << 60, clean: true, relaxed: true, position: 1 << 62}
	slot := st.encode()
	got, ok := decodeWatermark(slot)
	if !ok || got != st || len(slot) != watermarkSlot {
		t.Errorf("%d bytes: %t, %+v", len(slot), ok, got)
	}
	for at := range slot {
		if _, ok := decodeWatermark([]byte(flipped(string(slot), at))); ok {
			t.Fatalf("a flip at %d is not detected", at)
		}
	}
}

// TestWatermarkInterruptedStarts: repeated starts, each interrupted when its MANIFEST is on the
// disk and not yet in place, leave a directory that opens.
func TestWatermarkInterruptedStarts(t *testing.T) {
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
		if records, _, err := s.Read(t.Context(), []store.User{crashUser(0)}, store.Freshness{}); err != nil || len(records) != 1 {
			t.Errorf("start %d: %d records, %v", start, len(records), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if cut == nil {
			t.Fatal("INVALID: the start put no MANIFEST in place")
		}
		disk = cut
	}
}
