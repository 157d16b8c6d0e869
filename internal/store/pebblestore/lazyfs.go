package pebblestore

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A lazyFS is a file system whose write-ahead logs are synced by syncAll, once a
// second, and when they are closed, instead of when Pebble asks: durability OS.
// Pebble then still writes each batch to the operating system at once, which it
// would not if it were told not to sync.
type lazyFS struct {
	vfs.FS
	mu    sync.Mutex // guards files, and is held while they sync
	files map[*lazyFile]struct{}
}

var _ vfs.FS = (*lazyFS)(nil)

func newLazyFS(fs vfs.FS) *lazyFS { return &lazyFS{FS: fs, files: make(map[*lazyFile]struct{})} }

// Unwrap implements vfs.FS.
func (fs *lazyFS) Unwrap() vfs.FS { return fs.FS }

// Create implements vfs.FS.
func (fs *lazyFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(name)(fs.FS.Create(name, category))
}

// ReuseForWrite implements vfs.FS.
func (fs *lazyFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(name)(fs.FS.ReuseForWrite(old, name, category))
}

func (fs *lazyFS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil || !isLog(name) {
			return f, err
		}
		lazy := &lazyFile{File: f, fs: fs}
		fs.mu.Lock()
		fs.files[lazy] = struct{}{}
		fs.mu.Unlock()
		return lazy, nil
	}
}

// syncAll syncs what was written before it.
func (fs *lazyFS) syncAll() error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var failed error
	for f := range fs.files {
		failed = errors.Join(failed, f.File.SyncData())
	}
	return failed
}

type lazyFile struct {
	vfs.File
	fs *lazyFS
}

func (f *lazyFile) Sync() error                { return nil }
func (f *lazyFile) SyncData() error            { return nil }
func (f *lazyFile) SyncTo(int64) (bool, error) { return false, nil }

// Close syncs first: the next log must not reach the disk before this one.
func (f *lazyFile) Close() error {
	f.fs.mu.Lock()
	delete(f.fs.files, f)
	f.fs.mu.Unlock()
	return errors.Join(f.File.SyncData(), f.File.Close())
}
