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
	// trustTime is how long Check takes the last acknowledgement for an answer.
	ackTrust = time.Second
	// lossTime is how long a stream must be missing, with servers that answer,
	// before that is believed: a server that starts may not know of it yet.
	lossTimeout = 5 * time.Second
)

// watch opens the gate after a connection was made again to the same store, and
// fails the store when it is another one.
func (s *Store) monitor(ctx context.Context) {
	defer close(s.monitorDone)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.closing:
		case <-s.failed:
		}
		cancel()
	}()
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

// watchServers checks again whether the servers sync every write, since others may
// have joined, or the same ones with another setting, and whether the consumer of
// firings still exists. It does not hold up the store.
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
			s.log.WarnContext(ctx, "nats: cannot check the servers; will retry", slog.Any("err", err))
		}
	}
}

// logOnce keeps an error that repeats from being logged each time.
type logOnce struct{ last string }

// isNew reports whether err is another one than the last; nil is none.
func (n *logOnce) isNew(err error) bool {
	last := n.last
	if n.last = ""; err != nil {
		n.last = err.Error()
	}
	return err != nil && n.last != last
}

// verify checks until it has an answer: it is the same store, or it is not.
func (s *Store) verify(ctx context.Context) {
	var b backoff
	var missing time.Time
	for ctx.Err() == nil {
		err := s.verifyOnce(ctx)
		switch {
		case err == nil:
			// The connection may have ended meanwhile; the next one rouses again.
			if s.conn.Status() == nats.CONNECTED {
				s.gate.opened()
			}
			return
		case errors.Is(err, ErrSettings), errors.Is(err, ErrNewer), errors.Is(err, errOtherEpoch):
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
			return // the next connection rouses again
		default:
			missing = time.Time{}
			s.log.WarnContext(ctx, "nats: cannot check the store; will retry", slog.Any("err", err))
		}
		if b.wait(ctx) != nil {
			return
		}
	}
}

var errOtherEpoch = errors.New("the store was replaced by another")

func (s *Store) verifyOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	known := s.lastSeq.Load() // before the question: others go on writing
	w, err := s.inspect(ctx)
	if err != nil {
		return err
	}
	stage, err := s.stageOf(w)
	switch {
	case err != nil:
		return err
	case stage == absent:
		return lost(s.names.stateStream(), "together with stream "+s.names.historyStream())
	case stage == unfinished:
		return lost(s.names.stateStream(), "and was recreated empty")
	case w.id.Epoch != s.epoch:
		return fmt.Errorf("%w: expected epoch %s, found %s; restart porchlight", errOtherEpoch, s.epoch, w.id.Epoch)
	case w.state.State.LastSeq < known:
		return fmt.Errorf("%w: stream %s ends at %d, and %d was stored before: restore a backup under a new store name (nats://HOST/NAME)", ErrLost, s.names.stateStream(), w.state.State.LastSeq, known)
	}
	return nil
}

// Check implements store.Store. It writes, unless a write was stored within the
// last second: servers without a quorum still answer reads.
func (s *Store) Check(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if time.Since(time.Unix(0, s.lastAck.Load())) < ackTrust {
		return nil
	}
	subject := s.names.probe()
	m := s.newMsg(subject, seal(subject, newBody(headBytes)))
	m.Header.Set(rollupHeader, rollupSubject)
	result := make(chan error, 1)
	go func() {
		_, err := s.publish(ctx, msgs(m))
		result <- err
	}()
	select {
	case err := <-result:
		if err != nil {
			return s.unavailable(err)
		}
		s.acked()
		return nil
	case <-ctx.Done():
		return s.unavailable(ctx.Err())
	}
}

func msgs(m ...*nats.Msg) []*nats.Msg { return m }

// acked notes that the servers store what they are given.
func (s *Store) acked() { s.lastAck.Store(time.Now().UnixNano()) }
