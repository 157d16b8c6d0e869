package natsstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// tombstoneTTL is how long the servers keep the tombstone of a deleted document. Until
// then a delete whose acknowledgement was lost is recognised.
const tombstoneTTL = 10 * time.Minute

// A docHead precedes the value in a document's message.
type docHead struct {
	seq     uint64 // of the message
	ops     writeOps
	deleted bool
	until   presence.Instant
}

func appendDoc(dst []byte, h docHead, value []byte) []byte {
	dst = appendOps(dst, h.ops)
	if h.deleted {
		return append(dst, 1)
	}
	dst = append(dst, 0)
	dst = binary.AppendVarint(dst, int64(h.until))
	return append(dst, value...)
}

func decodeDoc(m storedMsg) (h docHead, value []byte, err error) {
	rest, err := unseal(m.subject, m.data)
	if err != nil {
		return h, nil, fmt.Errorf("document at %s: %w", m.subject, err)
	}
	c := fieldReader{rest: rest}
	h.ops = c.ops()
	h.seq = m.seq
	h.ops.setNewest(store.Position(m.seq))
	if h.deleted = c.byte() == 1; !h.deleted {
		h.until = presence.Instant(c.varint())
	}
	if c.failed {
		return h, nil, fmt.Errorf("document at %s: %w", m.subject, errDamaged)
	}
	return h, c.rest, nil
}

func (h docHead) liveAt(now presence.Instant) bool {
	return !h.deleted && (h.until.IsZero() || now < h.until)
}

// version is the sequence of the message, or the position of the document in the store
// that it was imported from: the position of its newest operation.
func (h docHead) version() store.Position {
	if len(h.ops) == 0 {
		return store.Position(h.seq)
	}
	return h.ops[0].at
}

func (h docHead) versionText() string { return strconv.FormatUint(uint64(h.version()), 36) }

// Write implements store.Store.
func (s *Store) Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error {
	if err := store.CheckDocs(account, docs); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if len(docs) == 0 {
		return nil
	}
	w := docWrite{s: s, docs: docs, op: rand.Uint64()}
	for i := range docs {
		w.subjects = append(w.subjects, s.names.doc(account, docs[i].Key))
	}
	return w.run(ctx)
}

// A docWrite is one call of Write.
type docWrite struct {
	s        *Store
	docs     []store.Doc
	subjects []string
	op       uint64
	prior    []docVersion
}

// A docVersion identifies the message that a write replaces. Zero: none.
type docVersion struct {
	seq uint64
	ops writeOps
}

func (w *docWrite) run(ctx context.Context) error {
	read := queryFunc(w.s.query) // may be stale, which the write detects
	for {
		match, err := w.matchVersions(ctx, read)
		if err != nil {
			return err
		}
		if !match {
			// A mismatch may come from a stale replica: compare with the leader.
			if match, err = w.matchVersions(ctx, w.s.queryFresh); err != nil {
				return err
			}
			if !match {
				return store.ErrConflict
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err = w.s.apply(ctx, write{msgs: w.messages(), outcome: w.outcome})
		if !errors.Is(err, errSuperseded) {
			return err
		}
		read = w.s.queryFresh
	}
}

// matchVersions reads the documents to be replaced, and reports whether they have the
// versions that the caller named.
func (w *docWrite) matchVersions(ctx context.Context, read queryFunc) (match bool, err error) {
	present, _, err := w.s.readLast(ctx, read, w.subjects)
	if err != nil {
		return false, err
	}
	now := w.s.now()
	w.prior = make([]docVersion, len(w.docs))
	for i, subject := range w.subjects {
		version := ""
		if m, ok := present[subject]; ok {
			head, _, err := decodeDoc(m)
			if err != nil {
				return false, err
			}
			w.prior[i] = docVersion{seq: m.seq, ops: head.ops}
			if head.liveAt(now) {
				version = head.versionText()
			}
		}
		if version != w.docs[i].Version {
			return false, nil
		}
	}
	return true, nil
}

func (w *docWrite) messages() []*nats.Msg {
	list := make([]*nats.Msg, len(w.docs))
	now := w.s.now()
	for i := range w.docs {
		d := &w.docs[i]
		head := docHead{ops: w.prior[i].ops.after(w.op), deleted: d.Value == nil, until: presence.InstantOf(d.Until)}
		body := appendDoc(newBody(headBytes+80+len(d.Value)), head, d.Value)
		m := w.s.newMsg(w.subjects[i], seal(w.subjects[i], body))
		expectLast(m, w.prior[i].seq)
		// Roll up: replaced and deleted values may be secrets, so no old version is kept.
		m.Header.Set(rollupHeader, rollupSubject)
		switch {
		case head.deleted:
			m.Header.Set(ttlHeader, ttl(tombstoneTTL))
		case !head.until.IsZero():
			m.Header.Set(ttlHeader, ttl(head.until.Sub(now)))
		}
		list[i] = m
	}
	return list
}

// ttl is d in whole seconds, rounded up, and one more. The servers thus never drop a
// document before its expiry, which liveAt decides.
func ttl(d time.Duration) string {
	seconds := max(int64((d+time.Second-1)/time.Second), 0) + 1
	return strconv.FormatInt(seconds, 10)
}

// outcome determines whether the write was stored: all documents, or none.
func (w *docWrite) outcome(ctx context.Context) (outcome, uint64, error) {
	present, _, err := w.s.readLast(ctx, w.s.queryFresh, w.subjects)
	if err != nil {
		return 0, 0, err
	}
	result := unchanged
	for i, subject := range w.subjects {
		last, ok := present[subject]
		prev := w.prior[i].seq
		if !ok && prev == 0 || ok && last.seq == prev {
			continue
		}
		result = superseded
		if !ok {
			continue // it expired
		}
		head, _, err := decodeDoc(last)
		if err != nil {
			return 0, 0, err
		}
		if found, at, err := outcomeFromOps(head.ops, w.op, store.Position(prev)); err != nil || found == stored {
			return found, at, err
		}
	}
	return result, 0, nil
}

// Load implements store.Store.
func (s *Store) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	for _, k := range keys {
		if err := store.CheckKey(account, k); err != nil {
			return nil, err
		}
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	subjects := make([]string, len(keys))
	for i, k := range keys {
		subjects[i] = s.names.doc(account, k)
	}
	present, _, err := s.readLast(ctx, s.query, subjects)
	if err != nil {
		return nil, err
	}
	docs := make([]store.Doc, 0, len(keys))
	now := s.now()
	for i, k := range keys {
		m, ok := present[subjects[i]]
		if !ok {
			continue
		}
		if docs, err = appendLive(docs, k, m, now); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// appendLive appends the document in m, unless it has expired or was deleted.
func appendLive(docs []store.Doc, k store.Key, m storedMsg, now presence.Instant) ([]store.Doc, error) {
	head, value, err := decodeDoc(m)
	if err != nil || !head.liveAt(now) {
		return docs, err
	}
	return append(docs, store.Doc{
		Key: k, Version: head.versionText(), Value: append([]byte{}, value...), Until: head.until.Time(),
	}), nil
}
