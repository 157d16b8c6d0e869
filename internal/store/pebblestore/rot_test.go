package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"porchlight.dev/porchlight/internal/leveltest"
)

// A specimen is a data directory and its expected content.
type specimen struct {
	name  string
	files map[string]string
	want  string
	// data is how many bytes of each file carry data. A log or MANIFEST that is no
	// longer in use has none; a log in use has those before its end. The options file
	// of Pebble is not read back, the watermark is stored twice, and an empty file
	// carries nothing.
	data map[string]int
}

// specimens are a directory that was closed and one that was killed after everything
// was synced, with tables and logs of several blocks.
func specimens(t *testing.T) []*specimen {
	t.Helper()
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
	goldenContent(t, s)
	fillSpecimen(t, s, 5, 20)
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, "data", goldenOptions(mem, goldenNow))
	fillSpecimen(t, s, 25, 15)
	now, logs := awaitLogs(t, s, mem)
	killed := newSpecimen(t, "killed", now, logs, goldenListing(t, s))
	want := goldenListing(t, s)
	mustClose(t, s)
	return []*specimen{newSpecimen(t, "clean", mem, 0, want), killed}
}

// awaitLogs writes until two logs are in use: the second has data, and the first is not
// yet flushed. It returns the directory at that moment.
func awaitLogs(t *testing.T, s *Store, mem *vfs.MemFS) (now *vfs.MemFS, logs int) {
	t.Helper()
	used := func() int {
		m := s.db.Metrics()
		return int(min(m.WAL.Files, m.MemTable.Count))
	}
	for i := range 10_000 {
		goldenUpdate(t, s, i%12, 40+i/12)
		n := used()
		if n < 2 {
			continue
		}
		s.advanceWatermark()
		now := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		if _, end := lastLog(t, now); n == used() && end > 0 {
			return now, n
		}
	}
	t.Fatal("INVALID: two logs were never in use")
	return nil, 0
}

