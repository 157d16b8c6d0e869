package natsstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// List implements store.Store.
//
// The servers give what matches a filter in the order in which it was written,
// and only if it is not too much. So the collection is divided by how keys begin,
// until what is asked for fits one answer: keys in order are the leaves of a tree
// of their characters.
func (s *Store) List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error) {
	if err := store.CheckList(account, collection, after); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	l := listing{
		s: s, collection: collection, within: s.names.collection(account, collection),
		after: after, now: s.now(), todo: []branch{{}}, width: 1,
	}
	if after != "" {
		l.encoded = encode(after)
	}
	for len(l.docs) < limit && len(l.todo) > 0 {
		if err := l.step(ctx); err != nil {
			return nil, err
		}
	}
	return l.docs[:min(len(l.docs), max(limit, 0))], nil
}

// A branch is the keys whose encoded form begins with start; if leaf, the one
// that is it.
type branch struct {
	start string
	leaf  bool
}

// A listing is one call of List.
type listing struct {
	s          *Store
	collection string
	within     string // the collection's subjects
	after      string
	encoded    string // after; "": from the beginning
	now        presence.Instant
	docs       []store.Doc
	todo       []branch // what was not read yet, in the order of keys
	width      int      // how many of them to ask for at once
}

const maxBranches = 64

// step reads the next branches, or divides the first one.
func (l *listing) step(ctx context.Context) error {
	n := min(l.width, len(l.todo))
	filters := make([]string, 0, 2*n)
	for _, b := range l.todo[:n] {
		filters = append(filters, l.filters(b)...)
	}
	snap, err := l.s.query(ctx, lastQuery{Filters: filters})
	switch {
	case errors.Is(err, errTooMany) && n > 1:
		l.width = n / 2
		return nil
	case errors.Is(err, errTooMany):
		l.todo = append(l.divide(l.todo[0]), l.todo[1:]...)
		l.width = maxBranches
		return nil
	case err != nil:
		return err
	}
	l.s.advanceSeq(snap.upTo)
	l.todo = l.todo[n:]
	l.width = min(2*l.width, maxBranches)
	return l.take(snap.msgs)
}

func (l *listing) filters(b branch) []string {
	base := l.within
	if b.start != "" {
		base += "." + splitTokens(b.start)
	}
	switch {
	case b.leaf:
		return []string{base}
	case b.start == "":
		return []string{base + ".>"}
	default:
		return []string{base, base + ".>"}
	}
}

// divide gives the parts of b that lie above after, in order.
func (l *listing) divide(b branch) []branch {
	var parts []branch
	if b.start != "" && b.start > l.encoded {
		parts = append(parts, branch{start: b.start, leaf: true})
	}
	for i := range len(alphabet) {
		part := branch{start: b.start + alphabet[i:i+1]}
		// The last keys of the part begin with its start and what is highest.
		if part.start >= l.encoded || len(l.encoded) > len(part.start) && l.encoded[:len(part.start)] == part.start {
			parts = append(parts, part)
		}
	}
	return parts
}

// take adds the documents of branches that were read.
func (l *listing) take(msgs []storedMsg) error {
	type keyed struct {
		key string
		m   storedMsg
	}
	page := make([]keyed, 0, len(msgs))
	for _, m := range msgs {
		key, ok := parseKey(m.subject, l.within)
		if !ok {
			return fmt.Errorf("a document at %s: %w", m.subject, errDamaged)
		}
		if l.encoded == "" || key > l.after {
			page = append(page, keyed{key, m})
		}
	}
	slices.SortFunc(page, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	for _, x := range page {
		var err error
		k := store.Key{Collection: l.collection, Key: x.key}
		if l.docs, err = appendLive(l.docs, k, x.m, l.now); err != nil {
			return err
		}
	}
	return nil
}
