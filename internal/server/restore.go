package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/store/backup"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// keepAll is the retention while a store is restored: what is old is the server's
// to drop.
const keepAll = 100 * 365 * 24 * time.Hour

// A BackupFile is a backup to read.
type BackupFile struct {
	Path     string
	From     io.Reader // if not nil, read instead of a file
	Progress Progress  // nil: not reported
}

// read opens the backup for use, until ctx ends.
func (f BackupFile) read(ctx context.Context, use func(from io.Reader, progress func(done, total int64)) (backup.Info, error)) (backup.Info, error) {
	from, total := f.From, int64(0)
	if from == nil {
		file, err := os.Open(f.Path)
		if err != nil {
			return backup.Info{}, fmt.Errorf("read the backup: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil {
			total = info.Size()
		}
		from = file
	} else {
		stream, done := untilEnd(ctx, from)
		defer done()
		from = stream
	}
	info, err := use(from, func(done, _ int64) { f.Progress.report(done, total) })
	switch {
	case err == nil:
		f.Progress.report(info.Bytes, info.Bytes)
	case ctx.Err() != nil: // Ctrl-C ends the program that writes to a pipe too: its backup is not damaged
		err = fmt.Errorf("reading the backup was cut short: %w", context.Cause(ctx))
	}
	return info, err
}

// untilEnd reads from a stream, which may wait forever, until ctx ends or done is called.
func untilEnd(ctx context.Context, from io.Reader) (stream io.Reader, done func()) {
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) }) // it never fails
	go func() {
		_, err := io.Copy(w, from)
		_ = w.CloseWithError(err)
	}()
	return r, func() {
		stop()
		_ = r.Close() // likewise
	}
}

// A RestoreReport is of a restore that was done.
type RestoreReport struct {
	DataDir string `json:"data_dir"`
	Seconds Second `json:"seconds"`
	backup.Info
}

// Restore makes the data directory, which is missing or empty, from a backup. The
// new store has an epoch of its own. Of what a data directory may hold beside the
// store, nothing is in a backup.
func Restore(ctx context.Context, dataDir string, f BackupFile) (RestoreReport, error) {
	begun := time.Now()
	if err := checkUnused(dataDir, "restore", pebblestore.RestoringSuffix); err != nil {
		return RestoreReport{}, err
	}
	info, err := f.read(ctx, func(from io.Reader, progress func(done, total int64)) (backup.Info, error) {
		o := pebblestore.Options{Retention: keepAll, MinFreeBytes: int64(config.Default().LowDisk)}
		return pebblestore.Restore(ctx, storeDir(dataDir), from, o, progress)
	})
	return RestoreReport{DataDir: dataDir, Seconds: Second(time.Since(begun)), Info: info}, explainSpace(dataDir, err)
}

// ErrRestoring: a restore has not ended, or never will.
var ErrRestoring = errors.New("a restore is running or was cut short")

// checkRestored refuses a data directory that is the incomplete result of a restore or a
// migration.
func checkRestored(dataDir string) error {
	if _, err := os.Stat(storeDir(dataDir)); err == nil {
		return nil
	}
	for suffix, reason := range leftovers() {
		if _, err := os.Stat(storeDir(dataDir) + suffix); err == nil {
			return fmt.Errorf("data directory %s has no data yet: %w", dataDir, reason)
		}
	}
	return nil
}

// leftovers are the suffixes of working directories, and what they mean beside no store.
func leftovers() map[string]error {
	return map[string]error{
		pebblestore.RestoringSuffix: fmt.Errorf("%w; wait until it has ended, or run \"porchlight restore\" again, which starts over", ErrRestoring),
		pebblestore.MigratingSuffix: fmt.Errorf("%w; wait until it has ended, or run \"porchlight migrate\" again, which starts over", ErrMigrating),
	}
}

// dropRestored removes what a restore or a migration left that was killed when all was
// done. The caller has the store's lock.
func dropRestored(dataDir string, log *slog.Logger) {
	for suffix := range leftovers() {
		left := storeDir(dataDir) + suffix
		if _, err := os.Stat(left); err != nil {
			continue
		}
		if err := os.RemoveAll(left); err != nil {
			log.Warn("could not remove leftover files from an interrupted restore or migration", slog.String("path", left), slog.Any("err", err))
		}
	}
}

// A VerifyReport is of a backup or a data directory in which everything was found
// right.
type VerifyReport struct {
	OK        bool      `json:"ok"` // always: what is not right is an error
	File      string    `json:"file,omitempty"`
	DataDir   string    `json:"data_dir,omitempty"`
	Seconds   Second    `json:"seconds"`
	Created   time.Time `json:"created,omitzero"` // of a backup
	Format    int       `json:"format"`
	Epoch     string    `json:"epoch"`
	Position  uint64    `json:"position"` // of the last change
	Records   int64     `json:"records"`
	Entries   int64     `json:"log_entries"`
	Documents int64     `json:"documents"`
	Bytes     int64     `json:"bytes"`            // of the backup, or of tables and logs
	SHA256    string    `json:"sha256,omitempty"` // of a backup
}

// Verify reads a whole backup and checks everything in it.
func Verify(ctx context.Context, f BackupFile) (VerifyReport, error) {
	begun := time.Now()
	info, err := f.read(ctx, func(from io.Reader, progress func(done, total int64)) (backup.Info, error) {
		return pebblestore.VerifyBackup(ctx, from, progress)
	})
	if err != nil {
		return VerifyReport{}, err
	}
	return reportOf(f.Path, begun, &info), nil
}

// reportOf reports a backup in which everything was found right.
func reportOf(path string, begun time.Time, info *backup.Info) VerifyReport {
	return VerifyReport{
		OK: true, File: path, Seconds: Second(time.Since(begun)), Created: info.Created,
		Format: info.Format, Epoch: info.Epoch, Position: info.Position,
		Records: info.Records, Entries: info.Entries, Documents: info.Documents, Bytes: info.Bytes, SHA256: info.SHA256,
	}
}

// VerifyDir reads the whole store of a data directory that no server runs on, and
// checks everything in it.
func VerifyDir(ctx context.Context, dataDir string, p Progress) (VerifyReport, error) {
	begun := time.Now()
	if err := checkRestored(dataDir); err != nil {
		return VerifyReport{}, err
	}
	r, err := pebblestore.Verify(ctx, storeDir(dataDir), pebblestore.VerifyOptions{Progress: p})
	if err != nil {
		return VerifyReport{}, err
	}
	return VerifyReport{
		OK: true, DataDir: dataDir, Seconds: Second(time.Since(begun)),
		Format: r.Format, Epoch: r.Epoch, Position: uint64(r.Last),
		Records: r.Users, Entries: r.Entries, Documents: r.Documents, Bytes: r.Bytes,
	}, nil
}
