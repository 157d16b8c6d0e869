package natsstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/store"
)

// maxBatches limits the open batches of this node. The servers allow 50 for each stream,
// for all nodes together.
const maxBatches = 16

// publishTimeout is how long one publish waits for its acknowledgement. All attempts of a
// write together take Options.Timeout, unless another write comes first.
func (s *Store) publishTimeout() time.Duration { return s.opts.Timeout / 2 }

// Headers of a publish.
const (
	expectStreamHeader = "Nats-Expected-Stream"
	expectHeader       = "Nats-Expected-Last-Subject-Sequence"
	expectOfHeader     = "Nats-Expected-Last-Subject-Sequence-Subject"
	batchHeader        = "Nats-Batch-Id"
	batchSeqHeader     = "Nats-Batch-Sequence"
	batchCommitHeader  = "Nats-Batch-Commit"
	rollupHeader       = "Nats-Rollup"
	ttlHeader          = "Nats-TTL"
	scheduleHeader     = "Nats-Schedule"
	targetHeader       = "Nats-Schedule-Target"
	targetRollupHeader = "Nats-Schedule-Rollup"

	rollupSubject = "sub"
)

func (s *Store) newMsg(subject string, data []byte) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Header.Set(expectStreamHeader, s.names.stateStream())
	m.Data = data
	return m
}

// expectLast makes the servers refuse m unless seq is the last message of its subject.
// Zero: the subject must have no message.
func expectLast(m *nats.Msg, seq uint64) {
	m.Header.Set(expectHeader, strconv.FormatUint(seq, 10))
}

// expectNewest makes the servers refuse m, which becomes the newest message of a record,
// unless prev still is the record.
//
// The condition is on the last message of all subjects of the record. Every writer must
// state it on the same wildcard: the servers compare conditions in flight by their text, and
// would accept two of which one names a subject literally.
func (s *Store) expectNewest(m *nats.Msg, prev *record) {
	seq := prev.seq
	if prev.layout1 {
		seq = 0 // nobody writes its subject any more
	}
	expectLast(m, seq)
	m.Header.Set(expectOfHeader, s.names.both(prev.user))
}

// A write is a list of messages that are stored atomically.
type write struct {
	msgs []*nats.Msg
	// outcome determines whether the write was stored if its acknowledgement was lost.
	outcome func(context.Context) (outcome, uint64, error)
}

// apply stores w, and returns the sequence of its last message. It returns errSuperseded,
// or store.ErrUnknown if it cannot find out in time whether w was stored. After any other
// error w was not stored.
//
// A write can be published again safely: it names the version that it replaces, so the
// servers refuse it once it, or another write, was stored. The refusal is the same in
// both cases; outcome distinguishes them.
func (s *Store) apply(ctx context.Context, w write) (uint64, error) {
	release, err := s.acquireBatch(ctx, w)
	if err != nil {
		return 0, err
	}
	defer release()
	p := pendingWrite{s: s, w: w, deadline: time.Now().Add(s.opts.Timeout)}
	for {
		seq, err := s.publish(ctx, w.msgs)
		if err == nil {
			s.advanceSeq(seq)
			return seq, nil
		}
		seq, done, err := p.classify(ctx, err)
		if done {
			return seq, s.countResult(err)
		}
		reason := retryReasonOf(err)
		err = p.waitToRetry(ctx, err)
		if errors.Is(err, store.ErrUnknown) {
			seq, err = p.finalCheck(ctx, err)
			return seq, s.countResult(err)
		}
		if err != nil {
			return 0, err
		}
		s.stats.retries[reason].Add(1)
	}
}

// countResult counts a write that failed because of another one, or whose outcome is unknown.
func (s *Store) countResult(err error) error {
	switch {
	case errors.Is(err, errSuperseded):
		s.stats.conflicts.Add(1)
	case errors.Is(err, store.ErrUnknown):
		s.stats.unknown.Add(1)
	}
	return err
}

// acquireBatch waits for one of the slots of maxBatches, if w is a batch. The servers refuse
// batches above their limit.
func (s *Store) acquireBatch(ctx context.Context, w write) (release func(), err error) {
	if len(w.msgs) == 1 {
		return func() {}, nil
	}
	if err := s.awaitTurn(ctx, s.batchSlots); err != nil {
		return nil, err
	}
	return func() { <-s.batchSlots }, nil
}

// errNoTurn: earlier writes have not been acknowledged.
var errNoTurn = errors.New("earlier writes have not been acknowledged")

// awaitTurn waits until turn takes an element. It gives up after Options.Timeout if nothing was
// acknowledged for as long: those who wait must not sit through the timeouts of all who are
// before them.
func (s *Store) awaitTurn(ctx context.Context, turn chan<- struct{}) error {
	timer := time.NewTimer(s.opts.Timeout)
	defer timer.Stop()
	for {
		select {
		case turn <- struct{}{}:
			return nil
		case <-timer.C:
			silent := s.sinceAck()
			if silent >= s.opts.Timeout {
				return s.unavailable(errNoTurn)
			}
			timer.Reset(s.opts.Timeout - silent)
		case <-ctx.Done():
			return ctx.Err()
		case <-s.failed:
			return s.haltedError()
		}
	}
}

// sinceAck is how long ago a write was acknowledged.
func (s *Store) sinceAck() time.Duration { return time.Since(time.Unix(0, s.lastAck.Load())) }

// A pendingWrite is the state of a write between its attempts.
type pendingWrite struct {
	s         *Store
	w         write
	uncertain bool // an attempt may have been stored
	deadline  time.Time
	backoff   backoff
}

