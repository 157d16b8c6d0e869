package natsstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// purgeTime is how long the servers may take to drop a user's messages: they search
// all of the history.
const purgeTimeout = 30 * time.Second

// Erase implements store.Store. The servers cannot rewrite a message, so the entries
// are dropped, and what follows them says Gap. The record's message, which holds
// the newest entry, is replaced by one without.
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
	subject := s.names.state(u)
	if err := s.purge(ctx, s.names.stateStream(), subject, kept); err != nil {
		return err
	}
	// When the history has the new message, or what came after it, it copies none of
	// those before it any more.
	if _, err := s.awaitHistory(ctx); err != nil {
		return err
	}
	last, err := s.locate(ctx, store.Position(kept))
	if err != nil {
		return err
	}
	// The last message of the history always stays: the servers go on copying there.
	return s.purge(ctx, s.names.historyStream(), subject, last.seq)
}

// dropEntry replaces the message of u's record by one without an entry, if it has
// one, and gives its sequence; zero: there is no record.
func (s *Store) dropEntry(ctx context.Context, u store.User) (seq uint64, err error) {
	for {
		prev, err := s.newest(ctx, u)
		if err != nil {
			return 0, err
		}
		if prev.seq == 0 || prev.seq != uint64(prev.at) {
			return prev.seq, nil
		}
		rec := *prev
		if err := s.replaceMessage(ctx, prev, &rec, false); !errors.Is(err, errSuperseded) {
			return rec.seq, err
		}
	}
}

// purge drops the messages of a subject below a sequence.
func (s *Store) purge(ctx context.Context, stream, subject string, below uint64) error {
	if below <= 1 {
		return nil // which the servers would take for all of them
	}
	var answer struct {
		Error *apiError `json:"error"`
	}
	ask := struct {
		Filter string `json:"filter"`
		Below  uint64 `json:"seq"`
	}{subject, below}
	err := s.requestWithin(ctx, purgeTimeout, "$JS.API.STREAM.PURGE."+stream, ask, &answer)
	if err != nil {
		return s.readFailed(ctx, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("purge stream %s: %w", stream, answer.Error)
	}
	return nil
}
