package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	keepEvery  = time.Second
	tidyEvery  = time.Minute
	sweepGroup = 500
)

// keep looks after the store until it closes.
func (s *Store) keep() {
	defer close(s.kept)
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var tidied time.Time
	for {
		select {
		case <-s.closing:
			return
		case <-s.failure.failed:
			return
		case now := <-tick.C:
			s.sampleSpace()
			s.refillReserve()
			s.flush()
			s.advanceWatermark()
			if now.Sub(tidied) >= tidyEvery {
				tidied = now
				s.tidy(ctx)
			}
		}
	}
}

// flush syncs what relaxed durability left to the operating system.
func (s *Store) flush() {
	if s.lazy == nil {
		return
	}
	if err := s.lazy.syncAll(); err != nil {
		s.fail(fmt.Errorf("sync: %w", err))
	}
}

// tidy frees space, so it runs on a full disk too.
func (s *Store) tidy(ctx context.Context) {
	s.report("dropping old log entries", s.trim(ctx))
	s.report("dropping ended documents", s.sweep(ctx))
}

func (s *Store) report(what string, err error) {
	if err != nil && !s.isHalted() && !errors.Is(err, store.ErrClosed) {
		s.log.Error("keeping the store in order", slog.String("task", what), slog.Any("err", err))
	}
}

func (s *Store) trimmedTo() store.Position { return store.Position(s.trimmed.Load()) }

// trim drops the log entries that are older than the retention, whoever has read
// them.
func (s *Store) trim(ctx context.Context) error {
	to, err := s.logBefore(s.opts.Clock().Add(-s.opts.Retention))
	if err != nil {
		return err
	}
	if to <= s.trimmedTo() {
		return nil
	}
	return s.submit(ctx, func(c *committer) error {
		c.dropLog(to)
		return nil
	})
}

// dropLog drops the log entries up to a position.
func (c *committer) dropLog(to store.Position) {
	c.deleteRange(appendLogKey(nil, 0), appendLogKey(nil, to+1))
	c.set([]byte(metaTrim), appendNumber(nil, uint64(to)))
	// From here on readers go by the database, not by what the tail still has.
	c.s.trimmed.Store(uint64(to))
}

// sweep drops documents that are past their end, a few at a time.
func (s *Store) sweep(ctx context.Context) error {
	for {
		now := s.now()
		var ended [][]byte
		err := s.scan([]byte{endPrefix}, appendInstantKey(nil, endPrefix, now+1), func(key, _ []byte) (bool, error) {
			ended = append(ended, append([]byte(nil), key...))
			return len(ended) < sweepGroup, nil
		})
		if err != nil || len(ended) == 0 {
			return err
		}
		if err := s.submit(ctx, func(c *committer) error { return c.bury(ended, now) }); err != nil {
			return err
		}
	}
}

// bury drops documents by the keys of their ends, unless they were written anew.
func (c *committer) bury(ended [][]byte, now presence.Instant) error {
	over := make([][]byte, 0, len(ended)) // keys of documents
	for _, endKey := range ended {
		at, key, ok := cutEndKey(endKey)
		if !ok {
			return errValue
		}
		old, err := c.newestDoc(key)
		if err != nil {
			return err
		}
		if !old.deleted && old.until == at && !old.liveAt(now) {
			over = append(over, key)
		}
	}
	c.seq++ // from here on nothing fails, so the number is stored
	for _, key := range over {
		c.delete(key)
		c.docs[string(key)] = stagedDoc{docHead: docHead{seq: c.seq}, deleted: true}
		c.marks = append(c.marks, mark{seq: c.seq, doc: string(key)})
	}
	for _, endKey := range ended {
		c.delete(endKey)
	}
	return nil
}
