package pebblestore

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A fenceFS is the file system that Pebble works on. It tells the fence of every
// MANIFEST that was synced and of every write-ahead log that is in place.
type fenceFS struct {
	vfs.FS
	fence *fence
	cut   cutLog
}

var _ vfs.FS = (*fenceFS)(nil)

// Unwrap implements vfs.FS.
func (fs *fenceFS) Unwrap() vfs.FS { return fs.FS }

// Open implements vfs.FS.
func (fs *fenceFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil || fs.PathBase(name) != fs.cut.name {
		return f, err
	}
	return &cutFile{File: f, from: io.LimitReader(f, fs.cut.at)}, nil
}

// A cutLog is a log that is read up to a place; no name: there is none.
type cutLog struct {
	name string
	at   int64
}

// A cutFile ends before the file does, for who reads it from its beginning on.
type cutFile struct {
	vfs.File
	from io.Reader
}

// Read implements vfs.File.
func (f *cutFile) Read(p []byte) (int, error) { return f.from.Read(p) }

// Create implements vfs.FS.
func (fs *fenceFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	if number, ok := numberOf(fs.PathBase(name), manifestPrefix, ""); ok {
		return &fencedManifest{File: f, fence: fs.fence, mark: manifestMark{number: number}}, nil
	}
	fs.fence.logs.made(fs.PathBase(name))
	return f, nil
}

// ReuseForWrite implements vfs.FS.
func (fs *fenceFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(old, name, category)
	if err == nil {
		fs.fence.logs.gone(fs.PathBase(old))
		fs.fence.logs.made(fs.PathBase(name))
	}
	return f, err
}

// Remove implements vfs.FS.
func (fs *fenceFS) Remove(name string) error {
	err := fs.FS.Remove(name)
	if err == nil {
		fs.fence.logs.gone(fs.PathBase(name))
	}
	return err
}

// OpenDir implements vfs.FS.
func (fs *fenceFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fencedDir{File: f, logs: &fs.fence.logs}, nil
}

const (
	manifestPrefix = "MANIFEST-"
	logSuffix      = ".log"
)

// numberOf reads the number in the name of one of Pebble's files.
func numberOf(name, prefix, suffix string) (number uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, suffix); !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil
}

// A fencedManifest sums up what is written, which is from the beginning on and
// never changed.
type fencedManifest struct {
	vfs.File
	fence   *fence
	mark    manifestMark
	inPlace bool // its name is durable
}

// Write implements vfs.File.
func (f *fencedManifest) Write(p []byte) (int, error) {
	f.mark.sum = sumOn(f.mark.sum, p) // first: the file may use p as it likes
	f.mark.length += uint64(len(p))
	return f.File.Write(p) // Pebble gives up the MANIFEST when this fails
}

// Sync implements vfs.File. Pebble removes what an edit made obsolete when this
// has returned, so by then the fence tells whether the edit is there.
func (f *fencedManifest) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	// Pebble syncs the name together with that of the marker which names it: a
	// crash might leave the marker alone.
	if !f.inPlace {
		if err := syncDir(f.fence.fs, f.fence.dir); err != nil {
			return err
		}
		f.inPlace = true
	}
	return f.fence.wrote(f.mark)
}

// A fencedDir tells of the logs whose names are durable.
type fencedDir struct {
	vfs.File
	logs *fencedLogs
}

// Sync implements vfs.File.
func (f *fencedDir) Sync() error {
	made := f.logs.pending()
	if err := f.File.Sync(); err != nil {
		return err
	}
	f.logs.placed(made)
	return nil
}

// fencedLogs are the write-ahead logs in the directory.
type fencedLogs struct {
	mu      sync.Mutex // guards the fields below; a leaf
	waiting []uint64   // for the directory to be synced
	inPlace []uint64
	news    bool // there are more in place than the fence says
}

func (l *fencedLogs) set(logs []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inPlace = slices.Clone(logs)
}

func (l *fencedLogs) made(name string) {
	number, ok := numberOf(name, "", logSuffix)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, number)
}

func (l *fencedLogs) gone(name string) {
	number, ok := numberOf(name, "", logSuffix)
	if !ok {
		return
	}
	is := func(n uint64) bool { return n == number }
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, is)
	l.inPlace = slices.DeleteFunc(l.inPlace, is)
}

func (l *fencedLogs) pending() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.waiting)
}

func (l *fencedLogs) placed(made []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range made {
		if i := slices.Index(l.waiting, n); i >= 0 {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			l.inPlace = append(l.inPlace, n)
			l.news = true
		}
	}
}

func (l *fencedLogs) changed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

// take gives what the fence is to say. Of more logs than it has room for, the
// oldest are left out.
func (l *fencedLogs) take() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.news = false
	return slices.Clone(l.inPlace[max(0, len(l.inPlace)-fenceFiles):])
}
