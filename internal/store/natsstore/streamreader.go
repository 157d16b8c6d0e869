package natsstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// fetchMessages is how many messages a streamReader requests at a time.
const fetchMessages = 200

var errMissed = errors.New("the servers did not deliver every message: try again")

// A streamReader reads the messages of a stream in order, with a consumer of its own.
type streamReader struct {
	s         *Store
	stream    string
	from      jetstream.Consumer
	delivered uint64 // messages
	pending   uint64 // messages to come, as of the last one
	at        uint64 // sequence of the last one
}

// newStreamReader reads all messages that match a filter, or the last one of each subject.
func (s *Store) newStreamReader(ctx context.Context, stream string, policy jetstream.DeliverPolicy, filters ...string) (*streamReader, error) {
	consumer, err := s.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Description: "Porchlight: reads everything once", FilterSubjects: filters, DeliverPolicy: policy,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return &streamReader{s: s, stream: stream, from: consumer, pending: consumer.CachedInfo().NumPending}, nil
}

// close removes the consumer, which would end in a minute in any case.
func (r *streamReader) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.s.requestTimeout())
	defer cancel()
	_ = r.s.js.DeleteConsumer(ctx, r.stream, r.from.CachedInfo().Name)
}

// readAll calls each with all messages of a stream that match a filter, or with the last one
// of each subject, in order.
func (s *Store) readAll(ctx context.Context, stream, filter string, policy jetstream.DeliverPolicy, each func(*storedMsg) error) error {
	r, err := s.newStreamReader(ctx, stream, policy, filter)
	if err != nil {
		return err
	}
	defer r.close(ctx)
	for r.pending > 0 {
		if err := r.readSome(ctx, func(msgs []storedMsg) error { return eachOf(msgs, each) }); err != nil {
			return err
		}
	}
	return nil
}

func eachOf(msgs []storedMsg, each func(*storedMsg) error) error {
	for i := range msgs {
		if err := each(&msgs[i]); err != nil {
			return err
		}
	}
	return nil
}

// readTo calls add with the next messages, at least until the one at a sequence or a later
// one. There must be one.
func (r *streamReader) readTo(ctx context.Context, seq uint64, add func([]storedMsg) error) error {
	for r.at < seq {
		if err := r.readSome(ctx, add); err != nil {
			return err
		}
	}
	return nil
}

// readSome reads the next messages. It is an error if there are none within readTimeout.
func (r *streamReader) readSome(ctx context.Context, add func([]storedMsg) error) error {
	msgs, err := r.fetch(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil && len(msgs) == 0:
		err = errMissed
	}
	if err != nil {
		return fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	return add(msgs)
}

// fetch requests messages again while nobody responds: it takes a moment until all servers of a
// cluster know a consumer that was just created.
func (r *streamReader) fetch(ctx context.Context) (msgs []storedMsg, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.s.readTimeout())
	defer cancel()
	var b backoff
	for {
		msgs, err = r.fetchOnce(ctx)
		if !errors.Is(err, nats.ErrNoResponders) || b.wait(ctx) != nil {
			return msgs, err
		}
	}
}

func (r *streamReader) fetchOnce(ctx context.Context) (msgs []storedMsg, err error) {
	batch, err := r.from.Fetch(int(max(1, min(r.pending, fetchMessages))), jetstream.FetchContext(ctx))
	if err != nil {
		return nil, err
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		if r.delivered++; meta.Sequence.Consumer != r.delivered {
			return nil, errMissed
		}
		r.at, r.pending = meta.Sequence.Stream, meta.NumPending
		msgs = append(msgs, storedMsg{subject: m.Subject(), seq: r.at, data: m.Data(), source: sourceSeq(m.Headers())})
	}
	if len(msgs) > 0 {
		return msgs, nil
	}
	return nil, batch.Error()
}
