package pebblestore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The reserve is disk space for writes that must not fail: another program may fill
// the disk between the last measurement and a commit. It is larger than all writes
// that can be in flight by then.
const (
	reserveFiles  = 16
	reserveBytes  = 1 << 20 // of each
	reservePrefix = "reserve."
)

// A reserve consists of preallocated empty files in the store's directory. They are
// removed one at a time, so that a program that competes for free space does not get
// all of it.
type reserve struct {
	fs  vfs.FS // not the one that releases the reserve
	dir string

	mu    sync.Mutex // guards whole
	whole bool
}

// enabled reports whether the directory is on a disk.
func (r *reserve) enabled() bool { return vfs.Root(r.fs) == vfs.Default }

// fill creates the missing files of the reserve.
func (r *reserve) fill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole || !r.enabled() {
		return nil
	}
	for i := range reserveFiles {
		if err := r.create(r.fs.PathJoin(r.dir, fmt.Sprintf("%s%02d", reservePrefix, i))); err != nil {
			return err
		}
	}
	r.whole = true
	return nil
}

func (r *reserve) create(name string) error {
	f, err := r.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Preallocate(0, reserveBytes), f.Close())
}

// release removes one file. It returns false when there was none.
func (r *reserve) release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.whole = false
	names, err := r.fs.List(r.dir)
	if err != nil {
		return false
	}
	for _, name := range names {
		if strings.HasPrefix(name, reservePrefix) {
			return r.fs.Remove(r.fs.PathJoin(r.dir, name)) == nil
		}
	}
	return false
}

// noSpace reports whether err means that the disk, or a quota, is full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// A spaceFS is a file system that releases the reserve when the disk is full, and
// retries the write. Once the store is open, tables do not use the reserve: they are
// large, their content is in the log, and Pebble writes them again later.
type spaceFS struct {
	vfs.FS
	reserve *reserve
	full    func() // called when the disk was found full
	open    *atomic.Bool
}

var _ vfs.FS = (*spaceFS)(nil)

func (fs *spaceFS) Unwrap() vfs.FS { return fs.FS }

// retryWithReserve reports whether an operation that failed with err should be
// retried, since part of the reserve was released for it.
func (fs *spaceFS) retryWithReserve(err error) bool {
	if !noSpace(err) {
		return false
	}
	fs.full()
	return fs.reserve.release()
}

func (fs *spaceFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	for err != nil && fs.retryWithReserve(err) {
		f, err = fs.FS.Create(name, category)
	}
	return fs.file(name, f, err)
}

func (fs *spaceFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(old, name, category)
	for err != nil && fs.retryWithReserve(err) {
		f, err = fs.FS.ReuseForWrite(old, name, category)
	}
	return fs.file(name, f, err)
}

func (fs *spaceFS) file(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return f, err
	}
	return &spaceFile{File: f, fs: fs, skipsReserve: fs.open.Load() && isTable(name)}, nil
}

type spaceFile struct {
	vfs.File
	fs           *spaceFS
	skipsReserve bool
}

// Write implements vfs.File. A retry continues where the failed write ended.
func (f *spaceFile) Write(p []byte) (n int, err error) {
	n, err = f.File.Write(p)
	if f.skipsReserve {
		if noSpace(err) {
			f.fs.full()
		}
		return n, err
	}
	for err != nil && f.fs.retryWithReserve(err) {
		var more int
		more, err = f.File.Write(p[n:])
		n += more
	}
	return n, err
}
