package natsstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

const (
	// saveInterval is how old a reader's stored position may be while it goes on.
	saveInterval = 500 * time.Millisecond
)

// readers are the durable readers that ran on this node.
type readers struct {
	mu sync.Mutex // guards m and running
	m  map[string]*reader
}

// A reader is one of them. Whoever set running uses it alone.
type reader struct {
	name    string
	running bool

	mu    sync.Mutex // guards the fields below
	at    readerPlace
	dirty bool   // at is not stored yet
	saved uint64 // sequence of the message that holds its position; zero: none
	// holder is this node in what it stores: others, and not an own save whose
	// answer was lost, are a reason to end.
	holder string
}

// A readerPlace is how far a reader has come.
type readerPlace struct {
	At     store.Position `json:"at"`
	Name   string         `json:"name"`
	Holder string         `json:"holder"` // who stored it
}

func (rs *readers) start(name string) (*reader, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.m[name]
	if r == nil {
		r = &reader{name: name, holder: rand.Text()}
		rs.m[name] = r
	}
	if r.running {
		return nil, store.ErrInUse
	}
	r.running = true
	return r, nil
}

func (rs *readers) stop(r *reader) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.running = false
}

func (rs *readers) all() []*reader {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	list := make([]*reader, 0, len(rs.m))
	for _, r := range rs.m {
		list = append(list, r)
	}
	return list
}

// Feed implements store.Store. A position is stored under the version that it
// replaces: when another node runs the same reader, one of the two gets ErrInUse
// within saveInterval.
func (s *Store) Feed(ctx context.Context, name string, fn func([]store.Entry) error) error {
	if name == "" || len(name) > store.MaxKeyBytes {
		return fmt.Errorf("%w: a reader's name has 1 to %d bytes", store.ErrTooLarge, store.MaxKeyBytes)
	}
	r, err := s.readers.start(name)
	if err != nil {
		return err
	}
	defer s.readers.stop(r)
	err = (&feed{s: s, r: r}).run(ctx, fn)
	// What was handled should not come again if this node goes.
	if saveErr := s.withoutEnd(ctx, r.save); saveErr != nil && !errors.Is(saveErr, store.ErrClosed) {
		s.log.WarnContext(ctx, "the position of a reader was not stored", slog.String("reader", name), slog.Any("err", saveErr))
	}
	return err
}

func (s *Store) withoutEnd(ctx context.Context, do func(context.Context, *Store) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Wait)
	defer cancel()
	return do(ctx, s)
}

// A feed is one call of Feed.
type feed struct {
	s       *Store
	r       *reader
	savedAt time.Time
}

func (f *feed) run(ctx context.Context, fn func([]store.Entry) error) error {
	for {
		if err := f.s.enter(ctx); err != nil {
			if errors.Is(err, store.ErrUnavailable) {
				continue // enter has waited
			}
			return err
		}
		err := f.r.load(ctx, f.s)
		f.s.leave()
		if err == nil {
			break
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return err
		}
	}
	log := f.s.newLogReader(f.r.place().At)
	return f.s.poll(ctx, "the log", func(ctx context.Context) (bool, error) {
		if err := f.s.enter(ctx); err != nil {
			return false, err
		}
		group, n, err := log.next(ctx, store.MaxFeedGroup)
		f.s.leave()
		if err == nil && len(group) > 0 {
			if err := fn(group); err != nil {
				return false, final(err)
			}
		}
		if err == nil && n > 0 {
			f.r.moved(log.after)
		}
		return n > 0, errors.Join(err, f.saveSometimes(ctx))
	})
}

func (f *feed) saveSometimes(ctx context.Context) error {
	if time.Since(f.savedAt) < saveInterval {
		return nil
	}
	f.savedAt = time.Now()
	err := f.r.save(ctx, f.s)
	if errors.Is(err, store.ErrInUse) {
		return final(err)
	}
	if err != nil && ctx.Err() == nil {
		f.s.log.WarnContext(ctx, "the position of a reader was not stored yet", slog.String("reader", f.r.name), slog.Any("err", err))
	}
	return nil
}

func (r *reader) place() readerPlace {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *reader) moved(to store.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at.At = to
	r.dirty = true
}

// load reads the stored position: the reader may have run on another node since.
// This node's own counts if it could not be stored and is further on.
func (r *reader) load(ctx context.Context, s *Store) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, seq, err := s.placeOf(ctx, r.name)
	if err != nil {
		return err
	}
	r.saved = seq
	if !r.dirty || r.at.At <= at.At {
		r.at, r.dirty = at, false
	}
	return nil
}

// placeOf is the stored position of a reader, and the message that holds it; zero:
// none.
func (s *Store) placeOf(ctx context.Context, name string) (readerPlace, uint64, error) {
	last, err := s.leaderLast(ctx, s.names.reader(name))
	if err != nil || last == nil {
		return readerPlace{}, 0, err
	}
	at, err := placeIn(last)
	if err != nil {
		return readerPlace{}, 0, fmt.Errorf("the position of reader %q: %w", name, err)
	}
	return at, last.seq, nil
}

func placeIn(m *found) (at readerPlace, err error) {
	rest, err := unseal(m.subject, m.data)
	if err == nil {
		err = json.Unmarshal(rest, &at)
	}
	if err != nil {
		return readerPlace{}, errors.Join(errDamaged, err)
	}
	return at, nil
}

// save stores the position. Another node's in its place is ErrInUse, and then
// this one's is forgotten.
func (r *reader) save(ctx context.Context, s *Store) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.dirty {
		err := r.saveOnce(ctx, s)
		if !errors.Is(err, errOvertaken) {
			return err
		}
		at, seq, err := s.placeOf(ctx, r.name)
		if err != nil {
			return err
		}
		if at.Holder != r.holder {
			r.dirty = false
			return fmt.Errorf("%w: another node runs it", store.ErrInUse)
		}
		r.saved = seq // by an earlier save whose answer was lost
	}
	return nil
}

func (r *reader) saveOnce(ctx context.Context, s *Store) error {
	at := r.at
	at.Name, at.Holder = fmt.Sprintf("%q", r.name), r.holder
	body, err := json.Marshal(at)
	if err != nil {
		return err
	}
	subject := s.names.reader(r.name)
	m := s.message(subject, seal(subject, append(begin(headBytes+len(body)), body...)))
	m.Header.Set(rollupHeader, rollupSubject)
	expect(m, r.saved)
	seq, err := s.apply(ctx, write{msgs: msgs(m), base: func(ctx context.Context) (standing, uint64, error) {
		return s.standingOfReader(ctx, subject, r.saved, at)
	}})
	if err != nil {
		return err
	}
	r.saved, r.dirty = seq, false
	return nil
}

func (s *Store) standingOfReader(ctx context.Context, subject string, was uint64, want readerPlace) (standing, uint64, error) {
	last, err := s.leaderLastOnce(ctx, subject)
	switch {
	case err != nil:
		return 0, 0, err
	case last == nil, last.seq == was:
		return unchanged, 0, nil
	}
	at, err := placeIn(last)
	if err != nil {
		return 0, 0, err
	}
	if at == want {
		return made, last.seq, nil
	}
	return changed, 0, nil
}

// savePositions stores where the readers are: the last thing before Close.
func (s *Store) savePositions() {
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Wait)
	defer cancel()
	for _, r := range s.readers.all() {
		if err := r.save(ctx, s); err != nil {
			s.log.Warn("the position of a reader was not stored", slog.String("reader", r.name), slog.Any("err", err))
		}
	}
}
