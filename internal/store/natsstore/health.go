package natsstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// ackTrust is how long an acknowledgement counts as proof that the servers store
	// writes.
	ackTrust = time.Second
	// lossTimeout is how long a stream must be missing before it counts as lost. A server
	// that has just started may not know of its streams yet.
	lossTimeout = 5 * time.Second
)

// monitor verifies the store after each reconnection and at an interval. It opens the
// gate if the servers have the same store, and fails the store otherwise.
func (s *Store) monitor(ctx context.Context) {
	defer close(s.monitorDone)
	ctx, cancel := s.untilClosed(ctx)
	defer cancel()
	ticker := time.NewTicker(s.opts.checkEvery)
	defer ticker.Stop()
	servers := make(chan struct{}, 1)
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { s.monitorServers(ctx, servers) })
	if s.lease != nil {
		group.Go(func() { s.lease.keepRenewed(ctx) })
	}
	for {
		select {
		case <-s.verifyRequests:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		s.verify(ctx)
		notify(servers)
	}
}

// monitorServers checks again whether the servers sync every write, since servers may
// join or restart with another configuration. It also recreates the consumer of firings
// if it is missing. Operations do not wait for it.
func (s *Store) monitorServers(ctx context.Context, wake <-chan struct{}) {
	var logged logOnce
	for {
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
		err := errors.Join(s.checkSynced(ctx), s.recreateConsumer(ctx))
		switch {
		case errors.Is(err, ErrSettings):
			s.fail(err)
			return
		case logged.isNew(err) && ctx.Err() == nil:
			s.log.WarnContext(ctx, "nats: check of the servers failed; will retry", slog.Any("err", err))
		}
	}
}

// logOnce suppresses the repetition of an error in the log.
type logOnce struct{ last string }

// isNew reports whether err differs from the last one. A nil error is never new.
func (n *logOnce) isNew(err error) bool {
	last := n.last
	if n.last = ""; err != nil {
		n.last = err.Error()
	}
	return err != nil && n.last != last
}

// verify retries until it knows whether the servers have the same store.
func (s *Store) verify(ctx context.Context) {
	var b backoff
	var missing time.Time
	for ctx.Err() == nil {
		err := s.verifyOnce(ctx)
		switch {
		case err == nil:
			// The connection may have ended meanwhile; the next one requests verification
			// again.
			if s.conn.Status() == nats.CONNECTED {
				s.gate.opened()
			}
			return
		case errors.Is(err, ErrSettings), errors.Is(err, ErrNewer), errors.Is(err, errOtherEpoch), errors.Is(err, errRolledBack):
			s.fail(err)
			return
		case errors.Is(err, ErrLost), errors.Is(err, ErrForeign):
			s.gate.close(err)
			if missing.IsZero() {
				missing = time.Now()
			} else if time.Since(missing) > lossTimeout {
				s.fail(err)
				return
			}
		case s.conn.Status() != nats.CONNECTED:
			return // the next connection requests verification again
		default:
			missing = time.Time{}
			s.log.WarnContext(ctx, "nats: check of the store failed; will retry", slog.Any("err", err))
		}
		if b.wait(ctx) != nil {
			return
		}
	}
}

var (
	errOtherEpoch = errors.New("store was replaced by another one")
	errRolledBack = fmt.Errorf("%w: it was rolled back", ErrLost)
)

func (s *Store) verifyOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.readTimeout())
	defer cancel()
	known := s.lastSeq.Load() // before the request, since others continue to write
	inv, err := s.inspect(ctx)
	if err != nil {
		return err
	}
	stage, err := s.stageOf(inv)
	switch {
	case err != nil:
		return err
	case stage == absent:
		return lost(s.names.stateStream(), "and so is stream "+s.names.historyStream())
	case stage == unfinished:
		return lost(s.names.stateStream(), "and was recreated empty")
	case inv.id.Epoch != s.epoch:
		return fmt.Errorf("%w: expected epoch %s, found %s; restart porchlight", errOtherEpoch, s.epoch, inv.id.Epoch)
	case inv.state.State.LastSeq < known:
		return s.confirmRollback(ctx, known)
	}
	return nil
}

// confirmRollback reports whether the state stream ends before a sequence that was stored. So
// says also a leader that was replaced without knowing it, but it stores nothing any more.
func (s *Store) confirmRollback(ctx context.Context, known uint64) error {
	seq, err := s.barriers.wait(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("stream %s ends before %d, which was stored, and cannot be written: %w", s.names.stateStream(), known, err)
	case seq > known:
		return fmt.Errorf("the server believed that it still led stream %s", s.names.stateStream())
	}
	return fmt.Errorf("%w: a new message of stream %s has sequence %d, but %d was stored before: restore a backup under a new store name (nats://HOST/NAME)", errRolledBack, s.names.stateStream(), seq, known)
}

// Check implements store.Store. It writes a probe unless a write was acknowledged within
// ackTrust: servers without a quorum still serve reads.
func (s *Store) Check(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if time.Since(time.Unix(0, s.lastAck.Load())) < ackTrust {
		return nil
	}
	if _, err := s.barriers.wait(ctx); err != nil {
		return s.unavailable(err)
	}
	return nil
}
