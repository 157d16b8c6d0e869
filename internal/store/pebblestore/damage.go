package pebblestore

import (
	"errors"
	"fmt"
)

// ErrDamaged: what stands in a data directory is not what was written there.
var ErrDamaged = errors.New("the data directory is damaged")

// damaged says which file it is, and what to do.
func damaged(file string, err error) error {
	return fmt.Errorf("%w: %s: %w; check the disk, and restore a backup into a new directory", ErrDamaged, file, err)
}
