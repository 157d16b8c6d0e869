package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// A migration is the step from one format of the directory to the next. They run
// in order when a store opens, before anything else is done in it.
//
// No step so far rewrites what is stored: each gives the database the next format's
// number, in one batch. What ends the process or the machine before that leaves the
// old format, which migrates at the next start, and an older porchlight can still
// use.
type migration struct {
	from int
	what string
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
func (s *Store) newestFormat() int {
	if n := len(s.opts.migrations); n > 0 {
		return s.opts.migrations[n-1].from + 1
	}
	return 1
}

// migrate brings the database to the newest format.
func (s *Store) migrate() error {
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
	b := s.db.NewBatch()
	if err := errors.Join(b.Set([]byte(metaFormat), []byte(strconv.Itoa(m.from+1)), nil), s.commitNow(b)); err != nil {
		return err
	}
	s.log.Info("the data directory has a new format", slog.String("dir", s.dir), slog.Int("format", m.from+1), slog.Duration("took", time.Since(start)))
	return nil
}
