package pebblestore

import (
	"errors"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A startFS is Pebble's file system. Until the store is open, an error that a healthy
// disk does not cause parks the goroutine that got it and fails the start. Pebble would
// return some of these errors while its background goroutines still use what it has
// closed, and panic.
//
// Files that are opened later are not wrapped.
type startFS struct {
	vfs.FS
	isOpen func() bool
	stop   func(err error) // does not return
}

var _ vfs.FS = (*startFS)(nil)

func (fs *startFS) Unwrap() vfs.FS { return fs.FS }

// check returns err, unless it must stop the goroutine.
func (fs *startFS) check(err error) error {
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrNotExist) && !fs.isOpen() {
		fs.stop(err)
	}
	return err
}

func (fs *startFS) file(f vfs.File, err error) (vfs.File, error) {
	if fs.check(err) != nil || fs.isOpen() {
		return f, err
	}
	return &startFile{File: f, fs: fs}, nil
}

func (fs *startFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(fs.FS.Create(name, category))
}

func (fs *startFS) Link(from, to string) error { return fs.check(fs.FS.Link(from, to)) }

func (fs *startFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.file(fs.FS.Open(name, opts...))
}

func (fs *startFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.file(fs.FS.OpenReadWrite(name, category, opts...))
}

func (fs *startFS) OpenDir(name string) (vfs.File, error) { return fs.file(fs.FS.OpenDir(name)) }
func (fs *startFS) Remove(name string) error              { return fs.check(fs.FS.Remove(name)) }
func (fs *startFS) RemoveAll(name string) error           { return fs.check(fs.FS.RemoveAll(name)) }
func (fs *startFS) Rename(from, to string) error          { return fs.check(fs.FS.Rename(from, to)) }

func (fs *startFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(fs.FS.ReuseForWrite(old, name, category))
}

func (fs *startFS) MkdirAll(dir string, perm os.FileMode) error {
	return fs.check(fs.FS.MkdirAll(dir, perm))
}

func (fs *startFS) List(dir string) ([]string, error) {
	names, err := fs.FS.List(dir)
	return names, fs.check(err)
}

func (fs *startFS) Stat(name string) (vfs.FileInfo, error) {
	info, err := fs.FS.Stat(name)
	return info, fs.check(err)
}

// A startFile stops the goroutine at errors in the same way.
type startFile struct {
	vfs.File
	fs *startFS
}

func (f *startFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	return n, f.fs.check(err)
}

func (f *startFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	return n, f.fs.check(err)
}

func (f *startFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.check(err)
}

func (f *startFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	return n, f.fs.check(err)
}

func (f *startFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	return info, f.fs.check(err)
}

func (f *startFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fs.check(err)
}

func (f *startFile) Sync() error     { return f.fs.check(f.File.Sync()) }
func (f *startFile) SyncData() error { return f.fs.check(f.File.SyncData()) }
func (f *startFile) Close() error    { return f.fs.check(f.File.Close()) }
