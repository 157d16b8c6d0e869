package natsstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

const (
	// Between looks at a stream that had nothing new, Feed, Watch and Due wait from
	// firstPause up to idlePause: a question costs less than a consumer that has to
	// be kept alive over lost connections and changes of leader.
	idlePause = 25 * time.Millisecond
	// saveInterval is how old a reader's stored position may be while it goes on.
	saveInterval = 500 * time.Millisecond
	// deliveredUsers is of how many users a reader remembers what it gave last.
	deliveredUsers = 16 << 10
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
	at    place
	dirty bool   // at is not stored yet
	saved uint64 // sequence of the message that holds its position; zero: none
	// holder is this node in what it stores: others, and not an own save whose
	// answer was lost, are a reason to end.
	holder string
}

// A place is how far a reader has come.
type place struct {
	History uint64         `json:"history"` // in the history stream
	At      store.Position `json:"at"`      // the entry there
	Name    string         `json:"name"`
	Holder  string         `json:"holder"` // who stored it
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
	ctx, cancel := s.untilClosed(ctx)
	defer cancel()
	f := &feed{s: s, r: r, given: newRecent[store.User, store.Position](deliveredUsers)}
	err = f.run(ctx, fn)
	if ended := s.ended(ctx, err); ended != nil {
		err = ended
	}
	// What was handled should not come again if this node goes.
	if saveErr := s.withoutEnd(ctx, r.save); saveErr != nil && !errors.Is(saveErr, store.ErrClosed) {
		s.log.WarnContext(ctx, "the position of a reader was not stored", slog.String("reader", name), slog.Any("err", saveErr))
	}
	return err
}

// untilClosed ends with ctx, or when the store closes or fails.
func (s *Store) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.closing:
			cancel(store.ErrClosed)
		case <-s.failed:
			cancel(s.haltedError())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// ended is why a reader ended that did not want to, or nil.
func (s *Store) ended(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return nil
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (s *Store) withoutEnd(ctx context.Context, do func(context.Context, *Store) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Wait)
	defer cancel()
	return do(ctx, s)
}

// A feed is one call of Feed.
type feed struct {
	s *Store
	r *reader
	// given is the last entry that this call gave of a user. What it has
	// forgotten is asked for.
	given   *recent[store.User, store.Position]
	savedAt time.Time
	said    news // of what the servers do not answer
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
	idle := backoff{}
	for {
		n, err := f.step(ctx, fn)
		if err != nil {
			return err
		}
		if n > 0 {
			idle = backoff{}
		}
		if err := f.saveSometimes(ctx); err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		idle.pause = min(idle.pause, idlePause/2)
		if err := idle.wait(ctx); err != nil {
			return err
		}
	}
}

// step gives what comes next, and how many messages that was.
func (f *feed) step(ctx context.Context, fn func([]store.Entry) error) (int, error) {
	group, last, n, err := f.next(ctx)
	if err != nil {
		if final := f.s.final(ctx, err); final != nil {
			return 0, final
		}
		if f.said.new(err) {
			f.s.log.WarnContext(ctx, "a feed cannot be read now", slog.String("reader", f.r.name), slog.Any("err", err))
		}
		return 0, nil // the servers will answer again
	}
	f.said.new(nil)
	if len(group) > 0 {
		if err := fn(group); err != nil {
			return 0, err
		}
		for _, e := range group {
			f.given.put(e.User, e.At)
		}
	}
	if n > 0 {
		f.r.moved(last)
	}
	return n, nil
}

// final is why a reader has to end, or nil: then the servers will answer again.
func (s *Store) final(ctx context.Context, err error) error {
	if ctx.Err() != nil || s.haltedError() != nil || errors.Is(err, errDamaged) || errors.Is(err, store.ErrFormat) {
		return errors.Join(s.haltedError(), err)
	}
	return nil
}

// next reads the messages after the reader's place, and makes entries of them.
func (f *feed) next(ctx context.Context) (group []store.Entry, last place, n int, err error) {
	if err := f.s.enter(ctx); err != nil {
		return nil, last, 0, err
	}
	defer f.s.leave()
	from := f.r.place()
	q := rangeQuery{From: from.History + 1, Filter: f.s.names.of("s.>"), Batch: store.MaxFeedGroup}
	msgs, err := f.s.between(ctx, f.s.names.history(), q)
	if err != nil || len(msgs) == 0 {
		return nil, last, 0, err
	}
	read := gapReader{s: f.s, given: f.given, from: from}
	for _, m := range msgs {
		if err := read.add(m); err != nil {
			return nil, last, 0, err
		}
	}
	if err := read.findGaps(ctx); err != nil {
		return nil, last, 0, err
	}
	end := msgs[len(msgs)-1]
	f.s.saw(end.source) // so that a read after it is no older
	return read.entries, place{History: end.seq, At: store.Position(end.source)}, len(msgs), nil
}

func (f *feed) saveSometimes(ctx context.Context) error {
	if time.Since(f.savedAt) < saveInterval {
		return nil
	}
	f.savedAt = time.Now()
	err := f.r.save(ctx, f.s)
	if errors.Is(err, store.ErrInUse) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		f.s.log.WarnContext(ctx, "the position of a reader was not stored yet", slog.String("reader", f.r.name), slog.Any("err", err))
	}
	return nil
}

// A gapReader makes entries of messages, and finds those whose predecessor is
// missing.
type gapReader struct {
	s       *Store
	given   *recent[store.User, store.Position]
	from    place
	entries []store.Entry
	// last is each user's entry in this group; unsure are the entries whose
	// predecessor is not known to have been given.
	last   map[store.User]store.Position
	unsure []unsure
}

type unsure struct {
	index    int
	history  uint64
	previous store.Position
}

