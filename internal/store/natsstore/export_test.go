package natsstore

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/store"
)

// Sealed is body as the store writes it, for tests that write invalid messages.
func Sealed(subject string, body []byte) []byte {
	return seal(subject, append(newBody(headBytes+len(body)), body...))
}

// Unsealed is the body of such a message.
func Unsealed(data []byte) []byte { return data[headBytes:] }

// SilentAfter is the silence after which a server counts as down.
const SilentAfter = silentAfter

// WithInterval sets the interval of all periodic checks.
func WithInterval(o Options, every time.Duration) Options {
	o.checkEvery, o.sweepEvery = every, every
	return o
}

// WithOpenTimeout sets how long Open waits for servers.
func WithOpenTimeout(o Options, limit time.Duration) Options {
	o.openTimeout = limit
	return o
}

// WithExclusiveLease makes a store exclusive, with a term of its lease.
func WithExclusiveLease(o Options, term time.Duration) Options {
	o.Exclusive, o.leaseTerm = true, term
	return o
}

// WithSharedLease makes a store that of a node, with a term of its lease.
func WithSharedLease(o Options, term time.Duration) Options {
	o.Serving, o.leaseTerm = true, term
	return o
}

// VerifyOnce is the check of the monitor.
func (s *Store) VerifyOnce(ctx context.Context) error { return s.verifyOnce(ctx) }

// Note makes a store believe that a sequence was stored.
func (s *Store) Note(seq uint64) { s.advanceSeq(seq) }

// Apply stores a write. If its acknowledgement is lost, base reports whether it was stored.
func (s *Store) Apply(ctx context.Context, base func() (stored bool, err error)) error {
	subject := s.names.probe()
	m := s.newMsg(subject, seal(subject, newBody(headBytes)))
	_, err := s.apply(ctx, write{msgs: []*nats.Msg{m}, outcome: func(context.Context) (outcome, uint64, error) {
		is, err := base()
		if is {
			return stored, 1, err
		}
		return unchanged, 0, err
	}})
	return err
}

// ScanBehind scans as on a replica that is behind: what has been replaced is listed too.
func (s *Store) ScanBehind(ctx context.Context, each func(store.Record)) error {
	return s.eachRecordOf(ctx, jetstream.DeliverAllPolicy, func(rec *record, _ int) error {
		each(rec.record())
		return nil
	})
}

// ReadLate reads the records of one request with a consumer that exists a while after it is asked.
func (s *Store) ReadLate(ctx context.Context, late time.Duration) (read int, err error) {
	r, err := s.newStreamReader(ctx, s.names.stateStream(), jetstream.DeliverLastPerSubjectPolicy, s.names.listed()...)
	if err != nil {
		return 0, err
	}
	defer r.close(ctx)
	config := r.from.CachedInfo().Config
	config.Name = r.from.CachedInfo().Name
	r.close(ctx)
	created := make(chan error, 1)
	time.AfterFunc(late, func() {
		_, err := s.js.CreateConsumer(ctx, r.stream, config)
		created <- err
	})
	err = r.readSome(ctx, func(msgs []storedMsg) error {
		read = len(msgs)
		return nil
	})
	return read, errors.Join(err, <-created)
}

// LastSeq is the number of the newest message of the state stream.
func (s *Store) LastSeq(ctx context.Context) (uint64, error) {
	info, err := s.streamInfo(ctx, s.names.stateStream())
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// Disconnect closes the connection permanently, as the client does when it gives up.
func (s *Store) Disconnect() { s.conn.Close() }

// StateSubject is the subject of a user's record in a store with the default prefix.
func StateSubject(u store.User) string { return subjects{prefix: DefaultPrefix}.change(u) }

// UpgradeAfter upgrades a store as a node does that has inspected it before others do
// something else with it. It returns the format.
func UpgradeAfter(ctx context.Context, url string, o Options, others func()) (int, error) {
	s := newStore(url, o.withDefaults())
	if err := s.connect(url); err != nil {
		return 0, err
	}
	defer s.hangUp()
	inv, err := s.inspect(ctx)
	if err != nil {
		return 0, err
	}
	others()
	if inv, err = s.upgrade(ctx, inv); err != nil {
		return 0, err
	}
	return inv.id.Format, nil
}
