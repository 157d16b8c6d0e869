package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Write implements store.Store.
func (s *Store) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if err := store.CheckDocs(account, docs); err != nil {
		return err
	}
	if err := s.admit(ctx); err != nil {
		return err
	}
	if len(docs) == 0 {
		return nil
	}
	return s.submit(ctx, func(c *committer) error { return c.write(account, docs) })
}

// write checks every version against what is staged, then stages all of them.
func (c *committer) write(account presence.AccountID, docs []store.Doc) error {
	now := c.s.now()
	keys := make([][]byte, len(docs))
	olds := make([]stagedDoc, len(docs))
	for i := range docs {
		keys[i] = appendDocKey(nil, account, docs[i].Key)
		old, err := c.newestDoc(keys[i])
		if err != nil {
			return err
		}
		if old.version(now) != docs[i].Version {
			return store.ErrConflict
		}
		olds[i] = old
	}
	c.seq++
	for i := range docs {
		c.stageDoc(keys[i], olds[i], &docs[i])
	}
	return nil
}

// version is the version that a writer must name; "" means that there is none.
func (d stagedDoc) version(now presence.Instant) string {
	if d.deleted || !d.liveAt(now) {
		return ""
	}
	return formatVersionOf(d.docHead)
}

func formatVersionOf(h docHead) string { return strconv.FormatUint(uint64(h.seq), 36) }

// newestDoc gives the staged document under key, or else the stored one.
func (c *committer) newestDoc(key []byte) (stagedDoc, error) {
	if d, ok := c.docs[string(key)]; ok {
		return d, nil
	}
	d := stagedDoc{deleted: true}
	err := c.s.get(key, func(value []byte) error {
		head, _, err := decodeDoc(value)
		d = stagedDoc{docHead: head}
		return err
	})
	return d, err
}

// stageDoc replaces old by d, under the last sequence number.
func (c *committer) stageDoc(key []byte, old stagedDoc, d *store.Doc) {
	c.deleteDocExpiry(key, old)
	staged := stagedDoc{docHead: docHead{seq: c.seq, until: presence.InstantOf(d.Until)}, deleted: d.Value == nil}
	if staged.deleted {
		c.delete(key)
	} else {
		c.value = appendDoc(c.value[:0], staged.docHead, d.Value)
		c.set(key, c.value)
		if !staged.until.IsZero() {
			c.key = appendDocExpiryKey(c.key[:0], staged.until, key)
			c.set(c.key, nil)
		}
	}
	c.docs[string(key)] = staged
}

func (c *committer) deleteDocExpiry(key []byte, old stagedDoc) {
	if !old.deleted && !old.until.IsZero() {
		c.key = appendDocExpiryKey(c.key[:0], old.until, key)
		c.delete(c.key)
	}
}

// Load implements store.Store.
func (s *Store) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := s.now()
	docs := make([]store.Doc, 0, len(keys))
	for _, k := range keys {
		if err := store.CheckKey(account, k); err != nil {
			return nil, err
		}
		err := s.get(appendDocKey(nil, account, k), func(value []byte) error {
			var err error
			docs, err = appendLive(docs, k, value, now)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	// A document that was found, or found missing, may be of a write that is not
	// durable yet.
	if err := s.awaitStaged(ctx); err != nil {
		return nil, err
	}
	return docs, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, account presence.AccountID, collection, afterKey string, limit int) ([]store.Doc, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := store.CheckList(account, collection, afterKey); err != nil {
		return nil, err
	}
	docs, err := s.list(account, collection, afterKey, limit)
	if err != nil {
		return nil, err
	}
	return docs, s.awaitStaged(ctx)
}

func (s *Store) list(account presence.AccountID, collection, afterKey string, limit int) ([]store.Doc, error) {
	prefix := appendCollection(nil, account, collection)
	from := prefix
	if afterKey != "" {
		from = append(append(slices.Clone(prefix), afterKey...), 0)
	}
	now := s.now()
	var docs []store.Doc
	err := s.scan(from, upperBound(prefix), func(key, value []byte) (bool, error) {
		if len(docs) >= limit {
			return false, nil
		}
		var err error
		docs, err = appendLive(docs, store.Key{Collection: collection, Key: string(key[len(prefix):])}, value, now)
		return true, err
	})
	return docs, err
}

// Collections implements store.Store.
func (s *Store) Collections(ctx context.Context, account presence.AccountID) (names []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := store.CheckList(account, "", ""); err != nil {
		return nil, err
	}
	prefix := appendID([]byte{documentPrefix}, account)
	for from, found := prefix, true; found && err == nil; {
		found = false
		err = s.scan(from, upperBound(prefix), func(key, _ []byte) (bool, error) {
			name, _, ok := cutID(key[len(prefix):])
			if !ok {
				return false, fmt.Errorf("document key: %w", errValue)
			}
			names, found = append(names, name), true
			from = upperBound(appendCollection(nil, account, name))
			return false, nil
		})
	}
	slices.Sort(names)
	return names, err
}

// appendLive appends the document that value holds, unless it has expired.
func appendLive(docs []store.Doc, k store.Key, value []byte, now presence.Instant) ([]store.Doc, error) {
	head, body, err := decodeDoc(value)
	if err != nil || !head.liveAt(now) {
		return docs, err
	}
	return append(docs, store.Doc{
		Key: k, Version: formatVersionOf(head), Value: append([]byte{}, body...), Until: head.until.Time(),
	}), nil
}

// upperBound is the least key above all that begin with prefix; nil: no bound.
func upperBound(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

// scan calls each for the keys in [from, to) in order, until it returns false. The
// key and the value are valid only during the call.
func (s *Store) scan(from, to []byte, each func(key, value []byte) (bool, error)) (err error) {
	if err := s.acquireDB(); err != nil {
		return err
	}
	defer s.releaseDB()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return s.readError(err)
	}
	defer func() { err = errors.Join(err, s.readError(it.Close())) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return s.readError(err)
		}
		if more, err := each(it.Key(), value); err != nil || !more {
			return err
		}
	}
	return nil
}
