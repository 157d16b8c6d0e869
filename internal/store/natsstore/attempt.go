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

// maxBatches bounds the batches that this node has open: the servers take 50 for
// each stream, of all nodes together.
const maxBatches = 16

// sendTime is how long one publish waits for its answer. All attempts of a write
// together take Options.Wait, while nobody else's write comes between.
func (s *Store) publishTimeout() time.Duration { return s.opts.Timeout / 2 }

// Headers of a publish.
const (
	expectStreamHeader = "Nats-Expected-Stream"
	expectHeader       = "Nats-Expected-Last-Subject-Sequence"
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

// expect makes m refused unless the last message of its subject is seq; zero is
// none.
func expectLast(m *nats.Msg, seq uint64) {
	m.Header.Set(expectHeader, strconv.FormatUint(seq, 10))
}

// A write is messages that are stored together, or not at all.
type write struct {
	msgs []*nats.Msg
	// outcome checks whether the write was made, after a response that left it open.
	outcome func(context.Context) (outcome, uint64, error)
}

// An outcome is what became of a write.
type outcome int

const (
	unchanged  outcome = iota // what it replaces is still there
	superseded                // somebody else changed it: the write can never be made
	stored                    // it was made
)

// unlessReplaced is the outcome of a write that anybody else may have made as well: any
// other message in place of the one it replaces counts as another's.
func (s *Store) replacedOutcome(subject string, prev uint64) func(context.Context) (outcome, uint64, error) {
	return func(ctx context.Context) (outcome, uint64, error) {
		last, err := s.leaderLastOnce(ctx, subject)
		if err != nil || last == nil || last.seq == prev {
			return unchanged, 0, err
		}
		return superseded, 0, nil
	}
}

// errOvertaken: another write came first. It was not made.
var errSuperseded = errors.New("another write came first")

// apply makes w, and gives the sequence of its last message. The errors are:
// errOvertaken; store.ErrUnknown when it cannot be learnt in time whether it was
// made; anything else when it was not.
//
// A write may be sent again because it names what it replaces: once it, or
// another one, was made, it is refused. The server answers both alike, hence outcome.
func (s *Store) apply(ctx context.Context, w write) (uint64, error) {
	leave, err := s.acquireBatch(ctx, w)
	if err != nil {
		return 0, err
	}
	defer leave()
	a := pendingWrite{s: s, w: w, deadline: time.Now().Add(s.opts.Timeout)}
	for {
		seq, err := s.publish(ctx, w.msgs)
		if err == nil {
			s.advanceSeq(seq)
			return seq, nil
		}
		seq, done, err := a.classify(ctx, err)
		if done {
			return seq, err
		}
		ended := a.waitToRetry(ctx, err)
		if ended == nil {
			continue
		}
		if errors.Is(ended, store.ErrUnknown) {
			return a.finalCheck(ctx, ended)
		}
		return 0, ended
	}
}

// enterBatch waits until w may be sent: batches that the servers have no room for
// would only be refused.
func (s *Store) acquireBatch(ctx context.Context, w write) (leave func(), err error) {
	if len(w.msgs) == 1 {
		return func() {}, nil
	}
	select {
	case s.batchSlots <- struct{}{}:
		return func() { <-s.batchSlots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.failed:
		return nil, s.haltedError()
	}
}

// applying is what is known of a write that is being made.
type pendingWrite struct {
	s         *Store
	w         write
	uncertain bool // an attempt may have been made
	deadline  time.Time
	backoff   backoff
}

// classify says whether a failed attempt settles the write.
func (a *pendingWrite) classify(ctx context.Context, err error) (seq uint64, done bool, why error) {
	switch {
	case hasCode(err, codeWrongLast) && !a.uncertain:
		return 0, true, errSuperseded
	case hasCode(err, codeWrongLast, codeWrongLastBusy):
		return a.checkOutcome(ctx, err)
	case errors.Is(err, nats.ErrMaxPayload) && !a.uncertain:
		return 0, true, fmt.Errorf("%w: %w", store.ErrTooLarge, err)
	case hasCode(err, codeBatchIncomplete, codeBatchTooMany), errors.Is(err, nats.ErrNoResponders), errors.Is(err, errNotSent):
		return 0, false, err
	case isFull(err) && !a.uncertain:
		return 0, true, fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	if _, refused := errors.AsType[*apiError](err); refused {
		return 0, !a.uncertain && !isTransient(err), err
	}
	a.uncertain = true
	return 0, false, err
}

// isTransient reports whether the servers may do later what they refuse now.
func isTransient(err error) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && (api.Code == 503 || api.Code == 429)
}

// isFull reports whether the servers have no room.
func isFull(err error) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && (hasCode(err, codeAccountFull, codeNoResources, codeStorageFull) ||
		api.ErrCode == codeStoreFailed && (strings.Contains(api.Text, "maximum") || strings.Contains(api.Text, "no space")))
}

func (a *pendingWrite) checkOutcome(ctx context.Context, err error) (uint64, bool, error) {
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.s.publishTimeout())
	defer cancel()
	result, seq, lookErr := a.w.outcome(look)
	switch {
	case lookErr != nil:
		return 0, false, lookErr
	case result == stored:
		a.s.advanceSeq(seq)
		return seq, true, nil
	case result == superseded:
		return 0, true, errSuperseded
	default:
		return 0, false, err // one that is under way: this or another
	}
}

