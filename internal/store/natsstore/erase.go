package natsstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/store"
)

// purgeTimeout is how long the servers may take to purge a user's messages: they scan the
// whole history.
const purgeTimeout = 30 * time.Second

// Erase implements store.Store. The servers cannot rewrite a message, so the entries are
// dropped, and the next entry has a Gap. The record's message, which contains the newest
// entry, is replaced by one without an entry.
func (s *Store) Erase(ctx context.Context, u store.User) error {
	if err := store.CheckUser(u); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	kept, err := s.dropEntry(ctx, u)
	if err != nil || kept == 0 {
		return err
	}
	s.advanceSeq(kept)
	for _, subject := range s.names.all(u) {
		if err := s.purge(ctx, s.names.stateStream(), subject, kept); err != nil {
			return err
		}
	}
	// Once the history has reached the new message, or a later one, it copies no older
	// message of the user.
	if _, err := s.awaitHistory(ctx); err != nil {
		return err
	}
	last, err := s.locate(ctx, store.Position(kept))
	if err != nil {
		return err
	}
	// The purge keeps the last message of the history: the servers resume copying from
	// it.
	for _, subject := range s.names.logged(u) {
		if err := s.purge(ctx, s.names.historyStream(), subject, last.seq); err != nil {
			return err
		}
	}
	return nil
}

// dropEntry replaces u's record by a change without an entry, which is copied to the
// history, unless it is one, and returns its sequence. Zero: there is no record.
func (s *Store) dropEntry(ctx context.Context, u store.User) (seq uint64, err error) {
	for {
		prev, err := s.newest(ctx, u)
		if err != nil {
			return 0, err
		}
		if prev.seq == 0 || prev.erased {
			return prev.seq, nil
		}
		rec := *prev
		rec.erased = true
		msg := s.recordMessage(s.names.change(u), prev, &rec, nil)
		if err := s.replaceRecord(ctx, prev, &rec, []*nats.Msg{msg}); !errors.Is(err, errSuperseded) {
			return rec.seq, err
		}
	}
}

// purge removes the messages of a subject below a sequence.
func (s *Store) purge(ctx context.Context, stream, subject string, below uint64) error {
	if below <= 1 {
		return nil // nothing is below, and the servers would purge everything
	}
	var response struct {
		Error *apiError `json:"error"`
	}
	request := struct {
		Filter string `json:"filter"`
		Below  uint64 `json:"seq"`
	}{subject, below}
	err := s.request(ctx, purgeTimeout, "$JS.API.STREAM.PURGE."+stream, request, &response)
	if err != nil {
		return s.readFailed(ctx, err)
	}
	if response.Error != nil {
		return fmt.Errorf("purge stream %s: %w", stream, response.Error)
	}
	return nil
}
