package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"porchlight.dev/porchlight/internal/store"
)

// openError adds the remedy to an error of opening the store.
func (s *Store) openError(err error) error {
	if s.isFailed() {
		err = &failedOpen{s.failure.cause}
	}
	for _, refusal := range []error{ErrLocked, ErrNewer, ErrForeign, ErrMissing, ErrDamaged} {
		if errors.Is(err, refusal) {
			return err
		}
	}
	_, system := errors.AsType[syscall.Errno](err)
	switch {
	case system && !errors.Is(err, os.ErrNotExist):
	case s.format == 0 && (s.lastWatermark == nil || s.lastWatermark.position == 0):
		return fmt.Errorf("%w: the creation of data directory %s was interrupted, so it holds no data: remove it and start again (%w)", ErrUnfinished, s.dir, err)
	case isDamage(err):
		return damaged(s.dir, located(err))
	}
	return fmt.Errorf("open the data directory %s: %w; %s", s.dir, err, remedy(s.dir, err))
}

// A failedOpen is the cause of a failure before the store was open. The files may stay
// open until the process ends.
type failedOpen struct{ error }

// Unwrap gives the cause.
func (e *failedOpen) Unwrap() error { return e.error }

// Is makes it a store.ErrFailed, without that error's text.
func (e *failedOpen) Is(target error) bool { return target == store.ErrFailed }

// remedy tells the operator how to fix an error of the disk under dir.
func remedy(dir string, err error) string {
	switch {
	case noSpace(err):
		return fmt.Sprintf("free space on the disk under %s (or raise its quota), then start porchlight again", dir)
	case errors.Is(err, syscall.EROFS):
		return fmt.Sprintf("mount the disk under %s for writing, then start porchlight again", dir)
	case errors.Is(err, os.ErrPermission):
		return fmt.Sprintf("let the user that porchlight runs as read and write %s and the files in it, then start porchlight again", dir)
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		return "raise the limit of open files (LimitNOFILE in systemd, ulimit -n), then start porchlight again"
	}
	return fmt.Sprintf("check the disk under %s and the system log, then start porchlight again; if the data cannot be read any more, restore a backup into a new directory", dir)
}

// ownDirectory is the advice of lockError to a process that needs a directory.
const ownDirectory = "or give this one a directory of its own"

// lockError distinguishes a directory in use from one that cannot be locked.
// otherwise is what to do other than stop the process that uses it.
func lockError(dir string, err error, otherwise string) error {
	_, opening := errors.AsType[*os.PathError](err)
	errno, system := errors.AsType[syscall.Errno](err)
	if opening || system && errno != syscall.EAGAIN && errno != syscall.EACCES {
		return fmt.Errorf("lock: %w", err)
	}
	return fmt.Errorf("%w: %s is locked (%w); stop the other porchlight, %s", ErrLocked, dir, err, otherwise)
}
