package pebblestore

import (
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A crashFS is Pebble's crashable file system that stops before each write operation,
// so that a crash image can be taken there. Pebble's own images keep any of the
// unsynced blocks and names. This one adds a write that is torn within a block, and
// names that were removed or renamed before their directory was synced.
type crashFS struct {
	vfs.FS // mem
	mem    *vfs.MemFS
	// before is called before each write operation, one at a time: nothing else is
	// written meanwhile.
	before func(diskOp)

	mu            sync.Mutex // guards the fields below, and is held during operations
	n             int
	unsyncedNames map[string]string // removed or renamed, unsynced: the new name, or ""
}

var _ vfs.FS = (*crashFS)(nil)

// A diskOp is a write operation.
type diskOp struct {
	n    int // counted from 1
	path string
	data []byte // about to be written, at an offset
	at   int64
}

func newCrashFS(mem *vfs.MemFS, before func(diskOp)) *crashFS {
	return &crashFS{FS: mem, mem: mem, before: before, unsyncedNames: make(map[string]string)}
}

func (fs *crashFS) runOperation(op diskOp, f func()) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.n++
	op.n = fs.n
	fs.before(op)
	f()
}

func (fs *crashFS) wrapFile(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &crashFile{File: f, fs: fs, path: name}, nil
}

// Create implements vfs.FS.
func (fs *crashFS) Create(name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	fs.runOperation(diskOp{path: name}, func() { f, err = fs.mem.Create(name, c); delete(fs.unsyncedNames, name) })
	return fs.wrapFile(name, f, err)
}

