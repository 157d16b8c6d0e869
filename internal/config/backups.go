package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Times are the times of a schedule.
type Times interface {
	// Next returns the first time after t.
	Next(t time.Time) time.Time
}

// minBackupInterval bounds what "@every" can ask for.
const minBackupInterval = time.Minute

// BackupTimes parses backup-schedule.
func (c *Config) BackupTimes() (Times, error) {
	text := strings.TrimSpace(c.Filled().BackupSchedule)
	zoned := strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=")
	switch {
	case !zoned:
		text = "CRON_TZ=UTC " + text
	case !strings.Contains(text, " "): // for which the parser panics
		return nil, errors.New("the times after the time zone are missing")
	}
	times, err := cron.ParseStandard(text)
	if err != nil {
		return nil, err
	}
	if fixed, ok := times.(cron.ConstantDelaySchedule); ok && fixed.Delay < minBackupInterval {
		return nil, fmt.Errorf("%s is too often: set at least %s", FormatDuration(fixed.Delay), FormatDuration(minBackupInterval))
	}
	if times.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("there is no such day")
	}
	if spec, ok := times.(*cron.SpecSchedule); ok {
		return wallTimes{spec}, nil
	}
	return times, nil
}

// wallTimes are those that a clock on a wall shows. The schedule itself leaves out those that
// the clock skips when summer time begins, which would be a week or more without a backup.
type wallTimes struct{ *cron.SpecSchedule }

// Next implements Times. A time that is skipped comes when it would have come if the clock had
// not been changed.
func (w wallTimes) Next(t time.Time) time.Time {
	next := w.SpecSchedule.Next(t)
	unchanged := *w.SpecSchedule
	unchanged.Location = time.UTC
	wall := unchanged.Next(onWall(t.In(w.Location)))
	at := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, w.Location)
	late := wall.Sub(onWall(at))
	if late > 0 { // time.Date takes the time before or after the change, as it comes
		at = at.Add(late)
	}
	if late == 0 || next.Before(at) {
		return next
	}
	return at.In(t.Location())
}

// onWall is what a clock shows at t, as a time in UTC.
func onWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

func (k *checker) backups() {
	c := k.config
	if _, err := c.BackupTimes(); err != nil {
		k.add("backup-schedule", "%q is not a schedule: %v; expected a form such as @daily, @every 6h, or 30 3 * * *", c.BackupSchedule, err)
	}
	if c.BackupDir == "" {
		return
	}
	if c.Store != "" {
		k.add("backup-dir", "cannot be used with a store on NATS: back it up with NATS's own tools (nats account backup), for example from a timer, and remove backup-dir")
		return
	}
	if info, err := os.Stat(c.BackupDir); err == nil && !info.IsDir() {
		k.add("backup-dir", "%s is a file: set a directory", c.BackupDir)
	}
	if c.DataDir != "" && within(c.DataDir, c.BackupDir) {
		k.add("backup-dir", "%s is inside data-dir, so whatever destroys the data destroys the backups: set another directory, on another disk if possible", c.BackupDir)
	}
}

// within reports whether a path is a directory or inside it.
func within(dir, path string) bool {
	a, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	b, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	relative, err := filepath.Rel(a, b)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}
