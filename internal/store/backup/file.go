package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// partialSuffix is of a file that is being written.
const partialSuffix = ".partial"

// syncEvery is how much is written between two syncs. The server syncs to the same
// disk, and one large sync would delay its small ones.
const syncEvery = 8 << 20

// Errors of Create. Each is wrapped with advice for the operator.
var (
	ErrExists = errors.New("the file already exists")
	ErrBusy   = errors.New("another backup is writing to the file")
	// ErrNoSpace: the write would leave less free space than required.
	ErrNoSpace = errors.New("the disk is almost full")
)

// A File is written under a temporary name, and renamed when it is complete. It
// overwrites the partial file of a backup that was killed.
type File struct {
	path  string
	force bool
	f     *os.File
	// available returns how many bytes may be written; nil is no limit.
	available func() (uint64, error)
	unsynced  int
}

// Create begins a file that only its owner may read. With force, Commit replaces an
// existing file. available, unless it is nil, returns how many bytes may still be
// written.
func Create(path string, force bool, available func() (uint64, error)) (*File, error) {
	b := &File{path: path, force: force, available: available}
	if err := b.checkName(); err != nil {
		return nil, err
	}
	for {
		f, err := os.OpenFile(path+partialSuffix, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("create the backup: %w", err)
		}
		if err := lockFile(f); err != nil {
			return nil, errors.Join(fmt.Errorf("%w %s: wait until it has ended, or choose another name (%w)", ErrBusy, path, err), f.Close())
		}
		if b.f = f; b.isAtName() {
			break
		}
		f.Close() // the previous holder of the lock has renamed it
		if info, err := os.Lstat(path + partialSuffix); err == nil && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: %s is not a regular file; remove it, or choose another name", ErrExists, path+partialSuffix)
		}
	}
	if err := errors.Join(b.f.Truncate(0), b.f.Chmod(0o600)); err != nil {
		return nil, errors.Join(fmt.Errorf("create the backup: %w", err), b.Discard())
	}
	return b, nil
}

// checkName refuses the name of an existing file.
func (b *File) checkName() error {
	info, err := os.Lstat(b.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("create the backup: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a regular file; choose another name, or write to standard output with \"-\"", ErrExists, b.path)
	case !b.force:
		return fmt.Errorf("%w: %s; choose another name, or replace it with --force", ErrExists, b.path)
	}
	return nil
}

// isAtName reports whether the open file still has its name.
func (b *File) isAtName() bool {
	open, err := b.f.Stat()
	if err != nil {
		return false
	}
	found, err := os.Lstat(b.f.Name())
	return err == nil && os.SameFile(open, found)
}

// Write implements io.Writer.
func (b *File) Write(p []byte) (int, error) {
	if b.available != nil {
		left, err := b.available()
		if err != nil {
			return 0, err
		}
		if left < uint64(len(p)) {
			return 0, fmt.Errorf("%w: the backup would leave less than the server's low-disk on it; write %s to another disk, or free space", ErrNoSpace, b.path)
		}
	}
	n, err := b.f.Write(p)
	if b.unsynced += n; err == nil && b.unsynced >= syncEvery {
		b.unsynced = 0
		err = b.f.Sync()
	}
	return n, err
}

// Check syncs the file and calls read with what is in it.
func (b *File) Check(read func(io.Reader) error) error {
	if err := b.f.Sync(); err != nil {
		return fmt.Errorf("sync the backup: %w", err)
	}
	info, err := b.f.Stat()
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	return read(io.NewSectionReader(b.f, 0, info.Size()))
}

// CommitAs is Commit with a name that was not known before, in the same directory.
func (b *File) CommitAs(path string) error {
	b.path = path
	return b.Commit()
}

// Commit syncs the file and gives it its name.
func (b *File) Commit() error {
	err := b.f.Sync()
	if err == nil {
		err = b.checkName()
	}
	if err == nil {
		err = os.Rename(b.f.Name(), b.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep the backup: %w", err), b.Discard())
	}
	return errors.Join(syncDir(filepath.Dir(b.path)), b.f.Close())
}

// Discard removes the partial file.
func (b *File) Discard() error { return errors.Join(os.Remove(b.f.Name()), b.f.Close()) }

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