// finalCheck says what came of a write whose answers were all lost, or unknown: who
// hears nothing never comes to compare.
func (a *pendingWrite) finalCheck(ctx context.Context, unknown error) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.s.publishTimeout())
	defer cancel()
	var b backoff
	for {
		result, seq, err := a.w.outcome(ctx)
		switch {
		case err == nil && result == stored:
			a.s.advanceSeq(seq)
			return seq, nil
		case err == nil && result == superseded:
			return 0, errSuperseded
		case err == nil, a.s.conn.IsClosed(), b.wait(ctx) != nil:
			return 0, unknown // if it is not there yet, it may still come
		}
	}
}

// waitToRetry waits before the next attempt, or says that there is none.
func (a *pendingWrite) waitToRetry(ctx context.Context, err error) error {
	ended := ctx.Err()
	if a.uncertain {
		// Whether it was made matters more than the caller's hurry.
		ctx = context.WithoutCancel(ctx)
		ended = nil
	}
	if ended == nil && time.Now().Before(a.deadline) && !a.s.conn.IsClosed() {
		ended = a.backoff.wait(ctx)
		if ended == nil {
			return nil
		}
	}
	switch {
	case a.uncertain:
		return fmt.Errorf("%w (%w)", store.ErrUnknown, err)
	case ended != nil:
		return ended
	default:
		return a.s.unavailable(err)
	}
}

// errNotSent: nothing has left this node.
var errNotSent = errors.New("not sent")

// send publishes once, and waits for the answer also when ctx ends meanwhile:
// it comes soon.
func (s *Store) publish(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	last := msgs[len(msgs)-1]
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
	answer, err := s.conn.RequestMsgWithContext(ctx, last)
	if err != nil {
		return 0, publishError(ctx, err)
	}
	var ack struct {
		Error *apiError `json:"error"`
		Seq   uint64    `json:"seq"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("unreadable acknowledgement: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// sendBatch publishes all but the last message, which commits the batch.
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

// sendError distinguishes what was never sent from what may have been stored. A connection
// that was closed meanwhile may have carried it.
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

// noteSeq notes that the state stream has come to seq.
func (s *Store) advanceSeq(seq uint64) {
	for {
		prev := s.lastSeq.Load()
		if prev >= seq || s.lastSeq.CompareAndSwap(prev, seq) {
			return
		}
	}
}
