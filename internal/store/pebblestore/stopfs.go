package pebblestore

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A stopFS is a file system on which an error of the write-ahead log, or of
// syncing a directory, fails the store and stops the goroutine where it stands.
// Pebble would panic on some of these in places where that ends the process
// without a word, and go on after others.
//
// Errors of other files go to Pebble, which repeats the work or calls Fatalf.
type stopFS struct {
	vfs.FS
	stop func(err error) // does not return
}

var _ vfs.FS = (*stopFS)(nil)

// Unwrap implements vfs.FS.
func (fs *stopFS) Unwrap() vfs.FS { return fs.FS }

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// Create implements vfs.FS.
func (fs *stopFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	return fs.log(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (fs *stopFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(old, name, category)
	return fs.log(name, f, err)
}

// OpenDir implements vfs.FS.
func (fs *stopFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return f, err
	}
	return &stopFile{File: f, fs: fs}, nil
}

func (fs *stopFS) log(name string, f vfs.File, err error) (vfs.File, error) {
	if !isLog(name) {
		return f, err
	}
	if err != nil {
		fs.stop(err)
	}
	return &stopFile{File: f, fs: fs}, nil
}

// A stopFile stops at errors of writing.
type stopFile struct {
	vfs.File
	fs *stopFS
}

func (f *stopFile) check(err error) {
	if err != nil {
		f.fs.stop(err)
	}
}

func (f *stopFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.check(err)
	return n, nil
}

func (f *stopFile) Sync() error {
	f.check(f.File.Sync())
	return nil
}

func (f *stopFile) SyncData() error {
	f.check(f.File.SyncData())
	return nil
}

func (f *stopFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.check(err)
	return full, nil
}

func (f *stopFile) Close() error {
	f.check(f.File.Close())
	return nil
}
