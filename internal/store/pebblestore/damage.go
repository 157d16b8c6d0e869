package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// ErrDamaged: the content of a data directory is not what was written there.
var ErrDamaged = errors.New("the data directory is damaged")

// damaged names the file and the remedy.
func damaged(file string, err error) error {
	return fmt.Errorf("%w: %s: %w; check the disk, and restore a backup into a new directory", ErrDamaged, file, err)
}

// located adds the location that Pebble reports beside an error's text, such as the
// log that it was replaying.
func located(err error) error {
	var at interface{ ErrorDetail() string }
	if !errors.As(err, &at) {
		return err
	}
	return fmt.Errorf("%w (%s)", err, at.ErrorDetail())
}

func isDamage(err error) bool {
	return pebble.IsCorruptionError(err) ||
		errors.Is(err, os.ErrNotExist) || // one of its own files
		errors.Is(err, pebble.ErrDBNotPristine) || // without its marker.format-version
		// Pebble has no error values for these: of a table, and of the OPTIONS file.
		strings.Contains(err.Error(), "object size mismatch") || strings.Contains(err.Error(), "name from file")
}

// readError wraps an error of reading the database. Damage fails the store; Pebble
// reports it in an event too, which names the file.
func (s *Store) readError(err error) error {
	if err == nil {
		return nil
	}
	if !pebble.IsCorruptionError(err) {
		return fmt.Errorf("read: %w", err)
	}
	s.fail(damaged(s.dir, err)) // unless the event did
	return s.haltedError()
}

// runSteps runs steps in order, up to the first that fails.
func runSteps(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
