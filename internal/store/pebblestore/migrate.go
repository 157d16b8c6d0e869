package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A migration is the step from one format of the directory to the next. They run
// in order when a store opens, before anything else is done in it.
//
// A step takes effect at once and as a whole, with the new format's number: what
// ends the process or the machine before that leaves the old format, which
// migrates at the next start, and an older porchlight can still use.
type migration struct {
	from int
	what string
	// rewrite gives the new value of a key. Keys stay. nil: values stay too.
	rewrite func(key, value []byte) ([]byte, error)
}

// migrations is the way from format 1 to formatVersion, a step for each.
func migrations() []migration {
	return []migration{
		// The watermark was written when the directory was opened.
		{from: 1, what: "begin a watermark"},
		// Entries that are there stay as they are: both of their formats are read.
		{from: 2, what: "log where changes come from"},
	}
}

// newest is the format that the last migration leads to.
func (s *Store) newest() int {
	if n := len(s.opts.migrations); n > 0 {
		return s.opts.migrations[n-1].from + 1
	}
	return 1
}

const (
	migrationDir    = "migrating"
	migrationTable  = 32 << 20 // bytes
	migrationReport = time.Second
)

// migrate brings the database to the newest format.
func (s *Store) migrate() error {
	if err := s.opts.FS.RemoveAll(s.opts.FS.PathJoin(s.dir, migrationDir)); err != nil {
		return fmt.Errorf("remove what a migration left: %w", err)
	}
	text, err := s.meta(metaFormat)
	if err != nil || text == "" {
		return err // new, or not ours: load tells
	}
	format, err := strconv.Atoi(text)
	if err != nil {
		return s.newerError(text)
	}
	for _, m := range s.opts.migrations {
		if m.from < format {
			continue
		}
		if err := s.migrateStep(m); err != nil {
			return fmt.Errorf("migrate from format %d (%s): %w; nothing was changed, and starting again repeats it", m.from, m.what, err)
		}
	}
	return nil
}

func (s *Store) migrateStep(m migration) error {
	start := time.Now()
	s.log.Info("migrating the data directory", slog.String("dir", s.dir), slog.Int("from", m.from), slog.String("step", m.what))
	step := s.renumber
	if m.rewrite != nil {
		step = s.rewrite
	}
	if err := step(m); err != nil {
		return err
	}
	s.log.Info("the data directory has a new format", slog.String("dir", s.dir), slog.Int("format", m.from+1), slog.Duration("took", time.Since(start)))
	return nil
}

func (s *Store) renumber(m migration) error {
	b := s.db.NewBatch()
	return errors.Join(b.Set([]byte(metaFormat), []byte(strconv.Itoa(m.from+1)), nil), s.commitNow(b))
}

// rewrite writes every key anew into tables of their own, and puts these in the
// place of all that there is, in one edit of Pebble's MANIFEST.
func (s *Store) rewrite(m migration) error {
	w := &tableWriter{fs: s.opts.FS, dir: s.opts.FS.PathJoin(s.dir, migrationDir), options: s.pebbleOptions()}
	if err := w.fs.MkdirAll(w.dir, 0o700); err != nil {
		return err
	}
	err := errors.Join(s.rewriteAll(m, w), w.finish())
	if err != nil {
		return err
	}
	everything := pebble.KeyRange{Start: []byte{0}, End: []byte{0xff}}
	if _, err := s.db.IngestAndExcise(context.Background(), w.paths, nil, nil, everything); err != nil {
		return err
	}
	// Ingesting takes numbers that no write-ahead log has, so a new one begins.
	if err := s.db.Close(); err != nil {
		return err
	}
	s.db, err = s.newDB()
	return errors.Join(err, w.fs.RemoveAll(w.dir))
}

func (s *Store) rewriteAll(m migration, w *tableWriter) error {
	keys, told := int64(0), time.Now()
	return s.scan(nil, nil, func(key, value []byte) (bool, error) {
		if keys++; keys%checkEvery == 0 && time.Since(told) > migrationReport {
			told = time.Now()
			s.log.Info("migrating the data directory", slog.String("dir", s.dir), slog.Int("from", m.from), slog.Int64("keys", keys))
		}
		if string(key) == metaFormat {
			return true, w.set(key, []byte(strconv.Itoa(m.from+1)))
		}
		value, err := m.rewrite(key, value)
		if err != nil {
			return false, err
		}
		return true, w.set(key, value)
	})
}

// A tableWriter writes keys that come in order into tables of a bounded size.
type tableWriter struct {
	fs      vfs.FS
	dir     string
	options *pebble.Options
	paths   []string
	table   *sstable.Writer
	bytes   int
}

func (w *tableWriter) set(key, value []byte) error {
	if w.bytes > migrationTable {
		if err := w.finish(); err != nil {
			return err
		}
	}
	if w.table == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	w.bytes += len(key) + len(value)
	return w.table.Set(key, value)
}

func (w *tableWriter) begin() error {
	path := w.fs.PathJoin(w.dir, fmt.Sprintf("%06d.sst", len(w.paths)))
	f, err := w.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w.paths, w.bytes = append(w.paths, path), 0
	o := w.options.MakeWriterOptions(0, w.options.FormatMajorVersion.MaxTableFormat())
	w.table = sstable.NewWriter(objstorageprovider.NewFileWritable(f), o)
	return nil
}

func (w *tableWriter) finish() error {
	if w.table == nil {
		return nil
	}
	table := w.table
	w.table = nil
	return table.Close()
}
