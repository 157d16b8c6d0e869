package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/store"
)

const (
	// The least limits for one request to the servers, and for all attempts of one read
	// together.
	minRequestTimeout = 1500 * time.Millisecond
	minReadTimeout    = 4 * time.Second

	minBackoff = time.Millisecond
	maxBackoff = 100 * time.Millisecond
)

// requestTimeout limits one request to the servers.
func (s *Store) requestTimeout() time.Duration { return max(minRequestTimeout, s.opts.Timeout/4) }

// readTimeout limits all attempts of one read together.
func (s *Store) readTimeout() time.Duration { return max(minReadTimeout, 2*s.opts.Timeout) }

// A backoff counts the delays between attempts.
type backoff struct{ delay time.Duration }

// wait sleeps for twice the last delay, up to maxBackoff.
func (b *backoff) wait(ctx context.Context) error {
	b.delay = min(max(2*b.delay, minBackoff), maxBackoff)
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sourceSeq is the sequence in the stream that a message was copied from. Zero: it was
// not copied.
func sourceSeq(h nats.Header) uint64 {
	// "<stream> <sequence> …"
	_, rest, _ := strings.Cut(h.Get(sourceHeader), " ")
	seq, _, _ := strings.Cut(rest, " ")
	return parseUint(seq)
}

// A lastQuery requests the last message of each subject that matches a filter.
type lastQuery struct {
	Filters  []string `json:"multi_last"`
	UpTo     uint64   `json:"up_to_seq,omitempty"` // as of this sequence; zero: now
	MaxBytes int      `json:"max_bytes,omitempty"`
}

// maxFilters limits the subjects of one query. The servers refuse more than 1,024
// matches, and querySince adds the identity.
const (
	maxFilters       = 1000
	maxFilterBytes   = 256 << 10
	maxResponseBytes = 16 << 20
)

// A snapshot is the content of a replica when it responded.
type snapshot struct {
	msgs []storedMsg
	upTo uint64 // the replica had everything up to this sequence
}

// query reads the state stream from a replica that is at least as new as everything that
// this node has stored or read.
func (s *Store) query(ctx context.Context, q lastQuery) (snapshot, error) {
	return s.querySince(ctx, q, s.lastSeq.Load())
}

// queryFresh reads the state stream as it is at the call, or later. The leader alone does not
// know that: it may have been replaced without knowing it.
func (s *Store) queryFresh(ctx context.Context, q lastQuery) (snapshot, error) {
	at, err := s.barriers.wait(ctx)
	switch {
	case isFull(err):
		return snapshot{}, fmt.Errorf("%w: %w", store.ErrFull, err)
	case err != nil:
		return snapshot{}, s.readFailed(ctx, err)
	}
	return s.querySince(ctx, q, max(at, s.lastSeq.Load()))
}

// querySince reads from a replica that has everything up to sequence least. The request
// includes the identity, because a response without messages has no sequence.
func (s *Store) querySince(ctx context.Context, q lastQuery, least uint64) (snapshot, error) {
	q.Filters = append(slices.Clip(q.Filters), s.names.identity())
	if q.MaxBytes == 0 {
		q.MaxBytes = maxResponseBytes
	}
	var snap snapshot
	err := s.retryRead(ctx, func(ctx context.Context) (err error) {
		snap, err = s.queryLast(ctx, s.names.stateStream(), q)
		if err == nil && snap.upTo < least {
			err = fmt.Errorf("stale replica: it is at sequence %d, expected %d or later", snap.upTo, least)
		}
		return err
	})
	if err != nil {
		return snapshot{}, err
	}
	snap.msgs = slices.DeleteFunc(snap.msgs, func(m storedMsg) bool { return m.subject == s.names.identity() })
	return snap, nil
}

// queryLast sends a lastQuery to any replica of a stream, once.
func (s *Store) queryLast(ctx context.Context, stream string, q lastQuery) (snapshot, error) {
	response, err := s.directGet(ctx, stream, q)
	switch {
	case err != nil:
		return snapshot{}, err
	case response.status() == "404" && response.end.Header.Get(descriptionHeader) == "No Results":
		return snapshot{}, nil
	case response.status() == "404":
		return snapshot{}, errIncomplete // a message was removed during the read
	case uintHeader(response.end, pendingHeader) > 0:
		return snapshot{}, errTooMany // more than MaxBytes
	}
	msgs, err := response.messages()
	return snapshot{msgs: msgs, upTo: uintHeader(response.end, upToHeader)}, err
}

// A rangeQuery requests messages in the order of their sequences.
type rangeQuery struct {
	From   uint64 `json:"seq"`
	Filter string `json:"next_by_subj"`
	Batch  int    `json:"batch"`
}

// readRange reads messages of a stream from any replica, once. It is no error if there
// are none.
func (s *Store) readRange(ctx context.Context, stream string, q rangeQuery) ([]storedMsg, error) {
	response, err := s.directGet(ctx, stream, q)
	if err != nil || response.status() == "404" {
		return nil, err
	}
	return response.messages()
}

// directGet sends a query to any replica of a stream, once.
func (s *Store) directGet(ctx context.Context, stream string, query any) (*reply, error) {
	body, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	ctx, end := s.calls.begin(ctx, s.requestTimeout())
	defer end()
	response, err := s.replies.request(ctx, "$JS.API.DIRECT.GET."+stream, body)
	if err != nil {
		return nil, err
	}
	return response, response.err()
}

// request sends a request whose response is one message, in JSON.
func (s *Store) request(ctx context.Context, limit time.Duration, subject string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, end := s.calls.begin(ctx, limit)
	defer end()
	m, err := s.conn.RequestWithContext(ctx, subject, data)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Data, into)
}

