package natsstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/store"
)

// minFreshTimeout is the minimum timeout of a read with a Freshness.
const minFreshTimeout = 2 * time.Second

func (s *Store) freshTimeout() time.Duration { return max(minFreshTimeout, s.opts.Timeout) }

// readFresh reads records that are as new as fresh requires, within freshTimeout.
func (s *Store) readFresh(ctx context.Context, us []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	if fresh.AtLeast == (store.Cursor{}) && !fresh.Strong {
		return s.readRecords(ctx, us, fresh.ForUpdate)
	}
	within, cancel := context.WithTimeout(ctx, s.freshTimeout())
	defer cancel()
	err := s.reach(within, fresh)
	var records []store.Record
	var cursor store.Cursor
	switch {
	case err == nil && len(us) == 0:
		cursor = store.NewCursor(s.epoch, store.Position(s.lastSeq.Load()))
	case err == nil:
		records, cursor, err = s.readRecords(within, us, fresh.ForUpdate)
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = s.unavailable(err)
	}
	return records, cursor, err
}

// reach raises lastSeq so that later reads are as new as fresh requires: reads never use a
// replica that is behind lastSeq.
func (s *Store) reach(ctx context.Context, fresh store.Freshness) error {
	at, err := fresh.AtLeast.Position(s.epoch)
	if err != nil {
		return err
	}
	least := uint64(at)
	if !fresh.Strong && s.hasReached(ctx, least) {
		return nil
	}
	reached, err := s.barriers.wait(ctx)
	if err != nil {
		return s.readFailed(ctx, err)
	}
	if reached < least {
		return store.ErrEpoch // the leader has not stored that much
	}
	return nil
}

// staleAnswers is how many answers of replicas may be stale before hasReached leaves it to
// the leader: the delays between them add up to 30 ms.
const staleAnswers = 5

// hasReached waits for a moment until a replica has sequence least, and reports whether
// one has. What a replica lacks is not said to be missing: it may be behind.
func (s *Store) hasReached(ctx context.Context, least uint64) bool {
	var b backoff
	for stale := 0; s.lastSeq.Load() < least; stale++ {
		if stale == staleAnswers || stale > 0 && b.wait(ctx) != nil {
			return false
		}
		snap, err := s.queryLast(ctx, s.names.stateStream(), lastQuery{Filters: []string{s.names.identity()}})
		if err == nil {
			s.advanceSeq(snap.upTo)
		}
	}
	return true
}

// barriers are writes that change nothing. Once one is acknowledged, a majority has all
// that was acknowledged before it was sent, to any node. One runs at a time, and serves
// every caller who came before it was sent.
type barriers struct {
	write func() (seq uint64, err error)

	mu      sync.Mutex // guards the fields below
	running bool
	next    *barrierRound // the round for those who come now; nil: nobody has come
}

type barrierRound struct {
	done chan struct{} // closed when seq and err are set
	seq  uint64
	err  error
}

// wait returns the sequence of a barrier that was sent after the call.
func (b *barriers) wait(ctx context.Context) (uint64, error) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &barrierRound{done: make(chan struct{})}
	}
	round := b.next
	if !b.running {
		b.running = true
		go b.run()
	}
	b.mu.Unlock()
	select {
	case <-round.done:
		return round.seq, round.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run runs rounds until nobody waits for one.
func (b *barriers) run() {
	for {
		b.mu.Lock()
		round := b.next
		b.next, b.running = nil, round != nil
		b.mu.Unlock()
		if round == nil {
			return
		}
		round.seq, round.err = b.write()
		close(round.done)
	}
}

// writeBarrier writes a barrier. It may be repeated safely, so an unknown outcome is no
// reason to stop.
func (s *Store) writeBarrier() (uint64, error) {
	ctx, cancel := s.untilClosed(context.Background())
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, s.freshTimeout())
	defer stop()
	var b backoff
	for {
		seq, err := s.publish(ctx, []*nats.Msg{s.probeMessage()})
		if err == nil {
			s.advanceSeq(seq)
			return seq, nil
		}
		if _, refused := errors.AsType[*apiError](err); refused && !isTransient(err) || b.wait(ctx) != nil {
			return 0, err
		}
	}
}

// probeMessage is a message that replaces the one before of its kind, and that nobody
// reads.
func (s *Store) probeMessage() *nats.Msg {
	subject := s.names.probe()
	m := s.newMsg(subject, seal(subject, newBody(headBytes)))
	m.Header.Set(rollupHeader, rollupSubject)
	return m
}
