package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"porchlight.dev/porchlight/internal/backupjob"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/backup"
)

// ErrDrill: what a restore made is not what the backup has.
var ErrDrill = errors.New("the restore drill failed")

// BackupAt returns the path of a backup: path itself, or the newest backup in it if it is a
// directory of scheduled ones.
func BackupAt(path string) (string, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return path, nil //nolint:nilerr // whoever reads the file reports it
	}
	newest, err := backupjob.Newest(path, time.Now())
	return newest.Path, err
}

// A DrillReport is of a restore drill that succeeded.
type DrillReport struct {
	VerifyReport
	Drill    bool `json:"drill"` // always
	Accounts int  `json:"accounts"`
}

// Drill restores a backup into a new directory inside tempDir ("": the system's), checks
// everything in it, compares it with the backup, opens it as a server does, and removes it.
func Drill(ctx context.Context, f BackupFile, tempDir string) (report DrillReport, err error) {
	begun := time.Now()
	temp, err := os.MkdirTemp(tempDir, "porchlight-drill-")
	if err != nil {
		return report, fmt.Errorf("create a temporary directory: %w; specify another with --temp-dir", err)
	}
	defer func() {
		if removed := os.RemoveAll(temp); removed != nil {
			err = errors.Join(err, fmt.Errorf("remove the temporary directory: %w; remove %s, which contains all data of the backup", removed, temp))
		}
	}()
	dataDir := filepath.Join(temp, "data")
	restored, err := Restore(ctx, dataDir, f)
	switch {
	case errors.Is(err, backup.ErrNoSpace):
		return report, fmt.Errorf("%w; specify a directory on another disk with --temp-dir", err)
	case err != nil:
		return report, err
	}
	found, err := VerifyDir(ctx, dataDir, nil)
	if err == nil {
		err = compare(&restored.Info, &found)
	}
	if err != nil {
		return report, fmt.Errorf("%w: %w", ErrDrill, err)
	}
	if report.Accounts, err = countAccounts(ctx, dataDir); err != nil {
		return report, fmt.Errorf("%w: the restored store cannot be used: %w", ErrDrill, err)
	}
	report.VerifyReport = reportOf(f.Path, begun, &restored.Info)
	report.Drill = true
	return report, nil
}

// compare reports what a restored store has that its backup has not, or the reverse. A
// migration from an older format may add log entries and documents.
func compare(want *backup.Info, got *VerifyReport) error {
	migrated := want.Format != got.Format
	for _, c := range []struct {
		what      string
		want, got int64
		kept      bool // by migrations
	}{
		{"position", int64(want.Position), int64(got.Position), true},
		{"number of users' records", want.Records, got.Records, true},
		{"number of log entries", want.Entries, got.Entries, false},
		{"number of documents", want.Documents, got.Documents, false},
	} {
		if c.want != c.got && (c.kept || !migrated) {
			return fmt.Errorf("the %s is %d in the restored store and %d in the backup; use an older backup, and keep this one for analysis", c.what, c.got, c.want)
		}
	}
	return nil
}

// countAccounts opens the store of a data directory as a server does.
func countAccounts(ctx context.Context, dataDir string) (n int, err error) {
	cfg := config.Default()
	cfg.DataDir, cfg.LogRetention = dataDir, keepLog
	opts := Options{}.withDefaults()
	opts.Clock = time.Now
	st, err := openEngine(ctx, &cfg, &opts, openExclusively, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	dir := directory.New(st, opts.Clock)
	for after := presence.AccountID(""); ; {
		page, err := dir.Accounts(ctx, after, store.MaxWrite)
		if err != nil || len(page) == 0 {
			return n, err
		}
		n, after = n+len(page), page[len(page)-1].ID
	}
}
