package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// VerifyBackup reads a whole backup and checks everything in it: every checksum,
// every value, and that records, log, expiry indexes and documents are consistent. It
// calls progress as Restore does. It needs constant memory.
func VerifyBackup(ctx context.Context, from io.Reader, progress func(done, total int64)) (BackupInfo, error) {
	r, err := openBackup(from)
	if err != nil {
		return BackupInfo{}, err
	}
	c := newContentCheck()
	err = r.Each(reading(ctx, progress), func(key, value []byte) error {
		count(&c.counts, key)
		if err := c.addPair(key, value); err != nil {
			return wrongContent(err)
		}
		return nil
	})
	if err != nil {
		return BackupInfo{}, err
	}
	info := r.Info()
	if c.counts != info.Counts {
		return BackupInfo{}, wrongContent(fmt.Errorf("it contains %+v, and its trailer says %+v", c.counts, info.Counts))
	}
	if err := c.finish(info.Header); err != nil {
		return BackupInfo{}, wrongContent(err)
	}
	return info, nil
}

// reading gives a function that reports the bytes read from a backup, and fails when ctx
// ends.
func reading(ctx context.Context, progress func(done, total int64)) func(int64) error {
	return func(done int64) error {
		if progress != nil {
			progress(done, 0)
		}
		return context.Cause(ctx)
	}
}

// ErrInconsistent: the stored data contradict each other.
var ErrInconsistent = errors.New("the stored data are inconsistent")

func wrongContent(err error) error {
	return fmt.Errorf("the backup is not damaged, but %w: %w; it can be restored, but use an older one if possible, and report this bug", ErrInconsistent, err)
}
