package natsstore

import (
	"context"
	"errors"
	"slices"

	"porchlight.dev/porchlight/internal/store"
)

// Read implements store.Store. Its cursor is that of the oldest snapshot that it read
// from.
func (s *Store) Read(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	for _, u := range us {
		if err := store.CheckUser(u); err != nil {
			return nil, store.Cursor{}, err
		}
	}
	if err := s.enter(ctx); err != nil {
		return nil, store.Cursor{}, err
	}
	defer s.leave()
	return s.readFresh(ctx, us, fresh)
}

// readRecords reads from replicas that have everything up to lastSeq.
func (s *Store) readRecords(ctx context.Context, us []store.User, forUpdate bool) ([]store.Record, store.Cursor, error) {
	subjects := make([]string, 0, 3*len(us))
	for _, u := range us {
		subjects = append(subjects, s.names.all(u)...)
	}
	present, upTo, err := s.readLast(ctx, s.query, subjects)
	if err != nil {
		return nil, store.Cursor{}, err
	}
	records := make([]store.Record, 0, len(present))
	for _, u := range us {
		m, ok := s.names.newestOf(u, present)
		if !ok {
			continue
		}
		rec, err := decodeRecord(u, m)
		if err != nil {
			return nil, store.Cursor{}, err
		}
		if forUpdate {
			s.cacheRead(rec)
		}
		records = append(records, rec.record())
	}
	return records, store.NewCursor(s.epoch, store.Position(upTo)), nil
}

// cacheRead caches a record, so that an update need not ask the leader for it. The replica may be
// behind: see update.
func (s *Store) cacheRead(rec *record) {
	if known, ok := s.records.get(rec.user); !ok || known.seq < rec.seq {
		s.records.put(rec.user, rec)
	}
}

// A queryFunc is query or queryFresh.
type queryFunc func(context.Context, lastQuery) (snapshot, error)

// readLast reads the last message of each subject, in as many queries as necessary. upTo
// is the sequence up to which all responses are complete.
func (s *Store) readLast(ctx context.Context, read queryFunc, subjects []string) (present map[string]storedMsg, upTo uint64, err error) {
	filters := slices.Compact(slices.Sorted(slices.Values(subjects)))
	present = make(map[string]storedMsg, len(filters))
	err = inBatches(filters, func(part []string) error {
		snap, err := read(ctx, lastQuery{Filters: part})
		if err != nil {
			return err
		}
		for _, m := range snap.msgs {
			present[m.subject] = m
		}
		if s.advanceSeq(snap.upTo); upTo == 0 || snap.upTo < upTo {
			upTo = snap.upTo
		}
		return nil
	})
	return present, upTo, err
}

// inBatches calls read with as many filters as fit one query, and with half of them if
// the response does not fit. It calls read once if there are no filters.
func inBatches(filters []string, read func(part []string) error) error {
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
