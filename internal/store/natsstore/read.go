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
	return s.read(ctx, us)
}

func checkUsers(us []store.User) error {
	for _, u := range us {
		if err := store.CheckUser(u); err != nil {
			return err
		}
	}
	return nil
}

// read gives the records of us. Its cursor is that of the oldest of the views it is
// made from.
func (s *Store) read(ctx context.Context, us []store.User) ([]store.Record, store.Cursor, error) {
	subjects := make([]string, len(us))
	for i, u := range us {
		subjects[i] = s.names.state(u)
	}
	present, upTo, err := s.found(ctx, s.look, subjects)
	if err != nil {
		return nil, store.Cursor{}, err
	}
	records := make([]store.Record, 0, len(present))
	for i, u := range us {
		m, ok := present[subjects[i]]
		if !ok {
			continue
		}
		it, err := decodeItem(u, m)
		if err != nil {
			return nil, store.Cursor{}, err
		}
		records = append(records, it.record())
	}
	return records, store.NewCursor(s.epoch, store.Position(upTo)), nil
}

// A viewer reads the last messages of subjects: look or lookFresh.
type viewer func(context.Context, lastQuery) (sight, error)

// found reads the last message of each subject, in as many parts as it takes, and
// says up to where all parts are complete.
func (s *Store) found(ctx context.Context, read viewer, subjects []string) (present map[string]found, upTo uint64, err error) {
	unique := make(map[string]bool, len(subjects))
	filters := make([]string, 0, len(subjects))
	for _, subject := range subjects {
		if !unique[subject] {
			unique[subject] = true
			filters = append(filters, subject)
		}
	}
	present = make(map[string]found, len(filters))
	err = inParts(filters, func(part []string) error {
		seen, err := read(ctx, lastQuery{Filters: part})
		if err != nil {
			return err
		}
		for _, m := range seen.msgs {
			present[m.subject] = m
		}
		if s.saw(seen.upTo); upTo == 0 || seen.upTo < upTo {
			upTo = seen.upTo
		}
		return nil
	})
	return present, upTo, err
}

// inParts calls read with parts of filters that fit one query, and in halves if its
// answer does not fit. Without filters it is called once.
func inParts(filters []string, read func(part []string) error) error {
	for {
		n, size := 0, 0
		for n < len(filters) && n < maxFilters && (n == 0 || size+len(filters[n]) < maxFilterBytes) {
			size += len(filters[n])
			n++
		}
		if err := inHalves(filters[:n], read); err != nil {
			return err
		}
		if filters = filters[n:]; len(filters) == 0 {
			return nil
		}
	}
}

func inHalves(filters []string, read func(part []string) error) error {
	err := read(filters)
	if !errors.Is(err, errTooMany) || len(filters) <= 1 {
		return err
	}
	half := len(filters) / 2
	if err := inHalves(filters[:half], read); err != nil {
		return err
	}
	return inHalves(filters[half:], read)
}