// An apiError is an error response of JetStream.
type apiError struct {
	Code    int    `json:"code"`
	ErrCode int    `json:"err_code"`
	Text    string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("NATS refused the request: %s (error %d)", e.Text, e.ErrCode)
}

// Error codes of JetStream.
const (
	codeAccountFull     = 10002
	codeNoMessage       = 10037
	codeWrongLast       = 10071 // the last message of the subject is another one
	codeWrongLastBusy   = 10164 // or may become another one: a write is in flight
	codeBatchIncomplete = 10176
	codeBatchTooMany    = 10210
	codeNoResources     = 10023
	codeStorageFull     = 10047
	codeStoreFailed     = 10077
)

func hasCode(err error, codes ...int) bool {
	api, ok := errors.AsType[*apiError](err)
	return ok && slices.Contains(codes, api.ErrCode)
}

// leaderSeq is the last sequence of a stream on its leader.
func (s *Store) leaderSeq(ctx context.Context, stream string) (uint64, error) {
	var at uint64
	err := s.retryRead(ctx, func(ctx context.Context) error {
		var info struct {
			Error *apiError `json:"error"`
			State struct {
				Last uint64 `json:"last_seq"`
			} `json:"state"`
		}
		if err := s.request(ctx, s.requestTimeout(), "$JS.API.STREAM.INFO."+stream, struct{}{}, &info); err != nil {
			return err
		}
		if info.Error != nil {
			return info.Error
		}
		at = info.State.Last
		return nil
	})
	return at, err
}

// A leaderQuery requests one message from the leader of a stream.
type leaderQuery struct {
	Last  string     `json:"last_by_subj,omitempty"` // the last message of a subject
	Next  string     `json:"next_by_subj,omitempty"` // the first message that matches a filter,
	Seq   uint64     `json:"seq,omitempty"`          // from this sequence on,
	Since *time.Time `json:"start_time,omitempty"`   // or from this instant on
}

// leaderGet reads a message from the leader; nil: there is none.
func (s *Store) leaderGet(ctx context.Context, stream string, q leaderQuery) (m *storedMsg, err error) {
	err = s.retryRead(ctx, func(ctx context.Context) error {
		m, err = s.leaderGetOnce(ctx, stream, q)
		return err
	})
	return m, err
}

func (s *Store) leaderGetOnce(ctx context.Context, stream string, q leaderQuery) (*storedMsg, error) {
	var got struct {
		Error   *apiError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Headers []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	if err := s.request(ctx, s.requestTimeout(), "$JS.API.STREAM.MSG.GET."+stream, q, &got); err != nil {
		return nil, err
	}
	switch {
	case got.Error != nil && got.Error.ErrCode == codeNoMessage:
		return nil, nil //nolint:nilnil // none is an answer
	case got.Error != nil:
		return nil, got.Error
	}
	m := &storedMsg{subject: got.Message.Subject, seq: got.Message.Seq, data: got.Message.Data}
	if len(got.Message.Headers) > 0 {
		header, err := nats.DecodeHeadersMsg(got.Message.Headers)
		if err != nil {
			return nil, err
		}
		m.source = sourceSeq(header)
	}
	return m, nil
}

// leaderLastOnce reads the last message of a subject of the state stream, without a retry.
func (s *Store) leaderLastOnce(ctx context.Context, subject string) (*storedMsg, error) {
	return s.leaderGetOnce(ctx, s.names.stateStream(), leaderQuery{Last: subject})
}

// retryRead calls attempt until it succeeds or returns errTooMany, for at most readTimeout.
func (s *Store) retryRead(ctx context.Context, attempt func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, s.readTimeout())
	defer cancel()
	var b backoff
	for {
		err := attempt(within)
		if err == nil || errors.Is(err, errTooMany) {
			return err
		}
		if b.wait(within) != nil {
			return s.readFailed(ctx, err)
		}
	}
}

// readFailed is the error of a read without a response: the error of ctx, or
// ErrUnavailable.
func (s *Store) readFailed(ctx context.Context, cause error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.unavailable(cause)
}
