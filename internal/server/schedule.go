package server

import (
	"context"
	"io"
	"log/slog"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/backupjob"
	"porchlight.dev/porchlight/internal/store/backup"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// newBackups prepares the scheduled backups, if there are any.
func (s *Server) newBackups() error {
	if s.backups == nil {
		return nil
	}
	// What earlier runs of the server did counts for the metrics.
	if last, err := s.lastBackup(context.Background()); err != nil {
		s.log.Warn("the last backup is unknown: the audit log cannot be read", slog.Any("err", err))
	} else if last != nil {
		s.backups.Known(last.Time.Time, last.Bytes)
	}
	if s.config.BackupDir == "" {
		return nil
	}
	times, err := s.config.BackupTimes()
	if err != nil {
		return err
	}
	s.schedule = &backupjob.Schedule{
		Dir: s.config.BackupDir, Times: times, Keep: s.config.BackupKeep, Slot: s.backups,
		Make: s.makeScheduled, Verify: verifyScheduled, Available: s.backupSpace(),
		Done:  func(info backup.Info) { s.audit.Later(audit.System, backupEvent(info)) },
		Clock: s.opts.Clock, Log: s.log,
	}
	return nil
}

func (s *Server) makeScheduled(ctx context.Context, to io.Writer, progress func(done, total int64)) (backup.Info, error) {
	info, err := s.source.Backup(ctx, to, progress)
	return info, explainSpace(s.config.BackupDir, err)
}

func verifyScheduled(ctx context.Context, from io.Reader) (backup.Info, error) {
	return pebblestore.VerifyBackup(ctx, from, nil)
}

// backupSpace measures what a scheduled backup may use. Which disk the directory is on is
// looked up each time, because it can be mounted later.
func (s *Server) backupSpace() func() (uint64, error) {
	lowDisk := uint64(s.config.LowDisk)
	return func() (uint64, error) {
		return availableFor(s.config.DataDir, s.config.BackupDir, lowDisk, pebblestore.DiskUsage)
	}
}
