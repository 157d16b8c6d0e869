package pebblestore

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/backup"
)

// A staging is the working directory in which a new store is made, beside the one that it
// becomes:
//
//	work/LOCK         locked until the work has ended
//	work/store        the store
type staging struct {
	o            Options
	what         string // is done: "restore" or "migration"
	dir, workDir string
	lock         *pebble.Lock
}

// end removes the working directory, unless the disk failed with err.
func (w *staging) end(err error) error {
	if errors.Is(err, store.ErrFailed) {
		// The disk failed under the database, which may still have files open.
		return fmt.Errorf("%s to %s: %w; fix the disk, then run it again, which also cleans up %s", w.what, w.dir, err, w.workDir)
	}
	fs := w.o.FS
	if err := errors.Join(err, w.lock.Close(), fs.RemoveAll(w.workDir), syncDir(fs, fs.PathDir(w.workDir))); err != nil {
		return fmt.Errorf("%s to %s: %w", w.what, w.dir, err)
	}
	return nil
}

func (w *staging) storeDir() string { return w.o.FS.PathJoin(w.workDir, "store") }

// lockWorkDir creates and locks the working directory, and empties it of what one that was
// killed left.
func (w *staging) lockWorkDir() error {
	fs := w.o.FS
	if err := fs.MkdirAll(w.workDir, 0o700); err != nil {
		return fmt.Errorf("%s to %s: %w", w.what, w.dir, err)
	}
	lock, err := pebble.LockDirectory(w.workDir, fs)
	if err != nil {
		return fmt.Errorf("%w: a %s to %s is running (%w); wait until it has ended", ErrLocked, w.what, w.dir, err)
	}
	w.lock = lock
	if err := errors.Join(w.emptyWorkDir(), w.syncParents()); err != nil {
		return errors.Join(fmt.Errorf("%s to %s: remove what an earlier one left in %s: %w", w.what, w.dir, w.workDir, err), lock.Close())
	}
	return nil
}

// emptyWorkDir removes everything but the lock.
func (w *staging) emptyWorkDir() error {
	names, err := w.o.FS.List(w.workDir)
	for _, name := range names {
		if name != "LOCK" {
			err = errors.Join(err, w.o.FS.RemoveAll(w.o.FS.PathJoin(w.workDir, name)))
		}
	}
	return err
}

// syncParents makes the name of the working directory durable, and that of its parent,
// which may be new too.
func (w *staging) syncParents() error {
	parent := w.o.FS.PathDir(w.workDir)
	return errors.Join(syncDir(w.o.FS, parent), syncDir(w.o.FS, w.o.FS.PathDir(parent)))
}

func (w *staging) checkSpace() error {
	if w.o.MinFreeBytes < 0 {
		return nil
	}
	usage, err := w.o.FS.GetDiskUsage(w.workDir)
	free, low := usage.AvailBytes, leastFree(uint64(w.o.MinFreeBytes), usage.TotalBytes)
	if w.o.FreeBytes != nil {
		free, err = w.o.FreeBytes()
	}
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err == nil && free < low+tableBytes {
		return fmt.Errorf("%w: %d MiB are free, and %d MiB are needed; free space, or choose a directory on another disk", backup.ErrNoSpace, free>>20, (low+tableBytes)>>20)
	}
	return err
}

// initialize opens the store as a server would: that sets its new epoch, and migrates
// data of an older format.
func (w *staging) initialize() error {
	s, err := Open(w.storeDir(), w.o)
	if err != nil {
		return err
	}
	return s.Close()
}

// publish renames the store to the directory that the caller named.
func (w *staging) publish() error {
	fs := w.o.FS
	if err := w.checkVacant(); err != nil {
		return err
	}
	if err := fs.Remove(w.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := fs.Rename(w.storeDir(), w.dir); err != nil {
		return err
	}
	return errors.Join(w.syncParents(), syncDir(fs, w.workDir))
}

// checkVacant refuses a directory that contains anything.
func (w *staging) checkVacant() error {
	names, err := w.o.FS.List(w.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s to %s: %w", w.what, w.dir, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s contains %q; a %s creates a new data directory: specify one that is missing or empty", ErrOccupied, w.dir, names[0], w.what)
	}
	return nil
}
