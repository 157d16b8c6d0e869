package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/transfer"
)

// A Source reads a store that is not open. The directory is locked meanwhile.
type Source struct {
	s    *Store
	info transfer.Info
	now  presence.Instant
}

var _ transfer.Source = (*Source)(nil)

// OpenSource locks the directory of a store that is not open. It changes nothing in dir,
// and uses only o's file system, clock and logger. Damage is ErrDamaged.
func OpenSource(dir string, o Options) (*Source, error) {
	s := newStore(dir, o.withDefaults())
	exists, err := s.inspect()
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, fmt.Errorf("%w: %s holds no store; check the path", ErrMissing, dir)
	}
	if err := s.openForBackup(); err != nil {
		return nil, err
	}
	src := &Source{s: s, now: s.now()}
	if src.info, err = s.transferInfo(); err != nil {
		return nil, errors.Join(err, s.closeDB())
	}
	return src, nil
}

func (s *Store) transferInfo() (transfer.Info, error) {
	header, err := s.backupHeader(s.db)
	if err != nil {
		return transfer.Info{}, err
	}
	if err := s.loadNumbers(); err != nil {
		return transfer.Info{}, err
	}
	info := transfer.Info{Epoch: header.Epoch, Last: store.Position(header.Position), Bytes: s.sizeEstimate()}
	if err := s.checkWatermark(info.Last); err != nil {
		return info, err
	}
	// The next start would assign a new epoch: see load.
	if state, err := s.meta(metaState); err != nil || state == stateOpenOS {
		info.Epoch = ""
		if err != nil {
			return info, err
		}
	}
	info.First = info.Last + 1
	return info, s.scan([]byte{logPrefix}, []byte{logPrefix + 1}, func(key, _ []byte) (bool, error) {
		info.First, _ = cutLogKey(key)
		return false, nil
	})
}

// Info implements transfer.Source.
func (src *Source) Info() transfer.Info { return src.info }

// Check implements transfer.Source: the lock keeps others from the directory.
func (*Source) Check(context.Context) error { return nil }

// Close unlocks the directory.
func (src *Source) Close() error { return src.s.closeDB() }

// each calls read with the pairs of one kind.
func (src *Source) each(ctx context.Context, kind byte, read func(key, value []byte) error) error {
	n := 0
	err := src.s.scan([]byte{kind}, []byte{kind + 1}, func(key, value []byte) (bool, error) {
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return true, read(key, value)
	})
	if err != nil && !errors.Is(err, ErrDamaged) && isDamage(err) {
		return damaged(src.s.dir, located(err))
	}
	return err
}

// Records implements transfer.Source.
func (src *Source) Records(ctx context.Context, each func(*transfer.Record) error) error {
	return src.each(ctx, recordPrefix, func(key, value []byte) error {
		u, ok := cutUser(key[1:])
		if !ok {
			return damaged(src.s.dir, errValue)
		}
		it, err := decodeItem(u, value)
		if err != nil {
			return damaged(src.s.dir, err)
		}
		r := transferred(it)
		r.Bytes = len(key) + len(value)
		return each(r)
	})
}

func transferred(it *item) *transfer.Record {
	return &transfer.Record{User: it.user, Recorded: it.Recorded, At: it.at}
}

// Record implements transfer.Source.
func (src *Source) Record(_ context.Context, u store.User) (*transfer.Record, error) {
	it, err := src.s.readItem(u)
	if err != nil || it == nil {
		return nil, err
	}
	return transferred(it), nil
}

// Entries implements transfer.Source.
func (src *Source) Entries(ctx context.Context, each func(*transfer.Entry) error) error {
	return src.each(ctx, logPrefix, func(key, value []byte) error {
		at, ok := cutLogKey(key)
		if !ok {
			return damaged(src.s.dir, errValue)
		}
		e, previous, err := decodeEntry(at, value)
		if err != nil {
			return damaged(src.s.dir, err)
		}
		return each(&transfer.Entry{Entry: e, Previous: previous, Bytes: len(key) + len(value), Dropped: isDropped(&e)})
	})
}

// Documents implements transfer.Source.
func (src *Source) Documents(ctx context.Context, each func(*transfer.Doc) error) error {
	return src.each(ctx, documentPrefix, func(key, value []byte) error {
		account, rest, found := cutID(key[1:])
		collection, name, ok := cutID(rest)
		head, body, err := decodeDoc(value)
		switch {
		case !found || !ok:
			return damaged(src.s.dir, errValue)
		case err != nil:
			return damaged(src.s.dir, err)
		case !head.liveAt(src.now):
			return nil
		}
		return each(&transfer.Doc{
			Account: presence.AccountID(account), Written: head.seq, Bytes: len(key) + len(value),
			Doc: store.Doc{Key: store.Key{Collection: collection, Key: string(name)}, Value: body, Until: head.until.Time()},
		})
	})
}

// An entry that an engine dropped is imported as one that was erased, at revision zero.
// Readers of the log see it with a Gap.
func isDropped(e *store.Entry) bool { return e.Erased && e.Revision == 0 }

// hasEntry reports whether the log has an entry at a position.
func (s *Store) hasEntry(at store.Position) (bool, error) {
	_, closer, err := s.db.Get(appendLogKey(nil, at))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, s.readError(err)
	}
	return true, closer.Close()
}
