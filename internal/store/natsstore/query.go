package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// askTime is how long one question to the servers may take, and readTime all
	// attempts of one read together.
	requestTimeout = 1500 * time.Millisecond
	readTimeout    = 4 * time.Second

	minBackoff = time.Millisecond
	maxBackoff = 100 * time.Millisecond
)

// A backoff is the pauses between attempts.
type backoff struct{ delay time.Duration }

// wait sleeps a little longer each time.
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

func decodeMsg(m *nats.Msg) storedMsg {
	return storedMsg{subject: m.Header.Get(subjectHeader), seq: uintHeader(m, seqHeader), source: sourceSeq(m.Header), data: m.Data}
}

// sourceOf is the sequence in the stream that a message was copied from; zero: none.
func sourceSeq(h nats.Header) uint64 {
	// "<stream> <sequence> …"
	fields := strings.Fields(h.Get(sourceHeader))
	if len(fields) < 2 {
		return 0
	}
	seq, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return seq
}

// A lastQuery asks for the last message of each subject that a filter names.
type lastQuery struct {
	Filters  []string `json:"multi_last"`
	UpTo     uint64   `json:"up_to_seq,omitempty"` // as of then; zero: now
	MaxBytes int      `json:"max_bytes,omitempty"`
}

// maxFilters is how many subjects one query may match: the servers refuse more
// than 1,024, and the identity comes on top.
const (
	maxFilters       = 1000
	maxFilterBytes   = 256 << 10
	maxResponseBytes = 16 << 20
)

// A snapshot is what a replica had when it answered.
type snapshot struct {
	msgs []storedMsg
	upTo uint64 // it had everything up to here
}

// query reads the state stream from a replica that is at least as new as
// everything this node has stored or seen.
func (s *Store) query(ctx context.Context, q lastQuery) (snapshot, error) {
	return s.querySince(ctx, q, s.lastSeq.Load())
}

// queryFresh reads the state as it is when the call is made, or later.
func (s *Store) queryFresh(ctx context.Context, q lastQuery) (snapshot, error) {
	at, err := s.leaderSeq(ctx, s.names.stateStream())
	if err != nil {
		return snapshot{}, err
	}
	return s.querySince(ctx, q, max(at, s.lastSeq.Load()))
}

// querySince reads from a replica that has everything up to least. Its answer
// always has the store's identity in it: one without any message would not say
// how new it is.
func (s *Store) querySince(ctx context.Context, q lastQuery, least uint64) (snapshot, error) {
	q.Filters = append(q.Filters[:len(q.Filters):len(q.Filters)], s.names.identity())
	if q.MaxBytes == 0 {
		q.MaxBytes = maxResponseBytes
	}
	within, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var b backoff
	for {
		snap, err := s.queryLast(within, s.names.stateStream(), q)
		switch {
		case err == nil && snap.upTo >= least:
			return s.withoutIdentity(snap), nil
		case errors.Is(err, errTooMany):
			return snapshot{}, err
		case err == nil:
			err = fmt.Errorf("the replica is at %d, but %d is stored already", snap.upTo, least)
		}
		if b.wait(within) != nil {
			return snapshot{}, s.readFailed(ctx, err)
		}
	}
}

func (s *Store) withoutIdentity(snap snapshot) snapshot {
	for i := range snap.msgs {
		if snap.msgs[i].subject == s.names.identity() {
			snap.msgs = append(snap.msgs[:i:i], snap.msgs[i+1:]...)
			break
		}
	}
	return snap
}

// last asks any replica of a stream, once.
func (s *Store) queryLast(ctx context.Context, stream string, q lastQuery) (snapshot, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return snapshot{}, err
	}
	answer, err := s.requestMany(ctx, "$JS.API.DIRECT.GET."+stream, body)
	if err != nil {
		return snapshot{}, err
	}
	switch status := answer.end.Header.Get(statusHeader); status {
	case "204":
	case "404":
		if answer.end.Header.Get("Description") == "No Results" {
			return snapshot{}, nil
		}
		return snapshot{}, errIncomplete // a message went while it was read
	case "413":
		return snapshot{}, errTooMany
	default:
		return snapshot{}, fmt.Errorf("NATS answered a read with status %s: %s", status, answer.end.Header.Get("Description"))
	}
	msgs, err := answer.messages()
	if err != nil {
		return snapshot{}, err
	}
	if uintHeader(answer.end, pendingHeader) > 0 {
		return snapshot{}, errTooMany // too many bytes
	}
	return snapshot{msgs: msgs, upTo: uintHeader(answer.end, upToHeader)}, nil
}

