package pebblestore

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
)

// sampleInterval is how old what is known of the free space may be when a write is
// admitted. A disk takes some gigabytes a second, and the limit is 256 MiB.
const sampleInterval = 10 * time.Millisecond

// A space is whether there is room to write. Writers and the file system find that
// there is none; the keeper alone finds that there is again, so that it is not said
// more than once a second.
type space struct {
	open    atomic.Bool // the store is
	full    atomic.Bool
	sampled atomic.Int64 // when, in nanoseconds after since
	since   time.Time    // when the store was made
	reserve *reserve     // nil: there is no limit
}

// withReserve is fs, met with the reserve where it is full.
func (s *Store) withReserve(fs vfs.FS) vfs.FS {
	s.space.since = time.Now()
	if s.opts.MinFreeBytes < 0 {
		return fs
	}
	s.space.reserve = &reserve{fs: fs, dir: s.dir}
	return &spaceFS{FS: fs, reserve: s.space.reserve, full: s.markFull, open: &s.space.open}
}

// refillReserve takes the reserve when that does not make the disk full.
func (s *Store) refillReserve() {
	const all = reserveFiles * reserveBytes
	if s.space.reserve == nil || s.full.Load() || s.stats.free.Load() < uint64(s.opts.MinFreeBytes)+all {
		return
	}
	if err := s.space.reserve.fill(); err != nil {
		s.log.Warn("no space can be reserved for a full disk", slog.String("dir", s.dir), slog.Any("err", err))
	}
}

// checkSpace refuses a write for which there may be no room.
func (s *Store) checkSpace() error {
	if !s.full.Load() && s.isSampleDue() {
		s.measureFreeSpace()
	}
	if s.full.Load() {
		return store.ErrFull
	}
	return nil
}

// isSampleDue is true for one caller each sampleInterval.
func (s *Store) isSampleDue() bool {
	now := int64(time.Since(s.space.since))
	last := s.sampled.Load()
	return now-last >= int64(sampleInterval) && s.sampled.CompareAndSwap(last, now)
}

// sampleSpace looks whether there is room to write.
func (s *Store) sampleSpace() {
	if s.measureFreeSpace() && s.full.Swap(false) {
		s.log.Info("the disk has space again", slog.String("dir", s.dir), slog.Uint64("free_bytes", s.stats.free.Load()))
	}
}

// measureFreeSpace measures the free space, and is true if it found enough.
func (s *Store) measureFreeSpace() (enough bool) {
	if s.opts.MinFreeBytes < 0 {
		return false
	}
	free, err := s.opts.FreeBytes()
	if errors.Is(err, vfs.ErrUnsupported) {
		return false
	}
	if err != nil {
		s.log.Error("measuring the free disk space", slog.String("dir", s.dir), slog.Any("err", err))
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
		s.log.Error("the disk is almost full: nothing is written until space is free",
			slog.String("dir", s.dir), slog.Uint64("free_bytes", s.stats.free.Load()), slog.Int64("min_free_bytes", s.opts.MinFreeBytes))
	}
}