// scanLogs lists the write-ahead logs of a directory and where the records of each end.
func scanLogs(t *testing.T, fs vfs.FS) (names []string, ends map[string]int) {
	t.Helper()
	logs, err := wal.Scan(wal.Dir{FS: fs, Dirname: "data"})
	if err != nil {
		t.Fatal(err)
	}
	ends = make(map[string]int)
	for _, l := range logs {
		r := l.OpenForRead()
		for {
			batch, at, err := r.NextRecord()
			if err == nil {
				_, err = io.Copy(io.Discard, batch)
			}
			if err != nil {
				name := fs.PathBase(at.PhysicalFile)
				names, ends[name] = append(names, name), int(at.Physical)
				break
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return names, ends
}

// lastLog is the newest write-ahead log, and where its records end.
func lastLog(t *testing.T, fs vfs.FS) (name string, end int) {
	t.Helper()
	names, ends := scanLogs(t, fs)
	if len(names) == 0 {
		t.Fatal("INVALID: no log")
	}
	name = names[len(names)-1]
	return name, ends[name]
}

// newSpecimen describes a directory whose last few logs are in use.
func newSpecimen(t *testing.T, name string, mem *vfs.MemFS, logs int, want string) *specimen {
	t.Helper()
	sp := &specimen{name: name, files: contents(t, mem), want: want, data: make(map[string]int)}
	v := &verifier{ctx: context.Background(), s: newStore("data", Options{FS: writeFiles(t, sp.files)}.withDefaults())}
	if err := v.run(); err != nil {
		t.Fatal(err)
	}
	for _, table := range v.tables {
		sp.data[table] = len(sp.files[table])
	}
	desc, err := pebble.Peek("data", mem)
	if err != nil {
		t.Fatal(err)
	}
	manifest := mem.PathBase(desc.ManifestFilename)
	sp.data[manifest] = len(sp.files[manifest])
	names, ends := scanLogs(t, mem)
	for _, n := range names[len(names)-logs:] {
		sp.data[n] = ends[n]
	}
	for file, n := range sp.data {
		if n == 0 {
			t.Errorf("%s: %s is in use but has no data", name, file)
		}
	}
	return sp
}

// carriesData reports whether a change touches bytes that carry data.
func (sp *specimen) carriesData(name string, changed []byte) bool {
	was := sp.files[name]
	for i := range min(sp.data[name], len(was)) {
		if i >= len(changed) || changed[i] != was[i] {
			return true
		}
	}
	return false
}

func fillSpecimen(t *testing.T, s *Store, round, rounds int) {
	t.Helper()
	for r := range rounds {
		for i := range 12 {
			goldenUpdate(t, s, i, round+r)
		}
		if r%4 == 0 {
			goldenDocs(t, s, round+r)
		}
	}
}

// writeFiles writes files to a data directory in memory.
func writeFiles(t *testing.T, files map[string]string) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewMem()
	if err := mem.MkdirAll("data", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		f, err := mem.Create("data/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(data)); err != nil { // a copy: Write overwrites its argument under the race detector
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return mem
}

// Outcomes of opening and reading a damaged directory.
const (
	refusedAtOpen = "refused at open"
	refusedAtRead = "refused at read"
	rightData     = "right data"
	silentlyWrong = "silently wrong"
)

// openDamaged opens the files of a damaged directory and reads everything.
func (sp *specimen) openDamaged(t *testing.T, files map[string]string, changed string) (outcome string) {
	t.Helper()
	s, err := Open("data", goldenOptions(writeFiles(t, files), goldenNow))
	if err != nil {
		sp.checkError(t, err, changed)
		return refusedAtOpen
	}
	defer func() { _ = s.Close() }()
	got, err := listing(s)
	if err != nil {
		sp.checkError(t, err, changed)
		return refusedAtRead
	}
	if got != sp.want {
		return silentlyWrong
	}
	return rightData
}

// checkError checks that an error says what to do and names the file, or the directory
// where Pebble names none.
func (sp *specimen) checkError(t *testing.T, err error, changed string) {
	t.Helper()
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "restore a backup into a new directory") {
		t.Errorf("%s: %s changed: the error is not ErrDamaged or does not give a remedy: %v", sp.name, changed, err)
	}
	if !namesFile(err.Error(), changed) && (strings.HasSuffix(changed, ".sst") || !strings.Contains(err.Error(), "data directory is damaged: data: ")) {
		t.Errorf("%s: %s changed: the error does not name the file: %v", sp.name, changed, err)
	}
}

// namesFile reports whether a text contains the name of a file, or of its kind of
// marker.
func namesFile(text, file string) bool {
	if kind, ok := strings.CutPrefix(file, "marker."); ok {
		file = "marker." + strings.SplitN(kind, ".", 2)[0]
	}
	return strings.Contains(text, strings.TrimSuffix(file, ".sst"))
}

// isReplayed reports whether a file is a log or a MANIFEST, which can lose its end
// without a checksum mismatch.
func isReplayed(file string) bool { return isLog(file) || isManifest(file) }

func isManifest(file string) bool { return strings.HasPrefix(file, "MANIFEST-") }

// A verdicts counts outcomes by file.
type verdicts map[string]map[string]int

func (ta verdicts) add(outcome, file string) {
	if ta[outcome] == nil {
		ta[outcome] = make(map[string]int)
	}
	ta[outcome][file]++
}

// refused reports whether damage to a kind of file was refused by a start or a read.
func (ta verdicts) refused(suffix string) bool {
	for _, outcome := range []string{refusedAtOpen, refusedAtRead} {
		for name := range ta[outcome] {
			if strings.HasSuffix(name, suffix) {
				return true
			}
		}
	}
	return false
}

func (ta verdicts) total(outcome string) (n int) {
	for _, k := range ta[outcome] {
		n += k
	}
	return n
}

func (ta verdicts) log(t *testing.T, what string) {
	t.Helper()
	for _, outcome := range slices.Sorted(maps.Keys(ta)) {
		t.Logf("%s: %s %d %v", what, outcome, ta.total(outcome), ta[outcome])
	}
}

// tryDamage damages one file in one way and counts the outcome. Damage never gives a
// wrong answer, with one exception that Verify must find: in a store that was killed, a
// log or the end of the MANIFEST may be missing. If the store opens with the right
// data, Verify must find the damage, or the damaged bytes carry no data.
func (sp *specimen) tryDamage(t *testing.T, ta verdicts, name, how string, damage func(data []byte) (changed []byte, keep bool)) {
	t.Helper()
	files := maps.Clone(sp.files)
	changed, keep := damage([]byte(files[name]))
	if keep && string(changed) == files[name] {
		return
	}
	if files[name] = string(changed); !keep {
		delete(files, name)
	}
	outcome := sp.openDamaged(t, files, name)
	if outcome == silentlyWrong && (sp.name != "killed" || !isReplayed(name)) {
		t.Errorf("%s: %s of %s gives a wrong answer without an error", sp.name, how, name)
	}
	ta.add(outcome, name)
	_, err := Verify(context.Background(), "data", VerifyOptions{FS: writeFiles(t, files)})
	switch {
	case err != nil:
		sp.checkError(t, err, name)
		ta.add("verify finds", name)
	case outcome != rightData:
		t.Errorf("%s: %s of %s is %s, but Verify does not find it", sp.name, how, name, outcome)
	default:
		ta.add("verify passes", name)
		if sp.carriesData(name, changed) && !isManifest(name) { // its last edit may change nothing
			t.Errorf("%s: %s of %s is not found by Verify", sp.name, how, name)
		}
	}
}

// TestRotBits flips single bits.
func TestRotBits(t *testing.T) {
	flips := leveltest.Count(t, "bits of a store that flip", 100, 300, 5000) / leastStep
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	done := 0
	for _, sp := range specimens(t) {
		ta := make(verdicts)
		for range flips / 2 {
			name, at := sp.randomByte(rng)
			bit := byte(1) << rng.IntN(8)
			sp.tryDamage(t, ta, name, fmt.Sprintf("seed %d: bit %08b of byte %d", seed, bit, at), func(data []byte) ([]byte, bool) {
				data[at] ^= bit
				return data, true
			})
			done++
		}
		ta.log(t, fmt.Sprintf("seed %d: %s", seed, sp.name))
		if sp.name == "killed" && !ta.refused(".log") || !ta.refused(".sst") {
			t.Errorf("INVALID: %s: no flip was refused in logs or tables: %v", sp.name, ta)
		}
	}
	t.Logf("%d flips", done)
}

// randomByte picks a byte: one time in four any byte of any file, else a byte that
// carries data, with all files equally likely.
func (sp *specimen) randomByte(rng *rand.Rand) (name string, at int) {
	size := func(name string) int { return len(sp.files[name]) }
	if rng.IntN(4) > 0 {
		size = func(name string) int { return sp.data[name] }
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(sp.files)) {
		if size(name) > 0 {
			names = append(names, name)
		}
	}
	name = names[rng.IntN(len(names))]
	return name, rng.IntN(size(name))
}

const page = 4096

// TestRotPages truncates every file at every page and near its end, zeroes each
// page, swaps pages, and removes each file.
func TestRotPages(t *testing.T) {
	step := faultStep(t)
	pages := leveltest.Count(t, "damaged pages without data of a file", 2, 2, 1<<20)
	for _, sp := range specimens(t) {
		truncated, zeroed, swapped, removed := make(verdicts), make(verdicts), make(verdicts), make(verdicts)
		for _, name := range slices.Sorted(maps.Keys(sp.files)) {
			size := len(sp.files[name])
			if sp.data[name] == 0 {
				size = min(size, pages*page)
			}
			for _, at := range truncationPoints(size, page*step) {
				sp.tryDamage(t, truncated, name, fmt.Sprintf("truncation at %d", at), func(data []byte) ([]byte, bool) { return data[:at], true })
			}
			for at := 0; at < size; at += page * step {
				sp.tryDamage(t, zeroed, name, fmt.Sprintf("zeroing at %d", at), func(data []byte) ([]byte, bool) {
					clear(data[at:min(at+page, len(data))])
					return data, true
				})
				sp.tryDamage(t, swapped, name, fmt.Sprintf("swapping at %d", at), func(data []byte) ([]byte, bool) { return swapPages(data, at), true })
			}
			sp.tryDamage(t, removed, name, "removal", func([]byte) ([]byte, bool) { return nil, false })
		}
		truncated.log(t, sp.name+": truncated")
		zeroed.log(t, sp.name+": zeroed")
		swapped.log(t, sp.name+": swapped")
		removed.log(t, sp.name+": removed")
	}
}

func truncationPoints(size, distance int) []int {
	var at []int
	for i := 0; i < size; i += distance {
		at = append(at, i)
	}
	for _, i := range []int{size / 2, size - 20, size - 1} {
		if i > 0 {
			at = append(at, i)
		}
	}
	return at
}

// swapPages swaps a page with the next, or the halves of a short file.
func swapPages(data []byte, at int) []byte {
	if at+2*page <= len(data) {
		return slices.Concat(data[:at], data[at+page:at+2*page], data[at:at+page], data[at+2*page:])
	}
	half := len(data) / 2
	return slices.Concat(data[half:], data[:half])
}
