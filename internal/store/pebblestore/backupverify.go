package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// VerifyBackup reads a whole backup and checks everything in it: every checksum,
// every value as its reader would decode it, and what records, log, expiry index
// and documents say of each other. It calls progress as Restore does.
//
// It takes constant memory.
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
		return BackupInfo{}, wrongContent(fmt.Errorf("it has %+v and says that it has %+v", c.counts, info.Counts))
	}
	if err := c.finish(info.Header); err != nil {
		return BackupInfo{}, wrongContent(err)
	}
	return info, nil
}

// reading reports the bytes of a backup that were read, and ends with ctx.
func reading(ctx context.Context, progress func(done, total int64)) func(int64) error {
	return func(done int64) error {
		if progress != nil {
			progress(done, 0)
		}
		return context.Cause(ctx)
	}
}

// ErrInconsistent: what is stored contradicts itself.
var ErrInconsistent = errors.New("what is stored contradicts itself")

func wrongContent(err error) error {
	return fmt.Errorf("the backup is as it was written, but %w: %w; it can be restored, but use an older one if you can, and report this", ErrInconsistent, err)
}
