package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store/backup"
)

// RestoringSuffix is the suffix of a restore's working directory, beside the new one.
// The restore removes it at its end, unless it was killed.
const RestoringSuffix = ".restoring"

// tableBytes is the size of the tables that a restore writes.
const tableBytes = 16 << 20

// ErrOccupied: a restore or an import never changes an existing store.
var ErrOccupied = errors.New("the directory is not empty")

// Restore creates the store in dir, which is missing or empty, from a backup. It calls
// progress, unless that is nil, with the bytes of the backup read and a total of zero,
// since the total is not known.
//
// The store gets a new epoch, so that cursors of the old one are refused.
//
// Restore works in a directory beside dir, and renames it to dir when everything is
// checked and on the disk. Until then, and after an error, dir does not exist. The next
// restore removes what a killed one left beside dir.
func Restore(ctx context.Context, dir string, from io.Reader, o Options, progress func(done, total int64)) (BackupInfo, error) {
	o = o.withDefaults()
	o.MustExist, o.NewEpoch, o.Durability = true, true, Fsync // for opening it at the end
	r := &restore{staging: staging{o: o, what: "restore", dir: dir, workDir: dir + RestoringSuffix}, progress: progress}
	if err := r.checkVacant(); err != nil {
		return BackupInfo{}, err
	}
	reader, err := openBackup(from)
	if err != nil {
		return BackupInfo{}, err
	}
	r.from = reader
	r.format = newStore(r.storeDir(), o).tableFormat()
	if err := r.lockWorkDir(); err != nil {
		return BackupInfo{}, err
	}
	err = r.run(ctx)
	if r.table != nil {
		_ = r.table.Close() // its file is removed below
	}
	if err := r.end(err); err != nil {
		return BackupInfo{}, err
	}
	return reader.Info(), nil
}

// openBackup reads a backup's header, and refuses an unknown engine or format.
func openBackup(from io.Reader) (*backup.Reader, error) {
	r, err := backup.NewReader(from)
	if err != nil {
		return nil, err
	}
	switch h := r.Header(); {
	case h.Engine != backupEngine:
		return nil, fmt.Errorf("%w: it holds the data of engine %q, and this porchlight knows %q: use a newer porchlight", backup.ErrNewer, h.Engine, backupEngine)
	case h.Format > formatVersion:
		return nil, fmt.Errorf("%w: its data have format %d, and this version supports formats up to %d: use a newer porchlight", backup.ErrNewer, h.Format, formatVersion)
	case h.Format < 1:
		return nil, fmt.Errorf("%w: its data have the invalid format %d", backup.ErrDamaged, h.Format)
	}
	return r, nil
}

// A restore has tables beside the store in its working directory, named N.sst.
type restore struct {
	staging

	from     *backup.Reader
	progress func(done, total int64)

	format sstable.WriterOptions
	tables []string // paths
	table  *sstable.Writer
}

func (r *restore) run(ctx context.Context) error {
	if err := r.read(ctx); err != nil {
		return err
	}
	// From here on the backup is known to be complete.
	if err := r.load(ctx); err != nil {
		return err
	}
	if err := r.initialize(); err != nil { //nolint:contextcheck // a store outlives the call that opens it
		return err
	}
	return r.publish()
}

// read writes the content of the backup into tables.
func (r *restore) read(ctx context.Context) error {
	if err := r.from.Each(reading(ctx, r.progress), r.add); err != nil {
		return err
	}
	return r.finishTable()
}

func (r *restore) add(key, value []byte) error {
	if !isContent(key) {
		return nil
	}
	if r.table == nil {
		if err := r.newTable(); err != nil {
			return err
		}
	}
	if err := r.table.Set(key, value); err != nil {
		return err
	}
	if r.table.Raw().EstimatedSize() >= tableBytes {
		return r.finishTable()
	}
	return nil
}

func (r *restore) newTable() error {
	if err := r.checkSpace(); err != nil {
		return err
	}
	path := r.o.FS.PathJoin(r.workDir, fmt.Sprintf("%06d.sst", len(r.tables)+1))
	f, err := r.o.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	r.tables = append(r.tables, path)
	r.table = sstable.NewWriter(objstorageprovider.NewFileWritable(f), r.format)
	return nil
}

// tableFormat is the format of the lowest level, where the tables of a restore go.
func (s *Store) tableFormat() sstable.WriterOptions {
	o := s.pebbleOptions()
	o.EnsureDefaults()
	return o.MakeWriterOptions(len(o.Levels)-1, o.FormatMajorVersion.MaxTableFormat())
}

// finishTable syncs and closes the current table.
func (r *restore) finishTable() error {
	if r.table == nil {
		return nil
	}
	t := r.table
	r.table = nil
	return t.Close()
}

// load creates a database and ingests the tables in one step.
func (r *restore) load(ctx context.Context) error {
	fs := r.o.FS
	if err := fs.MkdirAll(r.storeDir(), 0o700); err != nil {
		return err
	}
	s := newStore(r.storeDir(), r.o)
	if err := s.openDB(); err != nil {
		return err
	}
	err := s.runIsolated(func() error { return s.db.Ingest(ctx, r.tables) })
	return errors.Join(err, s.closeDB())
}
