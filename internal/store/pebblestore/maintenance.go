package pebblestore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	maintenanceInterval = time.Second
	cleanUpInterval     = time.Minute
	expiredGroup        = 500
)

// maintain runs the periodic work of the store until it closes.
func (s *Store) maintain() {
	defer close(s.maintenanceDone)
	tick := time.NewTicker(maintenanceInterval)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var cleaned time.Time
	for {
		select {
		case <-s.closing:
			return
		case <-s.failure.failed:
			return
		case now := <-tick.C:
			s.sampleSpace()
			s.refillReserve()
			s.advanceWatermark()
			if now.Sub(cleaned) >= cleanUpInterval {
				cleaned = now
				s.cleanUp(ctx)
			}
		}
	}
}

// cleanUp frees space, so it runs on a full disk too.
func (s *Store) cleanUp(ctx context.Context) {
	s.logFailure("dropping old log entries", s.trim(ctx))
	s.logFailure("dropping expired documents", s.dropExpiredDocs(ctx))
}

func (s *Store) logFailure(what string, err error) {
	if err != nil && !s.isHalted() && !errors.Is(err, store.ErrClosed) {
		s.log.Error("store maintenance failed; will retry", slog.String("task", what), slog.Any("err", err))
	}
}

func (s *Store) trimmedTo() store.Position { return store.Position(s.trimmed.Load()) }

// trim drops the log entries that are older than the retention, read or not.
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
	// From here on readers use the database, not the older entries in the log cache.
	c.s.trimmed.Store(uint64(to))
}

// dropExpiredDocs drops expired documents, a group at a time.
func (s *Store) dropExpiredDocs(ctx context.Context) error {
	for {
		now := s.now()
		var expiryKeys [][]byte
		err := s.scan([]byte{docExpiryPrefix}, appendInstantKey(nil, docExpiryPrefix, now+1), func(key, _ []byte) (bool, error) {
			expiryKeys = append(expiryKeys, append([]byte(nil), key...))
			return len(expiryKeys) < expiredGroup, nil
		})
		if err != nil || len(expiryKeys) == 0 {
			return err
		}
		if err := s.submit(ctx, func(c *committer) error { return c.dropExpiredDocs(expiryKeys, now) }); err != nil {
			return err
		}
	}
}

// dropExpiredDocs drops the documents of keys in the expiry index, unless they were
// written again.
func (c *committer) dropExpiredDocs(expiryKeys [][]byte, now presence.Instant) error {
	docKeys := make([][]byte, 0, len(expiryKeys))
	for _, expiryKey := range expiryKeys {
		at, key, ok := cutDocExpiryKey(expiryKey)
		if !ok {
			return errValue
		}
		old, err := c.newestDoc(key)
		if err != nil {
			return err
		}
		if !old.deleted && old.until == at && !old.liveAt(now) {
			docKeys = append(docKeys, key)
		}
	}
	c.seq++ // no error can follow, so the number is stored
	for _, key := range docKeys {
		c.delete(key)
		c.docs[string(key)] = stagedDoc{docHead: docHead{seq: c.seq}, deleted: true}
	}
	for _, expiryKey := range expiryKeys {
		c.delete(expiryKey)
	}
	return nil
}