func (g *gapReader) add(m found) error {
	h, err := cutRecord(m.subject, m.data)
	if err != nil {
		return fmt.Errorf("the entry at %d of the history: %w", m.seq, err)
	}
	if h.kind != kindEntry {
		return nil
	}
	e, err := store.DecodeEntry(h.entry)
	if err != nil {
		return fmt.Errorf("the entry at %d of the history: %w", m.seq, err)
	}
	e.At = store.Position(m.source)
	before, ok := g.last[e.User]
	if !ok {
		before, ok = g.given.get(e.User)
	}
	switch {
	case h.previous == 0 || ok && before == h.previous:
	case ok:
		e.Gap = true // what was given last is not what came before this
	default:
		g.unsure = append(g.unsure, unsure{index: len(g.entries), history: m.seq, previous: h.previous})
	}
	if g.last == nil {
		g.last = make(map[store.User]store.Position)
	}
	g.last[e.User] = e.At
	g.entries = append(g.entries, e)
	return nil
}

// findGaps asks the history what came before the entries that are unsure: each
// is the first of its user in the group, so all of them before the group.
func (g *gapReader) findGaps(ctx context.Context) error {
	if len(g.unsure) == 0 {
		return nil
	}
	before := make(map[string]store.Position, len(g.unsure))
	if g.from.History > 0 {
		filters := make([]string, len(g.unsure))
		for i, x := range g.unsure {
			filters[i] = g.s.names.state(g.entries[x.index].User)
		}
		for part := range chunks(filters) {
			if err := g.s.entriesBefore(ctx, part, g.from.History, before); err != nil {
				return err
			}
		}
	}
	oldest, err := g.s.oldest(ctx)
	if err != nil {
		return err
	}
	for _, x := range g.unsure {
		e := &g.entries[x.index]
		// What is older than the history, and not newer than where the reader was,
		// it was given before it was dropped.
		givenOnce := x.previous < oldest && x.previous <= g.from.At
		e.Gap = before[g.s.names.state(e.User)] != x.previous && !givenOnce
	}
	return nil
}

// entriesBefore finds the last entry of each subject up to a place in the history.
func (s *Store) entriesBefore(ctx context.Context, filters []string, upTo uint64, into map[string]store.Position) error {
	var seen sight
	var many bool
	err := s.retrying(ctx, func(ctx context.Context) (err error) {
		seen, err = s.lastBefore(ctx, filters, upTo)
		if many = errors.Is(err, errTooMany); many {
			return nil
		}
		return err
	})
	if many && len(filters) > 1 {
		half := len(filters) / 2
		return errors.Join(s.entriesBefore(ctx, filters[:half], upTo, into), s.entriesBefore(ctx, filters[half:], upTo, into))
	}
	if many {
		err = errTooMany
	}
	if err != nil {
		return err
	}
	for _, m := range seen.msgs {
		h, err := cutRecord(m.subject, m.data)
		if err != nil {
			return fmt.Errorf("the entry at %d of the history: %w", m.seq, err)
		}
		into[m.subject] = store.Position(m.source)
		if h.kind == kindRearm {
			into[m.subject] = h.previous // which is the record's own position
		}
	}
	return nil
}

// errBehind: the replica that answered has not come far enough.
var errBehind = errors.New("the replica of the history that answers is behind")

// lastBefore asks any replica, once. One that has not come to the place yet would
// leave out messages, and not say so: it is asked for the message there as well.
func (s *Store) lastBefore(ctx context.Context, filters []string, upTo uint64) (sight, error) {
	first, err := s.between(ctx, s.names.history(), rangeQuery{From: upTo, Filter: s.names.of("s.>"), Batch: 1})
	switch {
	case err != nil:
		return sight{}, err
	case len(first) == 0:
		return sight{}, errBehind // messages after it were read
	case first[0].seq > upTo:
		return sight{}, nil // all up to there were dropped
	}
	if mark := first[0].subject; !slices.Contains(filters, mark) {
		filters = append(slices.Clip(filters), mark)
	}
	seen, err := s.last(ctx, s.names.history(), lastQuery{Filters: filters, UpTo: upTo, MaxBytes: maxAnswerBytes})
	if err == nil && !slices.ContainsFunc(seen.msgs, func(m found) bool { return m.seq == upTo }) {
		err = errBehind
	}
	return seen, err
}

// oldest is the position of the oldest entry that the history keeps.
func (s *Store) oldest(ctx context.Context) (store.Position, error) {
	first, err := s.between(ctx, s.names.history(), rangeQuery{From: 1, Filter: s.names.of("s.>"), Batch: 1})
	if err != nil || len(first) == 0 {
		return 0, err
	}
	return store.Position(first[0].source), nil
}

func (r *reader) place() place {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *reader) moved(to place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at.History, r.at.At = to.History, to.At
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
	if !r.dirty || r.at.History <= at.History {
		r.at, r.dirty = at, false
	}
	return nil
}

// placeOf is the stored position of a reader, and the message that holds it; zero:
// none.
func (s *Store) placeOf(ctx context.Context, name string) (place, uint64, error) {
	last, err := s.leaderLast(ctx, s.names.reader(name))
	if err != nil || last == nil {
		return place{}, 0, err
	}
	at, err := placeIn(last)
	if err != nil {
		return place{}, 0, fmt.Errorf("the position of reader %q: %w", name, err)
	}
	return at, last.seq, nil
}

func placeIn(m *found) (at place, err error) {
	rest, err := unseal(m.subject, m.data)
	if err == nil {
		err = json.Unmarshal(rest, &at)
	}
	if err != nil {
		return place{}, errors.Join(errDamaged, err)
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

func (s *Store) standingOfReader(ctx context.Context, subject string, was uint64, want place) (standing, uint64, error) {
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
