package pebblestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/backup"
)

// VerifyOptions are the settings of Verify. The zero value of each field is its
// default.
type VerifyOptions struct {
	FS vfs.FS // the machine's
	// Progress is called with the bytes read so far and in total: every table is
	// read twice, once block by block and once in order of keys.
	Progress func(done, total int64)
}

// A Report describes an undamaged data directory.
type Report struct {
	Format    int
	Epoch     string
	Last      store.Position // the last sequence number
	Trimmed   store.Position // log entries up to here were dropped
	Users     int64
	Entries   int64
	Documents int64
	Tables    int64
	Bytes     int64 // of tables and write-ahead logs
}

// Verify reads every block of the data directory dir, and compares its parts with each
// other: log entries with records, and the expiry indexes with records and documents.
// It changes nothing.
//
// It locks the directory: ErrLocked means that a server is using it. Damage is
// ErrDamaged, with the name of the file where that is known. Writes that a killed
// server had not synced yet are not damage.
func Verify(ctx context.Context, dir string, o VerifyOptions) (Report, error) {
	v := &verifier{ctx: ctx, progress: o.Progress, s: newStore(dir, Options{FS: o.FS}.withDefaults())}
	if err := v.run(); err != nil {
		return Report{}, err
	}
	return v.report, nil
}

func (v *verifier) run() error {
	dir := v.s.dir
	exists, err := v.s.inspect()
	if err != nil {
		return err
	}
	if !exists {
		return fmt.Errorf("%w: %s holds no store; check the path", ErrMissing, dir)
	}
	if v.s.lock, err = pebble.LockDirectory(dir, v.s.opts.FS); err != nil {
		return lockError(dir, err, "or make a backup and verify the backup instead")
	}
	err = v.all()
	if !v.s.isFailed() {
		err = errors.Join(err, v.s.lock.Close())
	}
	if err != nil {
		return fmt.Errorf("verify the data directory %s: %w", dir, err)
	}
	return nil
}

// A verifier is one run of Verify.
type verifier struct {
	ctx      context.Context //nolint:containedctx // a verifier is one run
	s        *Store
	progress func(done, total int64)
	report   Report
	tables   []string // the files in use

	done, total int64
}

// all runs every check on the database, which it opens read-only.
func (v *verifier) all() error {
	if err := v.s.runIsolated(v.s.openReadOnly); err != nil {
		return v.explained(err)
	}
	return v.explained(v.s.runIsolated(func() error {
		return errors.Join(v.check(), v.s.db.Close())
	}))
}

// canceled says why the context ended, if it did.
func (v *verifier) canceled() error { return context.Cause(v.ctx) }

func (v *verifier) check() error {
	if err := runSteps(v.canceled, v.listTables, v.blocks, v.levels, v.data); err != nil {
		return err
	}
	v.advance(v.total - v.done)
	return nil
}

// explained turns Pebble's errors of damage into ErrDamaged. If an event reported the
// damage, its text is used, since it names the file.
func (v *verifier) explained(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrDamaged):
		return err
	case v.s.isFailed():
		return damaged(v.s.dir, v.s.haltedError())
	case isDamage(err):
		return damaged(v.s.dir, located(err))
	}
	return err
}

func (v *verifier) advance(bytes int64) {
	v.done = min(v.done+bytes, v.total)
	if v.progress != nil {
		v.progress(v.done, v.total)
	}
}

// listTables finds the tables in use, and the number of bytes to read.
func (v *verifier) listTables() error {
	levels, err := v.s.db.SSTables()
	if err != nil {
		return fmt.Errorf("list the tables: %w", err)
	}
	seen := make(map[string]bool)
	for _, level := range levels {
		for i := range level {
			name := fmt.Sprintf("%s.sst", level[i].BackingSSTNum)
			if !seen[name] {
				seen[name] = true
				v.tables = append(v.tables, name)
			}
		}
	}
	v.report.Tables = int64(len(v.tables))
	return v.measure()
}

// measure adds up the sizes of the tables in use and of the write-ahead logs.
func (v *verifier) measure() error {
	fs := v.s.opts.FS
	names, err := fs.List(v.s.dir)
	if err != nil {
		return fmt.Errorf("list the files: %w", err)
	}
	read := slices.Clone(v.tables)
	for _, name := range names {
		if isLog(name) {
			read = append(read, name)
		}
	}
	for _, name := range read {
		info, err := fs.Stat(fs.PathJoin(v.s.dir, name))
		if err != nil {
			return damaged(name, err)
		}
		v.report.Bytes += info.Size()
	}
	v.total = 2 * v.report.Bytes
	return nil
}

// blocks checks every block of every table in use against its checksum.
func (v *verifier) blocks() error {
	for _, name := range v.tables {
		if err := v.canceled(); err != nil {
			return err
		}
		size, err := v.table(v.s.opts.FS.PathJoin(v.s.dir, name))
		if err != nil {
			return cmp.Or(v.canceled(), damaged(name, err))
		}
		v.advance(size)
	}
	return nil
}

func (v *verifier) table(path string) (size int64, err error) {
	f, err := v.s.opts.FS.Open(path)
	if err != nil {
		return 0, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	size = readable.Size()
	// NewReader closes readable if it fails.
	r, err := sstable.NewReader(v.ctx, readable, v.s.pebbleOptions().MakeReaderOptions())
	if err != nil {
		return size, err
	}
	return size, errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// levels checks that no table hides newer values in another.
func (v *verifier) levels() error {
	if err := v.s.db.CheckLevels(nil); err != nil {
		return fmt.Errorf("the order of the tables: %w", err)
	}
	return nil
}

// checkEvery is how many keys are read between two checks of the context.
const checkEvery = 4096

// data decodes every key and value, and checks them against each other.
func (v *verifier) data() error {
	if err := v.numbers(); err != nil {
		return err
	}
	c, keys := newContentCheck(), 0
	err := v.s.scan(nil, nil, func(key, value []byte) (bool, error) {
		if keys++; keys%checkEvery == 0 && v.ctx.Err() != nil {
			return false, v.canceled()
		}
		v.advance(int64(len(key) + len(value)))
		count(&c.counts, key)
		if err := c.addPair(key, value); err != nil {
			return false, damaged(v.s.dir, err)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := c.finish(backup.Header{Format: v.report.Format, Position: uint64(v.report.Last)}); err != nil {
		return damaged(v.s.dir, err)
	}
	v.report.Users, v.report.Entries, v.report.Documents = c.counts.Records, c.counts.Entries, c.counts.Documents
	return nil
}

// numbers reads and checks the metadata.
func (v *verifier) numbers() error {
	format, err := v.s.meta(metaFormat)
	if err != nil {
		return err
	}
	if v.report.Format, err = strconv.Atoi(format); err != nil {
		return damaged(v.s.dir, fmt.Errorf("invalid format %q in the metadata", format))
	}
	if v.report.Format > v.s.newestFormat() {
		return v.s.newerError(format)
	}
	if v.report.Epoch, err = v.s.meta(metaEpoch); err != nil {
		return err
	}
	if v.report.Epoch == "" {
		return damaged(v.s.dir, errors.New("the epoch is missing"))
	}
	if err := v.s.loadNumbers(); errors.Is(err, ErrDamaged) {
		return err
	} else if err != nil {
		return damaged(v.s.dir, err)
	}
	v.report.Last, v.report.Trimmed = v.s.progress.durableAt(), v.s.trimmedTo()
	return v.s.checkWatermark(v.report.Last)
}
