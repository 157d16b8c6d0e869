package natsstore

import (
	"context"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// Sealed is a message body as the store writes one, for tests that write what it
// would not.
func Sealed(subject string, body []byte) []byte {
	return seal(subject, append(newBody(headBytes+len(body)), body...))
}

// Unsealed is the body of such a message.
func Unsealed(data []byte) []byte { return data[headBytes:] }

// Often makes a store look at itself, its servers and its schedules at an interval.
func WithInterval(o Options, every time.Duration) Options {
	o.checkEvery, o.sweepEvery = every, every
	return o
}

// Alone makes a store exclusive, with a term of its lease.
func WithExclusiveLease(o Options, term time.Duration) Options {
	o.Exclusive, o.leaseTerm = true, term
	return o
}

// VerifyOnce is what the watcher does at an interval, and after a connection was
// made again.
func (s *Store) VerifyOnce(ctx context.Context) error { return s.verifyOnce(ctx) }

// Apply makes a write, of which base says whether it was made.
func (s *Store) Apply(ctx context.Context, base func() (stored bool, err error)) error {
	subject := s.names.probe()
	m := s.newMsg(subject, seal(subject, newBody(headBytes)))
	_, err := s.apply(ctx, write{msgs: msgs(m), outcome: func(context.Context) (outcome, uint64, error) {
		is, err := base()
		if is {
			return stored, 1, err
		}
		return unchanged, 0, err
	}})
	return err
}

// Disconnect closes the connection, as the client does when it gives up.
func (s *Store) Disconnect() { s.conn.Close() }

// StateSubject is where a store with the default prefix keeps a user's record.
func StateSubject(u store.User) string { return subjects{prefix: DefaultPrefix}.state(u) }