// OpenReadWrite implements vfs.FS.
func (fs *crashFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (f vfs.File, err error) {
	fs.runOperation(diskOp{path: name}, func() { f, err = fs.mem.OpenReadWrite(name, c, opts...); delete(fs.unsyncedNames, name) })
	return fs.wrapFile(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (fs *crashFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	fs.runOperation(diskOp{path: name}, func() { f, err = fs.mem.ReuseForWrite(old, name, c); fs.noteRename(old, name) })
	return fs.wrapFile(name, f, err)
}

// OpenDir implements vfs.FS.
func (fs *crashFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.mem.OpenDir(name)
	return fs.wrapFile(name, f, err)
}

// Link implements vfs.FS.
func (fs *crashFS) Link(old, name string) (err error) {
	fs.runOperation(diskOp{path: name}, func() { err = fs.mem.Link(old, name); delete(fs.unsyncedNames, name) })
	return err
}

// Remove implements vfs.FS.
func (fs *crashFS) Remove(name string) (err error) {
	fs.runOperation(diskOp{path: name}, func() { err = fs.mem.Remove(name); fs.unsyncedNames[name] = "" })
	return err
}

// RemoveAll implements vfs.FS.
func (fs *crashFS) RemoveAll(name string) (err error) {
	fs.runOperation(diskOp{path: name}, func() { err = fs.mem.RemoveAll(name) })
	return err
}

// Rename implements vfs.FS.
func (fs *crashFS) Rename(old, name string) (err error) {
	fs.runOperation(diskOp{path: name}, func() { err = fs.mem.Rename(old, name); fs.noteRename(old, name) })
	return err
}

// MkdirAll implements vfs.FS.
func (fs *crashFS) MkdirAll(name string, perm os.FileMode) (err error) {
	fs.runOperation(diskOp{path: name}, func() { err = fs.mem.MkdirAll(name, perm) })
	return err
}

// Lock implements vfs.FS.
func (fs *crashFS) Lock(name string) (c io.Closer, err error) {
	fs.runOperation(diskOp{path: name}, func() { c, err = fs.mem.Lock(name) })
	return c, err
}

func (fs *crashFS) noteRename(old, name string) {
	delete(fs.unsyncedNames, name)
	fs.unsyncedNames[old] = name
}

// A crashFile is a file of a crashFS. One goroutine writes into it.
type crashFile struct {
	vfs.File
	fs   *crashFS
	path string
	pos  int64
}

func (f *crashFile) Write(p []byte) (n int, err error) {
	f.fs.runOperation(diskOp{path: f.path, data: p, at: f.pos}, func() { n, err = f.File.Write(p) })
	f.pos += int64(n)
	return n, err
}

func (f *crashFile) WriteAt(p []byte, at int64) (n int, err error) {
	f.fs.runOperation(diskOp{path: f.path, data: p, at: at}, func() { n, err = f.File.WriteAt(p, at) })
	return n, err
}

func (f *crashFile) Sync() (err error) {
	f.fs.runOperation(diskOp{path: f.path}, func() {
		err = f.File.Sync()
		if info, _ := f.Stat(); info.IsDir() {
			clear(f.fs.unsyncedNames) // there is one directory
		}
	})
	return err
}

func (f *crashFile) SyncData() error { return f.Sync() }

// An imageKind is what a crash keeps of the unsynced data.
type imageKind int

const (
	onlySynced   imageKind = iota
	someBlocks             // and names
	everything             // as when only the process crashes
	tornWrite              // everything, and the beginning of the current write
	mixedWrite             // the same, with zeros or noise in place of its end
	namesRemoved           // everything, and unsynced removals and renames
	imageKinds
)

var imageNames = [...]string{"only what was synced", "some blocks", "everything", "a torn write", "a write mixed with noise", "names gone"}

func (k imageKind) String() string { return imageNames[k] }

// kindsAt are the kinds of images before op that can differ from the others.
func (fs *crashFS) kindsAt(op diskOp) []imageKind {
	kinds := []imageKind{onlySynced, someBlocks, everything}
	if len(op.data) > 1 {
		kinds = append(kinds, tornWrite, mixedWrite)
	}
	if len(fs.unsyncedNames) > 0 {
		kinds = append(kinds, namesRemoved)
	}
	return kinds
}

// image is the disk after a crash before the end of op. It is called from before.
func (fs *crashFS) image(op diskOp, kind imageKind, rng *rand.Rand) *vfs.MemFS {
	keep := 100
	switch kind {
	case onlySynced:
		keep = 0
	case someBlocks:
		keep = 20 + rng.IntN(61)
	}
	mem := fs.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng})
	switch kind {
	case tornWrite:
		writePartial(mem, op, op.data[:1+rng.IntN(len(op.data)-1)])
	case mixedWrite:
		writePartial(mem, op, corruptTail(op.data, rng))
	case namesRemoved:
		fs.removeUnsynced(mem, rng)
	}
	return mem
}

// corruptTail replaces the data from a random byte on.
func corruptTail(data []byte, rng *rand.Rand) []byte {
	mixed := append([]byte(nil), data...)
	noise := rng.IntN(2) == 0
	for i := rng.IntN(len(mixed)); i < len(mixed); i++ {
		mixed[i] = 0
		if noise {
			mixed[i] = byte(rng.Uint32())
		}
	}
	return mixed
}

func writePartial(mem *vfs.MemFS, op diskOp, part []byte) {
	f, err := mem.OpenReadWrite(op.path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.WriteAt(part, op.at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		panic(err)
	}
	f.Close()
}

// removeUnsynced removes at least one of the names whose removal or rename is not
// synced. A renamed file has its new name, so it exists under one of the two.
func (fs *crashFS) removeUnsynced(mem *vfs.MemFS, rng *rand.Rand) {
	taken := 0
	for old, now := range fs.unsyncedNames {
		if taken > 0 && rng.IntN(2) == 0 {
			continue
		}
		if now != "" {
			if _, err := mem.Stat(now); err != nil {
				continue // renamed again, or removed
			}
		}
		_ = mem.Remove(old) // it may never have been synced
		taken++
	}
	if dir, err := mem.OpenDir("data"); err == nil {
		_ = dir.Sync()
		dir.Close()
	}
}

// TestCrashFS: each kind of image has the expected files and content.
func TestCrashFS(t *testing.T) {
	images := make(map[imageKind]map[string]string) // contents of the files by name
	take := false
	var fs *crashFS
	fs = newCrashFS(vfs.NewCrashableMem(), func(op diskOp) {
		if !take {
			return
		}
		for kind := range imageKinds {
			mem := fs.image(op, kind, rand.New(rand.NewPCG(1, 1)))
			names, err := mem.List("data")
			if err != nil {
				t.Fatal(err)
			}
			images[kind] = make(map[string]string)
			for _, name := range names {
				data, err := mem.UnsafeGetFileDataBuffer("data/" + name)
				if err != nil {
					t.Fatal(err)
				}
				images[kind][name] = string(data)
			}
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string) vfs.File {
		t.Helper()
		f, err := fs.Create("data/"+name, vfs.WriteCategoryUnspecified)
		must(err)
		return f
	}
	syncDir := func(name string) {
		t.Helper()
		dir, err := fs.OpenDir(name)
		must(err)
		must(dir.Sync())
	}
	must(fs.MkdirAll("data", 0o700))
	syncDir("/")
	f := create("f")
	create("old")
	create("removed")
	syncDir("data")
	_, err := f.Write([]byte("synced "))
	must(err)
	must(f.Sync())
	_, err = f.Write([]byte("unsynced "))
	must(err)
	must(fs.Rename("data/old", "data/new"))
	must(fs.Remove("data/removed"))
	take = true
	_, err = f.Write([]byte("torn"))
	must(err)
	for kind, want := range map[imageKind]struct {
		file  []string // one of these
		names string
	}{
		onlySynced:   {[]string{"synced "}, "f old removed"},
		everything:   {[]string{"synced unsynced "}, "f new old removed"},
		tornWrite:    {[]string{"synced unsynced t", "synced unsynced to", "synced unsynced tor"}, "f new old removed"},
		namesRemoved: {[]string{"synced unsynced "}, "f new"},
	} {
		got := images[kind]
		if !slices.Contains(want.file, got["f"]) {
			t.Errorf("%v: the file has %q, want one of %q", kind, got["f"], want.file)
		}
		if kind == namesRemoved {
			_, old := got["old"]
			_, removed := got["removed"]
			if _, now := got["new"]; !now || old && removed {
				t.Errorf("%v: the files are %v", kind, strings.Join(slices.Sorted(maps.Keys(got)), " "))
			}
		} else if names := strings.Join(slices.Sorted(maps.Keys(got)), " "); names != want.names {
			t.Errorf("%v: the files are %s, want %s", kind, names, want.names)
		}
	}
	if got := images[mixedWrite]["f"]; len(got) != len("synced unsynced torn") || got == "synced unsynced torn" || got[:16] != "synced unsynced " {
		t.Errorf("%v: the file has %q", mixedWrite, got)
	}
	if got := images[someBlocks]["f"]; got != "synced " && got != "synced unsynced " {
		t.Errorf("%v: the file has %q", someBlocks, got)
	}
}