// A rangeQuery asks for messages in their order.
type rangeQuery struct {
	From   uint64 `json:"seq"`
	Filter string `json:"next_by_subj"`
	Batch  int    `json:"batch"`
}

// between reads messages of a stream from any replica, once. None is no error.
func (s *Store) readRange(ctx context.Context, stream string, q rangeQuery) ([]storedMsg, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	answer, err := s.requestMany(ctx, "$JS.API.DIRECT.GET."+stream, body)
	if err != nil {
		return nil, err
	}
	switch status := answer.end.Header.Get(statusHeader); status {
	case "204":
		return answer.messages()
	case "404":
		return nil, nil
	default:
		return nil, fmt.Errorf("NATS answered a read with status %s: %s", status, answer.end.Header.Get("Description"))
	}
}

// ask is one question with an answer of many messages.
func (s *Store) requestMany(ctx context.Context, subject string, body []byte) (*reply, error) {
	ctx, end := s.calls.begin(ctx, requestTimeout)
	defer end()
	return s.replies.request(ctx, subject, body)
}

// request is one question with an answer of one message, in JSON.
func (s *Store) request(ctx context.Context, subject string, body, into any) error {
	return s.requestWithin(ctx, requestTimeout, subject, body, into)
}

func (s *Store) requestWithin(ctx context.Context, limit time.Duration, subject string, body, into any) error {
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

// An apiError is how JetStream refuses.
type apiError struct {
	Code    int    `json:"code"`
	ErrCode int    `json:"err_code"`
	Text    string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("NATS refused: %s (%d)", e.Text, e.ErrCode)
}

// Codes of JetStream's errors.
const (
	codeAccountFull     = 10002
	codeNoMessage       = 10037
	codeNoStream        = 10059
	codeWrongLast       = 10071 // of a subject: it is another message
	codeWrongLastBusy   = 10164 // or may become another, by one under way
	codeBatchIncomplete = 10176
	codeBatchTooMany    = 10210
	codeNoResources     = 10023
	codeStorageFull     = 10047
	codeStoreFailed     = 10077
)

func hasCode(err error, codes ...int) bool {
	api, ok := errors.AsType[*apiError](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if api.ErrCode == code {
			return true
		}
	}
	return false
}

// leaderAt is the last sequence that the leader of a stream has.
func (s *Store) leaderSeq(ctx context.Context, stream string) (uint64, error) {
	var at uint64
	err := s.retryRead(ctx, func(ctx context.Context) error {
		var info struct {
			Error *apiError `json:"error"`
			State struct {
				Last uint64 `json:"last_seq"`
			} `json:"state"`
		}
		if err := s.request(ctx, "$JS.API.STREAM.INFO."+stream, struct{}{}, &info); err != nil {
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

// A leaderQuery asks the leader of a stream for one message.
type leaderQuery struct {
	Last  string     `json:"last_by_subj,omitempty"` // the last one of a subject
	Next  string     `json:"next_by_subj,omitempty"` // the first one that a filter names,
	Seq   uint64     `json:"seq,omitempty"`          // from here on
	Since *time.Time `json:"start_time,omitempty"`   // or from then on
}

// leaderGet is a message as the leader has it; nil: none.
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
	if err := s.request(ctx, "$JS.API.STREAM.MSG.GET."+stream, q, &got); err != nil {
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

// leaderLast is the last message of a subject of the state stream; nil: none.
func (s *Store) leaderLast(ctx context.Context, subject string) (*storedMsg, error) {
	return s.leaderGet(ctx, s.names.stateStream(), leaderQuery{Last: subject})
}

func (s *Store) leaderLastOnce(ctx context.Context, subject string) (*storedMsg, error) {
	return s.leaderGetOnce(ctx, s.names.stateStream(), leaderQuery{Last: subject})
}

// retrying asks until there is an answer, for as long as a read may take.
func (s *Store) retryRead(ctx context.Context, ask func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var b backoff
	for {
		err := ask(within)
		if err == nil {
			return nil
		}
		if b.wait(within) != nil {
			return s.readFailed(ctx, err)
		}
	}
}

// readFailed is the error of a read that ended without an answer: the caller's own,
// or that there was none.
func (s *Store) readFailed(ctx context.Context, why error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.unavailable(why)
}
