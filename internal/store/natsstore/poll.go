package natsstore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// idlePause is the longest pause between polls of a stream that had nothing new; the
// first is firstPause. A question costs less than a consumer that has to be kept
// alive over lost connections and changes of leader.
const idlePause = 25 * time.Millisecond

// poll calls step until ctx ends, the store closes or fails, or step fails with a
// final error: again at once while it finds something, otherwise after a pause.
// Other errors are logged once, and tried again: the servers will answer.
func (s *Store) poll(ctx context.Context, what string, step func(context.Context) (found bool, err error)) error {
	ctx, cancel := s.untilClosed(ctx)
	defer cancel()
	var idle backoff
	var logged logOnce
	for {
		found, err := step(ctx)
		if ended := s.ended(ctx, err); ended != nil {
			return ended
		}
		if logged.isNew(err) {
			s.log.WarnContext(ctx, "nats: read failed; will retry", slog.String("what", what), slog.Any("err", err))
		}
		if found {
			idle = backoff{}
			continue
		}
		idle.delay = min(idle.delay, idlePause/2)
		if err := idle.wait(ctx); err != nil {
			return context.Cause(ctx)
		}
	}
}

// A finalError ends poll.
type finalError struct{ error }

// final makes poll return err as it is.
func final(err error) error {
	if err == nil {
		return nil
	}
	return finalError{err}
}

// ended is why poll has to end after an error, or nil.
func (s *Store) ended(ctx context.Context, err error) error {
	if final, ok := errors.AsType[finalError](err); ok {
		return final.error
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return s.haltedError()
	}
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
