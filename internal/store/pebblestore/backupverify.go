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
	for reported := int64(0); ; {
		key, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return BackupInfo{}, err
		}
		count(&c.counts, key)
		if err := c.addPair(key, value); err != nil {
			return BackupInfo{}, wrongContent(err)
		}
		if reported == r.Read() {
			continue
		}
		reported = r.Read()
		if progress != nil {
			progress(reported, 0)
		}
		if ctx.Err() != nil {
			return BackupInfo{}, context.Cause(ctx)
		}
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

// ErrInconsistent: what is stored contradicts itself.
var ErrInconsistent = errors.New("what is stored contradicts itself")

func wrongContent(err error) error {
	return fmt.Errorf("the backup is as it was written, but %w: %w; it can be restored, but use an older one if you can, and report this", ErrInconsistent, err)
}
