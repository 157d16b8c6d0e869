package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/store"
)

// Feed implements store.Store.
func (s *Store) Feed(ctx context.Context, after store.Position, fn func([]store.Entry) error) error {
	for {
		entries, err := s.entriesAfter(ctx, after)
		if err != nil {
			return err
		}
		if err := fn(entries); err != nil {
			return err
		}
		after = entries[len(entries)-1].At
	}
}

// entriesAfter waits until there are entries above at and gives the first of
// them.
func (s *Store) entriesAfter(ctx context.Context, at store.Position) ([]store.Entry, error) {
	for {
		next := s.progress.next()
		found, err := s.Log(ctx, at, store.MaxFeedGroup)
		if err != nil || len(found) > 0 {
			return found, err
		}
		select {
		case <-next:
		case <-ctx.Done():
		case <-s.closing:
		case <-s.halted:
		}
	}
}

// Log implements store.Store. It reads the log cache, or the database for older entries.
func (s *Store) Log(ctx context.Context, after store.Position, limit int) ([]store.Entry, error) {
	if err := s.checkReadable(ctx); err != nil || limit <= 0 {
		return nil, err
	}
	limit = min(limit, store.MaxFeedGroup)
	found, ok := s.logCache.after(after, limit)
	if !ok || after < s.trimmedTo() {
		var err error
		if found, err = s.readLog(after, limit); err != nil {
			return nil, err
		}
	}
	return feedEntries(found, after), nil
}

// feedEntries marks gaps for a reader that has read everything up to after: an entry
// has one if its predecessor lies between and was trimmed.
func feedEntries(found []chainedEntry, after store.Position) []store.Entry {
	entries := make([]store.Entry, len(found))
	for i := range found {
		entries[i] = found[i].Entry
		entries[i].Gap = found[i].Gap || found[i].previous > after && found[i].previous < found[0].At
	}
	return entries
}

// readLog reads durable entries above at from the database.
func (s *Store) readLog(at store.Position, limit int) ([]chainedEntry, error) {
	var found []chainedEntry
	err := s.scanLog(at, func(e chainedEntry) bool {
		found = append(found, e)
		return len(found) < limit
	})
	return found, err
}

// scanLog calls each for the durable entries above after in the database, until
// it returns false.
func (s *Store) scanLog(after store.Position, each func(chainedEntry) bool) error {
	from := appendLogKey(nil, after+1)
	to := appendLogKey(nil, s.progress.durableAt()+1)
	return s.scan(from, to, func(key, value []byte) (bool, error) {
		at, ok := cutLogKey(key)
		if !ok {
			return false, fmt.Errorf("log key: %w", errValue)
		}
		return each(readEntry(at, value)), nil
	})
}

// PositionAt implements store.Store.
func (s *Store) PositionAt(ctx context.Context, t time.Time) (store.Position, error) {
	if err := s.checkReadable(ctx); err != nil {
		return 0, err
	}
	return s.logBefore(t)
}

// logBefore is the last position of the log entries before t, among those that were
// not dropped. Times follow positions, except where the clock was set back.
func (s *Store) logBefore(t time.Time) (store.Position, error) {
	low, high := s.trimmedTo(), s.logCache.newest()
	var failed error
	n := sort.Search(int(high-low), func(i int) bool {
		above, err := s.timeAbove(low + store.Position(i))
		failed = errors.Join(failed, err)
		return above.IsZero() || !above.Before(t)
	})
	return low + store.Position(n), failed
}

// timeAbove is the time of the first readable entry above a position; zero: none.
func (s *Store) timeAbove(at store.Position) (t time.Time, err error) {
	err = s.scanLog(at, func(e chainedEntry) bool {
		t = e.Time
		return e.Damaged != nil
	})
	return t, err
}

// History implements store.Store. It follows the links from each entry to the one
// before it of the same user.
func (s *Store) History(ctx context.Context, u store.User, before store.Position, limit int) ([]store.Entry, error) {
	if err := store.CheckUser(u); err != nil {
		return nil, err
	}
	if err := s.checkReadable(ctx); err != nil || limit <= 0 {
		return nil, err
	}
	limit = min(limit, store.MaxFeedGroup)
	at, err := s.historyBelow(ctx, u, before)
	if err != nil {
		return nil, err
	}
	found, rest, err := s.chain(ctx, u, at, limit)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	entries := make([]store.Entry, len(found))
	for i := range found {
		entries[i] = found[i].Entry
	}
	entries[len(entries)-1].Gap = found[len(found)-1].Gap || rest != 0 && (len(found) < limit || rest <= s.trimmedTo())
	return entries, nil
}

// historyBelow is the position of the newest entry of u below before; zero: none.
func (s *Store) historyBelow(ctx context.Context, u store.User, before store.Position) (store.Position, error) {
	it, err := s.lookup(ctx, u)
	if it == nil || err != nil {
		return 0, err
	}
	at := it.at
	if before == 0 || before > at {
		return at, nil
	}
	// A page continues where the previous one ended.
	if e, ok, err := s.logEntry(before); err != nil {
		return 0, err
	} else if ok && e.User == u {
		at = before
	}
	for at >= before {
		found, next, err := s.chain(ctx, u, at, 1)
		if err != nil || len(found) == 0 {
			return 0, err
		}
		at = next
	}
	return at, nil
}

// chain gives up to limit entries of u, from the one at a position backwards, and the
// position of the next. Zero means that there never was one. That entry may have been
// dropped, and was if chain gives fewer than limit.
func (s *Store) chain(ctx context.Context, u store.User, at store.Position, limit int) ([]chainedEntry, store.Position, error) {
	var found []chainedEntry
	for at > s.trimmedTo() && len(found) < limit {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		e, ok, err := s.logEntry(at)
		if err != nil || !ok {
			return found, at, err
		}
		if e.Damaged != nil {
			if e.previous, err = s.lastBefore(u, at); err != nil {
				return nil, 0, err
			}
		}
		found, at = append(found, e), e.previous
	}
	return found, at, nil
}

// logEntry is the entry at a position, if there is one.
func (s *Store) logEntry(at store.Position) (e chainedEntry, ok bool, err error) {
	if found, _ := s.logCache.after(at-1, 1); len(found) > 0 && found[0].At == at {
		return found[0], true, nil
	}
	err = s.get(appendLogKey(nil, at), func(value []byte) error {
		e, ok = readEntry(at, value), true
		return nil
	})
	return e, ok, err
}

// lastBefore searches for the newest entry of u below a position, zero for none. It
// replaces the link of a damaged entry, which is lost.
func (s *Store) lastBefore(u store.User, at store.Position) (last store.Position, err error) {
	if err := s.acquireDB(); err != nil {
		return 0, err
	}
	defer s.releaseDB()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{logPrefix}, UpperBound: appendLogKey(nil, at)})
	if err != nil {
		return 0, s.readError(err)
	}
	defer func() { err = errors.Join(err, s.readError(it.Close())) }()
	for ok := it.Last(); ok; ok = it.Prev() {
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, s.readError(err)
		}
		if at, ok := cutLogKey(it.Key()); ok && readEntry(at, value).User == u {
			return at, nil
		}
	}
	return 0, nil
}
