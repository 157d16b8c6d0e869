package natsstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/transfer"
)

// A Source reads a store that no node serves.
type Source struct {
	s    *Store
	info transfer.Info
	end  historyPos // of the log
	// The sequences of the lease's message, and of the last message of the state stream, when
	// the source was opened.
	lease, last uint64
}

var _ transfer.Source = (*Source)(nil)

// OpenSource connects to a store, and returns ErrLeaseHeld if a node serves it. It changes
// nothing in the store, and accepts the settings of its streams as they are. Messages that
// cannot be decoded are errors of the methods.
func OpenSource(ctx context.Context, url string, o Options) (*Source, error) {
	s, err := dial(url, o)
	if err != nil {
		return nil, err
	}
	src, err := s.openSource(ctx)
	if err != nil {
		s.hangUp()
		return nil, err
	}
	return src, nil
}

// transferTimeout is the least Options.Timeout while a store is read or filled: there is no
// caller who would rather have an error.
const transferTimeout = 20 * time.Second

// dial connects to the servers, without opening a store.
func dial(url string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Timeout = max(o.Timeout, transferTimeout)
	s := newStore(url, o)
	err := s.connect(url)
	if errors.Is(err, nats.ErrNoServers) {
		err = fmt.Errorf("%w; check that the NATS servers run, and that the URL is theirs", err)
	}
	return s, err
}

// hangUp ends the connection of dial.
func (s *Store) hangUp() {
	close(s.closing) // so that the end of the connection is not logged
	s.conn.Close()
}

func (s *Store) openSource(ctx context.Context) (*Source, error) {
	inv, err := s.inspect(ctx)
	if err != nil {
		return nil, s.jetStreamError(err)
	}
	if inv.history != nil {
		s.opts.Relaxed, s.opts.Retention = true, inv.history.Config.MaxAge
	}
	inv, stage, err := s.determineStage(ctx)
	if err != nil {
		return nil, err
	}
	if stage != complete {
		return nil, s.missing()
	}
	s.adopt(*inv.id)
	if err := s.checkRollback(ctx, inv); err != nil {
		return nil, err
	}
	lease, err := newLease(s).awaitFree(ctx)
	if err != nil {
		return nil, err
	}
	src, err := s.source(ctx)
	if err != nil {
		return nil, err
	}
	src.lease, src.info.Epoch = lease, inv.id.Epoch
	return src, nil
}

// source reads where the content begins and ends.
func (s *Store) source(ctx context.Context) (*Source, error) {
	inv, err := s.inspect(ctx)
	if err != nil {
		return nil, err
	}
	src := &Source{s: s, last: inv.state.State.LastSeq}
	s.advanceSeq(src.last)
	if src.end, err = s.awaitHistory(ctx); err != nil {
		return nil, err
	}
	state := inv.state.State
	src.info = transfer.Info{
		Last: store.Position(src.last), First: store.Position(src.last) + 1, Retention: inv.history.Config.MaxAge,
		// The state stream keeps several versions of records, of which one is read.
		Bytes: int64(inv.history.State.Bytes + state.Bytes/max(state.Msgs, 1)*state.NumSubjects),
	}
	first, _, err := s.firstKnown(ctx, 1, math.MaxUint64, func(m *storedMsg) (yes, known bool) {
		h, _, err := decodeEntry(m)
		return true, err != nil || h.kind == kindEntry
	})
	if err == nil && first != nil {
		src.info.First = store.Position(first.source)
	}
	return src, err
}

// Info implements transfer.Source.
func (src *Source) Info() transfer.Info { return src.info }

// Close ends the connection.
func (src *Source) Close() error {
	src.s.hangUp()
	return nil
}

// Check implements transfer.Source. Timers that fire while no node runs change nothing that
// a source reads.
func (src *Source) Check(ctx context.Context) error {
	s := src.s
	lease, _, err := newLease(s).read(ctx)
	if err != nil {
		return err
	}
	if lease != src.lease {
		return fmt.Errorf("%w: a node served the store %s on NATS at %s meanwhile: stop it, then try again", transfer.ErrChanged, s.opts.Prefix, s.servers)
	}
	for _, filter := range []string{s.names.records(), s.names.docs()} {
		m, err := s.leaderGet(ctx, s.names.stateStream(), leaderQuery{Next: filter, Seq: src.last + 1})
		if err != nil {
			return err
		}
		if m != nil {
			return fmt.Errorf("%w: stream %s has a new message at %d: stop what uses it, then try again", transfer.ErrChanged, s.names.stateStream(), m.seq)
		}
	}
	return nil
}

// unreadable is the error for a message that cannot be decoded.
func unreadable(stream string, m *storedMsg, err error) error {
	return fmt.Errorf("message %d of stream %s: %w: restore a copy of the stream, then try again", m.seq, stream, err)
}

// Records implements transfer.Source.
func (src *Source) Records(ctx context.Context, each func(*transfer.Record) error) error {
	return src.s.eachRecord(ctx, func(rec *record, size int) error {
		return each(&transfer.Record{User: rec.user, Recorded: rec.Recorded, At: rec.at, Bytes: size})
	})
}

// Record implements transfer.Source.
func (src *Source) Record(ctx context.Context, u store.User) (*transfer.Record, error) {
	rec, err := src.s.newest(ctx, u)
	if err != nil || rec.seq == 0 {
		return nil, err
	}
	return &transfer.Record{User: u, Recorded: rec.Recorded, At: rec.at}, nil
}

// Entries implements transfer.Source.
func (src *Source) Entries(ctx context.Context, each func(*transfer.Entry) error) error {
	stream := src.s.names.historyStream()
	return src.s.readAll(ctx, stream, src.s.names.records(), jetstream.DeliverAllPolicy, func(m *storedMsg) error {
		h, e, err := decodeEntry(m)
		switch {
		case err != nil:
			return unreadable(stream, m, err)
		case h.kind != kindEntry || m.seq > src.end.seq:
			return nil
		}
		return each(&transfer.Entry{Entry: e, Previous: h.previous, Bytes: len(m.subject) + len(m.data)})
	})
}

// Documents implements transfer.Source.
func (src *Source) Documents(ctx context.Context, each func(*transfer.Doc) error) error {
	stream, now := src.s.names.stateStream(), src.s.now()
	return src.s.readAll(ctx, stream, src.s.names.docs(), jetstream.DeliverLastPerSubjectPolicy, func(m *storedMsg) error {
		account, key, ok := src.s.names.parseDoc(m.subject)
		if !ok {
			return unreadable(stream, m, errDamaged)
		}
		head, value, err := decodeDoc(*m)
		if err != nil {
			return unreadable(stream, m, err)
		}
		if !head.liveAt(now) {
			return nil
		}
		return each(&transfer.Doc{
			Account: account, Written: head.version(), Bytes: len(m.subject) + len(m.data),
			Doc: store.Doc{Key: key, Value: value, Until: head.until.Time()},
		})
	})
}
