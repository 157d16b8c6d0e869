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
		s.opts.MinFreeBytes = int64(leastFree(uint64(s.opts.MinFreeBytes), uint64(total)))
		s.log.Warn("small disk; low-disk lowered to an eighth of the disk's size",
			slog.String("dir", s.dir), slog.Int64("disk_bytes", total), slog.Int64("low_disk_bytes", s.opts.MinFreeBytes))
	}
}

// leastFree limits a setting to what the size of a disk allows; zero: it is unknown.
func leastFree(setting, disk uint64) uint64 {
	if disk == 0 {
		return setting
	}
	return min(setting, disk/diskPerFreeBytes)
}

// A logFile is a write-ahead log. It writes zeros ahead of the records, step by step, so
// that a sync need not write metadata: neither a new size of the file nor which of its
// blocks are in use. That takes a commit of the file system's journal, which costs as much
// as all the rest of a small group. Pebble reads zeros as the end of the log.
type logFile struct {
	*failStopFile
	zeros          []byte // of one step
	written, ahead int64  // up to ahead the file has zeros, or a recycled log
}

const (
	// stepsPerMemTable bounds the space that is written ahead and not used.
	stepsPerMemTable = 8
	maxLogStep       = 256 << 10
)

// Preallocate implements vfs.File: Write does it.
func (f *logFile) Preallocate(int64, int64) error { return nil }

func (f *logFile) Write(p []byte) (int, error) {
	if end := f.written + int64(len(p)); end > f.ahead {
		f.writeAhead(end, int64(len(p)))
	}
	n, err := f.failStopFile.Write(p)
	f.written += int64(n)
	return n, err
}

// writeAhead writes zeros from the end of a write of size bytes on, unless such a write
// needs a step of its own anyway. Where there is no space for zeros, there may be some for
// records.
func (f *logFile) writeAhead(end, size int64) {
	f.ahead = end
	step := int64(len(f.zeros))
	if size >= step {
		return
	}
	_, err := f.File.WriteAt(f.zeros, end)
	switch {
	case err == nil:
		f.ahead += step
	case !noSpace(err):
		f.check(err)
	}
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

func (s *Store) logStep() int64 {
	return min(max(s.opts.MemTableBytes/stepsPerMemTable, 1), maxLogStep)
}

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
