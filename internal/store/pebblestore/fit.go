package pebblestore

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
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
	*stopFile
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
	n, err := f.stopFile.Write(p)
	f.written += int64(n)
	return n, err
}

// What a clean stop may leave in logs. More is flushed to tables, and what the
// logs took is given back.
const (
	logsLeft     = 4 << 20
	flushTimeout = 10 * time.Second // longer: the next start reads the logs
)

// flushLogs empties the logs if they are large. It is false if they are not empty.
func (s *Store) flushLogs() bool {
	if s.full.Load() || s.logBytes() <= logsLeft {
		return false
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return false // it is for space only, and closing goes on
	}
	select {
	case <-flushed:
		return true
	case <-s.seized:
	case <-time.After(flushTimeout):
	}
	return false
}

// onDisk reports whether the directory is on a disk.
func (s *Store) onDisk() bool { return vfs.Root(s.opts.FS) == vfs.Default }

func (s *Store) logStep() int64 { return max(s.opts.MemTableBytes/stepsPerMemTable, 1) }

func (s *Store) logBytes() (sum int64) {
	names, err := s.opts.FS.List(s.dir)
	if err != nil {
		return 0
	}
	for _, name := range names {
		if info, err := s.opts.FS.Stat(s.opts.FS.PathJoin(s.dir, name)); err == nil && isLog(name) {
			sum += info.Size()
			if s.onDisk() {
				sum += s.logStep() // which may be taken and not used
			}
		}
	}
	return sum
}

// pruneLogs gives back what the logs of a closed database took, after flushLogs:
// those that nobody needs, and the rest of the last one, which has the state of
// the store in its first block and may be an old file that is used again.
func (s *Store) pruneLogs() error {
	fs := s.opts.FS
	desc, err := pebble.Peek(s.dir, fs)
	if err != nil {
		return err
	}
	a := &audit{fs: fs, dir: s.dir}
	if err := a.auditManifest(desc.ManifestFilename); err != nil {
		return err
	}
	names, err := fs.List(s.dir)
	if err != nil {
		return err
	}
	var last string
	for _, name := range names {
		number, ok := numberOf(name, "", logSuffix)
		switch {
		case !ok:
		case number < a.unflushed:
			s.fence.logs.gone(name)
			err = errors.Join(err, fs.Remove(fs.PathJoin(s.dir, name)))
		case last != "":
			return err // more than one is in use: the flush has not ended
		default:
			last = name
		}
	}
	if last != "" {
		err = errors.Join(err, s.cutOff(fs.PathJoin(s.dir, last)))
	}
	return err
}

// cutOff leaves the first block of a log, and no space behind it, on a disk.
func (s *Store) cutOff(path string) error {
	info, err := s.opts.FS.Stat(path)
	if err != nil || !s.onDisk() {
		return err
	}
	return os.Truncate(path, min(info.Size(), chunkBlock))
}
