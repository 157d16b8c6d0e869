package pebblestore

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/store"
)

// acquireDB admits a reader of the database. Close waits until it calls releaseDB.
//
// It refuses all readers after the database was abandoned: the parked goroutine may
// hold a lock that reading needs, and the reader would then never return.
func (s *Store) acquireDB() error {
	select {
	case <-s.abandoned:
		<-s.failure.failed // fail follows abandon at once
		return s.haltedError()
	default:
	}
	s.guard.RLock()
	if s.dbClosed {
		s.guard.RUnlock()
		return s.haltedError()
	}
	return nil
}

func (s *Store) releaseDB() { s.guard.RUnlock() }

// get reads a value and passes it to use, which must not retain it. If there is no
// value, use is not called.
func (s *Store) get(key []byte, use func(value []byte) error) error {
	if err := s.acquireDB(); err != nil {
		return err
	}
	defer s.releaseDB()
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return s.readError(err)
	}
	defer closer.Close()
	return use(value)
}

// readItem reads a record from the database, durable or not; nil is none.
func (s *Store) readItem(u store.User) (it *item, err error) {
	s.cache.misses.Add(1)
	key := appendRecordKey(make([]byte, 0, 64), u)
	err = s.get(key, func(value []byte) error {
		it, err = decodeItem(u, value)
		return err
	})
	return it, err
}

// lookup gives the durable record of u, nil for none.
//
// The database may show a record that is not durable yet. It will be installed in the
// cache soon, so lookup waits and tries again.
func (s *Store) lookup(ctx context.Context, u store.User) (*item, error) {
	for {
		it, _, durable, err := s.lookupNow(u)
		if err != nil || durable {
			return it, err
		}
		if err := s.awaitDurable(ctx, s.progress.neededBy(u, it.at)); err != nil {
			return nil, err
		}
	}
}

// lookupNow is lookup without waiting: the record may not be durable yet. It also gives the
// number of installs as of which it was read; see cache.unchanged.
func (s *Store) lookupNow(u store.User) (it *item, installs uint64, durable bool, err error) {
	it, installs = s.cache.get(u)
	if it != nil {
		return it, installs, true, nil
	}
	if it, err = s.readItem(u); err != nil || it == nil {
		return nil, installs, err == nil, err
	}
	if durable = s.progress.durableAt() >= s.progress.neededBy(u, it.at); durable {
		s.cache.offer(it, installs)
	}
	return it, installs, durable, nil
}

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	if err := store.CheckUser(u); err != nil {
		return store.Record{}, err
	}
	if err := s.admit(ctx); err != nil {
		return store.Record{}, err
	}
	o := s.ops.get()
	o.user, o.fn = u, fn
	if err := s.prefetch(o); err != nil {
		return store.Record{}, err
	}
	return s.do(ctx, o)
}

// Begin implements store.Store.
func (s *Store) Begin(u store.User, fn store.Decide, reply store.Reply) {
	if err := s.begin(u, fn, reply); err != nil {
		reply.Call(s.log, store.Record{}, err)
	}
}

// begin queues an update. After an error nobody else replies.
func (s *Store) begin(u store.User, fn store.Decide, reply store.Reply) error {
	if err := store.CheckUser(u); err != nil {
		return err
	}
	if err := s.admit(context.Background()); err != nil {
		return err
	}
	o := s.ops.get()
	o.user, o.fn, o.reply = u, fn, reply
	if err := s.prefetch(o); err != nil {
		return err
	}
	if !s.replier.add(o) {
		return s.haltedError()
	}
	select {
	case s.queue <- o:
	default:
		select {
		case s.queue <- o:
		case <-s.halted: // the replier replies
		}
	}
	return nil
}

// admit refuses a write when the store cannot accept one.
func (s *Store) admit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isHalted() {
		return s.haltedError()
	}
	return s.checkSpace()
}

// prefetch reads a record that is not in memory on the caller's goroutine, so that the
// committer, which serves all callers in turn, need not. One that is not durable yet is
// staged, or will be in the cache.
func (s *Store) prefetch(o *op) (err error) {
	o.prefetched, o.prefetchInstalls, o.hasPrefetched, err = s.lookupNow(o.user)
	return err
}

// Read implements store.Store. It takes the cursor first, so no record that it reads
// is older. No other process writes, so every read is strong.
func (s *Store) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, store.Cursor{}, err
	}
	durable := s.progress.durableAt()
	if least, err := fresh.AtLeast.Position(s.epoch); err != nil || least > durable {
		return nil, store.Cursor{}, store.ErrEpoch
	}
	cursor := store.NewCursor(s.epoch, durable)
	records := make([]store.Record, 0, len(us))
	for i := range us {
		if err := store.CheckUser(us[i]); err != nil {
			return nil, store.Cursor{}, err
		}
		it, err := s.lookup(ctx, us[i])
		if err != nil {
			return nil, store.Cursor{}, err
		}
		if it != nil {
			records = append(records, it.record())
		}
	}
	return records, cursor, nil
}
