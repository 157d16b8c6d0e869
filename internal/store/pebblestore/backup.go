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

// backupEngine says in a backup whose keys and values it has.
const backupEngine = "pebblestore"

// chunksPerIterator is how much one iterator reads. One that lasts keeps tables on the disk
// that compactions have replaced.
const chunksPerIterator = 64

// BackupInfo is what a backup says of itself.
type BackupInfo = backup.Info

// Backup writes one consistent cut of the store to w: everything acknowledged
// before the call, and nothing that is not durable. Updates go on meanwhile. It
// calls progress, unless that is nil, with the bytes of keys and values written,
// and an estimate of how many there will be, which is exact in the last call.
//
// It ends with an error when the store closes, which waits for it: who closes the
// store sees to it that w does not block.
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
	// Pebble shows what is applied before it is on the disk. A snapshot has whole
	// batches, and each has the number of its last change: what is up to that one
	// is all that the snapshot has.
	if err := s.awaitDurable(ctx, store.Position(header.Position)); err != nil {
		return BackupInfo{}, err
	}
	c := &backupCopy{s: s, from: snapshot, chunkBytes: chunkBytes, progress: progress, total: s.sizeEstimate()}
	if c.to, err = backup.NewWriter(w, header, chunkBytes); err != nil {
		return BackupInfo{}, err
	}
	return c.run(ctx)
}

// BackupDir is Backup of a store that nobody has open. It changes nothing in dir,
// and takes o's file system and logger only.
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

// openForBackup locks the directory and opens the database to read from it.
func (s *Store) openForBackup() (err error) {
	if s.lock, err = pebble.LockDirectory(s.dir, s.opts.FS); err != nil {
		return lockError(s.dir, err)
	}
	if err = s.runIsolated(s.openReadOnly); err != nil {
		return errors.Join(s.openError(err), s.lock.Close())
	}
	return nil
}

// cut describes what a reader of the database sees.
func (s *Store) backupHeader(from pebble.Reader) (backup.Header, error) {
	h := backup.Header{Engine: backupEngine, Created: s.opts.Clock().UTC().Truncate(time.Millisecond)}
	err := readMeta(from, metaFormat, func(value []byte) (err error) {
		h.Format, err = strconv.Atoi(string(value))
		return err
	})
	if err == nil && h.Format == 0 {
		err = fmt.Errorf("%w: the creation of data directory %s was cut short, so there is nothing to back up", ErrUnfinished, s.dir)
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

// readMeta calls use with a value of the store's own, if it is there.
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

// BackupEstimate is about how many bytes a backup would have; zero: not known.
func (s *Store) BackupEstimate() int64 {
	if s.isHalted() || s.acquireDB() != nil { // a failed database may hold the lock that this takes
		return 0
	}
	defer s.releaseDB()
	return s.sizeEstimate()
}

// FreeBytes is the free space on the disk of a directory of this machine.
func FreeBytes(dir string) (uint64, error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	return usage.AvailBytes, err
}

// sizeEstimate is about how many bytes of keys and values there are: nothing is
// compressed, and little is there twice.
func (s *Store) sizeEstimate() int64 {
	m := s.db.Metrics()
	total := m.Total()
	return total.TablesSize + int64(m.MemTable.Size)
}

// A backupCopy carries what one reader sees into a backup.
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

// leg copies about chunksPerIterator, from a key on, and gives the key to go on from.
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

// isContent reports whether a key belongs in a backup. Which store it was, and
// how that was left, say nothing of another directory.
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

// pause, after each chunk, reports, and looks whether to go on.
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
		return fmt.Errorf("the backup was cut short: %w", store.ErrClosed)
	case <-c.s.halted:
		return fmt.Errorf("the backup was cut short: %w", c.s.haltedError())
	default:
		return nil
	}
}
