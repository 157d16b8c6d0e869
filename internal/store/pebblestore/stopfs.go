package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A failStopFS is a file system on which an error of the write-ahead log, or of
// syncing a directory, fails the store and stops the goroutine where it stands.
// Pebble would panic on some of these in places where that ends the process
// without a word, and go on after others.
//
// Errors of other files go to Pebble, which repeats the work or calls Fatalf.
//
// It also keeps the order of a marker and what it points to. Pebble syncs their
// directory once for both, and once for a new marker and the end of the old one:
// that is enough where names reach the disk in order, as those of most file
// systems do, and none promises.
//
// And it holds errors of tables back for a moment: Pebble makes a table that
// failed again at once, for as long as the disk is full.
type failStopFS struct {
	vfs.FS
	stop func(err error) // does not return
	// logStep is how much of the disk a log takes at a time.
	logStep func() int64
}

var _ vfs.FS = (*failStopFS)(nil)

// Unwrap implements vfs.FS.
func (fs *failStopFS) Unwrap() vfs.FS { return fs.FS }

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

func (fs *failStopFS) isMarker(name string) bool {
	return strings.HasPrefix(fs.PathBase(name), "marker.")
}

// Create implements vfs.FS.
func (fs *failStopFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if fs.isMarker(name) {
		if err := fs.syncDirOf(name); err != nil {
			return nil, err
		}
	}
	f, err := fs.FS.Create(name, category)
	if isTable(name) {
		return fs.table(f, err)
	}
	return fs.log(name, f, err)
}

func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

func (fs *failStopFS) table(f vfs.File, err error) (vfs.File, error) {
	if err = delayError(err); err != nil {
		return nil, err
	}
	return &tableFile{f}, nil
}

// tableRetryDelay is how long an error of a table is held back.
const tableRetryDelay = 250 * time.Millisecond

func delayError(err error) error {
	if err != nil {
		time.Sleep(tableRetryDelay)
	}
	return err
}

// A tableFile holds errors of writing back.
type tableFile struct{ vfs.File }

func (f *tableFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, delayError(err)
}

func (f *tableFile) Sync() error     { return delayError(f.File.Sync()) }
func (f *tableFile) SyncData() error { return delayError(f.File.SyncData()) }

func (f *tableFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, delayError(err)
}

// Remove implements vfs.FS.
func (fs *failStopFS) Remove(name string) error {
	if fs.isMarker(name) {
		if err := fs.syncDirOf(name); err != nil {
			return err
		}
	}
	return fs.FS.Remove(name)
}

// syncDirOf brings the names beside name to the disk.
func (fs *failStopFS) syncDirOf(name string) error {
	dir, err := fs.OpenDir(fs.PathDir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// ReuseForWrite implements vfs.FS.
func (fs *failStopFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(old, name, category)
	return fs.log(name, f, err)
}

// OpenDir implements vfs.FS.
func (fs *failStopFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return f, err
	}
	return &failStopFile{File: f, fs: fs}, nil
}

func (fs *failStopFS) log(name string, f vfs.File, err error) (vfs.File, error) {
	if !isLog(name) {
		return f, err
	}
	if err != nil {
		fs.stop(err)
	}
	return &logFile{failStopFile: &failStopFile{File: f, fs: fs}, step: fs.logStep()}, nil
}

// A failStopFile stops at errors of writing.
type failStopFile struct {
	vfs.File
	fs *failStopFS
}

func (f *failStopFile) check(err error) {
	if err != nil {
		f.fs.stop(err)
	}
}

func (f *failStopFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.check(err)
	return n, nil
}

func (f *failStopFile) Sync() error {
	f.check(f.File.Sync())
	return nil
}

func (f *failStopFile) SyncData() error {
	f.check(f.File.SyncData())
	return nil
}

func (f *failStopFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.check(err)
	return full, nil
}

func (f *failStopFile) Close() error {
	f.check(f.File.Close())
	return nil
}

// Open implements vfs.FS.
func (fs *failStopFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil || isTable(name) {
		return f, err
	}
	return &wholeFile{File: f}, nil
}

var errReadShort = errors.New("unexpected end of file")

// A wholeFile is read from its beginning on. It is an error when a read says that
// the file ends, and the file is longer: who reads a log would take that for what
// a crash cut off. Tables have checksums that show it.
type wholeFile struct {
	vfs.File
	read int64
}

// Read implements vfs.File.
func (f *wholeFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.read += int64(n)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	info, failed := f.Stat()
	if failed == nil && info.Size() > f.read {
		failed = fmt.Errorf("%s: %w", info.Name(), errReadShort)
	}
	if failed != nil {
		return n, failed
	}
	return n, err
}
