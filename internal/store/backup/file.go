package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// partialSuffix is of a file that is being written.
const partialSuffix = ".partial"

// syncEvery is how much is written between two syncs: the disk is the server's
// too, and a large sync holds up its small ones.
const syncEvery = 8 << 20

// Errors of Create. Each comes with a text that says what to do.
var (
	ErrExists = errors.New("the file already exists")
	ErrBusy   = errors.New("another backup is writing to the file")
	// ErrNoSpace: less would be left on the disk than must be.
	ErrNoSpace = errors.New("the disk is almost full")
)

// A File is written beside its name, and moved there when it is complete. What a
// killed backup left is written over.
type File struct {
	path  string
	force bool
	f     *os.File
	// room reports how much may be written; nil: as much as fits.
	room     func() (uint64, error)
	unsynced int
}

// Create begins a file, which only its owner may read. With force, Commit replaces
// what has its name. room, unless it is nil, gives the bytes that may still be
// written.
func Create(path string, force bool, room func() (uint64, error)) (*File, error) {
	b := &File{path: path, force: force, room: room}
	if err := b.vacant(); err != nil {
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
		if b.f = f; b.named() {
			break
		}
		f.Close() // the one that had the lock has moved it away
		if info, err := os.Lstat(path + partialSuffix); err == nil && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: %s is not a regular file; remove it, or choose another name", ErrExists, path+partialSuffix)
		}
	}
	if err := errors.Join(b.f.Truncate(0), b.f.Chmod(0o600)); err != nil {
		return nil, errors.Join(fmt.Errorf("create the backup: %w", err), b.Discard())
	}
	return b, nil
}

// vacant refuses a name that is taken.
func (b *File) vacant() error {
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

// named reports whether the open file is still the one at its name.
func (b *File) named() bool {
	open, err := b.f.Stat()
	if err != nil {
		return false
	}
	found, err := os.Lstat(b.f.Name())
	return err == nil && os.SameFile(open, found)
}

// Write implements io.Writer.
func (b *File) Write(p []byte) (int, error) {
	if b.room != nil {
		left, err := b.room()
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

// Commit gives the file its name, when all of it is on the disk.
func (b *File) Commit() error {
	err := b.f.Sync()
	if err == nil {
		err = b.vacant()
	}
	if err == nil {
		err = os.Rename(b.f.Name(), b.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep the backup: %w", err), b.Discard())
	}
	return errors.Join(syncDir(filepath.Dir(b.path)), b.f.Close())
}

// Discard removes what was written.
func (b *File) Discard() error { return errors.Join(os.Remove(b.f.Name()), b.f.Close()) }

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