// classify reports whether a failed attempt decides the result of the write.
func (p *pendingWrite) classify(ctx context.Context, err error) (seq uint64, done bool, result error) {
	switch {
	case hasCode(err, codeWrongLast) && !p.uncertain:
		return 0, true, errSuperseded
	case hasCode(err, codeWrongLast, codeWrongLastBusy):
		return p.checkOutcome(ctx, err)
	case errors.Is(err, nats.ErrMaxPayload) && !p.uncertain:
		return 0, true, fmt.Errorf("%w: %w", store.ErrTooLarge, err)
	case hasCode(err, codeBatchIncomplete, codeBatchTooMany), errors.Is(err, nats.ErrNoResponders), errors.Is(err, errNotSent):
		return 0, false, err
	case isFull(err) && !p.uncertain:
		return 0, true, fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	if _, refused := errors.AsType[*apiError](err); refused {
		return 0, !p.uncertain && !isTransient(err), err
	}
	p.uncertain = true
	return 0, false, err
}

// isTransient reports whether the servers may accept later what they refuse now.
func isTransient(err error) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && (api.Code == 503 || api.Code == 429)
}

// isFull reports whether the servers refuse for lack of space.
func isFull(err error) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && (hasCode(err, codeAccountFull, codeNoResources, codeStorageFull) ||
		api.ErrCode == codeStoreFailed && (strings.Contains(api.Text, "maximum") || strings.Contains(api.Text, "no space")))
}

// checkOutcome checks the outcome after the servers refused an attempt with err.
func (p *pendingWrite) checkOutcome(ctx context.Context, err error) (seq uint64, done bool, result error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.s.publishTimeout())
	defer cancel()
	if seq, done, result = p.readOutcome(ctx); !done && result == nil {
		result = err // a write is in flight: this or another one
	}
	return seq, done, result
}

// readOutcome reports whether the write is decided, and its result.
func (p *pendingWrite) readOutcome(ctx context.Context) (seq uint64, done bool, result error) {
	found, seq, err := p.w.outcome(ctx)
	switch {
	case err != nil || found == unchanged:
		return 0, false, err
	case found == superseded:
		return 0, true, errSuperseded
	}
	p.s.advanceSeq(seq)
	return seq, true, nil
}

// finalCheck asks for the outcome once more before a write is reported as unknown: if
// every acknowledgement was lost, checkOutcome never ran.
func (p *pendingWrite) finalCheck(ctx context.Context, unknown error) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.s.publishTimeout())
	defer cancel()
	var b backoff
	for {
		seq, done, err := p.readOutcome(ctx)
		switch {
		case done:
			return seq, err
		case err == nil, p.s.conn.IsClosed(), b.wait(ctx) != nil:
			return 0, unknown // it may still be stored later
		}
	}
}

// waitToRetry waits before the next attempt. Its error means that there is none.
func (p *pendingWrite) waitToRetry(ctx context.Context, err error) error {
	if p.uncertain {
		// A caller that gives up must still learn whether the write was stored.
		ctx = context.WithoutCancel(ctx)
	}
	ended := ctx.Err()
	if ended == nil && time.Now().Before(p.deadline) && !p.s.conn.IsClosed() {
		if ended = p.backoff.wait(ctx); ended == nil {
			return nil
		}
	}
	switch {
	case p.uncertain:
		return fmt.Errorf("%w (%w)", store.ErrUnknown, err)
	case ended != nil:
		return ended
	default:
		return p.s.unavailable(err)
	}
}

// errNotSent: no message has left this node.
var errNotSent = errors.New("not sent")

// publish publishes msgs once. It waits for the acknowledgement even if ctx ends
// meanwhile, for at most publishTimeout.
func (s *Store) publish(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	last, begun := msgs[len(msgs)-1], time.Now()
	if s.conn.IsClosed() {
		return 0, fmt.Errorf("%w: %w", errNotSent, nats.ErrConnectionClosed)
	}
	if len(msgs) > 1 {
		if err := s.publishBatch(msgs); err != nil {
			return 0, err
		}
	}
	ctx, end := s.calls.begin(context.WithoutCancel(ctx), s.publishTimeout())
	defer end()
	response, err := s.conn.RequestMsgWithContext(ctx, last)
	if err != nil {
		return 0, publishError(ctx, err)
	}
	var ack struct {
		Error *apiError `json:"error"`
		Seq   uint64    `json:"seq"`
	}
	if err := json.Unmarshal(response.Data, &ack); err != nil {
		return 0, fmt.Errorf("unreadable acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	now := time.Now()
	s.lastAck.Store(now.UnixNano())
	s.stats.commits.Observe(uint64(now.Sub(begun)))
	return ack.Seq, nil
}

// publishBatch publishes all messages except the last, which commits the batch.
func (s *Store) publishBatch(msgs []*nats.Msg) error {
	id := rand.Text()
	for i, m := range msgs {
		m.Header.Set(batchHeader, id)
		m.Header.Set(batchSeqHeader, strconv.Itoa(i+1))
		if i == len(msgs)-1 {
			m.Header.Set(batchCommitHeader, "1")
			return nil
		}
		if err := s.conn.PublishMsg(m); err != nil {
			return fmt.Errorf("%w: %w", errNotSent, err)
		}
	}
	return nil
}

// publishError marks the errors after which nothing was sent. A connection that closed
// meanwhile may have carried the message.
func publishError(ctx context.Context, err error) error {
	for _, unsent := range []error{
		nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrMaxPayload, nats.ErrInvalidConnection,
	} {
		if errors.Is(err, unsent) {
			return fmt.Errorf("%w: %w", errNotSent, err)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// advanceSeq raises lastSeq to seq. Later reads are at least as new.
func (s *Store) advanceSeq(seq uint64) {
	for {
		prev := s.lastSeq.Load()
		if prev >= seq || s.lastSeq.CompareAndSwap(prev, seq) {
			return
		}
	}
}
