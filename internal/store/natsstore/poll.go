package natsstore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// idlePause is the longest delay between polls of a stream without new messages. Polling
// is cheaper than a consumer that must survive lost connections and changes of the
// leader.
const idlePause = 25 * time.Millisecond

// poll calls step until ctx ends, the store closes or fails, or step returns a final
// error. It calls step again at once if that found something, and otherwise after a
// delay. Other errors are temporary: they are logged once, and step is retried.
func (s *Store) poll(ctx context.Context, what string, step func(context.Context) (found bool, err error)) error {
	ctx, cancel := s.untilClosed(ctx)
	defer cancel()
	var idle backoff
	var logged logOnce
	for {
		found, err := step(ctx)
		if stop := s.stopReason(ctx, err); stop != nil {
			return stop
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

// stopReason is the error with which poll must return after err, or nil.
func (s *Store) stopReason(ctx context.Context, err error) error {
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

// untilClosed derives a context that also ends when the store closes or fails.
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
