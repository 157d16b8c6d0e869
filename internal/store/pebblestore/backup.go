package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/backup"
)

// backupEngine identifies the format of keys and values in a backup.
const backupEngine = "pebblestore"

// chunksPerIterator limits how much one iterator reads: while an iterator is open,
// tables that compactions have replaced stay on the disk.
const chunksPerIterator = 64

// BackupInfo describes a backup.
type BackupInfo = backup.Info

// Backup writes a consistent snapshot of the store to w: everything acknowledged before
// the call, and nothing that is not durable. Updates continue meanwhile. It calls
// progress, unless that is nil, with the bytes of keys and values written so far and an
// estimate of the total, which is exact in the last call.
//
// It returns an error when the store closes. Close waits for it, so w must not block
// then.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (BackupInfo, error) {
	return s.backup(ctx, w, progress, backup.ChunkBytes)
}

func (s *Store) backup(ctx context.Context, w io.Writer, progress func(done, total int64), chunkBytes int) (info BackupInfo, err error) {
	if err := s.acquireDB(); err != nil {
		return BackupInfo{}, err
	}
	defer s.releaseDB()
	snapshot := s.db.NewSnapshot()
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	header, err := s.backupHeader(snapshot)
	if err != nil {
		return BackupInfo{}, err
	}
	// Pebble shows what is applied before it is on the disk. A snapshot holds complete
	// batches, each with the number of its last change, so the snapshot is durable
	// once that number is.
	if err := s.awaitDurable(ctx, store.Position(header.Position)); err != nil {
		return BackupInfo{}, err
	}
	c := &backupCopy{s: s, from: snapshot, chunkBytes: chunkBytes, progress: progress, total: s.sizeEstimate()}
	if c.to, err = backup.NewWriter(w, header, chunkBytes); err != nil {
		return BackupInfo{}, err
	}
	return c.run(ctx)
}

// BackupDir is Backup of a store that is not open. It changes nothing in dir, and uses
// only o's file system and logger.
func BackupDir(ctx context.Context, dir string, w io.Writer, o Options, progress func(done, total int64)) (info BackupInfo, err error) {
	s := newStore(dir, o.withDefaults())
	exists, err := s.inspect()
	if err != nil {
		return BackupInfo{}, err
	}
	if !exists {
		return BackupInfo{}, fmt.Errorf("%w: %s holds no store; check the path", ErrMissing, dir)
	}
	if err := s.openForBackup(); err != nil {
		return BackupInfo{}, err
	}
	defer func() { err = errors.Join(err, s.closeDB()) }()
	header, err := s.backupHeader(s.db)
	if err == nil {
		err = s.checkWatermark(store.Position(header.Position))
	}
	if err != nil {
		return BackupInfo{}, err
	}
	c := &backupCopy{s: s, from: s.db, chunkBytes: backup.ChunkBytes, progress: progress, total: s.sizeEstimate()}
	if c.to, err = backup.NewWriter(w, header, backup.ChunkBytes); err != nil {
		return BackupInfo{}, err
	}
	return c.run(ctx)
}

// openForBackup locks the directory and opens the database read-only.
func (s *Store) openForBackup() (err error) {
	if s.lock, err = pebble.LockDirectory(s.dir, s.opts.FS); err != nil {
		return lockError(s.dir, err, ownDirectory)
	}
	if err = s.runIsolated(s.openReadOnly); err != nil {
		return errors.Join(s.openError(err), s.lock.Close())
	}
	return nil
}

// backupHeader describes the content that a reader of the database sees.
func (s *Store) backupHeader(from pebble.Reader) (backup.Header, error) {
	h := backup.Header{Engine: backupEngine, Created: s.opts.Clock().UTC().Truncate(time.Millisecond)}
	err := readMeta(from, metaFormat, func(value []byte) (err error) {
		h.Format, err = strconv.Atoi(string(value))
		return err
	})
	if err == nil && h.Format == 0 {
		err = fmt.Errorf("%w: the creation of data directory %s was interrupted, so there is nothing to back up", ErrUnfinished, s.dir)
	}
	if err == nil && h.Format > s.newestFormat() {
		err = s.newerError(strconv.Itoa(h.Format))
	}
	if err != nil {
		return h, err
	}
	return h, errors.Join(
		readMeta(from, metaEpoch, func(value []byte) error {
			h.Epoch = string(value)
			return nil
		}),
		readMeta(from, metaSeq, func(value []byte) (err error) {
			h.Position, err = cutNumber(value)
			return err
		}),
	)
}

