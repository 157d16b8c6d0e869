package natsstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Nodes share a store, but commands such as a migration need it alone, and so did nodes of
// earlier versions. The lease keeps the two apart: a message in the state stream that its
// holder replaces once a second by compare-and-swap. The nodes that serve the store hold it
// together: each of them renews it when no other one has. Nobody releases a lease that is
// shared, since others may hold it: it expires.
//
// The lease does not compare the clocks of machines. Another process acquires it after it
// has seen the same message for the message's whole term, counted by its own clock from
// after it read it. A holder that is alone stops at three quarters of the term, counted from
// before it sent the message. The compare-and-swap decides between the two: a holder that
// finds the message of somebody with whom it does not share the lease fails.
const (
	leaseTerm = 8 * time.Second
	// The holder stops 1/leaseMargin of the term early: a write may be in flight, and
	// clocks may differ in speed.
	leaseMargin     = 4
	renewalsPerTerm = 8
	// leasePoll is the interval at which a node that waits for the lease reads it.
	leasePoll = 250 * time.Millisecond
)

// ErrLeaseHeld: a node serves the store, or, to a node, somebody uses it exclusively.
var ErrLeaseHeld = errors.New("another porchlight uses the store")

// A leaseHolder is the content of the lease's message.
type leaseHolder struct {
	ID      string        `json:"id"` // of one run of a process; "": the lease was released
	Host    string        `json:"host"`
	Process int           `json:"process"`
	Term    time.Duration `json:"term"`
	Shared  bool          `json:"shared,omitempty"` // with the other nodes that serve the store
}

// advice says what the holder does with the store, and what the operator can do about it.
func (h leaseHolder) advice() string {
	if h.Shared {
		return "it serves the store: stop all nodes of the store first"
	}
	return "it uses the store exclusively, because it is an earlier version or runs a command: stop it or wait until it ends, or choose another store with /NAME in the store URL"
}

// A lease is the lease of this node, which may not be acquired yet.
type lease struct {
	s    *Store
	self leaseHolder

	mu        sync.Mutex // guards the fields below
	seq       uint64     // of the message that this node stored last, or saw if it shares the lease
	renewedAt time.Time  // before that message was sent; zero: never
}

func newLease(s *Store) *lease {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &lease{s: s, self: leaseHolder{ID: rand.Text(), Host: host, Process: os.Getpid(), Term: s.opts.leaseTerm, Shared: s.opts.Serving}}
}

