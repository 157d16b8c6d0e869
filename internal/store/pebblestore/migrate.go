package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// A migration is the step from one format of the directory to the next. Migrations
// run in order when a store opens, before anything else.
//
// No step so far rewrites stored values: each stores the next format's number, in one
// batch. After a crash before that the directory has the old format: an older
// porchlight can still use it, and the next start migrates it.
type migration struct {
	from int
	what string
}

// migrations lists the steps from format 1 to formatVersion.
func migrations() []migration {
	return []migration{
		// The watermark was written when the directory was opened.
		{from: 1, what: "begin a watermark"},
		// Existing entries stay as they are: both formats can be read.
		{from: 2, what: "log where changes come from"},
		{from: 3, what: "log sessions and profiles"},
		// Existing records stay as they are: none of their sessions has a holder.
		{from: 4, what: "record which node holds the connection of a session"},
	}
}

// newestFormat is the format after the last migration.
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
		return err // new or foreign: load distinguishes them
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
			return fmt.Errorf("migrate from format %d (%s): %w; the directory still has the old format, and the next start tries again", m.from, m.what, err)
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
	s.log.Info("data directory migrated", slog.String("dir", s.dir), slog.Int("format", m.from+1), slog.Duration("took", time.Since(start)))
	return nil
}