// readMeta calls use with a value of the metadata, if it exists.
func readMeta(from pebble.Reader, name string, use func([]byte) error) error {
	value, closer, err := from.Get([]byte(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer closer.Close()
	if err := use(value); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// BackupEstimate estimates the size of a backup in bytes; zero: not known.
func (s *Store) BackupEstimate() int64 {
	if s.isHalted() || s.acquireDB() != nil { // a failed database may hold a lock that this needs
		return 0
	}
	defer s.releaseDB()
	return s.sizeEstimate()
}

// DiskUsage is the free space on the disk of a directory of this machine, the size of that
// disk, and the free space below which a store there refuses updates if low is its setting.
func DiskUsage(dir string, low uint64) (free, total, refused uint64, err error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	return usage.AvailBytes, usage.TotalBytes, leastFree(low, usage.TotalBytes), err
}

// sizeEstimate estimates the bytes of keys and values: nothing is compressed, and few
// values are stored twice.
func (s *Store) sizeEstimate() int64 {
	m := s.db.Metrics()
	total := m.Total()
	return total.TablesSize + int64(m.MemTable.Size)
}

// A backupCopy copies the content that one reader sees into a backup.
type backupCopy struct {
	s          *Store
	from       pebble.Reader
	to         *backup.Writer
	chunkBytes int
	progress   func(done, total int64)

	done, total int64
	reported    int64 // of the stream, when progress was last called
	counts      backup.Counts
}

func (c *backupCopy) run(ctx context.Context) (BackupInfo, error) {
	var next []byte
	for more := true; more; {
		var err error
		if next, more, err = c.copyRange(ctx, next); err != nil {
			return BackupInfo{}, err
		}
	}
	info, err := c.to.Close(c.counts)
	if err == nil && c.progress != nil {
		c.progress(c.done, c.done)
	}
	return info, err
}

// copyRange copies about chunksPerIterator chunks, from a key on, and gives the key to
// continue from.
func (c *backupCopy) copyRange(ctx context.Context, from []byte) (next []byte, more bool, err error) {
	it, err := c.from.NewIter(&pebble.IterOptions{LowerBound: from})
	if err != nil {
		return nil, false, fmt.Errorf("read: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	end := c.done + chunksPerIterator*int64(c.chunkBytes)
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, false, fmt.Errorf("read: %w", err)
		}
		if err := c.copyPair(it.Key(), value); err != nil {
			return nil, false, err
		}
		if err := c.afterChunk(ctx); err != nil {
			return nil, false, err
		}
		if c.done >= end {
			return append(append([]byte(nil), it.Key()...), 0), true, nil
		}
	}
	return nil, false, it.Error()
}

func (c *backupCopy) copyPair(key, value []byte) error {
	if !isContent(key) {
		return nil
	}
	count(&c.counts, key)
	c.done += int64(len(key) + len(value))
	return c.to.Add(key, value)
}

// isContent reports whether a key belongs in a backup. The epoch and the state describe
// the directory, not its content.
func isContent(key []byte) bool {
	return string(key) != metaEpoch && string(key) != metaState
}

func count(to *backup.Counts, key []byte) {
	if len(key) == 0 {
		return
	}
	switch key[0] {
	case recordPrefix:
		to.Records++
	case logPrefix:
		to.Entries++
	case documentPrefix:
		to.Documents++
	}
}

// afterChunk, after each chunk, reports progress and checks whether to continue.
func (c *backupCopy) afterChunk(ctx context.Context) error {
	if c.to.Written() == c.reported {
		return nil
	}
	c.reported = c.to.Written()
	if c.progress != nil {
		c.progress(c.done, max(c.done, c.total))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.s.closing:
		return fmt.Errorf("the backup was interrupted: %w", store.ErrClosed)
	case <-c.s.halted:
		return fmt.Errorf("the backup was interrupted: %w", c.s.haltedError())
	default:
		return nil
	}
}
