package natsstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Sessions that are refreshed live in the memory of the node that was asked, so one
// node serves a store at a time: it holds a lease, a message in the state stream
// that it replaces once a second by compare and swap.
//
// Nothing depends on clocks of machines that agree. Another node takes the lease
// over when it has seen the same message for its whole term, by its own clock, from
// after it read it; the holder stops a quarter before the term has passed since
// before it sent it. The swap decides between the two: the holder that finds
// another's message ends.
const (
	leaseTerm = 8 * time.Second
	// A part of a term is left for a write that is under way, and for clocks that
	// do not run alike.
	leaseMargin     = 4
	renewalsPerTerm = 8 // in a term
	// leasePoll is how often a node that waits for the lease reads it.
	leasePoll = 250 * time.Millisecond
)

// ErrServed: another node serves the store.
var ErrLeaseHeld = errors.New("another porchlight serves the store")

// A claim is what the lease's message says.
type leaseHolder struct {
	ID      string        `json:"id"` // of one run of a process; "": it was given back
	Host    string        `json:"host"`
	Process int           `json:"process"`
	Term    time.Duration `json:"term"`
}

// A lease is this node's, or is to be.
type lease struct {
	s    *Store
	self leaseHolder

	mu        sync.Mutex // guards the fields below
	seq       uint64     // of the claim that this node stored last
	renewedAt time.Time  // before that was sent; zero: never
}

func newLease(s *Store) *lease {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return &lease{s: s, self: leaseHolder{ID: rand.Text(), Host: host, Process: os.Getpid(), Term: s.opts.leaseTerm}}
}

// check says why this node must not serve now, or nil. A store that is shared has
// no lease.
func (l *lease) check() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if elapsed(l.renewedAt) < l.self.Term-l.self.Term/leaseMargin {
		return nil
	}
	return errors.New("this node could not renew the lease on the store")
}

// elapsed is the time since t: by the clock that runs while the machine does, or by
// the one that went on while it slept.
func elapsed(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// acquire takes the lease, if need be after the term of a holder that is gone.
func (l *lease) acquire(ctx context.Context) error {
	var found uint64 // the claim that is waited for
	var since time.Time
	for {
		seq, holder, err := l.read(ctx)
		switch {
		case err != nil:
			return err
		case holder.ID == "" || found == seq && time.Since(since) >= holder.Term:
			if err := l.put(ctx, l.self, seq); !errors.Is(err, errSuperseded) {
				return err
			}
		case found == 0:
			found, since = seq, time.Now()
			l.s.log.InfoContext(ctx, "another porchlight holds the lease and may be dead; waiting for the lease to expire",
				slog.String("host", holder.Host), slog.Int("process", holder.Process), slog.Duration("term", holder.Term))
		case found != seq:
			return fmt.Errorf("%w: process %d on host %s, on NATS at %s with store name %s; only one porchlight can serve a store at a time: stop the other one, or give this one its own store by changing /NAME in the store URL",
				ErrLeaseHeld, holder.Process, holder.Host, l.s.servers, l.s.opts.Prefix)
		}
		select {
		case <-time.After(leasePoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *lease) renewInterval() time.Duration { return l.self.Term / renewalsPerTerm }

// read gives the claim that is stored, and its sequence; zero: none.
func (l *lease) read(ctx context.Context) (seq uint64, c leaseHolder, err error) {
	last, err := l.s.leaderLast(ctx, l.s.names.lease())
	if err != nil || last == nil {
		return 0, c, err
	}
	rest, err := unseal(last.subject, last.data)
	if err == nil {
		err = json.Unmarshal(rest, &c)
	}
	if err != nil {
		return 0, c, fmt.Errorf("the lease in stream %s: %w", l.s.names.stateStream(), errors.Join(errDamaged, err))
	}
	return last.seq, c, nil
}

// store puts c in place of message was.
func (l *lease) put(ctx context.Context, c leaseHolder, prev uint64) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	subject := l.s.names.lease()
	m := l.s.newMsg(subject, seal(subject, append(newBody(len(body)+headBytes), body...)))
	m.Header.Set(rollupHeader, rollupSubject)
	expectLast(m, prev)
	begun := time.Now()
	seq, err := l.s.apply(ctx, write{msgs: msgs(m), outcome: func(ctx context.Context) (outcome, uint64, error) {
		seq, found, err := l.read(ctx)
		switch {
		case err != nil || seq == prev:
			return unchanged, 0, err
		case found == c && c.ID != "":
			return stored, seq, nil
		}
		return superseded, 0, nil
	}})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq, l.renewedAt = seq, begun
	return nil
}

// renew stores the claim again. After an answer that was lost it may be this
// node's under another sequence.
func (l *lease) renew(ctx context.Context) error {
	seq, holder, err := l.read(ctx)
	if err == nil && holder.ID != l.self.ID {
		err = errSuperseded
	}
	if err != nil {
		return err
	}
	return l.put(ctx, l.self, seq)
}

// keep renews the lease until ctx ends, and fails the store when another node has
// taken it over.
func (l *lease) keepRenewed(ctx context.Context) {
	ticker := time.NewTicker(l.renewInterval())
	defer ticker.Stop()
	var logged logOnce
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		err := l.renew(ctx)
		switch {
		case errors.Is(err, errSuperseded):
			l.s.fail(fmt.Errorf("%w because this one could not renew its lease; stop one of the two", ErrLeaseHeld))
			return
		case logged.isNew(err) && ctx.Err() == nil:
			l.s.log.WarnContext(ctx, "nats: lease renewal failed; will retry", slog.Any("err", err))
		}
	}
}

// release gives the lease back, so that the next node need not wait.
func (l *lease) release() {
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.renewInterval())
	defer cancel()
	l.mu.Lock()
	seq := l.seq
	l.mu.Unlock()
	if err := l.put(ctx, leaseHolder{}, seq); err != nil {
		l.s.log.Warn("nats: lease not released; the next start must wait until it expires", slog.Any("err", err))
	}
}
