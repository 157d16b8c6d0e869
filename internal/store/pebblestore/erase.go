package pebblestore

import (
	"context"

	"porchlight.dev/porchlight/internal/store"
)

// eraseGroup is how many entries are redacted in one batch, so that no update waits
// long behind it.
const eraseGroup = 256

// Erase implements store.Store. It redacts from the newest entry of u back, staged
// ones included. After a crash the older entries are unchanged; the caller repeats it.
func (s *Store) Erase(ctx context.Context, u store.User) error {
	if err := store.CheckUser(u); err != nil {
		return err
	}
	if err := s.admit(ctx); err != nil {
		return err
	}
	newest, err := s.newestRecord(ctx, u)
	if newest == nil || err != nil {
		return err
	}
	for at := newest.at; at != 0; {
		found, rest, err := s.chain(ctx, u, at, eraseGroup)
		if err != nil || len(found) == 0 {
			return err
		}
		at = rest
		if err := s.redactAll(found, newest); err != nil {
			return err
		}
		err = s.submit(ctx, func(c *committer) error {
			c.replaceEntries(found)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// newestRecord is the newest record of u by now, nil for none. It is durable.
func (s *Store) newestRecord(ctx context.Context, u store.User) (it *item, err error) {
	err = s.submit(ctx, func(c *committer) (err error) {
		it, _, err = c.newest(u, nil)
		return err
	})
	if err != nil {
		return nil, err // the committer may still write to it
	}
	return it, nil
}

// redactAll redacts entries of the user of newest. A damaged entry gets the time of
// the next readable one, so that times still follow positions.
func (s *Store) redactAll(entries []chainedEntry, newest *item) error {
	for i := range entries {
		e := &entries[i].Entry
		if e.Damaged != nil {
			above, err := s.timeAbove(e.At)
			if err != nil {
				return err
			}
			if above.IsZero() {
				above = newest.State.At.Time()
			}
			*e = store.Entry{At: e.At, User: newest.user, Time: above}
		}
		*e = store.Anonymize(*e)
	}
	return nil
}

// replaceEntries stages entries that replace those at their positions.
func (c *committer) replaceEntries(entries []chainedEntry) {
	for i := range entries {
		e := &entries[i]
		if e.At <= c.s.trimmedTo() {
			break // it was dropped meanwhile, as were all before it
		}
		c.key = appendLogKey(c.key[:0], e.At)
		c.value = appendEntry(c.value[:0], &e.Entry, e.previous)
		c.set(c.key, c.value)
		c.g.redacted = append(c.g.redacted, *e)
	}
	c.seq++ // so that the answer waits for the disk
}
