package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// ErrDamaged: what stands in a data directory is not what was written there.
var ErrDamaged = errors.New("the data directory is damaged")

// damaged says which file it is, and what to do.
func damaged(file string, err error) error {
	return fmt.Errorf("%w: %s: %w; check the disk, and restore a backup into a new directory", ErrDamaged, file, err)
}

// explain makes what Pebble says of damage an ErrDamaged.
func explain(dir string, err error) error {
	if err == nil || errors.Is(err, ErrDamaged) || !isDamage(err) {
		return err
	}
	return damaged(dir, err)
}

func isDamage(err error) bool {
	return pebble.IsCorruptionError(err) ||
		errors.Is(err, os.ErrNotExist) || // one of its own files
		strings.Contains(err.Error(), "object size mismatch") // of a table; there is no value for it
}

// readError is for an error of reading the database. Damage fails the store, and
// the event that Pebble tells of it has the name of the file.
func (s *Store) readError(err error) error {
	if err == nil {
		return nil
	}
	if !pebble.IsCorruptionError(err) {
		return fmt.Errorf("read: %w", err)
	}
	s.fail(damaged(s.dir, err)) // if the event did not
	return s.haltedError()
}
