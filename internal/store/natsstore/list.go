package natsstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// List implements store.Store.
//
// The servers return the messages that match a filter in the order of their storage, and
// only if they fit one response. Documents are therefore read by key prefix: a prefix
// with too many documents is split into longer ones, in the order of keys.
func (s *Store) List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error) {
	if err := store.CheckList(account, collection, after); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	l := listing{
		s: s, collection: collection, base: s.names.collection(account, collection),
		after: after, now: s.now(), pending: []keyPrefix{{}}, width: 1,
	}
	if after != "" {
		l.encoded = encode(after)
	}
	for len(l.docs) < limit && len(l.pending) > 0 {
		if err := l.step(ctx); err != nil {
			return nil, err
		}
	}
	return l.docs[:min(len(l.docs), max(limit, 0))], nil
}

// collectionsBatch is how many documents Collections reads at a time.
const collectionsBatch = 500

// Collections implements store.Store. No filter selects one document of each collection,
// so it reads all documents of the account.
func (s *Store) Collections(ctx context.Context, account presence.AccountID) ([]string, error) {
	if err := store.CheckList(account, "", ""); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	base := s.names.subject("d.") + encode(account) + "."
	found := make(map[string]bool)
	for from := uint64(1); ; {
		var msgs []storedMsg
		err := s.retryRead(ctx, func(ctx context.Context) (err error) {
			msgs, err = s.readRange(ctx, s.names.stateStream(), rangeQuery{From: from, Filter: base + ">", Batch: collectionsBatch})
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(msgs) == 0 {
			return slices.Sorted(maps.Keys(found)), nil
		}
		for i := range msgs {
			token, _, _ := strings.Cut(strings.TrimPrefix(msgs[i].subject, base), ".")
			name, ok := decode(token)
			if !ok {
				return nil, fmt.Errorf("document at %s: %w", msgs[i].subject, errDamaged)
			}
			found[name] = true
		}
		from = msgs[len(msgs)-1].seq + 1
	}
}

// A keyPrefix selects the keys whose encoded form begins with prefix or, if exact, is
// prefix.
type keyPrefix struct {
	prefix string
	exact  bool
}

// A listing is one call of List.
type listing struct {
	s          *Store
	collection string
	base       string // the subject of the collection
	after      string
	encoded    string // after; "": from the beginning
	now        presence.Instant
	docs       []store.Doc
	pending    []keyPrefix // not read yet, in the order of keys
	width      int         // how many of them to read at once
}

// maxPrefixes limits the prefixes of one request.
const maxPrefixes = 64

// step reads the documents of the next prefixes, or splits the first prefix.
func (l *listing) step(ctx context.Context) error {
	n := min(l.width, len(l.pending))
	filters := make([]string, 0, 2*n)
	for _, p := range l.pending[:n] {
		filters = append(filters, l.filters(p)...)
	}
	snap, err := l.s.query(ctx, lastQuery{Filters: filters})
	switch {
	case errors.Is(err, errTooMany) && n > 1:
		l.width = n / 2
		return nil
	case errors.Is(err, errTooMany):
		l.pending = append(l.split(l.pending[0]), l.pending[1:]...)
		l.width = maxPrefixes
		return nil
	case err != nil:
		return err
	}
	l.s.advanceSeq(snap.upTo)
	l.pending = l.pending[n:]
	l.width = min(2*l.width, maxPrefixes)
	return l.addDocs(snap.msgs)
}

func (l *listing) filters(p keyPrefix) []string {
	if p.prefix == "" {
		return []string{l.base + ".>"}
	}
	subject := l.base + "." + splitTokens(p.prefix)
	if p.exact {
		return []string{subject}
	}
	return []string{subject, subject + ".>"}
}

// split returns the parts of p that have keys above after, in order.
func (l *listing) split(p keyPrefix) []keyPrefix {
	var parts []keyPrefix
	if p.prefix != "" && p.prefix > l.encoded {
		parts = append(parts, keyPrefix{prefix: p.prefix, exact: true})
	}
	for i := range len(alphabet) {
		part := keyPrefix{prefix: p.prefix + alphabet[i:i+1]}
		// A part has keys above after if it sorts after it, or is a prefix of it.
		if part.prefix >= l.encoded || strings.HasPrefix(l.encoded, part.prefix) {
			parts = append(parts, part)
		}
	}
	return parts
}

// addDocs adds the documents of the prefixes that were read.
func (l *listing) addDocs(msgs []storedMsg) error {
	begin := len(l.docs)
	for _, m := range msgs {
		key, ok := parseKey(m.subject, l.base)
		if !ok {
			return fmt.Errorf("document at %s: %w", m.subject, errDamaged)
		}
		if key <= l.after {
			continue
		}
		var err error
		if l.docs, err = appendLive(l.docs, store.Key{Collection: l.collection, Key: key}, m, l.now); err != nil {
			return err
		}
	}
	slices.SortFunc(l.docs[begin:], func(a, b store.Doc) int { return cmp.Compare(a.Key.Key, b.Key.Key) })
	return nil
}
