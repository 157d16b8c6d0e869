package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// A lazyFS implements durability OS: it syncs write-ahead logs once a second, in
// syncAll, and when they are closed, but not when Pebble asks. Pebble still writes
// each batch to the operating system at once, which it would not do with NoSync.
type lazyFS struct {
	vfs.FS
	mu    sync.Mutex // guards files, and is held while they sync
	files map[*lazyFile]struct{}
}

var _ vfs.FS = (*lazyFS)(nil)

func newLazyFS(fs vfs.FS) *lazyFS { return &lazyFS{FS: fs, files: make(map[*lazyFile]struct{})} }

func (fs *lazyFS) Unwrap() vfs.FS { return fs.FS }

func (fs *lazyFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.wrap(name)(fs.FS.Create(name, category))
}

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

// syncAll syncs everything that was written before the call.
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

// Close syncs first: the next log must not reach the disk before this one. Until it has,
// syncAll syncs the file too.
func (f *lazyFile) Close() error {
	err := f.File.SyncData()
	f.fs.mu.Lock()
	delete(f.fs.files, f)
	f.fs.mu.Unlock()
	return errors.Join(err, f.File.Close())
}

// readableLogs gives the file system to open the database on. After a crash with
// durability OS the last log may end anywhere, although it records a sync that never
// happened. Pebble would refuse it, so the log is truncated to its readable part.
func (s *Store) readableLogs() (vfs.FS, error) {
	if s.lastWatermark == nil || !s.lastWatermark.relaxed || s.lastWatermark.clean {
		return s.opts.FS, nil
	}
	logs, err := wal.Scan(wal.Dir{FS: s.opts.FS, Dirname: s.dir})
	if err != nil || len(logs) == 0 {
		return s.opts.FS, err
	}
	r := logs[len(logs)-1].OpenForRead()
	defer func() { _ = r.Close() }() // only read
	for {
		batch, at, err := r.NextRecord()
		if err == nil {
			_, err = io.Copy(io.Discard, batch)
		}
		switch {
		case errors.Is(err, io.EOF):
			return s.opts.FS, nil
		case errors.Is(err, record.ErrZeroedChunk), errors.Is(err, record.ErrInvalidChunk), errors.Is(err, record.ErrUnexpectedEOF):
			return &truncatedFS{FS: s.opts.FS, path: at.PhysicalFile, end: at.Physical}, nil
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", s.opts.FS.PathBase(at.PhysicalFile), err)
		}
	}
}

// A truncatedFS is a file system on which one file appears shorter.
type truncatedFS struct {
	vfs.FS
	path string
	end  int64
}

var _ vfs.FS = (*truncatedFS)(nil)

func (fs *truncatedFS) Unwrap() vfs.FS { return fs.FS }

func (fs *truncatedFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil || name != fs.path {
		return f, err
	}
	return &truncatedFile{File: f, from: io.LimitReader(f, fs.end)}, nil
}

// A truncatedFile is read from its beginning up to a limit.
type truncatedFile struct {
	vfs.File
	from io.Reader
}

func (f *truncatedFile) Read(p []byte) (int, error) { return f.from.Read(p) }
