package natsstore

import (
	"context"
	"errors"

	"porchlight.dev/porchlight/internal/store"
)

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, us []store.User) ([]store.Record, store.Cursor, error) {
	if err := checkUsers(us); err != nil {
		return nil, store.Cursor{}, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, store.Cursor{}, err
	}
	defer s.leave()
	return s.read(ctx, us, 0)
}

// Changed implements store.Store.
func (s *Store) Changed(ctx context.Context, us []store.User, c store.Cursor) ([]store.Record, store.Cursor, error) {
	after, err := c.Position(s.epoch)
	if err != nil {
		return nil, store.Cursor{}, err
	}
	if err := checkUsers(us); err != nil {
		return nil, store.Cursor{}, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, store.Cursor{}, err
	}
	defer s.leave()
	if uint64(after) > s.seen.Load() {
		// Another node may have given it. A place that nothing has come to was not
		// given by this store.
		at, err := s.leaderAt(ctx, s.names.stream())
		if err != nil {
			return nil, store.Cursor{}, err
		}
		if s.saw(at); uint64(after) > at {
			return nil, store.Cursor{}, store.ErrEpoch
		}
	}
	return s.read(ctx, us, after)
}

func checkUsers(us []store.User) error {
	for _, u := range us {
		if err := store.CheckUser(u); err != nil {
			return err
		}
	}
	return nil
}

// read gives the records of us that changed after a position. Its cursor is that
// of the oldest of the views it is made from.
func (s *Store) read(ctx context.Context, us []store.User, after store.Position) ([]store.Record, store.Cursor, error) {
	subjects, users := s.subjectsOf(us)
	read := recordReader{s: s, users: users, after: after, items: make(map[store.User]*item, len(users))}
	if len(subjects) == 0 {
		seen, err := s.look(ctx, lastQuery{})
		return nil, store.NewCursor(s.epoch, store.Position(seen.upTo)), err
	}
	for part := range chunks(subjects) {
		if err := read.part(ctx, part); err != nil {
			return nil, store.Cursor{}, err
		}
	}
	records := make([]store.Record, 0, len(read.items))
	for _, u := range us {
		if it := read.items[u]; it != nil && it.at > after {
			records = append(records, it.record())
		}
	}
	return records, store.NewCursor(s.epoch, store.Position(read.upTo)), nil
}

// subjectsOf gives the subject of each user once, and whose it is.
func (s *Store) subjectsOf(us []store.User) ([]string, map[string]store.User) {
	list := make([]string, 0, len(us))
	users := make(map[string]store.User, len(us))
	for _, u := range us {
		subject := s.names.state(u)
		if _, ok := users[subject]; !ok {
			users[subject] = u
			list = append(list, subject)
		}
	}
	return list, users
}

// chunks divides filters into parts that fit one query.
func chunks(filters []string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for len(filters) > 0 {
			n, size := 0, 0
			for n < len(filters) && n < maxFilters && (n == 0 || size+len(filters[n]) < maxFilterBytes) {
				size += len(filters[n])
				n++
			}
			if !yield(filters[:n]) {
				return
			}
			filters = filters[n:]
		}
	}
}

// A recordReader gathers records from several views.
type recordReader struct {
	s     *Store
	users map[string]store.User // by subject
	after store.Position
	items map[store.User]*item
	upTo  uint64 // of the oldest view; zero: none yet
}

// part reads some of the users, in halves if one answer does not hold them.
func (r *recordReader) part(ctx context.Context, filters []string) error {
	q := lastQuery{Filters: filters}
	if r.after > 0 {
		q.From = uint64(r.after) + 1
	}
	seen, err := r.s.look(ctx, q)
	if errors.Is(err, errTooMany) && len(filters) > 1 {
		half := len(filters) / 2
		if err := r.part(ctx, filters[:half]); err != nil {
			return err
		}
		return r.part(ctx, filters[half:])
	}
	if err != nil {
		return err
	}
	if r.upTo == 0 || seen.upTo < r.upTo {
		r.upTo = seen.upTo
	}
	for _, m := range seen.msgs {
		u, ok := r.users[m.subject]
		if !ok {
			continue
		}
		it, err := decodeItem(u, m)
		if err != nil {
			return err
		}
		r.items[u] = it
	}
	r.s.saw(seen.upTo)
	return nil
}
