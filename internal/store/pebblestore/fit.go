package pebblestore

import (
	"errors"
	"log/slog"
	"time"
)

// On a small disk the write-ahead logs, up to nine of the size of a memtable, must
// leave most of the space to data, and so must the free space below which nothing
// is written.
const (
	diskPerMemTable  = 64
	diskPerFreeBytes = 8
	minMemTable      = 256 << 10
)

// fitDisk lowers settings that are too large for a small disk.
func (s *Store) fitDisk() {
	usage, err := s.opts.FS.GetDiskUsage(s.dir)
	if err != nil || usage.TotalBytes == 0 {
		return // a file system without a size, or an error that opening will meet too
	}
	total := int64(min(usage.TotalBytes, 1<<62))
	s.opts.MemTableBytes = min(s.opts.MemTableBytes, max(total/diskPerMemTable, minMemTable))
	if s.opts.MinFreeBytes > total/diskPerFreeBytes {
		s.opts.MinFreeBytes = total / diskPerFreeBytes
		s.log.Warn("small disk; low-disk lowered to an eighth of the disk's size",
			slog.String("dir", s.dir), slog.Int64("disk_bytes", total), slog.Int64("low_disk_bytes", s.opts.MinFreeBytes))
	}
}

// A logFile is a write-ahead log. It preallocates space, so that a sync need not
// write metadata, but in small steps: Pebble would preallocate the size of a whole
// memtable for each log, even while memtables are small.
type logFile struct {
	*failStopFile
	step               int64
	written, allocated int64
}

// stepsPerMemTable bounds the space that is preallocated and not used.
const stepsPerMemTable = 8

// Preallocate implements vfs.File: Write does it, step by step.
func (f *logFile) Preallocate(int64, int64) error { return nil }

func (f *logFile) Write(p []byte) (int, error) {
	for f.written+int64(len(p)) > f.allocated {
		_ = f.File.Preallocate(f.allocated, f.step) // if there is no space, the write fails
		f.allocated += f.step
	}
	n, err := f.failStopFile.Write(p)
	f.written += int64(n)
	return n, err
}

// flushTimeout bounds the flush at a clean shutdown. After a timeout the next start
// replays the logs.
const flushTimeout = 10 * time.Second

// flushLogs flushes memtables, so that the logs are no longer needed. It reports
// whether it succeeded.
func (s *Store) flushLogs() bool {
	if s.full.Load() {
		return false
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return false // the logs stay
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

// removeLogs frees the space of a closed database's logs, after flushLogs.
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
