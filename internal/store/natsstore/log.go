package natsstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// deliveredUsers is the number of users of whom a reader caches the last delivered entry.
const deliveredUsers = 16 << 10

// Feed implements store.Log. It polls the history stream.
func (s *Store) Feed(ctx context.Context, after store.Position, fn func([]store.Entry) error) error {
	r := s.newLogReader(after)
	return s.poll(ctx, "log", func(ctx context.Context) (bool, error) {
		if err := s.enter(ctx); err != nil {
			return false, err
		}
		group, n, err := r.next(ctx, store.MaxFeedGroup)
		s.leave()
		if err == nil && len(group) > 0 {
			err = final(fn(group))
		}
		return n > 0, err
	})
}

// Log implements store.Log. It waits until the history has all entries that this node
// stored.
func (s *Store) Log(ctx context.Context, after store.Position, limit int) ([]store.Entry, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	limit = min(limit, store.MaxFeedGroup)
	end, err := s.awaitHistory(ctx)
	if err != nil || end.at <= after {
		return nil, err
	}
	r := s.newLogReader(after)
	var entries []store.Entry
	for len(entries) < limit && r.from.seq < end.seq {
		err := s.retryRead(ctx, func(ctx context.Context) error {
			group, n, err := r.next(ctx, limit-len(entries))
			if err == nil && n == 0 {
				err = errBehind // messages up to end exist
			}
			entries = append(entries, group...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	s.lastRead.Store(&r.from)
	return entries, nil
}

// PositionAt implements store.Log. The time of an entry is that of its commit, by the
// clock of the node that committed it. Where the clocks of nodes differ, or commits
// overtake each other, the result is off by as much.
func (s *Store) PositionAt(ctx context.Context, t time.Time) (store.Position, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	end, err := s.awaitHistory(ctx)
	if err != nil {
		return 0, err
	}
	last, err := s.search(ctx, historyPos{}, end.seq, func(m *storedMsg) (before, known bool) {
		_, e, err := decodeEntry(m)
		return e.Time.Before(t), err == nil && !e.Time.IsZero()
	})
	if err != nil || last.seq > 0 {
		return last.at, err
	}
	return s.beforeOldest(ctx)
}

// beforeOldest is the position before the oldest message in the history. Zero: none was
// dropped, though positions below the first were those of documents.
func (s *Store) beforeOldest(ctx context.Context) (store.Position, error) {
	first, err := s.oldest(ctx)
	if err != nil || first == nil {
		return 0, err
	}
	if head, _, err := decodeEntry(first); err == nil && first.seq == 1 && head.previous == 0 {
		return 0, nil
	}
	return store.Position(first.source) - 1, nil
}

// A historyPos is the position of a message in the history stream.
type historyPos struct {
	seq     uint64
	subject string
	at      store.Position // the position in the log that it was copied from
}

func historyPosOf(m *storedMsg) historyPos {
	return historyPos{seq: m.seq, subject: m.subject, at: store.Position(m.source)}
}

// locate finds the last message of the history that was copied from at or an earlier
// position. Zero: there is none. It asks the leader, since a replica may lack the last
// messages.
func (s *Store) locate(ctx context.Context, at store.Position) (historyPos, error) {
	low := historyPos{}
	if known := s.lastRead.Load(); known != nil && known.at <= at {
		if low = *known; low.at == at {
			return low, nil
		}
	}
	end, err := s.historyEnd(ctx)
	if err != nil || end.at <= at {
		return end, err
	}
	low, err = s.search(ctx, low, end.seq, func(m *storedMsg) (before, known bool) {
		return store.Position(m.source) <= at, true
	})
	if err == nil {
		s.lastRead.Store(&low)
	}
	return low, err
}

// search finds the last message above low, and up to end, for which before is true.
// Before is true for all messages up to some point, and false after it. Messages for
// which it is not known are skipped.
func (s *Store) search(ctx context.Context, low historyPos, end uint64, before func(*storedMsg) (yes, known bool)) (historyPos, error) {
	for high := end + 1; low.seq+1 < high; {
		mid := low.seq + (high-low.seq)/2
		m, yes, err := s.firstKnown(ctx, mid, high, before)
		switch {
		case err != nil:
			return historyPos{}, err
		case yes:
			low = historyPosOf(m)
		default:
			high = mid
		}
	}
	return low, nil
}

// firstKnown evaluates before on the first message from one sequence to below another for
// which it is known. It returns nil if there is none.
func (s *Store) firstKnown(ctx context.Context, from, to uint64, before func(*storedMsg) (yes, known bool)) (*storedMsg, bool, error) {
	for {
		m, err := s.leaderGet(ctx, s.names.historyStream(), leaderQuery{Next: s.names.records(), Seq: from})
		if err != nil || m == nil || m.seq >= to {
			return nil, false, err
		}
		if yes, known := before(m); known {
			return m, yes, nil
		}
		from = m.seq + 1
	}
}

// historyEnd is the last message of the history. Zero: the history is empty.
func (s *Store) historyEnd(ctx context.Context) (historyPos, error) {
	last, err := s.leaderSeq(ctx, s.names.historyStream())
	if err != nil || last == 0 {
		return historyPos{}, err
	}
	m, err := s.leaderGet(ctx, s.names.historyStream(), leaderQuery{Seq: last})
	if err != nil || m == nil { // it passed the retention meanwhile
		return historyPos{}, err
	}
	return historyPosOf(m), nil
}

// errBehind: the history has not copied all stored messages yet, or a replica is stale.
var errBehind = errors.New("the history stream or a replica is behind")

// awaitHistory waits until the history has everything that this node has stored or read,
// and returns its end. Zero: the history is empty.
func (s *Store) awaitHistory(ctx context.Context) (end historyPos, err error) {
	known := s.lastSeq.Load()
	err = s.retryRead(ctx, func(ctx context.Context) error {
		if end, err = s.historyEnd(ctx); err != nil {
			return err
		}
		q := leaderQuery{Next: s.names.copied(), Seq: uint64(end.at) + 1}
		if end.seq == 0 {
			// Older messages were copied, and are past the retention.
			since := time.Now().Add(-s.opts.Retention)
			q.Seq, q.Since = 0, &since
		}
		next, err := s.leaderGetOnce(ctx, s.names.stateStream(), q)
		if err == nil && next != nil && next.seq <= known {
			err = errBehind
		}
		return err
	})
	return end, err
}

// oldestPosition is the position of the oldest message in the history. Zero: the history
// is empty.
func (s *Store) oldestPosition(ctx context.Context) (store.Position, error) {
	first, err := s.oldest(ctx)
	if err != nil || first == nil {
		return 0, err
	}
	return store.Position(first.source), nil
}

// oldest is the oldest message in the history, or nil.
func (s *Store) oldest(ctx context.Context) (*storedMsg, error) {
	return s.leaderGet(ctx, s.names.historyStream(), leaderQuery{Next: s.names.records(), Seq: 1})
}

// decodeEntry decodes the log entry in the message of a record. It returns the zero Entry
// if the message has none.
func decodeEntry(m *storedMsg) (recordHead, store.Entry, error) {
	h, err := parseRecord(m.subject, m.data)
	if err != nil || h.kind != kindEntry {
		return h, store.Entry{}, err
	}
	e, err := store.DecodeEntry(h.entry)
	if err != nil {
		return h, store.Entry{}, err
	}
	e.At = store.Position(m.source)
	return h, e, nil
}

// damagedEntry is the entry of a message that cannot be decoded.
func damagedEntry(m *storedMsg, err error) store.Entry {
	return store.Entry{At: store.Position(m.source), Damaged: fmt.Errorf("log entry at %d of the history stream: %w", m.seq, err)}
}

// A logReader reads the history, and sets Gap on entries whose predecessor is missing.
type logReader struct {
	s     *Store
	begin store.Position // where the reader began: everything up to here was delivered by others
	after store.Position // everything up to here was delivered
	from  historyPos     // its message, if located
	// located reports whether from is known. It is searched for again after an error,
	// since its message may have been dropped.
	located bool
	// delivered caches the last delivered entry of each user. The history is asked for an
	// evicted one.
	delivered *recent[store.User, store.Position]
}

func (s *Store) newLogReader(after store.Position) *logReader {
	return &logReader{s: s, begin: after, after: after, delivered: newRecent[store.User, store.Position](deliveredUsers)}
}

// next reads up to limit messages. It returns their entries, and the number of messages.
func (r *logReader) next(ctx context.Context, limit int) (entries []store.Entry, n int, err error) {
	defer func() {
		if r.located = err == nil; !r.located {
			r.s.lastRead.Store(nil) // its message may have been dropped
		}
	}()
	if !r.located {
		if r.from, err = r.s.locate(ctx, r.after); err != nil {
			return nil, 0, err
		}
	}
	q := rangeQuery{From: r.from.seq + 1, Filter: r.s.names.records(), Batch: limit}
	msgs, err := r.s.readRange(ctx, r.s.names.historyStream(), q)
	if err != nil || len(msgs) == 0 {
		return nil, 0, err
	}
	group := logGroup{r: r, last: make(map[store.User]store.Position)}
	for i := range msgs {
		group.add(&msgs[i])
	}
	if err := group.findGaps(ctx); err != nil {
		return nil, 0, err
	}
	for u, at := range group.last {
		r.delivered.put(u, at)
	}
	r.from = historyPosOf(&msgs[len(msgs)-1])
	r.after = r.from.at
	r.s.advanceSeq(uint64(r.after)) // later reads must not be older
	return group.entries, len(msgs), nil
}

// A logGroup decodes the entries of messages that were read together.
type logGroup struct {
	r       *logReader
	entries []store.Entry
	last    map[store.User]store.Position // each user's last entry in the group
	// unverified are the entries whose predecessor may not have been delivered.
	unverified []unverified
}

type unverified struct {
	index    int
	previous store.Position
}

func (g *logGroup) add(m *storedMsg) {
	h, e, err := decodeEntry(m)
	if err != nil || h.kind != kindEntry {
		g.addWithoutEntry(m, h, err)
		return
	}
	before, ok := g.last[e.User]
	if !ok {
		before, ok = g.r.delivered.get(e.User)
	}
	switch {
	case h.previous == 0 || ok && before == h.previous:
	case ok, h.previous > g.r.after:
		e.Gap = true // the predecessor was not delivered
	default:
		g.unverified = append(g.unverified, unverified{index: len(g.entries), previous: h.previous})
	}
	g.last[e.User] = e.At
	g.entries = append(g.entries, e)
}

// addWithoutEntry adds a message that has no entry, or that cannot be decoded. It is no
// reason for a Gap on the entry that follows, unless it replaces an entry that the reader was
// to get.
func (g *logGroup) addWithoutEntry(m *storedMsg, h recordHead, err error) {
	at := h.previous // of the record's entry, which may be erased
	if err != nil {
		at = store.Position(m.source)
		g.entries = append(g.entries, damagedEntry(m, err))
	}
	if u, ok := g.r.s.names.parseUser(m.subject); ok && (err != nil || at <= g.r.begin) {
		g.last[u] = at
	}
}

// findGaps reads from the history the predecessors of unverified entries. Each is the
// first entry of its user in the group, so its predecessor is before the group.
func (g *logGroup) findGaps(ctx context.Context) error {
	if len(g.unverified) == 0 {
		return nil
	}
	s := g.r.s
	before := make(map[store.User]historyEntry, len(g.unverified))
	if g.r.from.seq > 0 {
		var filters []string
		for _, x := range g.unverified {
			filters = append(filters, s.names.logged(g.entries[x.index].User)...)
		}
		err := inBatches(filters, func(part []string) error { return s.entriesBefore(ctx, part, g.r.from, before) })
		if err != nil {
			return err
		}
	}
	oldest, err := s.oldestPosition(ctx)
	if err != nil {
		return err
	}
	for _, x := range g.unverified {
		e := &g.entries[x.index]
		found := before[e.User]
		// An entry older than the history was delivered before it was dropped. One that was
		// erased may have been delivered too, to a reader that no longer remembers it: then the
		// Gap is needless.
		e.Gap = found.at != x.previous && x.previous >= oldest || found.erased && x.previous > g.r.begin
	}
	return nil
}

// A historyEntry is the position of an entry, and the sequence of the message that says so.
type historyEntry struct {
	at     store.Position
	seq    uint64
	erased bool // at is that of an entry that was erased
}

// entriesBefore finds the last entry of each user at or before a position in the history.
func (s *Store) entriesBefore(ctx context.Context, filters []string, upTo historyPos, into map[store.User]historyEntry) error {
	msgs, err := s.lastBefore(ctx, filters, upTo)
	if err != nil {
		return err
	}
	for i := range msgs {
		m := &msgs[i]
		u, ok := s.names.parseUser(m.subject)
		if !ok || m.seq < into[u].seq {
			continue
		}
		found := historyEntry{at: store.Position(m.source), seq: m.seq}
		// A message without an entry has the position of the entry before it. Layout 1 also
		// copied updates that have no entry, at another subject.
		if h, err := parseRecord(m.subject, m.data); err == nil && h.kind == kindState {
			found.at, found.erased = h.previous, m.subject == s.names.change(u)
		}
		into[u] = found
	}
	return nil
}

// lastBefore reads the last message of each subject at or before upTo from any replica,
// once. A stale replica would silently omit messages, so the request includes the message
// at upTo: without it the response is stale.
func (s *Store) lastBefore(ctx context.Context, filters []string, upTo historyPos) ([]storedMsg, error) {
	if !slices.Contains(filters, upTo.subject) {
		filters = append(slices.Clip(filters), upTo.subject)
	}
	snap, err := s.queryLast(ctx, s.names.historyStream(), lastQuery{Filters: filters, UpTo: upTo.seq, MaxBytes: maxResponseBytes})
	if err == nil && !slices.ContainsFunc(snap.msgs, func(m storedMsg) bool { return m.seq == upTo.seq }) {
		err = errBehind
	}
	return snap.msgs, err
}