// check returns an error if this process must not use the store now. Nodes that share it
// need no lease to be right.
func (l *lease) check() error {
	if l == nil || l.self.Shared {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if elapsed(l.renewedAt) < l.self.Term-l.self.Term/leaseMargin {
		return nil
	}
	return errors.New("this node could not renew its lease on the store")
}

// elapsed is the time since t by the monotonic clock or by the wall clock, whichever is
// longer: the monotonic clock may stop while the machine is suspended.
func elapsed(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// acquire acquires the lease. If somebody holds it with whom this process does not share
// it, acquire waits for one term to find out whether they still renew it.
func (l *lease) acquire(ctx context.Context) error {
	var found uint64 // the message of the holder that acquire waits for
	var since time.Time
	for {
		seq, holder, err := l.read(ctx)
		switch {
		case err != nil:
			return err
		case holder.ID == "" || l.sharedWith(holder) || found == seq && time.Since(since) >= holder.Term:
			if err := l.put(ctx, l.self, seq); !errors.Is(err, errSuperseded) {
				return err
			}
		case found == 0:
			found, since = seq, time.Now()
			l.s.log.InfoContext(ctx, "another porchlight holds the lease of the store; waiting for it to expire",
				slog.String("host", holder.Host), slog.Int("process", holder.Process), slog.Duration("term", holder.Term))
		case found != seq:
			return l.held(holder)
		}
		select {
		case <-time.After(leasePoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitFree returns the sequence of the lease's message when no node holds the lease. It
// waits for one term to find out whether a holder still renews it, and changes nothing.
func (l *lease) awaitFree(ctx context.Context) (uint64, error) {
	var found uint64
	var since time.Time
	for {
		seq, holder, err := l.read(ctx)
		switch {
		case err != nil || holder.ID == "":
			return seq, err
		case found == 0:
			found, since = seq, time.Now()
		case found != seq:
			return 0, l.held(holder)
		case time.Since(since) >= holder.Term:
			return seq, nil
		}
		select {
		case <-time.After(leasePoll):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (l *lease) held(by leaseHolder) error {
	return fmt.Errorf("%w: process %d on host %s, on NATS at %s with store name %s: %s", ErrLeaseHeld, by.Process, by.Host, l.s.servers, l.s.opts.Prefix, by.advice())
}

// sharedWith reports whether this process holds the lease together with h.
func (l *lease) sharedWith(h leaseHolder) bool { return l.self.Shared && h.Shared }

func (l *lease) renewInterval() time.Duration { return l.self.Term / renewalsPerTerm }

// read reads the holder, and the sequence of the message. Zero: there is none.
func (l *lease) read(ctx context.Context) (seq uint64, h leaseHolder, err error) {
	seq, err = l.s.readJSON(ctx, l.s.names.lease(), &h)
	return seq, h, err
}

// put stores h in place of message prev.
func (l *lease) put(ctx context.Context, h leaseHolder, prev uint64) error {
	m, err := l.s.jsonMsg(l.s.names.lease(), h, prev)
	if err != nil {
		return err
	}
	m.Header.Set(rollupHeader, rollupSubject)
	begun := time.Now()
	seq, err := l.s.apply(ctx, write{msgs: []*nats.Msg{m}, outcome: func(ctx context.Context) (outcome, uint64, error) {
		seq, found, err := l.read(ctx)
		switch {
		case err != nil || seq == prev:
			return unchanged, 0, err
		case found == h && h.ID != "":
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

// renew stores the lease again. It reads the sequence first: after a lost
// acknowledgement, the message of this node may have another one.
func (l *lease) renew(ctx context.Context) error {
	seq, holder, err := l.read(ctx)
	switch {
	case err != nil:
		return err
	case l.self.Shared:
		return l.renewShared(ctx, seq, holder)
	case holder.ID != l.self.ID:
		return errSuperseded
	}
	return l.put(ctx, l.self, seq)
}

// renewShared stores the lease again if nobody has since the last call.
func (l *lease) renewShared(ctx context.Context, seq uint64, holder leaseHolder) error {
	l.mu.Lock()
	renewed := seq != l.seq
	l.seq = seq
	l.mu.Unlock()
	switch {
	case holder.ID != "" && !holder.Shared:
		return errSuperseded
	case renewed && holder.Shared:
		return nil
	}
	if err := l.put(ctx, l.self, seq); !errors.Is(err, errSuperseded) {
		return err
	}
	return nil // the next call finds by whom
}

// keepRenewed renews the lease until ctx ends, and fails the store if another node has
// acquired it.
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
			l.s.fail(fmt.Errorf("%w alone, because this one could not renew its lease: stop one of them", ErrLeaseHeld))
			return
		case logged.isNew(err) && ctx.Err() == nil:
			l.s.log.WarnContext(ctx, "nats: lease renewal failed; will retry", slog.Any("err", err))
		}
	}
}

// release clears the lease, so that the next process does not have to wait for its expiry.
func (l *lease) release() {
	if l == nil || l.self.Shared {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.renewInterval())
	defer cancel()
	l.mu.Lock()
	seq := l.seq
	l.mu.Unlock()
	if err := l.put(ctx, leaseHolder{}, seq); err != nil {
		l.s.log.Warn("nats: cannot release the lease; the next start waits until it expires", slog.Any("err", err))
	}
}
