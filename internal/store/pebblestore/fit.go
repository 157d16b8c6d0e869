package pebblestore

import (
	"errors"
	"log/slog"
	"time"
)

// On a small disk the write-ahead logs, of which there may be nine of the size of
// a memtable, must leave most of it to data; and the free space below which
// nothing is written must leave something to write to.
const (
	diskPerMemTable  = 64
	diskPerFreeBytes = 8
	leastMemTable    = 256 << 10
)

// fitDisk lowers what is meant for an ordinary disk to what a small one has.
func (s *Store) fitDisk() {
	usage, err := s.opts.FS.GetDiskUsage(s.dir)
	if err != nil || usage.TotalBytes == 0 {
		return // a file system without a size, or one that the start will find failing
	}
	total := int64(min(usage.TotalBytes, 1<<62))
	s.opts.MemTableBytes = min(s.opts.MemTableBytes, max(total/diskPerMemTable, leastMemTable))
	if s.opts.MinFreeBytes > total/diskPerFreeBytes {
		s.opts.MinFreeBytes = total / diskPerFreeBytes
		s.log.Warn("the disk is small: low-disk is lowered to an eighth of it",
			slog.String("dir", s.dir), slog.Int64("disk_bytes", total), slog.Int64("low_disk_bytes", s.opts.MinFreeBytes))
	}
}

// A logFile is a write-ahead log. It takes space ahead of what is written, so that
// a sync need not write where its blocks are, but a step at a time: Pebble would
// take that of a whole memtable for each log, also while memtables are small.
type logFile struct {
	*failStopFile
	step               int64
	written, allocated int64
}

// stepsPerMemTable bounds what is taken of the disk and not used.
const stepsPerMemTable = 8

// Preallocate implements vfs.File: Write does it, step by step.
func (f *logFile) Preallocate(int64, int64) error { return nil }

// Write implements vfs.File.
func (f *logFile) Write(p []byte) (int, error) {
	for f.written+int64(len(p)) > f.allocated {
		_ = f.File.Preallocate(f.allocated, f.step) // if there is no space, writing finds that
		f.allocated += f.step
	}
	n, err := f.failStopFile.Write(p)
	f.written += int64(n)
	return n, err
}

// flushTimeout bounds a clean stop. If it is over, the next start reads the logs.
const flushTimeout = 10 * time.Second

// flushLogs writes to tables what is in the logs, which then nobody needs. It
// reports whether it did.
func (s *Store) flushLogs() bool {
	if s.full.Load() {
		return false
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return false // closing goes on with the logs
	}
	start := time.Now()
	ticker := time.NewTicker(tableRetryDelay)
	defer ticker.Stop()
	for {
		select {
		case <-flushed:
			return true
		case <-s.abandoned:
			return false
		case <-ticker.C:
			if s.full.Load() || time.Since(start) > flushTimeout {
				return false
			}
		}
	}
}

func (s *Store) logStep() int64 { return max(s.opts.MemTableBytes/stepsPerMemTable, 1) }

// removeLogs gives back what the logs of a closed database took, after flushLogs.
func (s *Store) removeLogs() error {
	fs := s.opts.FS
	names, err := fs.List(s.dir)
	for _, name := range names {
		if isLog(name) {
			err = errors.Join(err, fs.Remove(fs.PathJoin(s.dir, name)))
		}
	}
	return err
}
