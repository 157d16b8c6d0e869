package pebblestore

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
)

// sampleInterval is the maximum age of the measured free space when a write is
// admitted. A disk absorbs some gigabytes a second, and the limit is 256 MiB.
const sampleInterval = 10 * time.Millisecond

// A space holds whether there is enough free disk space. Writers and the file system
// detect a full disk; only maintenance detects that space is free again, so that this
// is logged at most once a second.
type space struct {
	open    atomic.Bool // the store is open
	full    atomic.Bool
	sampled atomic.Int64 // the last measurement, in nanoseconds after since
	since   time.Time    // the creation of the Store
	reserve *reserve     // nil: there is no limit
}

// withReserve wraps fs so that it uses the reserve when the disk is full.
func (s *Store) withReserve(fs vfs.FS) vfs.FS {
	s.space.since = time.Now()
	if s.opts.MinFreeBytes < 0 {
		return fs
	}
	s.space.reserve = &reserve{fs: fs, dir: s.dir}
	return &spaceFS{FS: fs, reserve: s.space.reserve, full: s.markFull, open: &s.space.open}
}

// refillReserve allocates the reserve, if that does not fill the disk.
func (s *Store) refillReserve() {
	const all = reserveFiles * reserveBytes
	if s.space.reserve == nil || s.full.Load() || s.stats.free.Load() < uint64(s.opts.MinFreeBytes)+all {
		return
	}
	if err := s.space.reserve.fill(); err != nil {
		s.log.Warn("could not refill the disk space reserve; will retry", slog.String("dir", s.dir), slog.Any("err", err))
	}
}

// checkSpace refuses a write when the disk is almost full.
func (s *Store) checkSpace() error {
	if !s.full.Load() && s.isSampleDue() {
		s.measureFreeSpace()
	}
	if s.full.Load() {
		return store.ErrFull
	}
	return nil
}

// isSampleDue returns true to one caller each sampleInterval.
func (s *Store) isSampleDue() bool {
	now := int64(time.Since(s.space.since))
	last := s.sampled.Load()
	return now-last >= int64(sampleInterval) && s.sampled.CompareAndSwap(last, now)
}

// sampleSpace measures the free space, and admits writes again if it is enough.
func (s *Store) sampleSpace() {
	if s.measureFreeSpace() && s.full.Swap(false) {
		s.log.Info("disk space is free again; writes are accepted", slog.String("dir", s.dir), slog.Uint64("free_bytes", s.stats.free.Load()))
	}
}

// measureFreeSpace reports whether the free space is enough. If not, it refuses writes
// from then on.
func (s *Store) measureFreeSpace() (enough bool) {
	if s.opts.MinFreeBytes < 0 {
		return false
	}
	free, err := s.opts.FreeBytes()
	if errors.Is(err, vfs.ErrUnsupported) {
		return false
	}
	if err != nil {
		s.log.Error("could not measure free disk space; will retry", slog.String("dir", s.dir), slog.Any("err", err))
		return false
	}
	s.stats.free.Store(free)
	if free >= uint64(s.opts.MinFreeBytes) {
		return true
	}
	s.markFull()
	return false
}

// markFull refuses writes from now on.
func (s *Store) markFull() {
	if !s.full.Swap(true) {
		s.log.Error("disk almost full; writes are refused until space is free",
			slog.String("dir", s.dir), slog.Uint64("free_bytes", s.stats.free.Load()), slog.Int64("min_free_bytes", s.opts.MinFreeBytes))
	}
}
