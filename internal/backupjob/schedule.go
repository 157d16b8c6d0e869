package backupjob

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"porchlight.dev/porchlight/internal/store/backup"
)

const (
	// startDelay is how long after a start a missed backup is made up for, because a start
	// has enough to do.
	startDelay = time.Minute
	// firstRetry is the delay after the first failure; it doubles up to lastRetry.
	firstRetry = time.Minute
	lastRetry  = time.Hour
	// lookEvery is how often the clock is read: timers stand still while a machine is
	// suspended, and the clock can be set.
	lookEvery = time.Minute
)

// A Schedule makes backups at the times of Times.
type Schedule struct {
	Dir   string
	Times interface{ Next(time.Time) time.Time }
	Keep  int // 0: all
	Slot  *Slot
	// Make writes a backup of the store, and Verify reads a backup and checks it.
	Make   func(ctx context.Context, to io.Writer, progress func(done, total int64)) (backup.Info, error)
	Verify func(ctx context.Context, from io.Reader) (backup.Info, error)
	// Available returns how many bytes a backup may use; nil: no limit.
	Available func() (uint64, error)
	Done      func(backup.Info) // called after each success; may be nil
	Clock     func() time.Time
	Log       *slog.Logger
}

// Run makes backups until ctx ends.
func (s *Schedule) Run(ctx context.Context) {
	due := s.first()
	for s.wait(ctx, due) {
		due = s.next(s.Once(ctx))
	}
}

// first is when the first backup after a start is due. One that was missed, or the first
// of all, is made soon.
func (s *Schedule) first() time.Time {
	now := s.Clock()
	soon := now.Add(startDelay)
	all, err := List(s.Dir)
	if err != nil {
		s.Log.Warn("scheduled backups cannot be made yet; will retry", slog.Any("err", err))
	}
	if len(all) == 0 {
		return soon
	}
	futureFirst(all, now.Add(clockTolerance))
	last := all[len(all)-1].Time
	s.Slot.Known(last, 0)
	// A file of the future, made before the clock was set back, delays nothing.
	if due := s.Times.Next(earlier(last, now)); due.After(soon) {
		return due
	}
	return soon
}

// next is when the next backup is due, after one that ended with err.
func (s *Schedule) next(err error) time.Time {
	now := s.Clock()
	switch {
	case err == nil:
		return s.Times.Next(now)
	case errors.Is(err, ErrBusy):
		return now.Add(firstRetry)
	}
	retry := firstRetry << max(0, min(s.Slot.Stats().InRow-1, 10))
	return now.Add(min(retry, lastRetry))
}

// wait waits until due, and reports false when ctx ends before.
func (s *Schedule) wait(ctx context.Context, due time.Time) bool {
	s.Slot.change(func(to *Stats) { to.Next = due })
	for {
		left := due.Sub(s.Clock())
		if left <= 0 {
			return ctx.Err() == nil
		}
		select {
		case <-time.After(min(left, lookEvery)):
		case <-ctx.Done():
			return false
		}
	}
}

// Once makes a backup now, and deletes those that are too many.
func (s *Schedule) Once(ctx context.Context) error {
	begun := s.Clock()
	var path string
	info, err := s.Slot.Run(func(progress func(done, total int64)) (info backup.Info, err error) {
		info, path, err = s.write(ctx, begun, progress)
		return info, err
	}, func() bool { return ctx.Err() != nil })
	switch {
	case errors.Is(err, ErrBusy):
		s.Log.InfoContext(ctx, "scheduled backup waits for a running one")
		return err
	case err != nil && ctx.Err() != nil:
		s.Log.InfoContext(ctx, "scheduled backup cancelled; it will be made after the next start")
		return err
	case err != nil:
		s.Log.ErrorContext(ctx, "scheduled backup failed; will retry", slog.Int("failures", s.Slot.Stats().InRow), slog.Any("err", err))
		return err
	}
	s.Log.InfoContext(ctx, "backup finished", slog.String("file", path), slog.Int64("bytes", info.Bytes), slog.Uint64("position", info.Position),
		slog.String("took", s.Clock().Sub(begun).Round(time.Millisecond).String()))
	if s.Done != nil {
		s.Done(info)
	}
	if s.Keep > 0 {
		if err := prune(s.Dir, path, s.Keep, os.Remove); err != nil {
			s.Log.WarnContext(ctx, "old backups were not deleted", slog.Any("err", err))
		}
	}
	return nil
}

// write makes the file of a backup, reads it again, and gives it its name.
func (s *Schedule) write(ctx context.Context, begun time.Time, progress func(done, total int64)) (info backup.Info, path string, err error) {
	if _, err := List(s.Dir); err != nil {
		return info, "", err
	}
	file, err := backup.Create(filepath.Join(s.Dir, inProgress), false, s.Available)
	if err != nil {
		return info, "", err
	}
	info, err = s.Make(ctx, file, progress)
	if err == nil {
		err = file.Check(func(from io.Reader) error {
			_, err := s.Verify(ctx, from)
			return err
		})
	}
	if err != nil {
		return info, "", errors.Join(err, file.Discard())
	}
	path = filepath.Join(s.Dir, nameOf(begun, info.Position))
	return info, path, file.CommitAs(path)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
